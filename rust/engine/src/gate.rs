//! From session to archive: pack, settle, verify, publish, recheck, remove - and recovery of what an earlier run left.
//!
//! Each worker takes a batch of sessions through the steps; workers do not wait for each other. What a killed run leaves is
//! recognised by names (`docs/durability.md`), so there is no journal. At every instant either the source is whole and in its
//! place, or a published, durable and re-read archive holds it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::compare::{compare, Extent, Verdict};
use crate::error::{show, Fault, Stop};
use crate::load::Rates;
use crate::options::{ArchiveJob, ArchiveOptions, Format, Outcome};
use crate::pack::{pack, Bench, Packed, Part};
use crate::publish::{publish, set_aside, Home};
use crate::remove::{bury, recheck, remove, unbury, Unfinished};
use crate::seal::{hex, Seal};
use crate::session::{is_ours, join, keep_open, Place, Tree, OPEN};
use crate::settle::Settling;
use crate::sys::{self, Kind, Lock, Meta, Time};
use crate::task::{Control, Task};
use crate::verify::{open_archive_at, verify_part};

const BATCH_SESSIONS: usize = 256;
const BATCH_BYTES: u64 = 64 << 20;
const BATCH_TIME: Duration = Duration::from_secs(5);

/// Waiting for room, in all, before sessions fail for want of it.
const PATIENCE: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Where locks do not exist, a part file untouched for so long is a leftover: an hour, in nanoseconds.
const UNLOCKABLE: i64 = 3_600_000_000_000;

/// Archive sessions in the background.
pub fn archive(jobs: Vec<ArchiveJob>, options: ArchiveOptions) -> Task {
    let (workers, keep, batch) = shares(options.jobs.clamp(1, jobs.len().max(1)), sys::max_open());
    // Few large sessions: the threads that have none of their own compress blocks for the others.
    let threads = options.jobs.max(1).div_ceil(workers);
    Task::limited(options.rates, workers, jobs.len(), move |control| {
        keep_open(keep);
        let open = RefCell::default();
        loop {
            let mut worker = Worker {
                batch,
                patience: PATIENCE,
                options: &options,
                threads,
                control,
                bench: Bench::new(options.format, options.level),
                parent: None,
                settlings: HashMap::new(),
                jobs: &jobs,
                open: &open,
            };
            if catch_unwind(AssertUnwindSafe(|| worker.run())).is_ok() {
                return;
            }
            // A defect, whose message went to stderr. Nobody waits in vain, and the other sessions are gone on with.
            let left = open.take();
            control.report(left.into_iter().map(|i| fallen(&jobs[i])));
        }
    })
}

fn fallen(job: &ArchiveJob) -> Outcome {
    let text = "the engine broke off because of a defect in it; the session is whole or its archive is proven";
    let outcome = Outcome { path: job.path.clone(), ..Outcome::default() };
    stopped(outcome, Instant::now(), Stop::Failed(Fault::own("work", job.path.clone(), text)))
}

/// How many workers there are, how many directories and held files each keeps open in a session, and how many sessions it has in a
/// batch, with `most` files open in the process: a quarter of them is left to the program around us. A session that waits for its
/// batch holds two, its directory and its part file; the one at hand some more.
fn shares(workers: usize, most: u64) -> (usize, usize, usize) {
    let most = (most / 4 * 3).min(1 << 20) as usize;
    let workers = workers.min(most / (HANDLES + 4 + 2 * 4)).max(1);
    let share = most / workers;
    let keep = (share / 3).clamp(4, OPEN);
    (workers, keep, (share.saturating_sub(keep + HANDLES) / 2).clamp(4, BATCH_SESSIONS))
}

/// Files a worker has open besides those: parent, filesystem, what is read and written at the moment.
const HANDLES: usize = 8;

/// The directory that holds a session.
struct Parent {
    path: Vec<u8>,
    fd: OwnedFd,
    mount: Option<u64>,
    settling: Rc<Settling>,
}

impl Parent {
    fn place<'a>(&'a self, name: &'a [u8]) -> Place<'a> {
        let storage = self.settling.storage();
        Place { parent: self.fd.as_fd(), mount: self.mount, parent_path: &self.path, name, storage }
    }
}

impl Parent {
    fn home(&self) -> Home<'_> {
        Home { fd: self.fd.as_fd(), path: &self.path }
    }
}

/// A session on its way through the gate.
struct Item {
    parent: Rc<Parent>,
    session: Vec<u8>,
    archive: Vec<u8>,
    /// Archives of the session that are not it: moved aside before the new one gets its name.
    displaced: Vec<Unlike>,
    stage: Stage,
    outcome: Outcome,
    started: Instant,
}

enum Stage {
    /// Packed in this run.
    Packed(Packed),
    /// Found beside its archive and equal to it; the archive's handle, to settle it.
    Equal(Tree, File),
}

/// An archive beside its session that does not hold it.
struct Unlike {
    name: Vec<u8>,
    /// The file as it was compared.
    meta: Meta,
    /// What it will be called when it is moved aside.
    word: &'static str,
}

impl Item {
    /// What it weighs in its batch, in bytes: its content, and the records and headers kept of every entry.
    fn weight(&self) -> u64 {
        self.outcome.bytes_in.saturating_add(self.outcome.entries.saturating_mul(2048))
    }

    fn place(&self) -> Place<'_> {
        self.parent.place(&self.session)
    }

    /// The archive, or the part file that became it.
    fn archive_file(&self) -> &File {
        match &self.stage {
            Stage::Packed(packed) => &packed.part.file,
            Stage::Equal(_, file) => file,
        }
    }

    fn tree(&self) -> &Tree {
        match &self.stage {
            Stage::Packed(packed) => &packed.tree,
            Stage::Equal(tree, _) => tree,
        }
    }

    fn tree_mut(&mut self) -> &mut Tree {
        match &mut self.stage {
            Stage::Packed(Packed { tree, .. }) | Stage::Equal(tree, _) => tree,
        }
    }

    /// Close the directories while the session waits for its batch.
    fn close(&mut self) {
        self.tree_mut().close();
    }

    /// Open them again; `name` is the session's or its tombstone's.
    fn reopen(&mut self, name: &[u8]) -> Result<(), Stop> {
        let parent = Rc::clone(&self.parent);
        self.tree_mut().reopen(parent.place(name))
    }

    fn describe(&mut self, seal: &Seal, size: u64) {
        let outcome = &mut self.outcome;
        outcome.entries = seal.entries;
        outcome.bytes_in = seal.content;
        outcome.bytes_out = size;
        outcome.sha256 = hex(&seal.sha256);
        outcome.target = join(&self.parent.path, &self.archive);
    }

    fn end(mut self, action: &'static str, reason: impl Into<String>) -> Outcome {
        self.outcome.action = action;
        self.outcome.reason = reason.into();
        self.outcome.milliseconds = self.started.elapsed().as_secs_f64() * 1e3;
        self.outcome
    }

    /// The source is whole and in its place, and nothing was published.
    fn stopped(mut self, stop: Stop) -> Outcome {
        self.outcome.target.clear();
        stopped(self.outcome, self.started, stop)
    }
}

fn stopped(mut outcome: Outcome, started: Instant, stop: Stop) -> Outcome {
    (outcome.action, outcome.reason, outcome.fault) = match stop {
        Stop::Skipped(reason) => ("skipped", reason, None),
        Stop::Changed(reason) => ("changed", reason, None),
        Stop::Cancelled => ("cancelled", String::new(), None),
        Stop::Failed(fault) | Stop::Damaged(fault) => ("failed", fault.message.clone(), Some(fault)),
    };
    outcome.milliseconds = started.elapsed().as_secs_f64() * 1e3;
    outcome
}

/// Directories whose names could not be made durable.
struct Refusals(Vec<(Rc<Parent>, Fault)>);

impl Refusals {
    fn of(&self, parent: &Rc<Parent>) -> Option<Fault> {
        self.0.iter().find(|(refused, _)| Rc::ptr_eq(refused, parent)).map(|(_, fault)| fault.clone())
    }
}

/// Make the names in these directories durable, in each once.
fn settle_parents<'p>(parents: impl Iterator<Item = &'p Rc<Parent>>) -> Refusals {
    let mut seen: Vec<&Rc<Parent>> = Vec::new();
    for parent in parents {
        if !seen.iter().any(|known| Rc::ptr_eq(known, parent)) {
            seen.push(parent);
        }
    }
    let refused = |parent: &Rc<Parent>| parent.settling.settle_names(parent.fd.as_fd(), &parent.path).err();
    Refusals(seen.into_iter().filter_map(|parent| refused(parent).map(|fault| (Rc::clone(parent), fault))).collect())
}

/// What an archive beside its session turned out to be.
enum Met {
    Equal(Box<Item>),
    Unlike(Unlike),
}

/// What preparing a job came to.
enum Prepared {
    Go(Box<Item>),
    Done(Outcome),
    /// No inode or block left for the part file; to be tried again when the batch has freed some.
    NoRoom(Outcome),
}

struct Worker<'a> {
    options: &'a ArchiveOptions,
    threads: usize,
    control: &'a Control,
    bench: Bench,
    parent: Option<Rc<Parent>>,
    settlings: HashMap<u64, Rc<Settling>>,
    jobs: &'a [ArchiveJob],
    /// Jobs taken and not yet reported.
    open: &'a RefCell<VecDeque<usize>>,
    /// How often it will wait for room that other workers may be about to free.
    patience: u32,
    /// Sessions in a batch: each that waits holds its directory (the claim), its part file and, a moment, some more.
    batch: usize,
}

impl Worker<'_> {
    fn take(&self) -> Option<usize> {
        let i = self.control.take()?;
        self.open.borrow_mut().push_back(i);
        Some(i)
    }

    fn report(&self, outcome: Outcome) {
        let mut open = self.open.borrow_mut();
        // They end about in the order in which they began.
        if let Some(at) = open.iter().position(|&i| self.jobs[i].path == outcome.path) {
            open.remove(at);
        }
        drop(open);
        self.control.report([outcome]);
    }

    fn run(&mut self) {
        let mut again = None;
        loop {
            let mut batch: Vec<Item> = Vec::new();
            let mut bytes = 0;
            let began = Instant::now();
            let mut ended = false;
            while batch.len() < self.batch && bytes < BATCH_BYTES && began.elapsed() < BATCH_TIME {
                if again.is_none() && self.control.is_to_rest() {
                    if !batch.is_empty() {
                        break;
                    }
                    self.control.rest();
                }
                let Some(i) = again.take().or_else(|| self.take()) else {
                    ended = true;
                    break;
                };
                // Most of what a defect may stumble over is what was found on disk: the rest of the batch is spared.
                let job = &self.jobs[i];
                let Ok(prepared) = catch_unwind(AssertUnwindSafe(|| self.prepare(job))) else {
                    self.bench = Bench::new(self.options.format, self.options.level);
                    self.report(fallen(job));
                    continue;
                };
                match prepared {
                    Prepared::Done(outcome) => self.report(outcome),
                    Prepared::NoRoom(_) if !batch.is_empty() => {
                        again = Some(i);
                        break;
                    }
                    Prepared::NoRoom(_) if self.patience > 0 => {
                        self.patience -= 1;
                        again = Some(i);
                        std::thread::sleep(PAUSE);
                    }
                    Prepared::NoRoom(outcome) => self.report(outcome),
                    Prepared::Go(item) => {
                        self.patience = PATIENCE;
                        if item.parent.settling.is_volatile() {
                            self.finish(vec![*item]); // nothing to share, and its files may be held
                        } else {
                            bytes += item.weight();
                            batch.push(*item);
                        }
                    }
                }
            }
            if batch.is_empty() && ended && again.is_none() {
                return;
            }
            self.finish(batch);
        }
    }

    // -------------------------------------------------------------------------------------- before the batch

    fn prepare(&mut self, job: &ArchiveJob) -> Prepared {
        let started = Instant::now();
        let mut outcome = Outcome { path: job.path.clone(), ..Outcome::default() };
        if self.control.begins_nothing() {
            return Prepared::Done(stopped(outcome, started, Stop::Cancelled));
        }
        match self.begin(job, &mut outcome, started) {
            Ok(prepared) => prepared,
            Err(Stop::Failed(fault)) if fault.op == "create" && fault.no_room() => {
                Prepared::NoRoom(stopped(outcome, started, Stop::Failed(fault)))
            }
            Err(stop) => Prepared::Done(stopped(outcome, started, stop)),
        }
    }

    fn begin(&mut self, job: &ArchiveJob, outcome: &mut Outcome, started: Instant) -> Result<Prepared, Stop> {
        let slash = job.path.iter().rposition(|&b| b == b'/').filter(|&at| at + 1 < job.path.len());
        let at = slash.ok_or_else(|| Fault::own("open", job.path.clone(), "not the absolute path of a session"))?;
        let (above, session) = (&job.path[..at.max(1)], &job.path[at + 1..]);
        let parent = self.parent(above)?;
        let place = parent.place(session);
        // Without leftovers, opening the session says whether it is there.
        let source = job.leftovers.is_empty()
            || sys::exists(place.parent, session).map_err(|e| Fault::system("stat", job.path.clone(), e))?;
        for leftover in &job.leftovers {
            let part = |format: Format| [b".", session, b".", format.suffix().as_bytes(), b"."].concat();
            if Format::ALL.into_iter().any(|format| is_ours(leftover, &[&part(format)], b".part")) {
                reap(place, leftover, source)?;
            } else if is_ours(leftover, &[b".", session, b".removing-"], b"") {
                let done = self.resume(&parent, session, leftover, source, outcome, started)?;
                if !source {
                    return Ok(Prepared::Done(done));
                }
                outcome.notes.push(format!("tombstone {}: {} {}", show(leftover), done.action, done.reason));
            }
        }
        let mut displaced = Vec::new();
        let archives =
            if job.unarchived && job.leftovers.is_empty() { Vec::new() } else { self.archives(place, session)? };
        for archive in archives {
            match self.meet(&parent, session, &archive, outcome, started)? {
                Met::Equal(mut item) => {
                    item.displaced = displaced;
                    return Ok(Prepared::Go(item));
                }
                Met::Unlike(unlike) => displaced.push(unlike),
            }
        }
        // Where nothing is waited for it goes through the gate at once, with what it has open.
        let alone = parent.settling.is_volatile();
        let hold = alone && !self.options.keep_source && self.options.rates == Rates::default();
        let mut packed = pack(&mut self.bench, place, self.options, self.threads, hold, self.control)?;
        if !alone {
            packed.tree.close();
        }
        let mut item = Item {
            session: session.to_vec(),
            archive: archive_name(session, self.options.format),
            displaced,
            outcome: std::mem::take(outcome),
            started,
            stage: Stage::Packed(packed),
            parent: Rc::clone(&parent),
        };
        if let Stage::Packed(packed) = &item.stage {
            let (seal, size) = (packed.seal.clone(), packed.size);
            item.describe(&seal, size);
        }
        Ok(Prepared::Go(Box::new(item)))
    }

    fn parent(&mut self, path: &[u8]) -> Result<Rc<Parent>, Stop> {
        if let Some(parent) = self.parent.as_ref().filter(|p| p.path == path) {
            return Ok(Rc::clone(parent));
        }
        let fd = sys::open_root(path).map_err(|e| Fault::system("open", path, e))?;
        let (meta, mount) = sys::stat_dir(&fd).map_err(|e| Fault::system("stat", path, e))?;
        let dev = meta.dev;
        let settling = match self.settlings.get(&dev) {
            Some(settling) => Rc::clone(settling),
            None => {
                let settling = Rc::new(Settling::new(fd.as_fd(), self.options.sync, path)?);
                self.settlings.insert(dev, Rc::clone(&settling));
                settling
            }
        };
        let parent = Rc::new(Parent { path: path.to_vec(), fd, mount, settling });
        self.parent = Some(Rc::clone(&parent));
        Ok(parent)
    }

    /// The names of the archives that stand beside the session, this run's format first.
    fn archives(&self, place: Place<'_>, session: &[u8]) -> Result<Vec<Vec<u8>>, Stop> {
        let mut found = Vec::new();
        let own = self.options.format;
        for format in [own].into_iter().chain(Format::ALL.into_iter().filter(|&format| format != own)) {
            let name = archive_name(session, format);
            match sys::exists(place.parent, &name) {
                Ok(true) => found.push(name),
                Ok(false) => {}
                Err(Errno::NAMETOOLONG) => return Err(Stop::Skipped("name too long for an archive's name".into())),
                Err(e) => return Err(Fault::system("stat", join(place.parent_path, &name), e).into()),
            }
        }
        Ok(found)
    }

    /// S2: an archive stands beside the session. Equal: on with the recheck. Else the session is packed, and the old archive
    /// moved aside when the new one is about to take its place, not before.
    fn meet(
        &mut self,
        parent: &Rc<Parent>,
        session: &[u8],
        archive: &[u8],
        outcome: &mut Outcome,
        started: Instant,
    ) -> Result<Met, Stop> {
        let place = parent.place(session);
        let path = join(&parent.path, archive);
        let opened = open_archive_at(place.parent, archive, &path)?;
        let file = opened.file.try_clone().map_err(|e| Fault::io("open", path.clone(), &e))?;
        let (size, meta) = (opened.size, opened.meta);
        let compared = compare(&mut self.bench, place, session, opened, &path, Extent::Whole, true, self.control)
            .and_then(|met| {
                let now = sys::stat(&file).map_err(|e| Fault::system("stat", path.clone(), e))?;
                let same = now.unchanged(&meta);
                same.then_some(met).ok_or_else(|| Stop::Changed("the archive changed while it was compared".into()))
            })?;
        match compared {
            Verdict::Equal(mut tree, summary) => {
                tree.heed_mark()?;
                if let Some(limit) = self.options.older_than_ns {
                    let young = |m: &sys::Meta| m.mtime.nanoseconds() >= limit;
                    if tree.entries.iter().any(|e| e.meta.as_ref().is_some_and(young)) {
                        return Err(Stop::Skipped("young".into()));
                    }
                }
                tree.close();
                let mut item = Item {
                    parent: Rc::clone(parent),
                    session: session.to_vec(),
                    archive: archive.to_vec(),
                    displaced: Vec::new(),
                    stage: Stage::Equal(tree, file),
                    outcome: std::mem::take(outcome),
                    started,
                };
                item.outcome.notes.push("an equal archive was there already".into());
                item.describe(&summary.seal, size);
                Ok(Met::Equal(Box::new(item)))
            }
            Verdict::Different(what) => {
                outcome.notes.push(format!("the archive that was there differs: {what}"));
                Ok(Met::Unlike(Unlike { name: archive.to_vec(), meta, word: "superseded" }))
            }
            Verdict::Unsound(fault) => {
                outcome.notes.push(format!("the archive that was there is damaged: {}", fault.message));
                Ok(Met::Unlike(Unlike { name: archive.to_vec(), meta, word: "damaged" }))
            }
        }
    }

    /// S3: finish an interrupted removal, or give the session its name back.
    fn resume(
        &mut self,
        parent: &Rc<Parent>,
        session: &[u8],
        tombstone: &[u8],
        source: bool,
        outcome: &Outcome,
        started: Instant,
    ) -> Result<Outcome, Stop> {
        let place = parent.place(tombstone);
        let mut item_outcome = outcome.clone();
        let mut why = "a removal had begun, but there is no archive".to_owned();
        let mut proof = None;
        for archive in self.archives(place, session)? {
            let path = join(&parent.path, &archive);
            let opened = open_archive_at(place.parent, &archive, &path)?;
            let file = opened.file.try_clone().map_err(|e| Fault::io("open", path.clone(), &e))?;
            let (size, meta) = (opened.size, opened.meta);
            let met = compare(&mut self.bench, place, session, opened, &path, Extent::Rest, true, self.control);
            let met = match met {
                // It holds what no archive can, so not all of it is in this one; unless it is another process's.
                Err(Stop::Skipped(reason)) if !is_claimed(place) => Verdict::Different(reason),
                met => met?,
            };
            match met {
                Verdict::Equal(tree, summary) => {
                    proof = Some((archive, path, file, size, meta, tree, summary));
                    break;
                }
                Verdict::Different(what) => why = format!("a removal had begun, but the archive differs: {what}"),
                Verdict::Unsound(fault) => {
                    why = format!("a removal had begun, but the archive is damaged: {}", fault.message);
                }
            }
        }
        let Some((archive, path, file, size, proven, tree, summary)) = proof else {
            let fault = Fault::own("remove", place.path(), why);
            if source {
                item_outcome.notes.push("the session's name is taken; the tombstone was left as it is".into());
            } else {
                unbury(place, session)?;
                item_outcome.notes.push("the session has its name back; nothing was removed".into());
            }
            return Ok(stopped(item_outcome, started, Stop::Failed(fault)));
        };
        if !parent.settling.is_volatile() {
            sys::sync_file(&file).map_err(|e| Fault::system("sync", path.clone(), e))?;
        }
        parent.settling.settle_names(place.parent, &parent.path)?;
        let whole = recheck(&tree, place).and_then(|()| {
            let there = sys::stat_at(place.parent, &archive).map_err(|e| Fault::system("stat", path.clone(), e))?;
            let stands = there.unchanged(&proven);
            stands.then_some(()).ok_or_else(|| Stop::Changed("the archive was replaced by another process".into()))
        });
        let gone = whole
            .map_err(|stop| Unfinished { stop, removed: 0 })
            .and_then(|()| remove(&tree, place, &mut self.bench.dirs, true));
        match gone {
            Ok(_) => {
                item_outcome.inodes_freed = tree.inodes();
                item_outcome.settled = if parent.settling.is_volatile() { "volatile" } else { "fsync" };
                let mut item = Item {
                    parent: Rc::clone(parent),
                    session: session.to_vec(),
                    archive,
                    displaced: Vec::new(),
                    stage: Stage::Equal(tree, file),
                    outcome: item_outcome,
                    started,
                };
                item.describe(&summary.seal, size);
                Ok(item.end("archived", "finished an interrupted removal"))
            }
            Err(Unfinished { stop, .. }) => {
                // What has changed somebody works on: he finds it under its name.
                let back = matches!(stop, Stop::Changed(_)) && !source && unbury(place, session).is_ok();
                let note =
                    if back { "what is left has its name back, its archive is kept" } else { "the tombstone is kept" };
                item_outcome.notes.push(note.into());
                Ok(stopped(item_outcome, started, stop))
            }
        }
    }

    // -------------------------------------------------------------------------------------- the batch

    fn finish(&mut self, batch: Vec<Item>) {
        let batch = self.roll_back_if_cancelled(batch);
        let batch = self.settle(batch);
        let batch = self.verify(batch);
        let batch = self.roll_back_if_cancelled(batch);
        let batch = self.publish(batch);
        let mut buried = Vec::new();
        for item in batch {
            match self.recheck_and_bury(item) {
                Err(outcome) => self.report(*outcome),
                Ok((item, tombstone)) if item.parent.settling.is_ordered() => {
                    let outcome = self.remove(item, &tombstone);
                    self.report(outcome);
                }
                Ok((mut item, tombstone)) => {
                    item.close();
                    buried.push((item, tombstone));
                }
            }
        }
        // Elsewhere the tombstones' names must be durable before anything in them goes: what is left of a session under its own
        // name would be taken for one that differs from its archive.
        let refusals = settle_parents(buried.iter().map(|(item, _)| &item.parent));
        for (mut item, tombstone) in buried {
            let settled = refusals.of(&item.parent).map_or(Ok(()), |fault| Err(Stop::Failed(fault)));
            let outcome = match settled.and_then(|()| item.reopen(&tombstone)) {
                Ok(()) => self.remove(item, &tombstone),
                Err(stop) => self.give_up_removal(item, &tombstone, Unfinished { stop, removed: 0 }),
            };
            self.report(outcome);
        }
    }

    fn roll_back_if_cancelled(&mut self, batch: Vec<Item>) -> Vec<Item> {
        if !self.control.is_cancelled() {
            return batch;
        }
        for item in batch {
            self.drop_item(item, Stop::Cancelled);
        }
        Vec::new()
    }

    /// Take the part file away and report: the source was not touched.
    fn drop_item(&mut self, item: Item, stop: Stop) {
        if let Stage::Packed(packed) = &item.stage {
            packed.part.drop_it(item.place());
        }
        self.report(item.stopped(stop));
    }

    fn settle(&mut self, mut batch: Vec<Item>) -> Vec<Item> {
        let mut settled = Vec::with_capacity(batch.len());
        while let Some(first) = batch.first() {
            let settling = Rc::clone(&first.parent.settling);
            let (mut group, rest): (Vec<Item>, Vec<Item>) =
                batch.into_iter().partition(|item| Rc::ptr_eq(&item.parent.settling, &settling));
            batch = rest;
            let files = group.iter().map(|item| match &item.stage {
                Stage::Packed(packed) => (packed.part.file.as_fd(), join(&item.parent.path, &packed.part.name)),
                Stage::Equal(_, file) => (file.as_fd(), join(&item.parent.path, &item.archive)),
            });
            match settling.settle(files) {
                Ok(how) => {
                    for item in &mut group {
                        item.outcome.settled = how;
                    }
                    settled.extend(group);
                }
                // Whatever the kernel could not write it may take for written afterwards: nothing of the group is trusted.
                Err(fault) => {
                    for item in group {
                        self.drop_item(item, Stop::Failed(fault.clone()));
                    }
                }
            }
        }
        settled
    }

    fn verify(&mut self, batch: Vec<Item>) -> Vec<Item> {
        for item in &batch {
            if let Stage::Packed(packed) = &item.stage {
                item.parent.settling.read_anew(&packed.part.file);
            }
        }
        let mut proven = Vec::with_capacity(batch.len());
        for mut item in batch {
            let verified = match &item.stage {
                Stage::Packed(packed) => {
                    verify_part(&mut self.bench, item.place(), packed, self.options.format, self.threads, self.control)
                        .and_then(|()| self.compare_again(&item, packed))
                }
                Stage::Equal(..) => Ok(()),
            };
            if let Stage::Packed(packed) = &mut item.stage {
                self.bench.spare.push(std::mem::take(&mut packed.tar));
            }
            match verified {
                Ok(()) => proven.push(item),
                Err(stop) => self.drop_item(item, stop),
            }
        }
        proven
    }

    /// `--verify compare`: every source file is read again.
    fn compare_again(&mut self, item: &Item, packed: &Packed) -> Result<(), Stop> {
        if !self.options.compare {
            return Ok(());
        }
        let path = join(&item.parent.path, &packed.part.name);
        let place = item.place();
        let fd = sys::open_file(place.parent, &packed.part.name).map_err(|e| Fault::system("open", path.clone(), e))?;
        let opened = crate::verify::Opened {
            file: File::from(fd),
            format: self.options.format,
            meta: sys::stat(&packed.part.file).map_err(|e| Fault::system("stat", path.clone(), e))?,
            size: packed.size,
            seal: matches!(self.options.format, Format::TarGz | Format::TarZst).then(|| packed.seal.clone()),
        };
        match compare(&mut self.bench, place, &item.session, opened, &path, Extent::Whole, false, self.control)? {
            Verdict::Equal(..) => Ok(()),
            Verdict::Different(what) => Err(Stop::Changed(what)),
            Verdict::Unsound(fault) => Err(Stop::Failed(fault)),
        }
    }

    fn publish(&mut self, batch: Vec<Item>) -> Vec<Item> {
        let mut published = Vec::with_capacity(batch.len());
        for mut item in batch {
            let mut cleared = Ok(());
            for old in std::mem::take(&mut item.displaced) {
                let home = item.parent.home();
                match set_aside(home, &old.name, &old.meta, old.word, item.place(), item.tree().top()) {
                    Ok(aside) => item.outcome.notes.push(format!("it was moved aside to {}", show(&aside))),
                    Err(stop) => {
                        cleared = Err(stop);
                        break;
                    }
                }
            }
            let done = cleared.and_then(|()| match &item.stage {
                Stage::Packed(packed) => publish(item.place(), &packed.part, &item.archive),
                Stage::Equal(..) => Ok(()),
            });
            match done {
                Ok(()) => published.push(item),
                Err(stop) => self.drop_item(item, stop),
            }
        }
        let refusals = settle_parents(published.iter().map(|item| &item.parent));
        let mut durable = Vec::with_capacity(published.len());
        for mut item in published {
            match refusals.of(&item.parent) {
                // The archive has its name, but perhaps not after a power cut: the source stays.
                Some(fault) => {
                    item.outcome.notes.push("the archive is there, the source was kept".into());
                    self.report(stopped(item.outcome, item.started, Stop::Failed(fault)));
                }
                None => durable.push(item),
            }
        }
        durable
    }

    /// The session under its tombstone's name, or what became of it.
    fn recheck_and_bury(&mut self, mut item: Item) -> Result<(Item, Vec<u8>), Box<Outcome>> {
        if self.options.keep_source {
            let reason = if matches!(item.stage, Stage::Packed(_)) { "source kept" } else { "already archived" };
            return Err(Box::new(item.end("kept", reason)));
        }
        if self.control.is_cancelled() {
            return Err(Box::new(item.end("kept", "interrupted after publishing; the next run removes the source")));
        }
        let session = item.session.clone();
        if let Err(stop) = item.reopen(&session).and_then(|()| recheck(item.tree(), item.place())) {
            return Err(Box::new(withdraw(item, stop)));
        }
        let proven = item.archive_file();
        let proven = sys::stat(proven).map_err(|e| Stop::Failed(Fault::system("stat", item.outcome.target.clone(), e)));
        match proven.and_then(|proven| bury(item.place(), item.tree().top(), &item.archive, &proven)) {
            Ok(tombstone) => Ok((item, tombstone)),
            Err(stop) => Err(Box::new(withdraw(item, stop))),
        }
    }

    fn remove(&mut self, mut item: Item, tombstone: &[u8]) -> Outcome {
        let grave = Place { name: tombstone, ..item.place() };
        match remove(item.tree(), grave, &mut self.bench.dirs, false) {
            Ok(_) => {
                let new = u64::from(matches!(item.stage, Stage::Packed(_)));
                item.outcome.inodes_freed = item.tree().inodes().saturating_sub(new);
                item.end("archived", "")
            }
            Err(unfinished) => self.give_up_removal(item, tombstone, unfinished),
        }
    }

    /// A removal that stopped. Because of an error, after something was removed: the tombstone stays, the next run finishes
    /// it. Else what is left gets its name back.
    fn give_up_removal(&self, mut item: Item, tombstone: &[u8], unfinished: Unfinished) -> Outcome {
        let Unfinished { stop, removed } = unfinished;
        if removed > 0 && matches!(stop, Stop::Failed(_)) {
            item.outcome.notes.push(format!("the next run goes on removing {}", show(tombstone)));
            return stopped(item.outcome, item.started, stop);
        }
        let grave = Place { name: tombstone, ..item.place() };
        if let Err(fault) = unbury(grave, &item.session) {
            let note = format!("what is left stands in {} ({})", show(tombstone), fault.message);
            item.outcome.notes.push(note);
        } else if removed == 0 {
            return withdraw(item, stop);
        } else {
            item.outcome.notes.push("some of it was removed before; the archive holds it and is kept".into());
        }
        stopped(item.outcome, item.started, stop)
    }
}

/// Nothing of the source was removed. If it changed, an archive published in this run is taken back, so that the session is as
/// it was; after an error both stand side by side, and the next run tries again.
fn withdraw(mut item: Item, stop: Stop) -> Outcome {
    if matches!(stop, Stop::Failed(_)) {
        item.outcome.notes.push("the archive is there, the source was kept".into());
        return stopped(item.outcome, item.started, stop);
    }
    if let Stage::Packed(packed) = &item.stage {
        let place = item.place();
        let taken = match sys::stat(&packed.part.file) {
            Ok(ours) if same_file(place, &item.archive, &packed.part) => {
                set_aside(item.parent.home(), &item.archive, &ours, "superseded", place, packed.tree.top()).and_then(
                    |aside| sys::unlink(place.parent, &aside).map_err(|e| Fault::system("unlink", aside, e).into()),
                )
            }
            _ => Err(Stop::Changed("it is not ours any more".into())),
        };
        if let Err(Stop::Changed(why)) = taken {
            item.outcome.notes.push(format!("the archive was left: {why}"));
        } else if let Err(Stop::Failed(fault)) = taken {
            item.outcome.notes.push(format!("the archive could not be taken back: {fault}"));
        }
    }
    item.stopped(stop)
}

fn same_file(place: Place<'_>, name: &[u8], part: &Part) -> bool {
    match (sys::stat_at(place.parent, name), sys::stat(&part.file)) {
        (Ok(a), Ok(b)) => a.same_inode(&b),
        _ => false,
    }
}

/// S1: drop the part file of a run that is gone. One that is locked belongs to a run that is not.
fn reap(place: Place<'_>, part: &[u8], source: bool) -> Result<(), Stop> {
    let path = join(place.parent_path, part);
    if !source {
        return Err(
            Fault::own("reap", path, "a part file whose session is gone; look at it and remove it by hand").into()
        );
    }
    let fd = match sys::open_write(place.parent, part) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(Fault::system("open", path, e).into()),
    };
    let meta = sys::stat(&fd).map_err(|e| Fault::system("stat", path.clone(), e))?;
    if meta.kind != Kind::File {
        return Err(Fault::own("reap", path, "named like a part file, but not a regular file").into());
    }
    match sys::try_lock(&fd).map_err(|e| Fault::system("lock", path.clone(), e))? {
        Lock::Taken => {}
        Lock::Held => return Err(Stop::Skipped("another run is packing it".into())),
        Lock::None if Time::now().nanoseconds() - meta.mtime.nanoseconds() < UNLOCKABLE => {
            let why = "a part file is less than an hour old, and this filesystem cannot tell whether it is in use";
            return Err(Stop::Skipped(why.into()));
        }
        Lock::None => {}
    }
    match sys::unlink(place.parent, part) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Fault::system("unlink", path, e).into()),
    }
}

/// Whether another process works on the directory.
fn is_claimed(place: Place<'_>) -> bool {
    let opened = sys::open_dir(place.parent, place.name);
    opened.and_then(sys::try_lock).is_ok_and(|lock| lock == Lock::Held)
}

fn archive_name(session: &[u8], format: Format) -> Vec<u8> {
    [session, b".", format.suffix().as_bytes()].concat()
}
