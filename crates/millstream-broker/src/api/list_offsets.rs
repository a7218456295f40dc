//! ListOffsets (2), versions 1 to 10: an offset by timestamp, or one of the special ones.
//!
//! -1 the end (for readers of committed data the last stable offset), -2 the start, -3 the
//! record with the highest timestamp (version 7, KIP-734), -4 the start on local disk, which is
//! the start (version 8, KIP-405), -5 the end in tiered storage, of which there is none: offset
//! -1 (version 9, KIP-1005). The time-out of version 10 is not used. A partition that is named
//! twice is refused the second time, as in Kafka: each look-up may unpack a batch.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::check_leader_epoch;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::log::{LEADER_EPOCH, Position};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: ListOffsetsRequest) -> Reply {
    let committed_only = request.isolation_level == 1;
    let mut named = HashSet::new();
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let row = ListOffsetsPartitionResponse::default()
                        .with_partition_index(asked.partition_index);
                    let outcome = match named.insert((topic.name.clone(), asked.partition_index)) {
                        true => broker
                            .allow(context, AclOperation::Describe, Resource::Topic(&topic.name))
                            .and_then(|()| {
                                look_up(broker, context, &topic.name, asked, committed_only)
                            }),
                        false => Err(ResponseError::InvalidRequest),
                    };
                    let row = row.with_error_code(outcome.err().map_or(0, |code| code.code()));
                    let found = outcome.ok().flatten();
                    let row = row
                        .with_offset(found.map_or(-1, |found| found.offset))
                        .with_timestamp(found.map_or(-1, |found| found.timestamp));
                    match found {
                        Some(_) if context.version >= 4 => row.with_leader_epoch(LEADER_EPOCH),
                        _ => row.with_leader_epoch(-1),
                    }
                })
                .collect();
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    context.reply(&ListOffsetsResponse::default().with_topics(topics))
}

fn look_up(
    broker: &Broker,
    context: &Context,
    name: &str,
    asked: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<Option<Position>, ResponseError> {
    let log = broker
        .topics
        .get(name)
        .and_then(|topic| topic.log(asked.partition_index))
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.current_leader_epoch)?;
    let at = |offset| Ok(Some(Position { offset, timestamp: -1 }));
    // Readers of committed data are not sent to where they cannot read yet.
    let end = if committed_only { log.last_stable_offset() } else { log.end_offset() };
    let visible = |found: Option<Position>| found.filter(|found| found.offset < end);
    let failed = |error: std::io::Error| {
        tracing::error!(topic = name, partition = asked.partition_index, %error, "cannot search a log");
        ResponseError::KafkaStorageError
    };
    match asked.timestamp {
        LATEST => at(end),
        EARLIEST => at(log.start_offset()),
        MAX_TIMESTAMP if context.version >= 7 => {
            log.find_max_timestamp().map_err(failed).map(visible)
        }
        EARLIEST_LOCAL if context.version >= 8 => at(log.start_offset()),
        LATEST_TIERED if context.version >= 9 => Ok(None),
        target if target >= 0 => log.find_timestamp(target).map_err(failed).map(visible),
        _ => Err(ResponseError::UnsupportedVersion),
    }
}
