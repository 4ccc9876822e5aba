//! Which verdict a session gets, test by test, in the order of [`Verdict`].

use crate::sys::Meta;

use super::measure::Sums;
use super::{ScanSpec, Status, Verdict};

impl ScanSpec {
    /// By the directories above it.
    pub(super) fn by_place(&self, status: Status, marked: bool) -> Option<Verdict> {
        if status == Status::Running && !self.statuses[Status::Running as usize] {
            return Some(Verdict::Running);
        }
        marked.then_some(Verdict::Marked)
    }

    pub(super) fn by_status(&self, status: Status) -> Option<Verdict> {
        let any = self.statuses.contains(&true);
        (any && !self.statuses[status as usize]).then_some(Verdict::Status)
    }

    /// Whether the record of the session directory alone can exclude it.
    pub(super) fn asks_record(&self) -> bool {
        self.asks_owner()
            || self.changed_after_ns.is_some()
            || self.changed_before_ns.is_some()
            || self.older_than_ns.is_some()
    }

    fn asks_owner(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.not_uid.is_some() || self.not_gid.is_some()
    }

    /// By the record of the session directory; `device` is that of its parent.
    pub(super) fn by_record(&self, own: &Meta, device: u64) -> Option<Verdict> {
        if self.uid.is_some_and(|id| own.uid != id)
            || self.gid.is_some_and(|id| own.gid != id)
            || self.not_uid == Some(own.uid)
            || self.not_gid == Some(own.gid)
        {
            return Some(Verdict::Owner);
        }
        let mtime = own.mtime.nanoseconds();
        if self.changed_after_ns.is_some_and(|t| mtime <= t) || self.changed_before_ns.is_some_and(|t| mtime >= t) {
            return Some(Verdict::Mtime);
        }
        if self.is_young(mtime) {
            return Some(Verdict::Young);
        }
        // What is mounted on a session is not gone through, so that the tests in between are left out.
        (own.dev != device).then_some(Verdict::Device)
    }

    fn is_young(&self, mtime_ns: i64) -> bool {
        self.older_than_ns.is_some_and(|t| mtime_ns >= t)
    }

    /// Whether a session has to be gone through.
    pub(super) fn asks_entries(&self) -> bool {
        self.measure
            || self.older_than_ns.is_some()
            || self.newer_than_ns.is_some()
            || self.min_size.is_some()
            || self.max_size.is_some()
    }

    /// By all entries of a session.
    pub(super) fn by_entries(&self, sums: &Sums) -> Option<Verdict> {
        if self.is_young(sums.newest_ns) {
            return Some(Verdict::Young);
        }
        if self.newer_than_ns.is_some_and(|t| sums.newest_ns < t) {
            return Some(Verdict::Old);
        }
        let outside = self.min_size.is_some_and(|n| sums.size < n) || self.max_size.is_some_and(|n| sums.size > n);
        outside.then_some(Verdict::Size)
    }
}
