//! Work in the background: threads that take jobs from one counter, outcomes that the caller polls, flags that stop it.
//!
//! Workers never wait for each other, only for the limits of their task ([`crate::load`]) and while fewer are wanted; a
//! cancellation ends every wait. The caller's thread only waits in [`Task::poll`], as long as it says.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::load::{self, Meter, Rates};
use crate::options::Outcome;

/// Outcomes that are worth waking the caller for, and how long fewer may lie.
const PLENTY: usize = 512;
const GATHER: Duration = Duration::from_millis(50);

/// The longest time a worker sleeps without looking whether it still has to.
const NAP: Duration = Duration::from_secs(60);

/// Counters of a task: jobs ended, jobs given, content bytes and entries gone through, operations made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    pub bytes: u64,
    pub entries: u64,
    pub operations: u64,
}

thread_local! {
    /// The number of this worker; the lower ones are the last to rest.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// What a task shares with its workers.
#[derive(Default)]
pub struct Control {
    cancelled: AtomicBool,
    draining: AtomicBool,
    /// How many workers are not to begin anything at the moment.
    resting: AtomicUsize,
    workers: usize,
    operation_meter: Option<Meter>,
    byte_meter: Option<Meter>,
    waits: Mutex<()>,
    bell: Condvar,
    done: AtomicU64,
    total: AtomicU64,
    bytes: AtomicU64,
    entries: AtomicU64,
    operations: AtomicU64,
    next: AtomicUsize,
    outcomes: Mutex<VecDeque<Outcome>>,
    news: Condvar,
    working: AtomicUsize,
}

impl Control {
    /// Begin nothing more and roll back what is not published.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        self.ring();
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Begin nothing more, and finish what was begun.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.ring();
    }

    /// Whether a job that is taken now is to be reported as cancelled.
    pub fn begins_nothing(&self) -> bool {
        self.is_cancelled() || self.draining.load(Relaxed)
    }

    /// Have at most so many workers begin anything, at least one; the others finish what they have and rest.
    pub fn allow(&self, workers: usize) {
        self.resting.store(self.workers.saturating_sub(workers.max(1)), Relaxed);
        self.ring();
    }

    /// Whether this worker is to rest before it begins anything.
    pub fn is_to_rest(&self) -> bool {
        NUMBER.get() + self.resting.load(Relaxed) >= self.workers && self.resting.load(Relaxed) > 0
    }

    /// Wait until this worker is wanted again or there is nothing left to begin.
    pub fn rest(&self) {
        self.wait(None, || {
            let left = self.next.load(Relaxed) < self.total.load(Relaxed) as usize;
            self.is_to_rest() && left && !self.begins_nothing()
        });
    }

    /// Count content bytes that are about to be read, and wait if the task is ahead of its limit.
    pub fn pay_bytes(&self, bytes: u64) {
        if let Some(meter) = &self.byte_meter {
            self.wait(Some(meter.pay(bytes as f64)), || !self.is_cancelled());
        }
    }

    /// How many of at most `most` bytes are to be read and paid for at once.
    pub fn piece(&self, most: usize) -> usize {
        self.byte_meter.as_ref().map_or(most, |meter| meter.piece(4096, most as u64) as usize)
    }

    fn pay_operations(&self, count: u64) {
        self.operations.fetch_add(count, Relaxed);
        if let Some(meter) = &self.operation_meter {
            self.wait(Some(meter.pay(count as f64)), || !self.is_cancelled());
        }
    }

    /// Wait until `due` (or without an end) as long as `going` holds.
    fn wait(&self, due: Option<Instant>, going: impl Fn() -> bool) {
        let left = || due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
        if left().is_zero() {
            return;
        }
        let mut lock = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        while going() && !left().is_zero() {
            // A waiter that is woken for nothing looks again.
            lock = self.bell.wait_timeout(lock, left().min(NAP)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Have everybody who waits look again.
    fn ring(&self) {
        let _lock = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        self.bell.notify_all();
    }

    pub fn progress(&self) -> Progress {
        Progress {
            done: self.done.load(Relaxed),
            total: self.total.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            entries: self.entries.load(Relaxed),
            operations: self.operations.load(Relaxed),
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
        let there = i < self.total.load(Relaxed) as usize;
        if !there {
            self.ring(); // for those that rest
        }
        there.then_some(i)
    }

    /// The same, after a rest if this worker is to take one.
    pub fn take_rested(&self) -> Option<usize> {
        if self.is_to_rest() {
            self.rest();
        }
        self.take()
    }

    pub fn report(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        if self.operation_meter.is_none() {
            self.operations.fetch_add(load::take_owed(), Relaxed); // else it is told when it is paid for
        }
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
        Self::limited(Rates::default(), workers, total, work)
    }

    /// The same within limits.
    pub fn limited<W>(rates: Rates, workers: usize, total: usize, work: W) -> Self
    where
        W: Fn(&Control) + Send + Sync + 'static,
    {
        let workers = workers.clamp(1, total.max(1));
        let control = Arc::new(Control {
            total: AtomicU64::new(total as u64),
            workers,
            working: AtomicUsize::new(workers),
            operation_meter: Meter::new(rates.operations),
            byte_meter: Meter::new(rates.bytes),
            ..Control::default()
        });
        let work = Arc::new(work);
        let threads = (0..workers)
            .map(|number| {
                let control = Arc::clone(&control);
                let work = Arc::clone(&work);
                std::thread::spawn(move || {
                    NUMBER.set(number);
                    if let Some(meter) = &control.operation_meter {
                        let payer = Arc::clone(&control);
                        load::pay_by(meter.piece(1, 32), Box::new(move |count| payer.pay_operations(count)));
                    }
                    // `work` takes care of its jobs; the task ends in any case.
                    if catch_unwind(AssertUnwindSafe(|| work(&control))).is_err() {
                        control.allow(usize::MAX); // nobody rests for one that is gone
                    }
                    control.operations.fetch_add(load::take_owed(), Relaxed);
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
