//! The work threads share: one stack, so that the walk goes deep first and few directories are open at a time.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::find::Dir;

pub(super) enum Work {
    /// A root, as given.
    Root(Vec<u8>),
    /// A directory to list: its parent and its name.
    Enter(Arc<Dir>, Box<[u8]>),
    /// Names to look at.
    Look(Arc<Dir>, Chunk),
}

/// Some names of one directory: for each a byte for its kind, the name, NUL.
pub(super) type Chunk = Vec<u8>;

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Threads without work, to be read without the lock: a hint for those that have some.
    hungry: AtomicUsize,
    waiting_work: AtomicUsize,
}

struct State {
    work: Vec<Work>,
    /// Threads that have work, which may make more of it.
    busy: usize,
}

/// Chunks of names that wait; beyond that, whoever lists a directory looks at its names itself.
const ENOUGH: usize = 64;

impl Queue {
    pub fn new(work: Vec<Work>) -> Self {
        Self {
            waiting_work: AtomicUsize::new(work.len()),
            state: Mutex::new(State { work, busy: 0 }),
            wake: Condvar::new(),
            hungry: AtomicUsize::new(0),
        }
    }

    /// Whether some thread has nothing to do.
    pub fn hungry(&self) -> bool {
        self.hungry.load(Relaxed) > 0
    }

    pub fn has_enough(&self) -> bool {
        self.waiting_work.load(Relaxed) >= ENOUGH
    }

    pub fn push(&self, work: impl IntoIterator<Item = Work>) {
        let mut state = self.lock();
        let before = state.work.len();
        state.work.extend(work);
        let after = state.work.len();
        self.waiting_work.store(after, Relaxed);
        drop(state);
        match after - before {
            0 => {}
            1 => self.wake.notify_one(),
            _ => self.wake.notify_all(),
        }
    }

    /// The next piece of work; waits while others may make some. `None`: all is done. A thread that asks for the second time
    /// has thereby ended what it had (`first` is false then).
    pub fn take(&self, first: bool) -> Option<Work> {
        let mut state = self.lock();
        if !first {
            state.busy -= 1;
        }
        loop {
            if let Some(work) = state.work.pop() {
                state.busy += 1;
                self.waiting_work.store(state.work.len(), Relaxed);
                return Some(work);
            }
            if state.busy == 0 {
                self.wake.notify_all();
                return None;
            }
            self.hungry.fetch_add(1, Relaxed);
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            self.hungry.fetch_sub(1, Relaxed);
        }
    }

    /// Forget what waits (cancelled).
    pub fn clear(&self) {
        let dropped = std::mem::take(&mut self.lock().work);
        drop(dropped);
    }

    // Nothing that could panic is done under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
