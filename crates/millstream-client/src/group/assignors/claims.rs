//! Who has what at the moment, and what must not change hands in one round (KIP-429).

use std::collections::{BTreeMap, BTreeSet};

use millstream_types::TopicPartition;

use super::{Assignments, MemberSubscription, PartitionCounts};

/// By partition the index of the member that has it, or had it last. Of several that claim a
/// partition the one with the highest generation counts; if that is not one, none.
pub(super) fn prior_owners(
    members: &[&MemberSubscription],
    counts: &PartitionCounts,
) -> BTreeMap<TopicPartition, usize> {
    let mut owners = highest(members, counts, |member| &member.owned);
    for (partition, member) in highest(members, counts, |member| &member.previous) {
        owners.entry(partition).or_insert(member);
    }
    owners
}

fn highest(
    members: &[&MemberSubscription],
    counts: &PartitionCounts,
    of: impl Fn(&MemberSubscription) -> &BTreeSet<TopicPartition>,
) -> BTreeMap<TopicPartition, usize> {
    let mut claims: BTreeMap<&TopicPartition, (i32, Option<usize>)> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        for partition in of(member) {
            let exists = counts
                .get(&partition.topic)
                .is_some_and(|count| (0..*count).contains(&partition.partition));
            if !exists || !member.topics.contains(&partition.topic) {
                continue;
            }
            claims
                .entry(partition)
                .and_modify(|(generation, owner)| {
                    if member.generation > *generation {
                        (*generation, *owner) = (member.generation, Some(index));
                    } else if member.generation == *generation {
                        *owner = None;
                    }
                })
                .or_insert((member.generation, Some(index)));
        }
    }
    claims
        .into_iter()
        .filter_map(|(partition, (_, owner))| Some((partition.clone(), owner?)))
        .collect()
}

/// Takes out of `assignments` what another member still has: it is given up in this round, and
/// shared out in the next, which the member that gives it up asks for.
pub(super) fn withhold(assignments: &mut Assignments, members: &[&MemberSubscription]) {
    let mut holders: BTreeMap<&TopicPartition, Vec<&MemberSubscription>> = BTreeMap::new();
    for member in members {
        for partition in &member.owned {
            holders.entry(partition).or_default().push(member);
        }
    }
    for (member_id, partitions) in assignments {
        partitions.retain(|partition| {
            let Some(holders) = holders.get(partition) else { return true };
            let own = holders
                .iter()
                .find(|holder| holder.member_id == *member_id)
                .map(|holder| holder.generation);
            holders
                .iter()
                .filter(|holder| holder.member_id != *member_id)
                // An older claim is one that the member itself has given up by now.
                .all(|other| own.is_some_and(|own| own > other.generation))
        });
    }
}
