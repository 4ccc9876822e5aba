//! What was found: rows in the order in which threads found them, then sorted by path, as columns.
//!
//! A million rows are a few tens of megabytes: a path is kept as its directory's and a name, and what columns have been
//! written from is freed before the next ones are made.

use std::cmp::Ordering;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::measure::Sums;
use super::{RowKind, ScanColumns};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub mtime_ns: i64,
    /// Where the name begins; it ends with NUL. Set by `push`, as is the next one.
    pub name: usize,
    /// Index into the prefixes.
    pub prefix: u32,
    pub uid: u32,
    pub kind: u8,
    pub status: u8,
    pub verdict: u8,
    pub layout: u8,
}

#[derive(Default)]
pub(super) struct Rows {
    prefixes: Vec<Arc<[u8]>>,
    names: Vec<u8>,
    rows: Vec<Row>,
    /// One for each row, or none at all where nothing is measured.
    sums: Vec<Sums>,
    measured: bool,
}

impl Rows {
    pub fn new(measured: bool) -> Self {
        Self { measured, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// `row` gets its place here.
    pub fn push(&mut self, prefix: &Arc<[u8]>, name: &[u8], mut row: Row, sums: Sums) {
        if !self.prefixes.last().is_some_and(|last| Arc::ptr_eq(last, prefix)) {
            self.prefixes.push(Arc::clone(prefix));
        }
        row.prefix = (self.prefixes.len() - 1) as u32;
        row.name = self.names.len();
        self.names.extend_from_slice(name);
        self.names.push(0);
        if self.measured {
            self.sums.push(sums);
        }
        self.rows.push(row);
    }

    fn append(&mut self, mut other: Self) {
        let (prefixes, names) = (self.prefixes.len() as u32, self.names.len());
        for row in &mut other.rows {
            row.prefix += prefixes;
            row.name += names;
        }
        self.prefixes.append(&mut other.prefixes);
        self.names.append(&mut other.names);
        self.rows.append(&mut other.rows);
        self.sums.append(&mut other.sums);
    }

    fn name(&self, row: &Row) -> &[u8] {
        let rest = &self.names[row.name..];
        &rest[..rest.iter().position(|&b| b == 0).unwrap_or(rest.len())]
    }

    fn prefix(&self, row: &Row) -> &[u8] {
        &self.prefixes[row.prefix as usize]
    }

    fn compare(&self, a: &Row, b: &Row) -> Ordering {
        if a.prefix == b.prefix {
            return self.name(a).cmp(self.name(b));
        }
        let path = |row| self.prefix(row).iter().chain(self.name(row));
        path(a).cmp(path(b))
    }
}

/// Decides nearly every comparison without a look at the path; the path decides the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    prefix: u32,
    first: u32,
    second: u64,
    third: u64,
}

/// From here on a second thread is worth its start.
const WORTH_A_THREAD: usize = 20_000;

const FILES: [u8; 3] = [RowKind::Archive as u8, RowKind::Part as u8, RowKind::Aside as u8];

/// Put the rows of all threads into the columns, sorted by path; a path found twice (nested roots) stands once.
pub(super) fn assemble(parts: Vec<Rows>, jobs: NonZeroUsize, columns: &mut ScanColumns) {
    let mut all = Rows::default();
    for part in parts {
        if all.rows.is_empty() {
            all = part;
        } else {
            all.append(part);
        }
    }
    let order = sorted(&all, jobs);
    let count = order.len();
    let rows = || order.iter().map(|&at| &all.rows[at as usize]);

    let bytes = rows().map(|row| all.prefix(row).len()).sum::<usize>() + all.names.len();
    columns.paths = Vec::with_capacity(bytes);
    for row in rows() {
        columns.paths.extend_from_slice(all.prefix(row));
        columns.paths.extend_from_slice(all.name(row));
        columns.paths.push(0);
    }
    all.names = Vec::new();
    all.prefixes = Vec::new();
    let rows = || order.iter().map(|&at| &all.rows[at as usize]);
    columns.kind = rows().map(|row| row.kind).collect();
    columns.status = rows().map(|row| row.status).collect();
    columns.verdict = rows().map(|row| row.verdict).collect();
    columns.layout = rows().map(|row| row.layout).collect();
    columns.mtime_ns = rows().map(|row| row.mtime_ns).collect();
    columns.uid = rows().map(|row| i64::from(row.uid)).collect();
    all.rows = Vec::new();
    if all.sums.is_empty() {
        columns.newest_ns = columns.mtime_ns.clone();
        // Pages of zeros that nobody writes to take no memory.
        (columns.inodes, columns.size, columns.allocated) = (vec![0; count], vec![0; count], vec![0; count]);
        for (inodes, &kind) in columns.inodes.iter_mut().zip(&columns.kind) {
            if FILES.contains(&kind) {
                *inodes = 1;
            }
        }
        return;
    }
    let sums = || order.iter().map(|&at| &all.sums[at as usize]);
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    columns.newest_ns = sums().map(|s| s.newest_ns).collect();
    columns.inodes = sums().map(|s| signed(s.inodes)).collect();
    columns.size = sums().map(|s| signed(s.size)).collect();
    columns.allocated = sums().map(|s| signed(s.allocated)).collect();
}

/// The rows' indices in the order of their paths, each path once.
fn sorted(all: &Rows, jobs: NonZeroUsize) -> Vec<u32> {
    let mut keyed = keys(all);
    let compare = |a: &(Key, u32), b: &(Key, u32)| {
        a.0.cmp(&b.0).then_with(|| all.compare(&all.rows[a.1 as usize], &all.rows[b.1 as usize]))
    };
    let share = keyed.len().div_ceil(jobs.get()).max(WORTH_A_THREAD);
    std::thread::scope(|scope| {
        let mut shares = keyed.chunks_mut(share);
        let own = shares.next();
        for other in shares {
            scope.spawn(move || other.sort_unstable_by(compare));
        }
        if let Some(own) = own {
            own.sort_unstable_by(compare);
        }
    });
    if keyed.len() > share {
        keyed.sort_by(compare); // finds the sorted shares and merges them
    }
    // Of a session found from two roots, the stricter verdict.
    let strict = |at: u32| (all.rows[at as usize].verdict, all.rows[at as usize].status);
    keyed.dedup_by(|next, kept| {
        let same = compare(next, kept) == Ordering::Equal;
        if same && strict(next.1) > strict(kept.1) {
            kept.1 = next.1;
        }
        same
    });
    keyed.into_iter().map(|(_, at)| at).collect()
}

/// The rank of the directory and the first bytes in which names in it differ. Where one directory lies in another, their
/// rows may be interleaved, so that ranks say nothing and the bytes of the whole path have to do.
fn keys(all: &Rows) -> Vec<(Key, u32)> {
    let mut order: Vec<u32> = (0..all.prefixes.len() as u32).collect();
    let prefix = |i: u32| &all.prefixes[i as usize][..];
    order.sort_unstable_by(|&a, &b| prefix(a).cmp(prefix(b)));
    order.dedup_by(|next, kept| prefix(*next) == prefix(*kept)); // for the test only
    let nested = order.windows(2).any(|pair| prefix(pair[1]).starts_with(prefix(pair[0])));
    if nested {
        let skip = match (order.first(), order.last()) {
            (Some(&first), Some(&last)) => common(prefix(first), prefix(last)),
            _ => 0,
        };
        let key = |row: &Row| key(0, &mut all.prefix(row).iter().chain(all.name(row)).skip(skip));
        return all.rows.iter().map(key).zip(0..).collect();
    }
    let rank_of: std::collections::HashMap<&[u8], u32> = order.iter().map(|&i| prefix(i)).zip(0..).collect();
    let ranks: Vec<u32> = all.prefixes.iter().map(|p| rank_of[&p[..]]).collect();
    // For each directory the bytes that all names in it begin with.
    let mut shared: Vec<Option<(&[u8], usize)>> = vec![None; order.len()];
    for row in &all.rows {
        let name = &all.names[row.name..];
        let slot = &mut shared[ranks[row.prefix as usize] as usize];
        *slot = match *slot {
            None => Some((name, all.name(row).len())),
            Some((first, len)) => Some((first, common(&first[..len], name))),
        };
    }
    let key = |row: &Row| {
        let rank = ranks[row.prefix as usize];
        let skip = shared[rank as usize].map_or(0, |(_, len)| len);
        key(rank, &mut all.name(row)[skip..].iter())
    };
    all.rows.iter().map(key).zip(0..).collect()
}

fn key<'a>(prefix: u32, bytes: &mut impl Iterator<Item = &'a u8>) -> Key {
    let mut number =
        |width| (0..width).fold(0, |number, _| number << 8 | u64::from(bytes.next().copied().unwrap_or(0)));
    Key { prefix, first: number(4) as u32, second: number(8), third: number(8) }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
