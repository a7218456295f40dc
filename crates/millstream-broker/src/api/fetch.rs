//! Fetch (1), versions 4 to 16: record batches from an offset on, as they are stored.
//!
//! If less than `min_bytes` are there, the request waits for the append that makes them enough,
//! or `max_wait_ms`. Limits are Kafka's: `max_bytes` over all partitions (never more than the
//! broker's `fetch.max.bytes`), `partition_max_bytes` each, and the first batch of the first
//! partition with data comes whole whatever its size. In a fetch session (KIP-227) request and
//! answer name only partitions with news; the rules are in [`crate::fetches`]. Rack and
//! replica fields are not used. Readers of committed data (isolation level 1, KIP-98) get records
//! up to the last stable offset, and with them the aborted transactions whose records they must
//! skip. Versions 17 and 18 only add fields for brokers that replicate.

mod encode;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId};
use uuid::Uuid;

use super::{check_leader_epoch, topic_name};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::disk::Piece;
use crate::fetches::{Fetch, Found, NO_SESSION, Slot, Source, TopicKey, Wanted};
use crate::log::{Batches, PartitionLog};
use crate::wire::Frame;

/// So many files an answer keeps open at most until it is sent; more is read before.
const FILES_MAX: usize = 16;
/// From here on topics have ids instead of names (KIP-516).
const NAMES_BY_ID: i16 = 13;

pub(crate) fn handle(broker: &mut Broker, context: &Context, mut request: FetchRequest) -> Reply {
    let now = broker.clock.monotonic();
    let source = match broker.fetches.source_of(&request, context.version >= NAMES_BY_ID, now) {
        Ok(source) => source,
        Err(code) => return context.reply(&refusal(code, NO_SESSION)),
    };
    if matches!(source, Source::Session { .. }) {
        // The session has them.
        request.topics = Vec::new();
        request.forgotten_topics_data = Vec::new();
    }
    let fetch = Fetch { context: context.clone(), request, source };
    let mut collected = collect(broker, &fetch);
    // More than the answer may hold would never be there.
    let min_bytes =
        usize::try_from(fetch.request.min_bytes).unwrap_or(0).min(bytes_max(broker, &fetch));
    let wait = Duration::from_millis(u64::try_from(fetch.request.max_wait_ms).unwrap_or(0));
    let enough = collected.bytes >= min_bytes || collected.answer_now || collected.is_empty;
    if enough || wait.is_zero() {
        return Reply::Now(finish(broker, &fetch, collected));
    }
    let missing = min_bytes - collected.bytes;
    let watched = match source {
        Source::Session { .. } => Vec::new(),
        Source::Request | Source::OpensSession => std::mem::take(&mut collected.partitions),
    };
    broker.fetches.wait(fetch, now + wait, missing, watched);
    Reply::Later(context.ticket)
}

/// The answer to a fetch that has waited, with what is there now.
pub(crate) fn answer(broker: &mut Broker, fetch: &Fetch) -> Frame {
    let collected = collect(broker, fetch);
    finish(broker, fetch, collected)
}

fn refusal(code: ResponseError, session: i32) -> FetchResponse {
    FetchResponse::default().with_error_code(code.code()).with_session_id(session)
}

/// What a fetch has found.
#[derive(Default)]
struct Collected {
    /// Without records.
    responses: Vec<FetchableTopicResponse>,
    /// The records of the partitions in there, in order.
    records: Vec<Piece>,
    /// How many of them lie in files.
    files: usize,
    bytes: usize,
    /// Waiting would not help: there is an error, or a partition has more than the limits let
    /// through.
    answer_now: bool,
    /// The fetch is for no partitions at all.
    is_empty: bool,
    /// Partitions that exist, to watch.
    partitions: Vec<(Uuid, i32)>,
    /// Of a fetch in a session: what its client will be told.
    told: Vec<(Slot, Found)>,
    /// Of a fetch that opens a session: what the session will hold.
    opened: Vec<(TopicKey, Wanted, Found)>,
}

/// Makes the answer and notes in the session what it says.
fn finish(broker: &mut Broker, fetch: &Fetch, collected: Collected) -> Frame {
    let session = match fetch.source {
        Source::Request => NO_SESSION,
        Source::OpensSession => {
            let slots = broker.settings.number("max.incremental.fetch.session.cache.slots");
            let slots = usize::try_from(slots).unwrap_or(0);
            let uses_topic_ids = fetch.context.version >= NAMES_BY_ID;
            let (now, random) = (broker.clock.monotonic(), &mut broker.random);
            let draw = || random.next_u64();
            broker.fetches.open_session(collected.opened, uses_topic_ids, slots, now, draw)
        }
        Source::Session { id, next_epoch } => {
            if !broker.fetches.is_newest(id, next_epoch) {
                // The session was ended, or the same request has come once more.
                let (code, id) = match broker.fetches.to_look_at(id) {
                    Some(_) => (ResponseError::InvalidFetchSessionEpoch, id),
                    None => (ResponseError::FetchSessionIdNotFound, NO_SESSION),
                };
                return fetch.context.frame(&refusal(code, id)).into();
            }
            for (slot, found) in &collected.told {
                broker.fetches.told(id, *slot, found);
            }
            id
        }
    };
    let response =
        FetchResponse::default().with_session_id(session).with_responses(collected.responses);
    encode::answer(&fetch.context, response, collected.records)
}

/// Bytes that an answer may hold, but for a single batch that is larger.
fn bytes_max(broker: &Broker, fetch: &Fetch) -> usize {
    broker.settings.number("fetch.max.bytes").min(i64::from(fetch.request.max_bytes.max(0)))
        as usize
}

fn collect(broker: &mut Broker, fetch: &Fetch) -> Collected {
    let max_bytes = bytes_max(broker, fetch);
    let mut collected = Collected::default();
    if let Source::Session { id, .. } = fetch.source {
        for (slot, topic, wanted) in broker.fetches.to_look_at(id).unwrap_or_default() {
            let (data, records, found) =
                look(broker, fetch, &mut collected, &topic, &wanted, max_bytes);
            if broker.fetches.look(id, slot, wanted.partition, &found) {
                collected.told.push((slot, found));
                collected.add(&topic, data, records);
            }
        }
        return collected;
    }
    collected.is_empty = true;
    for topic in &fetch.request.topics {
        let key = TopicKey::of(topic);
        for partition in &topic.partitions {
            let wanted = Wanted::of(partition);
            let (data, records, found) =
                look(broker, fetch, &mut collected, &key, &wanted, max_bytes);
            collected.is_empty = false;
            collected.partitions.extend(found.topic.map(|topic| (topic, wanted.partition)));
            if fetch.source == Source::OpensSession {
                collected.opened.push((key.clone(), wanted, found));
            }
            collected.add(&key, data, records);
        }
    }
    collected
}

impl Collected {
    /// Adds a partition to the answer, where partitions of a topic that follow each other stand
    /// together.
    fn add(&mut self, topic: &TopicKey, data: PartitionData, records: Piece) {
        self.records.push(records);
        let is_of_topic = |last: &FetchableTopicResponse| match topic {
            TopicKey::Id(id) => last.topic_id == *id,
            TopicKey::Name(name) => last.topic.as_str() == &**name,
        };
        match self.responses.last_mut().filter(|last| is_of_topic(last)) {
            Some(last) => last.partitions.push(data),
            None => {
                let row = FetchableTopicResponse::default().with_partitions(vec![data]);
                self.responses.push(match topic {
                    TopicKey::Id(id) => row.with_topic_id(*id),
                    TopicKey::Name(name) => row.with_topic(topic_name(name)),
                });
            }
        }
    }
}

/// What is there of a partition, within what the limits have left. Whoever may not read it learns
/// nothing of its log.
fn look(
    broker: &mut Broker,
    fetch: &Fetch,
    collected: &mut Collected,
    topic: &TopicKey,
    wanted: &Wanted,
    max_bytes: usize,
) -> (PartitionData, Piece, Found) {
    let left = max_bytes.saturating_sub(collected.bytes);
    let first = collected.bytes == 0;
    let name = match topic {
        TopicKey::Id(id) => broker.topics.name_of(*id).ok_or(ResponseError::UnknownTopicId),
        TopicKey::Name(name) => Ok(name.clone()),
    };
    let committed_only = fetch.request.isolation_level == 1;
    let in_file = collected.files < FILES_MAX;
    let outcome = name.and_then(|name| {
        broker.allow(&fetch.context, AclOperation::Read, Resource::Topic(&name))?;
        read(broker, &name, wanted, left, first, committed_only, in_file)
    });
    let (data, records, id, has_more) = match outcome {
        Ok((id, data, records, has_more)) => (data, records, Some(id), has_more),
        Err(code) => {
            let data = match code {
                ResponseError::TopicAuthorizationFailed => failed(code, -1),
                _ => failure(broker, topic, wanted, code),
            };
            (data, Bytes::new().into(), None, false)
        }
    };
    let data = data.with_partition_index(wanted.partition);
    let found = Found::new(&data, !records.is_empty(), id, has_more);
    collected.bytes += records.len();
    collected.files += usize::from(matches!(records, Piece::File { .. }));
    collected.answer_now |= found.failed || has_more;
    (data, records, found)
}

fn read(
    broker: &mut Broker,
    name: &str,
    asked: &Wanted,
    left: usize,
    first: bool,
    committed_only: bool,
    in_file: bool,
) -> Result<(Uuid, PartitionData, Piece, bool), ResponseError> {
    let topic = broker.topics.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let id = topic.id;
    let (log, _) = topic.log_mut(asked.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    check_leader_epoch(asked.leader_epoch)?;
    let max_bytes = left.min(usize::try_from(asked.max_bytes).unwrap_or(0));
    let unreadable = |error: std::io::Error| {
        tracing::error!(topic = name, partition = asked.partition, %error, "cannot read a log");
        ResponseError::KafkaStorageError
    };
    let end = if committed_only { log.last_stable_offset() } else { i64::MAX };
    let Batches { bytes: records, next } = log
        .find(asked.offset, max_bytes, first, end)
        .map_err(unreadable)?
        .map_err(|_| ResponseError::OffsetOutOfRange)?;
    let records = match in_file {
        true => records,
        false => records.into_bytes().map_err(unreadable)?.into(),
    };
    let aborted = match committed_only {
        true => Some(aborted_in(log, asked.offset, next).map_err(unreadable)?),
        false => None,
    };
    let readable = if committed_only { log.last_stable_offset() } else { log.end_offset() };
    let data = PartitionData::default()
        .with_high_watermark(log.end_offset())
        .with_last_stable_offset(log.last_stable_offset())
        .with_log_start_offset(log.start_offset())
        .with_aborted_transactions(aborted)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()));
    Ok((id, data, records, next < readable))
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
    topic: &TopicKey,
    asked: &Wanted,
    code: ResponseError,
) -> PartitionData {
    let name = match topic {
        TopicKey::Id(id) => broker.topics.name_of(*id),
        TopicKey::Name(name) => Some(name.clone()),
    };
    let start = name
        .and_then(|name| broker.topics.get(&name)?.log(asked.partition))
        .map_or(-1, |log| log.start_offset());
    failed(code, start)
}

fn failed(code: ResponseError, log_start: i64) -> PartitionData {
    PartitionData::default()
        .with_error_code(code.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(log_start)
        .with_aborted_transactions(None)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()))
}
