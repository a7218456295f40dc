//! Serializers and deserializers: the native ones for Python, and Python ones for the engine (T-51).

use std::sync::Arc;

use bytes::Bytes;
use millstream_formats::{deserializer_by_name, serializer_by_name};
use millstream_value::{
    Deserialized, Deserializer, Failure, FailureKind, Headers, MessageField, SerializationContext,
    Serialized, Serializer,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyString, PyType};

use crate::convert::{from_python, to_python, to_python_in_place};
use crate::errors::{self, to_exception, to_failure};
use crate::gil::enter;
use crate::isolation;
use crate::json::type_name;
use crate::record::{headers_from_python, headers_to_python};

/// A serializer of `millstream_formats`.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct NativeSerializer(Arc<dyn Serializer>);

#[pymethods]
impl NativeSerializer {
    #[new]
    fn new(kind: &str) -> PyResult<Self> {
        let serializer =
            serializer_by_name(kind).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(serializer))
    }

    #[pyo3(signature = (value, topic="", field="value", headers=None))]
    fn __call__<'py>(
        &self,
        value: Bound<'py, PyAny>,
        topic: &str,
        field: &str,
        headers: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = value.py();
        let headers = optional_headers(headers)?;
        let context = SerializationContext { topic, field: field_of(field)?, headers: &headers };
        let mut out = Vec::with_capacity(128);
        let written = self
            .0
            .serialize(&mut from_python(value), &context, &mut out)
            .map_err(|failure| to_exception(py, failure))?;
        Ok(match written {
            Serialized::Null => None,
            Serialized::Bytes => Some(PyBytes::new(py, &out)),
        })
    }
}

/// A deserializer of `millstream_formats`.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct NativeDeserializer(Arc<dyn Deserializer>);

#[pymethods]
impl NativeDeserializer {
    #[new]
    fn new(kind: &str) -> PyResult<Self> {
        let deserializer =
            deserializer_by_name(kind).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(deserializer))
    }

    #[pyo3(signature = (value, topic="", field="value", headers=None))]
    fn __call__<'py>(
        &self,
        value: &Bound<'py, PyBytes>,
        topic: &str,
        field: &str,
        headers: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        let headers = optional_headers(headers)?;
        let context = SerializationContext { topic, field: field_of(field)?, headers: &headers };
        let bytes = Bytes::copy_from_slice(value.as_bytes());
        match self.0.deserialize(bytes, &context).map_err(|failure| to_exception(py, failure))? {
            Deserialized::One(value) => to_python(py, &value),
            Deserialized::Many(values) => {
                let items: Vec<_> =
                    values.iter().map(|value| to_python(py, value)).collect::<PyResult<_>>()?;
                Ok(PyList::new(py, items)?.into_any())
            }
            Deserialized::Ignore => Ok(py.None().into_bound(py)),
        }
    }
}

fn optional_headers(headers: Option<Bound<'_, PyAny>>) -> PyResult<Headers> {
    headers.map_or_else(|| Ok(Headers::none()), |headers| headers_from_python(&headers))
}

fn field_of(name: &str) -> PyResult<MessageField> {
    match name {
        "key" => Ok(MessageField::Key),
        "value" => Ok(MessageField::Value),
        _ => Err(PyValueError::new_err(format!("a field is \"key\" or \"value\", not {name:?}"))),
    }
}

/// The engine's serializer for what users give: the native one that stands for the object, or the
/// object itself. `None` stands for `bytes`.
pub(crate) fn serializer(object: Option<&Bound<'_, PyAny>>) -> PyResult<Arc<dyn Serializer>> {
    let Some(object) = object else {
        return Ok(serializer_by_name("bytes").expect("it is a built-in format"));
    };
    match native::<NativeSerializer>(object)? {
        Some(native) => Ok(Arc::clone(&native.get().0)),
        None => Ok(Arc::new(PySerializer(object.clone().unbind()))),
    }
}

/// The same for deserializers.
pub(crate) fn deserializer(object: Option<&Bound<'_, PyAny>>) -> PyResult<Arc<dyn Deserializer>> {
    let Some(object) = object else {
        return Ok(deserializer_by_name("bytes").expect("it is a built-in format"));
    };
    match native::<NativeDeserializer>(object)? {
        Some(native) => Ok(Arc::clone(&native.get().0)),
        None => Ok(Arc::new(PyDeserializer::new(object)?)),
    }
}

/// The object itself or its attribute `_native`, if that is a `T`.
fn native<'py, T: pyo3::PyClass>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, T>>> {
    if let Ok(native) = object.cast::<T>() {
        return Ok(Some(native.clone()));
    }
    let attribute = object.getattr_opt(intern!(object.py(), "_native"))?;
    let native = attribute.and_then(|native| native.cast_into::<T>().ok());
    if native.is_none() && !object.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "a serializer or deserializer is called with a value and a context; {} cannot be called",
            type_name(object)
        )));
    }
    Ok(native)
}

/// `SerializationContext` of the Python layer.
fn python_context<'py>(
    py: Python<'py>,
    context: &SerializationContext<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "millstream.models.serializers", "SerializationContext")?;
    let field = match context.field {
        MessageField::Key => intern!(py, "key"),
        MessageField::Value => intern!(py, "value"),
    };
    let headers = headers_to_python(py, context.headers)?;
    class.call1((PyString::intern(py, context.topic), field, headers))
}

/// A serializer in Python.
struct PySerializer(Py<PyAny>);

impl Serializer for PySerializer {
    fn serialize(
        &self,
        value: &mut millstream_value::Value,
        context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        enter(|py| {
            isolation::record(py).map_err(to_failure)?;
            let value = to_python_in_place(py, value).map_err(to_failure)?;
            let context = python_context(py, context).map_err(to_failure)?;
            let written = self.0.bind(py).call1((value, context)).map_err(to_failure)?;
            if written.is_none() {
                return Ok(Serialized::Null);
            }
            if let Ok(bytes) = written.cast::<PyBytes>() {
                out.extend_from_slice(bytes.as_bytes());
            } else if let Ok(text) = written.cast::<PyString>() {
                out.extend_from_slice(text.to_str().map_err(to_failure)?.as_bytes());
            } else {
                return Err(Failure::new(
                    FailureKind::Serialization,
                    format!(
                        "the serializer {} returned {}; it must return bytes, str or None",
                        type_name(self.0.bind(py)),
                        type_name(&written)
                    ),
                ));
            }
            Ok(Serialized::Bytes)
        })
    }

    fn extra_headers(&self) -> Result<Option<Headers>, Failure> {
        enter(|py| {
            isolation::record(py)?;
            match self.0.bind(py).getattr_opt(intern!(py, "extra_headers"))? {
                Some(extra) if extra.is_truthy()? => headers_from_python(&extra).map(Some),
                _ => Ok(None),
            }
        })
        .map_err(to_failure)
    }

    fn needs_host(&self) -> bool {
        true
    }
}

/// A deserializer in Python.
struct PyDeserializer {
    object: Py<PyAny>,
    /// Each item of what it returns becomes a record (T-64).
    split: bool,
}

impl PyDeserializer {
    fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let split = match object.getattr_opt(intern!(object.py(), "split_values"))? {
            Some(split) => split.is_truthy()?,
            None => false,
        };
        Ok(Self { object: object.clone().unbind(), split })
    }
}

impl Deserializer for PyDeserializer {
    fn deserialize(
        &self,
        bytes: Bytes,
        context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        enter(|py| {
            isolation::record(py).map_err(to_failure)?;
            let python_context = python_context(py, context).map_err(to_failure)?;
            let read = match self.object.bind(py).call1((PyBytes::new(py, &bytes), python_context))
            {
                Ok(read) => read,
                Err(error) if errors::IGNORE_MESSAGE.is_class_of(py, &error) => {
                    return Ok(Deserialized::Ignore);
                }
                Err(error) => return Err(to_failure(error)),
            };
            if !(self.split && context.field == MessageField::Value) {
                return Ok(Deserialized::One(from_python(read)));
            }
            let items = read.try_iter().and_then(|items| {
                items.map(|item| item.map(from_python)).collect::<PyResult<Vec<_>>>()
            });
            items.map(Deserialized::Many).map_err(to_failure)
        })
    }

    fn needs_host(&self) -> bool {
        true
    }
}
