//! A user's `BaseAggregator` (W-29). Its state must be storable (W-32): `agg` and `result` get
//! what the store gives back.

use std::sync::Arc;

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value};

use super::super::encoding::to_stored;
use super::{Accumulator, Aggregate, Aggregator, mismatch};

pub(super) struct Custom(pub(super) Arc<dyn Aggregator>);

impl Aggregate for Custom {
    /// The whole suffix: a custom aggregator says itself what tells it apart, column included.
    fn kind(&self) -> String {
        self.0.state_suffix()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Value(to_stored(self.0.initialize()?)?))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        timestamp: Timestamp,
        _: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        let Accumulator::Value(old) = state else { return Err(mismatch(state)) };
        let new = self.0.aggregate(old.share(), value, timestamp)?;
        *old = to_stored(new.share())?;
        Ok(None)
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Value(value) = state else { return Err(mismatch(state)) };
        self.0.result(value.share())
    }

    fn needs_host(&self) -> bool {
        self.0.needs_host()
    }
}
