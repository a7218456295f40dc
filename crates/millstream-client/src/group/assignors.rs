//! Who gets which partition: pure functions over what the members subscribe to and how many
//! partitions there are, as the leader of a classic group calls them.
//!
//! | Name | Moves | Co-partitions | Rebalance |
//! |---|---|---|---|
//! | `range` | much | yes, if members and topics allow; then by racks | eager |
//! | `roundrobin` | much | no | eager |
//! | `cooperative-sticky` | what must move | no | cooperative (KIP-429) |
//! | `co-partitioned-sticky` | what must move | yes | cooperative |
//!
//! *Changing a running group from `range`.* A group can only use an assignor that all its members
//! offer, and a member behaves eagerly as long as it offers an eager one. So the members are
//! restarted twice, one after the other: first with `co-partitioned-sticky,range`, then with
//! `co-partitioned-sticky` alone. In between, members of both kinds live together: what an eager
//! member gave up before it joined counts as free, and what a cooperative member still holds is
//! given to nobody else in that round.

mod claims;
mod co_partitioned;
mod cooperative_sticky;
mod range;
mod round_robin;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_types::TopicPartition;

use crate::settings::Assignor;

/// What a member said when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberSubscription {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// What it has and has not given up.
    pub(crate) owned: BTreeSet<TopicPartition>,
    /// In which generation it was given what it has; -1 if it does not say.
    pub(crate) generation: i32,
    /// Where it is (`client.rack`).
    pub(crate) rack: Option<Arc<str>>,
    /// What an eager member had before it gave it up. A wish, not a claim.
    pub(crate) previous: BTreeSet<TopicPartition>,
}

/// How many partitions each topic has. Topics that do not exist are not in it.
pub(crate) type PartitionCounts = BTreeMap<Arc<str>, i32>;

/// Of each topic's partitions, by number, the racks that replicas are in. May lack what is not known.
pub(crate) type PartitionRacks = BTreeMap<Arc<str>, Vec<BTreeSet<Arc<str>>>>;

/// Every member by its id, with its partitions.
pub(crate) type Assignments = BTreeMap<String, BTreeSet<TopicPartition>>;

impl Assignor {
    /// Its name in `partition.assignment.strategy` and in the protocol.
    pub(crate) fn protocol_name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
            Self::CoPartitioned => "co-partitioned-sticky",
        }
    }

    /// Whether its members give everything up before they join.
    pub(crate) fn is_eager(self) -> bool {
        matches!(self, Self::Range | Self::RoundRobin)
    }
}

/// Shares the partitions out. Every member is in the result. Only `range` goes by racks.
pub(crate) fn assign(
    assignor: Assignor,
    members: &[MemberSubscription],
    counts: &PartitionCounts,
    racks: &PartitionRacks,
) -> Assignments {
    let mut members: Vec<&MemberSubscription> = members.iter().collect();
    members.sort_by(|a, b| by_rank(a, b));
    match assignor {
        Assignor::Range => range::assign(&members, counts, racks),
        Assignor::RoundRobin => round_robin::assign(&members, counts),
        Assignor::CooperativeSticky => cooperative_sticky::assign(&members, counts),
        Assignor::CoPartitioned => co_partitioned::assign(&members, counts),
    }
}

/// The Java client's order: static members first, by their instance id; the others by member id.
fn by_rank(a: &MemberSubscription, b: &MemberSubscription) -> Ordering {
    match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.member_id.cmp(&b.member_id),
    }
}

/// Every member without partitions.
fn nobody(members: &[&MemberSubscription]) -> Assignments {
    members.iter().map(|member| (member.member_id.clone(), BTreeSet::new())).collect()
}

/// All partitions of topics that somebody subscribes to, in order.
fn partitions<'a>(
    members: &'a [&MemberSubscription],
    counts: &'a PartitionCounts,
) -> impl Iterator<Item = TopicPartition> + 'a {
    let topics: BTreeSet<&Arc<str>> = members.iter().flat_map(|member| &member.topics).collect();
    topics.into_iter().flat_map(|topic| {
        let count = counts.get(topic).copied().unwrap_or(0);
        (0..count).map(|partition| TopicPartition::new(topic.clone(), partition))
    })
}
