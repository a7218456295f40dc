//! `Latest`: the value of the highest timestamp; of equal timestamps the one processed last
//! is kept; nulls do not count (W-25, W-27).

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value};

use super::{Accumulator, Aggregate, keep_at, mismatch};

pub(super) struct Latest;

impl Aggregate for Latest {
    fn kind(&self) -> String {
        "Latest".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Timed(None))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        timestamp: Timestamp,
        _: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        let Accumulator::Timed(kept) = state else { return Err(mismatch(state)) };
        let chosen = !value.is_null() && kept.as_ref().is_none_or(|(time, _)| timestamp >= *time);
        if chosen { keep_at(kept, timestamp, value) } else { Ok(None) }
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Timed(kept) = state else { return Err(mismatch(state)) };
        Ok(kept.as_ref().map_or(Value::Null, |(_, value)| value.share()))
    }
}
