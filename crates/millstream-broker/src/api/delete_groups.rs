//! DeleteGroups (42), versions 0 to 2: removes groups without members, with their offsets.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DeleteGroupsRequest,
) -> Reply {
    let results = request
        .groups_names
        .into_iter()
        .map(|id| {
            let allowed = broker.allow(context, AclOperation::Delete, Resource::Group(&id));
            let code = code_of(allowed.and_then(|()| broker.coordinator.delete_group(&id)));
            DeletableGroupResult::default().with_group_id(id).with_error_code(code)
        })
        .collect();
    context.reply(&DeleteGroupsResponse::default().with_results(results))
}
