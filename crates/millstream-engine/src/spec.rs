//! What a [`crate::TopologyBuilder`] is told.

use std::fmt;
use std::sync::Arc;

use millstream_value::{Deserializer, Expr, Function, Serializer, Value};

use crate::topics::TopicConfig;
use crate::{Aggregation, LateCallback, TimestampExtractor, TopicChooser, WindowTrigger};

/// A topic that is read.
#[derive(Clone)]
pub struct SourceSpec {
    /// Its name.
    pub topic: String,
    /// Its size and settings, as the broker has them (T-10).
    pub config: TopicConfig,
    /// Reads keys. Not asked for null keys.
    pub key_deserializer: Arc<dyn Deserializer>,
    /// Reads values. Not asked for tombstones: their value is [`Value::Null`] (T-05).
    pub value_deserializer: Arc<dyn Deserializer>,
    /// Gives records their timestamp (T-07); default: Kafka's.
    pub timestamp_extractor: Option<Arc<dyn TimestampExtractor>>,
}

/// A topic that is written.
#[derive(Clone)]
pub struct SinkTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Writes keys. Not asked for null keys (T-06).
    pub key_serializer: Arc<dyn Serializer>,
    /// Writes values, null ones too (T-06).
    pub value_serializer: Arc<dyn Serializer>,
}

impl fmt::Debug for SinkTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SinkTopic").field(&self.name).finish()
    }
}

/// Which topic a record goes to.
#[derive(Clone)]
pub enum SinkTarget {
    /// Always this one.
    Topic(Arc<SinkTopic>),
    /// The one that a function chooses per record.
    Chosen(Arc<dyn TopicChooser>),
}

/// An output (D-50).
#[derive(Clone)]
pub struct SinkSpec {
    /// Where to.
    pub target: SinkTarget,
    /// Gives the key from the value; default: the record's own key. `None` gives a null key.
    pub key: Option<Arc<dyn Function>>,
}

/// A user function and whether it takes `State` (D-23).
#[derive(Clone)]
pub struct FunctionSpec {
    /// The function.
    pub function: Arc<dyn Function>,
    /// Whether it is given the state of the record's key.
    pub stateful: bool,
}

impl FunctionSpec {
    /// A function without state.
    pub fn new(function: Arc<dyn Function>) -> Self {
        Self { function, stateful: false }
    }

    /// A function with state.
    pub fn stateful(function: Arc<dyn Function>) -> Self {
        Self { function, stateful: true }
    }
}

/// Where a re-keyed record's key comes from (D-40).
#[derive(Clone)]
pub enum GroupByKey {
    /// A column; `KeyError` where a record lacks it.
    Column(String),
    /// A function of the value.
    Function(Arc<dyn Function>),
}

/// A group-by (D-40 to D-44).
#[derive(Clone)]
pub struct GroupBySpec {
    /// Name of the operation: the column, unless given.
    pub operation: String,
    /// The new key.
    pub key: GroupByKey,
    /// How keys cross the repartition topic.
    pub key_serializer: Arc<dyn Serializer>,
    /// How keys come back.
    pub key_deserializer: Arc<dyn Deserializer>,
    /// How values cross the repartition topic.
    pub value_serializer: Arc<dyn Serializer>,
    /// How values come back.
    pub value_deserializer: Arc<dyn Deserializer>,
}

/// The right side of an assignment (D-34).
pub enum AssignSource {
    /// An expression.
    Expr(Expr),
    /// A constant; objects of a host language are shared, not copied.
    Constant(Value),
}

/// How windows lie in time or count (W-01 to W-07). All lengths in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the rows")]
pub enum WindowDefinition {
    /// `[k·d, (k+1)·d)` (W-01).
    Tumbling { duration_ms: i64, grace_ms: i64 },
    /// `[k·step, k·step + d)` (W-02).
    Hopping { duration_ms: i64, step_ms: i64, grace_ms: i64 },
    /// Placed by the records (W-03).
    Sliding { duration_ms: i64, grace_ms: i64 },
    /// Delimited by silence (W-04).
    Session { inactivity_gap_ms: i64, grace_ms: i64 },
    /// Every `count` records (W-05).
    TumblingCount { count: i64 },
    /// A window every `step` records (W-06).
    HoppingCount { count: i64, step: i64 },
    /// Hopping by one (W-07).
    SlidingCount { count: i64 },
}

/// When results come out (W-37, W-38).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emission {
    /// After each update.
    Current,
    /// Once, when the window closes.
    Final,
}

/// Whose time closes a window (W-46, W-50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosingStrategy {
    /// That of its key.
    Key,
    /// That of the partition.
    Partition,
}

/// What a window computes.
#[derive(Clone)]
pub enum Aggregations {
    /// One function; the result field is `value`, and the store is named after the function
    /// (W-09, W-20).
    Shortcut(Aggregation),
    /// `.agg(...)`: a field each (W-23).
    Columns(Vec<(String, Aggregation)>),
}

/// A window (W-01, W-23, W-37, W-38).
#[derive(Clone)]
pub struct WindowSpec {
    /// How windows lie.
    pub definition: WindowDefinition,
    /// Put in front of the store's name (W-09).
    pub name: Option<String>,
    /// What is computed.
    pub aggregations: Aggregations,
    /// When results come out.
    pub emission: Emission,
    /// Whose time closes.
    pub closing: ClosingStrategy,
    /// Asked about late records (W-53).
    pub on_late: Option<Arc<dyn LateCallback>>,
    /// May close a window before a value goes in (W-54).
    pub before_update: Option<Arc<dyn WindowTrigger>>,
    /// May close a window after a value went in (W-55).
    pub after_update: Option<Arc<dyn WindowTrigger>>,
}

impl WindowSpec {
    /// `.tumbling_window(duration_ms, grace_ms).agg(...).final()`.
    pub fn tumbling(duration_ms: i64, grace_ms: i64, aggregations: Aggregations) -> Self {
        Self {
            definition: WindowDefinition::Tumbling { duration_ms, grace_ms },
            name: None,
            aggregations,
            emission: Emission::Final,
            closing: ClosingStrategy::Key,
            on_late: None,
            before_update: None,
            after_update: None,
        }
    }
}
