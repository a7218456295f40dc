//! JSON to Python objects and back, without a detour through native values.

mod keys;
mod read;
mod write;

use bytes::Bytes;
use millstream_value::json::JsonText;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

pub(crate) use read::read;
pub(crate) use write::{Integer, NoJson, integer, type_name, write};

/// The object for bytes that nobody has checked yet.
///
/// # Errors
/// `ValueError` with the position.
pub(crate) fn loads<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = JsonText::check(Bytes::copy_from_slice(bytes))
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    read(py, &text)
}

#[pyfunction]
pub(crate) fn json_loads<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        loads(py, bytes.as_bytes())
    } else if let Ok(text) = data.cast::<PyString>() {
        loads(py, text.to_str()?.as_bytes())
    } else if let Ok(buffer) = PyBuffer::<u8>::get(data) {
        loads(py, &buffer.to_vec(py)?)
    } else {
        let name = type_name(data);
        Err(PyTypeError::new_err(format!("JSON text is bytes or str, not {name}")))
    }
}

#[pyfunction]
pub(crate) fn json_dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out).map_err(NoJson::into_type_error)?;
    Ok(PyBytes::new(value.py(), &out))
}
