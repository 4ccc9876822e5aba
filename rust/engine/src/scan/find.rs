//! One thread of a scan: takes work from the queue and lists directories; the names in them go to [`super::look`].

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use crate::error::Fault;
use crate::session::NO_ARCHIVE;
use crate::sys::{self, DirBuffer, Kind};
use crate::task::Control;

use super::look::{Found, Looker};
use super::measure::vanished;
use super::names::{leftover_file, Names};
use super::queue::{Chunk, Queue, Work};
use super::{RowKind, ScanSpec, Status};

/// A directory that is listed, and what holds for its entries.
pub(super) struct Dir {
    pub fd: OwnedFd,
    /// Its path and a slash: what stands before a name in it.
    pub prefix: Arc<[u8]>,
    pub device: u64,
    /// Of its entries; those of a root have 1.
    pub depth: usize,
    pub status: Status,
    pub marked: bool,
    /// The rules whose parent pattern fits its name.
    pub rules: Box<[u8]>,
}

impl Dir {
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        [&self.prefix, name].concat()
    }

    pub fn path(&self) -> Vec<u8> {
        match &self.prefix[..] {
            b"/" => b"/".to_vec(),
            [path @ .., _] => path.to_vec(),
            [] => Vec::new(),
        }
    }
}

pub(super) struct Finder<'a> {
    spec: &'a ScanSpec,
    queue: &'a Queue,
    control: &'a Control,
    buffer: DirBuffer,
    looker: Looker<'a>,
}

impl<'a> Finder<'a> {
    pub fn new(spec: &'a ScanSpec, names: Names, queue: &'a Queue, control: &'a Control) -> Self {
        let looker = Looker::new(spec, names, queue, control);
        Self { spec, queue, control, buffer: DirBuffer::default(), looker }
    }

    /// Work until there is none.
    pub fn run(mut self) -> Found {
        let mut first = true;
        while let Some(work) = self.queue.take(first) {
            first = false;
            if self.control.is_cancelled() {
                self.queue.clear();
                continue;
            }
            let path = match &work {
                Work::Root(path) => path.clone(),
                Work::Enter(parent, name) => parent.path_of(name),
                Work::Look(dir, _) => dir.path(),
            };
            // A defect in here must not leave the other threads waiting for this one.
            if catch_unwind(AssertUnwindSafe(|| self.work(work))).is_err() {
                let message = "the scan stumbled here, something below may be missing; please report it";
                self.fault(Fault::own("list", path, message));
            }
            self.looker.hand_on();
            self.looker.report();
        }
        self.looker.found
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Root(path) => self.root(&path),
            Work::Enter(parent, name) => self.enter(&parent, &name),
            Work::Look(dir, chunk) => self.looker.look(&dir, &chunk),
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.looker.found.faults.push(fault);
    }

    fn root(&mut self, path: &[u8]) {
        let (above, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(at) => (&path[..at.max(1)], &path[at + 1..]),
            None => (&b"."[..], path),
        };
        // What is above a root is looked at only if the root may be a session or a leftover itself.
        if self.looker.is_telling(name) {
            match self.root_row(above, name) {
                Ok(true) => return,
                Ok(false) => {}
                Err(fault) => return self.fault(fault),
            }
        }
        let fd = match sys::open_root(path) {
            Ok(fd) => fd,
            Err(e) => return self.fault(Fault::system("open", path, e)),
        };
        if self.spec.max_depth == Some(0) {
            return;
        }
        match sys::stat(&fd) {
            Ok(meta) => self.list(Dir {
                fd,
                prefix: prefix(path),
                device: meta.dev,
                depth: 1,
                status: Status::below(Status::Unknown, name),
                marked: false,
                rules: self.looker.names.rules_below(name),
            }),
            Err(e) => self.fault(Fault::system("stat", path, e)),
        }
    }

    /// The row of a root that is itself a session or a leftover; false if it is neither.
    fn root_row(&mut self, above: &[u8], name: &[u8]) -> Result<bool, Fault> {
        let fd = sys::open_root(above).map_err(|e| Fault::system("open", above, e))?;
        let device = sys::stat(&fd).map_err(|e| Fault::system("stat", above, e))?.dev;
        let parent = above.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let dir = Dir {
            fd,
            prefix: prefix(above),
            device,
            depth: 0,
            status: Status::Unknown,
            marked: false,
            rules: self.looker.names.rules_below(parent),
        };
        let meta = sys::stat_at(dir.fd.as_fd(), name).map_err(|e| Fault::system("open", dir.path_of(name), e))?;
        // A link is entered, as it is what was asked for; but it is no session.
        Ok(meta.kind == Kind::Dir && self.looker.told(&dir, name)?)
    }

    /// Open a directory that is no session and list it.
    fn enter(&mut self, parent: &Dir, name: &[u8]) {
        let fd = match sys::open_dir(parent.fd.as_fd(), name) {
            Ok(fd) => fd,
            Err(e) if vanished(e) => return,
            Err(e) => return self.fault(Fault::system("open", parent.path_of(name), e)),
        };
        let meta = match sys::stat(&fd) {
            Ok(meta) => meta,
            Err(e) => return self.fault(Fault::system("stat", parent.path_of(name), e)),
        };
        if self.spec.one_file_system && meta.dev != parent.device {
            return;
        }
        self.list(Dir {
            fd,
            prefix: prefix(&parent.path_of(name)),
            device: meta.dev,
            depth: parent.depth + 1,
            status: Status::below(parent.status, name),
            marked: parent.marked,
            rules: self.looker.names.rules_below(name),
        });
    }

    /// List a directory: what the kernel gives at a time is for whoever is free, the last of it for this thread.
    fn list(&mut self, mut dir: Dir) {
        let Self { spec, looker, buffer, .. } = self;
        if !dir.marked {
            // Asked first, as names are handed on before all of them are known.
            match sys::exists(dir.fd.as_fd(), NO_ARCHIVE) {
                Ok(marked) => dir.marked = marked,
                Err(e) => return self.fault(Fault::system("stat", dir.path_of(NO_ARCHIVE), e)),
            }
        }
        let dir = Arc::new(dir);
        let files = [RowKind::Archive, RowKind::Part, RowKind::Aside].iter().any(|&kind| spec.kinds[kind as usize]);
        let chunk = RefCell::new(Chunk::new());
        let seen = Cell::new(0);
        looker.found.directories += 1;
        let each = |name: &[u8], kind: Kind| {
            seen.set(seen.get() + 1);
            let mark = match kind {
                Kind::Dir => b'd',
                Kind::File if files && leftover_file(name).is_some() => b'f',
                Kind::Unknown => b'?',
                _ => return,
            };
            let mut chunk = chunk.borrow_mut();
            chunk.push(mark);
            chunk.extend_from_slice(name);
            chunk.push(0);
        };
        let refilled = || {
            looker.found.entries += seen.take();
            let chunk = &mut *chunk.borrow_mut();
            if chunk.is_empty() {
                return;
            }
            if looker.queue.has_enough() {
                looker.look(&dir, chunk);
                looker.hand_on();
                chunk.clear();
            } else {
                let room = chunk.capacity();
                let full = std::mem::replace(chunk, Chunk::with_capacity(room));
                looker.queue.push([Work::Look(Arc::clone(&dir), full)]);
            }
        };
        let listed = sys::list_dir(dir.fd.as_fd(), buffer, each, refilled);
        looker.found.entries += seen.take();
        match listed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => looker.found.faults.push(Fault::system("list", dir.path(), e)),
        }
        looker.look(&dir, &chunk.into_inner());
    }
}

fn prefix(path: &[u8]) -> Arc<[u8]> {
    let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
    [path, slash].concat().into()
}
