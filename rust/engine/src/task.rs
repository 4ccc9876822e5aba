//! Work in the background: threads that take jobs from one counter, outcomes that the caller polls, a flag that stops it.
//!
//! Workers never wait for each other. The caller's thread only waits in [`Task::poll`], as long as it says.

use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::options::Outcome;

/// Outcomes that are worth waking the caller for, and how long fewer may lie.
const PLENTY: usize = 512;
const GATHER: Duration = Duration::from_millis(50);

/// Counters of a task: jobs ended, jobs given, content bytes and entries gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    pub bytes: u64,
    pub entries: u64,
}

/// What a task shares with its workers.
#[derive(Default)]
pub struct Control {
    cancelled: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
    next: AtomicUsize,
    outcomes: Mutex<VecDeque<Outcome>>,
    news: Condvar,
    working: AtomicUsize,
}

impl Control {
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    pub fn progress(&self) -> Progress {
        Progress {
            done: self.done.load(Relaxed),
            total: self.total.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            entries: self.entries.load(Relaxed),
        }
    }

    pub fn count(&self, bytes: u64, entries: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.entries.fetch_add(entries, Relaxed);
    }

    pub fn count_done(&self, rows: u64) {
        self.done.fetch_add(rows, Relaxed);
    }

    /// The next job of `total`, if there is one left.
    pub fn take(&self) -> Option<usize> {
        let i = self.next.fetch_add(1, Relaxed);
        (i < self.total.load(Relaxed) as usize).then_some(i)
    }

    pub fn report(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        let mut queue = self.queue();
        let before = queue.len();
        queue.extend(outcomes);
        self.done.fetch_add((queue.len() - before) as u64, Relaxed);
        if before < PLENTY && queue.len() >= PLENTY {
            self.news.notify_one();
        }
    }

    // A worker that panics does so outside this lock; what is in the queue stays good.
    fn queue(&self) -> MutexGuard<'_, VecDeque<Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Do one job; if a defect makes it panic, `lost` is its outcome. The message went to stderr.
pub fn guarded(job: impl FnOnce() -> Outcome, lost: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| lost())
}

/// Work under way. Dropping it cancels and waits.
pub struct Task {
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
}

impl Task {
    /// Start `workers` threads on `total` jobs. Each calls `work` once; it takes jobs with [`Control::take`] until there are
    /// none and reports one outcome a job, also of one that panics.
    pub fn start<W>(workers: usize, total: usize, work: W) -> Self
    where
        W: Fn(&Control) + Send + Sync + 'static,
    {
        let control = Arc::new(Control::default());
        control.total.store(total as u64, Relaxed);
        let workers = workers.clamp(1, total.max(1));
        control.working.store(workers, Relaxed);
        let work = Arc::new(work);
        let threads = (0..workers)
            .map(|_| {
                let control = Arc::clone(&control);
                let work = Arc::clone(&work);
                std::thread::spawn(move || {
                    // `work` takes care of its jobs; the task ends in any case.
                    let _ = catch_unwind(AssertUnwindSafe(|| work(&control)));
                    control.working.fetch_sub(1, Relaxed);
                    let _queue = control.queue();
                    control.news.notify_all();
                })
            })
            .collect();
        Self { control, threads }
    }

    /// Wait up to `timeout` for outcomes; `None` when all work has ended and every outcome was given.
    ///
    /// Outcomes are let gather for a moment: waking the caller for each would cost the workers more than their reports.
    pub fn poll(&self, timeout: Duration) -> Option<Vec<Outcome>> {
        let deadline = Instant::now() + timeout;
        let mut queue = self.control.queue();
        loop {
            let ended = self.control.working.load(Relaxed) == 0;
            if ended && queue.is_empty() {
                return None;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if ended || queue.len() >= PLENTY || wait.is_zero() {
                return Some(queue.drain(..).collect());
            }
            let (locked, waited) =
                self.control.news.wait_timeout(queue, wait.min(GATHER)).unwrap_or_else(PoisonError::into_inner);
            queue = locked;
            if waited.timed_out() && !queue.is_empty() {
                return Some(queue.drain(..).collect());
            }
        }
    }

    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.control.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
