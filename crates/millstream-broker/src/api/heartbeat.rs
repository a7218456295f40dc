//! Heartbeat (12), versions 0 to 4: a member lives. `REBALANCE_IN_PROGRESS` asks it to rejoin.

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::group::MemberKey;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: HeartbeatRequest) -> Reply {
    let key = MemberKey { id: &request.member_id, instance: request.group_instance_id.as_deref() };
    let now = broker.clock.monotonic();
    let result =
        broker.allow(context, AclOperation::Read, Resource::Group(&request.group_id)).and_then(
            |()| broker.coordinator.heartbeat(&request.group_id, &key, request.generation_id, now),
        );
    context.reply(&HeartbeatResponse::default().with_error_code(code_of(result)))
}
