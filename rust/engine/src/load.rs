//! How much a task asks of the filesystem: operations are counted where they are made ([`crate::sys`]), content bytes where
//! they are read, and who is ahead of a limit waits.
//!
//! What counts as an operation is written down in `python/runark/engine/protocol.py`. Each worker counts for itself and tells
//! its task now and then; without a limit that is when it reports an outcome.

use std::cell::{Cell, RefCell};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What may be left unused and made up for later.
const BURST: Duration = Duration::from_secs(1);
const LONGEST: f64 = 86_400.0;

/// What a task may do in a second; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub operations: f64,
    pub bytes: f64,
}

/// One limit. All workers of a task pay here, so it holds for them together and whoever is left at the end has all of it.
pub struct Meter {
    rate: f64,
    /// When all that was paid for so far is due.
    due: Mutex<Instant>,
}

impl Meter {
    pub fn new(rate: f64) -> Option<Self> {
        (rate > 0.0).then(|| Self { rate, due: Mutex::new(Instant::now()) })
    }

    /// Pay for `amount`; the payer goes on at the instant given.
    pub fn pay(&self, amount: f64) -> Instant {
        let cost = Duration::from_secs_f64((amount / self.rate).min(LONGEST));
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = (*due).max(now.checked_sub(BURST).unwrap_or(now)) + cost;
        *due
    }

    /// What is paid for at once: a few thousandths of a second's worth.
    pub fn piece(&self, least: u64, most: u64) -> u64 {
        ((self.rate / 200.0) as u64).clamp(least, most)
    }
}

type Payer = Box<dyn Fn(u64)>;

thread_local! {
    static OWED: Cell<u64> = const { Cell::new(0) };
    static PIECE: Cell<u64> = const { Cell::new(u64::MAX) };
    static PAYER: RefCell<Option<Payer>> = const { RefCell::new(None) };
}

/// Have this thread call `payer` with what it owes whenever that is `piece` operations or more.
pub fn pay_by(piece: u64, payer: Payer) {
    PIECE.set(piece);
    PAYER.set(Some(payer));
}

/// Count operations that are about to be made; this is where a worker waits.
#[inline]
pub fn operations(count: u64) {
    let owed = OWED.get() + count;
    OWED.set(owed);
    if owed >= PIECE.get() {
        pay();
    }
}

#[cold]
fn pay() {
    PAYER.with_borrow(|payer| {
        if let Some(payer) = payer {
            payer(take_owed());
        }
    });
}

/// What this thread has counted and not yet told.
pub fn take_owed() -> u64 {
    OWED.take()
}

/// As long as it lives, this thread does not wait: for a few operations that others must not come between for long.
pub struct AtOnce {
    piece: u64,
}

pub fn at_once() -> AtOnce {
    AtOnce { piece: PIECE.replace(u64::MAX) }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        PIECE.set(self.piece);
    }
}
