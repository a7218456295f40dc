//! What the coordinator of a classic group answers.

use std::collections::BTreeSet;

use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
};

use millstream_types::TopicPartition;

use super::super::Shared;
use super::super::codes::*;
use super::super::embedded_protocol::{decode_assignment, decode_subscription};
use super::requests::PROTOCOL_TYPE;
use super::{Assignments, Classic, State, contradiction};
use crate::base::Base;
use crate::error::KafkaError;
use crate::network::Completion;
use crate::random::Backoff;
use crate::time::Now;

impl Classic {
    pub(super) fn joined(
        &mut self,
        completion: Completion,
        shared: &mut Shared,
        base: &mut Base,
        now: Now,
    ) {
        shared.link.is_held = false;
        self.held_on = None;
        let node = completion.node;
        let answer = completion.result.map_err(KafkaError::from).and_then(|body| {
            let response = body.decode_from::<JoinGroupRequest>(node, &mut base.net, now)?;
            base.net.throttle(node, response.throttle_time_ms, now);
            Ok(response)
        });
        let error = match answer {
            Ok(response) if response.error_code == 0 => {
                match self.accept(response, shared, base, now) {
                    Ok(()) => {
                        self.succeeded();
                        shared.is_well();
                        self.step_after_join(shared, base, now);
                        return;
                    }
                    Err(error) => error,
                }
            }
            Ok(response) => {
                if i32::from(response.error_code) == MEMBER_ID_REQUIRED {
                    self.member_id = response.member_id.to_string();
                    self.prepare("the member has its id now", now.mono);
                    return;
                }
                KafkaError::of(response.error_code)
            }
            Err(error) => error,
        };
        match error.code {
            FENCED_INSTANCE_ID | UNSUPPORTED_VERSION => return self.fail(shared, error),
            UNKNOWN_MEMBER_ID => {
                self.drop_membership(shared, true);
                return self.prepare("the coordinator does not know the member", now.mono);
            }
            COORDINATOR_LOAD_IN_PROGRESS | REBALANCE_IN_PROGRESS => {}
            code if coordinator_has_moved(code) => shared.link.lost(node, base),
            // A missing right, a full group, protocols that do not go together: someone may mend
            // it, so it is reported and tried again.
            _ => shared.report(error),
        }
        self.join_again(base, now);
    }

    fn succeeded(&mut self) {
        if let Some(backoff) = &mut self.backoff {
            backoff.succeeded();
        }
    }

    fn join_again(&mut self, base: &mut Base, now: Now) {
        let (first, max) = (base.settings.retry_backoff, base.settings.retry_backoff_max);
        let backoff = self.backoff.get_or_insert_with(|| Backoff::new(first, max));
        let at = now.after(backoff.failed(base.net.random()));
        self.prepare(self.reason, at);
    }

    fn accept(
        &mut self,
        response: JoinGroupResponse,
        shared: &Shared,
        base: &Base,
        now: Now,
    ) -> Result<(), KafkaError> {
        if response.protocol_type.as_deref().is_some_and(|kind| kind != PROTOCOL_TYPE) {
            return Err(KafkaError::of(INCONSISTENT_GROUP_PROTOCOL));
        }
        let name = response.protocol_name.as_deref().unwrap_or_default();
        let assignor = shared
            .settings
            .assignors
            .iter()
            .copied()
            .find(|assignor| assignor.protocol_name() == name)
            .ok_or_else(|| KafkaError::of(INCONSISTENT_GROUP_PROTOCOL))?;
        let leads = response.leader == response.member_id;
        let members = response.members.iter().map(|member| {
            let instance_id = member.group_instance_id.as_deref();
            decode_subscription(assignor, &member.member_id, instance_id, &member.metadata)
                .map_err(|error| contradiction(&format!("member {}: {error}", member.member_id)))
        });
        let members = if leads { members.collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
        self.session_end = now.after(shared.settings.session_timeout);
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        self.assignor = Some(assignor);
        self.snapshot = None;
        self.state = if leads {
            let rounds = base.metadata.rounds();
            State::Assigning { assignor, members, rounds, skip: response.skip_assignment }
        } else {
            State::Syncing { shares: Assignments::new(), out: false }
        };
        Ok(())
    }

    fn step_after_join(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        match self.state {
            State::Assigning { .. } => self.step_assigning(shared, base, now),
            _ => self.send_sync(shared, base, now),
        }
    }

    pub(super) fn synced(
        &mut self,
        completion: Completion,
        shared: &mut Shared,
        base: &mut Base,
        now: Now,
    ) {
        shared.link.is_held = false;
        self.held_on = None;
        let node = completion.node;
        let answer = completion.result.map_err(KafkaError::from).and_then(|body| {
            let response = body.decode_from::<SyncGroupRequest>(node, &mut base.net, now)?;
            base.net.throttle(node, response.throttle_time_ms, now);
            let name = response.protocol_name.as_deref();
            match response.error_code {
                0 if name.is_some_and(|n| Some(n) != self.assignor.map(|a| a.protocol_name())) => {
                    Err(KafkaError::of(INCONSISTENT_GROUP_PROTOCOL))
                }
                0 => decode_assignment(&response.assignment)
                    .map_err(|error| contradiction(&error.to_string())),
                code => Err(KafkaError::of(code)),
            }
        });
        let error = match answer {
            Ok(assigned) => {
                shared.is_well();
                self.become_stable(assigned, shared, now);
                return;
            }
            Err(error) => error,
        };
        match error.code {
            FENCED_INSTANCE_ID => self.fail(shared, error),
            REBALANCE_IN_PROGRESS => {
                self.session_end = now.after(shared.settings.session_timeout);
                self.prepare("another rebalance has begun", now.mono);
            }
            UNKNOWN_MEMBER_ID | ILLEGAL_GENERATION => {
                self.drop_membership(shared, error.code == UNKNOWN_MEMBER_ID);
                self.prepare("the coordinator has gone on without the member", now.mono);
            }
            code => {
                if coordinator_has_moved(code) {
                    shared.link.lost(node, base);
                } else if code != COORDINATOR_LOAD_IN_PROGRESS {
                    shared.report(error);
                }
                self.join_again(base, now);
            }
        }
    }

    fn become_stable(
        &mut self,
        mut assigned: BTreeSet<TopicPartition>,
        shared: &mut Shared,
        now: Now,
    ) {
        let count = assigned.len();
        assigned.retain(|partition| self.joined_topics.contains(&partition.topic));
        if assigned.len() < count {
            self.rejoin = Some("topics were assigned that are not subscribed to");
        }
        self.state = State::Stable;
        self.owned_generation = self.generation;
        self.joined_once = true;
        self.previous = assigned.clone();
        self.heartbeat_sent = None;
        self.heartbeat_at = now.after(shared.settings.heartbeat_interval);
        self.session_end = now.after(shared.settings.session_timeout);
        let owned = shared.talk.owned_set();
        let revoked: BTreeSet<_> = owned.difference(&assigned).cloned().collect();
        if !revoked.is_empty() {
            // Only when they are given up can the leader give them to someone else.
            self.rejoin = Some("partitions were given up");
            shared.talk.revoke(revoked);
        }
        self.added = Some(assigned.difference(&owned).cloned().collect());
        shared.offsets.rejoined();
    }

    pub(super) fn heard(
        &mut self,
        generation: i32,
        completion: Completion,
        shared: &mut Shared,
        base: &mut Base,
        now: Now,
    ) {
        // An answer to another generation, or to one that has ended, says nothing of this one.
        if generation != self.generation || !self.has_heartbeat() {
            return;
        }
        let Some(sent) = self.heartbeat_sent.take() else { return };
        let node = completion.node;
        let answer = completion.result.map_err(KafkaError::from).and_then(|body| {
            let response = body.decode_from::<HeartbeatRequest>(node, &mut base.net, now)?;
            base.net.throttle(node, response.throttle_time_ms, now);
            Ok(response.error_code)
        });
        let error = match answer {
            Ok(0) => {
                self.session_end = sent.saturating_add(shared.settings.session_timeout);
                return;
            }
            Ok(code) => KafkaError::of(code),
            Err(error) => error,
        };
        match error.code {
            REBALANCE_IN_PROGRESS => {
                self.session_end = sent.saturating_add(shared.settings.session_timeout);
                self.rejoin.get_or_insert("the group is rebalancing");
            }
            FENCED_INSTANCE_ID => self.fail(shared, error),
            UNKNOWN_MEMBER_ID | ILLEGAL_GENERATION => {
                self.drop_membership(shared, error.code == UNKNOWN_MEMBER_ID);
                if !matches!(self.state, State::Leaving { .. }) {
                    self.prepare("a heartbeat was refused", now.mono);
                }
            }
            code => {
                if coordinator_has_moved(code) {
                    shared.link.lost(node, base);
                } else if code != COORDINATOR_LOAD_IN_PROGRESS {
                    shared.report(error);
                }
                self.heartbeat_at = now.after(base.settings.retry_backoff);
            }
        }
    }
}
