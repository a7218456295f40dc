//! DescribeGroups (15), versions 0 to 6: a group's state, its members and what they own.
//!
//! A group that is not there, or is one of KIP-848, is `Dead` without an error, from version 6 on `GROUP_ID_NOT_FOUND`
//! (KIP-1043). Metadata and assignments are shown while the group is stable.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::{distinct, text};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::group::{Group, GroupState};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: DescribeGroupsRequest,
) -> Reply {
    distinct(&mut request.groups, Clone::clone);
    let asked = request.include_authorized_operations;
    let groups = request
        .groups
        .into_iter()
        .map(|id| {
            let resource = Resource::Group(&id);
            if let Err(code) = broker.allow(context, AclOperation::Describe, resource) {
                return DescribedGroup::default().with_error_code(code.code()).with_group_id(id);
            }
            let row = match broker.coordinator.group(&id) {
                Some(group) => describe(context, group),
                None => missing(context, &id),
            };
            let operations = broker.operations(context, resource, asked);
            let row = row.with_group_id(id);
            if context.version >= 3 { row.with_authorized_operations(operations) } else { row }
        })
        .collect();
    context.reply(&DescribeGroupsResponse::default().with_groups(groups))
}

fn missing(context: &Context, id: &GroupId) -> DescribedGroup {
    let row = DescribedGroup::default().with_group_state(text(GroupState::Dead.name()));
    if context.version < 6 {
        return row;
    }
    row.with_error_code(ResponseError::GroupIdNotFound.code())
        .with_error_message(Some(text(format!("there is no classic group `{}`", id.as_str()))))
}

fn describe(context: &Context, group: &Group) -> DescribedGroup {
    let protocol = match group.state() {
        GroupState::Stable => group.protocol(),
        _ => None,
    };
    let members = group
        .members()
        .iter()
        .map(|member| {
            let mut row = DescribedGroupMember::default()
                .with_member_id(text(&member.id))
                .with_client_id(text(&member.client_id))
                .with_client_host(text(format!("/{}", member.client_host)));
            if context.version >= 4 {
                row = row.with_group_instance_id(member.instance.clone().map(text));
            }
            let Some(protocol) = protocol else { return row };
            row.with_member_metadata(member.metadata_of(protocol).cloned().unwrap_or_default())
                .with_member_assignment(member.assignment.clone())
        })
        .collect();
    DescribedGroup::default()
        .with_group_state(text(group.state().name()))
        .with_protocol_type(text(group.protocol_type().unwrap_or_default()))
        .with_protocol_data(text(protocol.unwrap_or_default()))
        .with_members(members)
}
