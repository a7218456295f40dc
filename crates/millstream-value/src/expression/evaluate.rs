//! Evaluation. Parts without user functions borrow from the record; parts with them own what
//! they hold, for a function may change the record.

use super::program::{COLUMNS_MAX, Op, Program, Step};
use super::too_deep;
use crate::arith::Quick;
use crate::json::{Number, Span};
use crate::operand::{Operand, View};
use crate::{
    BinaryOp, Call, Failure, FailureKind, Function, Host, Text, Value, access, arith, compare,
};

/// The record's value while an expression without calls looks at it.
struct Record<'a> {
    value: &'a Value,
    /// The columns of undecoded JSON, found in one pass.
    found: [Span; COLUMNS_MAX],
}

impl<'a> Record<'a> {
    #[inline]
    fn new(value: &'a Value, columns: &[Text]) -> Self {
        let mut found = [Span::default(); COLUMNS_MAX];
        if let Value::Json(text) = value
            && !columns.is_empty()
        {
            text.get().find_fields(columns, &mut found);
        }
        Self { value, found }
    }
}

impl Program {
    pub(super) fn evaluate(&self, call: &mut Call<'_>, host: &dyn Host) -> Result<Value, Failure> {
        if self.root.calls {
            return self.with_calls(&self.root, call, host);
        }
        self.evaluate_native(call.value, host)
    }

    pub(super) fn truthy(&self, call: &mut Call<'_>, host: &dyn Host) -> Result<bool, Failure> {
        if self.root.calls {
            let value = self.with_calls(&self.root, call, host)?;
            return Operand::of(&value).view().truthy();
        }
        let record = Record::new(call.value, &self.columns);
        if self.root.quick
            && let Some(result) = self.root.quick(&record)
        {
            return Ok(result.truthy());
        }
        self.root.general(&record, host)?.view().truthy()
    }

    pub(super) fn evaluate_native(&self, value: &Value, host: &dyn Host) -> Result<Value, Failure> {
        let record = Record::new(value, &self.columns);
        self.root.evaluate(&record, host).map(Operand::into_value)
    }

    /// Evaluates what may have user functions in it.
    fn with_calls(
        &self,
        step: &Step,
        call: &mut Call<'_>,
        host: &dyn Host,
    ) -> Result<Value, Failure> {
        if !step.calls {
            let record = Record::new(call.value, &self.columns);
            return step.evaluate(&record, host).map(Operand::into_value);
        }
        Ok(match &step.op {
            Op::Apply(function, inner) => {
                if let Op::Record = inner.op {
                    return apply(&**function, None, call);
                }
                let value = self.with_calls(inner, call, host)?;
                return apply(&**function, Some(value), call);
            }
            Op::Index(pair) => {
                let container = self.with_calls(&pair[0], call, host)?;
                let index = self.with_calls(&pair[1], call, host)?;
                arith::binary(BinaryOp::GetItem, &container, &index, host)?
            }
            Op::Binary(op, pair) => {
                let left = self.with_calls(&pair[0], call, host)?;
                let right = self.with_calls(&pair[1], call, host)?;
                arith::binary(*op, &left, &right, host)?
            }
            Op::Contains(pair) => {
                let container = self.with_calls(&pair[0], call, host)?;
                let item = self.with_calls(&pair[1], call, host)?;
                arith::binary(BinaryOp::In, &item, &container, host)?
            }
            Op::OneOf(inner, members) => {
                let value = self.with_calls(inner, call, host)?;
                Value::Bool(members.contain(Operand::of(&value).view(), host)?)
            }
            Op::And(pair) | Op::Or(pair) => {
                let left = self.with_calls(&pair[0], call, host)?;
                if Operand::of(&left).view().truthy()? == matches!(step.op, Op::Or(_)) {
                    left
                } else {
                    self.with_calls(&pair[1], call, host)?
                }
            }
            Op::Same(inner) => {
                self.with_calls(inner, call, host)?;
                Value::Bool(true)
            }
            Op::Not(inner) => {
                let value = self.with_calls(inner, call, host)?;
                Value::Bool(!Operand::of(&value).view().truthy()?)
            }
            Op::Abs(inner) => arith::abs(&self.with_calls(inner, call, host)?, host)?,
            Op::Neg(inner) => arith::neg(&self.with_calls(inner, call, host)?, host)?,
            Op::IsNull(inner) => {
                let value = self.with_calls(inner, call, host)?;
                Value::Bool(is_none(Operand::of(&value).view(), host)?)
            }
            Op::HasKeys(inner, keys) => {
                let value = self.with_calls(inner, call, host)?;
                Value::Bool(access::has_keys(&value, keys, host)?)
            }
            Op::Record | Op::Column(..) | Op::Constant(_) | Op::TooDeep => {
                unreachable!("these have no calls")
            }
        })
    }
}

/// Calls a function with `value` in place of the record's own, or with that.
fn apply(
    function: &dyn Function,
    value: Option<Value>,
    call: &mut Call<'_>,
) -> Result<Value, Failure> {
    let mut value = value;
    function.call(&mut Call {
        value: value.as_mut().unwrap_or(call.value),
        key: call.key,
        timestamp: call.timestamp,
        headers: call.headers,
        state: call.state.as_ref().map(|state| state.share()),
        context: call.context,
    })
}

/// An object of the host may be `None` as well.
fn is_none(view: View<'_>, host: &dyn Host) -> Result<bool, Failure> {
    match view {
        View::Null => Ok(true),
        View::Host(_) => arith::apply(BinaryOp::Is, view, View::Null, host)?.view().truthy(),
        _ => Ok(false),
    }
}

impl Step {
    /// The result, if it comes of numbers of undecoded JSON in the usual way: half the work, as
    /// everything stays in registers. `None`, also for every error: [`Step::general`] decides.
    fn quick(&self, record: &Record<'_>) -> Option<Quick> {
        match &self.op {
            Op::Column(_, Some(slot)) => {
                let Value::Json(text) = record.value else { return None };
                match text.get().at(record.found[*slot])?.number()? {
                    Number::Int(v) => Some(Quick::int(v)),
                    Number::Float(v) => Some(Quick::float(v)),
                    Number::UInt(_) => None,
                }
            }
            Op::Constant(Value::Int(v)) => Some(Quick::int(*v)),
            Op::Constant(Value::Float(v)) => Some(Quick::float(*v)),
            Op::Binary(op, pair) => {
                arith::quick(*op, pair[0].quick(record)?, pair[1].quick(record)?)
            }
            Op::And(pair) | Op::Or(pair) => {
                let left = pair[0].quick(record)?;
                if left.truthy() == matches!(self.op, Op::Or(_)) {
                    Some(left)
                } else {
                    pair[1].quick(record)
                }
            }
            Op::Not(inner) => Some(Quick::bool(!inner.quick(record)?.truthy())),
            _ => None,
        }
    }

    /// Evaluates what has no user functions in it.
    fn evaluate<'a>(
        &'a self,
        record: &Record<'a>,
        host: &dyn Host,
    ) -> Result<Operand<'a>, Failure> {
        if self.quick
            && let Some(result) = self.quick(record)
        {
            return Ok(result.into());
        }
        self.general(record, host)
    }

    /// Evaluates what has no user functions in it, whatever it comes of.
    fn general<'a>(&'a self, record: &Record<'a>, host: &dyn Host) -> Result<Operand<'a>, Failure> {
        match &self.op {
            Op::Record => Ok(Operand::of(record.value)),
            Op::Column(name, Some(slot)) => match record.value {
                Value::Json(text) => {
                    let json = text.get();
                    access::json_column(json, json.at(record.found[*slot]), name)
                }
                value => access::column_of(value, name),
            },
            Op::Column(name, None) => access::column_of(record.value, name),
            Op::Constant(value) => Ok(Operand::of(value)),
            Op::Index(pair) => {
                let container = pair[0].evaluate(record, host)?;
                let index = pair[1].evaluate(record, host)?;
                access::item(container, &index, host)
            }
            Op::Binary(op, pair) => {
                let left = pair[0].evaluate(record, host)?;
                let right = pair[1].evaluate(record, host)?;
                arith::apply(*op, left.view(), right.view(), host)
            }
            Op::Contains(pair) => {
                let container = pair[0].evaluate(record, host)?;
                let item = pair[1].evaluate(record, host)?;
                compare::is_in(item.view(), container.view(), host)
            }
            Op::OneOf(inner, members) => {
                Ok(members.contain(inner.evaluate(record, host)?.view(), host)?.into())
            }
            Op::And(pair) | Op::Or(pair) => {
                let left = pair[0].evaluate(record, host)?;
                if left.view().truthy()? == matches!(self.op, Op::Or(_)) {
                    Ok(left)
                } else {
                    pair[1].evaluate(record, host)
                }
            }
            Op::Same(inner) => inner.evaluate(record, host).map(|_| true.into()),
            Op::Not(inner) => Ok((!inner.evaluate(record, host)?.view().truthy()?).into()),
            Op::Abs(inner) => arith::absolute(inner.evaluate(record, host)?.view(), host),
            Op::Neg(inner) => arith::negative(inner.evaluate(record, host)?.view(), host),
            Op::IsNull(inner) => Ok(is_none(inner.evaluate(record, host)?.view(), host)?.into()),
            Op::HasKeys(inner, keys) => {
                let value = inner.evaluate(record, host)?;
                Ok(access::keys_in(value.view(), keys, host)?.into())
            }
            Op::TooDeep => Err(too_deep()),
            Op::Apply(function, _) => Err(Failure::new(
                FailureKind::InvalidOperation,
                format!("the expression calls `{}`, which needs a whole record", function.name()),
            )),
        }
    }
}
