//! Go through one session: every entry's `stat`, relative to its directory's handle, summed up.

use std::rc::Rc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::error::Fault;
use crate::session::MARKS;
use crate::sys::{self, DirBuffer, Kind, Meta};
use crate::task::Control;

use super::find::Dir;

/// What all entries of a session come to, the session directory included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub inodes: u64,
    pub size: u64,
    pub allocated: u64,
    pub newest_ns: i64,
}

impl Sums {
    /// Of one entry alone.
    pub fn of(meta: &Meta) -> Self {
        let mut sums = Self { newest_ns: i64::MIN, ..Self::default() };
        sums.add(meta);
        sums
    }

    fn add(&mut self, meta: &Meta) {
        self.inodes += 1;
        if meta.kind == Kind::File {
            self.size += meta.size;
        }
        self.allocated += meta.allocated;
        self.newest_ns = self.newest_ns.max(meta.mtime.nanoseconds());
    }
}

/// What a session holds.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Of what could be looked at.
    pub sums: Sums,
    /// The record of the session directory, if it could be taken.
    pub own: Option<Meta>,
    /// One of `MARKS` is in it; nothing else was looked at then.
    pub marked: bool,
    /// It is a mount point or there is one in it, not entered.
    pub mounted: bool,
    /// Something could not be listed or examined; the faults say what.
    pub unreadable: bool,
    pub faults: Vec<Fault>,
    pub directories: u64,
    pub entries: u64,
}

impl Measured {
    fn fault(&mut self, op: &'static str, path: Vec<u8>, errno: Errno) {
        self.unreadable = true;
        self.faults.push(Fault::system(op, path, errno));
    }

    /// A directory that could not be opened is there all the same.
    fn add_unopened(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Option<Meta> {
        let meta = sys::stat_at(parent, name).ok()?; // its fault is told already
        self.sums.add(&meta);
        Some(meta)
    }
}

/// Keeps what is used again for the next session.
#[derive(Default)]
pub(super) struct Measurer {
    buffer: DirBuffer,
    todo: Vec<Todo>,
    /// Paths below the session of the directories in `todo`, one after the other.
    paths: Vec<u8>,
    current: Vec<u8>,
}

/// A directory to go through, and where its path begins in `paths`.
struct Todo {
    parent: Rc<OwnedFd>,
    at: usize,
    name_at: usize,
}

impl Measurer {
    /// The directory `name` in `dir`; `None` if it is not there any more, or if the scan was cancelled meanwhile.
    pub fn measure(&mut self, heeds_mark: bool, control: &Control, dir: &Dir, name: &[u8]) -> Option<Measured> {
        let parent = dir.fd.as_fd();
        let path = || dir.path_of(name);
        let mut found = Measured { sums: Sums { newest_ns: i64::MIN, ..Sums::default() }, ..Measured::default() };
        self.todo.clear();
        self.paths.clear();
        self.current.clear();
        match open(parent, name) {
            Ok((fd, own)) => {
                found.own = Some(own);
                found.sums.add(&own);
                if own.dev != dir.device {
                    found.mounted = true;
                    return Some(found);
                }
                self.list(fd, heeds_mark, control, &mut found, &path);
                if found.marked {
                    // As if nobody had looked: what is marked is not gone through.
                    return Some(Measured { own: found.own, marked: true, ..Measured::default() });
                }
            }
            Err((_, e)) if vanished(e) => return None,
            Err((op, e)) => {
                found.fault(op, path(), e);
                found.own = found.add_unopened(parent, name);
                if found.own.is_none() {
                    found.sums = Sums::default();
                }
                return Some(found);
            }
        }
        let device = found.own.map(|own| own.dev);
        while let Some(Todo { parent, at, name_at }) = self.todo.pop() {
            self.current.clear();
            self.current.extend_from_slice(&self.paths[at..]);
            self.paths.truncate(at);
            if control.is_cancelled() {
                return None;
            }
            let name = &self.current[name_at..];
            match open(parent.as_fd(), name) {
                Ok((_, meta)) if Some(meta.dev) != device => found.mounted = true,
                Ok((fd, meta)) => {
                    drop(parent); // closed before its last directory is gone through: depth costs no handles
                    found.sums.add(&meta);
                    self.list(fd, false, control, &mut found, &path);
                }
                Err((_, e)) if vanished(e) => {}
                Err((op, e)) => {
                    found.add_unopened(parent.as_fd(), name);
                    found.fault(op, join(path(), &self.current), e);
                }
            }
        }
        (!control.is_cancelled()).then_some(found)
    }

    /// One directory: its entries are added, its directories put on the stack.
    fn list(
        &mut self,
        fd: OwnedFd,
        heeds_mark: bool,
        control: &Control,
        found: &mut Measured,
        path: &impl Fn() -> Vec<u8>,
    ) {
        found.directories += 1;
        let fd = Rc::new(fd);
        let Self { buffer, todo, paths, current } = self;
        let mut below = |name: &[u8]| {
            let at = paths.len();
            paths.extend_from_slice(current);
            if !current.is_empty() {
                paths.push(b'/');
            }
            todo.push(Todo { parent: Rc::clone(&fd), at, name_at: paths.len() - at });
            paths.extend_from_slice(name);
        };
        let each = |name: &[u8], kind: Kind| {
            if control.is_cancelled() {
                return; // the answer is thrown away
            }
            found.entries += 1;
            found.marked |= heeds_mark && MARKS.contains(&name);
            if found.marked {
                return;
            }
            if kind == Kind::Dir {
                return below(name); // counted when it is opened, which saves looking it up once more
            }
            match sys::stat_at(fd.as_fd(), name) {
                Ok(meta) if meta.kind == Kind::Dir => below(name),
                Ok(meta) => found.sums.add(&meta),
                Err(Errno::NOENT) => {}
                Err(e) => {
                    found.sums.inodes += 1;
                    found.fault("stat", join(join(path(), current), name), e);
                }
            }
        };
        match sys::list_dir(fd.as_fd(), buffer, each, || {}) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => found.fault("list", join(path(), current), e),
        }
    }
}

/// A directory and its record, or the operation that failed.
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(OwnedFd, Meta), (&'static str, Errno)> {
    let fd = sys::open_dir(parent, name).map_err(|e| ("open", e))?;
    let meta = sys::stat(&fd).map_err(|e| ("stat", e))?;
    Ok((fd, meta))
}

/// It was there a moment ago, or it was a directory then.
pub(super) fn vanished(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

fn join(mut path: Vec<u8>, below: &[u8]) -> Vec<u8> {
    if !below.is_empty() {
        path.push(b'/');
        path.extend_from_slice(below);
    }
    path
}
