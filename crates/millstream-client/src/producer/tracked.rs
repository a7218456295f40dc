//! Deliveries told record by record, for programs that ask what became of each one.
//!
//! A batch remembers a few numbers of each such record. Records produced without a token cost
//! nothing here.

use std::time::Duration;

use millstream_types::{Offset, Timestamp};

use super::NO_OFFSET;
use crate::error::KafkaError;

/// What became of a record that was produced with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The record's token.
    pub token: u64,
    /// The partition it went to; `None` if none had been chosen.
    pub partition: Option<i32>,
    /// Its offset there, `None` where brokers tell none (`acks=0`); or why it was given up.
    pub result: Result<Option<Offset>, KafkaError>,
    /// Its timestamp, ms since the epoch: as it was sent, or the broker's where the topic has
    /// `message.timestamp.type=LogAppendTime`.
    pub timestamp: Timestamp,
    /// From `produce` to the acknowledgement; `None` for one that was given up.
    pub latency: Option<Duration>,
}

/// What is remembered of a record until its report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tracked {
    pub(super) token: u64,
    /// Its place in the batch.
    pub(super) at: u32,
    pub(super) timestamp: Timestamp,
    pub(super) produced: Duration,
}

/// A batch that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Offset of its last record, or [`NO_OFFSET`] where the broker did not say.
    pub(super) last: Offset,
    /// The time that the broker gave the records; -1: they keep theirs.
    pub(super) append_time: Timestamp,
    /// When the answer came.
    pub(super) at: Duration,
}

impl Tracked {
    /// The report of a record in a batch of `count` that was written.
    pub(super) fn delivered(self, partition: u32, count: u32, written: Written) -> DeliveryReport {
        let first = written.last - i64::from(count) + 1;
        let offset = (written.last > NO_OFFSET).then_some(first + i64::from(self.at));
        DeliveryReport {
            token: self.token,
            partition: Some(partition as i32),
            result: Ok(offset),
            timestamp: if written.append_time >= 0 { written.append_time } else { self.timestamp },
            latency: Some(written.at.saturating_sub(self.produced)),
        }
    }

    /// The report of a record that was given up.
    pub(super) fn failed(self, partition: Option<i32>, error: &KafkaError) -> DeliveryReport {
        DeliveryReport {
            token: self.token,
            partition,
            result: Err(error.clone()),
            timestamp: self.timestamp,
            latency: None,
        }
    }
}
