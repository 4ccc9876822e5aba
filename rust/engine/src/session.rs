//! One session as it was found: every entry, and handles on its directories.
//!
//! Handles are kept open while there are few of them and opened again on demand, each time relative to the parent's handle
//! and checked against the recorded inode; no path is ever resolved as a whole.

use std::cell::Cell;
use std::collections::HashSet;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::error::{show, Fault, Stop};
use crate::sys::{self, Kind, Lease, Lock, Meta, Storage};

/// Handles one session may keep open, at most.
pub const OPEN: usize = 32;

thread_local! {
    static MAY_KEEP: Cell<usize> = const { Cell::new(OPEN) };
}

/// Keep fewer handles open in this thread: many workers share the files that a process may have open.
pub fn keep_open(handles: usize) {
    MAY_KEEP.set(handles.min(OPEN));
}

pub const NO_DIR: u32 = u32::MAX;

/// A file of this name keeps its directory, and the sessions below it, from being archived.
pub const NO_ARCHIVE: &[u8] = b".noarchive";
/// Files that keep the session they are in from being archived.
pub const MARKS: [&[u8]; 2] = [b".keep", NO_ARCHIVE];

#[derive(Debug)]
pub struct Entry {
    /// Below the session directory, without slashes at the ends; empty for the session directory itself.
    pub path: Vec<u8>,
    /// Where the last component begins in `path`.
    pub name_at: usize,
    /// The directory it is in, index into the tree's directories; `NO_DIR` for the session directory.
    pub parent: u32,
    /// Its own index among the directories, `NO_DIR` if it is none.
    pub dir: u32,
    pub kind: Kind,
    /// The record taken when it was read; `None` until then.
    pub meta: Option<Meta>,
    /// In memory, of a file that was read: the sum of its content ([`crate::content`]).
    pub sum: Option<u32>,
}

impl Entry {
    pub fn name(&self) -> &[u8] {
        &self.path[self.name_at..]
    }
}

#[derive(Debug)]
pub struct Directory {
    pub parent: u32,
    pub name: Vec<u8>,
    pub meta: Meta,
    pub listing: Listing,
    handle: Option<OwnedFd>,
}

/// What a directory listed: the number of names and an order-free digest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    count: u64,
    digest: u64,
}

impl Listing {
    pub fn add(&mut self, name: &[u8]) {
        use std::hash::{DefaultHasher, Hasher};
        let mut hasher = DefaultHasher::new(); // the same keys each time
        hasher.write(name);
        self.count += 1;
        self.digest = self.digest.wrapping_add(hasher.finish());
    }
}

/// A handle on one of the session's directories, kept or opened for the occasion.
pub enum Handle<'a> {
    Kept(BorrowedFd<'a>),
    Fresh(OwnedFd),
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Handle::Kept(fd) => *fd,
            Handle::Fresh(fd) => fd.as_fd(),
        }
    }
}

/// Where a session directory is: its parent's handle, the parent's path (for messages) and its present name.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub parent: BorrowedFd<'a>,
    /// The mount of the parent, where the kernel tells.
    pub mount: Option<u64>,
    pub parent_path: &'a [u8],
    pub name: &'a [u8],
    pub storage: Storage,
}

impl Place<'_> {
    /// The kernel alone changes what is there (no file server): it tells who has a file open for writing, and a directory
    /// whose record has not changed holds the names it held.
    pub fn is_local(&self) -> bool {
        self.storage != Storage::Other
    }

    /// It is in memory: stores through a mapping change no time there.
    pub fn is_volatile(&self) -> bool {
        self.storage == Storage::Volatile
    }

    /// Ask for a read lease on the file of this entry; whether it was given. `Changed` if somebody has it open for writing.
    pub fn lease(&self, fd: impl AsFd, entry: &Entry) -> Result<bool, Stop> {
        match if self.is_local() { sys::lease(fd) } else { Lease::None } {
            Lease::Writer => Err(Stop::Changed(format!("{} is open for writing", show(&entry.path)))),
            lease => Ok(lease == Lease::Given),
        }
    }

    pub fn path(&self) -> Vec<u8> {
        join(self.parent_path, self.name)
    }

    pub fn path_of(&self, below: &[u8]) -> Vec<u8> {
        if below.is_empty() {
            self.path()
        } else {
            join(&self.path(), below)
        }
    }
}

/// Whether the name is one that runark makes: `before`, 16 lowercase hex digits, `after`. What else stands beside a session is
/// not for us to touch, whoever says it is a leftover.
pub fn is_ours(name: &[u8], before: &[&[u8]], after: &[u8]) -> bool {
    let digits = name.strip_prefix(before.concat().as_slice()).and_then(|rest| rest.strip_suffix(after));
    digits.is_some_and(|x| x.len() == 16 && x.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)))
}

pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A file with a read lease. Closing alone would not end it: a child that the program around us forks meanwhile has the
/// descriptor too, and who wants to write would wait for the kernel to lose patience.
#[derive(Debug)]
pub struct Held(pub OwnedFd);

impl Drop for Held {
    fn drop(&mut self) {
        sys::end_lease(&self.0);
    }
}

#[derive(Debug, Default)]
pub struct Tree {
    /// In the order of the archive (`walk::order`); the first is the session directory.
    pub entries: Vec<Entry>,
    pub dirs: Vec<Directory>,
    /// Files kept open, each with a read lease: indices into `entries`, rising.
    pub leased: Vec<(usize, Held)>,
    open: usize,
}

impl Tree {
    /// Refuse a session that its owner has marked.
    pub fn heed_mark(&self) -> Result<(), Stop> {
        match MARKS.iter().find(|mark| self.entries.iter().any(|entry| entry.path == **mark)) {
            Some(mark) => Err(Stop::Skipped(format!("marked with {}", show(mark)))),
            None => Ok(()),
        }
    }

    pub fn add_dir(&mut self, parent: u32, name: &[u8], meta: Meta, handle: OwnedFd) -> u32 {
        let keep = self.open < MAY_KEEP.get();
        self.open += usize::from(keep);
        self.dirs.push(Directory {
            parent,
            name: name.to_vec(),
            meta,
            listing: Listing::default(),
            handle: keep.then_some(handle),
        });
        (self.dirs.len() - 1) as u32
    }

    /// Whether one more file, besides `leased`, may be kept open.
    pub fn may_lease(&self, leased: usize) -> bool {
        self.open + leased < MAY_KEEP.get()
    }

    /// A handle on directory `dir`; `Changed` if what is there now is not what was recorded.
    pub fn dir(&self, place: Place<'_>, dir: u32) -> Result<Handle<'_>, Stop> {
        let node = &self.dirs[dir as usize];
        if let Some(fd) = &node.handle {
            return Ok(Handle::Kept(fd.as_fd()));
        }
        // Upward to the nearest open one, then down again; depth is bounded by the limits.
        let mut chain = vec![dir];
        let mut at = node.parent;
        while at != NO_DIR && self.dirs[at as usize].handle.is_none() {
            chain.push(at);
            at = self.dirs[at as usize].parent;
        }
        let mut fd: Option<OwnedFd> = None;
        let kept = (at != NO_DIR).then(|| self.dirs[at as usize].handle.as_ref()).flatten();
        for &i in chain.iter().rev() {
            let node = &self.dirs[i as usize];
            let name = if node.parent == NO_DIR { place.name } else { &node.name };
            let base = match (&fd, kept) {
                (Some(fd), _) => fd.as_fd(),
                (None, Some(kept)) => kept.as_fd(),
                (None, None) => place.parent,
            };
            let next = sys::open_dir(base, name).map_err(|e| gone("open", &place, name, e))?;
            let now = sys::stat(&next).map_err(|e| Fault::system("stat", join(&place.path(), name), e))?;
            if !now.same_inode(&node.meta) {
                return Err(Stop::Changed(format!("directory {} was replaced", show(name))));
            }
            fd = Some(next);
        }
        fd.map(Handle::Fresh).ok_or_else(|| Stop::Changed("directory is gone".into()))
    }

    /// Open the directories again, as many as are kept; `Changed` if one is not the recorded one any more.
    pub fn reopen(&mut self, place: Place<'_>) -> Result<(), Stop> {
        for i in 0..self.dirs.len().min(MAY_KEEP.get()) {
            if self.dirs[i].handle.is_some() {
                continue;
            }
            if let Handle::Fresh(fd) = self.dir(place, i as u32)? {
                self.dirs[i].handle = Some(fd);
                self.open += 1;
            }
        }
        Ok(())
    }

    /// Close the kept handles (between steps, when many sessions wait) but the session directory's own, which holds the claim.
    pub fn close(&mut self) {
        self.leased.clear();
        for node in self.dirs.iter_mut().skip(1) {
            node.handle = None;
        }
        self.open = 1;
    }

    /// Claim the session for this process until its directory's handle is closed; another's claim stops the work.
    pub fn claim(&self, place: Place<'_>) -> Result<(), Stop> {
        let Some(fd) = self.dirs.first().and_then(|top| top.handle.as_ref()) else { return Ok(()) };
        match sys::try_lock(fd).map_err(|e| Fault::system("lock", place.path(), e))? {
            Lock::Held => Err(Stop::Skipped("another process is working on it".into())),
            Lock::Taken | Lock::None => Ok(()),
        }
    }

    /// Inodes that removing the tree gives back.
    pub fn inodes(&self) -> u64 {
        let mut linked = HashSet::new();
        let metas = self.entries.iter().filter_map(|entry| entry.meta.as_ref());
        metas.filter(|m| m.kind == Kind::Dir || m.nlink < 2 || linked.insert(m.ino)).count() as u64
    }

    /// The record of the session directory.
    pub fn top(&self) -> &Meta {
        &self.dirs[0].meta
    }
}

/// What a failed look at something recorded means: gone or of another kind is a change, the rest an error.
pub fn gone(op: &'static str, place: &Place<'_>, below: &[u8], errno: Errno) -> Stop {
    let name = show(if below.is_empty() { place.name } else { below });
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE => {
            Stop::Changed(format!("{name} is gone or was replaced"))
        }
        Errno::BUSY => Stop::Changed(format!("{name} is being changed")),
        e => Stop::Failed(Fault::system(op, place.path_of(below), e)),
    }
}
