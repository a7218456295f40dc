//! What a window computes for each of its records, and the value it gives (W-23 to W-35).

use std::sync::Arc;

use millstream_types::Timestamp;
use millstream_value::{Failure, Host, Map, Text, Value, access};

use super::aggregations::{Accumulator, Aggregate, Aggregation, Collector, build};
use super::encoding::to_stored;
use super::store::{WindowEntry, WindowFamilies};
use crate::TopologyError;
use crate::spec::{Aggregations, Emission};

/// The aggregations of a window.
pub(crate) struct Columns {
    /// The result is `{"start", "end", "value"}` (W-35).
    shortcut: bool,
    aggregates: Vec<AggregateColumn>,
    /// `<result column>/<suffix>` of each: under that its state is stored (W-31).
    names: Vec<String>,
    /// The columns that aggregates read, each once.
    inputs: Vec<String>,
    collectors: Vec<CollectorColumn>,
    collected: Collected,
    start: Text,
    end: Text,
}

struct AggregateColumn {
    result: Text,
    /// Index in `inputs`; `None`: the whole value.
    input: Option<usize>,
    aggregate: Box<dyn Aggregate>,
}

struct CollectorColumn {
    result: Text,
    column: Option<String>,
    custom: Option<Arc<dyn Collector>>,
}

/// Buffers of an update, kept so that it allocates nothing.
#[derive(Default)]
pub(crate) struct UpdateScratch {
    /// Objects that stand in the place of states until they went through the store, by the number of
    /// their aggregate.
    pub(crate) fresh: Vec<(usize, Value)>,
    /// What was read of the record's value.
    inputs: Vec<Value>,
}

/// What is kept of each value for the collectors (W-28).
enum Collected {
    Nothing,
    Whole,
    /// Only these columns: the union over all collectors.
    Columns(Vec<Text>),
}

impl Columns {
    pub(crate) fn new(
        aggregations: &Aggregations,
        emission: Emission,
    ) -> Result<Self, TopologyError> {
        let (shortcut, list) = match aggregations {
            Aggregations::Shortcut(one) => (true, vec![("value".to_owned(), one.clone())]),
            Aggregations::Columns(list) => (false, list.clone()),
        };
        if list.is_empty() {
            return Err(TopologyError::Value(
                "a window needs at least one aggregation: agg(total=Sum(\"price\"))".to_owned(),
            ));
        }
        let mut this = Self {
            shortcut,
            aggregates: Vec::new(),
            names: Vec::new(),
            inputs: Vec::new(),
            collectors: Vec::new(),
            collected: Collected::Nothing,
            start: Text::from("start"),
            end: Text::from("end"),
        };
        for (result, aggregation) in &list {
            if !shortcut && matches!(&**result, "start" | "end") {
                return Err(TopologyError::Value(format!(
                    "the result column \"{result}\" is taken by the window's bounds; choose \
                     another name"
                )));
            }
            if list.iter().filter(|(other, _)| other == result).count() > 1 {
                return Err(TopologyError::Value(format!(
                    "the result column \"{result}\" comes twice"
                )));
            }
            this.add(result, aggregation, emission)?;
        }
        Ok(this)
    }

    fn add(
        &mut self,
        result: &str,
        aggregation: &Aggregation,
        emission: Emission,
    ) -> Result<(), TopologyError> {
        let result_name = Text::from(result);
        if !aggregation.is_collector() {
            let (aggregate, input) = build(aggregation);
            let kind = aggregate.kind();
            // A custom aggregator's suffix already says which column it reads.
            let suffix = match (&input, aggregation) {
                (Some(column), other) if !matches!(other, Aggregation::Custom(_)) => {
                    format!("{kind}/{column}")
                }
                _ => kind,
            };
            self.names.push(format!("{result}/{suffix}"));
            let input = input.map(|column| {
                self.inputs.iter().position(|known| *known == column).unwrap_or_else(|| {
                    self.inputs.push(column);
                    self.inputs.len() - 1
                })
            });
            self.aggregates.push(AggregateColumn { result: result_name, input, aggregate });
            return Ok(());
        }
        if emission == Emission::Current {
            return Err(TopologyError::InvalidOperation(
                "collected values come out with final() only; use reduce() to see a list grow"
                    .to_owned(),
            ));
        }
        let (column, custom) = match aggregation {
            Aggregation::Collect(column) => (column.clone(), None),
            Aggregation::CustomCollector(custom) => {
                (custom.column().map(str::to_owned), Some(Arc::clone(custom)))
            }
            _ => unreachable!("asked above"),
        };
        match (&column, &mut self.collected) {
            (None, collected) => *collected = Collected::Whole,
            (Some(_), Collected::Whole) => {}
            (Some(column), Collected::Columns(columns)) => {
                if !columns.iter().any(|known| **known == **column) {
                    columns.push(Text::from(&**column));
                }
            }
            (Some(column), collected) => {
                *collected = Collected::Columns(vec![Text::from(&**column)]);
            }
        }
        self.collectors.push(CollectorColumn { result: result_name, column, custom });
        Ok(())
    }

    pub(crate) fn needs_host(&self) -> bool {
        self.aggregates.iter().any(|column| column.aggregate.needs_host())
            || self
                .collectors
                .iter()
                .any(|column| column.custom.as_ref().is_some_and(|custom| custom.needs_host()))
    }

    pub(crate) fn has_collectors(&self) -> bool {
        !self.collectors.is_empty()
    }

    /// Its columns as a user would write them, for plans.
    pub(crate) fn describe(&self) -> String {
        let collectors = self.collectors.iter().map(|collector| match &collector.column {
            Some(column) => format!("{}/Collect/{column}", &*collector.result),
            None => format!("{}/Collect", &*collector.result),
        });
        self.names.iter().cloned().chain(collectors).collect::<Vec<_>>().join(", ")
    }

    /// A window without values.
    pub(crate) fn empty(&self, families: &mut WindowFamilies) -> Result<WindowEntry, Failure> {
        let accumulators = self
            .aggregates
            .iter()
            .map(|column| column.aggregate.initialize())
            .collect::<Result<_, _>>()?;
        Ok(WindowEntry::new(families.list_number(&self.names), accumulators))
    }

    /// Number of the list that this window's own entries have.
    pub(crate) fn list_number(&self, families: &mut WindowFamilies) -> u32 {
        families.list_number(&self.names)
    }

    /// The entry in this window's own columns, whatever program wrote it: new ones start fresh,
    /// removed and renamed ones are dropped (W-31).
    pub(crate) fn adapt(
        &self,
        entry: WindowEntry,
        families: &mut WindowFamilies,
    ) -> Result<WindowEntry, Failure> {
        let mut adapted = self.empty(families)?;
        if entry.columns == adapted.columns {
            return Ok(entry);
        }
        let Some(stored) = families.list(entry.columns) else { return Ok(adapted) };
        for (name, accumulator) in stored.iter().zip(entry.accumulators) {
            if let Some(at) = self.names.iter().position(|own| own == name) {
                adapted.accumulators[at] = accumulator;
            }
        }
        Ok(adapted)
    }

    /// Takes a value into every aggregation, or into none: where one of several fails, those
    /// before it go back to what they were. `scratch.fresh` is set to the results that user code
    /// made and that are not what the store gives back (W-32).
    pub(crate) fn update(
        &self,
        entry: &mut WindowEntry,
        value: &Value,
        timestamp: Timestamp,
        host: &dyn Host,
        scratch: &mut UpdateScratch,
    ) -> Result<(), Failure> {
        let UpdateScratch { fresh, inputs } = scratch;
        fresh.clear();
        inputs.clear();
        for column in &self.inputs {
            inputs.push(access::get(value, column)?);
        }
        if let [only] = &self.aggregates[..] {
            let input = only.input(value, inputs);
            let made = only.aggregate.update(&mut entry.accumulators[0], input, timestamp, host)?;
            fresh.extend(made.map(|made| (0, made)));
            return Ok(());
        }
        for (at, column) in self.aggregates.iter().enumerate() {
            // Copies of numbers and shared text: what an accumulator usually is.
            let before = entry.accumulators[at].share();
            let input = column.input(value, inputs);
            let accumulator = &mut entry.accumulators[at];
            match column.aggregate.update(accumulator, input, timestamp, host) {
                Ok(made) => {
                    entry.undo.push(before);
                    fresh.extend(made.map(|made| (at, made)));
                }
                Err(failure) => {
                    entry.accumulators.splice(..at, entry.undo.drain(..));
                    return Err(failure);
                }
            }
        }
        entry.undo.clear();
        Ok(())
    }

    /// What the collectors keep of a value (W-28): `None` without collectors.
    pub(crate) fn to_collect(
        &self,
        value: &Value,
        host: &dyn Host,
    ) -> Result<Option<Value>, Failure> {
        Ok(match &self.collected {
            Collected::Nothing => None,
            Collected::Whole => Some(to_stored(value.share())?),
            Collected::Columns(columns) => Some(to_stored(access::project(value, columns, host)?)?),
        })
    }

    /// The result of a window (W-35).
    pub(crate) fn result(
        &self,
        entry: &WindowEntry,
        fresh: &mut Vec<(usize, Value)>,
        collected: &[Value],
        (start, end): (Timestamp, Timestamp),
        host: &dyn Host,
    ) -> Result<Value, Failure> {
        let mut map = Map::with_capacity(self.aggregates.len() + self.collectors.len() + 2);
        if self.shortcut {
            map.insert(self.start.clone(), Value::Int(start));
            map.insert(self.end.clone(), Value::Int(end));
        }
        for (at, (column, accumulator)) in
            self.aggregates.iter().zip(&entry.accumulators).enumerate()
        {
            let value = match fresh.iter().position(|(made, _)| *made == at) {
                Some(made) => column.aggregate.result_of(fresh.swap_remove(made).1)?,
                None => column.aggregate.result(accumulator, host)?,
            };
            map.insert(column.result.clone(), value);
        }
        for collector in &self.collectors {
            map.insert(collector.result.clone(), collector.result(collected, host)?);
        }
        if !self.shortcut {
            map.insert(self.start.clone(), Value::Int(start));
            map.insert(self.end.clone(), Value::Int(end));
        }
        Ok(Value::Map(map))
    }

    /// What a trigger is shown (W-56); `fresh` as [`Columns::update`] left it.
    pub(crate) fn aggregated(
        &self,
        entry: &WindowEntry,
        fresh: &[(usize, Value)],
        collected: &[Value],
        host: &dyn Host,
    ) -> Result<Value, Failure> {
        if self.aggregates.is_empty() {
            let collector = &self.collectors[0];
            return collector.items(collected, host).map(Value::List);
        }
        let raw = |(at, accumulator): (usize, &Accumulator)| match fresh
            .iter()
            .find(|(made, _)| *made == at)
        {
            Some((_, made)) => accumulator.raw_of(made),
            None => accumulator.raw(),
        };
        if self.shortcut {
            return Ok(raw((0, &entry.accumulators[0])));
        }
        let raw = entry.accumulators.iter().enumerate().map(raw);
        Ok(Value::Map(self.names.iter().map(|name| Text::from(&**name)).zip(raw).collect()))
    }
}

impl AggregateColumn {
    fn input(&self, value: &Value, inputs: &[Value]) -> Value {
        match self.input {
            Some(at) => inputs[at].share(),
            // A native map would be copied for the sake of being counted.
            None if !self.aggregate.wants_value() => {
                if value.is_null() {
                    Value::Null
                } else {
                    Value::Bool(true)
                }
            }
            None => match value {
                Value::Json(text) => text.get().to_value(),
                other => other.share(),
            },
        }
    }
}

impl CollectorColumn {
    fn items(&self, collected: &[Value], host: &dyn Host) -> Result<Vec<Value>, Failure> {
        match &self.column {
            None => Ok(collected.iter().map(Value::share).collect()),
            // A missing column raises here at the latest (W-28, W-31).
            Some(column) => collected.iter().map(|v| access::require(v, column, host)).collect(),
        }
    }

    fn result(&self, collected: &[Value], host: &dyn Host) -> Result<Value, Failure> {
        let items = self.items(collected, host)?;
        match &self.custom {
            Some(custom) => custom.result(items),
            None => Ok(Value::List(items)),
        }
    }
}
