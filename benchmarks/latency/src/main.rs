//! A directory as a slow network filesystem would show it: every request to it waits before it is answered.
//!
//! `latency BACKING MOUNTPOINT MICROSECONDS` mounts a FUSE passthrough and serves it until it is unmounted. A lookup, an
//! attribute or a listing that the kernel has in its caches (one second, as NFS has three) costs nothing, all else one
//! wait: lookup, open, create, read, write, listing, setting attributes, rename, unlink, rmdir, mkdir, fsync. Closing costs
//! nothing. What makes it unlike a mere delay in each call: the kernel holds the directory's lock while a
//! create, rename or unlink waits, so these go one after the other in one directory, as on NFS.
//!
//! For benchmarks only: no extended attributes, no locks of its own, everything as the user who runs it.

mod nodes;

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use nodes::{check, Listing, Nodes};

const CACHED: Duration = Duration::from_secs(1);
/// Requests that can wait at the same time; more than any number of workers that is measured.
const THREADS: usize = 96;

struct Slow {
    nodes: Nodes,
    wait: Duration,
}

fn c(name: &OsStr) -> CString {
    CString::new(name.as_bytes()).expect("the kernel sends no NUL")
}

impl Slow {
    fn wait(&self) {
        if !self.wait.is_zero() {
            std::thread::sleep(self.wait);
        }
    }

    fn entry(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.nodes.look_up(parent, &c(name)) {
            Ok(attr) => reply.entry(&CACHED, &attr, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn answer(reply: ReplyEmpty, result: Result<i64, Errno>) {
        match result {
            Ok(_) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}

impl Filesystem for Slow {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        config
            .add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS)
            .map_err(|_| std::io::Error::other("this kernel has no parallel lookups in FUSE"))
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.wait();
        self.entry(parent, name, reply);
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.nodes.forget(ino, count);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.wait();
        match self.nodes.attr(ino) {
            Ok(attr) => reply.attr(&CACHED, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.wait();
        match self
            .nodes
            .set(ino, mode, (uid, gid), size, (atime, mtime))
            .and_then(|()| self.nodes.attr(ino))
        {
            Ok(attr) => reply.attr(&CACHED, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.wait();
        let mut target = [0u8; 4096];
        let at = self.nodes.handle(ino);
        let got = unsafe { libc::readlinkat(at, c"".as_ptr(), target.as_mut_ptr().cast(), target.len()) };
        match check(got as i64) {
            Ok(length) => reply.data(&target[..length as usize]),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        self.wait();
        let made = unsafe { libc::mkdirat(self.nodes.handle(parent), c(name).as_ptr(), mode & !umask) };
        match check(made.into()) {
            Ok(_) => self.entry(parent, name, reply),
            Err(error) => reply.error(error),
        }
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.wait();
        let target = c(target.as_os_str());
        let made = unsafe { libc::symlinkat(target.as_ptr(), self.nodes.handle(parent), c(name).as_ptr()) };
        match check(made.into()) {
            Ok(_) => self.entry(parent, name, reply),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.wait();
        let done = unsafe { libc::unlinkat(self.nodes.handle(parent), c(name).as_ptr(), 0) };
        Self::answer(reply, check(done.into()));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.wait();
        let done = unsafe { libc::unlinkat(self.nodes.handle(parent), c(name).as_ptr(), libc::AT_REMOVEDIR) };
        Self::answer(reply, check(done.into()));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.wait();
        let (from, to) = (self.nodes.handle(parent), self.nodes.handle(newparent));
        let done = unsafe { libc::renameat2(from, c(name).as_ptr(), to, c(newname).as_ptr(), flags.bits()) };
        Self::answer(reply, check(done.into()));
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        self.wait();
        let source = self.nodes.path(ino);
        let to = self.nodes.handle(newparent);
        let flags = libc::AT_SYMLINK_FOLLOW;
        let done = unsafe { libc::linkat(libc::AT_FDCWD, source.as_ptr(), to, c(newname).as_ptr(), flags) };
        match check(done.into()) {
            Ok(_) => self.entry(newparent, newname, reply),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.wait();
        let flags = (flags.0 & !libc::O_NOFOLLOW) | libc::O_CLOEXEC;
        match check(unsafe { libc::open(self.nodes.path(ino).as_ptr(), flags) }.into()) {
            Ok(fd) => reply.opened(FileHandle(fd as u64), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.wait();
        let (at, flags) = (self.nodes.handle(parent), flags | libc::O_CREAT | libc::O_CLOEXEC);
        let made = check(unsafe { libc::openat(at, c(name).as_ptr(), flags, mode & !umask) }.into());
        match made.and_then(|fd| Ok((fd, self.nodes.look_up(parent, &c(name))?))) {
            Ok((fd, attr)) => {
                reply.created(
                    &CACHED,
                    &attr,
                    Generation(0),
                    FileHandle(fd as u64),
                    FopenFlags::empty(),
                );
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.wait();
        let mut data = vec![0u8; size as usize];
        let got = unsafe { libc::pread(fh.0 as i32, data.as_mut_ptr().cast(), data.len(), offset as i64) };
        match check(got as i64) {
            Ok(length) => reply.data(&data[..length as usize]),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.wait();
        let done = unsafe { libc::pwrite(fh.0 as i32, data.as_ptr().cast(), data.len(), offset as i64) };
        match check(done as i64) {
            Ok(length) => reply.written(length as u32),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        unsafe { libc::close(fh.0 as i32) };
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.wait();
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.wait();
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.wait();
        match Listing::read(&self.nodes.path(ino)) {
            Ok(listing) => {
                let handle = Box::into_raw(Box::new(listing)) as u64;
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listing = unsafe { &*(fh.0 as *const Listing) };
        for (index, (ino, kind, name)) in listing.entries.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*ino), index as u64 + 1, *kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        if (offset as usize) < listing.entries.len() {
            self.wait(); // the empty answer at the end is free: NFS says so with the last entries
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        drop(unsafe { Box::from_raw(fh.0 as *mut Listing) });
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.wait();
        let mut s: libc::statvfs = unsafe { std::mem::zeroed() };
        match check(unsafe { libc::fstatvfs(self.nodes.handle(INodeNo::ROOT), &mut s) }.into()) {
            Ok(_) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                s.f_namemax as u32,
                s.f_frsize as u32,
            ),
            Err(error) => reply.error(error),
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [backing, mountpoint, micros] = &args[..] else {
        eprintln!("usage: latency BACKING MOUNTPOINT MICROSECONDS   (serves until unmounted)");
        std::process::exit(2)
    };
    let wait = Duration::from_micros(micros.parse().expect("MICROSECONDS is a number"));
    let nodes = Nodes::new(backing).expect("BACKING is a directory");
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("latency".into()),
        MountOption::DefaultPermissions,
    ];
    config.n_threads = Some(THREADS);
    unsafe { libc::umask(0) };
    fuser::mount(Slow { nodes, wait }, mountpoint, &config).expect("mounted and served");
}
