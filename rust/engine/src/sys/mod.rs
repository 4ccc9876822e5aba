//! The only place with raw system calls. Everything is relative to a directory handle and never follows a symlink.
//!
//! Whatever names or changes something is counted ([`crate::load`]) before it is done; reading, writing and seeking are not.

mod dir;
mod meta;
mod names;
mod xattr;

use std::cell::Cell;
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::{Errno, Result};

pub use dir::{list_dir, DirBuffer};
pub use meta::{Kind, Meta, Time};
pub use names::Names;
pub use xattr::{forget_acls, get_xattr, list_xattr, set_xattr};

use crate::load::operations;

pub const CLOEXEC: OFlags = OFlags::CLOEXEC;

/// Open an absolute path as a directory; symlinks in it are followed (the caller's own path, not a session's).
pub fn open_root(path: &[u8]) -> Result<OwnedFd> {
    operations(1);
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | CLOEXEC, Mode::empty())
}

pub fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    operations(1);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Open a file for reading without following a link, without waiting for a FIFO's writer and, where allowed, without
/// touching its access time.
pub fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    operations(1);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | CLOEXEC;
    #[cfg(target_os = "linux")]
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => operations(1),
        other => return other,
    }
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

pub fn open_write(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    operations(1);
    rustix::fs::openat(dir, name, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | CLOEXEC, Mode::empty())
}

/// Make a new file, mode 0600; never opens an existing one.
pub fn create_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    operations(1);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

/// `fcntl` command, in no header of libc's crate; the same on every Linux.
#[cfg(target_os = "linux")]
const F_SETSIG: libc::c_int = 10;

/// What the kernel says to a read lease on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Nobody has it open for writing; who opens it so has to wait until the descriptor is closed.
    Given,
    /// A process of this host has it open for writing, or mapped so.
    Writer,
    /// It gives none at all (not our file, no such filesystem): nothing is known.
    None,
}

/// Take a read lease on the file; closing the descriptor, or [`end_lease`], ends it.
#[cfg(target_os = "linux")]
pub fn lease(fd: impl AsFd) -> Lease {
    use std::os::fd::AsRawFd;
    let fd = fd.as_fd().as_raw_fd();
    // A program that starts another shares its open files with it for a moment: who is still there after some is a writer.
    for pause in [10, 30, 0] {
        operations(1);
        // SAFETY: calls with numbers, on a descriptor that is open.
        unsafe {
            // Who opens the file for writing while we hold the lease has a signal sent to us: SIGIO would end the process, SIGURG
            // is ignored unless somebody asked for it.
            libc::fcntl(fd, F_SETSIG, libc::SIGURG);
            if libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
                return Lease::Given;
            }
        }
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock {
            return Lease::None;
        }
        std::thread::sleep(std::time::Duration::from_millis(pause));
    }
    Lease::Writer
}

/// Give the lease back: who wants to write need not wait.
#[cfg(target_os = "linux")]
pub fn end_lease(fd: impl AsFd) {
    use std::os::fd::AsRawFd;
    // SAFETY: a call with numbers, on a descriptor that is open.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    operations(1); // now that nobody waits for us
}

/// Whether nobody has opened the file for writing since the lease on it was given. One who waits for us to give it back counts.
#[cfg(target_os = "linux")]
pub fn lease_stands(fd: impl AsFd) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: a call with numbers, on a descriptor that is open.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
}

#[cfg(not(target_os = "linux"))]
pub fn lease(_: impl AsFd) -> Lease {
    Lease::None
}

#[cfg(not(target_os = "linux"))]
pub fn end_lease(_: impl AsFd) {}

#[cfg(not(target_os = "linux"))]
pub fn lease_stands(_: impl AsFd) -> bool {
    false
}

/// Make a directory that nobody else may enter.
pub fn make_private_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::mkdirat(dir, name, Mode::RWXU)
}

/// Make a directory with the mode that the umask leaves.
pub fn make_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::mkdirat(dir, name, Mode::RWXU | Mode::RWXG | Mode::RWXO)
}

pub fn make_symlink(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::symlinkat(target, dir, name)
}

pub fn make_fifo(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    operations(1);
    #[cfg(not(target_vendor = "apple"))]
    return rustix::fs::mkfifoat(dir, name, Mode::RUSR | Mode::WUSR);
    #[cfg(target_vendor = "apple")]
    return Err(Errno::NOTSUP);
}

pub fn link(from: BorrowedFd<'_>, old: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::linkat(from, old, to, new, AtFlags::empty())
}

pub fn stat(fd: impl AsFd) -> Result<Meta> {
    operations(1);
    rustix::fs::fstat(fd).map(|s| Meta::from_stat(&s))
}

pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Meta> {
    operations(1);
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Meta::from_stat(&s))
}

/// A directory's record and the mount it belongs to, which tells a bind mount of the same filesystem; `None` where the
/// kernel does not say.
#[cfg(target_os = "linux")]
pub fn stat_dir(fd: impl AsFd) -> Result<(Meta, Option<u64>)> {
    operations(1);
    use rustix::fs::StatxFlags;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    match rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, wanted) {
        Ok(found) => {
            let told = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
            Ok((Meta::from_statx(&found), told.then_some(found.stx_mnt_id)))
        }
        // Some sandboxes refuse statx.
        Err(Errno::NOSYS | Errno::PERM) => Ok((stat(fd)?, None)),
        Err(e) => Err(e),
    }
}

#[cfg(not(target_os = "linux"))]
pub fn stat_dir(fd: impl AsFd) -> Result<(Meta, Option<u64>)> {
    Ok((stat(fd)?, None))
}

/// Whether the name exists, whatever it is.
pub fn exists(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    match stat_at(dir, name) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

pub fn read_link(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    operations(1);
    rustix::fs::readlinkat(dir, name, Vec::new()).map(|s| s.into_bytes())
}

pub fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::unlinkat(dir, name, AtFlags::empty())
}

/// Whether names in the directory may be removed by the effective user; the refusal if not.
pub fn may_change(dir: BorrowedFd<'_>) -> Result<()> {
    operations(1);
    use rustix::fs::Access;
    match rustix::fs::accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Err(e @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Err(e),
        // What cannot be asked shows when it is done.
        _ => Ok(()),
    }
}

pub fn remove_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    operations(1);
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Rename within a directory, never over an existing name. Where the filesystem has no such call (NFS), files are linked
/// and unlinked, which never replaces either; directories are renamed after a look, which at worst replaces an empty one.
pub fn rename_new(dir: BorrowedFd<'_>, old: &[u8], new: &[u8], is_dir: bool) -> Result<()> {
    operations(1);
    match rustix::fs::renameat_with(dir, old, dir, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        other => return other,
    }
    if is_dir {
        if exists(dir, new)? {
            return Err(Errno::EXIST);
        }
        operations(1);
        return rustix::fs::renameat(dir, old, dir, new);
    }
    link(dir, old, dir, new)?;
    unlink(dir, old)
}

/// Move a file to another directory of the same filesystem, never over an existing name.
pub fn move_new(from: BorrowedFd<'_>, old: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    operations(1);
    match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        other => return other,
    }
    link(from, old, to, new)?;
    unlink(from, old)
}

/// Move a directory to another parent on the same filesystem, never over an existing name.
pub fn move_dir_new(from: BorrowedFd<'_>, old: &[u8], to: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    operations(1);
    match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        other => return other,
    }
    if exists(to, new)? {
        return Err(Errno::EXIST);
    }
    operations(1);
    rustix::fs::renameat(from, old, to, new)
}

/// Read until the buffer is full or the file ends; the number of bytes read.
pub fn read_full(fd: impl AsFd, buf: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match rustix::io::read(fd.as_fd(), &mut buf[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Append up to `len` bytes to `out`; the number of bytes read.
pub fn read_append(fd: impl AsFd, out: &mut Vec<u8>, len: usize) -> Result<usize> {
    out.reserve(len);
    let start = out.len();
    let mut got = 0;
    while got < len {
        let spare: &mut [MaybeUninit<u8>] = &mut out.spare_capacity_mut()[..len - got];
        match rustix::io::read(fd.as_fd(), spare) {
            Ok(([], _)) => break,
            Ok((init, _)) => {
                got += init.len();
                // SAFETY: the kernel has written these bytes right behind the old length.
                unsafe { out.set_len(start + got) };
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Append what one `read` of up to `len` bytes gives.
pub fn read_once(fd: impl AsFd, out: &mut Vec<u8>, len: usize) -> Result<usize> {
    out.reserve(len);
    let start = out.len();
    loop {
        let spare: &mut [MaybeUninit<u8>] = &mut out.spare_capacity_mut()[..len];
        match rustix::io::read(fd.as_fd(), spare) {
            Ok((init, _)) => {
                let got = init.len();
                // SAFETY: the kernel has written these bytes right behind the old length.
                unsafe { out.set_len(start + got) };
                return Ok(got);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

pub fn write_all(fd: impl AsFd, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        match rustix::io::write(fd.as_fd(), data) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => data = &data[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub fn write_at(fd: impl AsFd, mut data: &[u8], mut offset: u64) -> Result<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(fd.as_fd(), data, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                data = &data[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub fn seek_to(fd: impl AsFd, offset: u64) -> Result<()> {
    rustix::fs::seek(fd, SeekFrom::Start(offset)).map(|_| ())
}

/// The data regions of a file of `size` bytes: `(offset, length)`, ordered, not touching. One region over all of it where the
/// filesystem does not tell.
pub fn data_regions(fd: impl AsFd, size: u64) -> Result<Vec<(u64, u64)>> {
    let fd = fd.as_fd();
    let mut regions = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => {
                regions = vec![(0, size)];
                break;
            }
            Err(e) => return Err(e),
        };
        let end = rustix::fs::seek(fd, SeekFrom::Hole(start))?.min(size);
        regions.push((start, end - start));
        at = end;
    }
    seek_to(fd, 0)?;
    Ok(regions)
}

/// Set the length (grows as a hole).
pub fn set_len(fd: impl AsFd, size: u64) -> Result<()> {
    operations(1);
    rustix::fs::ftruncate(fd, size)
}

pub fn set_mode(fd: impl AsFd, mode: u32) -> Result<()> {
    operations(1);
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode as rustix::fs::RawMode))
}

pub fn set_owner(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    operations(1);
    rustix::fs::fchown(fd, uid.map(rustix::fs::Uid::from_raw), gid.map(rustix::fs::Gid::from_raw))
}

/// Owner of a name that is not opened (symlinks, FIFOs).
pub fn set_owner_at(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> Result<()> {
    operations(1);
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Mode of a FIFO just made in a directory nobody else may enter.
pub fn set_mode_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    operations(1);
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode as rustix::fs::RawMode), AtFlags::empty())
}

fn timestamps(mtime: Time) -> rustix::fs::Timestamps {
    let spec = |t: Time| rustix::fs::Timespec { tv_sec: t.sec, tv_nsec: t.nsec as _ };
    // The access time is not kept; setting it to the modification time avoids one more clock.
    rustix::fs::Timestamps { last_access: spec(mtime), last_modification: spec(mtime) }
}

pub fn set_mtime(fd: impl AsFd, mtime: Time) -> Result<()> {
    operations(1);
    rustix::fs::futimens(fd, &timestamps(mtime))
}

pub fn set_mtime_at(dir: BorrowedFd<'_>, name: &[u8], mtime: Time) -> Result<()> {
    operations(1);
    rustix::fs::utimensat(dir, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// What asking for a lock came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Taken,
    /// Another process has it.
    Held,
    /// The filesystem has no locks: the root's has to do.
    None,
}

/// Take the file's advisory lock without waiting.
pub fn try_lock(fd: impl AsFd) -> Result<Lock> {
    operations(1);
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Taken),
        Err(Errno::WOULDBLOCK) => Ok(Lock::Held),
        Err(Errno::NOSYS | Errno::NOTSUP | Errno::NOLCK | Errno::INVAL | Errno::BADF) => Ok(Lock::None),
        Err(e) => Err(e),
    }
}

/// Data and metadata of a file, or the names of a directory, to stable storage. A directory that cannot be synced
/// (`EINVAL` on some network filesystems) is taken as synced: its operations are synchronous there.
pub fn sync_dir(fd: impl AsFd) -> Result<()> {
    operations(1);
    match rustix::fs::fsync(fd) {
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
        other => other,
    }
}

pub fn sync_file(fd: impl AsFd) -> Result<()> {
    operations(1);
    rustix::fs::fsync(fd)
}

pub fn sync_data(fd: impl AsFd) -> Result<()> {
    operations(1);
    #[cfg(not(target_vendor = "apple"))]
    return rustix::fs::fdatasync(fd);
    #[cfg(target_vendor = "apple")]
    return rustix::fs::fcntl_fullfsync(fd);
}

#[cfg(target_os = "linux")]
pub fn sync_filesystem(fd: impl AsFd) -> Result<()> {
    operations(1);
    rustix::fs::syncfs(fd)
}

#[cfg(not(target_os = "linux"))]
pub fn sync_filesystem(_fd: impl AsFd) -> Result<()> {
    Err(Errno::NOSYS)
}

/// Drop a clean file from the page cache and ask the storage for it again, without waiting. Only advice: a refusal is no
/// error.
pub fn read_anew(fd: impl AsFd) {
    #[cfg(target_os = "linux")]
    for advice in [rustix::fs::Advice::DontNeed, rustix::fs::Advice::WillNeed] {
        let _ = rustix::fs::fadvise(&fd, 0, None, advice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = fd.as_fd();
}

/// Where a filesystem keeps its data, as far as durability goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory: nothing survives a power cut anyway.
    Volatile,
    /// A local filesystem: the kernel alone makes changes there.
    Local,
    /// Network, FUSE, unknown: `fsync` each file.
    Other,
}

impl Storage {
    /// Whether one `syncfs` brings all that was written to stable storage, or says that it could not.
    pub fn syncs_at_once(self) -> bool {
        self == Storage::Local && syncfs_tells()
    }
}

#[cfg(target_os = "linux")]
pub fn storage(fd: impl AsFd) -> Result<Storage> {
    operations(1);
    const VOLATILE: [u32; 2] = [0x0102_1994, 0x8584_58f6]; // tmpfs, ramfs
    const LOCAL: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010]; // ext, xfs, btrfs, f2fs
    let magic = rustix::fs::fstatfs(fd)?.f_type as u32;
    Ok(if VOLATILE.contains(&magic) {
        Storage::Volatile
    } else if LOCAL.contains(&magic) {
        Storage::Local
    } else {
        Storage::Other
    })
}

#[cfg(not(target_os = "linux"))]
pub fn storage(_fd: impl AsFd) -> Result<Storage> {
    Ok(Storage::Other)
}

/// Bytes free for us on the filesystem.
pub fn free_bytes(fd: impl AsFd) -> Result<u64> {
    operations(1);
    let s = rustix::fs::fstatvfs(fd)?;
    Ok(s.f_bavail.saturating_mul(s.f_frsize))
}

/// Whether `syncfs` reports errors of writing: since Linux 5.8.
#[cfg(target_os = "linux")]
pub fn syncfs_tells() -> bool {
    let release = rustix::system::uname();
    let text = release.release().to_string_lossy().into_owned();
    let mut numbers = text.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

#[cfg(not(target_os = "linux"))]
pub fn syncfs_tells() -> bool {
    false
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Files this process may have open.
pub fn max_open() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Effective user and group.
pub fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

thread_local! {
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
}

/// 16 hex digits for a name nobody else has: seeded by the system in each thread, then a SplitMix64 sequence. A clash would
/// only be refused (`O_EXCL`, `RENAME_NOREPLACE`), never overwrite.
pub fn random_hex() -> Result<String> {
    let state = match RANDOM.get() {
        Some(state) => state,
        None => {
            let mut bytes = [0u8; 8];
            // SAFETY: getentropy writes exactly the eight bytes it is given.
            if unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) } != 0 {
                return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
            }
            u64::from_le_bytes(bytes)
        }
    };
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM.set(Some(state));
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Ok(format!("{:016x}", z ^ (z >> 31)))
}
