//! Where a task's records go.

use std::sync::Arc;

use millstream_types::{HeadersView, Timestamp};
use millstream_value::{Headers, RecordContext, Value};

use crate::SinkTopicId;

/// A serialized record for the producer. Everything is borrowed: the producer copies what it
/// keeps.
#[derive(Clone, Copy, Debug)]
pub struct OutputRecord<'a> {
    /// The topic's name.
    pub topic: &'a Arc<str>,
    /// The topic's number among [`crate::Topology::sink_topics`], to find its handle without
    /// hashing; `None` for a topic that a function chose while running (parity row D-50).
    pub sink: Option<SinkTopicId>,
    /// The partition, where the engine wants a certain one (markers behind a group-by); else the
    /// producer chooses by the key (C-11).
    pub partition: Option<i32>,
    /// The key's bytes; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Event time in ms. 0 is a timestamp like any other.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: HeadersView<'a>,
}

/// Why the producer did not take a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceFailure {
    /// What the client says, as a sentence.
    pub message: String,
    /// Whether its queue is full, which time would cure. The engine does not wait: an output that
    /// can does so itself and does not return this.
    pub queue_full: bool,
}

/// The outer side of a task.
pub trait Output {
    /// Takes a record for a topic.
    ///
    /// # Errors
    /// If the client refuses it. The engine then asks [`crate::Hooks::on_producer_error`].
    fn produce(&mut self, record: OutputRecord<'_>) -> Result<(), ProduceFailure>;

    /// Whether [`Output::leaf`] is to be called. Counting needs no call: see
    /// [`crate::Ran::outputs`].
    fn wants_leaves(&self) -> bool {
        false
    }

    /// A record reached the end of a leaf branch (parity rows, D-60). What it takes
    /// of value and key it may replace: nobody reads them afterwards.
    fn leaf(&mut self, leaf: Leaf<'_>) {
        let _ = leaf;
    }
}

/// A record at the end of a branch.
#[derive(Debug)]
pub struct Leaf<'a> {
    /// Its value.
    pub value: &'a mut Value,
    /// Its key.
    pub key: &'a mut Value,
    /// Its timestamp, ms.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: &'a Headers,
    /// Where the input record came from.
    pub context: &'a RecordContext,
}
