//! What time does to a group: sessions end, and the time to give up partitions.

use std::time::Duration;

use super::ConsumerGroup;

impl ConsumerGroup {
    /// When [`tick`](Self::tick) has something to do, at the earliest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let of = |member: &super::Member| {
            let rebalance = member.rebalance_deadline.unwrap_or(Duration::MAX);
            member.session_deadline.min(rebalance)
        };
        self.members.values().map(of).min()
    }

    /// Moves every deadline away.
    pub(crate) fn put_off(&mut self, by: Duration) {
        for member in self.members.values_mut() {
            member.session_deadline += by;
            if let Some(deadline) = &mut member.rebalance_deadline {
                *deadline += by;
            }
        }
    }

    /// Puts out the members whose time is over at `now`.
    pub(crate) fn tick(&mut self, now: Duration, wall_ms: i64) {
        let is_over = |member: &super::Member| {
            let rebalance = member.rebalance_deadline.is_some_and(|deadline| deadline <= now);
            member.session_deadline <= now || rebalance
        };
        let over: Vec<String> = self
            .members
            .values()
            .filter(|member| is_over(member))
            .map(|member| member.id.clone())
            .collect();
        for id in over {
            tracing::info!(member = id, "a group member's session or rebalance time has ended");
            self.fence(&id, wall_ms);
        }
    }
}
