//! `cooperative-sticky` (KIP-54, KIP-429): balanced, and nothing moves that need not.
//!
//! Balanced means: no member could be given a partition of one that has two more. Where all
//! subscribe alike, the numbers differ by one at most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use millstream_types::TopicPartition;

use super::claims::{prior_owners, withhold};
use super::{Assignments, MemberSubscription, PartitionCounts, partitions};

/// `members` in rank order.
pub(super) fn assign(members: &[&MemberSubscription], counts: &PartitionCounts) -> Assignments {
    let prior = prior_owners(members, counts);
    let mut shares: Vec<BTreeSet<TopicPartition>> = vec![BTreeSet::new(); members.len()];
    let mut free: Vec<(usize, TopicPartition)> = Vec::new();
    for partition in partitions(members, counts) {
        match prior.get(&partition) {
            Some(owner) => {
                shares[*owner].insert(partition);
            }
            None => {
                let takers = members.iter().filter(|m| m.topics.contains(&partition.topic)).count();
                free.push((takers, partition));
            }
        }
    }
    // Those that few can take first, while these few still have room.
    free.sort_by_key(|(takers, _)| *takers);
    for (_, partition) in free {
        let taker = (0..members.len())
            .filter(|index| members[*index].topics.contains(&partition.topic))
            .min_by_key(|index| shares[*index].len());
        if let Some(taker) = taker {
            shares[taker].insert(partition);
        }
    }
    while let Some((from, to, partition)) = improvement(members, &shares, &prior) {
        shares[from].remove(&partition);
        shares[to].insert(partition);
    }
    let mut assignments: Assignments =
        members.iter().map(|member| member.member_id.clone()).zip(shares).collect();
    withhold(&mut assignments, members);
    assignments
}

/// A move that makes it more even. Each lowers the sum of the squares, so they come to an end.
fn improvement(
    members: &[&MemberSubscription],
    shares: &[BTreeSet<TopicPartition>],
    prior: &BTreeMap<TopicPartition, usize>,
) -> Option<(usize, usize, TopicPartition)> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| shares[*index].len());
    for to in &order {
        for from in order.iter().rev() {
            if shares[*from].len() <= shares[*to].len() + 1 {
                break;
            }
            // Rather back to who had it, rather one that is new to its holder.
            let best = shares[*from]
                .iter()
                .filter(|partition| members[*to].topics.contains(&partition.topic))
                .min_by_key(|partition| {
                    let owner = prior.get(*partition);
                    (owner != Some(to), owner == Some(from), Reverse(*partition))
                });
            if let Some(partition) = best {
                return Some((*from, *to, partition.clone()));
            }
        }
    }
    None
}
