//! A Python object on its way through the topology.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use millstream_value::{Failure, FailureKind, HostObject, Value};
use pyo3::exceptions::{PyIndexError, PyKeyError, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::convert::{from_python, to_native, to_python};
use crate::errors::to_failure;
use crate::gil::enter;
use crate::json;

/// A reference to a Python object. Dropping it while detached is fine: the reference is given back
/// with the next attachment.
pub(crate) struct PyObjectValue(Py<PyAny>);

impl PyObjectValue {
    /// The value that stands for `object`.
    #[inline]
    pub(crate) fn wrap(object: Bound<'_, PyAny>) -> Value {
        Value::Host(Box::new(Self(object.unbind())))
    }

    /// The object.
    #[inline]
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }

    fn read(
        &self,
        read: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> Result<Value, Failure> {
        enter(|py| read(self.bind(py)).map(from_python)).map_err(to_failure)
    }
}

impl fmt::Debug for PyObjectValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        enter(|py| match self.bind(py).repr() {
            Ok(repr) => f.write_str(&repr.to_string_lossy()),
            Err(_) => write!(f, "<{}>", json::type_name(self.bind(py))),
        })
    }
}

impl HostObject for PyObjectValue {
    fn share(&self) -> Box<dyn HostObject> {
        enter(|py| Box::new(Self(self.0.clone_ref(py))))
    }

    fn deep_copy(&self) -> Result<Value, Failure> {
        self.read(deep_copy)
    }

    fn to_native(&self) -> Result<Value, Failure> {
        Ok(enter(|py| to_native(self.bind(py))))
    }

    fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        enter(|py| json::write(self.bind(py), out)).map_err(json::NoJson::into_failure)
    }

    fn get_item(&self, index: &Value) -> Result<Value, Failure> {
        self.read(|object| object.get_item(to_python(object.py(), index)?))
    }

    fn get_column(&self, column: &str) -> Result<Value, Failure> {
        enter(|py| {
            let object = self.bind(py);
            let key = PyString::intern(py, column);
            // The usual case, without an exception for a missing key.
            if let Ok(dict) = object.cast_exact::<PyDict>() {
                return match dict.get_item(key) {
                    Ok(Some(value)) => Ok(from_python(value)),
                    Ok(None) => Err(no_column(object, column)),
                    Err(error) => Err(to_failure(error)),
                };
            }
            object.get_item(key).map(from_python).map_err(|error| {
                if error.is_instance_of::<PyKeyError>(py) {
                    no_column(object, column)
                } else if error.is_instance_of::<PyTypeError>(py) {
                    no_columns(object, column)
                } else {
                    to_failure(error)
                }
            })
        })
    }

    fn set_item(&mut self, index: &Value, value: Value) -> Result<(), Failure> {
        enter(|py| self.bind(py).set_item(to_python(py, index)?, to_python(py, &value)?))
            .map_err(to_failure)
    }

    fn delete_item(&mut self, column: &str) -> Result<bool, Failure> {
        enter(|py| match self.bind(py).del_item(column) {
            Ok(()) => Ok(true),
            Err(error)
                if error.is_instance_of::<PyKeyError>(py)
                    || error.is_instance_of::<PyIndexError>(py) =>
            {
                Ok(false)
            }
            Err(error) => Err(to_failure(error)),
        })
    }

    fn is_map(&self) -> bool {
        enter(|py| self.bind(py).is_instance_of::<PyDict>())
    }

    fn truthy(&self) -> Result<bool, Failure> {
        enter(|py| self.bind(py).is_truthy()).map_err(to_failure)
    }

    fn type_name(&self) -> Cow<'static, str> {
        Cow::Owned(enter(|py| json::type_name(self.bind(py))))
    }

    fn absolute(&self) -> Result<Value, Failure> {
        self.read(|object| object.abs())
    }

    fn negative(&self) -> Result<Value, Failure> {
        self.read(|object| object.neg())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// How many columns an error lists, as the errors over native values do.
const COLUMNS_LISTED: usize = 12;

#[cold]
fn no_column(object: &Bound<'_, PyAny>, column: &str) -> Failure {
    let mut message = format!("the value has no column '{column}'");
    let names = object.cast::<PyDict>().map(|dict| dict.keys().iter().collect::<Vec<_>>());
    for (index, name) in names.unwrap_or_default().iter().enumerate() {
        message.push_str(match index {
            0 => "; it has ",
            COLUMNS_LISTED => ", …",
            _ => ", ",
        });
        if index == COLUMNS_LISTED {
            break;
        }
        message
            .push_str(&name.repr().map_or_else(|_| json::type_name(name), |repr| repr.to_string()));
    }
    Failure::new(FailureKind::ColumnDoesNotExist, message)
}

#[cold]
fn no_columns(object: &Bound<'_, PyAny>, column: &str) -> Failure {
    Failure::new(
        FailureKind::InvalidColumnReference,
        format!(
            "column '{column}' was asked of a value of type {}, which has no columns",
            json::type_name(object)
        ),
    )
}

/// An independent copy (D-04). Trees of plain dicts and lists, which is what records are, are copied
/// here; whatever else is in a value makes the whole of it a case for [`copy.deepcopy`].
///
/// [`copy.deepcopy`]: https://docs.python.org/3/library/copy.html
fn deep_copy<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static DEEPCOPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match tree_copy(object, 0)? {
        Some(copy) => Ok(copy),
        None => {
            let py = object.py();
            let deepcopy = DEEPCOPY.import(py, "copy", "deepcopy")?;
            deepcopy.call1((object,)).or_else(|refused| by_pickle(object).map_err(|_| refused))
        }
    }
}

/// For the rare object that pickles but does not copy.
fn by_pickle<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let pickle = object.py().import(intern!(object.py(), "pickle"))?;
    let bytes = pickle.call_method1(intern!(object.py(), "dumps"), (object, -1))?;
    pickle.call_method1(intern!(object.py(), "loads"), (bytes,))
}

/// Beyond this depth the copy is left to Python.
const DEEPEST: usize = 128;

/// The copy of a tree of plain containers and scalars; `None` if it is not one.
///
/// A container that is reachable in two ways must stay one container in the copy. It then has more
/// than one reference, so every inner container must have exactly one (its parent's) beside the one
/// that iterating takes; a container that contains itself fails the same test.
fn tree_copy<'py>(object: &Bound<'py, PyAny>, depth: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    if is_immutable(object) {
        return Ok(Some(object.clone()));
    }
    // SAFETY: `object` is a live reference.
    if depth > DEEPEST || (depth > 0 && unsafe { ffi::Py_REFCNT(object.as_ptr()) } > 2) {
        return Ok(None);
    }
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        let copy = PyDict::new(py);
        for (key, value) in dict.iter() {
            let (true, Some(value)) = (is_immutable(&key), tree_copy(&value, depth + 1)?) else {
                return Ok(None);
            };
            copy.set_item(key, value)?;
        }
        return Ok(Some(copy.into_any()));
    }
    if let Ok(list) = object.cast_exact::<PyList>() {
        let copy = PyList::empty(py);
        for item in list.iter() {
            let Some(item) = tree_copy(&item, depth + 1)? else { return Ok(None) };
            copy.append(item)?;
        }
        return Ok(Some(copy.into_any()));
    }
    Ok(None)
}

fn is_immutable(object: &Bound<'_, PyAny>) -> bool {
    object.is_none()
        || object.is_exact_instance_of::<PyString>()
        || object.is_exact_instance_of::<PyInt>()
        || object.is_exact_instance_of::<PyFloat>()
        || object.is_exact_instance_of::<PyBool>()
        || object.is_exact_instance_of::<PyBytes>()
        || object.cast_exact::<PyTuple>().is_ok_and(|items| items.is_empty())
}
