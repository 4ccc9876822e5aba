//! A tar member as `docs/archive-format.md` wants it: a pax header for the nanoseconds, then the ustar header.

use std::ffi::CStr;

const BLOCK: usize = 512;

/// Names of the one owner the corpus has; looked up once.
pub struct Owners {
    uid: u32,
    gid: u32,
    user: Vec<u8>,
    group: Vec<u8>,
}

impl Owners {
    pub fn lookup() -> Self {
        let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
        let name = |found: *const libc::c_char| unsafe { CStr::from_ptr(found) }.to_bytes().to_vec();
        let user = unsafe { libc::getpwuid(uid).as_ref() }.map_or(Vec::new(), |p| name(p.pw_name));
        let group = unsafe { libc::getgrgid(gid).as_ref() }.map_or(Vec::new(), |g| name(g.gr_name));
        Self {
            uid,
            gid,
            user,
            group,
        }
    }
}

fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev().skip(1) {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

/// Appends one 512-byte header. `path` and `link` have at most 100 bytes; `ids` is mode, uid, gid, size, mtime.
fn ustar(out: &mut Vec<u8>, path: &[u8], kind: u8, ids: [u64; 5], link: &[u8], names: [&[u8]; 2]) {
    let [mode, uid, gid, size, mtime] = ids;
    let mut h = [0u8; BLOCK];
    assert!(path.len() <= 100 && link.len() <= 100, "floor: name too long");
    h[..path.len()].copy_from_slice(path);
    octal(&mut h[100..108], mode);
    octal(&mut h[108..116], uid);
    octal(&mut h[116..124], gid);
    octal(&mut h[124..136], size);
    octal(&mut h[136..148], mtime);
    h[148..156].fill(b' ');
    h[156] = kind;
    h[157..157 + link.len()].copy_from_slice(link);
    h[257..265].copy_from_slice(b"ustar\x0000");
    h[265..265 + names[0].len()].copy_from_slice(names[0]);
    h[297..297 + names[1].len()].copy_from_slice(names[1]);
    octal(&mut h[329..337], 0);
    octal(&mut h[337..345], 0);
    let sum: u32 = h.iter().map(|&b| u32::from(b)).sum();
    octal(&mut h[148..155], sum.into());
    h[154] = 0;
    out.extend_from_slice(&h);
}

/// Appends everything of a member but its data; `path` has the trailing slash of a directory.
pub fn header(out: &mut Vec<u8>, path: &[u8], stat: &libc::stat, link: &[u8], owners: &Owners) {
    let (kind, size) = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => (b'0', stat.st_size as u64),
        libc::S_IFDIR => (b'5', 0),
        _ => (b'2', 0),
    };
    if stat.st_mtime_nsec != 0 {
        let digits = format!("{:09}", stat.st_mtime_nsec);
        let value = format!(" mtime={}.{}\n", stat.st_mtime, digits.trim_end_matches('0'));
        // The record counts its own length; it has two digits here, for the value is 20 to 30 bytes.
        let record = format!("{}{value}", value.len() + 2);
        ustar(
            out,
            b"././@PaxHeader",
            b'x',
            [0o644, 0, 0, record.len() as u64, 0],
            b"",
            [b"", b""],
        );
        out.extend_from_slice(record.as_bytes());
        pad(out);
    }
    let user: &[u8] = if stat.st_uid == owners.uid {
        &owners.user
    } else {
        b""
    };
    let group: &[u8] = if stat.st_gid == owners.gid {
        &owners.group
    } else {
        b""
    };
    let ids = [
        u64::from(stat.st_mode & 0o7777),
        stat.st_uid.into(),
        stat.st_gid.into(),
        size,
        stat.st_mtime as u64,
    ];
    ustar(out, path, kind, ids, link, [user, group]);
}

pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

pub fn end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}
