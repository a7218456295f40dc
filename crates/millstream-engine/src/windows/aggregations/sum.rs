//! `Sum`: `0 + a + b + …` with Python's `+`, in processing order (W-25, W-26). So a text raises a
//! `TypeError` (W-30), ints stay ints, and an int sum beyond 64 bits cannot be stored (W-32).

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value, arith};

use super::super::encoding::to_stored;
use super::{Accumulator, Aggregate, mismatch};

pub(super) struct Sum;

/// `left + right`; two floats and two small ints are added right here, because that is what
/// sums are of.
pub(super) fn add(left: &Value, right: &Value, host: &dyn Host) -> Result<Value, Failure> {
    match (left, right) {
        (Value::Float(a), Value::Float(b)) => return Ok(Value::Float(a + b)),
        (Value::Int(a), Value::Int(b)) => {
            if let Some(sum) = a.checked_add(*b) {
                return Ok(Value::Int(sum));
            }
        }
        _ => {}
    }
    to_stored(arith::add(left, right, host)?)
}

impl Aggregate for Sum {
    fn kind(&self) -> String {
        "Sum".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Value(Value::Int(0)))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        _: Timestamp,
        host: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        let Accumulator::Value(sum) = state else { return Err(mismatch(state)) };
        if !value.is_null() {
            *sum = add(sum, &value, host)?;
        }
        Ok(None)
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Value(sum) = state else { return Err(mismatch(state)) };
        Ok(sum.share())
    }
}
