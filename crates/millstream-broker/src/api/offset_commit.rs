//! OffsetCommit (8), versions 2 to 9: a group's place in its partitions, made durable.
//!
//! The retention time of versions 2 to 4 is not used (nor does Kafka): `offsets.retention.minutes`
//! counts from when the group has become empty. Offsets of unknown partitions are refused each.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::coordinator::Committed;
use crate::group::MemberKey;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: OffsetCommitRequest,
) -> Reply {
    let (now, wall) = (broker.clock.monotonic(), broker.clock.wall());
    let key = MemberKey { id: &request.member_id, instance: request.group_instance_id.as_deref() };
    let generation = request.generation_id_or_member_epoch;
    let rights = broker.allow(context, AclOperation::Read, Resource::Group(&request.group_id));
    let allowed = rights.and_then(|()| match request.group_id.is_empty() {
        true => Err(ResponseError::InvalidGroupId),
        false => broker.coordinator.check_commit(&request.group_id, &key, generation, now, wall),
    });
    let metadata_max = broker.settings.number("offset.metadata.max.bytes") as usize;
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let known = broker.topics.get(&topic.name);
        let allowed = rights
            .and_then(|()| broker.allow(context, AclOperation::Read, Resource::Topic(&topic.name)))
            .and(allowed);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let metadata = partition.committed_metadata.as_deref();
            let result = allowed.and_then(|()| {
                known
                    .and_then(|topic| topic.log(index))
                    .ok_or(ResponseError::UnknownTopicOrPartition)?;
                match metadata.map_or(0, str::len) > metadata_max {
                    true => Err(ResponseError::OffsetMetadataTooLarge),
                    false => Ok(()),
                }
            });
            if result.is_ok() {
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    at_ms: wall,
                    metadata: metadata.map(str::to_owned),
                };
                offsets.push((topic.name.to_string(), index, committed));
            }
            partitions.push((index, code_of(result)));
        }
        topics.push((topic.name.clone(), partitions));
    }
    let stored = broker.coordinator.commit(&request.group_id, offsets);
    if let Err(error) = &stored {
        tracing::error!(group = %*request.group_id, %error, "cannot store committed offsets");
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(index, code)| {
                    let lost = code == 0 && stored.is_err();
                    let code = if lost { ResponseError::KafkaStorageError.code() } else { code };
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(code)
                })
                .collect();
            OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions)
        })
        .collect();
    context.reply(&OffsetCommitResponse::default().with_topics(topics))
}
