//! What time does to a group: sessions end, waiting ends.

use std::time::Duration;

use super::{Group, GroupState};

impl Group {
    /// When [`tick`](Self::tick) has something to do, at the earliest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let sessions = self.members.iter().filter_map(|member| member.deadline());
        let pending = self.pending.iter().map(|(_, deadline)| *deadline);
        sessions.chain(pending).chain(self.join_deadline).chain(self.sync_deadline).min()
    }

    /// Moves every deadline away.
    pub(crate) fn put_off(&mut self, by: Duration) {
        let sessions = self.members.iter_mut().map(|member| &mut member.session_deadline);
        let pending = self.pending.iter_mut().map(|(_, deadline)| deadline);
        let waits = self.join_deadline.iter_mut().chain(&mut self.sync_deadline);
        for deadline in sessions.chain(pending).chain(waits) {
            *deadline += by;
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn tick(&mut self, now: Duration, wall_ms: i64) {
        let pending = self.pending.len();
        self.pending.retain(|(_, deadline)| *deadline > now);
        if self.pending.len() < pending {
            self.finish_join_if_ready(now, wall_ms);
        }
        while let Some(at) = self
            .members
            .iter()
            .position(|member| member.deadline().is_some_and(|deadline| deadline <= now))
        {
            tracing::info!(member = self.members[at].id, "a group member's session has ended");
            self.remove(at, now, wall_ms);
        }
        if self.join_deadline.is_some_and(|deadline| deadline <= now) {
            self.join_is_due(now, wall_ms);
        }
        if self.sync_deadline.is_some_and(|deadline| deadline <= now) {
            self.sync_is_due(now, wall_ms);
        }
    }

    fn join_is_due(&mut self, now: Duration, wall_ms: i64) {
        // The first gathering goes on while members come, up to the rebalance time-out.
        if let Some(wait) = &mut self.initial_wait
            && wait.somebody_joined
            && !wait.left.is_zero()
        {
            let more = wait.step.min(wait.left);
            wait.left -= more;
            wait.somebody_joined = false;
            self.join_deadline = Some(now + more);
            return;
        }
        self.finish_join(now, wall_ms);
    }

    /// Members that joined but did not sync in time are put out.
    fn sync_is_due(&mut self, now: Duration, wall_ms: i64) {
        self.sync_deadline = None;
        if self.state != GroupState::CompletingRebalance {
            return;
        }
        while let Some(at) = self.members.iter().position(|member| member.sync_ticket.is_none()) {
            self.remove(at, now, wall_ms);
            if self.state != GroupState::CompletingRebalance {
                break;
            }
        }
    }
}
