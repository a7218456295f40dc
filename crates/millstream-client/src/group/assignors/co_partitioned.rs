//! `co-partitioned-sticky`: as `cooperative-sticky`, and equal partition numbers stay together.
//!
//! Topics that the same members subscribe to and that have equally many partitions form a
//! *bundle*. Partition n of all topics of a bundle is one *unit*: it goes to one member as a whole
//! and moves as a whole, so that joins and repartitioned state find their other half.
//!
//! Balanced means: of each bundle, the members' numbers of units differ by one at most; and who
//! gets the odd ones is chosen so that the members' numbers of partitions differ by no more than
//! the topics of a bundle. Each counts on its own what it moves, so little moves.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_types::TopicPartition;

use super::claims::{prior_owners, withhold};
use super::{Assignments, MemberSubscription, PartitionCounts, nobody};

struct Bundle {
    topics: Vec<Arc<str>>,
    /// Indices of the members.
    subscribers: Vec<usize>,
    /// Who had most of each unit.
    prior: Vec<Option<usize>>,
    /// Who gets each unit.
    owners: Vec<Option<usize>>,
    /// How many units each member gets, by index.
    numbers: Vec<usize>,
}

/// `members` in rank order.
pub(super) fn assign(members: &[&MemberSubscription], counts: &PartitionCounts) -> Assignments {
    let mut bundles = bundles(members, counts);
    let mut totals = vec![0; members.len()];
    for bundle in &mut bundles {
        for unit in 0..bundle.owners.len() {
            if let Some(owner) = bundle.prior[unit] {
                bundle.give(unit, owner, &mut totals);
            }
        }
    }
    for bundle in &mut bundles {
        for unit in 0..bundle.owners.len() {
            if bundle.owners[unit].is_none()
                && let Some(taker) = bundle.poorest(&totals)
            {
                bundle.give(unit, taker, &mut totals);
            }
        }
    }
    // A move evens the numbers of its bundle out, or leaves them and evens the totals out; so
    // this comes to an end.
    let mut moved = true;
    while moved {
        moved = false;
        for bundle in &mut bundles {
            while bundle.improve(&mut totals) {
                moved = true;
            }
        }
    }
    let mut assignments = nobody(members);
    for bundle in &bundles {
        for (number, owner) in (0..).zip(&bundle.owners) {
            let Some(owner) = owner else { continue };
            if let Some(theirs) = assignments.get_mut(&members[*owner].member_id) {
                let unit = bundle.topics.iter();
                theirs.extend(unit.map(|topic| TopicPartition::new(topic.clone(), number)));
            }
        }
    }
    withhold(&mut assignments, members);
    assignments
}

fn bundles(members: &[&MemberSubscription], counts: &PartitionCounts) -> Vec<Bundle> {
    let prior = prior_owners(members, counts);
    let mut topics: BTreeMap<(Vec<usize>, i32), Vec<Arc<str>>> = BTreeMap::new();
    for (topic, count) in counts {
        let subscribers: Vec<usize> =
            (0..members.len()).filter(|index| members[*index].topics.contains(topic)).collect();
        if !subscribers.is_empty() && *count > 0 {
            topics.entry((subscribers, *count)).or_default().push(topic.clone());
        }
    }
    topics
        .into_iter()
        .map(|((subscribers, count), topics)| {
            let prior: Vec<Option<usize>> = (0..count)
                .map(|number| {
                    let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
                    for topic in &topics {
                        let partition = TopicPartition::new(topic.clone(), number);
                        if let Some(owner) = prior.get(&partition) {
                            *votes.entry(*owner).or_default() += 1;
                        }
                    }
                    let most = votes.into_iter().max_by_key(|(owner, n)| (*n, Reverse(*owner)));
                    most.map(|(owner, _)| owner)
                })
                .collect();
            Bundle {
                topics,
                subscribers,
                owners: vec![None; prior.len()],
                prior,
                numbers: vec![0; members.len()],
            }
        })
        .collect()
}

impl Bundle {
    fn weight(&self) -> usize {
        self.topics.len()
    }

    fn give(&mut self, unit: usize, to: usize, totals: &mut [usize]) {
        if let Some(from) = self.owners[unit].replace(to) {
            self.numbers[from] -= 1;
            totals[from] -= self.weight();
        }
        self.numbers[to] += 1;
        totals[to] += self.weight();
    }

    fn poorest(&self, totals: &[usize]) -> Option<usize> {
        self.subscribers.iter().copied().min_by_key(|index| (self.numbers[*index], totals[*index]))
    }

    /// Moves a unit if that makes it more even.
    fn improve(&mut self, totals: &mut [usize]) -> bool {
        let richest = self
            .subscribers
            .iter()
            .copied()
            .max_by_key(|index| (self.numbers[*index], totals[*index], Reverse(*index)));
        let (Some(from), Some(to)) = (richest, self.poorest(totals)) else { return false };
        let better = match self.numbers[from] - self.numbers[to] {
            0 => false,
            1 => totals[from] > totals[to] + self.weight(),
            _ => true,
        };
        if !better {
            return false;
        }
        // Rather back to who had it, rather one that is new to its holder.
        let unit = (0..self.owners.len())
            .filter(|unit| self.owners[*unit] == Some(from))
            .min_by_key(|unit| {
                let prior = self.prior[*unit];
                (prior != Some(to), prior == Some(from), Reverse(*unit))
            });
        if let Some(unit) = unit {
            self.give(unit, to, totals);
        }
        unit.is_some()
    }
}
