//! A strict reader of tar streams: one member at a time, everything that tar readers have been fooled with refused.
//!
//! Where two readings are possible (two sizes, two names, a mixed magic) the archive is refused rather than guessed at.
//! What is accepted beyond our own form is listed in `docs/archive-format.md`, section 7.

use std::io::{self, Read};

use super::sparse::MapParser;
use super::{padding, pax, BLOCK};
use crate::error::{show, Fault, Stop};
use crate::options::Limits;
use crate::sys::{Kind, Time};

/// Longest symlink target Linux makes.
const MAX_LINK: usize = 4095;

/// Zeros that may follow the end blocks; tapes pad to some MiB.
const MAX_TAIL: u64 = 1 << 30;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    File,
    Dir,
    Symlink,
    Hardlink,
    Fifo,
}

impl MemberKind {
    pub fn word(self) -> &'static str {
        match self {
            MemberKind::File => "file",
            MemberKind::Dir => "dir",
            MemberKind::Symlink => "symlink",
            MemberKind::Hardlink => "hardlink",
            MemberKind::Fifo => "fifo",
        }
    }

    /// The kind on disk; a hard link is a file.
    pub fn on_disk(self) -> Kind {
        match self {
            MemberKind::File | MemberKind::Hardlink => Kind::File,
            MemberKind::Dir => Kind::Dir,
            MemberKind::Symlink => Kind::Symlink,
            MemberKind::Fifo => Kind::Fifo,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Member {
    /// Without leading `./`, without slash at the end; empty for `./` itself.
    pub path: Vec<u8>,
    pub kind: MemberKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub uname: Vec<u8>,
    pub gname: Vec<u8>,
    /// Real size of a file, else 0.
    pub size: u64,
    pub mtime: Time,
    /// Symlink: the target as it is. Hard link: a member's path, like `path`.
    pub link: Vec<u8>,
    /// Attribute name and value; ACLs under their kernel names, as kernel bytes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Data regions of a sparse file.
    pub regions: Option<Vec<(u64, u64)>>,
}

/// Values that precede a member.
#[derive(Default)]
struct Extension {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// What is wrong with the header is said when the member it belongs to is known.
    pax: Option<std::result::Result<Pax, String>>,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    linkpath: Option<Vec<u8>>,
    mtime: Option<Time>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    uname: Option<Vec<u8>>,
    gname: Option<Vec<u8>>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_major: Option<Vec<u8>>,
    sparse_minor: Option<Vec<u8>>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
}

pub struct Reader<'l, R> {
    source: R,
    limits: &'l Limits,
    /// Bytes of the present member's data not yet read, and of its padding.
    left: u64,
    pad: usize,
    members: u64,
    content: u64,
    stored: u64,
    /// The member at hand, for messages.
    name: Vec<u8>,
}

/// Why reading stopped: the source could not be read, or what it holds is no good.
#[derive(Debug)]
pub enum Broken {
    Io(io::Error),
    Bad(String),
}

impl Broken {
    /// As a stop of work on the archive at `path`.
    pub fn at(self, path: &[u8]) -> Stop {
        match self {
            Broken::Io(e) if e.raw_os_error().is_some() => Stop::Failed(Fault::io("read", path, &e)),
            Broken::Io(e) => Stop::Damaged(Fault::own("decode", path, e.to_string())),
            Broken::Bad(message) => Stop::Damaged(Fault::own("decode", path, message)),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof && e.raw_os_error().is_none() {
            return Broken::Bad("the archive is cut off".into());
        }
        Broken::Io(e)
    }
}

type Result<T> = std::result::Result<T, Broken>;

fn bad<T>(name: &[u8], what: impl std::fmt::Display) -> Result<T> {
    Err(Broken::Bad(format!("member '{}': {what}", show(name))))
}

impl<'l, R: Read> Reader<'l, R> {
    pub fn new(source: R, limits: &'l Limits) -> Self {
        Self { source, limits, left: 0, pad: 0, members: 0, content: 0, stored: 0, name: Vec::new() }
    }

    pub fn members(&self) -> u64 {
        self.members
    }

    /// Sum of the real sizes of the files so far.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Bytes of data so far, holes not counted.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    pub fn into_source(self) -> R {
        self.source
    }

    /// The next member; what was not read of the last one is skipped. `None` at the end, which is checked: two zero blocks,
    /// then nothing but zeros.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        self.skip()?;
        let mut before = Extension::default();
        let mut pending = false;
        loop {
            let mut block = [0u8; BLOCK];
            self.source.read_exact(&mut block)?;
            if block == [0u8; BLOCK] {
                if pending {
                    return Err(Broken::Bad("an extended header stands before the end of the archive".into()));
                }
                self.source.read_exact(&mut block)?;
                if block != [0u8; BLOCK] {
                    return Err(Broken::Bad("a lone zero block in the archive".into()));
                }
                self.end()?;
                return Ok(None);
            }
            let raw = Raw::parse(&block)?;
            match raw.typeflag {
                b'L' | b'K' => {
                    pending = true;
                    let mut body = self.body(&raw, 65_536)?;
                    if body.pop() != Some(0) || body.is_empty() || body.contains(&0) {
                        return bad(&raw.name, "broken long name");
                    }
                    let slot = if raw.typeflag == b'L' { &mut before.long_name } else { &mut before.long_link };
                    if slot.replace(body).is_some() {
                        return bad(&raw.name, "two long names for one member");
                    }
                }
                b'x' => {
                    pending = true;
                    let body = self.body(&raw, self.limits.max_metadata)?;
                    if before.pax.replace(Pax::parse(&body)).is_some() {
                        return bad(&raw.name, "two pax headers for one member");
                    }
                }
                b'g' => {
                    if pending {
                        return bad(&raw.name, "a global header between a header and its member");
                    }
                    let body = self.body(&raw, self.limits.max_metadata)?;
                    let records = pax::parse(&body).or_else(|e| bad(&raw.name, e))?;
                    if let Some((key, _)) = records.iter().find(|(key, _)| *key != b"comment") {
                        return bad(&raw.name, format!("global header sets {}", show(key)));
                    }
                }
                _ => return self.member(raw, before).map(Some),
            }
        }
    }

    /// Read data of the present member; 0 at its end. For a sparse file these are the regions' bytes, one after the other.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.source.read(&mut buf[..want])?;
        if got == 0 {
            return bad(&self.name, "the archive is cut off in it");
        }
        self.left -= got as u64;
        Ok(got)
    }

    fn skip(&mut self) -> Result<()> {
        let mut scratch = [0u8; 16 * 1024];
        while self.left > 0 {
            self.read(&mut scratch)?;
        }
        let pad = std::mem::take(&mut self.pad);
        match self.source.read_exact(&mut scratch[..pad]) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return bad(&self.name, "the archive is cut off in it")
            }
            other => other?,
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let mut scratch = [0u8; 16 * 1024];
        let mut tail = 0u64;
        loop {
            let got = self.source.read(&mut scratch)?;
            if got == 0 {
                return Ok(());
            }
            tail += got as u64;
            if tail > MAX_TAIL {
                return Err(Broken::Bad("zeros without end behind the end of the archive".into()));
            }
            if scratch[..got].iter().any(|&b| b != 0) {
                return Err(Broken::Bad("data after the end of the archive".into()));
            }
        }
    }

    fn body(&mut self, raw: &Raw, limit: u64) -> Result<Vec<u8>> {
        if raw.size > limit {
            return bad(&raw.name, format!("an extended header of {} bytes", raw.size));
        }
        let mut body = vec![0; raw.size as usize + padding(raw.size)];
        self.source.read_exact(&mut body)?;
        body.truncate(raw.size as usize);
        Ok(body)
    }

    fn member(&mut self, raw: Raw, before: Extension) -> Result<Member> {
        let pax = match before.pax {
            None => Pax::default(),
            Some(Ok(pax)) => pax,
            Some(Err(what)) => return bad(before.long_name.as_ref().unwrap_or(&raw.name), what),
        };
        let named_twice = (before.long_name.is_some() && pax.path.is_some())
            || (before.long_link.is_some() && pax.linkpath.is_some());
        let path = pax.path.or(before.long_name).unwrap_or(raw.name);
        let link = pax.linkpath.or(before.long_link).unwrap_or(raw.link);
        if named_twice {
            return bad(&path, "a pax name and a GNU long name at once");
        }
        let mut kind = match raw.typeflag {
            b'0' | 0 => MemberKind::File,
            b'1' => MemberKind::Hardlink,
            b'2' => MemberKind::Symlink,
            b'5' => MemberKind::Dir,
            b'6' => MemberKind::Fifo,
            b'3' | b'4' => return bad(&path, "a device node"),
            b'7' => return bad(&path, "a contiguous file"),
            b'S' => {
                return bad(&path, "an old GNU sparse file; repack it with `tar --format=pax --sparse-version=1.0`")
            }
            b'D' => return bad(&path, "a GNU incremental directory"),
            b'M' | b'V' | b'N' => return bad(&path, "a part of a multi-volume archive"),
            flag => return bad(&path, format!("unknown type {}", show(&[flag]))),
        };
        if raw.typeflag == 0 && path.ends_with(b"/") {
            // How v7 archives wrote directories.
            kind = MemberKind::Dir;
        }
        let stored = match pax.size {
            Some(size) if raw.size != 0 && raw.size != size => {
                return bad(&path, format!("two sizes, {} and {size}", raw.size));
            }
            Some(size) => size,
            None => raw.size,
        };
        if kind != MemberKind::File && stored != 0 {
            return bad(&path, format!("a {} with {stored} bytes of data", kind.word()));
        }
        let path = self.clean(&path, kind)?;
        let link = match kind {
            MemberKind::Hardlink => match self.clean(&link, MemberKind::File) {
                Ok(link) => link,
                Err(Broken::Bad(what)) => return bad(&path, format!("a hard link to {what}")),
                Err(other) => return Err(other),
            },
            MemberKind::Symlink if link.len() > MAX_LINK => return bad(&path, "a link target that is too long"),
            MemberKind::Symlink if link.is_empty() => return bad(&path, "a symlink to nowhere"),
            MemberKind::Symlink if link.contains(&0) => return bad(&path, "NUL in the link"),
            MemberKind::Symlink => link,
            _ => Vec::new(),
        };
        self.members += 1;
        if self.members > self.limits.max_entries {
            return bad(&path, format!("more than {} members", self.limits.max_entries));
        }
        self.left = stored;
        self.stored = self.stored.saturating_add(stored);
        self.pad = padding(stored);
        self.name.clone_from(&path);
        let (size, regions) = match (&pax.sparse_major, &pax.sparse_minor) {
            (None, None) if pax.sparse_size.is_none() && pax.sparse_name.is_none() => (stored, None),
            (Some(major), Some(minor)) if major == b"1" && minor == b"0" && kind == MemberKind::File => {
                let Some(size) = pax.sparse_size else {
                    return bad(&path, "a sparse file without its size");
                };
                (size, Some(self.sparse_map(&path, size)?))
            }
            _ => return bad(&path, "a sparse file of a kind that is not supported (only GNU sparse 1.0 is)"),
        };
        let path = match pax.sparse_name {
            Some(name) => self.clean(&name, kind)?,
            None => path,
        };
        let content = if kind == MemberKind::File { size } else { 0 };
        if size > i64::MAX as u64 {
            return bad(&path, "a size that cannot be");
        }
        self.content = self.content.saturating_add(content);
        if self.content > self.limits.max_bytes {
            return bad(&path, format!("more than {} bytes in the archive", self.limits.max_bytes));
        }
        Ok(Member {
            kind,
            mode: raw.mode,
            uid: pax.uid.unwrap_or(raw.uid),
            gid: pax.gid.unwrap_or(raw.gid),
            uname: pax.uname.unwrap_or(raw.uname),
            gname: pax.gname.unwrap_or(raw.gname),
            size: content,
            mtime: pax.mtime.unwrap_or(Time { sec: raw.mtime, nsec: 0 }),
            link,
            xattrs: pax.xattrs,
            regions,
            path,
        })
    }

    fn sparse_map(&mut self, path: &[u8], size: u64) -> Result<Vec<(u64, u64)>> {
        let mut parser = MapParser::default();
        loop {
            let mut block = [0u8; BLOCK];
            if self.left < BLOCK as u64 {
                return bad(path, "a sparse map that does not end");
            }
            self.source.read_exact(&mut block)?;
            self.left -= BLOCK as u64;
            if parser.block(&block, size).or_else(|e| bad(path, e))? {
                break;
            }
        }
        let regions = parser.regions(size).or_else(|e| bad(path, e))?;
        let sum: u64 = regions.iter().map(|r| r.1).sum();
        if sum != self.left {
            return bad(path, "a sparse map that does not fit its data");
        }
        Ok(regions)
    }

    /// The path without `./` in front and slash behind; refused if it could lead elsewhere or means nothing.
    fn clean(&self, stored: &[u8], kind: MemberKind) -> Result<Vec<u8>> {
        let mut path = stored;
        if path.contains(&0) {
            return bad(stored, "NUL in the name");
        }
        if path.starts_with(b"/") {
            return bad(stored, "an absolute path");
        }
        if path.len() > self.limits.max_path {
            return bad(&stored[..200.min(stored.len())], format!("a name of {} bytes", stored.len()));
        }
        while let Some(rest) = path.strip_prefix(b"./") {
            path = rest;
        }
        if kind == MemberKind::Dir {
            if path.is_empty() && !stored.is_empty() {
                return Ok(Vec::new());
            }
            path = path.strip_suffix(b"/").unwrap_or(path);
        }
        let mut depth = 0;
        for part in path.split(|&b| b == b'/') {
            depth += 1;
            match part {
                b"" => return bad(stored, "an empty name"),
                b"." | b".." => return bad(stored, format!("'{}' in the path", show(part))),
                _ if part.len() > 255 => return bad(stored, "a name of more than 255 bytes"),
                _ => {}
            }
        }
        if depth > self.limits.max_depth {
            return bad(&stored[..200.min(stored.len())], format!("more than {} levels deep", self.limits.max_depth));
        }
        Ok(path.to_vec())
    }
}

/// The fields of one header block.
struct Raw {
    name: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    typeflag: u8,
    link: Vec<u8>,
    uname: Vec<u8>,
    gname: Vec<u8>,
}

impl Raw {
    fn parse(block: &[u8; BLOCK]) -> Result<Self> {
        let text = |at: usize, len: usize| {
            let field = &block[at..at + len];
            &field[..field.iter().position(|&b| b == 0).unwrap_or(len)]
        };
        let mut name = text(0, 100).to_vec();
        let unsigned: u64 = block.iter().map(|&b| u64::from(b)).sum::<u64>()
            - block[148..156].iter().map(|&b| u64::from(b)).sum::<u64>()
            + 8 * 32;
        let ustar = &block[257..265] == b"ustar\x0000";
        let gnu = &block[257..265] == b"ustar  \0";
        let v7 = block[257..265] == [0; 8];
        let sound = number(&block[148..156]) == Some(unsigned as i64);
        if !(ustar || gnu || v7) || (v7 && !sound) {
            return bad(&name, "an unknown kind of header");
        }
        if !sound {
            return bad(&name, "a header with a wrong checksum");
        }
        let prefix = text(345, 155);
        if ustar && !prefix.is_empty() {
            let mut whole = prefix.to_vec();
            whole.push(b'/');
            whole.extend_from_slice(&name);
            name = whole;
        }
        let field = |at: usize, len: usize, word: &str| match number(&block[at..at + len]) {
            Some(n) => Ok(n),
            None => bad(&name, format!("a broken {word}")),
        };
        let positive = |at: usize, len: usize, word: &str, max: i64| match field(at, len, word)? {
            n if (0..=max).contains(&n) => Ok(n),
            _ => bad(&name, format!("an impossible {word}")),
        };
        let mode = positive(100, 8, "mode", i64::MAX)? as u32 & 0o7777;
        let uid = positive(108, 8, "uid", i64::from(u32::MAX))? as u32;
        let gid = positive(116, 8, "gid", i64::from(u32::MAX))? as u32;
        if block[124..136].iter().all(|&b| b == b' ' || b == 0) {
            return bad(&name, "no size");
        }
        let size = positive(124, 12, "size", i64::MAX)? as u64;
        let mtime = field(136, 12, "time")?;
        let (uname, gname) = if v7 { (&b""[..], &b""[..]) } else { (text(265, 32), text(297, 32)) };
        Ok(Self {
            mode,
            uid,
            gid,
            size,
            mtime,
            typeflag: block[156],
            link: text(157, 100).to_vec(),
            uname: uname.to_vec(),
            gname: gname.to_vec(),
            name,
        })
    }
}

/// An octal number, spaces before and spaces or NULs behind; or base-256 with the high bit set. An empty field is 0.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, &b) in field.iter().enumerate() {
            let b = if i == 0 && !negative { b & 0x7f } else { b };
            value = (value << 8) | i128::from(b);
            if i64::try_from(value).is_err() {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let start = field.iter().position(|&b| b != b' ').unwrap_or(field.len());
    let rest = &field[start..];
    let end = rest.iter().position(|&b| b == 0 || b == b' ').unwrap_or(rest.len());
    if !rest[end..].iter().all(|&b| b == 0 || b == b' ') || !rest[..end].iter().all(|b| (b'0'..=b'7').contains(b)) {
        return None;
    }
    rest[..end].iter().try_fold(0i64, |n, &b| n.checked_mul(8)?.checked_add(i64::from(b - b'0')))
}

impl Pax {
    fn parse(body: &[u8]) -> std::result::Result<Self, String> {
        let mut pax = Pax::default();
        for (key, value) in pax::parse(body)? {
            let again = match key {
                b"path" => pax.path.replace(value.to_vec()).is_some(),
                b"linkpath" => pax.linkpath.replace(value.to_vec()).is_some(),
                b"mtime" => pax.mtime.replace(time(value).ok_or("a broken time")?).is_some(),
                b"size" => pax.size.replace(decimal(value).ok_or("a broken size")?).is_some(),
                b"uid" => pax.uid.replace(id(value).ok_or("a broken uid")?).is_some(),
                b"gid" => pax.gid.replace(id(value).ok_or("a broken gid")?).is_some(),
                b"uname" => pax.uname.replace(value.to_vec()).is_some(),
                b"gname" => pax.gname.replace(value.to_vec()).is_some(),
                b"GNU.sparse.major" => pax.sparse_major.replace(value.to_vec()).is_some(),
                b"GNU.sparse.minor" => pax.sparse_minor.replace(value.to_vec()).is_some(),
                b"GNU.sparse.name" => pax.sparse_name.replace(value.to_vec()).is_some(),
                b"GNU.sparse.realsize" => {
                    pax.sparse_size.replace(decimal(value).ok_or("a broken sparse size")?).is_some()
                }
                b"SCHILY.acl.access" => pax.acl(b"system.posix_acl_access", value)?,
                b"SCHILY.acl.default" => pax.acl(b"system.posix_acl_default", value)?,
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err("a sparse file of a kind that is not supported".into())
                }
                _ => match key.strip_prefix(b"SCHILY.xattr.") {
                    Some(name) => {
                        let name = pax::unescape_key(name);
                        if !name.starts_with(b"user.") || name.contains(&0) {
                            return Err(format!("the attribute {}", show(&name)));
                        }
                        pax.attribute(name, value.to_vec())
                    }
                    None => false,
                },
            };
            if again {
                return Err(format!("{} twice in one pax header", show(key)));
            }
        }
        if pax.path.as_deref().is_some_and(<[u8]>::is_empty) {
            return Err("an empty name".into());
        }
        Ok(pax)
    }

    fn acl(&mut self, name: &[u8], text: &[u8]) -> std::result::Result<bool, String> {
        let bytes = super::acl::from_text(text).ok_or("an ACL that cannot be read")?;
        Ok(self.attribute(name.to_vec(), bytes))
    }

    fn attribute(&mut self, name: Vec<u8>, value: Vec<u8>) -> bool {
        let again = self.xattrs.iter().any(|(n, _)| *n == name);
        self.xattrs.push((name, value));
        again
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn id(text: &[u8]) -> Option<u32> {
    decimal(text).and_then(|n| u32::try_from(n).ok())
}

/// Decimal seconds with a fraction; digits beyond nanoseconds are dropped (towards the past).
fn time(text: &[u8]) -> Option<Time> {
    let (negative, rest) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match rest.iter().position(|&b| b == b'.') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sec = i64::try_from(decimal(whole)?).ok()?;
    let mut nsec = 0u32;
    for i in 0..9 {
        nsec = nsec * 10 + fraction.get(i).map_or(0, |b| u32::from(b - b'0'));
    }
    let finer = negative && fraction.get(9..).is_some_and(|more| more.iter().any(|&b| b != b'0'));
    nsec += u32::from(finer);
    Some(match (negative, nsec) {
        (false, _) => Time { sec, nsec },
        (true, 0) => Time { sec: -sec, nsec: 0 },
        (true, 1_000_000_000) => Time { sec: -sec - 1, nsec: 0 },
        (true, _) => Time { sec: -sec - 1, nsec: 1_000_000_000 - nsec },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"00006448"), None);
        assert_eq!(number(b"-0000644"), None);
        assert_eq!(number(b"7777777777777777777777777"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn times() {
        let t = |text: &[u8]| time(text).map(|t| (t.sec, t.nsec));
        assert_eq!(t(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(t(b"-1"), Some((-1, 0)));
        assert_eq!(t(b"1.1234567891"), Some((1, 123_456_789)));
        for text in [&b"nan"[..], b"1e400", b"", b"+1", b"1.2.3", b".5", b"- 1", b"99999999999999999999"] {
            assert_eq!(t(text), None, "{text:?}");
        }
    }
}
