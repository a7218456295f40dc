//! DescribeProducers (61), version 0: what partitions remember of idempotent and transactional
//! producers (KIP-664).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::distinct;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: DescribeProducersRequest,
) -> Reply {
    distinct(&mut request.topics, |topic| topic.name.clone());
    let topics = request
        .topics
        .into_iter()
        .map(|mut topic| {
            distinct(&mut topic.partition_indexes, |partition| *partition);
            let known = broker.topics.get(&topic.name);
            let allowed = broker.allow(context, AclOperation::Read, Resource::Topic(&topic.name));
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|partition| {
                    let row = PartitionResponse::default().with_partition_index(*partition);
                    if let Err(code) = allowed {
                        return row.with_error_code(code.code());
                    }
                    let Some(log) = known.and_then(|topic| topic.log(*partition)) else {
                        return row.with_error_code(ResponseError::UnknownTopicOrPartition.code());
                    };
                    let producers = log
                        .active_producers()
                        .map(|producer| {
                            ProducerState::default()
                                .with_producer_id(ProducerId(producer.id))
                                .with_producer_epoch(producer.epoch.into())
                                .with_last_sequence(producer.last_sequence)
                                .with_last_timestamp(producer.last_ms)
                                .with_coordinator_epoch(producer.coordinator_epoch)
                                .with_current_txn_start_offset(
                                    producer.transaction_start.unwrap_or(-1),
                                )
                        })
                        .collect();
                    row.with_active_producers(producers)
                })
                .collect();
            TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        })
        .collect();
    context.reply(&DescribeProducersResponse::default().with_topics(topics))
}
