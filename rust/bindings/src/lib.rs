//! `runark._native`: plain values in, the engine's work with the interpreter detached, plain values out.

mod archive;
mod convert;
mod discard;
mod list;
mod restore;
mod scan;
mod task;
mod verify;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("debug", cfg!(debug_assertions))?;
    module.add_class::<scan::ScanTask>()?;
    module.add_class::<task::Task>()?;
    module.add_function(wrap_pyfunction!(scan::scan, module)?)?;
    module.add_function(wrap_pyfunction!(archive::archive, module)?)?;
    module.add_function(wrap_pyfunction!(restore::restore, module)?)?;
    module.add_function(wrap_pyfunction!(verify::verify, module)?)?;
    module.add_function(wrap_pyfunction!(discard::discard, module)?)?;
    module.add_function(wrap_pyfunction!(list::seals, module)?)?;
    module.add_function(wrap_pyfunction!(list::members, module)?)?;
    Ok(())
}
