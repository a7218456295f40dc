//! A producer that tells what became of each record, for programs that ask. The engine's counts
//! deliveries instead; see [`Producer`](crate::Producer).

use std::time::Duration;

use millstream_types::{HeadersView, Offset, Timestamp};

use crate::{Error, KafkaError, Partition, ProduceError};

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
    /// Its offset there, `None` where brokers tell none (`acks=0`); or why it was given up.
    pub result: Result<Option<Offset>, KafkaError>,
    /// Its timestamp, ms since the epoch: as it was sent, or the broker's where the topic has
    /// `message.timestamp.type=LogAppendTime`.
    pub timestamp: Timestamp,
    /// From `produce` to the acknowledgement; `None` for one that was given up.
    pub latency: Option<Duration>,
}

/// Writes records and reports each. Used from one thread at a time.
///
/// ```
/// use std::time::Duration;
/// use millstream_kafka::{ClientConfig, ClientFactory, Clients, Partition, ReportedRecord};
/// use millstream_types::HeadersView;
///
/// let settings = [("bootstrap.servers", "127.0.0.1:1"), ("millstream.client", "millstream")];
/// let mut producer = Clients.reporting_producer(&ClientConfig::new(settings.into()))?;
/// producer.produce(&ReportedRecord {
///     topic: "orders",
///     partition: Partition::ByKey,
///     key: Some(b"ann"),
///     value: Some(b"1"),
///     headers: HeadersView::default(),
///     timestamp: None,
///     token: 7,
/// })?;
/// assert_eq!(producer.in_flight(), 1);
/// producer.purge();
/// let mut reports = Vec::new();
/// while reports.is_empty() {
///     producer.poll(Duration::from_secs(1), &mut reports)?;
/// }
/// assert_eq!((reports[0].token, reports[0].result.is_err()), (7, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ReportingProducer: Send {
    /// Queues a copy of `record`.
    ///
    /// # Errors
    /// [`ProduceError::QueueFull`] as back-pressure: poll, and produce again. Reports that were not
    /// polled take room, too. [`ProduceError::Refused`] for a record that cannot be produced.
    /// Neither is reported again.
    fn produce(&mut self, record: &ReportedRecord<'_>) -> Result<(), ProduceError>;

    /// Appends what became of records to `reports`, waiting up to `wait` for the first. Returns the
    /// statistics that have come, as JSON in librdkafka's shape (`statistics.interval.ms`). Errors
    /// of the client as a whole, which it goes on after, are in the log.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the client has ended by itself and will report nothing any more.
    fn poll(
        &mut self,
        wait: Duration,
        reports: &mut Vec<DeliveryReport>,
    ) -> Result<Vec<String>, Error>;

    /// Sends what is queued without lingering. Waits for a millisecond at most.
    fn hurry(&mut self);

    /// Records whose report was not polled yet.
    fn in_flight(&self) -> usize;

    /// Gives up everything that is queued or on its way; each record is reported as failed.
    fn purge(&mut self);
}
