use pyo3::prelude::*;
use runark_engine::{RestoreJob, RestoreOptions};

use crate::convert::{self, LimitsTuple};
use crate::task::Task;

/// Archive, target, names of stale staging directories.
type Job = (Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

#[pyfunction]
#[pyo3(signature = (jobs, *, workers, remove_archive, same_owner, special_modes, limits))]
pub fn restore(
    jobs: Vec<Job>,
    workers: usize,
    remove_archive: bool,
    same_owner: bool,
    special_modes: bool,
    limits: LimitsTuple,
) -> Task {
    let jobs = jobs.into_iter().map(|(archive, dest, leftovers)| RestoreJob { archive, dest, leftovers }).collect();
    let limits = convert::limits(limits);
    let options = RestoreOptions { jobs: workers, remove_archive, same_owner, special_modes, limits };
    Task(runark_engine::restore::restore(jobs, options))
}
