//! OffsetFetch (9), versions 1 to 9: the offsets groups have committed; from version 8 on of
//! several groups at once (KIP-709). A null list of topics asks for all. No offset is -1.
//!
//! With `require_stable` (KIP-447) a partition whose offset an open transaction may yet change is
//! answered with `UNSTABLE_OFFSET_COMMIT`, and the client asks again. Member id and epoch of
//! version 9 are checked in groups of KIP-848.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::{distinct, text, topic_name};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::coordinator::Committed;

/// The committed offset of a partition, if there is one; an error if it may change yet.
type Offset = Result<Option<Committed>, ResponseError>;
type Found = Vec<(TopicName, Vec<(i32, Offset)>)>;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: OffsetFetchRequest,
) -> Reply {
    distinct(&mut request.groups, |group| group.group_id.clone());
    let stable = request.require_stable;
    if context.version >= 8 {
        let groups = request
            .groups
            .into_iter()
            .map(|group| {
                let (id, member) = (&group.group_id, group.member_id.as_deref());
                let rights = broker.allow(context, AclOperation::Describe, Resource::Group(id));
                let allowed = rights.and_then(|()| {
                    broker.coordinator.check_offset_fetch(id, member, group.member_epoch)
                });
                if let Err(code) = allowed {
                    return OffsetFetchResponseGroup::default()
                        .with_group_id(group.group_id)
                        .with_error_code(code.code());
                }
                let asked = group.topics.map(|topics| {
                    topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect()
                });
                let topics = look_up(broker, context, &group.group_id, asked, stable)
                    .into_iter()
                    .map(|(name, partitions)| {
                        let partitions = partitions.into_iter().map(row).collect();
                        OffsetFetchResponseTopics::default()
                            .with_name(name)
                            .with_partitions(partitions)
                    })
                    .collect();
                OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id)
                    .with_topics(topics)
            })
            .collect();
        return context.reply(&OffsetFetchResponse::default().with_groups(groups));
    }
    let allowed = broker.allow(context, AclOperation::Describe, Resource::Group(&request.group_id));
    if let Err(code) = allowed {
        return context.reply(&match context.version {
            2.. => OffsetFetchResponse::default().with_error_code(code.code()),
            // There is no place for it but at each partition.
            _ => refuse_each(request.topics.unwrap_or_default(), code),
        });
    }
    let asked = request
        .topics
        .map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    let topics = look_up(broker, context, &request.group_id, asked, stable)
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(old_row).collect();
            OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
        })
        .collect();
    context.reply(&OffsetFetchResponse::default().with_topics(topics))
}

fn refuse_each(asked: Vec<OffsetFetchRequestTopic>, code: ResponseError) -> OffsetFetchResponse {
    let topics = asked
        .into_iter()
        .map(|topic| {
            let rows = topic.partition_indexes.into_iter().map(|index| old_row((index, Err(code))));
            OffsetFetchResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(rows.collect())
        })
        .collect();
    OffsetFetchResponse::default().with_topics(topics)
}

fn look_up(
    broker: &Broker,
    context: &Context,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
    stable: bool,
) -> Found {
    let coordinator = &broker.coordinator;
    let check = |topic: &str, partition| {
        let unstable = stable && coordinator.is_unstable(group, topic, partition);
        if unstable { Err(ResponseError::UnstableOffsetCommit) } else { Ok(()) }
    };
    if let Some(mut asked) = asked {
        distinct(&mut asked, |(name, _)| name.clone());
        for (_, partitions) in &mut asked {
            distinct(partitions, |partition| *partition);
        }
        return asked
            .into_iter()
            .map(|(name, partitions)| {
                let allowed = broker.allow(context, AclOperation::Describe, Resource::Topic(&name));
                let offsets = partitions
                    .into_iter()
                    .map(|partition| {
                        let offset = allowed
                            .and_then(|()| check(&name, partition))
                            .map(|()| coordinator.committed(group, &name, partition));
                        (partition, offset)
                    })
                    .collect();
                (name, offsets)
            })
            .collect();
    }
    let mut found = Found::new();
    for (topic, partition, committed) in coordinator.all_committed(group) {
        if !broker.may(context, AclOperation::Describe, Resource::Topic(&topic)) {
            continue;
        }
        let offset = check(&topic, partition).map(|()| Some(committed));
        match found.last_mut() {
            Some((name, partitions)) if name.as_str() == topic => {
                partitions.push((partition, offset));
            }
            _ => found.push((topic_name(&topic), vec![(partition, offset)])),
        }
    }
    found
}

fn row((partition, found): (i32, Offset)) -> OffsetFetchResponsePartitions {
    let code = found.as_ref().err().map_or(0, ResponseError::code);
    let (offset, epoch, metadata) = fields(found.ok().flatten());
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_error_code(code)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(epoch)
        .with_metadata(Some(text(metadata)))
}

fn old_row((partition, found): (i32, Offset)) -> OffsetFetchResponsePartition {
    let code = found.as_ref().err().map_or(0, ResponseError::code);
    let (offset, epoch, metadata) = fields(found.ok().flatten());
    OffsetFetchResponsePartition::default()
        .with_partition_index(partition)
        .with_error_code(code)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(epoch)
        .with_metadata(Some(text(metadata)))
}

fn fields(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |committed| {
        (committed.offset, committed.leader_epoch, committed.metadata.unwrap_or_default())
    })
}
