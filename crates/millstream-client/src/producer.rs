//! The producer: bytes in, failures out.
//!
//! A record is copied straight into the open batch of its partition by [`Producer::produce`]; a
//! full queue is a return value. There is no callback per record. What a checkpoint needs to know
//! is told per **flush**: everything produced before [`Producer::begin_flush`] is answered by one
//! [`ProducerEvent::FlushDone`] with the number of records that were not delivered, and by
//! [`ProducerEvent::DeliveryFailed`] with what went wrong where. Who asks after each record gives it
//! a token ([`Producer::produce_reported`]).
//!
//! ```text
//!  Producer ── append ──► Queue (a lock of its own) ── batches ──► ProducerCore ──► brokers
//!           ◄── events ──                           ◄── reports ──  lanes, ids, transaction
//! ```
//!
//! The front end never takes the machine's lock: while the driver packs batches and computes
//! checksums under that, records are appended under the queue's, which both sides hold for
//! fractions of a microsecond.

mod answers;
mod batch;
mod codes;

mod front;
mod ids;
mod lane;
mod machine;
mod partitioner;
mod queue;
mod reports;
mod sending;
mod statistics;
#[cfg(test)]
mod tests;
mod tracked;
mod transaction;
mod waiting;

use std::fmt;
use std::sync::Arc;

use millstream_types::{HeadersView, Offset, Timestamp};

use crate::error::{KafkaError, Remedy};
use crate::settings::Secret;

pub use front::Producer;
pub(crate) use machine::ProducerTag;
pub use partitioner::murmur2;
pub use tracked::DeliveryReport;
pub use transaction::{GroupMetadata, TransactionOffset};

/// A topic of one producer, by which records are produced without looking the name up. Belongs to
/// the producer that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicHandle(pub(crate) u32);

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// This one.
    At(i32),
    /// As the setting `partitioner` says: by the key's hash; without a key one that sticks for a
    /// batch or for `sticky.partitioning.linger.ms` (KIP-480, KIP-794).
    ByKey,
}

impl Partition {
    /// The one that was named.
    pub fn named(self) -> Option<i32> {
        match self {
            Partition::At(partition) => Some(partition),
            Partition::ByKey => None,
        }
    }
}

/// A record to produce, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRecord<'a> {
    /// The topic.
    pub topic: TopicHandle,
    /// The partition.
    pub partition: Partition,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: HeadersView<'a>,
    /// Milliseconds since the epoch, 0 and negative ones as they are; `None`: now.
    pub timestamp: Option<Timestamp>,
}

/// Why [`Producer::produce`] did not take a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The queue is full: poll, wait for room, produce again. Nothing is wrong.
    #[error("the producer's queue is full")]
    QueueFull,
    /// This record cannot be produced: too large, no such partition, the producer has failed, no
    /// transaction was begun.
    #[error("cannot produce to {topic}{}: {error}", .partition.map_or(String::new(), |p| format!("[{p}]")))]
    Refused {
        /// The topic.
        topic: Arc<str>,
        /// The partition, if one was named.
        partition: Option<i32>,
        /// Why.
        error: KafkaError,
    },
}

/// Names a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlushId(pub u64);

/// Names a request about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionRequest(pub u64);

/// Records of one partition that were not delivered, for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} record(s) not delivered to {topic}{}: {error}", .partition.map_or(String::new(), |p| format!("[{p}]")))]
pub struct DeliveryFailure {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; `None` if none had been chosen yet.
    pub partition: Option<i32>,
    /// How many records.
    pub count: u64,
    /// What the first of them failed of.
    pub error: KafkaError,
}

/// Why a request about a transaction has failed, and what is left to do (KIP-1050).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionError {
    /// What happened.
    pub error: KafkaError,
    /// [`Remedy::Abort`]: abort the transaction, then go on. [`Remedy::Fatal`]: the producer is
    /// of no more use.
    pub remedy: Remedy,
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let todo = match self.remedy {
            Remedy::Fatal => "close this producer",
            _ => "abort the transaction",
        };
        write!(f, "{}; {todo}", self.error)
    }
}

impl std::error::Error for TransactionError {}

/// What [`Producer::poll`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProducerEvent {
    /// Records were given up.
    DeliveryFailed(DeliveryFailure),
    /// Answers [`Producer::begin_flush`]: everything produced before it is delivered or given up.
    FlushDone {
        /// The flush.
        id: FlushId,
        /// Records since the flush before this one that were not delivered. Their
        /// `DeliveryFailed` come before this event.
        failed: u64,
    },
    /// An error of the client as a whole that it goes on after.
    Error(KafkaError),
    /// The producer is of no more use: fenced, or not allowed to be here. Told once.
    Fatal(KafkaError),
    /// No broker is reachable. Reported once until `BrokersUp`.
    BrokersDown(KafkaError),
    /// A broker has answered after `BrokersDown`.
    BrokersUp,
    /// The client needs an OAuth token.
    OAuthTokenNeeded {
        /// The value of `sasl.oauthbearer.config`.
        config: Secret,
    },
    /// Statistics as JSON, in librdkafka's shape (`statistics.interval.ms`). One that was not
    /// fetched gives way to the next.
    Statistics(String),
    /// Answers a request about a transaction.
    TransactionDone {
        /// The request.
        request: TransactionRequest,
        /// What came of it.
        result: Result<(), TransactionError>,
    },
}

/// Offset of a partition that has acknowledged nothing yet.
const NO_OFFSET: Offset = -1;
