//! OffsetCommit (8), versions 2 to 9: a group's place in its partitions, made durable.
//!
//! The retention time of versions 2 to 4 is not used (nor does Kafka): `offsets.retention.minutes`
//! counts from when the group has become empty. Offsets of unknown partitions are refused each.
//! A member of a group of KIP-848 needs version 9, the first whose codes it can be told.

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

/// From here on a client knows the codes of KIP-848.
const TELLS_STALE: i16 = 9;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: OffsetCommitRequest,
) -> Reply {
    let (now, wall) = (broker.clock.monotonic(), broker.clock.wall());
    let key = MemberKey { id: &request.member_id, instance: request.group_instance_id.as_deref() };
    let generation = request.generation_id_or_member_epoch;
    let rights = broker.allow(context, AclOperation::Read, Resource::Group(&request.group_id));
    let allowed = rights.and_then(|()| {
        let group = &request.group_id;
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let is_consumer = broker.coordinator.consumer_group(group).is_some();
        let answer = broker.coordinator.check_commit(group, &key, generation, now, wall);
        match answer {
            Err(ResponseError::GroupIdNotFound) if context.version < TELLS_STALE => {
                Err(ResponseError::IllegalGeneration)
            }
            Ok(()) | Err(ResponseError::StaleMemberEpoch)
                if is_consumer && generation >= 0 && context.version < TELLS_STALE =>
            {
                Err(ResponseError::UnsupportedVersion)
            }
            answer => answer,
        }
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
                let topic = known
                    .filter(|topic| topic.log(index).is_some())
                    .ok_or(ResponseError::UnknownTopicOrPartition)?;
                let (group, partition) = (&request.group_id, (topic.id, index));
                broker.coordinator.check_commit_of(group, key.id, generation, partition)?;
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
