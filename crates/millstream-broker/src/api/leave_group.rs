//! LeaveGroup (13), versions 0 to 5: members go, one (to version 2) or several (KIP-345).

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::group::MemberKey;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: LeaveGroupRequest) -> Reply {
    let (now, wall) = (broker.clock.monotonic(), broker.clock.wall());
    let group = request.group_id;
    if let Err(code) = broker.allow(context, AclOperation::Read, Resource::Group(&group)) {
        return context.reply(&LeaveGroupResponse::default().with_error_code(code.code()));
    }
    if context.version <= 2 {
        let key = MemberKey { id: &request.member_id, instance: None };
        let code = code_of(broker.coordinator.leave(&group, &key, now, wall));
        return context.reply(&LeaveGroupResponse::default().with_error_code(code));
    }
    let members = request
        .members
        .into_iter()
        .map(|member| {
            let instance = member.group_instance_id;
            let key = MemberKey { id: &member.member_id, instance: instance.as_deref() };
            let code = code_of(broker.coordinator.leave(&group, &key, now, wall));
            MemberResponse::default()
                .with_error_code(code)
                .with_member_id(member.member_id)
                .with_group_instance_id(instance)
        })
        .collect();
    context.reply(&LeaveGroupResponse::default().with_members(members))
}
