//! Columns that are not text (D-31, D-34): only Python's dicts have them, so Python's operators do the
//! work. The engine's own nodes know text columns.

use std::sync::Arc;

use millstream_value::{Call, Expr, Failure, Function, Value};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert::{from_python, to_python, to_python_in_place};
use crate::errors::to_failure;
use crate::gil::enter;
use crate::host::PyHost;

/// What an [`Assignment`] assigns.
pub(crate) enum Right {
    Constant(Py<PyAny>),
    Expr(Expr),
    /// What the engine hands over, together with the value.
    Given,
}

/// `value[column] = right`.
pub(crate) struct Assignment {
    column: Py<PyAny>,
    right: Right,
    name: String,
}

impl Assignment {
    pub(crate) fn shared(column: &Bound<'_, PyAny>, right: Right) -> PyResult<Arc<dyn Function>> {
        let name = match right {
            Right::Given => column.repr()?.to_string(),
            Right::Constant(_) | Right::Expr(_) => format!("[{}] = ...", column.repr()?),
        };
        Ok(Arc::new(Self { column: column.clone().unbind(), right, name }))
    }
}

impl Function for Assignment {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs_host(&self) -> bool {
        true
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        enter(|py| {
            let right = match &self.right {
                Right::Constant(constant) => constant.bind(py).clone(),
                Right::Expr(expr) => {
                    to_python(py, &expr.evaluate(call, &PyHost)?).map_err(to_failure)?
                }
                Right::Given => unreachable!("it is called with the value and what was given"),
            };
            to_python_in_place(py, call.value)
                .and_then(|value| value.set_item(&self.column, right))
                .map_err(to_failure)
        })?;
        Ok(Value::Null)
    }

    fn call_expand(
        &self,
        _: &mut Call<'_>,
        _: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        unreachable!("an assignment expands nothing")
    }

    fn call_values(&self, values: Vec<Value>) -> Result<Value, Failure> {
        let [value, given] = &values[..] else { unreachable!("the engine hands over these two") };
        enter(|py| {
            let value = to_python(py, value)?;
            value.set_item(&self.column, to_python(py, given)?)?;
            Ok(from_python(value))
        })
        .map_err(to_failure)
    }
}

/// `{column: value[column] for column in columns}`.
pub(crate) struct Projection {
    columns: Vec<Py<PyAny>>,
    name: String,
}

impl Projection {
    pub(crate) fn shared(columns: Vec<Bound<'_, PyAny>>) -> PyResult<Arc<dyn Function>> {
        let names: Vec<String> = columns
            .iter()
            .map(|column| column.repr().map(|repr| repr.to_string()))
            .collect::<PyResult<_>>()?;
        let columns = columns.into_iter().map(Bound::unbind).collect();
        Ok(Arc::new(Self { columns, name: format!("[[{}]]", names.join(", ")) }))
    }
}

impl Function for Projection {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs_host(&self) -> bool {
        true
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        enter(|py| {
            let value = to_python_in_place(py, call.value)?;
            let projected = PyDict::new(py);
            for column in &self.columns {
                projected.set_item(column, value.get_item(column)?)?;
            }
            Ok(from_python(projected.into_any()))
        })
        .map_err(to_failure)
    }

    fn call_expand(
        &self,
        _: &mut Call<'_>,
        _: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        unreachable!("a projection expands nothing")
    }

    fn call_values(&self, _: Vec<Value>) -> Result<Value, Failure> {
        unreachable!("a projection is no reducer")
    }
}
