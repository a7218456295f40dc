//! User functions with a shape of their own, beside [`millstream_value::Function`]. A host
//! language implements them; closures do for Rust.

use std::sync::Arc;

use millstream_types::{Offset, Timestamp, TimestampType};
use millstream_value::{Call, Failure, Headers, Value};

use crate::SinkTopic;

/// Gives a record its timestamp (parity row T-07).
pub trait TimestampExtractor: Send + Sync {
    /// The record's event time in ms. With a splitting deserializer it is called per item, each
    /// time with the message's own timestamp.
    ///
    /// # Errors
    /// Handled as an error of deserialization (E-01).
    fn extract(
        &self,
        value: &mut Value,
        headers: &Headers,
        timestamp: Timestamp,
        timestamp_type: TimestampType,
    ) -> Result<Timestamp, Failure>;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// Replaces the headers of a record (parity row D-52).
pub trait HeadersFunction: Send + Sync {
    /// Its name, for errors and plans.
    fn name(&self) -> &str;

    /// The new headers.
    ///
    /// # Errors
    /// What the user's code raised, as itself.
    fn headers(&self, call: &mut Call<'_>) -> Result<Headers, Failure>;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// Chooses the topic of an output record (parity row D-50).
pub trait TopicChooser: Send + Sync {
    /// Its name, for errors and plans.
    fn name(&self) -> &str;

    /// The topic for this record.
    ///
    /// # Errors
    /// What the user's code raised, as itself.
    fn choose(&self, call: &mut Call<'_>) -> Result<Arc<SinkTopic>, Failure>;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// `before_update` and `after_update` of a window (parity rows W-54, W-55).
pub trait WindowTrigger: Send + Sync {
    /// Whether the window is to be emitted and deleted. `aggregated` is as row W-56 has it.
    ///
    /// # Errors
    /// What the user's code raised, as itself.
    fn fires(&self, aggregated: Value, call: &mut Call<'_>) -> Result<bool, Failure>;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// `on_late` of a window (parity row W-53).
pub trait LateCallback: Send + Sync {
    /// Called for each window that the record came too late for, ascending. True: the standard
    /// warning is logged as well.
    ///
    /// # Errors
    /// What the user's code raised, as itself.
    fn late(&self, value: &mut Value, key: &mut Value, late: &Late<'_>) -> Result<bool, Failure>;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// What is known of a record that came too late for a window.
#[derive(Clone, Copy, Debug)]
pub struct Late<'a> {
    /// The record's timestamp, ms.
    pub timestamp: Timestamp,
    /// How far it lies behind stream time minus grace, ms.
    pub late_by_ms: i64,
    /// Start of the closed window, ms.
    pub start: Timestamp,
    /// End of the closed window, ms.
    pub end: Timestamp,
    /// The window's store.
    pub store_name: &'a str,
    /// Topic the record was read from.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
}
