//! JoinGroup (11), versions 0 to 9: a consumer asks to be a member of a group.
//!
//! The answer waits until the group is complete; the rules are in [`crate::group`]. New members
//! are told their id first from version 4 on (KIP-394), static members exist from version 5 on
//! (KIP-345), a returning static leader may skip the assignment from version 9 on (KIP-814).
//! The reason of version 8 is logged only.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::text;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::group::{JoinAnswer, JoinRequest};

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: JoinGroupRequest) -> Reply {
    let resource = Resource::Group(&request.group_id);
    if let Err(code) = broker.allow(context, AclOperation::Read, resource) {
        return Reply::Now(answer(context, Err((code, request.member_id.to_string()))).into());
    }
    if request.group_id.is_empty() {
        let refusal = Err((ResponseError::InvalidGroupId, request.member_id.to_string()));
        return Reply::Now(answer(context, refusal).into());
    }
    let millis = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(0));
    let session_timeout = millis(request.session_timeout_ms);
    let rebalance_timeout = match request.rebalance_timeout_ms {
        // Version 0 has no such field.
        given if given >= 0 && context.version >= 1 => millis(given),
        _ => session_timeout,
    };
    let instance = request.group_instance_id.map(|id| id.to_string());
    let stem = instance.as_deref().unwrap_or(&context.client_id);
    let new_id = format!("{stem}-{}", broker.random.uuid());
    tracing::debug!(group = %*request.group_id, member = %request.member_id, reason = request.reason.as_deref(), "join");
    let join = JoinRequest {
        member_id: request.member_id.to_string(),
        needs_known_id: context.version >= 4 && instance.is_none(),
        instance,
        client_id: context.client_id.clone(),
        client_host: context.host.clone(),
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            // Copied: the group keeps it, and must not keep the whole request with it.
            .map(|p| (p.name.to_string(), Bytes::copy_from_slice(&p.metadata)))
            .collect(),
        new_id,
        may_skip_assignment: context.version >= 9,
    };
    let (now, wall) = (broker.clock.monotonic(), broker.clock.wall());
    let settings = broker.group_settings();
    let reply = broker.wait_for_group(context);
    broker.coordinator.join(&request.group_id, join, context.ticket, &settings, now, wall);
    reply
}

/// Encodes the group's answer.
pub(crate) fn answer(context: &Context, answer: JoinAnswer) -> Bytes {
    let response = match answer {
        Ok(joined) => {
            let members = joined
                .members
                .into_iter()
                .map(|(id, instance, metadata)| {
                    let member = JoinGroupResponseMember::default()
                        .with_member_id(text(id))
                        .with_metadata(metadata);
                    if context.version >= 5 {
                        member.with_group_instance_id(instance.map(text))
                    } else {
                        member
                    }
                })
                .collect();
            let mut response = JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_name(Some(text(joined.protocol)))
                .with_leader(text(joined.leader))
                .with_member_id(text(joined.member_id))
                .with_members(members);
            if context.version >= 7 {
                response = response.with_protocol_type(Some(text(joined.protocol_type)));
            }
            if context.version >= 9 {
                response = response.with_skip_assignment(joined.skip_assignment);
            }
            response
        }
        Err((code, member_id)) => JoinGroupResponse::default()
            .with_error_code(code.code())
            .with_generation_id(-1)
            // Null is allowed from version 7 on.
            .with_protocol_name(if context.version >= 7 { None } else { Some(text("")) })
            .with_member_id(text(member_id)),
    };
    context.frame(&response)
}
