//! What `fstat` says of a file, as far as runark looks at it.

use rustix::fs::{FileType, Stat};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    pub sec: i64,
    pub nsec: u32,
}

impl Time {
    /// Nanoseconds since 1970, at the ends of the range where it does not fit (years 1678 and 2262).
    pub fn nanoseconds(self) -> i64 {
        self.sec.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nsec))
    }

    pub fn now() -> Self {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { sec: t.tv_sec, nsec: t.tv_nsec as u32 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    Device,
    Unknown,
}

impl From<FileType> for Kind {
    fn from(t: FileType) -> Self {
        match t {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Kind::Device,
            _ => Kind::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub kind: Kind,
    pub mode: u32,
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub allocated: u64,
    pub mtime: Time,
    pub ctime: Time,
}

impl Meta {
    #[allow(clippy::unnecessary_cast)] // the fields' types differ between platforms
    pub fn from_stat(s: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(s.st_mode as _).into(),
            mode: s.st_mode as u32 & 0o7777,
            dev: s.st_dev as u64,
            ino: s.st_ino as u64,
            nlink: s.st_nlink as u64,
            uid: s.st_uid,
            gid: s.st_gid,
            size: s.st_size as u64,
            allocated: s.st_blocks as u64 * 512,
            mtime: Time { sec: s.st_mtime as i64, nsec: s.st_mtime_nsec as u32 },
            ctime: Time { sec: s.st_ctime as i64, nsec: s.st_ctime_nsec as u32 },
        }
    }

    #[cfg(target_os = "linux")]
    pub fn from_statx(s: &rustix::fs::Statx) -> Self {
        let time = |t: rustix::fs::StatxTimestamp| Time { sec: t.tv_sec, nsec: t.tv_nsec };
        Self {
            kind: FileType::from_raw_mode(u32::from(s.stx_mode)).into(),
            mode: u32::from(s.stx_mode) & 0o7777,
            dev: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
            ino: s.stx_ino,
            nlink: u64::from(s.stx_nlink),
            uid: s.stx_uid,
            gid: s.stx_gid,
            size: s.stx_size,
            allocated: s.stx_blocks * 512,
            mtime: time(s.stx_mtime),
            ctime: time(s.stx_ctime),
        }
    }

    /// Device and inode number.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    pub fn same_inode(&self, other: &Meta) -> bool {
        self.dev == other.dev && self.ino == other.ino && self.kind == other.kind
    }

    /// Nothing that a writer could do without a trace has happened between the two looks.
    pub fn unchanged(&self, other: &Meta) -> bool {
        self.same_inode(other)
            && self.mode == other.mode
            && (self.size == other.size || self.kind == Kind::Dir)
            && self.mtime == other.mtime
            && self.ctime == other.ctime
    }
}
