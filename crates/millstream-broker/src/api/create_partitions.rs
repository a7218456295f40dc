//! CreatePartitions (37), versions 0 to 3: adds partitions to topics (KIP-195). Assignments, if
//! given, must name this broker. The time-out is not used.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{NODE, text};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::topics::{Refused, unknown_topic};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: CreatePartitionsRequest,
) -> Reply {
    let results = request
        .topics
        .into_iter()
        .map(|topic| {
            let outcome = broker
                .require(context, AclOperation::Alter, Resource::Topic(&topic.name))
                .and_then(|()| grow(broker, &topic, request.validate_only));
            let row = CreatePartitionsTopicResult::default().with_name(topic.name);
            match outcome {
                Ok(()) => row,
                Err(refused) => row
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.message))),
            }
        })
        .collect();
    context.reply(&CreatePartitionsResponse::default().with_results(results))
}

fn grow(
    broker: &mut Broker,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refused> {
    let known = broker.topics.get(&topic.name).ok_or_else(|| unknown_topic(&topic.name))?;
    if let Some(assignments) = &topic.assignments {
        let new = i64::from(topic.count) - known.partitions.len() as i64;
        if assignments.len() as i64 != new || assignments.iter().any(|a| a.broker_ids != [NODE]) {
            let message = "an assignment must name this broker, once for each new partition";
            return Err(Refused::new(ResponseError::InvalidReplicaAssignment, message));
        }
    }
    broker.topics.grow(&mut broker.meta, &topic.name, topic.count, validate_only)
}
