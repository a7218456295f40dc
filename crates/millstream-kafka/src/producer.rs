//! The producer: bytes in, failures out.
//!
//! A record is copied and queued by [`Producer::produce`]; a full queue is a return value. There is
//! no callback per record. What a checkpoint needs to know is told per **flush**: everything
//! produced before [`Producer::begin_flush`] is answered by one [`ProducerEvent::FlushDone`] with
//! the number of records that were not delivered, and by [`ProducerEvent::DeliveryFailed`] with
//! what went wrong where. [`Producer::last_delivered`] tells the offset of the last record that
//! a partition has acknowledged.

use std::sync::Arc;
use std::time::Duration;

// It is the same for every client (C-11).
pub use millstream_client::producer::Partition;

use millstream_types::{HeadersView, Offset, Timestamp};

use crate::{Error, KafkaError, OAuthToken, Wake};

/// A topic of one producer, by which records are produced without looking the name up. Belongs to
/// the producer that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicHandle(pub(crate) u32);

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
    /// This record cannot be produced: too large, no such partition, the producer has failed.
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

/// What [`Producer::poll`] reports.
#[derive(Clone, Debug)]
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
    /// An error of the client as a whole. If `fatal`, the instance is of no more use.
    Error(KafkaError),
    /// No broker is reachable (parity rows C-13, E-12). Reported once until `BrokersUp`.
    BrokersDown(KafkaError),
    /// A record was delivered, or [`Producer::probe`] was answered, after `BrokersDown`.
    BrokersUp,
    /// The client needs an OAuth token; answer with [`Producer::set_oauth_token`].
    OAuthTokenNeeded {
        /// The value of `sasl.oauthbearer.config`.
        config: String,
    },
    /// Statistics as JSON, in librdkafka's shape, if `statistics.interval.ms` is set.
    Statistics(String),
}

/// Writes records. Used from one thread.
pub trait Producer: Send {
    /// The handle of a topic, the same for the same name. Does not ask the brokers.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a name that cannot be.
    fn topic(&mut self, name: &str) -> Result<TopicHandle, Error>;

    /// Queues a copy of `record`.
    ///
    /// # Errors
    /// [`ProduceError::QueueFull`] as back-pressure; [`ProduceError::Refused`] for a record that
    /// cannot be produced.
    ///
    /// # Panics
    /// If the topic's handle is of another producer.
    fn produce(&mut self, record: &ProduceRecord<'_>) -> Result<(), ProduceError>;

    /// Appends what happened to `events`. Never waits.
    fn poll(&mut self, events: &mut Vec<ProducerEvent>);

    /// Who is woken when [`poll`](Self::poll) has something to report: usually the waker of the
    /// consumer that the same thread waits on.
    fn set_waker(&mut self, waker: Arc<dyn Wake>);

    /// Asks that everything produced so far be sent without lingering, and to be told by
    /// `FlushDone` when all of it is delivered or given up. Producing may go on.
    fn begin_flush(&mut self) -> FlushId;

    /// Records that are neither delivered nor given up yet.
    fn in_flight(&self) -> u64;

    /// The highest offset that `partition` of `topic` has acknowledged to this producer.
    fn last_delivered(&self, topic: TopicHandle, partition: i32) -> Option<Offset>;

    /// Gives up everything that is queued or on its way; each record is reported as failed.
    fn purge(&mut self);

    /// Asks any broker for a sign of life; `BrokersUp` follows if one answers and `BrokersDown` was
    /// reported. Does not wait.
    fn probe(&mut self);

    /// Answers `OAuthTokenNeeded`; an error text makes the client ask again later.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the client refuses the token.
    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error>;

    /// Waits up to `timeout` until nothing is in flight and returns what still is (parity row
    /// M-20). For tools; a worker uses [`begin_flush`](Self::begin_flush). Events that turn up
    /// meanwhile are appended to `events`.
    fn flush(&mut self, timeout: Duration, events: &mut Vec<ProducerEvent>) -> u64;
}
