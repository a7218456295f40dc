//! Produce (0), versions 3 to 13: one record batch per partition, checked and appended as it is.
//!
//! `acks` 1 and -1 (all) mean the same on a single node; 0 gets no answer, and a failure then
//! closes the connection, which is the only way to be heard. The time-out is not used: nothing
//! is waited for.
//!
//! A batch of a transaction is taken only while the transaction is open and has the partition
//! (KIP-890): a producer that was replaced, or whose transaction has timed out, cannot write any
//! more. Up to version 11 the partition must have been added before; from version 12 on the
//! request adds it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use millstream_protocol::{BatchError, BatchHeader};

use super::text;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::log::{AppendError, Appended};
use crate::topics::{Refused, unknown_topic};
use crate::transactions::{Caller, Partition};

/// From here on clients know the code for "abort and go on".
const TELLS_ABORTABLE: i16 = 11;
/// From here on the request adds its partitions to the transaction by itself.
const ADDS: i16 = 12;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: ProduceRequest) -> Reply {
    let refusal = check(broker, context, &request).err();
    if refusal.is_none() && context.version >= ADDS {
        add_all(broker, context, &request);
    }
    let id = request.transactional_id.as_ref().map(|id| id.to_string());
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
                (None, Some(name)) => broker
                    .require(context, AclOperation::Write, Resource::Topic(name))
                    .and_then(|()| admit(broker, context.version, id.as_deref(), name, &data))
                    .and_then(|()| append(broker, name, &data)),
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

fn check(broker: &Broker, context: &Context, request: &ProduceRequest) -> Result<(), Refused> {
    if !matches!(request.acks, -1..=1) {
        let message = format!("acks must be -1, 0 or 1, not {}", request.acks);
        return Err(Refused::new(ResponseError::InvalidRequiredAcks, message));
    }
    let mut batches = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    match &request.transactional_id {
        Some(id) if batches.any(|data| caller(data).is_some()) => {
            broker.require(context, AclOperation::Write, Resource::TransactionalId(id))
        }
        _ => Ok(()),
    }
}

/// Who sent a partition's batch, if it is part of a transaction. What is not a batch is left to
/// those who say what is wrong with it.
fn caller(data: &PartitionProduceData) -> Option<Caller> {
    let header = BatchHeader::parse(data.records.as_deref()?).ok()?;
    let caller = Caller { producer_id: header.producer_id, epoch: header.producer_epoch };
    header.attributes.is_transactional().then_some(caller)
}

/// Adds all partitions of a request to its transaction with one write; what stands against it is
/// found again, and answered, for each partition.
fn add_all(broker: &mut Broker, context: &Context, request: &ProduceRequest) {
    let Some(id) = &request.transactional_id else { return };
    let mut sender = None;
    let mut partitions: Vec<Partition> = Vec::new();
    for topic in &request.topic_data {
        let name = match topic.topic_id.is_nil() {
            true => Some(topic.name.as_str().into()),
            false => broker.topics.name_of(topic.topic_id),
        };
        let Some(known) = name.and_then(|name| broker.topics.get(&name)) else { continue };
        if !broker.may(context, AclOperation::Write, Resource::Topic(&known.name)) {
            continue;
        }
        for data in &topic.partition_data {
            let Some(caller) = caller(data) else { continue };
            if known.log(data.index).is_some() && *sender.get_or_insert(caller) == caller {
                partitions.push((known.name.to_string(), data.index));
            }
        }
    }
    if let Some(caller) = sender {
        let _ = broker.transactions.add(id, caller, &partitions, broker.now());
    }
}

/// Whether a partition's batch may be written as far as transactions are concerned.
fn admit(
    broker: &mut Broker,
    version: i16,
    id: Option<&str>,
    name: &str,
    data: &PartitionProduceData,
) -> Result<(), Refused> {
    let Some(caller) = caller(data) else { return Ok(()) };
    let known = broker.topics.get(name).is_some_and(|topic| topic.log(data.index).is_some());
    if !known {
        return Err(unknown_topic(&format!("{name}[{}]", data.index)));
    }
    let Some(id) = id else {
        let message = "a transactional record batch needs a transactional id";
        return Err(Refused::new(ResponseError::TransactionalIdAuthorizationFailed, message));
    };
    let partition = (name.to_owned(), data.index);
    let outcome = match version >= ADDS {
        true => broker.transactions.add(id, caller, &[partition], broker.now()),
        false => broker.transactions.verify(id, caller, &partition),
    };
    outcome.map_err(|code| {
        let code = match code {
            ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            // What all clients answer by sending the batch again.
            ResponseError::ConcurrentTransactions | ResponseError::CoordinatorNotAvailable => {
                ResponseError::NotEnoughReplicas
            }
            ResponseError::TransactionAbortable if version < TELLS_ABORTABLE => {
                ResponseError::InvalidTxnState
            }
            code => code,
        };
        let message = format!("{name}[{}]: not part of an open transaction of `{id}`", data.index);
        Refused::new(code, message)
    })
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
    let outcome = log.append(config, now_ms, records, &mut broker.scratch);
    let bytes = match &outcome {
        Ok(appended) => appended.bytes,
        Err(AppendError::NotSynced { bytes, .. }) => *bytes,
        Err(_) => 0,
    };
    let start = log.start_offset();
    let stable = log.last_stable_offset() == log.end_offset();
    if bytes > 0 && stable {
        broker.fetches.appended(id, data.index, bytes);
    } else if bytes > 0 {
        broker.fetches.appended_open(id, data.index, bytes);
    }
    let appended = outcome.map_err(|error| refused(name, data.index, &error))?;
    Ok((appended, start))
}

fn refused(topic: &str, partition: i32, error: &AppendError) -> Refused {
    let code = match error {
        AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
        AppendError::Corrupt(BatchError::Magic(_)) => ResponseError::UnsupportedForMessageFormat,
        AppendError::Corrupt(_) => ResponseError::CorruptMessage,
        AppendError::NotOneBatch
        | AppendError::Control
        | AppendError::NoProducer
        | AppendError::Keyless
        | AppendError::Sequence(_) => ResponseError::InvalidRecord,
        AppendError::Invalid(BatchError::Codec(_)) => ResponseError::UnsupportedCompressionType,
        AppendError::Invalid(_) => ResponseError::InvalidRecord,
        AppendError::OutsideTransaction(_) => ResponseError::InvalidTxnState,
        AppendError::Timestamp(_) => ResponseError::InvalidTimestamp,
        AppendError::OutOfOrder { .. } => ResponseError::OutOfOrderSequenceNumber,
        AppendError::Fenced { .. } => ResponseError::InvalidProducerEpoch,
        AppendError::NotSynced { .. } | AppendError::Disk(_) => ResponseError::KafkaStorageError,
    };
    Refused::new(code, format!("{topic}[{partition}]: {error}"))
}
