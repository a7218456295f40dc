//! A user's `BaseAggregator` (W-29). What `agg` makes must be storable (W-32): the next `agg`, and
//! `result` at the close, get what the store gives back; a `result` at once gets the object itself.

use std::sync::Arc;

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value};

use super::{Accumulator, Aggregate, Aggregator, keep, mismatch};

pub(super) struct Custom(pub(super) Arc<dyn Aggregator>);

impl Aggregate for Custom {
    /// The whole suffix: a custom aggregator says itself what tells it apart, column included.
    fn kind(&self) -> String {
        self.0.state_suffix()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        // Not stored as it is: every window begins with a value, and `agg` gets it as it was made.
        self.0.initialize().map(Accumulator::Value)
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
        keep(old, new)
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Value(value) = state else { return Err(mismatch(state)) };
        self.0.result(value.share())
    }

    fn result_of(&self, made: Value) -> Result<Value, Failure> {
        self.0.result(made)
    }

    fn needs_host(&self) -> bool {
        self.0.needs_host()
    }
}
