//! OffsetDelete (47), version 0: forgets what a group has committed for some partitions
//! (KIP-496). Refused for topics that a member of the group subscribes to.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: OffsetDeleteRequest,
) -> Reply {
    let name = request.group_id.as_str();
    if let Err(code) = broker.allow(context, AclOperation::Delete, Resource::Group(name)) {
        return context.reply(&OffsetDeleteResponse::default().with_error_code(code.code()));
    }
    let Some(group) = broker.coordinator.any_group(name) else {
        let code = ResponseError::GroupIdNotFound.code();
        return context.reply(&OffsetDeleteResponse::default().with_error_code(code));
    };
    let mut gone = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let subscribed = group.subscribes_to(&topic.name);
        let allowed = broker.allow(context, AclOperation::Read, Resource::Topic(&topic.name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let known = broker.topics.get(&topic.name).and_then(|topic| topic.log(index));
            let result = match known {
                _ if allowed.is_err() => allowed,
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(_) if subscribed => Err(ResponseError::GroupSubscribedToTopic),
                Some(_) => {
                    gone.push((topic.name.to_string(), index));
                    Ok(())
                }
            };
            partitions.push(
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(code_of(result)),
            );
        }
        topics.push(
            OffsetDeleteResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    let code = match broker.coordinator.delete_offsets(name, &gone) {
        Ok(()) => 0,
        Err(_) => ResponseError::KafkaStorageError.code(),
    };
    let topics = if code == 0 { topics } else { Vec::new() };
    context.reply(&OffsetDeleteResponse::default().with_error_code(code).with_topics(topics))
}
