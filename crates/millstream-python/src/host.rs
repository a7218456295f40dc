//! Python as the engine's host language.

use millstream_types::{Clock, SystemClock};
use millstream_value::{BinaryOp, Failure, Host, RecordContext, Value};
use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::{from_python, to_python, to_python_in_place};
use crate::errors::to_failure;
use crate::gil::enter;
use crate::{context, isolation};

/// Waiting longer than this for the interpreter is worth a warning, ms: other threads hold it.
const LONG_WAIT_MS: u128 = 1_000;

/// Python. Without state: objects are reached through the values that hold them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PyHost;

impl Host for PyHost {
    fn attach(&self, body: &mut dyn FnMut()) {
        let asked = SystemClock.monotonic();
        enter(|py| {
            let waited_ms = (SystemClock.monotonic() - asked).as_millis();
            if waited_ms > LONG_WAIT_MS {
                tracing::warn!(
                    waited_ms,
                    "waited long for the interpreter: another thread runs Python code without a pause"
                );
            }
            if let Err(error) = isolation::isolated(py, &mut *body) {
                // Only lack of memory gets here. The records can run all the same.
                error.write_unraisable(py, None);
                body();
            }
        });
    }

    fn record(&self, context: &RecordContext, body: &mut dyn FnMut()) {
        context::with_record(context, body);
    }

    fn binary(&self, op: BinaryOp, left: &Value, right: &Value) -> Result<Value, Failure> {
        enter(|py| binary(op, &to_python(py, left)?, &to_python(py, right)?).map(from_python))
            .map_err(to_failure)
    }

    fn print(&self, value: &mut Value, pretty: bool) -> Result<(), Failure> {
        enter(|py| print(&shown(py, value)?, pretty)).map_err(to_failure)
    }

    fn interrupted(&self) -> bool {
        crate::signals::interrupted()
    }
}

/// `left op right` by Python's own operators.
fn binary<'py>(
    op: BinaryOp,
    left: &Bound<'py, PyAny>,
    right: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let flag = |value: bool| pyo3::types::PyBool::new(left.py(), value).to_owned().into_any();
    match op {
        BinaryOp::Add => left.add(right),
        BinaryOp::Sub => left.sub(right),
        BinaryOp::Mul => left.mul(right),
        BinaryOp::Div => left.div(right),
        BinaryOp::Mod => left.rem(right),
        BinaryOp::FloorDiv => left.floor_div(right),
        BinaryOp::Pow => left.pow(right, left.py().None()),
        BinaryOp::Eq => left.rich_compare(right, CompareOp::Eq),
        BinaryOp::Ne => left.rich_compare(right, CompareOp::Ne),
        BinaryOp::Lt => left.rich_compare(right, CompareOp::Lt),
        BinaryOp::Le => left.rich_compare(right, CompareOp::Le),
        BinaryOp::Gt => left.rich_compare(right, CompareOp::Gt),
        BinaryOp::Ge => left.rich_compare(right, CompareOp::Ge),
        BinaryOp::In => right.contains(left).map(flag),
        BinaryOp::Is => Ok(flag(left.is(right))),
        BinaryOp::GetItem => left.get_item(right),
    }
}

/// What is printed of a value. The engine hands `print` a native map of its own making, in which
/// headers are lists of two; users know them as tuples.
fn shown<'py>(py: Python<'py>, value: &mut Value) -> PyResult<Bound<'py, PyAny>> {
    let headers = value.as_map().and_then(|map| map.get("headers")).and_then(Value::as_list);
    let headers = headers.map(|pairs| -> PyResult<Vec<_>> {
        let pair = |pair: &Value| {
            PyTuple::new(
                py,
                pair.as_list()
                    .unwrap_or_default()
                    .iter()
                    .map(|part| to_python(py, part))
                    .collect::<PyResult<Vec<_>>>()?,
            )
        };
        pairs.iter().map(pair).collect()
    });
    let headers = headers.transpose()?;
    let shown = to_python_in_place(py, value)?;
    if let Some(headers) = headers {
        shown.set_item("headers", headers)?;
    }
    Ok(shown)
}

/// `print(value)`, over several lines if `pretty`.
fn print(value: &Bound<'_, PyAny>, pretty: bool) -> PyResult<()> {
    static PPRINT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static PRINT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    if pretty {
        let options = PyDict::new(py);
        options.set_item("indent", 2)?;
        options.set_item("sort_dicts", false)?;
        PPRINT.import(py, "pprint", "pprint")?.call((value,), Some(&options))?;
    } else {
        PRINT.import(py, "builtins", "print")?.call1((value,))?;
    }
    Ok(())
}
