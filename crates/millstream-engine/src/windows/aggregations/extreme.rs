//! `Min` and `Max`: Python's `min(old, new)` and `max(old, new)`, so of equal values (`1`, `1.0`,
//! `True`) the one processed first stays; null of nothing (W-25, W-26).

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Value, compare};

use super::{Accumulator, Aggregate, keep, mismatch};

pub(super) struct Min;
pub(super) struct Max;

/// Replaces the kept value where `replaces(new, old)` says so.
fn update(
    state: &mut Accumulator,
    new: Value,
    replaces: impl FnOnce(&Value, &Value) -> Result<bool, Failure>,
) -> Result<Option<Value>, Failure> {
    let Accumulator::Value(old) = state else { return Err(mismatch(state)) };
    let replaced = !new.is_null() && (old.is_null() || replaces(&new, old)?);
    if replaced { keep(old, new) } else { Ok(None) }
}

fn result(state: &Accumulator) -> Result<Value, Failure> {
    let Accumulator::Value(value) = state else { return Err(mismatch(state)) };
    Ok(value.share())
}

impl Aggregate for Min {
    fn kind(&self) -> String {
        "Min".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Value(Value::Null))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        _: Timestamp,
        host: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        update(state, value, |new, old| compare::lt(new, old, host))
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        result(state)
    }
}

impl Aggregate for Max {
    fn kind(&self) -> String {
        "Max".to_owned()
    }

    fn initialize(&self) -> Result<Accumulator, Failure> {
        Ok(Accumulator::Value(Value::Null))
    }

    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        _: Timestamp,
        host: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        // Python's `max` asks whether the new one is greater: `new > old`, which is `old < new`.
        update(state, value, |new, old| compare::lt(old, new, host))
    }

    fn result(&self, state: &Accumulator, _: &dyn Host) -> Result<Value, Failure> {
        result(state)
    }
}
