//! Read seals without decoding, and list the members of one archive.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::codec::Unpacker;
use crate::error::{Fault, Stop};
use crate::options::Limits;
use crate::seal::Seal;
use crate::tar::reader::Member;
use crate::task::Control;
use crate::verify::{examine, open_archive};

/// The seal of one archive and the size of its file; no seal if it has none.
pub type Sealed = Result<Option<(Seal, u64)>, Fault>;

/// For each archive its seal; `jobs` threads read.
pub fn seals(paths: &[Vec<u8>], jobs: usize) -> Vec<Sealed> {
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Sealed)>> = Mutex::new(Vec::with_capacity(paths.len()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, paths.len().max(1)) {
            scope.spawn(|| loop {
                let start = next.fetch_add(256, Relaxed);
                if start >= paths.len() {
                    return;
                }
                let end = (start + 256).min(paths.len());
                let some: Vec<_> = (start..end).map(|i| (i, read_seal(&paths[i]))).collect();
                found.lock().unwrap_or_else(PoisonError::into_inner).extend(some);
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(i, _)| *i);
    found.into_iter().map(|(_, sealed)| sealed).collect()
}

fn read_seal(path: &[u8]) -> Sealed {
    match open_archive(path) {
        Ok(opened) => Ok(opened.seal.map(|seal| (seal, opened.size))),
        Err(stop) => Err(fault_of(stop, path)),
    }
}

/// The members in order, after the whole archive was read and found sound.
pub fn members(path: &[u8], limits: &Limits) -> Result<Vec<Member>, Fault> {
    let mut members = Vec::new();
    let opened = open_archive(path).map_err(|stop| fault_of(stop, path))?;
    let each = |member: Member, _: &mut crate::verify::Data<'_, '_>| {
        members.push(member);
        Ok(())
    };
    examine(&mut Unpacker::default(), opened, path, limits, &Control::default(), each)
        .map_err(|stop| fault_of(stop, path))?;
    Ok(members)
}

fn fault_of(stop: Stop, path: &[u8]) -> Fault {
    match stop {
        Stop::Failed(fault) | Stop::Damaged(fault) => fault,
        Stop::Skipped(text) | Stop::Changed(text) => Fault::own("open", path, text),
        Stop::Cancelled => Fault::own("open", path, "cancelled"),
    }
}
