//! ListPartitionReassignments (46), version 0: there are none, ever. Kafka's `topics --describe`
//! asks.

use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    _: &mut Broker,
    context: &Context,
    _: ListPartitionReassignmentsRequest,
) -> Reply {
    context.reply(&ListPartitionReassignmentsResponse::default())
}
