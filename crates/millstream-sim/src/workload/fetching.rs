//! Reading: fetch requests, and what is in their answers by the rules of a client (KIP-98).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};
use kafka_protocol::messages::{FetchRequest, TopicName};
use millstream_protocol::{BatchIter, ControlType};
use millstream_types::Timestamp;

use super::record::{NAME_HEADER, name_of};
use super::{Shared, code};
use crate::actor::Me;
use crate::ledger::{Marks, Partition, RecordId};
use crate::link::{Link, Lost, TIMEOUT, text};

/// Fetch by topic names; topic ids begin with 13.
const VERSION: i16 = 11;
const UNPACKED_MAX: usize = 1 << 24;

/// A record or a marker.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) offset: i64,
    pub(crate) producer: i64,
    pub(crate) transactional: bool,
    pub(crate) timestamp: Timestamp,
    pub(crate) what: What,
    /// What it copies.
    pub(crate) source: Option<RecordId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// `None`: its value names nobody.
    Record(Option<RecordId>),
    Commit,
    Abort,
}

/// What a fetch brought of one partition.
pub(crate) struct Fetched {
    pub(crate) partition: Partition,
    /// Where to go on.
    pub(crate) next: i64,
    pub(crate) marks: Marks,
    /// Everything that is there.
    pub(crate) items: Vec<Item>,
    /// Offsets of the records that a reader at this level of isolation is shown.
    pub(crate) shown: BTreeSet<i64>,
    /// Length of the batches.
    pub(crate) bytes: u64,
}

/// Why a partition brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The position is not in the log; its start, if it was told.
    OutOfRange(i64),
    /// Worth another try.
    Later,
}

/// Fetches from each position. What the broker tells about the partitions is held against what was
/// known.
///
/// # Errors
/// [`Lost`].
pub(crate) async fn fetch(
    me: &Me,
    shared: &Shared,
    link: &mut Link,
    positions: &BTreeMap<Partition, i64>,
    committed: bool,
    wait_ms: i32,
) -> Result<Vec<Result<Fetched, (Partition, Unread)>>, Lost> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut before = BTreeMap::new();
    for (partition, position) in positions {
        before.insert(*partition, shared.ledger.borrow().marks(*partition));
        let row = FetchPartition::default()
            .with_partition(partition.1)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(*position)
            .with_partition_max_bytes(4096);
        match topics.last_mut() {
            Some(topic) if topic.topic.as_str() == partition.0 => topic.partitions.push(row),
            _ => topics.push(
                FetchTopic::default()
                    .with_topic(TopicName(text(partition.0)))
                    .with_partitions(vec![row]),
            ),
        }
    }
    let request = FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 16)
        .with_isolation_level(i8::from(committed))
        .with_topics(topics);
    let era = shared.era();
    let correlation = link.send(VERSION, &request);
    let timeout = TIMEOUT + Duration::from_millis(wait_ms as u64);
    let response = link.receive::<FetchRequest>(VERSION, correlation, timeout).await?;
    let mut outcome = Vec::new();
    for topic in response.responses {
        for data in topic.partitions {
            let of = |partition: &&Partition| {
                partition.0 == topic.topic.as_str() && partition.1 == data.partition_index
            };
            let Some(partition) = positions.keys().find(of).copied() else {
                me.host().violation("a fetch brought a partition nobody asked for".into());
                continue;
            };
            outcome.push(match data.error_code {
                0 => {
                    let marks = Marks {
                        high: data.high_watermark,
                        stable: data.last_stable_offset,
                        start: data.log_start_offset,
                    };
                    let mut ledger = shared.ledger.borrow_mut();
                    if !shared.mood.sets_clocks() {
                        ledger.begins_at(partition, marks.start, me.wall());
                    }
                    ledger.told(partition, before[&partition], marks, era);
                    drop(ledger);
                    let from = positions[&partition];
                    let Marks { high, stable, start } = marks;
                    let (topic, number) = partition;
                    me.host().trace(format_args!(
                        "reads {topic}-{number} at {from}: start {start}, stable {stable}, end {high}"
                    ));
                    match take(shared, partition, &data, marks, (from, committed)) {
                        Ok(fetched) => Ok(fetched),
                        Err(what) => {
                            me.host().violation(format!("{partition:?} from {from}: {what}"));
                            Err((partition, Unread::Later))
                        }
                    }
                }
                code::OFFSET_OUT_OF_RANGE => {
                    Err((partition, Unread::OutOfRange(data.log_start_offset)))
                }
                code if code::is_retriable(code) => Err((partition, Unread::Later)),
                code::UNKNOWN_TOPIC_OR_PARTITION if shared.ledger.borrow().may_be_lost(0) => {
                    Err((partition, Unread::Later))
                }
                code => {
                    me.host().violation(format!("a fetch of {partition:?} brought code {code}"));
                    Err((partition, Unread::Later))
                }
            });
        }
    }
    Ok(outcome)
}

fn take(
    shared: &Shared,
    partition: Partition,
    data: &PartitionData,
    marks: Marks,
    (from, committed): (i64, bool),
) -> Result<Fetched, String> {
    let nothing = Bytes::new();
    let records = data.records.as_ref().unwrap_or(&nothing);
    let (items, next) = walk(records, from, shared.is_compacted(partition))?;
    let limit = if committed { marks.stable } else { marks.high };
    if next > limit.max(from) {
        return Err(format!("records up to {next} were shown, readable is up to {limit}"));
    }
    let no_aborted = Vec::new();
    let aborted = data.aborted_transactions.as_ref().unwrap_or(&no_aborted);
    let shown = match committed {
        true => without_aborted(&items, aborted),
        false => items.iter().filter(|item| item.is_record()).map(|item| item.offset).collect(),
    };
    Ok(Fetched { partition, next, marks, items, shown, bytes: records.len() as u64 })
}

impl Item {
    pub(crate) fn is_record(&self) -> bool {
        matches!(self.what, What::Record(_))
    }
}

/// Reads batches. They must be sound and in order, and leave no gap where nothing is compacted.
fn walk(bytes: &Bytes, from: i64, has_gaps: bool) -> Result<(Vec<Item>, i64), String> {
    let (mut items, mut next, mut scratch) = (Vec::new(), from, Vec::new());
    for batch in BatchIter::new(bytes) {
        let batch = batch.and_then(|batch| batch.check().map(|()| batch));
        let batch = batch.map_err(|error| error.to_string())?;
        let header = *batch.header();
        let follows = match next == from {
            true if has_gaps => header.last_offset() >= from,
            true => header.base_offset <= from && header.last_offset() >= from,
            false if has_gaps => header.base_offset >= next,
            false => header.base_offset == next,
        };
        if !follows {
            return Err(format!(
                "a batch of {} to {} behind {next}",
                header.base_offset,
                header.last_offset()
            ));
        }
        let control = header.attributes.is_control();
        let records = batch.records(&mut scratch, UNPACKED_MAX);
        for record in records.map_err(|error| error.to_string())? {
            let record = record.map_err(|error| error.to_string())?;
            let what = match (control, record.control_type()) {
                (false, _) => {
                    let name = record.headers.iter().find(|header| header.0 == NAME_HEADER);
                    What::Record(name_of(record.value, name.and_then(|header| header.1)))
                }
                (true, Some(ControlType::Commit)) => What::Commit,
                (true, Some(ControlType::Abort)) => What::Abort,
                (true, None) => return Err(format!("a marker at {} says nothing", record.offset)),
            };
            if record.offset >= from {
                items.push(Item {
                    offset: record.offset,
                    producer: header.producer_id,
                    transactional: header.attributes.is_transactional(),
                    timestamp: record.timestamp,
                    what,
                    source: record.value.and_then(RecordId::source_of),
                });
            }
        }
        next = header.next_offset();
    }
    Ok((items, next))
}

/// What is left without the records of aborted transactions, by the list that came with them.
fn without_aborted(items: &[Item], aborted: &[AbortedTransaction]) -> BTreeSet<i64> {
    let mut begins: Vec<(i64, i64)> =
        aborted.iter().map(|row| (row.first_offset, row.producer_id.0)).collect();
    begins.sort_unstable_by(|a, b| b.cmp(a));
    let mut skipped = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for item in items {
        while begins.last().is_some_and(|(first, _)| *first <= item.offset) {
            skipped.extend(begins.pop().map(|(_, producer)| producer));
        }
        match item.what {
            What::Commit | What::Abort => {
                skipped.remove(&item.producer);
            }
            What::Record(_) if item.transactional && skipped.contains(&item.producer) => {}
            What::Record(_) => {
                shown.insert(item.offset);
            }
        }
    }
    shown
}
