//! `Reduce`: the user's own fold (W-21). The first value of a window goes to the initializer,
//! further ones to the reducer; an accumulated null counts as *not initialised yet*. Null values
//! are passed in like others. The reducer gets what the store gives back (W-32).

use std::sync::Arc;

use millstream_types::Timestamp;
use millstream_value::{Failure, Function, Host, Value};

use super::{Accumulator, Aggregate, keep, mismatch};

pub(super) struct Reduce {
    pub(super) reducer: Arc<dyn Function>,
    pub(super) initializer: Arc<dyn Function>,
}

impl Aggregate for Reduce {
    fn kind(&self) -> String {
        "Reduce".to_owned()
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
        let Accumulator::Value(accumulated) = state else { return Err(mismatch(state)) };
        // The state is shared into the call, not moved: if the user's code raises, the window
        // must be as it was.
        let made = match accumulated.is_null() {
            true => self.initializer.call_values(vec![value])?,
            false => self.reducer.call_values(vec![accumulated.share(), value])?,
        };
        keep(accumulated, made)
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        let Accumulator::Value(accumulated) = state else { return Err(mismatch(state)) };
        Ok(accumulated.share())
    }

    fn needs_host(&self) -> bool {
        self.reducer.needs_host() || self.initializer.needs_host()
    }
}
