//! Offsets by time (ListOffsets, KIP-79) and by leader epoch (OffsetForLeaderEpoch, KIP-320).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};
use kafka_protocol::protocol::StrBytes;
use millstream_types::{Offset, TopicPartition};

use super::ConsumerEvent;
use super::core::{Call, Change, ConsumerCore, ConsumerTag};
use super::slot::Phase;
use crate::error::{KafkaError, code};
use crate::network::{Completion, NodeId};
use crate::tag::Tag;
use crate::time::Now;

/// What an offset is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A partition's place to read at.
    Slot { reading: u64 },
    /// One item of a call.
    Call { call: u64, index: usize },
}

#[derive(Clone, Debug)]
struct Lookup {
    partition: TopicPartition,
    timestamp: i64,
    purpose: Purpose,
    retry_at: Duration,
    failures: u32,
}

/// Look-ups that wait and those that are out.
#[derive(Default)]
pub(super) struct Lookups {
    waiting: Vec<Lookup>,
    out: HashMap<u64, Vec<Lookup>>,
    epochs_out: HashMap<u64, Vec<(TopicPartition, u64)>>,
    next: u64,
}

impl Lookups {
    pub(super) fn ask(&mut self, partition: TopicPartition, timestamp: i64, purpose: Purpose) {
        let retry_at = Duration::ZERO;
        self.waiting.push(Lookup { partition, timestamp, purpose, retry_at, failures: 0 });
    }

    pub(super) fn forget_call(&mut self, call: u64) {
        self.waiting.retain(
            |lookup| !matches!(lookup.purpose, Purpose::Call { call: of, .. } if of == call),
        );
    }

    pub(super) fn next_deadline(&self, now: Now) -> Option<Duration> {
        self.waiting.iter().map(|lookup| lookup.retry_at).filter(|at| *at > now.mono).min()
    }
}

impl ConsumerCore {
    /// Asks for the places of partitions that have none.
    pub(super) fn ask_offsets_of_slots(&mut self, now: Now) {
        for slot in &mut self.slots {
            if let Phase::WantsOffset(timestamp) = slot.phase
                && slot.retry_at <= now.mono
                && !slot.revoking
            {
                slot.phase = Phase::AsksOffset(timestamp);
                let purpose = Purpose::Slot { reading: slot.reading };
                self.lookups.ask(slot.partition.clone(), timestamp, purpose);
            }
        }
    }

    /// Sends what waits to the leaders that are known.
    pub(super) fn send_lookups(&mut self, now: Now) {
        if self.lookups.waiting.is_empty() {
            return;
        }
        let mut by_node: BTreeMap<NodeId, Vec<Lookup>> = BTreeMap::new();
        let mut kept = Vec::new();
        let mut refused = Vec::new();
        for lookup in std::mem::take(&mut self.lookups.waiting) {
            if let Purpose::Slot { reading } = lookup.purpose
                && self.slot(&lookup.partition).is_none_or(|slot| slot.reading != reading)
            {
                // Nobody waits for it any more.
                continue;
            }
            let leader = self.base.metadata.leader(&lookup.partition);
            match leader {
                _ if lookup.retry_at > now.mono => kept.push(lookup),
                Some((node, _)) if self.base.net.ready(node, now) => {
                    by_node.entry(node).or_default().push(lookup);
                }
                Some((node, _)) if self.base.net.knows(node) => kept.push(lookup),
                Some(_) => {
                    self.base.metadata.lacks(&mut self.base.net, now);
                    kept.push(lookup);
                }
                None => {
                    self.base.metadata.want(&lookup.partition.topic);
                    match self.why_unknown(&lookup.partition.topic) {
                        // A call is told at once; a partition of ours waits for its topic.
                        Some(error) if matches!(lookup.purpose, Purpose::Call { .. }) => {
                            refused.push((lookup, error));
                        }
                        _ if self.base.metadata.topic(&lookup.partition.topic).is_some()
                            && self.base.metadata.partition(&lookup.partition).is_none()
                            && matches!(lookup.purpose, Purpose::Call { .. }) =>
                        {
                            refused.push((lookup, KafkaError::of(code::UNKNOWN_PARTITION)));
                        }
                        _ => {
                            self.base.metadata.lacks(&mut self.base.net, now);
                            kept.push(lookup);
                        }
                    }
                }
            }
        }
        self.lookups.waiting = kept;
        for (lookup, error) in refused {
            self.answer(&lookup, Err(error), now);
        }
        for (node, mut lookups) in by_node {
            // A request names a partition once; Kafka refuses it otherwise.
            while !lookups.is_empty() {
                let mut seen = BTreeSet::new();
                let (first, others) =
                    lookups.into_iter().partition(|l| seen.insert(l.partition.clone()));
                lookups = others;
                self.send_lookup(node, first, now);
            }
        }
    }

    fn send_lookup(&mut self, node: NodeId, lookups: Vec<Lookup>, now: Now) {
        let Some(version) = self.base.net.version::<ListOffsetsRequest>(node, (1, 10)) else {
            let error = KafkaError::of(code::UNSUPPORTED_FEATURE);
            for lookup in &lookups {
                self.answer(lookup, Err(error.clone()), now);
            }
            return;
        };
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for lookup in &lookups {
            let epoch = self.base.metadata.leader(&lookup.partition).map_or(-1, |(_, epoch)| epoch);
            let mut partition = ListOffsetsPartition::default()
                .with_partition_index(lookup.partition.partition)
                .with_timestamp(lookup.timestamp);
            if version >= 4 {
                partition = partition.with_current_leader_epoch(epoch);
            }
            topics.entry(&lookup.partition.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            ListOffsetsTopic::default()
                .with_name(StrBytes::from_string(topic.to_owned()).into())
                .with_partitions(partitions)
        });
        let mut request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(topics.collect());
        if version >= 2 {
            request = request.with_isolation_level(i8::from(self.settings.read_committed));
        }
        let timeout = self.base.settings.request_timeout;
        if version >= 10 {
            request = request.with_timeout_ms(timeout.as_millis() as i32);
        }
        let id = self.lookups.next;
        self.lookups.next += 1;
        self.lookups.out.insert(id, lookups);
        let tag = Tag::Consumer(ConsumerTag::Offsets(id));
        self.base.net.send(node, &request, version, timeout, tag, now);
    }

    pub(super) fn offsets_answered(&mut self, id: u64, completion: Completion, now: Now) {
        let lookups = self.lookups.out.remove(&id).unwrap_or_default();
        let node = completion.node;
        let answer = completion
            .result
            .and_then(|body| body.decode_from::<ListOffsetsRequest>(node, &mut self.base.net, now));
        let response = match answer {
            Ok(response) => response,
            Err(failure) => {
                self.base.metadata.refresh();
                for lookup in lookups {
                    self.again(lookup, failure.clone().into(), now);
                }
                return;
            }
        };
        self.base.net.throttle(node, response.throttle_time_ms, now);
        let mut found = HashMap::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                found.insert((topic.name.as_str(), partition.partition_index), partition);
            }
        }
        for lookup in lookups {
            let topic = lookup.partition.topic.clone();
            let Some(partition) = found.get(&(&*topic, lookup.partition.partition)).copied() else {
                self.again(lookup, KafkaError::of(code::BAD_MESSAGE), now);
                continue;
            };
            match partition.error_code {
                0 => {
                    let offset = (partition.offset >= 0)
                        .then_some((partition.offset, partition.leader_epoch));
                    self.answer(&lookup, Ok(offset), now);
                }
                code => {
                    let error = KafkaError::of(code);
                    if error.is_retriable() {
                        self.base.metadata.refresh();
                        self.again(lookup, error, now);
                    } else {
                        self.answer(&lookup, Err(error), now);
                    }
                }
            }
        }
    }

    /// Puts a look-up back to be tried later; the call's own time limit ends it.
    fn again(&mut self, mut lookup: Lookup, error: KafkaError, now: Now) {
        tracing::debug!(target: "millstream::kafka", partition = %lookup.partition, %error, "offset look-up");
        let settings = &self.base.settings;
        let wait = settings.retry_backoff.saturating_mul(1 << lookup.failures.min(10));
        let wait = wait.min(settings.retry_backoff_max);
        lookup.retry_at = now.after(self.base.net.random().jittered(wait));
        lookup.failures += 1;
        self.lookups.waiting.push(lookup);
    }

    fn answer(
        &mut self,
        lookup: &Lookup,
        answer: Result<Option<(Offset, i32)>, KafkaError>,
        now: Now,
    ) {
        match lookup.purpose {
            Purpose::Call { call, index } => {
                if let Some(Call::Offsets { answers }) = self.calls.get_mut(&call) {
                    answers[index] = Some(answer.map(|found| found.map(|(offset, _)| offset)));
                    self.has_news();
                }
            }
            Purpose::Slot { reading } => {
                let Some(slot) = self.slot_mut(&lookup.partition) else { return };
                if slot.reading != reading || slot.phase != Phase::AsksOffset(lookup.timestamp) {
                    return;
                }
                match answer {
                    Ok(Some((offset, epoch))) => slot.found(offset, epoch),
                    result => {
                        slot.phase = Phase::WantsOffset(lookup.timestamp);
                        let error = result.err().unwrap_or_else(|| KafkaError::of(code::NO_OFFSET));
                        self.partition_failed(&lookup.partition, error, now);
                    }
                }
            }
        }
    }

    /// Asks new leaders where the epoch of what was read ends in their logs.
    pub(super) fn send_epochs(&mut self, now: Now) {
        let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.phase != Phase::WantsEpoch || slot.retry_at > now.mono || slot.revoking {
                continue;
            }
            match self.base.metadata.leader(&slot.partition) {
                Some((node, _)) if self.base.net.knows(node) => {
                    by_node.entry(node).or_default().push(at);
                }
                _ => self.base.metadata.lacks(&mut self.base.net, now),
            }
        }
        for (node, slots) in by_node {
            if !self.base.net.ready(node, now) {
                continue;
            }
            // Before version 3 the answer is not for consumers (KIP-320): such a broker is trusted.
            let version = self.base.net.version::<OffsetForLeaderEpochRequest>(node, (3, 4));
            let mut topics: BTreeMap<String, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
            let mut asked = Vec::new();
            for at in slots {
                let slot = &mut self.slots[at];
                let epoch = self.base.metadata.leader(&slot.partition).map_or(-1, |(_, e)| e);
                if version.is_none() {
                    slot.phase = Phase::Fetching;
                    slot.agreed_epoch = epoch;
                    continue;
                }
                slot.phase = Phase::AsksEpoch(epoch);
                asked.push((slot.partition.clone(), slot.reading));
                topics.entry(slot.partition.topic.to_string()).or_default().push(
                    OffsetForLeaderPartition::default()
                        .with_partition(slot.partition.partition)
                        .with_current_leader_epoch(epoch)
                        .with_leader_epoch(slot.offset_epoch),
                );
            }
            let Some(version) = version else { continue };
            let topics = topics.into_iter().map(|(topic, partitions)| {
                OffsetForLeaderTopic::default()
                    .with_topic(StrBytes::from_string(topic).into())
                    .with_partitions(partitions)
            });
            let request = OffsetForLeaderEpochRequest::default()
                .with_replica_id((-1).into())
                .with_topics(topics.collect());
            let id = self.lookups.next;
            self.lookups.next += 1;
            self.lookups.epochs_out.insert(id, asked);
            let tag = Tag::Consumer(ConsumerTag::Epochs(id));
            let timeout = self.base.settings.request_timeout;
            self.base.net.send(node, &request, version, timeout, tag, now);
        }
    }

    pub(super) fn epochs_answered(&mut self, id: u64, completion: Completion, now: Now) {
        let asked = self.lookups.epochs_out.remove(&id).unwrap_or_default();
        let node = completion.node;
        let answer = completion.result.and_then(|body| {
            body.decode_from::<OffsetForLeaderEpochRequest>(node, &mut self.base.net, now)
        });
        let mut found = HashMap::new();
        if let Ok(response) = &answer {
            self.base.net.throttle(node, response.throttle_time_ms, now);
            for topic in &response.topics {
                for partition in &topic.partitions {
                    found.insert((topic.topic.as_str(), partition.partition), partition);
                }
            }
        }
        for (partition, reading) in asked {
            let known = self.base.metadata.leader(&partition).map_or(-1, |(_, epoch)| epoch);
            let random = self.base.net.random();
            let Some(slot) = self.index.get(&partition).map(|at| &mut self.slots[*at]) else {
                continue;
            };
            let Phase::AsksEpoch(asked_epoch) = slot.phase else { continue };
            if slot.reading != reading {
                continue;
            }
            match found.get(&(&*partition.topic, partition.partition)) {
                Some(answer) if answer.error_code == 0 => {
                    slot.agreed_epoch = asked_epoch;
                    // Another leader may have come meanwhile.
                    slot.phase = match known > asked_epoch {
                        true => Phase::WantsEpoch,
                        false => Phase::Fetching,
                    };
                    slot.backoff.succeeded();
                    if answer.end_offset < slot.offset {
                        self.truncated(&partition, answer.leader_epoch, answer.end_offset);
                    }
                }
                answer => {
                    slot.phase = Phase::WantsEpoch;
                    slot.retry_at = now.after(slot.backoff.failed(random));
                    self.base.metadata.refresh();
                    let error = answer.map(|answer| KafkaError::of(answer.error_code));
                    if let Some(error) = error.filter(|error| !error.is_retriable()) {
                        self.partition_failed(&partition, error, now);
                    }
                }
            }
        }
    }

    /// The log was cut behind what was read (KIP-320): reading goes on where the logs part, and
    /// the user is told.
    pub(super) fn truncated(&mut self, partition: &TopicPartition, epoch: i32, end: Offset) {
        let Some(slot) = self.slot_mut(partition) else { return };
        let was = slot.offset;
        let gone = if end < 0 {
            self.reset_from_lost(partition, "the log was cut before anything the leader can name");
            format!("all offsets before {was}")
        } else {
            slot.cut(end, epoch);
            let (partition, reading) = (partition.clone(), slot.reading);
            self.changes.push(Change::Cut { partition, reading, at: end });
            format!("offsets {end} to {was}")
        };
        let text = format!(
            "the log of {partition} was cut: {gone} were read and are gone, \
             an unclean leader election or a power loss may have taken them"
        );
        let error = KafkaError::with(code::LOG_TRUNCATION, Some(&text));
        self.report(ConsumerEvent::PartitionError(partition.clone(), error));
    }
}
