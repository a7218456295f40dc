//! The workloads: which topics there are and who does what.

use millstream_client::settings::Assignor;

use crate::ledger::{Partition, Retention};

/// A topic with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
    /// `cleanup.policy`: `delete` or `compact`.
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

/// Compaction; tombstones stay.
const KEYED: Topic = Topic {
    name: "keyed",
    partitions: 2,
    cleanup: "compact",
    settings: &[("segment.ms", "500"), ("min.cleanable.dirty.ratio", "0.01")],
};
/// Compaction that takes tombstones, too.
const FLEETING: Topic = Topic {
    name: "fleeting",
    partitions: 1,
    cleanup: "compact",
    settings: &[
        ("segment.ms", "300"),
        ("min.cleanable.dirty.ratio", "0.3"),
        ("delete.retention.ms", "900"),
    ],
};
/// What copiers write, each partition for that of `plain` with the same number.
const COPIED: Topic = Topic {
    name: COPIES,
    partitions: PLAIN.partitions,
    cleanup: "delete",
    settings: &[("segment.ms", "2500")],
};
/// The name of [`COPIED`].
pub(crate) const COPIES: &str = "copies";
/// The group of the copiers.
pub(crate) const COPIERS: &str = "copiers";

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
    /// The client's idempotent producer.
    Producer {
        /// Whether it gives records up after a while.
        impatient: bool,
    },
    /// The client's transactional producer.
    Transactor {
        /// The `transactional.id`.
        id: &'static str,
        /// Another process has the same id.
        has_rival: bool,
    },
    /// The client's consumer, of all partitions from their start.
    Consumer {
        /// `isolation.level`.
        committed: bool,
    },
    /// The client's consumer in a group.
    Joiner {
        /// The `group.id`.
        group: &'static str,
        /// Who assigns; `None`: the broker (KIP-848).
        assignor: Option<Assignor>,
        /// Whether it has a `group.instance.id`.
        is_static: bool,
    },
    /// The client's consumer and transactional producer, which copy `plain` to `copies`.
    Copier {
        /// The `transactional.id`.
        id: &'static str,
        /// Who assigns; `None`: the broker (KIP-848).
        assignor: Option<Assignor>,
    },
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name, for traces.
    pub name: &'static str,
    /// The first seed that may pick it: seeds below keep their workloads.
    pub since: u64,
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

const fn joiner(group: &'static str, assignor: Option<Assignor>, is_static: bool) -> Role {
    Role::Joiner { group, assignor, is_static }
}

/// The first seed in which the client's producers and consumers may take part.
pub const WITH_CLIENTS: u64 = 2_000;

const CONSUME_ALL: Role = Role::Consumer { committed: false };
const CONSUME_COMMITTED: Role = Role::Consumer { committed: true };
const PRODUCER: Role = Role::Producer { impatient: false };
const IMPATIENT: Role = Role::Producer { impatient: true };
const RANGE: Option<Assignor> = Some(Assignor::Range);
const STICKY: Option<Assignor> = Some(Assignor::CooperativeSticky);
const CO_PARTITIONED: Option<Assignor> = Some(Assignor::CoPartitioned);
const BY_BROKER: Option<Assignor> = None;

/// The workloads; a seed picks one.
pub const TABLE: &[Workload] = &[
    Workload {
        name: "idempotent",
        since: 0,
        topics: &[PLAIN],
        roles: &[Role::Idempotent, Role::Idempotent, READ_ALL, READ_COMMITTED],
    },
    Workload {
        name: "transactions",
        since: 0,
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
        since: 0,
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
        since: 0,
        topics: &[PLAIN, OTHER],
        roles: &[Role::Idempotent, MEMBER, MEMBER, STATIC_MEMBER, STATIC_MEMBER],
    },
    Workload {
        name: "retention",
        since: 0,
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
        since: 0,
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
    Workload {
        name: "clients",
        since: WITH_CLIENTS,
        topics: &[PLAIN],
        roles: &[PRODUCER, IMPATIENT, Role::Idempotent, CONSUME_ALL, CONSUME_COMMITTED, READ_ALL],
    },
    Workload {
        name: "client transactions",
        since: WITH_CLIENTS,
        topics: &[PLAIN, OTHER],
        roles: &[
            Role::Transactor { id: "tx-1", has_rival: false },
            transactional("tx-2", false, false),
            Role::Transactor { id: "tx-3", has_rival: true },
            Role::Transactor { id: "tx-3", has_rival: true },
            READ_COMMITTED,
            CONSUME_COMMITTED,
        ],
    },
    Workload {
        name: "client rivals",
        since: WITH_CLIENTS,
        topics: &[PLAIN],
        roles: &[
            transactional("tx-1", true, true),
            Role::Transactor { id: "tx-1", has_rival: true },
            PRODUCER,
            CONSUME_COMMITTED,
        ],
    },
    Workload {
        name: "client groups",
        since: WITH_CLIENTS,
        topics: &[PLAIN, OTHER],
        roles: &[
            PRODUCER,
            Role::Idempotent,
            joiner("range", RANGE, false),
            joiner("range", RANGE, false),
            joiner("sticky", STICKY, false),
            joiner("sticky", STICKY, true),
            joiner("sticky", STICKY, false),
            MEMBER,
            MEMBER,
        ],
    },
    Workload {
        name: "broker groups",
        since: WITH_CLIENTS,
        topics: &[PLAIN, OTHER],
        roles: &[
            Role::Idempotent,
            transactional("tx-1", true, false),
            joiner("given", BY_BROKER, false),
            joiner("given", BY_BROKER, false),
            joiner("given", BY_BROKER, true),
            joiner("ours", CO_PARTITIONED, false),
            joiner("ours", CO_PARTITIONED, true),
        ],
    },
    Workload {
        name: "copies",
        since: WITH_CLIENTS,
        topics: &[PLAIN, COPIED],
        roles: &[
            Role::Idempotent,
            Role::Transactor { id: "tx-1", has_rival: false },
            Role::Copier { id: "cp-1", assignor: STICKY },
            Role::Copier { id: "cp-2", assignor: STICKY },
            CONSUME_COMMITTED,
        ],
    },
    Workload {
        name: "broker copies",
        since: WITH_CLIENTS,
        topics: &[PLAIN, COPIED],
        roles: &[
            PRODUCER,
            transactional("tx-1", true, false),
            Role::Copier { id: "cp-1", assignor: BY_BROKER },
            Role::Copier { id: "cp-2", assignor: BY_BROKER },
            READ_COMMITTED,
        ],
    },
    Workload {
        name: "compaction",
        since: WITH_CLIENTS,
        topics: &[KEYED, FLEETING],
        roles: &[
            Role::Idempotent,
            PRODUCER,
            transactional("tx-1", true, false),
            Role::Transactor { id: "tx-2", has_rival: false },
            READ_COMMITTED,
            READ_ALL,
            CONSUME_COMMITTED,
        ],
    },
    Workload {
        name: "client retention",
        since: WITH_CLIENTS,
        topics: &[AGED, SMALL],
        roles: &[
            PRODUCER,
            Role::Transactor { id: "tx-1", has_rival: false },
            joiner("sticky", STICKY, false),
            joiner("given", BY_BROKER, false),
            READ_ALL,
            CONSUME_ALL,
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

impl Topic {
    fn setting(&self, name: &str) -> Option<&'static str> {
        self.settings.iter().find(|(of, _)| *of == name).map(|(_, value)| *value)
    }

    /// Whether it is compacted.
    pub fn is_compacted(&self) -> bool {
        self.cleanup == "compact"
    }

    /// Whether its tombstones outlive every run.
    pub fn keeps_tombstones(&self) -> bool {
        self.setting("delete.retention.ms").is_none()
    }

    /// What retention may take of it.
    pub fn retention(&self) -> Retention {
        let number = |name| self.setting(name).and_then(|value| value.parse::<i64>().ok());
        Retention {
            ms: number("retention.ms"),
            bytes: number("retention.bytes").map(i64::unsigned_abs),
        }
    }
}
