//! A scan in the background; its rows cross over as columns, each one block of bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use runark_engine::scan::{compile, scan as run};
use runark_engine::{Rule, ScanColumns, ScanSpec, Task};

use crate::{convert, task::seconds};

const KINDS: [&str; 7] = ["session", "archive", "part", "tombstone", "staging", "aside", "discard"];
const STATUSES: [&str; 5] = ["unknown", "success", "error", "finished", "running"];

#[pyclass(frozen, module = "runark._native")]
pub struct ScanTask {
    task: Task,
    columns: Arc<Mutex<Option<ScanColumns>>>,
}

#[pymethods]
impl ScanTask {
    fn poll(&self, py: Python<'_>, timeout: f64) -> bool {
        py.detach(|| self.task.poll(seconds(timeout)).is_none())
    }

    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        py.detach(|| while self.task.poll(Duration::from_secs(1)).is_some() {});
        let taken = self.columns.lock().unwrap_or_else(PoisonError::into_inner).take();
        let c = taken.ok_or_else(|| PyRuntimeError::new_err("the scan fell, or its result was taken before"))?;
        let faults = c.faults.iter().map(|fault| convert::fault(py, fault)).collect::<PyResult<Vec<_>>>()?;
        let skipped = PyDict::new(py);
        for (verdict, count) in &c.skipped {
            skipped.set_item(verdict, count)?;
        }
        let mut fields: Vec<Bound<'py, PyAny>> = Vec::with_capacity(15);
        // One after the other, so that each column is freed before the next is copied.
        for column in [c.paths, c.kind, c.status, c.verdict, c.layout] {
            fields.push(PyBytes::new(py, &column).into_any());
        }
        for column in [c.mtime_ns, c.newest_ns, c.inodes, c.size, c.allocated, c.uid] {
            fields.push(integers(py, &column)?.into_any());
        }
        fields.push(PyTuple::new(py, faults)?.into_any());
        fields.push(c.directories.into_pyobject(py)?.into_any());
        fields.push(c.entries.into_pyobject(py)?.into_any());
        fields.push(skipped.into_any());
        PyTuple::new(py, fields)
    }

    fn cancel(&self) {
        self.task.control().cancel();
    }

    fn progress(&self) -> convert::ProgressTuple {
        let (done, _, bytes, entries, _) = convert::progress(self.task.control().progress());
        (done, 0, bytes, entries, 0)
    }
}

/// 64-bit integers in native order, as `array('q')` reads them.
fn integers<'py>(py: Python<'py>, column: &[i64]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, column.len() * 8, |bytes| {
        for (slot, value) in bytes.chunks_exact_mut(8).zip(column) {
            slot.copy_from_slice(&value.to_ne_bytes());
        }
        Ok(())
    })
}

type RuleTuple = (String, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

fn chosen<const N: usize>(words: &[String], all: [&str; N], what: &str) -> PyResult<[bool; N]> {
    let mut set = [false; N];
    for word in words {
        let at = all.iter().position(|known| known == word);
        set[at.ok_or_else(|| PyValueError::new_err(format!("unknown {what}: {word}")))?] = true;
    }
    Ok(set)
}

#[pyfunction]
#[pyo3(signature = (
    *, roots, rules, workers, measure, kinds, keep_skipped, include, exclude, min_depth, max_depth, one_file_system,
    changed_after_ns, changed_before_ns, older_than_ns, newer_than_ns, min_size, max_size, statuses, uid, gid, not_uid,
    not_gid
))]
#[allow(clippy::too_many_arguments)] // named in Python, one for each field of the specification
pub fn scan(
    roots: Vec<Vec<u8>>,
    rules: Vec<RuleTuple>,
    workers: usize,
    measure: bool,
    kinds: Vec<String>,
    keep_skipped: bool,
    include: Vec<Vec<u8>>,
    exclude: Vec<Vec<u8>>,
    min_depth: usize,
    max_depth: Option<usize>,
    one_file_system: bool,
    changed_after_ns: Option<i64>,
    changed_before_ns: Option<i64>,
    older_than_ns: Option<i64>,
    newer_than_ns: Option<i64>,
    min_size: Option<u64>,
    max_size: Option<u64>,
    statuses: Vec<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    not_uid: Option<u32>,
    not_gid: Option<u32>,
) -> PyResult<ScanTask> {
    let rule = |(name, pattern, parent, marker)| Rule { name, pattern, parent, marker };
    let spec = ScanSpec {
        roots,
        rules: rules.into_iter().map(rule).collect(),
        jobs: workers,
        measure,
        kinds: chosen(&kinds, KINDS, "kind of row")?,
        keep_skipped,
        include,
        exclude,
        min_depth,
        max_depth,
        one_file_system,
        changed_after_ns,
        changed_before_ns,
        older_than_ns,
        newer_than_ns,
        min_size,
        max_size,
        statuses: chosen(&statuses, STATUSES, "status")?,
        uid,
        gid,
        not_uid,
        not_gid,
    };
    let compiled = compile(spec).map_err(PyValueError::new_err)?;
    let columns = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&columns);
    let task = Task::start(1, 1, move |control| {
        let found = run(&compiled, control);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    });
    Ok(ScanTask { task, columns })
}
