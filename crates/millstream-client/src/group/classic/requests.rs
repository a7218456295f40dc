//! What a member of a classic group asks.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::super::codes::UNSUPPORTED_VERSION;
use super::super::embedded_protocol::{encode_assignment, encode_subscription};
use super::super::{GroupTag, Shared, millis};
use super::{Classic, State};
use crate::base::Base;
use crate::error::KafkaError;
use crate::tag::Tag;
use crate::time::Now;

/// What the members of consumer groups call their protocol.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// How much longer than the members' time an answer to a JoinGroup may take.
const HELD_MARGIN: Duration = Duration::from_secs(5);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(shared: &Shared) -> GroupId {
    GroupId(text(&shared.settings.group_id))
}

fn instance_id(shared: &Shared) -> Option<StrBytes> {
    shared.settings.instance_id.as_deref().map(text)
}

impl Classic {
    pub(super) fn send_join(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        let Some(subscription) = &shared.subscription else { return };
        let Some(node) = shared.link.node(base, now) else { return };
        // The node is ready, so none means that the broker is too old.
        let Some(version) = base.net.version::<JoinGroupRequest>(node, (5, 9)) else {
            let text = "groups need brokers of Kafka 2.3 or later";
            return self.fail(shared, KafkaError::with(UNSUPPORTED_VERSION, Some(text)));
        };
        let topics = subscription.resolve(&base.metadata);
        let owned = shared.talk.owned_set();
        // Who still has what it had says so by `owned`.
        let nothing = BTreeSet::new();
        let previous = if owned.is_empty() { &self.previous } else { &nothing };
        let protocols = shared.settings.assignors.iter().map(|assignor| {
            let metadata = encode_subscription(
                *assignor,
                &topics,
                &owned,
                previous,
                self.owned_generation,
                &shared.rack,
            );
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(assignor.protocol_name()))
                .with_metadata(metadata)
        });
        let rebalance_timeout = shared.settings.max_poll_interval;
        let mut request = JoinGroupRequest::default()
            .with_group_id(group_id(shared))
            .with_session_timeout_ms(millis(shared.settings.session_timeout))
            .with_rebalance_timeout_ms(millis(rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(instance_id(shared))
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(protocols.collect());
        if version >= 8 {
            request = request.with_reason(Some(text(self.reason)));
        }
        self.joined_topics = topics;
        self.seen_revision = Some(base.metadata.revision());
        self.rejoin = None;
        self.serial += 1;
        self.heartbeat_sent = None;
        self.state = State::Joining;
        self.held_on = Some(node);
        shared.link.is_held = true;
        let timeout = base.settings.request_timeout.max(rebalance_timeout + HELD_MARGIN);
        let tag = Tag::Group(GroupTag::Join { serial: self.serial });
        base.net.send(node, &request, version, timeout, tag, now);
    }

    pub(super) fn send_sync(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        let State::Syncing { shares, out: out @ false } = &mut self.state else { return };
        let Some(node) = shared.link.node(base, now) else { return };
        let Some(version) = base.net.version::<SyncGroupRequest>(node, (3, 5)) else { return };
        let assignments = shares.iter().map(|(member_id, partitions)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member_id))
                .with_assignment(encode_assignment(partitions))
        });
        let mut request = SyncGroupRequest::default()
            .with_group_id(group_id(shared))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(instance_id(shared))
            .with_assignments(assignments.collect());
        if version >= 5 {
            let name = self.assignor.map(|assignor| assignor.protocol_name());
            request = request
                .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
                .with_protocol_name(name.map(StrBytes::from_static_str));
        }
        *out = true;
        self.held_on = Some(node);
        shared.link.is_held = true;
        let timeout =
            base.settings.request_timeout.max(shared.settings.max_poll_interval + HELD_MARGIN);
        let tag = Tag::Group(GroupTag::Sync { serial: self.serial });
        base.net.send(node, &request, version, timeout, tag, now);
    }

    pub(super) fn send_heartbeat(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        let Some(node) = shared.link.node(base, now) else { return };
        let Some(version) = base.net.version::<HeartbeatRequest>(node, (3, 4)) else { return };
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(shared))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(instance_id(shared));
        self.heartbeat_sent = Some(now.mono);
        self.heartbeat_at = now.after(shared.settings.heartbeat_interval);
        // Early enough for another try before the session ends.
        let timeout = (shared.settings.session_timeout / 3)
            .max(shared.settings.heartbeat_interval)
            .min(base.settings.request_timeout);
        let tag = Tag::Group(GroupTag::Heartbeat { generation: self.generation });
        base.net.send(node, &request, version, timeout, tag, now);
    }

    /// Returns whether it could be sent.
    pub(super) fn send_leave(
        &mut self,
        shared: &mut Shared,
        base: &mut Base,
        reason: &str,
        now: Now,
    ) -> bool {
        let Some(node) = shared.link.node(base, now) else { return false };
        let Some(version) = base.net.version::<LeaveGroupRequest>(node, (3, 5)) else {
            return false;
        };
        let mut member = MemberIdentity::default()
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(instance_id(shared));
        if version >= 5 {
            member = member.with_reason(Some(text(reason)));
        }
        let request =
            LeaveGroupRequest::default().with_group_id(group_id(shared)).with_members(vec![member]);
        let timeout = base.settings.request_timeout;
        base.net.send(node, &request, version, timeout, Tag::Group(GroupTag::Leave), now);
        true
    }
}
