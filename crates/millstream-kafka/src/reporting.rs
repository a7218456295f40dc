//! What is said about single deliveries, for programs that ask what became of each record. The
//! engine's producer counts them instead; see [`Producer`](crate::Producer).

use std::time::Duration;

use millstream_types::{HeadersView, Offset, Timestamp};

use crate::{KafkaError, Partition};

/// A record to produce, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct ReportedRecord<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition.
    pub partition: Partition,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeadersView<'a>,
    /// Milliseconds since the epoch, 0 as it is; `None`: now.
    pub timestamp: Option<Timestamp>,
    /// Comes back with the report.
    pub token: u64,
}

/// What became of a record.
#[derive(Clone, Debug)]
pub struct DeliveryReport {
    /// The record's token.
    pub token: u64,
    /// The partition it went to; `None` if none had been chosen.
    pub partition: Option<i32>,
    /// Its offset there, or why it was given up.
    pub result: Result<Offset, KafkaError>,
    /// Its timestamp, ms, as it was sent.
    pub timestamp: Timestamp,
    /// From `produce` to the acknowledgement.
    pub latency: Option<Duration>,
}
