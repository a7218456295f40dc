//! ListGroups (16), versions 0 to 5: all groups, filtered by state (version 4, KIP-518) and type
//! (version 5, KIP-848).

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::text;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: ListGroupsRequest) -> Reply {
    let passes = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let sees_all = broker.may(context, AclOperation::Describe, Resource::Cluster);
    let groups = broker
        .coordinator
        .all_groups()
        .filter(|(_, group)| passes(&request.states_filter, group.state_name()))
        .filter(|(_, group)| passes(&request.types_filter, group.kind()))
        .filter(|(name, _)| {
            sees_all || broker.may(context, AclOperation::Describe, Resource::Group(name))
        })
        .map(|(name, group)| {
            let mut row = ListedGroup::default()
                .with_group_id(text(name).into())
                .with_protocol_type(text(group.protocol_type().unwrap_or_default()));
            if context.version >= 4 {
                row = row.with_group_state(text(group.state_name()));
            }
            if context.version >= 5 {
                row = row.with_group_type(text(group.kind()));
            }
            row
        })
        .collect();
    context.reply(&ListGroupsResponse::default().with_groups(groups))
}
