//! What windows compute: one file per aggregation. [`Aggregation`] is how a user names one,
//! [`Aggregate`] how the window runs it.
//!
//! An [`Accumulator`] is a native value; it is encoded when a checkpoint is made and at no other
//! time. The rows that all of them share: a null input (or a missing column) leaves the state as
//! it was (W-25); results are as W-26 has them; whatever is kept must be storable (W-32).

mod count;
mod custom;
mod earliest;
mod extreme;
mod first;
mod last;
mod latest;
mod mean;
mod reduce;
mod sum;

use std::sync::Arc;

use millstream_state::EntryError;
use millstream_types::Timestamp;
use millstream_value::{Failure, Function, Host, Value};

use super::encoding::{Reader, to_stored, write_i64, write_value};

/// One column of a window's result (W-20 to W-29). The text is the column of the record's value
/// that goes in; without one the whole value does.
#[derive(Clone)]
pub enum Aggregation {
    /// Number of values that are not null.
    Count(Option<String>),
    /// Their sum, from int 0.
    Sum(Option<String>),
    /// Their mean, a float; null of nothing.
    Mean(Option<String>),
    /// The smallest, by Python's `min`.
    Min(Option<String>),
    /// The greatest, by Python's `max`.
    Max(Option<String>),
    /// The one processed first.
    First(Option<String>),
    /// The one processed last.
    Last(Option<String>),
    /// The one of the lowest timestamp.
    Earliest(Option<String>),
    /// The one of the highest timestamp.
    Latest(Option<String>),
    /// All values, by timestamp and then arrival (W-22). Only with `final`.
    Collect(Option<String>),
    /// A user's reducer (W-21).
    Reduce {
        /// `reducer(accumulated, value)`.
        reducer: Arc<dyn Function>,
        /// `initializer(value)`: the accumulated of a window's first value.
        initializer: Arc<dyn Function>,
        /// `merger(accumulated, accumulated)`: only session windows need it (W-64).
        merger: Option<Arc<dyn Function>>,
    },
    /// A user's aggregator (W-29).
    Custom(Arc<dyn Aggregator>),
    /// A user's collector (W-29).
    CustomCollector(Arc<dyn Collector>),
}

impl Aggregation {
    /// The name of the shortcut, as it ends a store's name (W-09).
    pub fn shortcut(&self) -> &'static str {
        match self {
            Aggregation::Count(_) => "count",
            Aggregation::Sum(_) => "sum",
            Aggregation::Mean(_) => "mean",
            Aggregation::Min(_) => "min",
            Aggregation::Max(_) => "max",
            Aggregation::First(_) => "first",
            Aggregation::Last(_) => "last",
            Aggregation::Earliest(_) => "earliest",
            Aggregation::Latest(_) => "latest",
            Aggregation::Collect(_) | Aggregation::CustomCollector(_) => "collect",
            Aggregation::Reduce { .. } => "reduce",
            Aggregation::Custom(_) => "agg",
        }
    }

    /// Whether it collects values, rather than to fold them into one.
    pub fn is_collector(&self) -> bool {
        matches!(self, Aggregation::Collect(_) | Aggregation::CustomCollector(_))
    }
}

/// A user's aggregator (W-29).
pub trait Aggregator: Send + Sync {
    /// What tells its state from that of others under the same result column (W-31).
    fn state_suffix(&self) -> String;
    /// The column of the record's value that goes in; `None`: the whole value.
    fn column(&self) -> Option<&str>;
    /// The state of an empty window.
    ///
    /// # Errors
    /// What the user's code raised.
    fn initialize(&self) -> Result<Value, Failure>;
    /// The state with one more value.
    ///
    /// # Errors
    /// What the user's code raised.
    fn aggregate(&self, old: Value, new: Value, timestamp: Timestamp) -> Result<Value, Failure>;
    /// The result of a state.
    ///
    /// # Errors
    /// What the user's code raised.
    fn result(&self, state: Value) -> Result<Value, Failure>;
    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool;
}

/// A user's collector (W-29).
pub trait Collector: Send + Sync {
    /// The column that is collected; `None`: the whole value.
    fn column(&self) -> Option<&str>;
    /// The result of the collected values.
    ///
    /// # Errors
    /// What the user's code raised.
    fn result(&self, items: Vec<Value>) -> Result<Value, Failure>;
    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool;
}

/// The state of one aggregation in one window.
#[derive(Debug)]
pub(crate) enum Accumulator {
    /// A number of values.
    Count(i64),
    /// One value.
    Value(Value),
    /// Sum and number.
    Mean { sum: Value, count: i64 },
    /// A value and its timestamp; `None` of nothing.
    Timed(Option<(Timestamp, Value)>),
}

const COUNT: u8 = 0;
const VALUE: u8 = 1;
const MEAN: u8 = 2;
const TIMED: u8 = 3;
const NO_TIME: u8 = 4;

impl Accumulator {
    /// The raw accumulator as a trigger sees it (W-56).
    pub(crate) fn raw(&self) -> Value {
        match self {
            Accumulator::Count(count) => Value::Int(*count),
            Accumulator::Value(value) => value.share(),
            Accumulator::Mean { sum, count } => Value::List(vec![sum.share(), Value::Int(*count)]),
            Accumulator::Timed(None) => Value::Null,
            Accumulator::Timed(Some((timestamp, value))) => {
                Value::List(vec![value.share(), Value::Int(*timestamp)])
            }
        }
    }

    /// The same before it went through the store, with what [`Aggregate::update`] gave.
    pub(crate) fn raw_of(&self, made: &Value) -> Value {
        match self {
            Accumulator::Timed(Some((timestamp, _))) => {
                Value::List(vec![made.share(), Value::Int(*timestamp)])
            }
            _ => made.share(),
        }
    }

    /// The same once more.
    pub(crate) fn share(&self) -> Self {
        match self {
            Accumulator::Count(count) => Accumulator::Count(*count),
            Accumulator::Value(value) => Accumulator::Value(value.share()),
            Accumulator::Mean { sum, count } => {
                Accumulator::Mean { sum: sum.share(), count: *count }
            }
            Accumulator::Timed(timed) => Accumulator::Timed(
                timed.as_ref().map(|(timestamp, value)| (*timestamp, value.share())),
            ),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Accumulator::Count(count) => {
                out.push(COUNT);
                write_i64(*count, out);
            }
            Accumulator::Value(value) => {
                out.push(VALUE);
                write_value(value, out);
            }
            Accumulator::Mean { sum, count } => {
                out.push(MEAN);
                write_i64(*count, out);
                write_value(sum, out);
            }
            Accumulator::Timed(None) => out.push(NO_TIME),
            Accumulator::Timed(Some((timestamp, value))) => {
                out.push(TIMED);
                write_i64(*timestamp, out);
                write_value(value, out);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        Ok(match reader.byte()? {
            COUNT => Accumulator::Count(reader.i64()?),
            VALUE => Accumulator::Value(reader.value()?),
            MEAN => {
                let count = reader.i64()?;
                Accumulator::Mean { sum: reader.value()?, count }
            }
            NO_TIME => Accumulator::Timed(None),
            TIMED => {
                let timestamp = reader.i64()?;
                Accumulator::Timed(Some((timestamp, reader.value()?)))
            }
            tag => return Err(EntryError(format!("accumulators of kind {tag} are not known"))),
        })
    }

    /// Bytes on the heap, estimated: a window's cost in the cache.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Accumulator::Count(_) | Accumulator::Timed(None) => 0,
            Accumulator::Value(value)
            | Accumulator::Mean { sum: value, .. }
            | Accumulator::Timed(Some((_, value))) => heap_size(value),
        }
    }
}

/// Bytes a value has on the heap. Containers are estimated from their first level, because this
/// is asked on each access.
pub(crate) fn heap_size(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::Json(text) => text.as_bytes().len(),
        Value::List(items) => items.len() * 2 * size_of::<Value>(),
        Value::Map(map) => map.len() * 3 * size_of::<Value>(),
        _ => 0,
    }
}

/// How a window runs an aggregation.
pub(crate) trait Aggregate: Send + Sync {
    /// Its kind, as Python's class is called: the state's suffix (W-29).
    fn kind(&self) -> String;
    /// The state of an empty window.
    fn initialize(&self) -> Result<Accumulator, Failure>;
    /// Takes in a value. What is left in `state` is storable; what it gives, if anything, is the
    /// object that stands in its place until it went through the store (W-32): of
    /// [`Accumulator::Timed`] the value, of others the whole state.
    fn update(
        &self,
        state: &mut Accumulator,
        value: Value,
        timestamp: Timestamp,
        host: &dyn Host,
    ) -> Result<Option<Value>, Failure>;
    /// The result of a state.
    fn result(&self, state: &Accumulator, host: &dyn Host) -> Result<Value, Failure>;
    /// The result of what [`Aggregate::update`] gave.
    fn result_of(&self, made: Value) -> Result<Value, Failure> {
        Ok(made)
    }
    /// Whether it looks at values at all, beyond whether they are null.
    fn wants_value(&self) -> bool {
        true
    }
    /// Whether it must run with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// The aggregation and the column it reads. Not for collectors.
pub(crate) fn build(aggregation: &Aggregation) -> (Box<dyn Aggregate>, Option<String>) {
    match aggregation {
        Aggregation::Count(column) => (Box::new(count::Count), column.clone()),
        Aggregation::Sum(column) => (Box::new(sum::Sum), column.clone()),
        Aggregation::Mean(column) => (Box::new(mean::Mean), column.clone()),
        Aggregation::Min(column) => (Box::new(extreme::Min), column.clone()),
        Aggregation::Max(column) => (Box::new(extreme::Max), column.clone()),
        Aggregation::First(column) => (Box::new(first::First), column.clone()),
        Aggregation::Last(column) => (Box::new(last::Last), column.clone()),
        Aggregation::Earliest(column) => (Box::new(earliest::Earliest), column.clone()),
        Aggregation::Latest(column) => (Box::new(latest::Latest), column.clone()),
        Aggregation::Reduce { reducer, initializer, .. } => (
            Box::new(reduce::Reduce {
                reducer: Arc::clone(reducer),
                initializer: Arc::clone(initializer),
            }),
            None,
        ),
        Aggregation::Custom(aggregator) => (
            Box::new(custom::Custom(Arc::clone(aggregator))),
            aggregator.column().map(str::to_owned),
        ),
        Aggregation::Collect(_) | Aggregation::CustomCollector(_) => {
            unreachable!("collectors keep values, not an accumulator")
        }
    }
}

/// Keeps a value, in a form that can be stored. Gives the object of the host that it was, if it was
/// one: until it went through the store, results are that (W-32).
fn keep(slot: &mut Value, value: Value) -> Result<Option<Value>, Failure> {
    let made = matches!(value, Value::Host(_)).then(|| value.share());
    *slot = to_stored(value)?;
    Ok(made)
}

/// [`keep`] with a timestamp.
fn keep_at(
    slot: &mut Option<(Timestamp, Value)>,
    timestamp: Timestamp,
    value: Value,
) -> Result<Option<Value>, Failure> {
    let mut kept = Value::Null;
    let made = keep(&mut kept, value)?;
    *slot = Some((timestamp, kept));
    Ok(made)
}

/// The state must be of the aggregation's own kind: it comes from `initialize`, or from an entry
/// stored under a name that contains the kind.
fn mismatch(state: &Accumulator) -> Failure {
    Failure::new(
        millstream_value::FailureKind::State,
        format!("a window's state has an unexpected form: {state:?}"),
    )
}

#[cfg(test)]
mod tests;
