use pyo3::prelude::*;
use runark_engine::VerifyOptions;

use crate::convert::{self, LimitsTuple};
use crate::task::Task;

#[pyfunction]
#[pyo3(signature = (paths, *, workers, limits))]
pub fn verify(paths: Vec<Vec<u8>>, workers: usize, limits: LimitsTuple) -> Task {
    let options = VerifyOptions { jobs: workers, limits: convert::limits(limits) };
    Task(runark_engine::verify::verify(paths, options))
}
