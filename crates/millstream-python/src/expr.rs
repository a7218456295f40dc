//! `Expr`: column expressions for the Python layer.

use std::sync::Arc;

use millstream_value::{BinaryOp, Call, Expr, Headers, Host, RecordContext, Value};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PyList, PySet, PyTuple};

use crate::context::MessageContext;
use crate::convert::{from_python, to_python};
use crate::errors::to_exception;
use crate::function::{PyFunction, Signature};
use crate::host::PyHost;
use crate::record::headers_from_python;

/// An expression over a record's value. Immutable.
#[pyclass(frozen, name = "Expr", module = "millstream._millstream")]
pub(crate) struct PyExpr(pub(crate) Expr);

impl PyExpr {
    fn with(&self, other: &Bound<'_, PyAny>, make: impl FnOnce(Expr, Expr) -> Expr) -> Self {
        Self(make(self.0.clone(), operand(other)))
    }
}

/// An operand: an expression, or a constant of any type.
fn operand(object: &Bound<'_, PyAny>) -> Expr {
    match object.cast::<PyExpr>() {
        Ok(expr) => expr.get().0.clone(),
        Err(_) => Expr::constant(from_python(object.clone())),
    }
}

/// `inner in object`. Of a list or set the items count as they are now (S-07): so no Python object is
/// asked per record, unless it is one of the items. Any other container stays itself.
fn is_in(inner: Expr, object: &Bound<'_, PyAny>) -> PyResult<Expr> {
    let py = object.py();
    let (items, hashed, copy) = if let Ok(list) = object.cast_exact::<PyList>() {
        (list.iter().collect(), false, list.get_slice(0, list.len()).into_any())
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        (tuple.iter().collect(), false, object.clone())
    } else if let Ok(set) = object.cast_exact::<PySet>() {
        (set.iter().collect(), true, PyFrozenSet::new(py, set)?.into_any())
    } else if let Ok(set) = object.cast_exact::<PyFrozenSet>() {
        (set.iter().collect::<Vec<_>>(), true, object.clone())
    } else {
        return Ok(Expr::is_in(inner, operand(object)));
    };
    let items: Vec<Value> = items.into_iter().map(from_python).collect();
    Ok(Expr::one_of(inner, &items, hashed, from_python(copy)))
}

#[pymethods]
impl PyExpr {
    #[staticmethod]
    fn column(name: &str) -> Self {
        Self(Expr::column(name))
    }

    #[staticmethod]
    fn whole() -> Self {
        Self(Expr::record())
    }

    #[staticmethod]
    fn constant(value: Bound<'_, PyAny>) -> Self {
        Self(Expr::constant(from_python(value)))
    }

    #[staticmethod]
    fn has_keys(keys: &Bound<'_, PyAny>) -> PyResult<Self> {
        let keys = keys.try_iter()?.map(|key| key.map(from_python)).collect::<PyResult<_>>()?;
        Ok(Self(Expr::has_keys(keys)))
    }

    fn item(&self, index: &Bound<'_, PyAny>) -> Self {
        self.with(index, Expr::index)
    }

    #[pyo3(signature = (op, other, reflected=false))]
    fn binary(&self, op: &str, other: &Bound<'_, PyAny>, reflected: bool) -> PyResult<Self> {
        let op = binary_op(op)?;
        Ok(match (op, reflected) {
            (BinaryOp::In, true) => self.with(other, Expr::contains),
            (BinaryOp::In, false) => Self(is_in(self.0.clone(), other)?),
            (_, true) => self.with(other, |this, other| Expr::binary(op, other, this)),
            (_, false) => self.with(other, |this, other| Expr::binary(op, this, other)),
        })
    }

    #[pyo3(signature = (other, reflected=false))]
    fn logical_and(&self, other: &Bound<'_, PyAny>, reflected: bool) -> Self {
        self.with(
            other,
            |this, other| {
                if reflected { Expr::and(other, this) } else { Expr::and(this, other) }
            },
        )
    }

    #[pyo3(signature = (other, reflected=false))]
    fn logical_or(&self, other: &Bound<'_, PyAny>, reflected: bool) -> Self {
        self.with(
            other,
            |this, other| {
                if reflected { Expr::or(other, this) } else { Expr::or(this, other) }
            },
        )
    }

    fn logical_not(&self) -> Self {
        Self(Expr::not(self.0.clone()))
    }

    fn negate(&self) -> Self {
        Self(Expr::neg(self.0.clone()))
    }

    fn absolute(&self) -> Self {
        Self(Expr::abs(self.0.clone()))
    }

    fn is_null(&self) -> Self {
        Self(Expr::is_null(self.0.clone()))
    }

    fn not_null(&self) -> Self {
        Self(Expr::not_null(self.0.clone()))
    }

    fn apply(&self, function: &Bound<'_, PyAny>) -> Self {
        Self(Expr::apply(PyFunction::shared(function, Signature::Plain), self.0.clone()))
    }

    #[getter]
    fn needs_host(&self) -> bool {
        self.0.needs_host()
    }

    #[pyo3(signature = (value, key=None, timestamp=0, headers=None, context=None))]
    fn evaluate<'py>(
        &self,
        value: Bound<'py, PyAny>,
        key: Option<Bound<'py, PyAny>>,
        timestamp: i64,
        headers: Option<Bound<'py, PyAny>>,
        context: Option<Bound<'py, MessageContext>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        let mut value = from_python(value);
        let mut key = key.map_or(Value::Null, from_python);
        let mut headers =
            headers.map_or_else(|| Ok(Headers::none()), |headers| headers_from_python(&headers))?;
        let context = match context {
            Some(context) => context.get().to_record_context(),
            None => made_up_context(),
        };
        let mut result = None;
        PyHost.attach(&mut || {
            let mut call = Call {
                value: &mut value,
                key: &mut key,
                timestamp,
                headers: &mut headers,
                state: None,
                context: &context,
            };
            PyHost.record(&context, &mut || result = Some(self.0.evaluate(&mut call, &PyHost)));
        });
        let result = result.expect("attach runs its body");
        to_python(py, &result.map_err(|failure| to_exception(py, failure))?)
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// A context for a record that comes from no topic (S-12).
pub(crate) fn made_up_context() -> RecordContext {
    RecordContext {
        topic_partition: millstream_types::TopicPartition::new(Arc::from("test"), 0),
        offset: 0,
        size: 0,
        leader_epoch: None,
    }
}

fn binary_op(symbol: &str) -> PyResult<BinaryOp> {
    Ok(match symbol {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Mod,
        "//" => BinaryOp::FloorDiv,
        "**" => BinaryOp::Pow,
        "==" => BinaryOp::Eq,
        "!=" => BinaryOp::Ne,
        "<" => BinaryOp::Lt,
        "<=" => BinaryOp::Le,
        ">" => BinaryOp::Gt,
        ">=" => BinaryOp::Ge,
        "in" => BinaryOp::In,
        "is" => BinaryOp::Is,
        _ => return Err(PyValueError::new_err(format!("unknown operator {symbol:?}"))),
    })
}
