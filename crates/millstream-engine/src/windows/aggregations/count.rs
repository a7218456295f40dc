//! `Count`: how many values are not null (W-25). Starts at 0.

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value};

use super::{Accumulator, Aggregate, mismatch};

pub(super) struct Count;

impl Aggregate for Count {
    fn kind(&self) -> String {
        "Count".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Count(0))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        _: Timestamp,
        _: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        let Accumulator::Count(count) = state else { return Err(mismatch(state)) };
        *count += i64::from(!value.is_null());
        Ok(None)
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Count(count) = state else { return Err(mismatch(state)) };
        Ok(Value::Int(*count))
    }

    fn wants_value(&self) -> bool {
        false
    }
}
