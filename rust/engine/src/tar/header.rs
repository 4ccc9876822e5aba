//! Writing the headers of one member: `L`, `K`, `x` where they are needed, then ustar.

use std::str;

use super::pax::Records;
use super::{pad, BLOCK};
use crate::sys::Time;

const MAX_OCTAL_7: u64 = 0o7_777_777;
const MAX_OCTAL_11: u64 = 0o77_777_777_777;

/// Bytes a name field of the header holds.
const NAME: usize = 100;
const PREFIX: usize = 155;
const OWNER: usize = 31;

/// One member, as it is to stand in the stream. `path` is the stored path, with a slash at the end for directories.
pub struct Member<'a> {
    pub path: &'a [u8],
    pub typeflag: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub uname: &'a [u8],
    pub gname: &'a [u8],
    /// Bytes of data in the stream.
    pub size: u64,
    pub mtime: Time,
    pub link: &'a [u8],
}

/// Append the member's headers to `out`. `records` holds what is particular to the member (attributes, sparse files) and
/// comes back empty. The length of the pax body is returned.
pub fn write(out: &mut Vec<u8>, member: &Member<'_>, records: &mut Records) -> usize {
    let split = split(member.path);
    if split.is_none() {
        if str::from_utf8(member.path).is_ok() {
            records.add(b"path", member.path);
        } else {
            long_name(out, b'L', member.path);
        }
    }
    if member.link.len() > NAME {
        if str::from_utf8(member.link).is_ok() {
            records.add(b"linkpath", member.link);
        } else {
            long_name(out, b'K', member.link);
        }
    }
    let whole = member.mtime.sec >= 0 && member.mtime.sec as u64 <= MAX_OCTAL_11;
    if member.mtime.nsec != 0 || !whole {
        records.add(b"mtime", decimal(member.mtime).as_bytes());
    }
    if member.size > MAX_OCTAL_11 {
        records.add(b"size", member.size.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", member.uid), (b"gid", member.gid)] {
        if u64::from(id) > MAX_OCTAL_7 {
            records.add(key, id.to_string().as_bytes());
        }
    }
    for (key, name) in [(b"uname", member.uname), (b"gname", member.gname)] {
        if name.len() > OWNER && str::from_utf8(name).is_ok() {
            records.add(key, name);
        }
    }
    let body = records.take();
    if !body.is_empty() {
        special(out, b'x', b"././@PaxHeader", body.len() as u64);
        out.extend_from_slice(&body);
        pad(out, body.len() as u64);
    }

    let (prefix, name) = split.unwrap_or((b"", &member.path[..member.path.len().min(NAME)]));
    let mut block = [0u8; BLOCK];
    put(&mut block, 0, name);
    octal(&mut block, 100, 7, u64::from(member.mode & 0o7777));
    octal(&mut block, 108, 7, fitting(u64::from(member.uid), MAX_OCTAL_7));
    octal(&mut block, 116, 7, fitting(u64::from(member.gid), MAX_OCTAL_7));
    octal(&mut block, 124, 11, fitting(member.size, MAX_OCTAL_11));
    octal(&mut block, 136, 11, if whole { member.mtime.sec as u64 } else { 0 });
    block[156] = member.typeflag;
    put(&mut block, 157, &member.link[..member.link.len().min(NAME)]);
    if member.uname.len() <= OWNER {
        put(&mut block, 265, member.uname);
    }
    if member.gname.len() <= OWNER {
        put(&mut block, 297, member.gname);
    }
    put(&mut block, 345, prefix);
    finish(out, block);
    body.len()
}

/// Prefix and name of a path that the ustar header holds, `None` for one it does not.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let last = path.len().checked_sub(2)?.min(PREFIX);
    let at = (1..=last).rev().find(|&i| path[i] == b'/')?;
    let name = &path[at + 1..];
    (name.len() <= NAME).then_some((&path[..at], name))
}

fn long_name(out: &mut Vec<u8>, typeflag: u8, name: &[u8]) {
    let size = name.len() as u64 + 1;
    special(out, typeflag, b"././@LongLink", size);
    out.extend_from_slice(name);
    out.push(0);
    pad(out, size);
}

fn special(out: &mut Vec<u8>, typeflag: u8, name: &[u8], size: u64) {
    let mut block = [0u8; BLOCK];
    put(&mut block, 0, name);
    octal(&mut block, 100, 7, 0o644);
    octal(&mut block, 108, 7, 0);
    octal(&mut block, 116, 7, 0);
    octal(&mut block, 124, 11, size);
    octal(&mut block, 136, 11, 0);
    block[156] = typeflag;
    finish(out, block);
}

fn finish(out: &mut Vec<u8>, mut block: [u8; BLOCK]) {
    put(&mut block, 257, b"ustar\x0000");
    octal(&mut block, 329, 7, 0);
    octal(&mut block, 337, 7, 0);
    put(&mut block, 148, b"        ");
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    octal(&mut block, 148, 6, sum);
    block[154] = 0;
    block[155] = b' ';
    out.extend_from_slice(&block);
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn octal(block: &mut [u8; BLOCK], at: usize, digits: usize, mut value: u64) {
    for i in (at..at + digits).rev() {
        block[i] = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

fn fitting(value: u64, max: u64) -> u64 {
    if value <= max {
        value
    } else {
        0
    }
}

/// Seconds as pax writes them: no trailing zeros, `-1.5` for half a second before the last second but one of 1969.
pub fn decimal(time: Time) -> String {
    let (sign, sec, nsec) = if time.sec < 0 && time.nsec > 0 {
        ("-", (time.sec + 1).unsigned_abs(), 1_000_000_000 - time.nsec)
    } else if time.sec < 0 {
        ("-", time.sec.unsigned_abs(), 0)
    } else {
        ("", time.sec as u64, time.nsec)
    };
    if nsec == 0 {
        return format!("{sign}{sec}");
    }
    let fraction = format!("{nsec:09}");
    format!("{sign}{sec}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        let t = |sec, nsec| decimal(Time { sec, nsec });
        assert_eq!(t(0, 0), "0");
        assert_eq!(t(1_700_000_000, 120_000_000), "1700000000.12");
        assert_eq!(t(-1, 0), "-1");
        assert_eq!(t(-2, 500_000_000), "-1.5");
        assert_eq!(t(-1, 999_999_999), "-0.000000001");
    }

    #[test]
    fn splitting() {
        assert_eq!(split(&[b'a'; 100]), Some((&b""[..], &[b'a'; 100][..])));
        assert_eq!(split(&[b'a'; 101]), None);
        let mut long = [b'p'; 155].to_vec();
        long.push(b'/');
        long.extend([b'n'; 100]);
        assert_eq!(split(&long).map(|(p, n)| (p.len(), n.len())), Some((155, 100)));
        long.push(b'n');
        assert_eq!(split(&long), None);
        // The slash that ends a directory is no place to split.
        let mut dir = [b'd'; 120].to_vec();
        dir.push(b'/');
        assert_eq!(split(&dir), None);
    }
}
