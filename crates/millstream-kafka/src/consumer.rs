//! The consumer: what it reports and what it is told.
//!
//! One rebalance is one conversation. `Assigned` waits for [`Consumer::ack_assigned`]; `Revoked`
//! and `Lost` wait for [`Consumer::ack_revoked`]. In between polling goes on as ever, so that
//! commits are answered and the group membership lives, but no record of a revoked partition is
//! handed out any more.
//!
//! ```text
//!  subscribe ─► Assigned ─► ack_assigned ─► Records, PartitionEnd … ─► Revoked │ Lost
//!                  ▲                                                      │
//!                  └───────────────── ack_revoked ◄── commit, CommitDone ◄┘   (Lost: nothing to commit)
//! ```

use std::sync::Arc;
use std::time::Duration;

// They are the same for every client.
pub use millstream_client::consumer::{PartitionStart, StartOffset, Watermarks};

use millstream_types::{Offset, RecordBatch, Timestamp, TopicPartition};

use crate::{ClientConfig, Error, KafkaError, OAuthToken, Wake};

/// What a consumer is made from.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Settings and token source; see [`crate::consumer_properties`].
    pub client: ClientConfig,
    /// Most records that one poll takes over. Default 1024: enough to spread the cost of a poll,
    /// few enough that what is copied is still in the processor's cache when it is processed.
    pub poll_records_max: usize,
    /// About how many bytes one poll takes over (it takes fewer records next time). Default 1 MiB.
    pub poll_bytes_max: usize,
    /// Most bytes of one [`RecordBatch`], unless a single record is larger. Default 1 MiB.
    pub batch_bytes_max: usize,
}

impl ConsumerConfig {
    /// These settings with the default bounds.
    pub fn new(client: ClientConfig) -> Self {
        Self { client, poll_records_max: 1024, poll_bytes_max: 1 << 20, batch_bytes_max: 1 << 20 }
    }
}

/// Names a request, so that its answer can be told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What [`Consumer::poll`] reports, in the order in which it happened. Events of one partition are
/// in the partition's order: `PartitionEnd` follows the records before it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// The group gave us these partitions (with the cooperative protocol: in addition). Answer with
    /// [`Consumer::ack_assigned`]. May be empty.
    Assigned(Vec<TopicPartition>),
    /// The group asks these partitions back. We still own them: commit, then answer with
    /// [`Consumer::ack_revoked`]. May be empty.
    Revoked(Vec<TopicPartition>),
    /// These partitions are someone else's already: discard what is not committed, then answer with
    /// [`Consumer::ack_revoked`].
    Lost(Vec<TopicPartition>),
    /// Records of one partition, never empty.
    Records(RecordBatch),
    /// Everything up to this offset (exclusive) was handed out and there is no more for now.
    PartitionEnd(TopicPartition, Offset),
    /// Reading this partition failed; reading may go on by itself if the error is retriable.
    PartitionError(TopicPartition, KafkaError),
    /// Answers [`Consumer::commit`].
    CommitDone {
        /// The request.
        id: RequestId,
        /// Per partition the offset and whether it is committed. Where the whole request failed,
        /// each partition carries that error.
        partitions: Vec<(TopicPartition, Offset, Result<(), KafkaError>)>,
    },
    /// An error of the client as a whole. If `fatal`, the instance is of no more use.
    Error(KafkaError),
    /// No broker is reachable (parity rows C-13, E-12). Reported once until `BrokersUp`.
    BrokersDown(KafkaError),
    /// Something arrived, or [`Consumer::probe`] was answered, after `BrokersDown`.
    BrokersUp,
    /// The client needs an OAuth token; answer with [`Consumer::set_oauth_token`]. Only without a
    /// [`crate::TokenSource`].
    OAuthTokenNeeded {
        /// The value of `sasl.oauthbearer.config`.
        config: String,
    },
    /// Statistics as JSON, in librdkafka's shape, if `statistics.interval.ms` is set.
    Statistics(String),
    /// [`Consumer::begin_close`] is done: the group has been left.
    Closed,
}

/// Reads partitions, alone or as a member of a group. Used from one thread.
pub trait Consumer: Send {
    /// Joins the group for these topics; a name that starts with `^` is a regular expression.
    /// Replaces an earlier subscription.
    ///
    /// # Errors
    /// [`Error::Kafka`] at once for names that cannot be; a missing topic is reported by `Error`
    /// events and waited for.
    fn subscribe(&mut self, topics: &[String]) -> Result<(), Error>;

    /// Gives the subscription up; a `Revoked` event follows.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the client is closed or failed for good.
    fn unsubscribe(&mut self) -> Result<(), Error>;

    /// Appends what happened to `events`. If nothing has, waits up to `wait` for something, and may
    /// return earlier with nothing to report. Never calls back. Must be called at least every
    /// `max.poll.interval.ms`, or the group takes the partitions away.
    fn poll(&mut self, wait: Duration, events: &mut Vec<ConsumerEvent>);

    /// While held, [`poll`](Self::poll) reports everything but records and ends of partitions:
    /// they stay with the client, whose own bounds stop its fetching. The caller's back-pressure,
    /// without the refetching that a pause costs, and without stopping the polling.
    fn hold_records(&mut self, hold: bool);

    /// Interrupts [`poll`](Self::poll) from other threads.
    fn waker(&self) -> Arc<dyn Wake>;

    /// Answers `Assigned`: reading starts, each partition where `starts` says, paused if it says
    /// so. A partition of the event that `starts` leaves out begins at its committed offset.
    ///
    /// # Errors
    /// [`Error::Misuse`] without an open `Assigned`; [`Error::Kafka`] if the client refuses.
    fn ack_assigned(&mut self, starts: &[PartitionStart]) -> Result<(), Error>;

    /// Answers `Revoked` or `Lost`: the partitions are let go.
    ///
    /// # Errors
    /// [`Error::Misuse`] without an open event; [`Error::Kafka`] if the client refuses.
    fn ack_revoked(&mut self) -> Result<(), Error>;

    /// Reads exactly these partitions, outside any group's rebalancing; an empty list ends it. With
    /// a consumer that has no `group.id`, [`StartOffset::Committed`] is not possible.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the client refuses, [`Error::Misuse`] after [`subscribe`](Self::subscribe).
    fn assign(&mut self, starts: &[PartitionStart]) -> Result<(), Error>;

    /// Whether every rebalance of the group takes all partitions away first. True as long as the
    /// member has not joined.
    fn is_eager(&self) -> bool;

    /// The partitions that are being read, revoked ones not counted.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// Stops fetching from these partitions; their positions stay.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a partition that is not assigned.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error>;

    /// Fetches from these partitions again.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a partition that is not assigned.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error>;

    /// Goes on reading `partition` at `offset`; records fetched before are dropped.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a partition that is not assigned.
    fn seek(&mut self, partition: &TopicPartition, offset: StartOffset) -> Result<(), Error>;

    /// Asks the group to remember, per partition, the offset to go on at (parity row CK-06: last
    /// processed + 1). Answered by `CommitDone`, also when it fails; while no coordinator can be
    /// reached the answer may take long.
    ///
    /// # Errors
    /// [`Error::Misuse`] without a group; [`Error::Kafka`] if the client refuses at once.
    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<RequestId, Error>;

    /// The group's committed offsets, in the order asked. Waits.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    fn committed(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error>;

    /// Start and end of a partition as the broker has them now. Waits.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn watermarks(
        &mut self,
        partition: &TopicPartition,
        timeout: Duration,
    ) -> Result<Watermarks, Error>;

    /// Start and end of a partition as the last fetch told them; `None` before the first.
    fn cached_watermarks(&self, partition: &TopicPartition) -> Option<Watermarks>;

    /// Per partition the first offset whose record's timestamp is at least the given one; `None`
    /// if there is no such record. Waits.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    fn offsets_for_times(
        &mut self,
        times: &[(TopicPartition, Timestamp)],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error>;

    /// Where reading goes on: behind what [`poll`](Self::poll) handed out. At the end of a partition
    /// (`PartitionEnd`) control records count too, which is what tells that a restore has reached its
    /// end. `None` while it is not known, that is before the first record or end after a start that
    /// was not [`StartOffset::At`].
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;

    /// Records between the position and the end that the last fetch told; `None` if either is
    /// unknown.
    fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let high = self.cached_watermarks(partition)?.high;
        Some((high - self.position(partition)?).max(0))
    }

    /// The id that the group gave to this member, once it has.
    fn member_id(&self) -> Option<String>;

    /// Asks any broker for a sign of life; `BrokersUp` follows if one answers and `BrokersDown` was
    /// reported. Does not wait.
    fn probe(&mut self);

    /// Answers `OAuthTokenNeeded`; an error text makes the client ask again later.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the client refuses the token.
    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error>;

    /// Begins to leave the group. Polling goes on: a `Revoked` may come and wants its answer (there
    /// is time to commit), at last comes `Closed`.
    fn begin_close(&mut self);

    /// Whether the group has been left.
    fn is_closed(&self) -> bool;

    /// Leaves the group, answering a last `Assigned` and `Revoked` by itself, and waits for the
    /// end. Returns whether it came within `timeout`; otherwise the group notices by its session
    /// timeout.
    fn close(&mut self, timeout: Duration) -> bool;
}
