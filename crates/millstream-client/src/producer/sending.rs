//! Batches into Produce requests: one request takes a batch of each partition that a broker leads.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::lane::Standing;
use super::machine::{InFlight, ProducerCore, ProducerTag, Sent};
use crate::error::{KafkaError, code};
use crate::network::NodeId;
use crate::settings::Acks;
use crate::tag::Tag;
use crate::time::Now;

/// Highest version of Produce before transactions of version 2 (KIP-890), and before topic ids
/// (KIP-516).
const BEFORE_V2: i16 = 11;
const BEFORE_IDS: i16 = 12;
/// What a broker's answer may take on top of what it waits for its replicas.
const ANSWER_TIME: Duration = Duration::from_secs(1);

impl ProducerCore {
    /// Sends what can be sent.
    pub(super) fn send(&mut self, now: Now) {
        if self.busy.is_empty() || self.fatal.is_some() {
            return;
        }
        let mut by_node: BTreeMap<NodeId, Vec<(u32, u32)>> = BTreeMap::new();
        let from = self.busy.range(self.cursor..).chain(self.busy.range(..self.cursor));
        let lanes: Vec<(u32, u32)> = from.copied().collect();
        let mut leaderless = false;
        for (topic, partition) in lanes {
            leaderless |= self.lane(topic, partition).leader.is_none();
            if let Some(node) = self.sendable(topic, partition, now) {
                by_node.entry(node).or_default().push((topic, partition));
            }
        }
        if leaderless {
            self.base.metadata.lacks(&mut self.base.net, now);
        }
        self.unready.retain(|node, _| by_node.contains_key(node));
        for (node, mut lanes) in by_node {
            if !self.is_ready(node, now) {
                continue;
            }
            while !lanes.is_empty()
                && self.base.net.ready(node, now)
                && self.out.get(&node).is_none_or(|out| *out < self.in_flight_max())
            {
                if !self.send_one(node, &lanes, now) {
                    break;
                }
                lanes.retain(|(topic, partition)| {
                    self.sendable(*topic, *partition, now) == Some(node)
                });
            }
        }
        self.busy.retain(|(topic, partition)| {
            let lane = &self.topics[*topic as usize].lanes[*partition as usize];
            !lane.pending.is_empty()
        });
    }

    /// Whether a node can be sent to. One that cannot be reached for a while may have lost what it
    /// led to others.
    fn is_ready(&mut self, node: NodeId, now: Now) -> bool {
        if self.base.net.ready(node, now) {
            self.unready.remove(&node);
            return true;
        }
        let since = *self.unready.entry(node).or_insert(now.mono);
        let connected = self.base.net.version::<ProduceRequest>(node, (3, 13)).is_some();
        if !connected && since + self.base.settings.reconnect_backoff <= now.mono {
            self.base.metadata.refresh();
        }
        false
    }

    /// The node that the next batch of a lane can go to now.
    fn sendable(&mut self, topic: u32, partition: u32, now: Now) -> Option<NodeId> {
        if let Some(transaction) = &self.transaction
            && !transaction.allows(topic, partition)
        {
            return None;
        }
        if !self.settings.idempotent {
            return self.lane(topic, partition).node(now.mono);
        }
        let current = self.ids.current?;
        let standing = self.lane(topic, partition).settle(current);
        match standing {
            Standing::Ready => self.lane(topic, partition).node(now.mono),
            Standing::Wait => None,
            Standing::Gap if self.transaction.is_some() => {
                let error = KafkaError {
                    code: code::STATE,
                    text: "the broker misses records before those that are to be sent".into(),
                };
                self.must_abort(error, true);
                None
            }
            Standing::Gap => {
                self.ids.raise();
                let current = self.ids.current?;
                self.lane(topic, partition).settle(current);
                self.lane(topic, partition).node(now.mono)
            }
        }
    }

    /// Sends one request with a batch of each of `lanes`, as many as fit. Whether it did.
    fn send_one(&mut self, node: NodeId, lanes: &[(u32, u32)], now: Now) -> bool {
        let v2 = self.transaction.as_ref().is_none_or(super::transaction::Transaction::is_v2);
        let ids = lanes.iter().all(|(topic, _)| !self.topics[*topic as usize].id.is_nil());
        let max = match (v2, ids) {
            (false, _) => BEFORE_V2,
            (true, false) => BEFORE_IDS,
            (true, true) => 13,
        };
        let Some(version) = self.base.net.version::<ProduceRequest>(node, (3, max)) else {
            return false;
        };
        let mut batches = Vec::with_capacity(lanes.len());
        let mut topics: BTreeMap<u32, Vec<PartitionProduceData>> = BTreeMap::new();
        let mut size = 0;
        for &(topic, partition) in lanes {
            let next = self.lane(topic, partition).pending.front().map_or(0, |b| b.wire_size());
            if !batches.is_empty() && size + next > self.settings.message_max_bytes {
                self.cursor = (topic, partition);
                break;
            }
            if let Some((in_flight, bytes)) = self.take(topic, partition) {
                size += bytes.len();
                self.count_sent(node, &in_flight, bytes.len(), now);
                batches.push(in_flight);
                let data = PartitionProduceData::default().with_index(partition as i32);
                topics.entry(topic).or_default().push(data.with_records(Some(bytes)));
            }
        }
        if batches.is_empty() {
            // None could be packed: others may follow.
            return true;
        }
        self.post(node, version, topics, batches, now);
        true
    }

    /// Takes the next batch of a lane, packed. One that cannot be packed is given up.
    fn take(&mut self, topic: u32, partition: u32) -> Option<(InFlight, Bytes)> {
        let (sequenced, level) = (self.settings.idempotent, self.settings.compression_level);
        let mut batch = self.lane(topic, partition).take(sequenced)?;
        match batch.encode(std::mem::take(&mut self.spare), level) {
            Ok((bytes, spare)) => {
                self.spare = spare;
                Some((InFlight { topic, partition, batch, abandoned: false }, bytes))
            }
            Err(error) => {
                self.lane(topic, partition).came_back();
                let error = KafkaError { code: code::BAD_MESSAGE, text: error.to_string() };
                self.give_up(topic, partition, batch, Some(error));
                None
            }
        }
    }

    fn post(
        &mut self,
        node: NodeId,
        version: i16,
        topics: BTreeMap<u32, Vec<PartitionProduceData>>,
        batches: Vec<InFlight>,
        now: Now,
    ) {
        let topics = topics.into_iter().map(|(index, partitions)| {
            let topic = &self.topics[index as usize];
            let data = TopicProduceData::default().with_partition_data(partitions);
            match version > BEFORE_IDS {
                true => data.with_topic_id(topic.id),
                false => data.with_name(TopicName(StrBytes::from_string(topic.name.to_string()))),
            }
        });
        let timeout = self.settings.request_timeout;
        let mut request = ProduceRequest::default()
            .with_acks(match self.settings.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            })
            .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_transactional_id(None)
            .with_topic_data(topics.collect());
        if let Some(transaction) = &mut self.transaction {
            transaction.sending();
            let id = StrBytes::from_string(transaction.id().to_owned());
            request = request.with_transactional_id(Some(TransactionalId(id)));
        }
        let number = self.next_request;
        self.next_request += 1;
        let created = batches.iter().map(|in_flight| in_flight.batch.created).min();
        let after = self.settings.delivery_timeout;
        let expires = after.and_then(|after| created.map(|created| created + after));
        self.requests.insert(number, Sent { batches, expires });
        *self.out.entry(node).or_default() += 1;
        let tag = Tag::Producer(ProducerTag::Produce(number));
        let net = &mut self.base.net;
        if self.settings.acks != Acks::None {
            net.send(node, &request, version, timeout + ANSWER_TIME, tag, now);
            return;
        }
        // Such a request is never answered. One behind it that is, tells that the broker has read
        // it: else nothing would bound what piles up in front of a slow broker. A connection that
        // ends without it, because the broker did not like a batch or is gone, means another try.
        net.send_unanswered(node, &request, version, now);
        let fence = ApiVersionsRequest::default();
        net.send(node, &fence, 0, timeout + ANSWER_TIME, tag, now);
    }
}
