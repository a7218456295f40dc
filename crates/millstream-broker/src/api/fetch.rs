//! Fetch (1), versions 4 to 16: record batches from an offset on, as they are stored.
//!
//! If less than `min_bytes` are there, the request waits for the append that makes them enough,
//! or `max_wait_ms`. Limits are Kafka's: `max_bytes` over all partitions (never more than the
//! broker's `fetch.max.bytes`), `partition_max_bytes` each, and the first batch of the first
//! partition with data comes whole whatever its size. Fetch sessions (KIP-227) are declined: the
//! session id of every answer is 0, so clients name their partitions each time. Rack and
//! replica fields are not used. Readers of committed data (isolation level 1, KIP-98) get records
//! up to the last stable offset, and with them the aborted transactions whose records they must
//! skip. Versions 17 and 18 only add fields for brokers that replicate.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId};
use millstream_protocol::BatchIter;
use uuid::Uuid;

use super::check_leader_epoch;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::fetches::Fetch;
use crate::log::PartitionLog;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: FetchRequest) -> Reply {
    if request.session_id != 0 {
        let code = ResponseError::FetchSessionIdNotFound.code();
        return context.reply(&FetchResponse::default().with_error_code(code));
    }
    let collected = collect(broker, context, &request);
    // More than the answer may hold would never be there.
    let min_bytes =
        usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max(broker, &request));
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let enough =
        collected.bytes >= min_bytes || collected.answer_now || collected.partitions.is_empty();
    if enough || wait.is_zero() {
        return context.reply(&collected.response);
    }
    let deadline = broker.clock.monotonic() + wait;
    let missing = min_bytes - collected.bytes;
    let fetch = Fetch { context: context.clone(), request };
    broker.fetches.wait(fetch, deadline, missing, collected.partitions);
    Reply::Later(context.ticket)
}

/// The answer to a fetch that has waited, with what is there now.
pub(crate) fn answer(broker: &mut Broker, fetch: &Fetch) -> Bytes {
    let collected = collect(broker, &fetch.context, &fetch.request);
    fetch.context.frame(&collected.response)
}

struct Collected {
    response: FetchResponse,
    bytes: usize,
    /// Waiting would not help: there is an error, or a partition has more than the limits let
    /// through.
    answer_now: bool,
    /// Partitions that exist, to watch.
    partitions: Vec<(Uuid, i32)>,
}

/// Bytes that an answer may hold, but for a single batch that is larger.
fn bytes_max(broker: &Broker, request: &FetchRequest) -> usize {
    broker.settings.number("fetch.max.bytes").min(i64::from(request.max_bytes.max(0))) as usize
}

fn collect(broker: &mut Broker, context: &Context, request: &FetchRequest) -> Collected {
    let mut left = bytes_max(broker, request);
    let mut collected = Collected {
        response: FetchResponse::default(),
        bytes: 0,
        answer_now: false,
        partitions: Vec::new(),
    };
    let committed_only = request.isolation_level == 1;
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = match topic.topic_id.is_nil() {
            true => Some(topic.topic.as_str().into()),
            false => broker.topics.name_of(topic.topic_id),
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let outcome = match &name {
                None => Err(ResponseError::UnknownTopicId),
                Some(name) => {
                    let first = collected.bytes == 0;
                    broker
                        .allow(context, AclOperation::Read, Resource::Topic(name))
                        .and_then(|()| read(broker, name, asked, left, first, committed_only))
                }
            };
            let data = match outcome {
                Ok((id, data, has_more)) => {
                    collected.answer_now |= has_more;
                    collected.partitions.push((id, asked.partition));
                    let bytes = data.records.as_ref().map_or(0, Bytes::len);
                    collected.bytes += bytes;
                    left = left.saturating_sub(bytes);
                    data
                }
                Err(code) => {
                    collected.answer_now = true;
                    failure(broker, topic, asked, code)
                }
            };
            partitions.push(data.with_partition_index(asked.partition));
        }
        responses.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    collected.response = collected.response.with_responses(responses);
    collected
}

fn read(
    broker: &mut Broker,
    name: &str,
    asked: &FetchPartition,
    left: usize,
    first: bool,
    committed_only: bool,
) -> Result<(Uuid, PartitionData, bool), ResponseError> {
    let topic = broker.topics.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let id = topic.id;
    let (log, _) = topic.log_mut(asked.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.current_leader_epoch)?;
    let max_bytes = left.min(usize::try_from(asked.partition_max_bytes).unwrap_or(0));
    let failed = |error: std::io::Error| {
        tracing::error!(topic = name, partition = asked.partition, %error, "cannot read a log");
        ResponseError::KafkaStorageError
    };
    let end = if committed_only { log.last_stable_offset() } else { i64::MAX };
    let records = log
        .read(asked.fetch_offset, max_bytes, first, end)
        .map_err(failed)?
        .map_err(|_| ResponseError::OffsetOutOfRange)?;
    let last = BatchIter::new(&records).flatten().last();
    let next = last.map_or(asked.fetch_offset, |batch| batch.header().next_offset());
    let aborted = match committed_only {
        true => Some(aborted_in(log, asked.fetch_offset, next).map_err(failed)?),
        false => None,
    };
    let readable = if committed_only { log.last_stable_offset() } else { log.end_offset() };
    let data = PartitionData::default()
        .with_high_watermark(log.end_offset())
        .with_last_stable_offset(log.last_stable_offset())
        .with_log_start_offset(log.start_offset())
        .with_aborted_transactions(aborted)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(records));
    Ok((id, data, next < readable))
}

/// Aborted transactions with records in `from..to`.
fn aborted_in(log: &PartitionLog, from: i64, to: i64) -> std::io::Result<Vec<AbortedTransaction>> {
    if from >= to {
        return Ok(Vec::new());
    }
    let aborted = log.aborted_in(from, to)?;
    let row = |aborted: crate::log::Aborted| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(aborted.producer_id))
            .with_first_offset(aborted.first_offset)
    };
    Ok(aborted.into_iter().map(row).collect())
}

fn failure(
    broker: &Broker,
    topic: &FetchTopic,
    asked: &FetchPartition,
    code: ResponseError,
) -> PartitionData {
    let start = broker
        .topics
        .get(&topic.topic)
        .and_then(|topic| topic.log(asked.partition))
        .map_or(-1, |log| log.start_offset());
    PartitionData::default()
        .with_error_code(code.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(start)
        .with_aborted_transactions(None)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()))
}
