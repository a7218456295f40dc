//! `roundrobin`: all partitions in order, to the members in turn, passing over members that do not
//! subscribe to the topic. As the Java client does it.

use super::{Assignments, MemberSubscription, PartitionCounts, nobody, partitions};

/// `members` in rank order.
pub(super) fn assign(members: &[&MemberSubscription], counts: &PartitionCounts) -> Assignments {
    let mut assignments = nobody(members);
    let mut turn = members.iter().cycle().peekable();
    for partition in partitions(members, counts) {
        // Ends: a topic is only in here because somebody subscribes to it.
        while turn.next_if(|member| !member.topics.contains(&partition.topic)).is_some() {}
        if let Some(member) = turn.next()
            && let Some(theirs) = assignments.get_mut(&member.member_id)
        {
            theirs.insert(partition);
        }
    }
    assignments
}
