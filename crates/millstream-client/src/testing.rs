//! A cluster for tests: brokers that answer frames by script, and a clock that moves when there is
//! nothing else to do. No thread, no socket, no waiting.

pub(crate) mod allocations;
pub(crate) mod frames;
pub(crate) mod fuzz;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, BrokerId, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
    find_coordinator_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use millstream_types::{Clock, ManualClock};

use crate::admin::Await;
use crate::base::Machine;
use crate::driver::Wake;
use crate::network::{Action, ConnectionId, Input};
use crate::random::Random;
use crate::settings::ConnectionSettings;
use crate::time::Now;

/// Ports of the brokers begin here.
const PORT: u16 = 9000;

/// What a broker does with a request.
pub(crate) enum Does<T> {
    /// Answers.
    Answers(T),
    /// Nothing, for ever.
    IsSilent,
    /// Closes the connection.
    HangsUp,
}

type Script = Box<dyn FnMut(i32, i16, Bytes) -> Does<BytesMut> + Send>;

/// How a broker takes connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listens {
    Yes,
    /// Connections are refused.
    No,
    /// TLS is refused.
    RefusesTls,
}

/// The cluster as its brokers tell it.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) brokers: BTreeMap<i32, Listens>,
    pub(crate) controller: i32,
    /// Leaders of the partitions of each topic; -1: none.
    pub(crate) topics: BTreeMap<String, Vec<i32>>,
    pub(crate) coordinators: BTreeMap<String, i32>,
    /// Highest versions, where they are lower than what the codec knows; `None`: not at all.
    pub(crate) highest: BTreeMap<i16, Option<i16>>,
    /// What was asked: broker, request, version.
    pub(crate) seen: Vec<(i32, i16, i16)>,
    scripts: BTreeMap<i16, Script>,
    connections: BTreeMap<ConnectionId, i32>,
    inputs: VecDeque<Input>,
}

impl Cluster {
    /// Scripts what brokers do with requests of type `R`: broker, version, request.
    pub(crate) fn on<R: Request>(
        &mut self,
        mut script: impl FnMut(i32, i16, R) -> Does<R::Response> + Send + 'static,
    ) {
        let script = move |broker, version, mut body: Bytes| {
            let request = R::decode(&mut body, version).expect("a request that can be read");
            assert!(!body.has_remaining(), "a request with something behind it");
            match script(broker, version, request) {
                Does::Answers(response) => {
                    let mut bytes = BytesMut::new();
                    response.encode(&mut bytes, version).expect("a response that can be written");
                    Does::Answers(bytes)
                }
                Does::IsSilent => Does::IsSilent,
                Does::HangsUp => Does::HangsUp,
            }
        };
        self.scripts.insert(R::KEY, Box::new(script));
    }

    /// How often a request was seen.
    pub(crate) fn count<R: Request>(&self) -> usize {
        self.seen.iter().filter(|(_, key, _)| *key == R::KEY).count()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { connection, port, .. } => {
                let broker = i32::from(port - PORT);
                match self.brokers.get(&broker) {
                    Some(Listens::Yes) => {
                        self.connections.insert(connection, broker);
                        self.inputs.push_back(Input::Connected { connection });
                    }
                    refused => {
                        let tls = refused == Some(&Listens::RefusesTls);
                        let reason = format!("broker {broker} refuses");
                        self.inputs.push_back(Input::Closed { connection, reason, tls });
                    }
                }
            }
            Action::Close { connection } => drop(self.connections.remove(&connection)),
            Action::Send { connection, bytes } => self.take(connection, bytes),
            Action::FetchToken => unreachable!("no endpoint was given"),
        }
    }

    fn take(&mut self, connection: ConnectionId, mut bytes: Bytes) {
        let Some(broker) = self.connections.get(&connection).copied() else { return };
        let length = bytes.get_i32();
        assert_eq!(length as usize, bytes.remaining(), "whole frames");
        let (key, version) = (i16::from_be_bytes([bytes[0], bytes[1]]), (&bytes[2..4]).get_i16());
        self.seen.push((broker, key, version));
        let api = ApiKey::try_from(key).expect("a known request");
        let header = RequestHeader::decode(&mut bytes, api.request_header_version(version))
            .expect("a header");
        let does = match self.scripts.remove(&key) {
            Some(mut script) => {
                let does = script(broker, version, bytes);
                self.scripts.entry(key).or_insert(script);
                does
            }
            None => self.by_itself(key, version, bytes),
        };
        match does {
            Does::Answers(body) => {
                let mut frame = BytesMut::new();
                ResponseHeader::default()
                    .with_correlation_id(header.correlation_id)
                    .encode(&mut frame, api.response_header_version(version))
                    .expect("a header");
                frame.put(body);
                self.inputs.push_back(Input::Frame { connection, frame: frame.freeze() });
            }
            Does::IsSilent => {}
            Does::HangsUp => {
                self.connections.remove(&connection);
                let reason = "the broker hangs up".into();
                self.inputs.push_back(Input::Closed { connection, reason, tls: false });
            }
        }
    }

    fn by_itself(&self, key: i16, version: i16, mut body: Bytes) -> Does<BytesMut> {
        let mut bytes = BytesMut::new();
        match key {
            ApiVersionsRequest::KEY => {
                self.versions().encode(&mut bytes, version).expect("a response");
            }
            MetadataRequest::KEY => {
                let request = MetadataRequest::decode(&mut body, version).expect("a request");
                assert!(!request.allow_auto_topic_creation, "asking must not create");
                self.metadata(request).encode(&mut bytes, version).expect("a response");
            }
            FindCoordinatorRequest::KEY => {
                let request = FindCoordinatorRequest::decode(&mut body, version).expect("one");
                self.coordinator(request, version).encode(&mut bytes, version).expect("a response");
            }
            other => panic!("request {other} is not in the script"),
        }
        Does::Answers(bytes)
    }

    fn versions(&self) -> ApiVersionsResponse {
        let ranges = (0..100).filter_map(|key| {
            let range = ApiKey::try_from(key).ok()?.valid_versions();
            let max = match self.highest.get(&key) {
                Some(highest) => (*highest)?,
                None => range.max,
            };
            Some(
                ApiVersion::default()
                    .with_api_key(key)
                    .with_min_version(range.min)
                    .with_max_version(max),
            )
        });
        ApiVersionsResponse::default().with_api_keys(ranges.collect())
    }

    fn metadata(&self, request: MetadataRequest) -> MetadataResponse {
        let brokers = self.brokers.keys().map(|id| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*id))
                .with_host(StrBytes::from_static_str("broker"))
                .with_port(i32::from(PORT) + id)
        });
        let names: Vec<String> = match request.topics {
            Some(topics) => {
                topics.into_iter().filter_map(|topic| Some(topic.name?.to_string())).collect()
            }
            None => self.topics.keys().cloned().collect(),
        };
        let topics = names.into_iter().map(|name| {
            let topic = MetadataResponseTopic::default()
                .with_name(Some(StrBytes::from_string(name.clone()).into()));
            let Some(leaders) = self.topics.get(&name) else { return topic.with_error_code(3) };
            let partitions = (0..).zip(leaders).map(|(index, leader)| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(*leader))
                    .with_leader_epoch(-1)
                    .with_replica_nodes(vec![BrokerId(*leader)])
                    .with_isr_nodes(vec![BrokerId(*leader)])
            });
            topic.with_partitions(partitions.collect())
        });
        MetadataResponse::default()
            .with_cluster_id(Some(StrBytes::from_static_str("scripted")))
            .with_controller_id(BrokerId(self.controller))
            .with_brokers(brokers.collect())
            .with_topics(topics.collect())
    }

    fn coordinator(
        &self,
        request: FindCoordinatorRequest,
        version: i16,
    ) -> FindCoordinatorResponse {
        let name = match version {
            0..=3 => request.key,
            _ => request.coordinator_keys.into_iter().next().expect("a key"),
        };
        let (code, node) = self.coordinators.get(name.as_str()).map_or((15, -1), |node| (0, *node));
        let (host, port) = (StrBytes::from_static_str("broker"), i32::from(PORT) + node);
        if version <= 3 {
            return FindCoordinatorResponse::default()
                .with_error_code(code)
                .with_node_id(BrokerId(node))
                .with_host(host)
                .with_port(port);
        }
        FindCoordinatorResponse::default().with_coordinators(vec![
            find_coordinator_response::Coordinator::default()
                .with_key(name)
                .with_error_code(code)
                .with_node_id(BrokerId(node))
                .with_host(host)
                .with_port(port),
        ])
    }
}

/// Drives one machine against the cluster while its front end waits.
pub(crate) struct World {
    pub(crate) cluster: Mutex<Cluster>,
    pub(crate) clock: Arc<ManualClock>,
    machine: OnceLock<Arc<Mutex<dyn Machine>>>,
    woken: AtomicBool,
}

impl World {
    /// Brokers `1..=count`, the first being the controller; clients know the first two.
    pub(crate) fn of(count: i32) -> Arc<Self> {
        let brokers = (1..=count).map(|id| (id, Listens::Yes)).collect();
        let cluster = Cluster { brokers, controller: 1, ..Cluster::default() };
        Arc::new(Self {
            cluster: Mutex::new(cluster),
            clock: Arc::new(ManualClock::new(1_000)),
            machine: OnceLock::new(),
            woken: AtomicBool::new(false),
        })
    }

    /// Settings of a client of this cluster.
    pub(crate) fn settings() -> ConnectionSettings {
        ConnectionSettings {
            bootstrap: vec![("broker".into(), PORT + 1), ("broker".into(), PORT + 2)],
            ..ConnectionSettings::default()
        }
    }

    /// What it drives.
    pub(crate) fn drive(&self, machine: Arc<Mutex<dyn Machine>>) {
        assert!(self.machine.set(machine).is_ok(), "one machine");
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.monotonic(), wall: self.clock.wall() }
    }

    /// One step; whether something is left that needs no waiting, and until when to wait if not.
    fn step(&self) -> (bool, Option<Duration>) {
        let mut machine = self.machine.get().expect("a machine").lock().unwrap();
        let mut cluster = self.cluster.lock().unwrap();
        let now = self.now();
        while let Some(input) = cluster.inputs.pop_front() {
            machine.input(input, now);
        }
        machine.advance(now);
        while let Some(action) = machine.action() {
            cluster.act(action);
        }
        let wake = machine.take_wake();
        let step = (!cluster.inputs.is_empty(), machine.next_deadline(now));
        drop((machine, cluster));
        if let Some(wake) = wake {
            wake.wake();
        }
        step
    }
}

impl Wake for World {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
    }
}

impl Await for World {
    fn wait(&self, timeout: Duration) {
        let end = self.now().after(timeout);
        loop {
            let (busy, deadline) = self.step();
            if self.woken.swap(false, Ordering::AcqRel) {
                return;
            }
            let now = self.now().mono;
            if now >= end {
                return;
            }
            if !busy {
                let next = deadline.map_or(end, |at| at.min(end));
                // The clock has milliseconds only, and time must not stand still.
                self.clock.advance((next - now.min(next)).max(Duration::from_millis(1)));
            }
        }
    }
}

/// Random numbers from a seed.
pub(crate) struct Seeded(pub(crate) u64);

impl Random for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The versions of a broker of Kafka 2.4, for the requests of the admin client.
pub(crate) fn versions_of_2_4() -> BTreeMap<i16, Option<i16>> {
    let known = [
        (3, 9),
        (2, 5),
        (8, 8),
        (9, 6),
        (10, 3),
        (15, 5),
        (16, 3),
        (18, 3),
        (19, 5),
        (20, 4),
        (21, 1),
        (22, 2),
        (27, 0),
        (29, 1),
        (30, 1),
        (31, 1),
        (32, 2),
        (33, 1),
        (35, 1),
        (37, 1),
        (42, 2),
        (44, 1),
        (47, 0),
    ];
    let known: BTreeMap<i16, i16> = known.into();
    let all: BTreeSet<i16> = (0..100).filter(|key| ApiKey::try_from(*key).is_ok()).collect();
    all.into_iter().map(|key| (key, known.get(&key).copied())).collect()
}
