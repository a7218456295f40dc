//! Reading partitions, alone or as a member of a group.
//!
//! [`Consumer::poll`] returns events and never calls back. One rebalance is one conversation:
//! `Assigned` waits for [`Consumer::ack_assigned`]; `Revoked` and `Lost` wait for
//! [`Consumer::ack_revoked`]. In between polling goes on, and no record of a revoked partition is
//! handed out any more.

mod core;
mod fetch;
mod front;
mod lookup;
mod open;
mod session;
mod slot;
mod statistics;
#[cfg(test)]
mod tests;

use millstream_types::{Offset, RecordBatch, TopicPartition};

pub(crate) use self::core::ConsumerTag;
pub use front::{Bounds, Consumer};

use crate::error::KafkaError;

/// Where reading of a partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOffset {
    /// At the group's committed offset; without one as `auto.offset.reset` says.
    Committed,
    /// At this offset.
    At(Offset),
    /// At the first record.
    Beginning,
    /// After the last record.
    End,
}

/// A partition to read and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStart {
    /// The partition.
    pub partition: TopicPartition,
    /// Where reading starts.
    pub offset: StartOffset,
    /// Whether it starts paused: assigned, but fetching nothing until [`Consumer::resume`].
    pub paused: bool,
}

impl PartitionStart {
    /// `partition` from `offset`, not paused.
    pub fn new(partition: TopicPartition, offset: StartOffset) -> Self {
        Self { partition, offset, paused: false }
    }

    /// The same, paused.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }
}

/// First offset and end of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Offset of the oldest record that is still there.
    pub low: Offset,
    /// Offset that the next record will get (`read_committed`: the last stable offset where the
    /// broker tells it).
    pub high: Offset,
}

/// What [`Consumer::poll`] reports, in the order in which it happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// The group gave us these partitions (with a cooperative assignor: in addition). Answer with
    /// [`Consumer::ack_assigned`]. May be empty.
    Assigned(Vec<TopicPartition>),
    /// The group asks these partitions back. We still own them: commit, then answer with
    /// [`Consumer::ack_revoked`]. May be empty.
    Revoked(Vec<TopicPartition>),
    /// These partitions are someone else's already: discard what is not committed, then answer
    /// with [`Consumer::ack_revoked`].
    Lost(Vec<TopicPartition>),
    /// Records of one partition, never empty.
    Records(RecordBatch),
    /// Everything up to this offset (exclusive) was handed out and there is no more for now. Only
    /// with `enable.partition.eof`.
    PartitionEnd(TopicPartition, Offset),
    /// Reading this partition failed; reading goes on by itself if the error is retriable.
    PartitionError(TopicPartition, KafkaError),
    /// Answers [`Consumer::commit`].
    CommitDone {
        /// The request.
        id: u64,
        /// Per partition the offset and whether it is committed.
        partitions: Vec<(TopicPartition, Offset, Result<(), KafkaError>)>,
    },
    /// An error of the client as a whole.
    Error {
        /// What went wrong.
        error: KafkaError,
        /// Whether this client is of no more use.
        fatal: bool,
    },
    /// No broker is reachable. Reported once until `BrokersUp`.
    BrokersDown(KafkaError),
    /// Something arrived after `BrokersDown`.
    BrokersUp,
    /// A connection needs an OAuth token; answer with [`Consumer::set_oauth_token`].
    OAuthTokenNeeded,
    /// Statistics as JSON, in librdkafka's shape (`statistics.interval.ms`).
    Statistics(String),
    /// [`Consumer::begin_close`] is done: the group has been left.
    Closed,
}
