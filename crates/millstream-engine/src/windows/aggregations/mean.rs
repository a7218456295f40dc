//! `Mean`: sum (from float 0.0) divided by the number of values; null of nothing (W-25, W-26).

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value, arith};

use super::sum::add;
use super::{Accumulator, Aggregate, mismatch};

pub(super) struct Mean;

impl Aggregate for Mean {
    fn kind(&self) -> String {
        "Mean".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Mean { sum: Value::Float(0.0), count: 0 })
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        _: Timestamp,
        host: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        let Accumulator::Mean { sum, count } = state else { return Err(mismatch(state)) };
        if !value.is_null() {
            *sum = add(sum, &value, host)?;
            *count += 1;
        }
        Ok(None)
    }

    fn result(&self, state: &Accumulator, host: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Mean { sum, count } = state else { return Err(mismatch(state)) };
        match count {
            0 => Ok(Value::Null),
            count => arith::div(sum, &Value::Int(*count), host),
        }
    }
}
