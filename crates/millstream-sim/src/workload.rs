//! What runs in a simulation: a table of workloads, the actors that they are made of, and what
//! these share.
//!
//! To add one: write an `async` function that takes [`Me`](crate::actor::Me) and [`Shared`], notes
//! in the [`Ledger`] what it is told, looks at [`Ledger::closing`] and comes to an end; then give
//! it a [`Role`] and a row in [`TABLE`].

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod fetching;
pub(crate) mod idempotent;
pub(crate) mod member;
pub(crate) mod reader;
pub(crate) mod record;
mod table;
pub(crate) mod transactional;

use std::cell::RefCell;
use std::rc::Rc;

use millstream_types::TopicPartition;

pub(crate) use self::table::{COPIERS, COPIES};
pub use self::table::{Role, TABLE, Topic, WITH_CLIENTS, Workload};
use crate::actor::Me;
use crate::ledger::{Ledger, Partition};
use crate::nemesis::Mood;
use crate::world::HostId;

/// What all actors of a run share.
#[derive(Clone)]
pub struct Shared {
    /// The oracles.
    pub ledger: Rc<RefCell<Ledger>>,
    /// Where the broker is.
    pub broker: HostId,
    /// All partitions.
    pub partitions: Rc<[Partition]>,
    /// Its topics.
    pub topics: &'static [Topic],
    /// What goes wrong in this run.
    pub mood: Mood,
}

impl Shared {
    /// The number of power losses so far.
    pub(crate) fn era(&self) -> u32 {
        self.ledger.borrow().era()
    }

    /// Partitions that anybody writes to: not those of copies.
    pub(crate) fn sources(&self) -> &[Partition] {
        let copies = self.partitions.iter().position(|(topic, _)| *topic == COPIES);
        &self.partitions[..copies.unwrap_or(self.partitions.len())]
    }

    /// The topics of those partitions.
    pub(crate) fn source_topics(&self) -> Vec<String> {
        let topics = self.topics.iter().map(|topic| topic.name);
        topics.filter(|topic| *topic != COPIES).map(str::to_owned).collect()
    }

    /// One of the partitions that anybody writes to.
    pub(crate) fn any_source(&self, me: &Me) -> Partition {
        let sources = self.sources();
        sources[me.between(0, sources.len() as u64 - 1) as usize]
    }

    /// The partition that the client names so.
    pub(crate) fn find(&self, named: &TopicPartition) -> Option<Partition> {
        let is_it =
            |(topic, number): &&Partition| **topic == *named.topic && *number == named.partition;
        self.partitions.iter().find(is_it).copied()
    }

    /// Whether a partition is compacted.
    pub(crate) fn is_compacted(&self, partition: Partition) -> bool {
        self.topics.iter().any(|topic| topic.name == partition.0 && topic.is_compacted())
    }

    /// Runs one session after the other until the run is closing, each by a name of its own.
    pub(crate) async fn sessions(&self, me: &Me, session: impl AsyncFn(String)) {
        let mut number = 0;
        while !self.is_closing() {
            session(format!("{}.{}.{number}", me.host().name(), me.host().life())).await;
            number += 1;
        }
    }

    /// Whether producers are to begin nothing new.
    pub(crate) fn is_closing(&self) -> bool {
        self.ledger.borrow().closing
    }
}

/// Kafka's error codes that the actors know.
pub(crate) mod code {
    pub(crate) const OFFSET_OUT_OF_RANGE: i16 = 1;
    pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub(crate) const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    pub(crate) const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub(crate) const NOT_COORDINATOR: i16 = 16;
    pub(crate) const ILLEGAL_GENERATION: i16 = 22;
    pub(crate) const UNKNOWN_MEMBER_ID: i16 = 25;
    pub(crate) const REBALANCE_IN_PROGRESS: i16 = 27;
    pub(crate) const TOPIC_ALREADY_EXISTS: i16 = 36;
    pub(crate) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    pub(crate) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(crate) const INVALID_TXN_STATE: i16 = 48;
    pub(crate) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
    pub(crate) const CONCURRENT_TRANSACTIONS: i16 = 51;
    pub(crate) const KAFKA_STORAGE_ERROR: i16 = 56;
    pub(crate) const UNKNOWN_PRODUCER_ID: i16 = 59;
    pub(crate) const MEMBER_ID_REQUIRED: i16 = 79;
    pub(crate) const FENCED_INSTANCE_ID: i16 = 82;
    pub(crate) const UNSTABLE_OFFSET_COMMIT: i16 = 88;
    pub(crate) const PRODUCER_FENCED: i16 = 90;
    pub(crate) const TRANSACTION_ABORTABLE: i16 = 120;

    /// Whether the same may succeed later, as it is.
    pub(crate) fn is_retriable(code: i16) -> bool {
        matches!(
            code,
            COORDINATOR_LOAD_IN_PROGRESS
                | COORDINATOR_NOT_AVAILABLE
                | NOT_COORDINATOR
                | CONCURRENT_TRANSACTIONS
                | KAFKA_STORAGE_ERROR
                | UNSTABLE_OFFSET_COMMIT
        )
    }
}
