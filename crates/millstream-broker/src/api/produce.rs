//! Produce (0), versions 3 to 13: one record batch per partition, checked and appended as it is.
//!
//! `acks` 1 and -1 (all) mean the same on a single node; 0 gets no answer, and a failure then
//! closes the connection, which is the only way to be heard. The time-out is not used: nothing
//! is waited for. A request with a transactional id is refused with `INVALID_TXN_STATE`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use millstream_protocol::BatchError;

use super::text;
use crate::broker::{Broker, Context, Reply};
use crate::log::{AppendError, Appended};
use crate::topics::{Refused, unknown_topic};

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: ProduceRequest) -> Reply {
    let refusal = check(&request).err();
    let mut failed = None;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let name = match topic.topic_id.is_nil() {
            true => Some(topic.name.as_str().into()),
            false => broker.topics.name_of(topic.topic_id),
        };
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let outcome = match (&refusal, &name) {
                (Some(refused), _) => Err(refused.clone()),
                (None, None) => {
                    Err(Refused::new(ResponseError::UnknownTopicId, "unknown topic id"))
                }
                (None, Some(name)) => append(broker, name, &data),
            };
            let response = match outcome {
                Ok((appended, start)) => PartitionProduceResponse::default()
                    .with_base_offset(appended.base_offset)
                    .with_log_append_time_ms(appended.log_append_time)
                    .with_log_start_offset(start),
                Err(refused) => {
                    failed.get_or_insert_with(|| refused.message.clone());
                    PartitionProduceResponse::default()
                        .with_error_code(refused.code.code())
                        .with_error_message(Some(text(refused.message)))
                        .with_base_offset(-1)
                        .with_log_append_time_ms(-1)
                        .with_log_start_offset(-1)
                }
            };
            partitions.push(response.with_index(data.index));
        }
        responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
                .with_partition_responses(partitions),
        );
    }
    match (request.acks, failed) {
        (0, None) => Reply::Nothing,
        (0, Some(reason)) => Reply::Close(reason),
        _ => context.reply(&ProduceResponse::default().with_responses(responses)),
    }
}

fn check(request: &ProduceRequest) -> Result<(), Refused> {
    if !matches!(request.acks, -1..=1) {
        let message = format!("acks must be -1, 0 or 1, not {}", request.acks);
        return Err(Refused::new(ResponseError::InvalidRequiredAcks, message));
    }
    if request.transactional_id.is_some() {
        let message = "transactions are not supported yet by the embedded broker";
        return Err(Refused::new(ResponseError::InvalidTxnState, message));
    }
    Ok(())
}

/// Appends a partition's batch and returns where it went and where the log starts.
fn append(
    broker: &mut Broker,
    name: &str,
    data: &PartitionProduceData,
) -> Result<(Appended, i64), Refused> {
    let now_ms = broker.clock.wall();
    let topic = broker.topics.get_mut(name).ok_or_else(|| unknown_topic(name))?;
    let id = topic.id;
    let (log, config) = topic
        .log_mut(data.index)
        .ok_or_else(|| unknown_topic(&format!("{name}[{}]", data.index)))?;
    let records = data.records.as_deref().unwrap_or_default();
    let appended = log.append(config, now_ms, records, &mut broker.scratch).map_err(|error| {
        if let AppendError::NotSynced { bytes, .. } = error {
            broker.fetches.appended(id, data.index, bytes);
        }
        refused(name, data.index, &error)
    })?;
    let start = log.start_offset();
    if appended.bytes > 0 {
        broker.fetches.appended(id, data.index, appended.bytes);
    }
    Ok((appended, start))
}

fn refused(topic: &str, partition: i32, error: &AppendError) -> Refused {
    let code = match error {
        AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
        AppendError::Corrupt(BatchError::Magic(_)) => ResponseError::UnsupportedForMessageFormat,
        AppendError::Corrupt(_) => ResponseError::CorruptMessage,
        AppendError::NotOneBatch
        | AppendError::Control
        | AppendError::Keyless
        | AppendError::Sequence(_) => ResponseError::InvalidRecord,
        AppendError::Invalid(BatchError::Codec(_)) => ResponseError::UnsupportedCompressionType,
        AppendError::Invalid(_) => ResponseError::InvalidRecord,
        AppendError::Transactional => ResponseError::InvalidTxnState,
        AppendError::Timestamp(_) => ResponseError::InvalidTimestamp,
        AppendError::OutOfOrder { .. } => ResponseError::OutOfOrderSequenceNumber,
        AppendError::Fenced { .. } => ResponseError::InvalidProducerEpoch,
        AppendError::NotSynced { .. } | AppendError::Disk(_) => ResponseError::KafkaStorageError,
    };
    Refused::new(code, format!("{topic}[{partition}]: {error}"))
}
