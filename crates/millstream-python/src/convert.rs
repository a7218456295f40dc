//! Values of the engine to Python objects and back.
//!
//! To Python: scalars become objects of their own; undecoded JSON becomes an object straight from its
//! bytes; native lists and maps are built item by item. From Python: scalars that have a native form
//! take it, everything else travels on as the object it is.

use bytes::Bytes;
use millstream_value::{Map, Text, Value};
use pyo3::IntoPyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::json::{self, Integer};
use crate::object::PyObjectValue;

/// The Python object for a value.
#[inline]
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Host(object) => host_object(py, object.as_any()).clone(),
        Value::Json(text) => json::read(py, text)?,
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Int(int) => int.into_pyobject(py)?.into_any(),
        Value::UInt(int) => int.into_pyobject(py)?.into_any(),
        Value::Float(float) => PyFloat::new(py, *float).into_any(),
        Value::Str(text) => PyString::new(py, text).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::List(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Value::Map(map) => {
            let dict = PyDict::new(py);
            for (key, value) in map.iter() {
                dict.set_item(PyString::intern(py, key), to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// The Python object of a record's value or key, which stays in the record's place, so that the next
/// function finds it there and sees what this one changed. Scalars stay native: they cannot change.
#[inline]
pub(crate) fn to_python_in_place<'py>(
    py: Python<'py>,
    value: &mut Value,
) -> PyResult<Bound<'py, PyAny>> {
    let object = to_python(py, value)?;
    if matches!(value, Value::Json(_) | Value::List(_) | Value::Map(_)) {
        *value = PyObjectValue::wrap(object.clone());
    }
    Ok(object)
}

/// The engine's value for a Python object.
#[inline]
pub(crate) fn from_python(object: Bound<'_, PyAny>) -> Value {
    scalar(&object).unwrap_or_else(|| PyObjectValue::wrap(object))
}

/// The native form of an object that is a scalar of exactly that type: subclasses may mean more.
#[inline]
fn scalar(object: &Bound<'_, PyAny>) -> Option<Value> {
    if object.is_none() {
        Some(Value::Null)
    } else if let Ok(flag) = object.cast_exact::<PyBool>() {
        Some(Value::Bool(flag.is_true()))
    } else if let Ok(int) = object.cast_exact::<PyInt>() {
        match json::integer(int) {
            Integer::Int(value) => Some(Value::Int(value)),
            Integer::UInt(value) => Some(Value::UInt(value)),
            Integer::Large => None,
        }
    } else if let Ok(float) = object.cast_exact::<PyFloat>() {
        Some(Value::Float(float.value()))
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        // Text with lone surrogates has no native form.
        text.to_str().ok().map(|text| Value::Str(Text::from(text)))
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        Some(Value::Bytes(Bytes::copy_from_slice(bytes.as_bytes())))
    } else {
        None
    }
}

/// The native form as deep as it goes (see `HostObject::to_native`): what JSON would make of an object
/// (T-44), but for floats that JSON lacks. What has no JSON form stays an object.
pub(crate) fn to_native(object: &Bound<'_, PyAny>) -> Value {
    native(object, 0)
}

/// Beyond this depth objects stay objects: they may contain themselves.
const DEEPEST: usize = 64;

fn native(object: &Bound<'_, PyAny>, depth: usize) -> Value {
    if let Some(value) = scalar(object) {
        return value;
    }
    let items = |items: &mut dyn Iterator<Item = Bound<'_, PyAny>>| {
        Value::List(items.map(|item| native(&item, depth + 1)).collect())
    };
    let found = if depth >= DEEPEST {
        None
    } else if let Ok(dict) = object.cast::<PyDict>() {
        native_map(dict, depth).map(Value::Map)
    } else if let Ok(list) = object.cast::<PyList>() {
        Some(items(&mut list.iter()))
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        Some(items(&mut tuple.iter()))
    } else {
        // Enums, UUIDs, subclasses of text and numbers.
        let mut text = Vec::new();
        let written = json::write(object, &mut text).is_ok();
        written.then(|| Value::json(text).ok()).flatten().map(|mut value| {
            value.decode_deep();
            value
        })
    };
    found.unwrap_or_else(|| PyObjectValue::wrap(object.clone()))
}

/// `None` if a key is no plain text.
fn native_map(dict: &Bound<'_, PyDict>, depth: usize) -> Option<Map> {
    let mut map = Map::with_capacity(dict.len());
    for (key, value) in dict.iter() {
        let key = key.cast::<PyString>().ok()?.to_str().ok()?;
        map.insert(key, native(&value, depth + 1));
    }
    Some(map)
}

/// The Python object inside a value's host object.
#[inline]
pub(crate) fn host_object<'a, 'py>(
    py: Python<'py>,
    object: &'a dyn std::any::Any,
) -> &'a Bound<'py, PyAny> {
    object.downcast_ref::<PyObjectValue>().expect("Python is the only host in this module").bind(py)
}
