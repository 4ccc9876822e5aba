//! Engine values as tuples that Python builds its own values from.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use runark_engine::{Fault, Limits, Outcome, Progress};

/// `(op, path, errno, message)`
pub fn fault<'py>(py: Python<'py>, fault: &Fault) -> PyResult<Bound<'py, PyTuple>> {
    (fault.op, PyBytes::new(py, &fault.path), fault.errno, fault.message.as_str()).into_pyobject(py)
}

/// The fields of `Outcome`, in its order, the fault as a tuple.
pub fn outcome<'py>(py: Python<'py>, o: &Outcome) -> PyResult<Bound<'py, PyTuple>> {
    let fault = o.fault.as_ref().map(|f| fault(py, f)).transpose()?;
    let notes = PyTuple::new(py, &o.notes)?;
    let fields: [Bound<'py, PyAny>; 13] = [
        PyBytes::new(py, &o.path).into_any(),
        o.action.into_pyobject(py)?.into_any(),
        o.reason.as_str().into_pyobject(py)?.into_any(),
        PyBytes::new(py, &o.target).into_any(),
        o.entries.into_pyobject(py)?.into_any(),
        o.inodes_freed.into_pyobject(py)?.into_any(),
        o.bytes_in.into_pyobject(py)?.into_any(),
        o.bytes_out.into_pyobject(py)?.into_any(),
        o.sha256.as_str().into_pyobject(py)?.into_any(),
        o.milliseconds.into_pyobject(py)?.into_any(),
        o.settled.into_pyobject(py)?.into_any(),
        notes.into_any(),
        fault.into_pyobject(py)?.into_any(),
    ];
    PyTuple::new(py, fields)
}

/// `(done, total, bytes, entries, operations)`
pub type ProgressTuple = (u64, u64, u64, u64, u64);

pub fn progress(p: Progress) -> ProgressTuple {
    (p.done, p.total, p.bytes, p.entries, p.operations)
}

/// `(max_entries, max_path, max_depth, max_metadata, max_bytes, max_ratio)`
pub type LimitsTuple = (u64, usize, usize, u64, u64, u64);

pub fn limits(t: LimitsTuple) -> Limits {
    Limits { max_entries: t.0, max_path: t.1, max_depth: t.2, max_metadata: t.3, max_bytes: t.4, max_ratio: t.5 }
}
