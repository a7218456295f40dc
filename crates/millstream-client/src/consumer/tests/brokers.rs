//! Brokers with logs, fetch sessions and a coordinator of one member; and the consumer that they
//! serve. Time passes only while the consumer waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset as EpochEnd, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use millstream_protocol::{Compression, NO_SEQUENCE, RecordBatchBuilder};
use millstream_types::{Clock, ManualClock, Offset, TopicPartition};
use uuid::Uuid;

use super::groups::Coordinator;
use crate::admin::Await;
use crate::base::Machine;
use crate::consumer::{Bounds, Consumer, ConsumerEvent, PartitionStart, StartOffset};
use crate::driver::Wake;
use crate::network::{Action, ConnectionId, Input};
use crate::random::Random;
use crate::settings::{ConnectionSettings, ConsumerSettings};
use crate::testing::frames::{Arrived, Seeded};
use crate::time::Now;

struct Batch {
    base: Offset,
    next: Offset,
    epoch: i32,
    bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Partition {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    log: Vec<Batch>,
    pub(super) start: Offset,
    /// Producer, first offset, offset of the marker.
    aborted: Vec<(i64, Offset, Offset)>,
    open: BTreeMap<i64, Offset>,
}

impl Partition {
    pub(super) fn led_by(leader: i32) -> Self {
        Self { leader, ..Self::default() }
    }

    pub(super) fn end(&self) -> Offset {
        self.log.last().map_or(self.start, |batch| batch.next)
    }

    fn stable(&self) -> Offset {
        self.open.values().copied().min().unwrap_or(self.end())
    }

    /// Writes records whose values are their offsets.
    pub(super) fn write(&mut self, count: i64, producer: Option<i64>) {
        let base = self.end();
        let mut builder = RecordBatchBuilder::new(Compression::None).leader_epoch(self.epoch);
        if let Some(producer) = producer {
            builder = builder.producer(producer, 0, 0).transactional();
            self.open.entry(producer).or_insert(base);
        }
        for offset in base..base + count {
            let value = format!("{offset}@{}", self.epoch);
            builder.push(offset, None, Some(value.as_bytes()), []);
        }
        self.append(base, count, builder.finish(base).unwrap());
    }

    /// Ends a producer's transaction.
    pub(super) fn mark(&mut self, producer: i64, commit: bool) {
        let base = self.end();
        if let Some(first) = self.open.remove(&producer)
            && !commit
        {
            self.aborted.push((producer, first, base));
        }
        let mut builder = RecordBatchBuilder::new(Compression::None)
            .producer(producer, 0, NO_SEQUENCE)
            .leader_epoch(self.epoch)
            .transactional()
            .control();
        builder.push(base, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]), []);
        self.append(base, 1, builder.finish(base).unwrap());
    }

    fn append(&mut self, base: Offset, count: i64, bytes: Vec<u8>) {
        self.log.push(Batch { base, next: base + count, epoch: self.epoch, bytes });
    }

    /// An unclean election: all from `offset` on is gone.
    pub(super) fn truncate(&mut self, offset: Offset) {
        self.log.retain(|batch| batch.next <= offset);
    }

    /// Flips a bit of the batch that begins there, or flips it back.
    pub(super) fn damage(&mut self, base: Offset) {
        let batch = self.log.iter_mut().find(|batch| batch.base == base).expect("a batch");
        *batch.bytes.last_mut().unwrap() ^= 1;
    }

    /// The largest epoch up to this one, and where it ends.
    fn epoch_end(&self, epoch: i32) -> Option<(i32, Offset)> {
        let last = self.log.iter().rev().find(|batch| batch.epoch <= epoch)?;
        (epoch <= self.epoch).then_some((last.epoch, last.next))
    }
}

pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Partition>,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Answered after so many milliseconds.
    Answered(u64),
    /// The connection ends first.
    Lost,
    /// It is done, and the connection ends before the answer.
    AnswerLost,
    Silence,
}

#[derive(Clone)]
struct Asked {
    topic: String,
    id: Uuid,
    partition: i32,
    offset: Offset,
    epoch: i32,
    last_epoch: i32,
    max_bytes: i32,
    /// What the session was told last.
    told: Option<Offset>,
}

#[derive(Default)]
struct Session {
    epoch: i32,
    partitions: Vec<Asked>,
}

struct Pending {
    connection: ConnectionId,
    node: i32,
    request: Arrived,
    fetch: FetchRequest,
    session: i32,
    delay: u64,
    until: Duration,
}

/// What happens to a request, by its key.
type Rule = Box<dyn FnMut(i16, &mut Seeded) -> Fate + Send>;

/// When each answer arrives, in order.
type Answers = VecDeque<(Duration, Bytes)>;

pub(super) struct State {
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) alive: BTreeSet<i32>,
    /// Those that metadata names; that one is dead is noticed later.
    pub(super) listed: BTreeSet<i32>,
    pub(super) caps: BTreeMap<i16, i16>,
    pub(super) ids: bool,
    connections: BTreeMap<ConnectionId, (i32, Answers)>,
    sessions: BTreeMap<i32, Session>,
    next_session: i32,
    pending: Vec<Pending>,
    queued: VecDeque<(ConnectionId, i32, Arrived, u64)>,
    /// Node, key and version of all that was asked.
    pub(super) seen: Vec<(i32, i16, i16)>,
    pub(super) fetches: Vec<(i32, FetchRequest)>,
    /// Codes for partitions in the next answers, by request.
    pub(super) refusals: VecDeque<(i16, i16)>,
    /// A code for the next whole fetch.
    pub(super) fetch_error: Option<i16>,
    pub(super) fate: Rule,
    random: Seeded,
    /// The replica that leaders name to those with a rack.
    pub(super) preferred: Option<i32>,
    /// Whether a refusal names the new leader.
    pub(super) names_leaders: bool,
    pub(super) coordinator: Coordinator,
    now: Duration,
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl State {
    pub(super) fn count<R: Request>(&self) -> usize {
        self.seen.iter().filter(|(_, key, _)| *key == R::KEY).count()
    }

    pub(super) fn partition(&mut self, index: usize) -> &mut Partition {
        &mut self.topics.get_mut("t").expect("topic t").partitions[index]
    }

    pub(super) fn add_topic(&mut self, name: &str, id: u128, partitions: i32) {
        let partition = |n| Partition::led_by(1 + n % 3);
        let partitions = (0..partitions).map(partition).collect();
        self.topics.insert(name.to_owned(), Topic { id: Uuid::from_u128(id), partitions });
    }

    /// The leader of a partition becomes the next broker.
    pub(super) fn move_leader(&mut self, index: usize) {
        let partition = self.partition(index);
        partition.leader = 1 + partition.leader % 3;
        partition.epoch += 1;
    }

    pub(super) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    fn act(&mut self, action: Action, inputs: &mut Vec<Input>) {
        match action {
            Action::Connect { connection, port, .. } => {
                let node = i32::from(port) - 9000;
                if self.alive.contains(&node) {
                    self.connections.insert(connection, (node, VecDeque::new()));
                    inputs.push(Input::Connected { connection });
                } else {
                    let reason = "refused".into();
                    inputs.push(Input::Closed { connection, reason, tls: false });
                }
            }
            Action::Close { connection } => drop(self.connections.remove(&connection)),
            Action::Send { connection, bytes } => self.take(connection, bytes, inputs),
            Action::FetchToken => unreachable!("no endpoint was given"),
        }
    }

    fn hang_up(&mut self, connection: ConnectionId, inputs: &mut Vec<Input>) {
        self.connections.remove(&connection);
        self.pending.retain(|pending| pending.connection != connection);
        self.queued.retain(|(of, ..)| *of != connection);
        inputs.push(Input::Closed { connection, reason: "reset".into(), tls: false });
    }

    fn take(&mut self, connection: ConnectionId, bytes: Bytes, inputs: &mut Vec<Input>) {
        let Some((node, _)) = self.connections.get(&connection) else { return };
        let node = *node;
        let request = Arrived::read(bytes);
        self.seen.push((node, request.key, request.version));
        let fate = match request.key {
            key if key == ApiVersionsRequest::KEY => Fate::Answered(0),
            key => (self.fate)(key, &mut self.random),
        };
        let delay = match fate {
            Fate::Answered(delay) => delay,
            Fate::Silence => return,
            Fate::Lost => return self.hang_up(connection, inputs),
            Fate::AnswerLost => 0,
        };
        // A broker takes the requests of a connection one after the other.
        if self.pending.iter().any(|pending| pending.connection == connection) {
            self.queued.push_back((connection, node, request, delay));
        } else {
            self.handle(connection, node, request, delay);
        }
        if fate == Fate::AnswerLost {
            self.hang_up(connection, inputs);
        }
    }

    fn handle(&mut self, connection: ConnectionId, node: i32, request: Arrived, delay: u64) {
        if request.key == FetchRequest::KEY {
            self.fetch(connection, node, request, delay);
        } else {
            let frame = self.answer(node, &request);
            self.send(connection, frame, delay);
        }
    }

    fn send(&mut self, connection: ConnectionId, frame: Bytes, delay: u64) {
        let Some((_, answers)) = self.connections.get_mut(&connection) else { return };
        let at = self.now + Duration::from_millis(delay);
        let at = answers.back().map_or(at, |(last, _)| at.max(*last));
        answers.push_back((at, frame));
    }

    fn answer(&mut self, node: i32, request: &Arrived) -> Bytes {
        match request.key {
            key if key == ApiVersionsRequest::KEY => {
                let keys = (0..100).filter_map(|key| {
                    let range = ApiKey::try_from(key).ok()?.valid_versions();
                    let max = self.caps.get(&key).copied().unwrap_or(range.max);
                    let known = ApiVersion::default().with_api_key(key);
                    Some(known.with_min_version(range.min).with_max_version(max))
                });
                let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
                request.answer::<ApiVersionsRequest>(&response)
            }
            key if key == MetadataRequest::KEY => {
                request.answer::<MetadataRequest>(&self.metadata(request))
            }
            key if key == ListOffsetsRequest::KEY => {
                request.answer::<ListOffsetsRequest>(&self.list_offsets(node, request))
            }
            key if key == OffsetForLeaderEpochRequest::KEY => {
                request.answer::<OffsetForLeaderEpochRequest>(&self.epochs(node, request))
            }
            _ => self.coordinator.answer(request),
        }
    }

    fn metadata(&self, request: &Arrived) -> MetadataResponse {
        let version = request.version;
        let brokers = self.listed.iter().map(|id| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*id))
                .with_host(text("b"))
                .with_port(9000 + id)
        });
        let asked = request.decode::<MetadataRequest>().topics.unwrap_or_default();
        let topics = asked.into_iter().filter_map(|asked| asked.name).map(|name| {
            let topic = MetadataResponseTopic::default().with_name(Some(name.clone()));
            let Some(known) = self.topics.get(name.as_str()) else {
                return topic.with_error_code(3);
            };
            let partitions = (0..).zip(&known.partitions).map(|(index, partition)| {
                let info = MetadataResponsePartition::default()
                    .with_error_code(if partition.leader < 0 { 5 } else { 0 })
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(partition.leader));
                if version >= 7 { info.with_leader_epoch(partition.epoch) } else { info }
            });
            let topic = topic.with_partitions(partitions.collect());
            if version >= 10 && self.ids { topic.with_topic_id(known.id) } else { topic }
        });
        MetadataResponse::default()
            .with_controller_id(BrokerId(1))
            .with_topics(topics.collect())
            .with_brokers(brokers.collect())
    }

    fn refusal<R: Request>(&mut self) -> Option<i16> {
        let (key, code) = *self.refusals.front()?;
        (key == R::KEY).then(|| {
            self.refusals.pop_front();
            code
        })
    }

    fn list_offsets(&mut self, node: i32, request: &Arrived) -> ListOffsetsResponse {
        let asked = request.decode::<ListOffsetsRequest>();
        let mut topics = Vec::new();
        for topic in asked.topics {
            let mut partitions = Vec::new();
            let mut seen = BTreeSet::new();
            for p in topic.partitions {
                assert!(seen.insert(p.partition_index), "a partition is named once");
                let refusal = self.refusal::<ListOffsetsRequest>();
                let known = &self.topics.get(topic.name.as_str()).expect("a topic").partitions
                    [p.partition_index as usize];
                let found = match (refusal, p.timestamp) {
                    (Some(code), _) => Err(code),
                    _ if known.leader != node => Err(6),
                    (_, -2) => Ok(known.start),
                    (_, -1) if asked.isolation_level == 1 => Ok(known.stable()),
                    (_, -1) => Ok(known.end()),
                    _ => Ok(-1),
                };
                let answer = ListOffsetsPartitionResponse::default()
                    .with_partition_index(p.partition_index)
                    .with_offset(found.unwrap_or(-1))
                    .with_error_code(found.err().unwrap_or(0));
                partitions.push(match request.version {
                    4.. => answer.with_leader_epoch(known.epoch),
                    _ => answer,
                });
            }
            let result = ListOffsetsTopicResponse::default().with_name(topic.name);
            topics.push(result.with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }

    fn epochs(&mut self, node: i32, request: &Arrived) -> OffsetForLeaderEpochResponse {
        let mut topics = Vec::new();
        for topic in request.decode::<OffsetForLeaderEpochRequest>().topics {
            let mut partitions = Vec::new();
            for p in topic.partitions {
                let refusal = self.refusal::<OffsetForLeaderEpochRequest>();
                let known = &self.topics[topic.topic.as_str()].partitions[p.partition as usize];
                let code = match refusal {
                    Some(code) => code,
                    None if known.leader != node => 6,
                    None if p.current_leader_epoch < known.epoch => 74,
                    None if p.current_leader_epoch > known.epoch => 75,
                    None => 0,
                };
                let (epoch, end) = match code {
                    0 => known.epoch_end(p.leader_epoch).unwrap_or((-1, -1)),
                    _ => (-1, -1),
                };
                let answer = EpochEnd::default().with_partition(p.partition).with_error_code(code);
                partitions.push(answer.with_leader_epoch(epoch).with_end_offset(end));
            }
            let result = OffsetForLeaderTopicResult::default().with_topic(topic.topic);
            topics.push(result.with_partitions(partitions));
        }
        OffsetForLeaderEpochResponse::default().with_topics(topics)
    }

    fn fetch(&mut self, connection: ConnectionId, node: i32, request: Arrived, delay: u64) {
        let fetch = request.decode::<FetchRequest>();
        self.fetches.push((node, fetch.clone()));
        let until = self.now + Duration::from_millis(fetch.max_wait_ms as u64);
        let mut refuse = self.fetch_error.take().unwrap_or(0);
        if request.version >= 7 && refuse == 0 && fetch.session_epoch > 0 {
            refuse = match self.sessions.get(&fetch.session_id) {
                None => 70,
                Some(session) if session.epoch != fetch.session_epoch => 71,
                Some(_) => 0,
            };
        }
        if refuse != 0 {
            let response = FetchResponse::default().with_error_code(refuse);
            let frame = request.answer::<FetchRequest>(&response);
            return self.send(connection, frame, delay);
        }
        let id = if fetch.session_epoch > 0 {
            fetch.session_id
        } else {
            self.sessions.remove(&fetch.session_id);
            self.next_session += 1;
            self.next_session
        };
        let session = self.sessions.entry(id).or_default();
        session.epoch += 1;
        for topic in &fetch.topics {
            for p in &topic.partitions {
                let mut asked = Asked {
                    topic: topic.topic.to_string(),
                    id: topic.topic_id,
                    partition: p.partition,
                    offset: p.fetch_offset,
                    epoch: p.current_leader_epoch,
                    last_epoch: p.last_fetched_epoch,
                    max_bytes: p.partition_max_bytes,
                    told: None,
                };
                let same = |other: &&mut Asked| {
                    (&other.topic, other.id, other.partition)
                        == (&asked.topic, asked.id, asked.partition)
                };
                match session.partitions.iter_mut().find(same) {
                    Some(known) => {
                        asked.told = known.told;
                        *known = asked;
                    }
                    None => session.partitions.push(asked),
                }
            }
        }
        for topic in &fetch.forgotten_topics_data {
            session.partitions.retain(|asked| {
                asked.topic != topic.topic.as_str()
                    || asked.id != topic.topic_id
                    || !topic.partitions.contains(&asked.partition)
            });
        }
        self.pending.push(Pending { connection, node, request, fetch, session: id, delay, until });
    }

    fn serve_fetches(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match self.try_fetch(&pending) {
                Some(response) => {
                    let frame = pending.request.answer::<FetchRequest>(&response);
                    self.send(pending.connection, frame, pending.delay);
                }
                None => self.pending.push(pending),
            }
        }
        for (connection, node, request, delay) in std::mem::take(&mut self.queued) {
            if self.pending.iter().any(|pending| pending.connection == connection) {
                self.queued.push_back((connection, node, request, delay));
            } else {
                self.handle(connection, node, request, delay);
            }
        }
    }

    fn try_fetch(&mut self, pending: &Pending) -> Option<FetchResponse> {
        let version = pending.request.version;
        let Some(mut session) = self.sessions.remove(&pending.session) else {
            return Some(FetchResponse::default().with_error_code(70));
        };
        let mut left = pending.fetch.max_bytes.max(1) as usize;
        let mut urgent = pending.until <= self.now;
        let mut answers = Vec::new();
        for asked in &session.partitions {
            let data = self.read(asked, pending, &mut left);
            urgent |= data.error_code != 0
                || data.preferred_read_replica.0 >= 0
                || data.diverging_epoch.end_offset >= 0
                || data.records.as_ref().is_some_and(|records| !records.is_empty());
            answers.push(data);
        }
        if !urgent {
            self.sessions.insert(pending.session, session);
            return None;
        }
        let mut topics: Vec<FetchableTopicResponse> = Vec::new();
        let mut served = Vec::new();
        for (asked, data) in session.partitions.iter_mut().zip(answers) {
            let news = data.error_code != 0
                || data.records.as_ref().is_some_and(|records| !records.is_empty())
                || data.preferred_read_replica.0 >= 0
                || data.diverging_epoch.end_offset >= 0
                || asked.told != Some(data.high_watermark);
            if data.records.as_ref().is_some_and(|records| !records.is_empty()) {
                served.push((asked.topic.clone(), asked.partition));
            }
            asked.told = (data.error_code == 0).then_some(data.high_watermark);
            if news || version < 7 {
                let topic = FetchableTopicResponse::default().with_partitions(vec![data]);
                topics.push(match version {
                    13.. => topic.with_topic_id(asked.id),
                    _ => topic.with_topic(text(&asked.topic).into()),
                });
            }
        }
        let response = FetchResponse::default().with_responses(topics);
        if version < 7 {
            return Some(response);
        }
        // Who was served comes last next time (KIP-227).
        let was_served = |asked: &Asked| served.contains(&(asked.topic.clone(), asked.partition));
        session.partitions.sort_by_key(was_served);
        self.sessions.insert(pending.session, session);
        Some(response.with_session_id(pending.session))
    }

    fn read(&mut self, asked: &Asked, pending: &Pending, left: &mut usize) -> PartitionData {
        let version = pending.request.version;
        let refusal = self.refusal::<FetchRequest>();
        let data = PartitionData::default().with_partition_index(asked.partition);
        let empty = data.clone();
        let refused = |code: i16| empty.clone().with_error_code(code).with_high_watermark(-1);
        let topic = match version {
            13.. => self.topics.values().find(|topic| topic.id == asked.id),
            _ => self.topics.get(&asked.topic),
        };
        let Some(topic) = topic else { return refused(if version >= 13 { 100 } else { 3 }) };
        let Some(partition) = topic.partitions.get(asked.partition as usize) else {
            return refused(3);
        };
        if let Some(code) = refusal {
            return refused(code);
        }
        let follows = self.preferred == Some(pending.node);
        if partition.leader != pending.node && !follows {
            let leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(partition.leader))
                .with_leader_epoch(partition.epoch);
            let names = version >= 12 && self.names_leaders;
            return if names { refused(6).with_current_leader(leader) } else { refused(6) };
        }
        if asked.epoch >= 0 && asked.epoch != partition.epoch {
            return refused(if asked.epoch < partition.epoch { 74 } else { 75 });
        }
        if asked.offset < partition.start || asked.offset > partition.end() {
            return refused(1);
        }
        let committed = pending.fetch.isolation_level == 1;
        let mut data = data
            .with_high_watermark(partition.end())
            .with_last_stable_offset(partition.stable())
            .with_records(Some(Bytes::new()));
        if version >= 5 {
            data = data.with_log_start_offset(partition.start);
        }
        if asked.last_epoch >= 0 {
            match partition.epoch_end(asked.last_epoch) {
                None => return refused(1),
                Some((epoch, end)) if epoch < asked.last_epoch || end < asked.offset => {
                    let parts = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
                    return data.with_diverging_epoch(parts);
                }
                Some(_) => {}
            }
        }
        if let Some(replica) = self.preferred.filter(|replica| *replica != pending.node)
            && !pending.fetch.rack_id.is_empty()
        {
            return data.with_preferred_read_replica(BrokerId(replica));
        }
        let limit = if committed { partition.stable() } else { Offset::MAX };
        let mut bytes = BytesMut::new();
        for batch in &partition.log {
            if batch.next <= asked.offset || batch.base >= limit {
                continue;
            }
            let room = (asked.max_bytes as usize).min(*left);
            if !bytes.is_empty() && bytes.len() + batch.bytes.len() > room || *left == 0 {
                break;
            }
            bytes.extend_from_slice(&batch.bytes);
        }
        *left = left.saturating_sub(bytes.len());
        if committed {
            let aborted = partition.aborted.iter().filter(|(.., last)| *last >= asked.offset);
            let aborted = aborted.map(|(producer, first, _)| {
                AbortedTransaction::default()
                    .with_producer_id(ProducerId(*producer))
                    .with_first_offset(*first)
            });
            data = data.with_aborted_transactions(Some(aborted.collect()));
        }
        data.with_records(Some(bytes.freeze()))
    }
}

/// The brokers and the clock; waiting drives them.
pub(super) struct Brokers {
    state: Mutex<State>,
    pub(super) clock: Arc<ManualClock>,
    machine: OnceLock<Arc<Mutex<dyn Machine>>>,
    woken: AtomicBool,
}

impl Brokers {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.monotonic(), wall: self.clock.wall() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// All that happens now; until when nothing does.
    fn step(&self) -> Option<Duration> {
        let mut machine = self.machine.get().expect("a machine").lock().unwrap();
        let mut state = self.state();
        let now = self.now();
        state.now = now.mono;
        let (mut inputs, mut wakes) = (Vec::new(), Vec::new());
        loop {
            state.serve_fetches();
            for (id, (_, answers)) in &mut state.connections {
                while answers.front().is_some_and(|(at, _)| *at <= now.mono) {
                    let (_, frame) = answers.pop_front().expect("an answer");
                    inputs.push(Input::Frame { connection: *id, frame });
                }
            }
            for input in inputs.drain(..) {
                machine.input(input, now);
            }
            machine.advance(now);
            wakes.extend(machine.take_wake());
            let mut acted = false;
            while let Some(action) = machine.action() {
                state.act(action, &mut inputs);
                acted = true;
            }
            if !acted && inputs.is_empty() {
                break;
            }
        }
        let answers = state.connections.values().filter_map(|(_, answers)| answers.front());
        let times = answers.map(|(at, _)| *at).chain(state.pending.iter().map(|p| p.until));
        let until = times.chain(machine.next_deadline(now)).min();
        drop((machine, state));
        wakes.iter().for_each(|wake| wake.wake());
        until
    }
}

impl Wake for Brokers {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
    }
}

impl Await for Brokers {
    fn wait(&self, timeout: Duration) {
        let end = self.now().after(timeout);
        loop {
            let next = self.step();
            let now = self.now().mono;
            if self.woken.swap(false, Ordering::AcqRel) || now >= end {
                return;
            }
            // The clock has milliseconds only, and time must not stand still.
            let next = next.map_or(end, |at| at.min(end)).max(now);
            let ms = (next - now).as_nanos().div_ceil(1_000_000).max(1) as u64;
            self.clock.advance(Duration::from_millis(ms));
        }
    }
}

/// A consumer and what it has reported.
pub(super) struct World {
    pub(super) brokers: Arc<Brokers>,
    pub(super) consumer: Consumer,
    pub(super) events: Vec<ConsumerEvent>,
}

pub(super) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

pub(super) fn from(partition: i32, offset: StartOffset) -> PartitionStart {
    PartitionStart { partition: tp(partition), offset, paused: false }
}

pub(super) fn settings() -> ConsumerSettings {
    ConsumerSettings { partition_end: true, ..ConsumerSettings::default() }
}

impl World {
    /// Three brokers and topic `t` with so many partitions.
    pub(super) fn new(settings: ConsumerSettings, partitions: i32) -> Self {
        Self::with(ConnectionSettings::default(), settings, Bounds::default(), partitions, 1)
    }

    pub(super) fn with(
        connection: ConnectionSettings,
        settings: ConsumerSettings,
        bounds: Bounds,
        partitions: i32,
        seed: u64,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let mut state = State {
            topics: BTreeMap::new(),
            alive: (1..=3).collect(),
            listed: (1..=3).collect(),
            caps: BTreeMap::new(),
            ids: true,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            pending: Vec::new(),
            queued: VecDeque::new(),
            seen: Vec::new(),
            fetches: Vec::new(),
            refusals: VecDeque::new(),
            fetch_error: None,
            fate: Box::new(|_, _| Fate::Answered(1)),
            random: Seeded(seed),
            preferred: None,
            names_leaders: true,
            coordinator: Coordinator::default(),
            now: Duration::ZERO,
        };
        if partitions > 0 {
            state.add_topic("t", 77, partitions);
        }
        let brokers = Arc::new(Brokers {
            state: Mutex::new(state),
            clock: clock.clone(),
            machine: OnceLock::new(),
            woken: AtomicBool::new(false),
        });
        let connection = ConnectionSettings {
            bootstrap: vec![("b".into(), 9001), ("b".into(), 9002)],
            ..connection
        };
        let random: Box<dyn Random> = Box::new(Seeded(seed ^ 0xabcd));
        let (consumer, machine) =
            Consumer::by_hand_waiting(connection, settings, bounds, clock, random, brokers.clone());
        assert!(brokers.machine.set(machine).is_ok());
        Self { brokers, consumer, events: Vec::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.brokers.state()
    }

    /// Lets time pass without a poll.
    pub(super) fn wait(&self, time: Duration) {
        let end = self.brokers.elapsed() + time;
        while self.brokers.elapsed() < end {
            self.brokers.wait(end - self.brokers.elapsed());
        }
    }

    /// Polls for that long.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.brokers.clock.monotonic() + time;
        loop {
            let left = end.saturating_sub(self.brokers.clock.monotonic());
            if left.is_zero() {
                return;
            }
            self.consumer.poll(left, &mut self.events);
        }
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    /// All connections end.
    pub(super) fn cut(&self) {
        let mut state = self.state();
        let mut inputs = Vec::new();
        for id in state.connections.keys().copied().collect::<Vec<_>>() {
            state.hang_up(id, &mut inputs);
        }
        drop(state);
        let now = self.brokers.now();
        let mut machine = self.brokers.machine.get().expect("a machine").lock().unwrap();
        inputs.into_iter().for_each(|input| machine.input(input, now));
    }

    /// Values of the records of a partition, and its ends as `end N`, in order; takes them.
    pub(super) fn read(&mut self, partition: i32) -> Vec<String> {
        let mut read = Vec::new();
        self.events.retain(|event| match event {
            ConsumerEvent::Records(batch) if *batch.topic_partition() == tp(partition) => {
                for record in batch.iter() {
                    let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                    let offset = value.split('@').next().unwrap();
                    assert_eq!(offset, record.offset().to_string());
                    read.push(value);
                }
                false
            }
            ConsumerEvent::PartitionEnd(at, offset) if *at == tp(partition) => {
                read.push(format!("end {offset}"));
                false
            }
            _ => true,
        });
        read
    }

    /// Codes of the errors of partitions; takes them.
    pub(super) fn errors(&mut self) -> Vec<(i32, i32)> {
        let mut errors = Vec::new();
        self.events.retain(|event| match event {
            ConsumerEvent::PartitionError(partition, error) => {
                errors.push((partition.partition, error.code));
                false
            }
            _ => true,
        });
        errors
    }

    /// Bytes that count as fetched and not handed out.
    pub(super) fn buffered(&mut self) -> usize {
        self.consumer.buffered()
    }
}

/// `0@0`, `1@0` …
pub(super) fn values(offsets: std::ops::Range<i64>, epoch: i32) -> Vec<String> {
    offsets.map(|offset| format!("{offset}@{epoch}")).collect()
}
