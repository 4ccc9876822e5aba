//! Find sessions, and what runark left beside them, below roots; measure them if asked. Read only.
//!
//! Threads share one stack of work: a directory to list, or a handful of names to look at. A directory hands on its names
//! each time the kernel has filled the buffer, so that one flat directory of 300,000 sessions feeds all threads while it is
//! still being read; whoever works on many names gives half of the rest away when another thread has none. Everything is
//! asked relative to directory handles, and nothing is asked twice: type by the directory entry, then one `stat` of what a
//! filter or a column wants to know.
//!
//! - [`names`]: what a name says: layouts, leftovers, include and exclude
//! - [`filter`]: what each test is
//! - [`queue`]: the work threads share
//! - [`find`]: one thread: lists directories
//! - [`look`]: sorts out their names
//! - [`judge`]: the tests of one session, in the cheapest order
//! - [`measure`]: goes through one session
//! - [`rows`]: what was found, sorted, as columns
//!
//! A symlink is never followed, except a root that is one. A session is a leaf: nothing in it is taken for a session.
//! Nothing is dropped in silence: what could not be looked at is a fault, and what vanished meanwhile was not there.

mod filter;
mod find;
mod judge;
mod look;
mod measure;
mod names;
mod queue;
mod rows;

use std::num::NonZeroUsize;

use crate::error::Fault;
use crate::task::Control;

use find::Finder;
pub(crate) use names::leftover_directory;
use names::Names;
use queue::{Queue, Work};

/// What a row is; the order is that of `KINDS` in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RowKind {
    Session,
    Archive,
    Part,
    Tombstone,
    Staging,
    Aside,
    Discard,
}

impl RowKind {
    fn is_file(self) -> bool {
        matches!(self, RowKind::Archive | RowKind::Part | RowKind::Aside)
    }
}

/// The order is that of `STATUSES` in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Unknown,
    Success,
    Error,
    Finished,
    Running,
}

/// Why a session is not selected, in the order of the tests; that of `VERDICTS` in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    Selected,
    Running,
    Marked,
    Status,
    Owner,
    Mtime,
    Young,
    Old,
    Size,
    Device,
    Unreadable,
}

pub const VERDICTS: [&str; 11] =
    ["selected", "running", "marked", "status", "owner", "mtime", "young", "old", "size", "device", "unreadable"];

/// A layout as the finder needs it: the session's name, its parent's name, a path that must exist in it.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub name: String,
    pub pattern: Vec<u8>,
    pub parent: Option<Vec<u8>>,
    pub marker: Option<Vec<u8>>,
}

/// What to look for; the meaning of each field is that of `ScanSpec` in the protocol. `kinds` and `statuses` are indexed by
/// [`RowKind`] and [`Status`]; no status at all means all but `running`.
#[derive(Clone, Debug)]
pub struct ScanSpec {
    pub roots: Vec<Vec<u8>>,
    pub rules: Vec<Rule>,
    pub jobs: usize,
    pub measure: bool,
    pub kinds: [bool; 7],
    pub keep_skipped: bool,
    pub include: Vec<Vec<u8>>,
    pub exclude: Vec<Vec<u8>>,
    pub min_depth: usize,
    pub max_depth: Option<usize>,
    pub one_file_system: bool,
    pub changed_after_ns: Option<i64>,
    pub changed_before_ns: Option<i64>,
    pub older_than_ns: Option<i64>,
    pub newer_than_ns: Option<i64>,
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    pub statuses: [bool; 5],
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub not_uid: Option<u32>,
    pub not_gid: Option<u32>,
}

impl Default for ScanSpec {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            rules: Vec::new(),
            jobs: 2,
            measure: false,
            kinds: [true, false, false, false, false, false, false],
            keep_skipped: false,
            include: Vec::new(),
            exclude: Vec::new(),
            min_depth: 0,
            max_depth: None,
            one_file_system: true,
            changed_after_ns: None,
            changed_before_ns: None,
            older_than_ns: None,
            newer_than_ns: None,
            min_size: None,
            max_size: None,
            statuses: [false; 5],
            uid: None,
            gid: None,
            not_uid: None,
            not_gid: None,
        }
    }
}

/// Rows as columns, sorted by path bytes; see `ScanColumns` in the protocol.
#[derive(Clone, Debug, Default)]
pub struct ScanColumns {
    /// NUL after each path.
    pub paths: Vec<u8>,
    pub kind: Vec<u8>,
    pub status: Vec<u8>,
    pub verdict: Vec<u8>,
    pub layout: Vec<u8>,
    pub mtime_ns: Vec<i64>,
    pub newest_ns: Vec<i64>,
    pub inodes: Vec<i64>,
    pub size: Vec<i64>,
    pub allocated: Vec<i64>,
    pub uid: Vec<i64>,
    /// Sorted by path.
    pub faults: Vec<Fault>,
    pub directories: u64,
    pub entries: u64,
    /// Verdicts but `selected`, in order, with the number of their sessions; those of none are left out.
    pub skipped: Vec<(&'static str, u64)>,
}

/// A specification whose patterns are known to be sound.
pub struct Compiled {
    spec: ScanSpec,
    names: Names,
}

/// Threads beyond this only wait for each other.
const MAX_JOBS: usize = 64;

/// Read the patterns. The error says which one is unusable, and why.
pub fn compile(spec: ScanSpec) -> Result<Compiled, String> {
    let names = Names::new(&spec)?;
    Ok(Compiled { spec, names })
}

/// Go through the roots with `jobs` threads, this one included. Cancelled, it gives what was found so far.
pub fn scan(compiled: &Compiled, control: &Control) -> ScanColumns {
    let Compiled { spec, names } = compiled;
    let jobs = spec.jobs.clamp(1, MAX_JOBS);
    let mut roots = spec.roots.clone();
    roots.sort_unstable();
    roots.dedup();
    let queue = Queue::new(roots.into_iter().rev().map(Work::Root).collect());
    let finder = || Finder::new(spec, names.clone(), &queue, control);
    let found = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..jobs)
            .filter_map(|_| {
                // A thread the system does not give is one less; this one does all the work if need be.
                std::thread::Builder::new().spawn_scoped(scope, || finder().run()).ok()
            })
            .collect();
        let mut found = vec![finder().run()];
        // A finder catches what panics in it, so that there is nothing to resume here.
        found.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()));
        found
    });
    let mut columns = ScanColumns::default();
    let mut skipped = [0; VERDICTS.len()];
    let mut parts = Vec::with_capacity(found.len());
    for mut one in found {
        columns.directories += one.directories;
        columns.entries += one.entries;
        columns.faults.append(&mut one.faults);
        skipped.iter_mut().zip(one.skipped).for_each(|(sum, n)| *sum += n);
        parts.push(one.rows);
    }
    columns.faults.sort_by(|a, b| (&a.path, a.op).cmp(&(&b.path, b.op)));
    columns.skipped = VERDICTS.into_iter().zip(skipped).skip(1).filter(|(_, n)| *n > 0).collect();
    rows::assemble(parts, NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN), &mut columns);
    columns
}

#[cfg(test)]
mod tests;
