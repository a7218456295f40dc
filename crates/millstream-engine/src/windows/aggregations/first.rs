//! `First`: the value processed first, whatever its timestamp; nulls do not count (W-25, W-27).

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value};

use super::{Accumulator, Aggregate, keep, mismatch};

pub(super) struct First;

impl Aggregate for First {
    fn kind(&self) -> String {
        "First".to_owned()
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
        let Accumulator::Value(first) = state else { return Err(mismatch(state)) };
        if first.is_null() && !value.is_null() { keep(first, value) } else { Ok(None) }
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Value(first) = state else { return Err(mismatch(state)) };
        Ok(first.share())
    }
}
