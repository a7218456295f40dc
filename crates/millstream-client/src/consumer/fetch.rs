//! Fetching: what is asked of which node, and what comes back.
//!
//! One fetch a node is out at a time. A partition is left out while enough of it waits to be handed
//! out, and all are while the client as a whole has fetched ahead as much as it may.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use millstream_protocol::BatchIter;
use millstream_types::{Offset, TopicPartition};
use uuid::Uuid;

use super::core::{ConsumerCore, ConsumerTag};
use super::open::Chunk;
use super::session::{Asked, Session};
use super::slot::{Delivery, Phase};
use crate::error::{KafkaError, Remedy};
use crate::network::{Completion, NodeId};
use crate::tag::Tag;
use crate::time::Now;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

/// How long a fetch may wait at the broker while partitions are left out of it because they are
/// full: when one has room again, it must not wait for the quiet ones.
const WAIT_WHILE_FULL: Duration = Duration::from_millis(10);
/// How long only the leader is asked after a replica that it named was of no use.
const LEADER_ONLY: Duration = Duration::from_secs(10);
/// Below this a partition is fetched from whatever waits of it, so that many partitions do not
/// starve each other.
const PARTITION_MIN: usize = 64 << 10;

/// What is out to a node.
#[derive(Default)]
struct Flight {
    /// Reading and offset that were asked for.
    asked: BTreeMap<TopicPartition, (u64, Offset)>,
    /// Topics by id, from version 13 on.
    topics: HashMap<Uuid, Arc<str>>,
}

#[derive(Default)]
struct NodeFetch {
    session: Session,
    flight: Option<Flight>,
    /// How many fetches went out while partitions were full and nothing was handed out.
    stalled: u32,
    /// [`ConsumerCore::drained`] when the last fetch went out.
    drained: u64,
}

/// Sessions and fetches by node.
#[derive(Default)]
pub(super) struct Nodes(BTreeMap<NodeId, NodeFetch>);

impl ConsumerCore {
    /// Bytes of a partition that may wait to be handed out.
    pub(super) fn partition_limit(&self) -> usize {
        let fair = self.settings.queued_max_bytes / self.slots.len().max(1);
        // Twice what one fetch brings, so that the next one is under way while this is handed out.
        fair.clamp(PARTITION_MIN, usize::MAX)
            .min(2 * self.settings.partition_fetch_bytes.max(1) as usize)
    }

    /// Sends a fetch to each node that has something to fetch and none out.
    pub(super) fn send_fetches(&mut self, now: Now) {
        // A replica that is gone has no session to keep.
        let net = &self.base.net;
        self.nodes.0.retain(|node, fetch| fetch.flight.is_some() || net.knows(*node));
        let room = self.settings.queued_max_bytes.saturating_sub(self.buffered);
        if room == 0 {
            return;
        }
        let limit = self.partition_limit();
        let mut by_node: BTreeMap<NodeId, (Vec<usize>, bool)> = BTreeMap::new();
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if !slot.wants_records(now.mono) {
                continue;
            }
            if slot.preferred.is_some_and(|(_, until)| until <= now.mono) {
                slot.preferred = None;
            }
            let leader = self.base.metadata.leader(&slot.partition);
            let Some((leader, _)) = leader.filter(|(leader, _)| self.base.net.knows(*leader))
            else {
                self.base.metadata.lacks(&mut self.base.net, now);
                continue;
            };
            let node = slot.preferred.map_or(leader, |(node, _)| node);
            let (slots, full) = by_node.entry(node).or_default();
            if slot.buffered < limit {
                slots.push(at);
            } else {
                *full = true;
            }
        }
        // Each node may bring its share, so that all together stay near the bound.
        let room = room.div_ceil(by_node.len().max(1));
        for (node, (mut slots, full)) in by_node {
            if slots.is_empty() || self.nodes.0.get(&node).is_some_and(|n| n.flight.is_some()) {
                continue;
            }
            if self.base.net.ready(node, now) {
                // Under a limit of bytes the first are served first.
                slots.sort_by_key(|at| self.slots[*at].served);
                self.send_fetch(node, &slots, full, room, now);
            } else if self.base.net.is_unreachable(node, now) {
                if !self.base.net.knows(node) {
                    self.base.metadata.refresh();
                }
                self.leave_replica(node, now);
            }
        }
    }

    /// A replica is of no use: for a while the leader is asked, and not for another one.
    fn leave_replica(&mut self, node: NodeId, now: Now) {
        for slot in &mut self.slots {
            if slot.preferred.is_some_and(|(preferred, _)| preferred == node) {
                slot.preferred = None;
                slot.leader_only_until = now.after(LEADER_ONLY);
            }
        }
    }

    fn send_fetch(&mut self, node: NodeId, slots: &[usize], full: bool, room: usize, now: Now) {
        // Version 13 and up name topics by their ids only.
        let ids = slots.iter().map(|at| self.topic_id(&self.slots[*at].partition));
        let highest = if ids.into_iter().all(|id| !id.is_nil()) { 16 } else { 12 };
        let Some(version) = self.base.net.version::<FetchRequest>(node, (4, highest)) else {
            let error = KafkaError::of(crate::error::code::UNSUPPORTED_FEATURE);
            for at in slots {
                let partition = self.slots[*at].partition.clone();
                self.partition_failed(&partition, error.clone(), now);
            }
            return;
        };
        let mut wanted = Vec::with_capacity(slots.len());
        let mut flight = Flight::default();
        // Without a rack no replica is named; it goes for the whole request.
        let leader_only = slots.iter().any(|at| self.slots[*at].leader_only_until > now.mono);
        for at in slots {
            let slot = &self.slots[*at];
            let epoch = self.base.metadata.leader(&slot.partition).map_or(-1, |(_, epoch)| epoch);
            let topic_id = if version >= 13 { self.topic_id(&slot.partition) } else { Uuid::nil() };
            let asked = Asked {
                topic_id,
                place: (slot.reading, slot.jumps),
                offset: slot.offset,
                leader_epoch: epoch,
                last_epoch: slot.offset_epoch,
                max_bytes: self.settings.partition_fetch_bytes,
            };
            flight.asked.insert(slot.partition.clone(), (slot.reading, slot.offset));
            flight.topics.insert(topic_id, slot.partition.topic.clone());
            wanted.push((slot.partition.clone(), asked));
        }
        let drained = self.drained;
        let fetch = self.nodes.0.entry(node).or_default();
        let moved = std::mem::replace(&mut fetch.drained, drained) != drained;
        fetch.stalled = if full && !moved { fetch.stalled + 1 } else { 0 };
        let stalled = fetch.stalled;
        if version < 7 {
            fetch.session.reset();
        }
        let request = fetch.session.request(&wanted);
        let mut topics: BTreeMap<(Arc<str>, Uuid), Vec<FetchPartition>> = BTreeMap::new();
        // In the order in which they are wanted.
        let mut order = Vec::new();
        for (partition, asked) in &request.named {
            let key = (partition.topic.clone(), asked.topic_id);
            let mut item = FetchPartition::default()
                .with_partition(partition.partition)
                .with_fetch_offset(asked.offset)
                .with_partition_max_bytes(asked.max_bytes);
            if version >= 9 {
                item = item.with_current_leader_epoch(asked.leader_epoch);
            }
            if version >= 12 {
                item = item.with_last_fetched_epoch(asked.last_epoch);
            }
            let items = topics.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                Vec::new()
            });
            items.push(item);
        }
        let topics = order.into_iter().map(|key| {
            let partitions = topics.remove(&key).unwrap_or_default();
            let topic = FetchTopic::default().with_partitions(partitions);
            match version {
                ..=12 => topic.with_topic(StrBytes::from_string(key.0.to_string()).into()),
                _ => topic.with_topic_id(key.1),
            }
        });
        let mut forgotten: BTreeMap<(Arc<str>, Uuid), Vec<i32>> = BTreeMap::new();
        for (partition, id) in &request.forgotten {
            forgotten.entry((partition.topic.clone(), *id)).or_default().push(partition.partition);
        }
        let forgotten = forgotten.into_iter().map(|((topic, id), partitions)| {
            let item = ForgottenTopic::default().with_partitions(partitions);
            match version {
                ..=12 => item.with_topic(StrBytes::from_string(topic.to_string()).into()),
                _ => item.with_topic_id(id),
            }
        });
        // As long as nothing is handed out nobody waits for the room that it would make.
        let short = WAIT_WHILE_FULL.saturating_mul(1 << stalled.min(10));
        let wait = match full {
            true => short.min(self.settings.fetch_wait),
            false => self.settings.fetch_wait,
        };
        let max_bytes = room.min(self.settings.fetch_max_bytes.max(1) as usize) as i32;
        let mut fetch_request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_wait_ms(wait.as_millis() as i32)
            .with_min_bytes(self.settings.fetch_min_bytes)
            .with_max_bytes(max_bytes)
            .with_isolation_level(i8::from(self.settings.read_committed))
            .with_topics(topics.collect());
        if version >= 7 {
            fetch_request = fetch_request
                .with_session_id(request.session_id)
                .with_session_epoch(request.epoch)
                .with_forgotten_topics_data(forgotten.collect());
        }
        if version >= 11 && !leader_only {
            fetch_request =
                fetch_request.with_rack_id(StrBytes::from_string(self.base.settings.rack.clone()));
        }
        self.nodes.0.entry(node).or_default().flight = Some(flight);
        let timeout = self.base.settings.request_timeout + wait;
        let tag = Tag::Consumer(ConsumerTag::Fetch);
        self.base.net.send(node, &fetch_request, version, timeout, tag, now);
    }

    fn topic_id(&self, partition: &TopicPartition) -> Uuid {
        self.base.metadata.topic(&partition.topic).map_or(Uuid::nil(), |topic| topic.id)
    }

    pub(super) fn fetched(&mut self, completion: Completion, now: Now) {
        let node = completion.node;
        let Some(fetch) = self.nodes.0.get_mut(&node) else { return };
        let Some(flight) = fetch.flight.take() else { return };
        let answer = completion
            .result
            .and_then(|body| body.decode_from::<FetchRequest>(node, &mut self.base.net, now));
        let response: FetchResponse = match answer {
            Ok(response) => response,
            Err(failure) => {
                fetch.session.renew();
                tracing::debug!(target: "millstream::kafka", node, %failure, "fetch");
                // The leaders may have moved; whoever is asked next is another connection.
                self.base.metadata.refresh();
                self.leave_replica(node, now);
                return;
            }
        };
        self.base.net.throttle(node, response.throttle_time_ms, now);
        if response.error_code != 0 {
            match response.error_code {
                FETCH_SESSION_ID_NOT_FOUND => fetch.session.reset(),
                _ => fetch.session.renew(),
            }
            let known = [
                FETCH_SESSION_ID_NOT_FOUND,
                INVALID_FETCH_SESSION_EPOCH,
                FETCH_SESSION_TOPIC_ID_ERROR,
            ];
            if !known.contains(&response.error_code) {
                let error = KafkaError::of(response.error_code);
                self.base.metadata.refresh();
                for partition in flight.asked.keys() {
                    self.partition_failed(partition, error.clone(), now);
                }
            }
            return;
        }
        fetch.session.answered(response.session_id);
        for endpoint in &response.node_endpoints {
            if let Ok(port) = u16::try_from(endpoint.port) {
                self.base.net.learn_node(endpoint.node_id.0, &endpoint.host, port);
            }
        }
        for topic in response.responses {
            let name = if topic.topic_id.is_nil() {
                Arc::<str>::from(topic.topic.as_str())
            } else {
                match flight.topics.get(&topic.topic_id) {
                    Some(name) => name.clone(),
                    None => continue,
                }
            };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                if let Some((reading, offset)) = flight.asked.get(&partition).copied() {
                    self.partition_fetched(&partition, reading, offset, data, node, now);
                }
            }
        }
    }

    fn partition_fetched(
        &mut self,
        partition: &TopicPartition,
        reading: u64,
        asked: Offset,
        data: PartitionData,
        node: NodeId,
        now: Now,
    ) {
        let read_committed = self.settings.read_committed;
        let check_crcs = self.settings.check_crcs;
        let partition_end = self.settings.partition_end;
        let preferred_for = self.base.settings.metadata_max_age;
        self.responses += 1;
        let served = self.responses;
        let Some(slot) = self.slot_mut(partition) else { return };
        if slot.reading != reading || slot.phase != Phase::Fetching || slot.offset != asked {
            return;
        }
        if data.error_code != 0 {
            self.partition_refused(partition, &data, node, now);
            return;
        }
        if data.preferred_read_replica.0 >= 0 && data.preferred_read_replica.0 != node {
            slot.preferred = Some((data.preferred_read_replica.0, now.after(preferred_for)));
        }
        if data.high_watermark >= 0 {
            slot.high_watermark = data.high_watermark;
        }
        slot.last_stable = data.last_stable_offset;
        if data.log_start_offset >= 0 {
            slot.log_start = data.log_start_offset;
        }
        if data.diverging_epoch.end_offset >= 0 {
            let (epoch, end) = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
            // Where the epochs part is not beyond what was read.
            let end = end.min(asked);
            self.truncated(partition, epoch, end);
            return;
        }
        let records = data.records.unwrap_or_default();
        let next = match behind(&records, asked) {
            Ok(next) => next,
            Err(error) => {
                // Unreadable from its very header; the front end would find nothing in it.
                let text = format!("{partition}: batch at offset {asked} or behind it: {error}");
                let error = KafkaError::with(2, Some(&text));
                self.partition_failed(partition, error, now);
                return;
            }
        };
        if slot.unreadable.is_none() {
            slot.backoff.succeeded();
            slot.reported_error = None;
        }
        let mut grown = 0;
        if let Some((offset, epoch)) = next {
            let mut aborted: Vec<(i64, Offset)> = match read_committed {
                true => data.aborted_transactions.unwrap_or_default(),
                false => Vec::new(),
            }
            .into_iter()
            .map(|aborted| (aborted.producer_id.0, aborted.first_offset))
            .collect();
            aborted.sort_by_key(|(_, first)| *first);
            let chunk = Chunk {
                partition: partition.clone(),
                reading,
                records,
                from: asked,
                until: Offset::MAX,
                aborted,
                check_crcs,
            };
            grown = chunk.size();
            slot.offset = offset;
            slot.offset_epoch = epoch;
            slot.served = served;
            slot.buffered += grown;
            slot.deliveries.push_back(Delivery::Chunk(chunk));
        }
        let end = slot.end(read_committed);
        let at_end = slot.offset >= end && end >= 0;
        if partition_end && at_end && slot.reported_end != Some(slot.offset) {
            slot.reported_end = Some(slot.offset);
            slot.deliveries.push_back(Delivery::End(slot.offset));
        }
        let news = !slot.deliveries.is_empty();
        self.buffered += grown;
        if news {
            self.has_news();
        }
    }

    fn partition_refused(
        &mut self,
        partition: &TopicPartition,
        data: &PartitionData,
        node: NodeId,
        now: Now,
    ) {
        let from_follower = self
            .slot(partition)
            .and_then(|slot| slot.preferred)
            .is_some_and(|(preferred, _)| preferred == node);
        if from_follower {
            // What a follower refuses, the leader decides.
            if let Some(slot) = self.slot_mut(partition) {
                slot.preferred = None;
                slot.leader_only_until = now.after(LEADER_ONLY);
            }
            return;
        }
        if data.error_code == OFFSET_OUT_OF_RANGE {
            let offset = self.slot(partition).map_or(-1, |slot| slot.offset);
            let why = format!("offset {offset} is not in the log");
            self.reset_from_lost(partition, &why);
            return;
        }
        let error = KafkaError::of(data.error_code);
        if data.current_leader.leader_id.0 >= 0 {
            let (leader, epoch) =
                (data.current_leader.leader_id.0, data.current_leader.leader_epoch);
            self.base.metadata.learn_leader(partition, leader, epoch);
        }
        match error.remedy() {
            // Leaders move all the time. If the topic itself is gone, metadata says so.
            Remedy::Refresh => {
                self.base.metadata.refresh();
                self.partition_waits(partition, now);
            }
            Remedy::Retry => self.partition_waits(partition, now),
            _ => self.partition_failed(partition, error, now),
        }
    }

    fn partition_waits(&mut self, partition: &TopicPartition, now: Now) {
        let random = self.base.net.random();
        if let Some(at) = self.index.get(partition) {
            let slot = &mut self.slots[*at];
            slot.retry_at = now.after(slot.backoff.failed(random));
        }
    }
}

/// Offset behind the last whole batch of `records`, and the leader epoch of that batch; `None`
/// without a whole batch that reaches beyond `from`.
fn behind(
    records: &Bytes,
    from: Offset,
) -> Result<Option<(Offset, i32)>, millstream_protocol::BatchError> {
    let mut last = None;
    for batch in BatchIter::new(records) {
        let header = *match batch {
            Ok(ref batch) => batch.header(),
            // What comes before it can be handed out.
            Err(_) if last.is_some() => break,
            Err(error) => return Err(error),
        };
        if header.next_offset() > last.map_or(from, |(offset, _)| offset) {
            last = Some((header.next_offset(), header.leader_epoch));
        }
    }
    Ok(last)
}
