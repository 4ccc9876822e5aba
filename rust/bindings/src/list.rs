use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use runark_engine::seal::hex;

use crate::convert::{self, LimitsTuple};

/// For each path `(sha256, stream, entries, content, size)`, `None` without a seal, or a fault tuple.
#[pyfunction]
pub fn seals<'py>(py: Python<'py>, paths: Vec<Vec<u8>>, workers: usize) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for sealed in py.detach(|| runark_engine::list::seals(&paths, workers)) {
        match sealed {
            Ok(Some((s, size))) => list.append((hex(&s.sha256), s.stream, s.entries, s.content, size))?,
            Ok(None) => list.append(py.None())?,
            Err(fault) => list.append(convert::fault(py, &fault)?)?,
        }
    }
    Ok(list)
}

/// The members as `(path, kind, mode, uid, gid, uname, gname, size, mtime_ns, link)`, or the fault tuple alone.
#[pyfunction]
pub fn members<'py>(py: Python<'py>, path: Vec<u8>, limits: LimitsTuple) -> PyResult<Bound<'py, PyAny>> {
    let limits = convert::limits(limits);
    let members = match py.detach(|| runark_engine::list::members(&path, &limits)) {
        Ok(members) => members,
        Err(fault) => return Ok(convert::fault(py, &fault)?.into_any()),
    };
    let list = PyList::empty(py);
    let bytes = |b: &[u8]| PyBytes::new(py, b);
    for m in &members {
        let fields: Bound<'py, PyTuple> = (
            bytes(&m.path),
            m.kind.word(),
            m.mode,
            m.uid,
            m.gid,
            bytes(&m.uname),
            bytes(&m.gname),
            m.size,
            m.mtime.nanoseconds(),
            bytes(&m.link),
        )
            .into_pyobject(py)?;
        list.append(fields)?;
    }
    Ok(list.into_any())
}
