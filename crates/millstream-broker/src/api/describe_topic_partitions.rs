//! DescribeTopicPartitions (75), version 0: topics page by page (KIP-966), which Kafka's own
//! tools ask for since 4.0. An empty list asks for all topics. Eligible leader replicas do not
//! exist here: the lists are empty.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::{NODE, topic_name};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::log::LEADER_EPOCH;

/// Partitions in one answer at most, as in Kafka (`max.request.partition.size.limit`).
const PAGE_MAX: i32 = 2000;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DescribeTopicPartitionsRequest,
) -> Reply {
    let mut names: Vec<String> = match request.topics.is_empty() {
        true => broker
            .topics
            .iter()
            .map(|topic| topic.name.to_string())
            .filter(|name| broker.may(context, AclOperation::Describe, Resource::Topic(name)))
            .collect(),
        false => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let mut left = request.response_partition_limit.clamp(1, PAGE_MAX);
    let mut response = DescribeTopicPartitionsResponse::default().with_next_cursor(None);
    for name in names {
        let mut first = 0;
        if let Some(cursor) = &request.cursor {
            if name.as_str() < cursor.topic_name.as_str() {
                continue;
            }
            if name == cursor.topic_name.as_str() {
                first = cursor.partition_index.max(0);
            }
        }
        if left == 0 {
            let cursor = Cursor::default().with_topic_name(topic_name(&name));
            response.next_cursor = Some(cursor.with_partition_index(first));
            break;
        }
        let row =
            DescribeTopicPartitionsResponseTopic::default().with_name(Some(topic_name(&name)));
        let resource = Resource::Topic(&name);
        if let Err(code) = broker.allow(context, AclOperation::Describe, resource) {
            response.topics.push(row.with_error_code(code.code()));
            continue;
        }
        let operations = broker.operations(context, resource, true);
        let row = row.with_topic_authorized_operations(operations);
        let Some(topic) = broker.topics.get(&name) else {
            let code = match crate::topics::check_name(&name) {
                Ok(()) => ResponseError::UnknownTopicOrPartition,
                Err(refused) => refused.code,
            };
            response.topics.push(row.with_error_code(code.code()));
            continue;
        };
        let count = topic.partitions.len() as i32;
        let last = count.min(first.saturating_add(left));
        left -= (last - first).max(0);
        let partitions = (first..last)
            .map(|partition| {
                DescribeTopicPartitionsResponsePartition::default()
                    .with_partition_index(partition)
                    .with_leader_id(NODE)
                    .with_leader_epoch(LEADER_EPOCH)
                    .with_replica_nodes(vec![NODE])
                    .with_isr_nodes(vec![NODE])
                    // Kafka's own client takes null, which the protocol allows, for a list.
                    .with_eligible_leader_replicas(Some(Vec::new()))
                    .with_last_known_elr(Some(Vec::new()))
            })
            .collect();
        response.topics.push(row.with_topic_id(topic.id).with_partitions(partitions));
        if last < count {
            let cursor = Cursor::default().with_topic_name(topic_name(&name));
            response.next_cursor = Some(cursor.with_partition_index(last));
            break;
        }
    }
    context.reply(&response)
}
