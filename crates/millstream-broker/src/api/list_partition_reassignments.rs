//! ListPartitionReassignments (46), version 0: there are none, ever. Kafka's `topics --describe`
//! asks.

use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::text;
use crate::acl::{AclOperation, Resource, denied_text};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    _: ListPartitionReassignmentsRequest,
) -> Reply {
    let response = ListPartitionReassignmentsResponse::default();
    match broker.allow(context, AclOperation::Describe, Resource::Cluster) {
        Ok(()) => context.reply(&response),
        Err(code) => context.reply(
            &response
                .with_error_code(code.code())
                .with_error_message(Some(text(denied_text(code)))),
        ),
    }
}
