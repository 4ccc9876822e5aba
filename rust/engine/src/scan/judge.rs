//! One session's verdict: first what costs nothing, then its record, then what asks for a look into it.

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::error::Fault;
use crate::sys::{self, Meta};

use super::find::Dir;
use super::look::Looker;
use super::measure::{Measured, Sums};
use super::Verdict;

pub(super) struct Judged {
    pub verdict: Verdict,
    /// The session directory's record, where it was taken.
    pub own: Option<Meta>,
    /// Where it was gone through.
    pub sums: Option<Sums>,
}

impl Judged {
    /// Without having been gone through; no verdict is `selected`.
    fn unseen(verdict: Option<Verdict>, own: Option<Meta>) -> Self {
        Self { verdict: verdict.unwrap_or(Verdict::Selected), own, sums: None }
    }
}

impl Looker<'_> {
    /// `None`: the session vanished, or the scan was cancelled.
    ///
    /// A session's own `.noarchive` is seen where the session is gone through; elsewhere packing sees it.
    pub fn judge(&mut self, dir: &Dir, name: &[u8]) -> Option<Judged> {
        let spec = self.spec;
        let mut verdict = spec.by_place(dir.status, dir.marked).or_else(|| spec.by_status(dir.status));
        if verdict.is_some() && !spec.keep_skipped {
            return Some(Judged::unseen(verdict, None));
        }
        let walks = verdict.is_none() && spec.asks_entries();
        let mut own = None;
        if !walks || spec.asks_record() {
            match sys::stat_at(dir.fd.as_fd(), name) {
                Ok(meta) => own = Some(meta),
                Err(Errno::NOENT) => return None,
                Err(e) => {
                    self.found.faults.push(Fault::system("stat", dir.path_of(name), e));
                    return Some(Judged::unseen(verdict.or(Some(Verdict::Unreadable)), None));
                }
            }
        }
        verdict = verdict.or_else(|| spec.by_record(own.as_ref()?, dir.device));
        if verdict.is_some() || !walks {
            return Some(Judged::unseen(verdict, own));
        }
        let walked = self.walk(dir, name, true)?;
        let own = walked.own.or(own);
        if walked.marked {
            return Some(Judged::unseen(Some(Verdict::Marked), own));
        }
        let verdict = (spec.by_entries(&walked.sums))
            .or(walked.mounted.then_some(Verdict::Device))
            .or(walked.unreadable.then_some(Verdict::Unreadable));
        Some(Judged { verdict: verdict.unwrap_or(Verdict::Selected), own, sums: Some(walked.sums) })
    }

    /// Go through a session, or what is left of one.
    pub fn walk(&mut self, dir: &Dir, name: &[u8], heeds_mark: bool) -> Option<Measured> {
        let Self { measurer, control, found, .. } = self;
        let mut walked = measurer.measure(heeds_mark, control, dir, name)?;
        found.directories += walked.directories;
        found.entries += walked.entries;
        found.faults.append(&mut walked.faults);
        Some(walked)
    }
}
