//! The files the kernel knows: an `O_PATH` handle each, so that renames need no bookkeeping.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};

/// The result of a system call as a number, or its error.
pub fn check(result: i64) -> Result<i64, Errno> {
    if result < 0 {
        Err(Errno::from(std::io::Error::last_os_error()))
    } else {
        Ok(result)
    }
}

struct Node {
    fd: i32,
    lookups: u64,
}

pub struct Nodes {
    root: i32,
    known: Mutex<HashMap<u64, Node>>, // by inode number below the mount, which is that of the backing filesystem
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds < 0 {
        UNIX_EPOCH - whole
    } else {
        UNIX_EPOCH + whole
    };
    base + Duration::from_nanos(nanoseconds as u64)
}

fn timespec(time: Option<TimeOrNow>) -> libc::timespec {
    match time {
        None => libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_OMIT,
        },
        Some(TimeOrNow::Now) => libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_NOW,
        },
        Some(TimeOrNow::SpecificTime(when)) => {
            let since = when.duration_since(UNIX_EPOCH).unwrap_or_default();
            libc::timespec {
                tv_sec: since.as_secs() as i64,
                tv_nsec: since.subsec_nanos().into(),
            }
        }
    }
}

fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn stat(fd: i32) -> Result<libc::stat, Errno> {
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    check(unsafe { libc::fstatat(fd, c"".as_ptr(), &mut s, libc::AT_EMPTY_PATH) }.into())?;
    Ok(s)
}

impl Nodes {
    pub fn new(backing: &str) -> Result<Self, Errno> {
        let path = CString::new(backing).expect("no NUL in an argument");
        let root = check(
            unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) }.into(),
        )?;
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }.into())?;
        limit.rlim_cur = limit.rlim_max; // a handle for each file the kernel knows
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }.into())?;
        Ok(Self {
            root: root as i32,
            known: Mutex::new(HashMap::new()),
        })
    }

    /// The `O_PATH` handle; -1 (an error in every call) for one the kernel has forgotten.
    pub fn handle(&self, ino: INodeNo) -> i32 {
        if ino == INodeNo::ROOT {
            return self.root;
        }
        self.known
            .lock()
            .expect("no panic while held")
            .get(&ino.0)
            .map_or(-1, |node| node.fd)
    }

    /// A path that opens the file itself, whatever it is called now.
    pub fn path(&self, ino: INodeNo) -> CString {
        CString::new(format!("/proc/self/fd/{}", self.handle(ino))).expect("no NUL in a number")
    }

    pub fn look_up(&self, parent: INodeNo, name: &CStr) -> Result<FileAttr, Errno> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let fd = check(unsafe { libc::openat(self.handle(parent), name.as_ptr(), flags) }.into())? as i32;
        let s = stat(fd)?;
        let mut known = self.known.lock().expect("no panic while held");
        let node = known.entry(s.st_ino).or_insert(Node { fd, lookups: 0 });
        node.lookups += 1;
        if node.fd != fd {
            unsafe { libc::close(fd) };
        }
        Ok(self.convert(&s))
    }

    pub fn forget(&self, ino: INodeNo, count: u64) {
        let mut known = self.known.lock().expect("no panic while held");
        if let Some(node) = known.get_mut(&ino.0) {
            node.lookups = node.lookups.saturating_sub(count);
            if node.lookups == 0 {
                unsafe { libc::close(node.fd) };
                known.remove(&ino.0);
            }
        }
    }

    pub fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let s = stat(self.handle(ino))?;
        Ok(FileAttr {
            ino,
            ..self.convert(&s)
        })
    }

    fn convert(&self, s: &libc::stat) -> FileAttr {
        FileAttr {
            ino: INodeNo(s.st_ino),
            size: s.st_size as u64,
            blocks: s.st_blocks as u64,
            atime: time(s.st_atime, s.st_atime_nsec),
            mtime: time(s.st_mtime, s.st_mtime_nsec),
            ctime: time(s.st_ctime, s.st_ctime_nsec),
            crtime: UNIX_EPOCH,
            kind: kind(s.st_mode),
            perm: (s.st_mode & 0o7777) as u16,
            nlink: s.st_nlink as u32,
            uid: s.st_uid,
            gid: s.st_gid,
            rdev: s.st_rdev as u32,
            blksize: s.st_blksize as u32,
            flags: 0,
        }
    }

    pub fn set(
        &self,
        ino: INodeNo,
        mode: Option<u32>,
        owner: (Option<u32>, Option<u32>),
        size: Option<u64>,
        times: (Option<TimeOrNow>, Option<TimeOrNow>),
    ) -> Result<(), Errno> {
        let path = self.path(ino);
        if owner.0.is_some() || owner.1.is_some() {
            let (uid, gid) = (owner.0.unwrap_or(u32::MAX), owner.1.unwrap_or(u32::MAX));
            let at = self.handle(ino);
            check(unsafe { libc::fchownat(at, c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH) }.into())?;
        }
        if let Some(mode) = mode {
            check(unsafe { libc::chmod(path.as_ptr(), mode & 0o7777) }.into())?;
        }
        if let Some(size) = size {
            check(unsafe { libc::truncate(path.as_ptr(), size as i64) }.into())?;
        }
        if times.0.is_some() || times.1.is_some() {
            let both = [timespec(times.0), timespec(times.1)];
            let (at, flags) = (self.handle(ino), libc::AT_EMPTY_PATH);
            check(unsafe { libc::utimensat(at, c"".as_ptr(), both.as_ptr(), flags) }.into())?;
        }
        Ok(())
    }
}

/// A directory as it was when it was opened.
pub struct Listing {
    pub entries: Vec<(u64, FileType, Vec<u8>)>,
}

impl Listing {
    pub fn read(path: &CStr) -> Result<Self, Errno> {
        let directory = unsafe { libc::opendir(path.as_ptr()) };
        if directory.is_null() {
            return Err(Errno::from(std::io::Error::last_os_error()));
        }
        let mut entries = Vec::new();
        while let Some(entry) = unsafe { libc::readdir(directory).as_ref() } {
            let name = unsafe { CStr::from_ptr(entry.d_name.as_ptr()) }
                .to_bytes()
                .to_vec();
            entries.push((entry.d_ino, kind(u32::from(entry.d_type) << 12), name));
        }
        unsafe { libc::closedir(directory) };
        Ok(Self { entries })
    }
}
