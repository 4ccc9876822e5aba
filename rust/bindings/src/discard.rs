use pyo3::prelude::*;
use runark_engine::DiscardJob;

use crate::task::Task;

#[pyfunction]
#[pyo3(signature = (jobs, *, workers))]
pub fn discard(jobs: Vec<(Vec<u8>, u64, u64)>, workers: usize) -> Task {
    let jobs = jobs.into_iter().map(|(path, device, inode)| DiscardJob { path, device, inode }).collect();
    Task(runark_engine::discard::discard(jobs, workers))
}
