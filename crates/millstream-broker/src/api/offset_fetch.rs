//! OffsetFetch (9), versions 1 to 9: the offsets groups have committed; from version 8 on of
//! several groups at once (KIP-709). A null list of topics asks for all. No offset is -1.
//!
//! `require_stable` has nothing to wait for while there are no transactions; member id and
//! epoch of version 9 belong to the protocol of KIP-848 and are not used.

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::{distinct, text, topic_name};
use crate::broker::{Broker, Context, Reply};
use crate::coordinator::Committed;

type Found = Vec<(TopicName, Vec<(i32, Option<Committed>)>)>;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: OffsetFetchRequest,
) -> Reply {
    distinct(&mut request.groups, |group| group.group_id.clone());
    if context.version >= 8 {
        let groups = request
            .groups
            .into_iter()
            .map(|group| {
                let asked = group.topics.map(|topics| {
                    topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect()
                });
                let topics = look_up(broker, &group.group_id, asked)
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
    let asked = request
        .topics
        .map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    let topics = look_up(broker, &request.group_id, asked)
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(old_row).collect();
            OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
        })
        .collect();
    context.reply(&OffsetFetchResponse::default().with_topics(topics))
}

fn look_up(broker: &Broker, group: &str, asked: Option<Vec<(TopicName, Vec<i32>)>>) -> Found {
    let coordinator = &broker.coordinator;
    if let Some(mut asked) = asked {
        distinct(&mut asked, |(name, _)| name.clone());
        for (_, partitions) in &mut asked {
            distinct(partitions, |partition| *partition);
        }
        return asked
            .into_iter()
            .map(|(name, partitions)| {
                let offsets = partitions
                    .into_iter()
                    .map(|partition| (partition, coordinator.committed(group, &name, partition)))
                    .collect();
                (name, offsets)
            })
            .collect();
    }
    let mut found = Found::new();
    for (topic, partition, committed) in coordinator.all_committed(group) {
        match found.last_mut() {
            Some((name, partitions)) if name.as_str() == topic => {
                partitions.push((partition, Some(committed)));
            }
            _ => found.push((topic_name(&topic), vec![(partition, Some(committed))])),
        }
    }
    found
}

fn row((partition, committed): (i32, Option<Committed>)) -> OffsetFetchResponsePartitions {
    let (offset, epoch, metadata) = fields(committed);
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(epoch)
        .with_metadata(Some(text(metadata)))
}

fn old_row((partition, committed): (i32, Option<Committed>)) -> OffsetFetchResponsePartition {
    let (offset, epoch, metadata) = fields(committed);
    OffsetFetchResponsePartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(epoch)
        .with_metadata(Some(text(metadata)))
}

fn fields(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |committed| {
        (committed.offset, committed.leader_epoch, committed.metadata.unwrap_or_default())
    })
}
