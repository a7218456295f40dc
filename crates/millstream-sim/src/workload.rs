//! What runs in a simulation: a table of workloads, and the actors that they are made of.
//!
//! To add one: write an `async` function that takes [`Me`](crate::actor::Me) and [`Shared`], notes
//! in the [`Ledger`] what it is told, looks at [`Ledger::closing`] and comes to an end; then give it
//! a [`Role`] and a row in [`TABLE`].

pub(crate) mod admin;
pub(crate) mod audit;
pub(crate) mod fetching;
pub(crate) mod idempotent;
pub(crate) mod member;
pub(crate) mod reader;
pub(crate) mod transactional;

use std::cell::RefCell;
use std::rc::Rc;

use crate::ledger::{Ledger, Partition};
use crate::nemesis::Mood;
use crate::world::HostId;

/// A topic with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
    /// `cleanup.policy`. The oracles know what `delete` may take; they know nothing of `compact`.
    pub cleanup: &'static str,
    /// Further settings, by Kafka's names.
    pub settings: &'static [(&'static str, &'static str)],
}

/// Records stay; segments are short, so that starts find several.
const PLAIN: Topic =
    Topic { name: "plain", partitions: 3, cleanup: "delete", settings: &[("segment.ms", "2500")] };
/// A second one, for transactions over topics.
const OTHER: Topic = Topic { name: "other", partitions: 1, cleanup: "delete", settings: &[] };
/// Retention by time.
const AGED: Topic = Topic {
    name: "aged",
    partitions: 2,
    cleanup: "delete",
    settings: &[("segment.ms", "700"), ("retention.ms", "4000")],
};
/// Retention by size.
const SMALL: Topic = Topic {
    name: "small",
    partitions: 1,
    cleanup: "delete",
    settings: &[("segment.ms", "400"), ("retention.bytes", "3000")],
};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes without transactions, five requests in flight.
    Idempotent,
    /// Writes in transactions of that id. `newer`: by the second version of the protocol (KIP-890).
    Transactional {
        /// The `transactional.id`.
        id: &'static str,
        /// Which version of the protocol.
        newer: bool,
        /// Another process has the same id.
        has_rival: bool,
    },
    /// Reads all partitions from their start.
    Reader {
        /// `isolation.level`.
        committed: bool,
    },
    /// Is a member of a group.
    Member {
        /// The `group.id`.
        group: &'static str,
        /// Whether it has a `group.instance.id`.
        is_static: bool,
    },
    /// The client crate's smallest machine.
    Watcher,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name, for traces.
    pub name: &'static str,
    /// What topics there are.
    pub topics: &'static [Topic],
    /// Which processes run beside the broker.
    pub roles: &'static [Role],
}

const READ_ALL: Role = Role::Reader { committed: false };
const READ_COMMITTED: Role = Role::Reader { committed: true };
const MEMBER: Role = Role::Member { group: "g", is_static: false };
const STATIC_MEMBER: Role = Role::Member { group: "g", is_static: true };

const fn transactional(id: &'static str, newer: bool, has_rival: bool) -> Role {
    Role::Transactional { id, newer, has_rival }
}

/// The workloads; a seed picks one.
pub const TABLE: &[Workload] = &[
    Workload {
        name: "idempotent",
        topics: &[PLAIN],
        roles: &[Role::Idempotent, Role::Idempotent, READ_ALL, READ_COMMITTED],
    },
    Workload {
        name: "transactions",
        topics: &[PLAIN, OTHER],
        roles: &[
            transactional("tx-1", false, false),
            transactional("tx-2", true, false),
            READ_COMMITTED,
            READ_ALL,
        ],
    },
    Workload {
        name: "rivals",
        topics: &[PLAIN],
        roles: &[
            transactional("tx-1", false, true),
            transactional("tx-1", true, true),
            transactional("tx-2", true, false),
            Role::Idempotent,
            READ_COMMITTED,
        ],
    },
    Workload {
        name: "groups",
        topics: &[PLAIN, OTHER],
        roles: &[Role::Idempotent, MEMBER, MEMBER, STATIC_MEMBER, STATIC_MEMBER],
    },
    Workload {
        name: "retention",
        topics: &[AGED, SMALL],
        roles: &[
            Role::Idempotent,
            transactional("tx-1", true, false),
            transactional("tx-2", false, false),
            READ_COMMITTED,
            READ_ALL,
        ],
    },
    Workload {
        name: "everything",
        topics: &[PLAIN, AGED],
        roles: &[
            Role::Idempotent,
            transactional("tx-1", false, false),
            transactional("tx-2", true, true),
            transactional("tx-2", true, true),
            MEMBER,
            MEMBER,
            STATIC_MEMBER,
            READ_COMMITTED,
            Role::Watcher,
        ],
    },
];

impl Workload {
    /// All partitions of its topics.
    pub fn partitions(&self) -> Vec<Partition> {
        let of =
            |topic: &'static Topic| (0..topic.partitions).map(move |number| (topic.name, number));
        self.topics.iter().flat_map(of).collect()
    }
}

/// What all actors of a run share.
#[derive(Clone)]
pub struct Shared {
    /// The oracles.
    pub ledger: Rc<RefCell<Ledger>>,
    /// Where the broker is.
    pub broker: HostId,
    /// All partitions.
    pub partitions: Rc<[Partition]>,
    /// What goes wrong in this run.
    pub mood: Mood,
}

impl Shared {
    /// The number of power losses so far.
    pub(crate) fn era(&self) -> u32 {
        self.ledger.borrow().era()
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
