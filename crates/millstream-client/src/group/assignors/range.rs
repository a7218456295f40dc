//! `range`: of each topic, each member gets a run of partitions; the first members get one more
//! where the number does not divide. Where racks say something, a member first gets partitions that
//! have a replica in its rack, as many as it would get anyway (KIP-881). As the Java client does
//! it: co-partitioning goes before racks, and order before both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_types::TopicPartition;

use super::{Assignments, MemberSubscription, PartitionCounts, PartitionRacks, nobody};

/// `members` in rank order.
pub(super) fn assign(
    members: &[&MemberSubscription],
    counts: &PartitionCounts,
    racks: &PartitionRacks,
) -> Assignments {
    let mut assignments = nobody(members);
    let mut topics: Vec<Topic> = counts
        .iter()
        .filter_map(|(name, count)| Topic::new(name, *count, racks, members))
        .collect();
    if topics.iter().any(Topic::wants_racks) {
        match_racks(&mut topics);
    }
    for topic in &mut topics {
        topic.fill(|_, _, _| true);
        for (member, partitions) in topic.members.iter().zip(&topic.given) {
            if let Some(share) = assignments.get_mut(&member.member_id) {
                let run = partitions.iter().map(|p| TopicPartition::new(topic.name.clone(), *p));
                share.extend(run);
            }
        }
    }
    assignments
}

/// Gives away what can go to a member in the rack of a replica. Topics of as many partitions and the
/// same members give equal numbers to one member.
fn match_racks(topics: &mut [Topic]) {
    let mut alike: BTreeMap<(Vec<&str>, i32), Vec<&mut Topic>> = BTreeMap::new();
    for topic in topics.iter_mut().filter(|topic| topic.members.iter().any(|m| m.rack.is_some())) {
        let members = topic.members.iter().map(|member| &*member.member_id).collect();
        alike.entry((members, topic.count)).or_default().push(topic);
    }
    for ((members, count), mut topics) in alike {
        if let [topic] = &mut topics[..] {
            if topic.wants_racks() {
                topic.fill(Topic::matches);
            }
            continue;
        }
        for partition in 0..count {
            let taker = (0..members.len()).find(|member| {
                topics.iter().all(|t| t.matches(*member, partition) && t.room(*member) > 0)
            });
            if let Some(taker) = taker {
                topics.iter_mut().for_each(|topic| topic.give(taker, partition));
            }
        }
    }
}

/// A topic that is being shared out. Members are named by their place in `members`.
struct Topic<'a> {
    name: &'a Arc<str>,
    count: i32,
    /// Who subscribes to it, in rank order.
    members: Vec<&'a MemberSubscription>,
    /// Of each partition the racks of its replicas; empty if none is known.
    racks: &'a [BTreeSet<Arc<str>>],
    free: BTreeSet<i32>,
    given: Vec<Vec<i32>>,
    /// How many each gets, and how many more get one on top.
    each: usize,
    extra: usize,
}

impl<'a> Topic<'a> {
    fn new(
        name: &'a Arc<str>,
        count: i32,
        racks: &'a PartitionRacks,
        members: &[&'a MemberSubscription],
    ) -> Option<Self> {
        let members: Vec<_> =
            members.iter().copied().filter(|member| member.topics.contains(name)).collect();
        let partitions = usize::try_from(count).ok()?;
        let each = partitions.checked_div(members.len())?;
        Some(Self {
            name,
            count,
            racks: racks.get(name).map_or(&[], Vec::as_slice),
            free: (0..count).collect(),
            given: vec![Vec::new(); members.len()],
            each,
            extra: partitions % members.len(),
            members,
        })
    }

    /// Whether racks make a difference: some of the members' are among the replicas', and not all
    /// partitions have the same.
    fn wants_racks(&self) -> bool {
        let all: BTreeSet<_> = self.racks.iter().flatten().collect();
        self.members
            .iter()
            .any(|member| member.rack.as_ref().is_some_and(|rack| all.contains(rack)))
            && self.racks.iter().any(|racks| racks.len() != all.len())
    }

    fn matches(&self, member: usize, partition: i32) -> bool {
        let of = |p| self.racks.get(usize::try_from(p).ok()?);
        self.members[member]
            .rack
            .as_ref()
            .is_none_or(|rack| of(partition).is_some_and(|racks| racks.contains(rack)))
    }

    /// How many partitions a member may still get.
    fn room(&self, member: usize) -> usize {
        (self.each + usize::from(self.extra > 0)).saturating_sub(self.given[member].len())
    }

    fn give(&mut self, member: usize, partition: i32) {
        self.free.remove(&partition);
        self.given[member].push(partition);
        if self.given[member].len() > self.each {
            self.extra -= 1;
        }
    }

    /// Gives each member in turn the first partitions that it may have.
    fn fill(&mut self, may: impl Fn(&Self, usize, i32) -> bool) {
        for member in 0..self.members.len() {
            let mut free = self.free.iter().copied();
            let run: Vec<i32> =
                free.by_ref().filter(|p| may(self, member, *p)).take(self.room(member)).collect();
            run.into_iter().for_each(|partition| self.give(member, partition));
        }
    }
}
