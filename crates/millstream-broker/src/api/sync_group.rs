//! SyncGroup (14), versions 0 to 5: the leader brings the assignment, every member takes its own.
//!
//! The answer waits for the leader; the rules are in [`crate::group`].

use bytes::Bytes;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::text;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::group::{SyncAnswer, SyncRequest};

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: SyncGroupRequest) -> Reply {
    let resource = Resource::Group(&request.group_id);
    if let Err(code) = broker.allow(context, AclOperation::Read, resource) {
        return Reply::Now(answer(context, Err(code)).into());
    }
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: request
            .assignments
            .into_iter()
            // Copied: the group keeps it, and must not keep the whole request with it.
            .map(|a| (a.member_id.to_string(), Bytes::copy_from_slice(&a.assignment)))
            .collect(),
    };
    let now = broker.clock.monotonic();
    let reply = broker.wait_for_group(context);
    broker.coordinator.sync(&request.group_id, sync, context.ticket, now);
    reply
}

/// Encodes the group's answer.
pub(crate) fn answer(context: &Context, answer: SyncAnswer) -> Bytes {
    let response = match answer {
        Ok(synced) => {
            let response = SyncGroupResponse::default().with_assignment(synced.assignment);
            if context.version >= 5 {
                response
                    .with_protocol_type(synced.protocol_type.map(text))
                    .with_protocol_name(synced.protocol.map(text))
            } else {
                response
            }
        }
        Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
    };
    context.frame(&response)
}
