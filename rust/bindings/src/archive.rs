use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use runark_engine::{ArchiveJob, ArchiveOptions, Format, Rates, Sync};

use crate::task::Task;

#[pyfunction]
#[pyo3(signature = (jobs, *, format, level, workers, keep_source, verify, older_than_ns, reserve, sync, max_ops, max_bytes))]
#[allow(clippy::too_many_arguments)] // named in Python, one for each option
pub fn archive(
    jobs: Vec<(Vec<u8>, Vec<Vec<u8>>, bool)>,
    format: &str,
    level: Option<i32>,
    workers: usize,
    keep_source: bool,
    verify: &str,
    older_than_ns: Option<i64>,
    reserve: Option<Vec<u8>>,
    sync: &str,
    max_ops: f64,
    max_bytes: f64,
) -> PyResult<Task> {
    let bad = |what: &str, text: &str| PyValueError::new_err(format!("unknown {what}: {text}"));
    let format = Format::parse(format).ok_or_else(|| bad("format", format))?;
    let level = level.unwrap_or(format.default_level());
    if !format.levels().contains(&level) {
        let (low, high) = (format.levels().start().to_owned(), format.levels().end().to_owned());
        return Err(PyValueError::new_err(format!("level of {} must be {low} to {high}", format.suffix())));
    }
    let compare = match verify {
        "hash" => false,
        "compare" => true,
        _ => return Err(bad("way to verify", verify)),
    };
    let sync = match sync {
        "auto" => Sync::Auto,
        "fsync" => Sync::Fsync,
        "syncfs" => Sync::Syncfs,
        _ => return Err(bad("way to sync", sync)),
    };
    for (what, rate) in [("max_ops", max_ops), ("max_bytes", max_bytes)] {
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(PyValueError::new_err(format!("{what} is {rate}; give a number above 0, or 0 for no limit")));
        }
    }
    let rates = Rates { operations: max_ops, bytes: max_bytes };
    let job = |(path, leftovers, unarchived)| ArchiveJob { path, leftovers, unarchived };
    let jobs = jobs.into_iter().map(job).collect();
    let options =
        ArchiveOptions { format, level, jobs: workers, keep_source, compare, older_than_ns, reserve, sync, rates };
    Ok(Task(runark_engine::gate::archive(jobs, options)))
}
