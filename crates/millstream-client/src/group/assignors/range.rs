//! `range`: of each topic, each member gets a run of partitions; the first members get one more
//! where the number does not divide. As the Java client does it where racks play no role.

use millstream_types::TopicPartition;

use super::{Assignments, MemberSubscription, PartitionCounts, nobody};

/// `members` in rank order.
pub(super) fn assign(members: &[&MemberSubscription], counts: &PartitionCounts) -> Assignments {
    let mut assignments = nobody(members);
    for (topic, count) in counts {
        let subscribers: Vec<_> =
            members.iter().filter(|member| member.topics.contains(topic)).collect();
        let Ok(among) = i32::try_from(subscribers.len()) else { continue };
        if among == 0 {
            continue;
        }
        let (each, extra) = (count / among, count % among);
        let mut next = 0;
        for (rank, member) in (0..).zip(subscribers) {
            let end = next + each + i32::from(rank < extra);
            if let Some(partitions) = assignments.get_mut(&member.member_id) {
                let run = (next..end).map(|number| TopicPartition::new(topic.clone(), number));
                partitions.extend(run);
            }
            next = end;
        }
    }
    assignments
}
