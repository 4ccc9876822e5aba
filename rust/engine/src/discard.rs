//! Remove sessions that nobody wants to keep, without an archive.
//!
//! What is removed was chosen by policy and looked at before, so the question here is whether it is the one that is meant. In
//! order: open it by handle, never through a symlink, and see that it is the directory that was looked at; claim it; record
//! every entry; see that nothing changed and that all can be removed; rename it to `.S.discarding-X`, so that nobody finds half a
//! session under its name; unlink exactly the recorded entries.
//!
//! What stops before the first unlink gives the session its name back; later, what is left stays under its hidden name, from
//! which another discard goes on. Nothing is synced: after a power cut it may be there again.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::error::{show, Fault, Stop};
use crate::options::{DiscardJob, Limits, Outcome};
use crate::remove::{entomb, recheck, remove, unbury, Unfinished};
use crate::scan::{leftover_directory, RowKind};
use crate::session::{gone, join, keep_open, Place, Tree, OPEN};
use crate::sys::{self, DirBuffer, Kind, Storage};
use crate::task::{guarded, Control, Task};
use crate::walk::{walk, Kinds};

/// Discard sessions in the background.
pub fn discard(jobs: Vec<DiscardJob>, workers: usize) -> Task {
    // A quarter of the files that may be open is left to the program around us.
    let most = (sys::max_open() / 4 * 3).min(1 << 20) as usize;
    let workers = workers.clamp(1, jobs.len().max(1)).min(most / 16).max(1);
    let keep = (most / workers).saturating_sub(8).clamp(4, OPEN);
    Task::start(workers, jobs.len(), move |control| {
        keep_open(keep);
        let mut dirs = DirBuffer::default();
        while let Some(i) = control.take_rested() {
            let job = &jobs[i];
            let outcome = guarded(
                || discard_one(job, &mut dirs, control),
                || {
                    let fault = Fault::own("work", job.path.clone(), "the engine broke off because of a defect in it");
                    let (path, reason) = (job.path.clone(), fault.message.clone());
                    Outcome { path, action: "failed", reason, fault: Some(fault), ..Outcome::default() }
                },
            );
            control.report([outcome]);
        }
    })
}

fn discard_one(job: &DiscardJob, dirs: &mut DirBuffer, control: &Control) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome { path: job.path.clone(), ..Outcome::default() };
    let done = if control.is_cancelled() { Err(Stop::Cancelled) } else { run(job, dirs, &mut outcome) };
    control.count(0, outcome.entries);
    (outcome.action, outcome.reason, outcome.fault) = match done {
        Ok(()) => ("discarded", String::new(), None),
        Err(Stop::Skipped(reason)) => ("skipped", reason, None),
        Err(Stop::Changed(reason)) => ("changed", reason, None),
        Err(Stop::Cancelled) => ("cancelled", String::new(), None),
        Err(Stop::Failed(fault) | Stop::Damaged(fault)) => ("failed", fault.message.clone(), Some(fault)),
    };
    outcome.milliseconds = started.elapsed().as_secs_f64() * 1e3;
    outcome
}

fn run(job: &DiscardJob, dirs: &mut DirBuffer, outcome: &mut Outcome) -> Result<(), Stop> {
    let slash = job.path.iter().rposition(|&b| b == b'/').filter(|&at| at + 1 < job.path.len());
    let at = slash.ok_or_else(|| Fault::own("open", job.path.clone(), "not the absolute path of a session"))?;
    let (above, name) = (&job.path[..at.max(1)], &job.path[at + 1..]);
    let parent = sys::open_root(above).map_err(|e| Fault::system("open", above, e))?;
    let (_, mount) = sys::stat_dir(&parent).map_err(|e| Fault::system("stat", above, e))?;
    // Who still writes to what is discarded does not keep it: no leases.
    let place = Place { parent: parent.as_fd(), mount, parent_path: above, name, storage: Storage::Other };
    let mut tree = walk(place, dirs, &Limits::default(), Kinds::Any)?;
    tree.claim(place)?;
    if (tree.top().dev, tree.top().ino) != (job.device, job.inode) {
        return Err(Stop::Changed("it is another directory than the one that was looked at".into()));
    }
    record_files(&mut tree, place)?;
    recheck(&tree, place)?;
    let begun = matches!(leftover_directory(name), Some((RowKind::Discard, _)));
    let hidden = if begun { name.to_vec() } else { entomb(place, tree.top(), b"discarding")? };
    let grave = Place { name: &hidden, ..place };
    match remove(&tree, grave, dirs, false) {
        Ok(removed) => {
            outcome.entries = removed;
            outcome.inodes_freed = tree.inodes();
            Ok(())
        }
        Err(Unfinished { stop, removed: 0 }) if !begun => {
            unbury(grave, name)?;
            Err(stop)
        }
        Err(Unfinished { stop, removed }) => {
            outcome.target = join(above, &hidden);
            let left = show(&hidden);
            outcome.notes.push(format!("{removed} entries are gone; what is left is in {left}, to be discarded again"));
            Err(stop)
        }
    }
}

/// The records of what is no directory.
fn record_files(tree: &mut Tree, place: Place<'_>) -> Result<(), Stop> {
    for i in 0..tree.entries.len() {
        let entry = &tree.entries[i];
        if entry.kind == Kind::Dir {
            continue;
        }
        let found = sys::stat_at(tree.dir(place, entry.parent)?.as_fd(), entry.name());
        let meta = found.map_err(|e| gone("stat", &place, &entry.path, e))?;
        if meta.dev != tree.top().dev {
            return Err(Stop::Skipped(format!("mount point inside: {}", show(&entry.path))));
        }
        tree.entries[i].meta = Some(meta);
    }
    Ok(())
}
