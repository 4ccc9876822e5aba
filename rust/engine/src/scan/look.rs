//! Sort out the names of a directory: sessions, leftovers, directories to enter.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::error::Fault;
use crate::sys::{self, Kind};
use crate::task::Control;

use super::find::Dir;
use super::measure::{vanished, Measurer, Sums};
use super::names::{leftover_directory, leftover_file, Names, OWN_DIRECTORY};
use super::queue::{Queue, Work};
use super::rows::{Row, Rows};
use super::{RowKind, ScanSpec, Verdict, VERDICTS};

/// What one thread has found.
pub(super) struct Found {
    pub rows: Rows,
    pub faults: Vec<Fault>,
    pub directories: u64,
    pub entries: u64,
    pub skipped: [u64; VERDICTS.len()],
}

pub(super) struct Looker<'a> {
    pub spec: &'a ScanSpec,
    pub names: Names,
    pub queue: &'a Queue,
    pub control: &'a Control,
    pub measurer: Measurer,
    pub found: Found,
    /// Directories found, not yet in the queue.
    enter: Vec<Work>,
    /// Room for a path below the directory in hand.
    below: Vec<u8>,
    /// Entries and rows that the task knows of.
    reported: (u64, usize),
}

/// What a directory is, by its name and, where a layout has one, by its marker.
enum Class<'n> {
    Session(u8),
    /// With the session's name.
    Leftover(RowKind, u8, &'n [u8]),
    Plain,
}

impl<'a> Looker<'a> {
    pub fn new(spec: &'a ScanSpec, names: Names, queue: &'a Queue, control: &'a Control) -> Self {
        let found = Found {
            rows: Rows::new(spec.asks_entries()),
            faults: Vec::new(),
            directories: 0,
            entries: 0,
            skipped: [0; VERDICTS.len()],
        };
        let measurer = Measurer::default();
        Self { spec, names, queue, control, measurer, found, enter: Vec::new(), below: Vec::new(), reported: (0, 0) }
    }

    /// Put the directories found into the queue.
    pub fn hand_on(&mut self) {
        if !self.enter.is_empty() {
            self.queue.push(self.enter.drain(..));
        }
    }

    /// Tell the task how far this thread is.
    pub fn report(&mut self) {
        let now = (self.found.entries, self.found.rows.len());
        self.control.count(0, now.0 - self.reported.0);
        self.control.count_done((now.1 - self.reported.1) as u64);
        self.reported = now;
    }

    /// Look at names of a directory; half of the rest goes to a thread that has nothing to do.
    pub fn look(&mut self, dir: &Arc<Dir>, mut names: &[u8]) {
        let mut looked = 0u32;
        while let [mark, rest @ ..] = names {
            let Some(end) = rest.iter().position(|&b| b == 0) else {
                return;
            };
            let name = &rest[..end];
            names = &rest[end + 1..];
            if self.control.is_cancelled() {
                return;
            }
            match mark {
                b'd' => self.directory(dir, name),
                b'f' => self.file(dir, name),
                _ => match sys::stat_at(dir.fd.as_fd(), name) {
                    Ok(meta) if meta.kind == Kind::Dir => self.directory(dir, name),
                    Ok(meta) if meta.kind == Kind::File => self.file(dir, name),
                    Ok(_) | Err(Errno::NOENT) => {}
                    Err(e) => self.found.faults.push(Fault::system("stat", dir.path_of(name), e)),
                },
            }
            if self.queue.hungry() {
                self.hand_on();
                names = self.share(dir, names);
            }
            looked += 1;
            if looked & 63 == 0 {
                self.report();
            }
        }
    }

    /// Put the second half of the names into the queue; the first.
    fn share<'n>(&self, dir: &Arc<Dir>, names: &'n [u8]) -> &'n [u8] {
        let middle = names.len() / 2;
        let Some(end) = names[middle..].iter().position(|&b| b == 0) else {
            return names;
        };
        let (mine, theirs) = names.split_at(middle + end + 1);
        if !theirs.is_empty() {
            self.queue.push([Work::Look(Arc::clone(dir), theirs.to_vec())]);
        }
        mine
    }

    fn directory(&mut self, dir: &Arc<Dir>, name: &[u8]) {
        if name == OWN_DIRECTORY || self.names.excluded(name) {
            return;
        }
        match self.told(dir, name) {
            Ok(true) => {}
            Ok(false) => {
                if self.spec.max_depth.is_none_or(|most| dir.depth < most) {
                    self.enter.push(Work::Enter(Arc::clone(dir), name.into()));
                }
            }
            Err(fault) => self.found.faults.push(fault),
        }
    }

    /// Make the row of a directory that is a session or a leftover; false if it is neither.
    pub fn told(&mut self, dir: &Dir, name: &[u8]) -> Result<bool, Fault> {
        match self.class(dir, name)? {
            Class::Session(rule) => self.session(dir, name, rule),
            Class::Leftover(kind, rule, stem) => self.leftover(dir, name, kind, rule, stem),
            Class::Plain => return Ok(false),
        }
        Ok(true)
    }

    /// Whether a directory of this name may be a session or a leftover somewhere.
    pub fn is_telling(&self, name: &[u8]) -> bool {
        let count = self.spec.rules.len() as u8;
        leftover_directory(name).is_some() || (0..count).any(|rule| self.names.fits(rule, name))
    }

    fn class<'n>(&mut self, dir: &Dir, name: &'n [u8]) -> Result<Class<'n>, Fault> {
        // First, so that no layout, however wide, takes a half-removed session for a whole one.
        if let Some((kind, stem)) = leftover_directory(name) {
            if let Some(rule) = self.rule_of(dir, stem) {
                return Ok(Class::Leftover(kind, rule, stem));
            }
        }
        let mut unclear = None;
        for &rule in &dir.rules {
            if !self.names.fits(rule, name) {
                continue;
            }
            let Some(marker) = self.names.marker(rule) else {
                return Ok(Class::Session(rule));
            };
            match exists_below(&mut self.below, dir, name, marker) {
                Ok(true) => return Ok(Class::Session(rule)),
                Ok(false) => {}
                Err(fault) => unclear = Some(fault),
            }
        }
        // It may be a session or not, and what is in it cannot be seen anyway.
        unclear.map_or(Ok(Class::Plain), Err)
    }

    fn rule_of(&self, dir: &Dir, session: &[u8]) -> Option<u8> {
        dir.rules.iter().copied().find(|&rule| self.names.fits(rule, session))
    }

    fn file(&mut self, dir: &Dir, name: &[u8]) {
        if let Some((kind, stem)) = leftover_file(name) {
            if let Some(rule) = self.rule_of(dir, stem) {
                self.leftover(dir, name, kind, rule, stem);
            }
        }
    }

    /// By the filters on kind, depth and the session's name.
    fn wanted(&self, dir: &Dir, kind: RowKind, session: &[u8]) -> bool {
        self.spec.kinds[kind as usize]
            && dir.depth >= self.spec.min_depth
            && self.names.included(session)
            && !self.names.excluded(session)
    }

    fn leftover(&mut self, dir: &Dir, name: &[u8], kind: RowKind, rule: u8, stem: &[u8]) {
        if !self.wanted(dir, kind, stem) {
            return;
        }
        let mut row = Row { kind: kind as u8, status: dir.status as u8, layout: rule, ..Row::default() };
        let mut sums = Sums { inodes: u64::from(kind.is_file()), ..Sums::default() };
        if self.spec.measure {
            let mut own = None;
            if kind.is_file() {
                match sys::stat_at(dir.fd.as_fd(), name) {
                    Ok(meta) => (own, sums) = (Some(meta), Sums::of(&meta)),
                    Err(Errno::NOENT) => return,
                    Err(e) => self.found.faults.push(Fault::system("stat", dir.path_of(name), e)),
                }
            } else {
                let Some(walked) = self.walk(dir, name, false) else {
                    return;
                };
                (own, sums) = (walked.own, walked.sums);
            }
            (row.mtime_ns, row.uid) = own.map_or((0, 0), |own| (own.mtime.nanoseconds(), own.uid));
        }
        self.found.rows.push(&dir.prefix, name, row, sums);
    }

    fn session(&mut self, dir: &Dir, name: &[u8], rule: u8) {
        if !self.wanted(dir, RowKind::Session, name) {
            return;
        }
        let Some(judged) = self.judge(dir, name) else {
            return;
        };
        if judged.verdict != Verdict::Selected {
            self.found.skipped[judged.verdict as usize] += 1;
            if !self.spec.keep_skipped {
                return;
            }
        }
        let (mtime_ns, uid) = judged.own.map_or((0, 0), |own| (own.mtime.nanoseconds(), own.uid));
        let row = Row {
            mtime_ns,
            uid,
            kind: RowKind::Session as u8,
            status: dir.status as u8,
            verdict: judged.verdict as u8,
            layout: rule,
            ..Row::default()
        };
        let sums = judged.sums.unwrap_or(Sums { newest_ns: mtime_ns, ..Sums::default() });
        self.found.rows.push(&dir.prefix, name, row, sums);
    }
}

/// Whether `name/below` exists in the directory; `path` is room for it.
fn exists_below(path: &mut Vec<u8>, dir: &Dir, name: &[u8], below: &[u8]) -> Result<bool, Fault> {
    path.clear();
    path.extend_from_slice(name);
    path.push(b'/');
    path.extend_from_slice(below);
    match sys::stat_at(dir.fd.as_fd(), path) {
        Ok(_) => Ok(true),
        Err(e) if vanished(e) => Ok(false),
        Err(e) => Err(Fault::system("stat", dir.path_of(path), e)),
    }
}
