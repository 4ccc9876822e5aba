//! A task of the engine, polled from Python.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::convert;

#[pyclass(frozen, module = "runark._native")]
pub struct Task(pub runark_engine::Task);

/// Seconds from Python as a duration; nothing that is no time at all.
pub fn seconds(timeout: f64) -> Duration {
    Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::ZERO)
}

#[pymethods]
impl Task {
    fn poll<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(outcomes) = py.detach(|| self.0.poll(seconds(timeout))) else {
            return Ok(None);
        };
        let list = PyList::empty(py);
        for outcome in &outcomes {
            list.append(convert::outcome(py, outcome)?)?;
        }
        Ok(Some(list))
    }

    fn cancel(&self) {
        self.0.control().cancel();
    }

    fn drain(&self) {
        self.0.control().drain();
    }

    #[pyo3(name = "use")]
    fn allow(&self, workers: usize) {
        self.0.control().allow(workers);
    }

    fn progress(&self) -> convert::ProgressTuple {
        convert::progress(self.0.control().progress())
    }
}
