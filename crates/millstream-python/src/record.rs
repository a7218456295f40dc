//! Records as user code sees them: headers as lists, rows for error callbacks.

use bytes::Bytes;
use millstream_types::encode_header;
use millstream_value::Headers;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::context::MessageContext;
use crate::json::type_name;

/// Headers as `[(str, bytes)]`, or `None` where the record has none at all (T-09).
pub(crate) fn headers_to_python<'py>(
    py: Python<'py>,
    headers: &Headers,
) -> PyResult<Bound<'py, PyAny>> {
    if headers.is_none() {
        return Ok(py.None().into_bound(py));
    }
    Ok(headers_list(py, headers)?.into_any())
}

/// Headers as a list, empty where the record has none.
pub(crate) fn headers_list<'py>(
    py: Python<'py>,
    headers: &Headers,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (name, value) in headers.view().iter() {
        let value = value.map(|value| PyBytes::new(py, value));
        list.append((PyString::intern(py, name), value))?;
    }
    Ok(list)
}

/// Headers from what users give: `None`, a dict, or an iterable of pairs; values are `bytes`, `str`
/// or `None`.
pub(crate) fn headers_from_python(headers: &Bound<'_, PyAny>) -> PyResult<Headers> {
    if headers.is_none() {
        return Ok(Headers::none());
    }
    let pairs = match headers.cast::<pyo3::types::PyDict>() {
        Ok(dict) => dict.items().into_any(),
        Err(_) => headers.clone(),
    };
    let mut bytes = Vec::new();
    let mut count = 0;
    for pair in pairs.try_iter()? {
        let pair = pair?;
        let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) =
            pair.extract().map_err(|_| {
                PyTypeError::new_err(format!(
                    "headers are pairs of a str and bytes or str, not {}",
                    pair.repr().map_or_else(|_| type_name(&pair), |repr| repr.to_string())
                ))
            })?;
        let name = name.to_str()?;
        if value.is_none() {
            encode_header(&mut bytes, name, None);
        } else if let Ok(value) = value.cast::<PyBytes>() {
            encode_header(&mut bytes, name, Some(value.as_bytes()));
        } else if let Ok(value) = value.cast::<PyString>() {
            encode_header(&mut bytes, name, Some(value.to_str()?.as_bytes()));
        } else {
            return Err(PyTypeError::new_err(format!(
                "header \"{name}\" has a value of type {}; give bytes or str",
                type_name(&value)
            )));
        }
        count += 1;
    }
    Ok(Headers::new(Bytes::from(bytes), count))
}

/// A deserialized record, as error callbacks see it.
#[pyclass(module = "millstream._millstream")]
pub(crate) struct Row {
    #[pyo3(get, set)]
    value: Py<PyAny>,
    #[pyo3(get, set)]
    key: Py<PyAny>,
    #[pyo3(get, set)]
    timestamp: i64,
    #[pyo3(get, set)]
    headers: Py<PyAny>,
    #[pyo3(get, set)]
    context: Py<MessageContext>,
}

#[pymethods]
impl Row {
    #[new]
    #[pyo3(signature = (value, key, timestamp, context, headers=None))]
    pub(crate) fn new(
        py: Python<'_>,
        value: Py<PyAny>,
        key: Py<PyAny>,
        timestamp: i64,
        context: Py<MessageContext>,
        headers: Option<Py<PyAny>>,
    ) -> Self {
        let headers = headers.unwrap_or_else(|| py.None());
        Self { value, key, timestamp, headers, context }
    }

    #[getter]
    fn topic(&self) -> &str {
        self.context.get().topic()
    }

    #[getter]
    fn partition(&self) -> i32 {
        self.context.get().partition()
    }

    #[getter]
    fn offset(&self) -> i64 {
        self.context.get().offset()
    }

    #[getter]
    fn size(&self) -> usize {
        self.context.get().size()
    }

    #[getter]
    fn leader_epoch(&self) -> Option<i32> {
        self.context.get().leader_epoch()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Row(value={}, key={}, timestamp={}, headers={}, topic='{}', partition={}, offset={})",
            self.value.bind(py).repr()?,
            self.key.bind(py).repr()?,
            self.timestamp,
            self.headers.bind(py).repr()?,
            self.topic(),
            self.partition(),
            self.offset(),
        ))
    }
}

/// The four parts of a record that functions with `metadata=True` take.
pub(crate) fn output_tuple<'py>(
    value: Bound<'py, PyAny>,
    key: Bound<'py, PyAny>,
    timestamp: i64,
    headers: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = value.py();
    let timestamp = timestamp.into_pyobject(py)?.into_any();
    PyTuple::new(py, [value, key, timestamp, headers])
}
