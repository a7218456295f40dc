//! Plain data that two or more Millstream crates share: records and batches of them, names of
//! topics and partitions, timestamps, and the [`Clock`] that everything below the outermost
//! layer is handed instead of reading the time itself.
//!
//! This crate holds data, no behaviour: nothing here decides, stores or talks to anyone.

mod batch;
mod clock;
mod topic;

pub use batch::{
    BatchBuilder, Header, HeadersIter, HeadersView, RecordBatch, RecordEntry, RecordRanges,
    RecordView, TimestampType, encode_header,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub use topic::TopicPartition;

/// Position of a record in its partition.
pub type Offset = i64;

/// Milliseconds since the Unix epoch; event time where not said otherwise. May be negative.
pub type Timestamp = i64;
