//! `Last`: the value processed last, whatever its timestamp; nulls do not count (W-25, W-27).

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value};

use super::{Accumulator, Aggregate, keep, mismatch};

pub(super) struct Last;

impl Aggregate for Last {
    fn kind(&self) -> String {
        "Last".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Value(Value::Null))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        _: Timestamp,
        _: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        let Accumulator::Value(last) = state else { return Err(mismatch(state)) };
        if value.is_null() { Ok(None) } else { keep(last, value) }
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Value(last) = state else { return Err(mismatch(state)) };
        Ok(last.share())
    }
}
