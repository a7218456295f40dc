//! Python callables as functions of the engine.

use std::sync::Arc;

use millstream_value::{Call, Failure, Function, Value};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::convert::{from_python, to_python, to_python_in_place};
use crate::errors::to_failure;
use crate::gil::enter;
use crate::isolation;
use crate::json::type_name;
use crate::record::headers_to_python;
use crate::state::State;

/// Which parts of a record a callable takes, in this order (D-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    /// `(value)`.
    Plain,
    /// `(value, key, timestamp, headers)`.
    Metadata,
    /// `(value, state)`.
    Stateful,
    /// `(value, key, timestamp, headers, state)`.
    MetadataStateful,
}

impl Signature {
    /// The signature that the two flags of the Python API ask for.
    pub(crate) fn new(metadata: bool, stateful: bool) -> Self {
        match (metadata, stateful) {
            (false, false) => Self::Plain,
            (true, false) => Self::Metadata,
            (false, true) => Self::Stateful,
            (true, true) => Self::MetadataStateful,
        }
    }
}

/// A Python callable.
pub(crate) struct PyFunction {
    callable: Py<PyAny>,
    signature: Signature,
    name: String,
}

impl PyFunction {
    /// Wraps a callable.
    pub(crate) fn new(callable: &Bound<'_, PyAny>, signature: Signature) -> Self {
        Self { callable: callable.clone().unbind(), signature, name: callable_name(callable) }
    }

    /// Wraps a callable for the engine.
    pub(crate) fn shared(callable: &Bound<'_, PyAny>, signature: Signature) -> Arc<dyn Function> {
        Arc::new(Self::new(callable, signature))
    }

    /// Calls it with what its signature asks for, and hands what it returns to `then`. The state is
    /// there until `then` is through, for a generator's sake.
    #[inline]
    pub(crate) fn invoke<R>(
        &self,
        py: Python<'_>,
        call: &mut Call<'_>,
        then: impl FnOnce(Bound<'_, PyAny>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        isolation::record(py).map_err(to_failure)?;
        let callable = self.callable.bind(py);
        match self.signature {
            Signature::Plain => {
                let result = to_python_in_place(py, call.value)
                    .and_then(|value| callable.call1((value,)))
                    .map_err(to_failure)?;
                then(result)
            }
            Signature::Metadata => {
                then(with_metadata(py, call, None, callable).map_err(to_failure)?)
            }
            Signature::Stateful => {
                let state = State::lend(py, call.state.take())?;
                let result = to_python_in_place(py, call.value)
                    .and_then(|value| callable.call1((value, state.object())))
                    .map_err(to_failure)?;
                then(result)
            }
            Signature::MetadataStateful => {
                let state = State::lend(py, call.state.take())?;
                let result =
                    with_metadata(py, call, Some(state.object()), callable).map_err(to_failure)?;
                then(result)
            }
        }
    }
}

/// Calls `callable(value, key, timestamp, headers[, state])`.
fn with_metadata<'py>(
    py: Python<'py>,
    call: &mut Call<'_>,
    state: Option<&Bound<'py, State>>,
    callable: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let value = to_python_in_place(py, call.value)?;
    let key = to_python_in_place(py, call.key)?;
    let headers = headers_to_python(py, call.headers)?;
    match state {
        None => callable.call1((value, key, call.timestamp, headers)),
        Some(state) => callable.call1((value, key, call.timestamp, headers, state)),
    }
}

impl Function for PyFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs_host(&self) -> bool {
        true
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        enter(|py| self.invoke(py, call, |result| Ok(from_python(result))))
    }

    fn call_expand(
        &self,
        call: &mut Call<'_>,
        each: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        enter(|py| {
            self.invoke(py, call, |result| {
                let items = result.try_iter().map_err(|error| not_iterable(&result, error))?;
                for item in items {
                    each(from_python(item.map_err(to_failure)?))?;
                }
                Ok(())
            })
        })
    }

    fn call_values(&self, values: Vec<Value>) -> Result<Value, Failure> {
        enter(|py| {
            isolation::record(py)?;
            call_values(self.callable.bind(py), &values).map(from_python)
        })
        .map_err(to_failure)
    }
}

/// Calls `callable(*values)`.
fn call_values<'py>(callable: &Bound<'py, PyAny>, values: &[Value]) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    match values {
        [one] => callable.call1((to_python(py, one)?,)),
        [one, two] => callable.call1((to_python(py, one)?, to_python(py, two)?)),
        _ => {
            let arguments: Vec<_> =
                values.iter().map(|value| to_python(py, value)).collect::<PyResult<_>>()?;
            callable.call1(PyTuple::new(py, arguments)?)
        }
    }
}

/// `expand=True` and no iterable came back.
fn not_iterable(result: &Bound<'_, PyAny>, error: PyErr) -> Failure {
    let mut failure = to_failure(error);
    if failure.kind == millstream_value::FailureKind::Host && !has_iter(result) {
        failure = Failure::new(
            millstream_value::FailureKind::Type,
            format!(
                "a function with expand=True returned {}, which is not iterable; return a list, or \
                 yield the items",
                type_name(result)
            ),
        );
    }
    failure
}

fn has_iter(object: &Bound<'_, PyAny>) -> bool {
    let class = object.get_type();
    let has = |name| class.hasattr(name).unwrap_or(false);
    has(intern!(object.py(), "__iter__")) || has(intern!(object.py(), "__getitem__"))
}

/// What a callable is called in errors and plans: its `__name__`, or that of what it wraps.
pub(crate) fn callable_name(callable: &Bound<'_, PyAny>) -> String {
    let py = callable.py();
    let named = |object: &Bound<'_, PyAny>| -> Option<String> {
        object.getattr_opt(intern!(py, "__name__")).ok()??.extract().ok()
    };
    named(callable)
        .or_else(|| named(&callable.getattr_opt(intern!(py, "func")).ok()??))
        .or_else(|| named(callable.get_type().as_any()))
        .unwrap_or_else(|| "function".into())
}
