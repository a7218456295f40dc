//! A cluster without sockets: reads the frames that the machine sends, and answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use millstream_types::{Clock, ManualClock};
use uuid::Uuid;

use super::log::Log;
use crate::base::Machine;
use crate::network::{Action, ConnectionId, Input};
use crate::producer::{
    Partition, ProduceError, ProduceRecord, Producer, ProducerEvent, TopicHandle,
};
use crate::random::Random;
use crate::settings::{ConnectionSettings, ProducerSettings};
use crate::time::Now;

/// Random numbers from a seed.
#[derive(Clone)]
pub(super) struct Seeded(pub(super) u64);

impl Random for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered after so many milliseconds.
    Answered(u64),
    /// The connection ends before the broker reads it.
    Lost,
    /// The broker does it; the connection ends before the answer.
    AnswerLost,
    /// It is done, and nothing comes from there on; the connection stays.
    Silence,
    /// Each partition is refused with this code.
    Refused(i16),
    /// Each partition is written, and the answer is this code.
    WrittenBut(i16),
    /// The leader of each partition moves to the next broker first.
    Moved,
}

/// A request, as a test decides on it.
pub(super) struct Asked {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    /// How many of this kind there were before.
    pub(super) nth: usize,
    /// Partitions of a Produce request.
    pub(super) partitions: Vec<i32>,
    /// Records in its batches.
    pub(super) records: usize,
}

type Rule = Box<dyn FnMut(&Asked, &mut Seeded) -> Fate>;

pub(super) struct FakePartition {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) log: Log,
}

pub(super) struct FakeTopic {
    pub(super) name: &'static str,
    pub(super) id: Uuid,
    pub(super) partitions: Vec<FakePartition>,
}

struct Connection {
    node: i32,
    /// When each answer arrives, in order.
    answers: VecDeque<(Duration, Bytes)>,
    /// It reads nothing any more.
    stuck: bool,
}

/// What a transaction coordinator was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Init { epoch: i16 },
    AddPartitions(Vec<i32>),
    AddOffsets,
    CommitOffsets { generation: i32, offsets: Vec<i64> },
    End { committed: bool },
}

pub(super) struct Cluster {
    pub(super) producer: Producer,
    machine: Arc<Mutex<dyn Machine>>,
    pub(super) clock: Arc<ManualClock>,
    random: Seeded,
    pub(super) topics: Vec<FakeTopic>,
    connections: BTreeMap<ConnectionId, Connection>,
    pub(super) down: bool,
    /// Highest versions, where they differ from what the codec has.
    pub(super) versions: BTreeMap<i16, i16>,
    pub(super) transaction_version: i16,
    pub(super) name_leaders: bool,
    pub(super) rule: Rule,
    counts: BTreeMap<i16, usize>,
    pub(super) told: Vec<Told>,
    pub(super) producer_id: (i64, i16),
    /// Codes that the coordinator answers with, one after the other, before it does anything.
    pub(super) refusals: VecDeque<(ApiKey, i16)>,
    pub(super) events: Vec<ProducerEvent>,
    /// The time that brokers give records, if they do.
    pub(super) append_time: Option<i64>,
    /// What Produce answers ask the client to wait.
    pub(super) throttle_ms: i32,
    /// Most requests that were out on one connection.
    pub(super) most_out: usize,
}

pub(super) fn connection_settings() -> ConnectionSettings {
    ConnectionSettings { bootstrap: vec![("boot".into(), 9001)], ..Default::default() }
}

impl Cluster {
    /// Three brokers; topic `t` with so many partitions.
    pub(super) fn new(settings: &ProducerSettings, partitions: i32, seed: u64) -> Self {
        Self::with(&connection_settings(), settings, partitions, seed)
    }

    /// [`new`](Self::new) with other settings of the connection.
    pub(super) fn with(
        connection: &ConnectionSettings,
        settings: &ProducerSettings,
        partitions: i32,
        seed: u64,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let random = Box::new(Seeded(seed ^ 0xabcd));
        let producer = Producer::by_hand(connection, settings, clock.clone(), random).unwrap();
        let machine = producer.machine();
        let partition = |n| FakePartition { leader: 1 + n % 3, epoch: 0, log: Log::default() };
        Self {
            producer,
            machine,
            clock,
            random: Seeded(seed),
            topics: vec![FakeTopic {
                name: "t",
                id: Uuid::from_u128(77),
                partitions: (0..partitions).map(partition).collect(),
            }],
            connections: BTreeMap::new(),
            down: false,
            versions: BTreeMap::new(),
            transaction_version: 0,
            name_leaders: true,
            rule: Box::new(|_, _| Fate::Answered(1)),
            counts: BTreeMap::new(),
            told: Vec::new(),
            producer_id: (4000, -1),
            refusals: VecDeque::new(),
            events: Vec::new(),
            append_time: None,
            throttle_ms: 0,
            most_out: 0,
        }
    }

    pub(super) fn add_topic(&mut self, name: &'static str, partitions: i32) {
        let partition = |n| FakePartition { leader: 1 + n % 3, epoch: 0, log: Log::default() };
        let id = Uuid::from_u128(100 + self.topics.len() as u128);
        let partitions = (0..partitions).map(partition).collect();
        self.topics.push(FakeTopic { name, id, partitions });
    }

    pub(super) fn topic(&mut self) -> TopicHandle {
        self.producer.topic("t").unwrap()
    }

    /// Produces a record whose value begins with `number`.
    pub(super) fn produce(&mut self, partition: i32, number: u64) -> Result<(), ProduceError> {
        let topic = self.topic();
        let mut value = number.to_be_bytes().to_vec();
        value.resize(20, 0);
        self.producer.produce(&ProduceRecord {
            topic,
            partition: Partition::At(partition),
            key: None,
            value: Some(&value),
            headers: Default::default(),
            timestamp: Some(number as i64),
        })
    }

    pub(super) fn log(&self, partition: usize) -> &Log {
        &self.topics[0].partitions[partition].log
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: self.clock.monotonic(), wall: self.clock.wall() }
    }

    /// Drives until `done`, with time passing as needed.
    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..200_000 {
            self.step();
            if done(self) {
                return;
            }
            self.pass();
        }
        panic!("it never happened; events: {:?}", self.events);
    }

    /// Drives for that long.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.clock.monotonic() + time;
        loop {
            self.step();
            let next = self.next().unwrap_or(end);
            let now = self.clock.monotonic();
            if now >= end {
                return;
            }
            let to = next.clamp(now + Duration::from_millis(1), end);
            self.clock.advance(whole(to - now));
        }
    }

    /// All that was produced is delivered or given up.
    pub(super) fn settle(&mut self) {
        self.run_until(|cluster| cluster.producer.in_flight() == 0);
    }

    fn next(&self) -> Option<Duration> {
        let answers = self.connections.values().filter_map(|c| c.answers.front());
        let answer = answers.map(|(at, _)| *at).min();
        let deadline = self.machine.lock().unwrap().next_deadline(self.now());
        crate::time::earlier(answer, deadline)
    }

    /// Lets time pass up to the next thing that happens.
    fn pass(&mut self) {
        let now = self.clock.monotonic();
        let next = self.next().unwrap_or(now).max(now + Duration::from_millis(1));
        self.clock.advance(whole(next - now));
    }

    /// One step of the driver.
    pub(super) fn step(&mut self) {
        let now = self.now();
        let mut inputs = Vec::new();
        for (id, connection) in &mut self.connections {
            while connection.answers.front().is_some_and(|(at, _)| *at <= now.mono) {
                let (_, frame) = connection.answers.pop_front().unwrap();
                inputs.push(Input::Frame { connection: *id, frame });
            }
        }
        loop {
            let (actions, wake) = {
                let mut machine = self.machine.lock().unwrap();
                for input in inputs.drain(..) {
                    machine.input(input, now);
                }
                machine.advance(now);
                let actions = std::iter::from_fn(|| machine.action()).collect::<Vec<_>>();
                (actions, machine.take_wake())
            };
            if let Some(wake) = wake {
                wake.wake();
            }
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.act(action, &mut inputs);
            }
            if inputs.is_empty() {
                break;
            }
        }
        let mut events = Vec::new();
        self.producer.poll(&mut events);
        self.events.append(&mut events);
    }

    fn act(&mut self, action: Action, inputs: &mut Vec<Input>) {
        match action {
            Action::Connect { connection, .. } if self.down => {
                let reason = "refused".into();
                inputs.push(Input::Closed { connection, reason, tls: false });
            }
            Action::Connect { connection, port, .. } => {
                let node = i32::from(port) - 9000;
                let state = Connection { node, answers: VecDeque::new(), stuck: false };
                self.connections.insert(connection, state);
                inputs.push(Input::Connected { connection });
            }
            Action::Close { connection } => {
                self.connections.remove(&connection);
            }
            Action::FetchToken => unreachable!("no endpoint was given"),
            Action::Send { connection, bytes } => {
                if !self.receive(connection, bytes) {
                    self.close(connection, inputs);
                }
                let out = self.connections.get(&connection).map_or(0, |c| c.answers.len());
                self.most_out = self.most_out.max(out);
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, inputs: &mut Vec<Input>) {
        if self.connections.remove(&connection).is_some() {
            inputs.push(Input::Closed { connection, reason: "reset".into(), tls: false });
        }
    }

    /// All connections end.
    pub(super) fn cut(&mut self) {
        let mut inputs = Vec::new();
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(id, &mut inputs);
        }
        let now = self.now();
        let mut machine = self.machine.lock().unwrap();
        for input in inputs {
            machine.input(input, now);
        }
    }

    pub(super) fn count(&self, key: ApiKey) -> usize {
        self.counts.get(&(key as i16)).copied().unwrap_or(0)
    }

    /// Takes a request in. Returns whether the connection lives on.
    fn receive(&mut self, id: ConnectionId, mut bytes: Bytes) -> bool {
        let Some(connection) = self.connections.get(&id) else { return true };
        if connection.stuck {
            return true;
        }
        let node = connection.node;
        let length = bytes.get_i32() as usize;
        assert_eq!(length, bytes.len(), "one frame per action");
        let key = ApiKey::try_from(i16::from_be_bytes(bytes[..2].try_into().unwrap())).unwrap();
        let version = i16::from_be_bytes(bytes[2..4].try_into().unwrap());
        let header =
            RequestHeader::decode(&mut bytes, key.request_header_version(version)).unwrap();
        let (partitions, records) = match key {
            ApiKey::Produce => contents(&mut bytes.clone(), version),
            _ => (Vec::new(), 0),
        };
        let count = self.counts.entry(key as i16).or_default();
        let asked = Asked { key, version, nth: *count, partitions, records };
        *count += 1;
        let setup = key == ApiKey::ApiVersions;
        let fate = if setup { Fate::Answered(0) } else { (self.rule)(&asked, &mut self.random) };
        let delay = match fate {
            Fate::Answered(ms) => ms,
            _ => 1,
        };
        if fate == Fate::Lost {
            return false;
        }
        let body = self.handle(key, version, bytes, node, &fate);
        match fate {
            Fate::AnswerLost => return false,
            Fate::Silence => {
                self.connections.get_mut(&id).unwrap().stuck = true;
                return true;
            }
            _ => {}
        }
        let Some(body) = body else { return true };
        let mut frame = BytesMut::new();
        let response = ResponseHeader::default().with_correlation_id(header.correlation_id);
        response.encode(&mut frame, key.response_header_version(version)).unwrap();
        frame.put(body);
        let at = self.clock.monotonic() + Duration::from_millis(delay);
        let answers = &mut self.connections.get_mut(&id).unwrap().answers;
        // Brokers answer in order.
        let at = answers.back().map_or(at, |(last, _)| at.max(*last));
        answers.push_back((at, frame.freeze()));
        true
    }

    fn handle(
        &mut self,
        key: ApiKey,
        version: i16,
        mut bytes: Bytes,
        node: i32,
        fate: &Fate,
    ) -> Option<Bytes> {
        match key {
            ApiKey::ApiVersions => {
                Some(body::<ApiVersionsRequest>(&self.api_versions(version), version))
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut bytes, version).unwrap();
                Some(body::<MetadataRequest>(&self.metadata(&request, version), version))
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut bytes, version).unwrap();
                let response = self.produced(&request, version, node, fate);
                (request.acks != 0).then(|| body::<ProduceRequest>(&response, version))
            }
            _ => Some(self.coordinate(key, version, bytes)),
        }
    }

    fn api_versions(&self, version: i16) -> ApiVersionsResponse {
        let keys = [
            (ApiKey::Produce, ProduceRequest::VERSIONS_OF),
            (ApiKey::Metadata, MetadataRequest::VERSIONS_OF),
            (ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS_OF),
            (ApiKey::InitProducerId, InitProducerIdRequest::VERSIONS_OF),
            (ApiKey::FindCoordinator, FindCoordinatorRequest::VERSIONS_OF),
            (ApiKey::AddPartitionsToTxn, AddPartitionsToTxnRequest::VERSIONS_OF),
            (ApiKey::AddOffsetsToTxn, AddOffsetsToTxnRequest::VERSIONS_OF),
            (ApiKey::TxnOffsetCommit, TxnOffsetCommitRequest::VERSIONS_OF),
            (ApiKey::EndTxn, EndTxnRequest::VERSIONS_OF),
        ];
        let keys = keys.into_iter().map(|(key, (min, max))| {
            let max = self.versions.get(&(key as i16)).copied().unwrap_or(max);
            ApiVersion::default()
                .with_api_key(key as i16)
                .with_min_version(min)
                .with_max_version(max)
        });
        let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
        if version < 3 || self.transaction_version == 0 {
            return response;
        }
        response.with_finalized_features_epoch(1).with_finalized_features(vec![
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str("transaction.version"))
                .with_max_version_level(self.transaction_version)
                .with_min_version_level(self.transaction_version),
        ])
    }

    fn metadata(&self, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let brokers = (1..=3).map(|id| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_string(format!("b{id}")))
                .with_port(9000 + id)
        });
        let wanted = request.topics.iter().flatten().filter_map(|topic| topic.name.as_ref());
        let topics = wanted.map(|name| {
            let topic = MetadataResponseTopic::default().with_name(Some(name.clone()));
            let Some(known) = self.topics.iter().find(|known| known.name == name.as_str()) else {
                return topic.with_error_code(3);
            };
            let partitions = known.partitions.iter().enumerate().map(|(index, partition)| {
                let result = MetadataResponsePartition::default()
                    .with_error_code(if partition.leader < 0 { 5 } else { 0 })
                    .with_partition_index(index as i32)
                    .with_leader_id(BrokerId(partition.leader));
                if version >= 7 { result.with_leader_epoch(partition.epoch) } else { result }
            });
            let topic = topic.with_partitions(partitions.collect());
            if version >= 10 { topic.with_topic_id(known.id) } else { topic }
        });
        MetadataResponse::default()
            .with_controller_id(BrokerId(1))
            .with_topics(topics.collect())
            .with_brokers(brokers.collect())
    }

    fn produced(
        &mut self,
        request: &ProduceRequest,
        version: i16,
        node: i32,
        fate: &Fate,
    ) -> ProduceResponse {
        let mut responses = Vec::new();
        let mut moved = false;
        for data in &request.topic_data {
            let topic = self
                .topics
                .iter_mut()
                .find(
                    |t| if version >= 13 { t.id == data.topic_id } else { t.name == &*data.name.0 },
                )
                .expect("a topic that is there");
            let mut partitions = Vec::new();
            for sent in &data.partition_data {
                let partition = &mut topic.partitions[sent.index as usize];
                if *fate == Fate::Moved && partition.leader == node {
                    partition.leader = 1 + partition.leader % 3;
                    partition.epoch += 1;
                }
                let records = sent.records.as_ref().expect("records");
                let result = match fate {
                    _ if partition.leader != node => Err(6),
                    Fate::Refused(code) => Err(*code),
                    Fate::WrittenBut(code) => partition.log.append(records).and(Err(*code)),
                    _ => partition.log.append(records),
                };
                let mut answer = PartitionProduceResponse::default().with_index(sent.index);
                answer = match result {
                    Ok(offset) => answer
                        .with_base_offset(offset)
                        .with_log_append_time_ms(self.append_time.unwrap_or(-1)),
                    Err(code) => answer.with_error_code(code).with_base_offset(-1),
                };
                if result == Err(6) && version >= 10 && self.name_leaders {
                    moved = true;
                    answer = answer.with_current_leader(
                        LeaderIdAndEpoch::default()
                            .with_leader_id(BrokerId(partition.leader))
                            .with_leader_epoch(partition.epoch),
                    );
                }
                if version >= 5 {
                    answer = answer.with_log_start_offset(0);
                }
                partitions.push(answer);
            }
            let response = TopicProduceResponse::default().with_partition_responses(partitions);
            responses.push(match version {
                13.. => response.with_topic_id(data.topic_id),
                _ => response.with_name(data.name.clone()),
            });
        }
        let mut response = ProduceResponse::default()
            .with_responses(responses)
            .with_throttle_time_ms(self.throttle_ms);
        if moved {
            let endpoints = (1..=3).map(|id| {
                NodeEndpoint::default()
                    .with_node_id(BrokerId(id))
                    .with_host(StrBytes::from_string(format!("b{id}")))
                    .with_port(9000 + id)
            });
            response = response.with_node_endpoints(endpoints.collect());
        }
        response
    }
}

/// Partitions and number of records of a Produce request.
fn contents(bytes: &mut Bytes, version: i16) -> (Vec<i32>, usize) {
    let request = ProduceRequest::decode(bytes, version).unwrap();
    let partitions: Vec<_> = request.topic_data.iter().flat_map(|t| &t.partition_data).collect();
    let records = partitions.iter().map(|partition| {
        let records = partition.records.as_ref().expect("records");
        millstream_protocol::BatchHeader::parse(records).expect("a batch").record_count as usize
    });
    (partitions.iter().map(|partition| partition.index).collect(), records.sum())
}

/// A response without its header.
pub(super) fn body<R: Request>(response: &R::Response, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    let _ = R::Response::header_version(version);
    bytes.freeze()
}

/// Rounded up to what the clock can show.
fn whole(time: Duration) -> Duration {
    Duration::from_millis(time.as_nanos().div_ceil(1_000_000) as u64)
}

/// Lowest and highest version of a request that the codec has.
trait VersionsOf {
    const VERSIONS_OF: (i16, i16);
}

impl<R: Request> VersionsOf for R {
    const VERSIONS_OF: (i16, i16) = (R::VERSIONS.min, R::VERSIONS.max);
}
