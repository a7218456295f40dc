//! OffsetForLeaderEpoch (23), versions 2 to 4: where an epoch of the leader ended (KIP-320).
//!
//! A single node has one epoch, 0, which ends at the end of the log; of others nothing is known.
//! The replica id is not used.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::check_leader_epoch;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::log::LEADER_EPOCH;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: OffsetForLeaderEpochRequest,
) -> Reply {
    // Between brokers the one right is enough; consumers have the other (KIP-320).
    let sees_all = broker.may(context, AclOperation::ClusterAction, Resource::Cluster);
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let allowed = match sees_all {
                true => Ok(()),
                false => {
                    broker.allow(context, AclOperation::Describe, Resource::Topic(&topic.topic))
                }
            };
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| answer(broker, &topic.topic, asked, allowed))
                .collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions)
        })
        .collect();
    context.reply(&OffsetForLeaderEpochResponse::default().with_topics(topics))
}

fn answer(
    broker: &Broker,
    name: &str,
    asked: &OffsetForLeaderPartition,
    allowed: Result<(), ResponseError>,
) -> EpochEndOffset {
    let row = EpochEndOffset::default().with_partition(asked.partition);
    let unknown =
        |code: i16| row.clone().with_error_code(code).with_leader_epoch(-1).with_end_offset(-1);
    if let Err(code) = allowed {
        return unknown(code.code());
    }
    let Some(log) = broker.topics.get(name).and_then(|topic| topic.log(asked.partition)) else {
        return unknown(ResponseError::UnknownTopicOrPartition.code());
    };
    if let Err(code) = check_leader_epoch(asked.current_leader_epoch) {
        return unknown(code.code());
    }
    match asked.leader_epoch {
        LEADER_EPOCH => {
            row.clone().with_leader_epoch(LEADER_EPOCH).with_end_offset(log.end_offset())
        }
        _ => unknown(0),
    }
}
