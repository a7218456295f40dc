//! What is known about topics: partitions, leaders with their epochs, topic ids.
//!
//! Only topics that someone wants are asked for. An answer with an older leader epoch than the one
//! known does not count for that partition (KIP-320). New leaders also come with error responses
//! (KIP-951).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use millstream_types::TopicPartition;
use uuid::Uuid;

use crate::error::KafkaError;
use crate::network::{Completion, Network, NodeId};
use crate::random::Backoff;
use crate::settings::ConnectionSettings;
use crate::tag::Tag;
use crate::time::Now;

/// Codes of topics and partitions that need another look soon.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// A partition as the last answer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionInfo {
    /// `None` while there is none.
    pub(crate) leader: Option<NodeId>,
    /// -1 where the broker does not tell (before Kafka 2.1).
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) in_sync: Vec<NodeId>,
}

/// A topic as the last answer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicInfo {
    /// Nil where the broker does not tell (before Kafka 2.8).
    pub(crate) id: Uuid,
    pub(crate) internal: bool,
    /// By number; numbers that the answer left out have no leader.
    pub(crate) partitions: Vec<PartitionInfo>,
}

/// A broker as the last answer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerInfo {
    pub(crate) id: NodeId,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) rack: Option<String>,
}

pub(crate) struct Metadata {
    wanted: BTreeSet<Arc<str>>,
    all: bool,
    topics: HashMap<Arc<str>, TopicInfo>,
    names_by_id: HashMap<Uuid, Arc<str>>,
    errors: BTreeMap<Arc<str>, KafkaError>,
    brokers: Vec<BrokerInfo>,
    cluster_id: Option<String>,
    controller: Option<NodeId>,
    /// Counts the changes, so that others see cheaply whether they must look.
    revision: u64,
    /// Counts the answers that covered all that was wanted when they were asked for.
    rounds: u64,
    /// Whether an answer is wanted before the current ones are too old.
    refresh: bool,
    /// Whether something is wanted that was never asked for: that does not wait for the back-off.
    unasked: bool,
    asking: bool,
    /// What was wanted has grown while an answer was on its way.
    asked_all: bool,
    ask_at: Duration,
    expires_at: Duration,
    backoff: Backoff,
    /// The round after which something was still missing, and how long to wait in this case.
    lacked: Option<u64>,
    lack_backoff: Backoff,
}

impl Metadata {
    pub(crate) fn new(settings: &ConnectionSettings) -> Self {
        Self {
            wanted: BTreeSet::new(),
            all: false,
            topics: HashMap::new(),
            names_by_id: HashMap::new(),
            errors: BTreeMap::new(),
            brokers: Vec::new(),
            cluster_id: None,
            controller: None,
            revision: 0,
            rounds: 0,
            refresh: true,
            unasked: false,
            asking: false,
            asked_all: false,
            ask_at: Duration::ZERO,
            expires_at: Duration::ZERO,
            backoff: Backoff::new(settings.retry_backoff, settings.retry_backoff_max),
            lacked: None,
            lack_backoff: Backoff::new(settings.retry_backoff, settings.retry_backoff_max),
        }
    }

    /// Asks for this topic too, from now on.
    pub(crate) fn want(&mut self, topic: &Arc<str>) {
        if !self.wanted.contains(topic) {
            self.wanted.insert(topic.clone());
            if !self.topics.contains_key(topic) {
                self.refresh = true;
                self.unasked = true;
            }
        }
    }

    /// Asks for exactly these topics from now on, or for all of them (regular expressions).
    pub(crate) fn want_exactly(&mut self, topics: BTreeSet<Arc<str>>, all: bool) {
        let new =
            |topic: &Arc<str>| !self.topics.contains_key(topic) && !self.wanted.contains(topic);
        if (all && !self.all) || topics.iter().any(new) {
            self.refresh = true;
            self.unasked = true;
        } else if topics.iter().any(|topic| !self.topics.contains_key(topic)) {
            self.refresh = true;
        }
        self.errors.retain(|topic, _| topics.contains(topic));
        self.wanted = topics;
        self.all = all;
    }

    /// What is known looks old: ask again as soon as the back-off allows.
    pub(crate) fn refresh(&mut self) {
        self.refresh = true;
    }

    /// Something that is needed is not in the last answer, such as a partition or its leader. May
    /// be said in every step: answers that mend nothing are asked for ever less often.
    pub(crate) fn lacks(&mut self, network: &mut Network, now: Now) {
        if self.asking || self.refresh || self.lacked == Some(self.rounds) {
            return;
        }
        self.lacked = Some(self.rounds);
        self.refresh = true;
        let wait = self.lack_backoff.failed(network.random());
        self.ask_at = self.ask_at.max(now.after(wait));
    }

    /// Changes with each change of what is known.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// How many answers have come. A caller that asked by [`refresh`](Self::refresh) knows by it
    /// that what it reads now is younger.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&TopicInfo> {
        self.topics.get(name)
    }

    /// All topics that the last answers named.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &TopicInfo)> {
        self.topics.iter()
    }

    /// What the last answer said against a wanted topic.
    pub(crate) fn error(&self, topic: &str) -> Option<&KafkaError> {
        self.errors.get(topic)
    }

    pub(crate) fn name_of(&self, id: &Uuid) -> Option<&Arc<str>> {
        self.names_by_id.get(id)
    }

    pub(crate) fn partition(&self, partition: &TopicPartition) -> Option<&PartitionInfo> {
        let index = usize::try_from(partition.partition).ok()?;
        self.topics.get(&partition.topic)?.partitions.get(index)
    }

    /// Node and epoch of a partition's leader.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Option<(NodeId, i32)> {
        let info = self.partition(partition)?;
        Some((info.leader?, info.leader_epoch))
    }

    pub(crate) fn brokers(&self) -> &[BrokerInfo] {
        &self.brokers
    }

    pub(crate) fn controller(&self) -> Option<NodeId> {
        self.controller
    }

    /// Takes over a leader that an error response named (KIP-951), if it is news.
    pub(crate) fn learn_leader(&mut self, partition: &TopicPartition, node: NodeId, epoch: i32) {
        let Ok(index) = usize::try_from(partition.partition) else { return };
        if let Some(info) =
            self.topics.get_mut(&partition.topic).and_then(|topic| topic.partitions.get_mut(index))
            && epoch > info.leader_epoch
        {
            info.leader = Some(node);
            info.leader_epoch = epoch;
            self.revision += 1;
        }
    }

    pub(crate) fn tick(&mut self, network: &mut Network, settings: &ConnectionSettings, now: Now) {
        if self.asking || self.due_at() > now.mono {
            return;
        }
        let Some(node) = network.least_loaded(now) else { return };
        let Some(version) = network.version::<MetadataRequest>(node, (1, 13)) else { return };
        let topics = self.wanted.iter().map(|name| {
            let name = StrBytes::from_string(name.to_string());
            MetadataRequestTopic::default().with_name(Some(name.into()))
        });
        let topics = if self.all { None } else { Some(topics.collect()) };
        let mut request = MetadataRequest::default().with_topics(topics);
        // Older versions have no way to say so and create what the broker lets them.
        if version >= 4 {
            request = request.with_allow_auto_topic_creation(settings.allow_auto_create_topics);
        }
        self.asking = true;
        self.refresh = false;
        self.unasked = false;
        self.asked_all = self.all;
        network.send(node, &request, version, settings.request_timeout, Tag::Metadata, now);
    }

    pub(crate) fn completed(
        &mut self,
        completion: Completion,
        network: &mut Network,
        settings: &ConnectionSettings,
        now: Now,
    ) {
        self.asking = false;
        let answer = completion
            .result
            .and_then(|body| body.decode_from::<MetadataRequest>(completion.node, network, now));
        let Ok(response) = answer else {
            self.ask_again(network, now);
            return;
        };
        self.expires_at = now.after(settings.metadata_max_age);
        if self.lacked != Some(self.rounds) {
            self.lack_backoff.succeeded();
        }
        let settled = self.take(response, network);
        self.revision += 1;
        self.rounds += 1;
        if settled {
            self.backoff.succeeded();
            // Not at once again, however often someone asks.
            self.ask_at = now.after(settings.retry_backoff);
        } else {
            self.ask_again(network, now);
        }
    }

    fn ask_again(&mut self, network: &mut Network, now: Now) {
        self.refresh = true;
        self.ask_at = now.after(self.backoff.failed(network.random()));
    }

    /// Takes an answer over. Returns whether it leaves nothing open.
    fn take(&mut self, response: MetadataResponse, network: &mut Network) -> bool {
        let brokers: Vec<BrokerInfo> = response
            .brokers
            .into_iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let rack = broker.rack.map(|rack| rack.to_string());
                Some(BrokerInfo { id: broker.node_id.0, host: broker.host.to_string(), port, rack })
            })
            .collect();
        if brokers.is_empty() {
            // A broker that is starting knows nobody yet.
            return false;
        }
        let nodes: Vec<_> =
            brokers.iter().map(|broker| (broker.id, broker.host.clone(), broker.port)).collect();
        network.set_nodes(&nodes);
        self.brokers = brokers;
        self.cluster_id = response.cluster_id.map(|id| id.to_string());
        self.controller = (response.controller_id.0 >= 0).then_some(response.controller_id.0);
        let mut settled = true;
        let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
        for topic in response.topics {
            let Some(name) = topic.name.as_ref().map(|name| Arc::<str>::from(name.as_str())) else {
                continue;
            };
            seen.insert(name.clone());
            if topic.error_code == 0 {
                self.errors.remove(&name);
                settled &= self.take_topic(name, topic);
            } else {
                let error = KafkaError::of(topic.error_code);
                settled &= !error.is_retriable();
                if matches!(topic.error_code, UNKNOWN_TOPIC_OR_PARTITION) {
                    self.forget(&name);
                }
                self.errors.insert(name, error);
            }
        }
        if self.asked_all {
            let gone: Vec<_> =
                self.topics.keys().filter(|name| !seen.contains(*name)).cloned().collect();
            for name in gone {
                self.forget(&name);
                if self.wanted.contains(&name) {
                    self.errors.insert(name, KafkaError::of(UNKNOWN_TOPIC_OR_PARTITION));
                }
            }
        }
        // Topics that came to be wanted meanwhile.
        let open = self
            .wanted
            .iter()
            .any(|name| !self.topics.contains_key(name) && !self.errors.contains_key(name));
        if open || (self.all && !self.asked_all) {
            self.refresh = true;
        }
        settled
    }

    fn forget(&mut self, name: &Arc<str>) {
        if let Some(topic) = self.topics.remove(name) {
            self.names_by_id.remove(&topic.id);
        }
    }

    /// Takes a topic over. Returns whether every partition has a leader.
    fn take_topic(&mut self, name: Arc<str>, topic: MetadataResponseTopic) -> bool {
        let before = self.topics.remove(&name);
        if let Some(before) = &before {
            self.names_by_id.remove(&before.id);
        }
        // Epochs of a topic that was made anew begin anew.
        let before = before.filter(|before| before.id == topic.topic_id);
        let count = topic
            .partitions
            .iter()
            .filter_map(|partition| usize::try_from(partition.partition_index).ok())
            .filter(|index| *index < topic.partitions.len())
            .map(|index| index + 1)
            .max()
            .unwrap_or(0);
        let absent =
            PartitionInfo { leader: None, leader_epoch: -1, replicas: vec![], in_sync: vec![] };
        let mut partitions = vec![absent; count];
        let mut settled = true;
        for partition in topic.partitions {
            let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
            let Some(slot) = partitions.get_mut(index) else { continue };
            let known = before.as_ref().and_then(|before| before.partitions.get(index));
            *slot = match known {
                Some(known)
                    if partition.leader_epoch < known.leader_epoch
                        && partition.leader_epoch >= 0 =>
                {
                    known.clone()
                }
                _ => PartitionInfo {
                    leader: (partition.leader_id.0 >= 0
                        && partition.error_code != LEADER_NOT_AVAILABLE)
                        .then_some(partition.leader_id.0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
                    in_sync: partition.isr_nodes.iter().map(|id| id.0).collect(),
                },
            };
            settled &= slot.leader.is_some();
        }
        if !topic.topic_id.is_nil() {
            self.names_by_id.insert(topic.topic_id, name.clone());
        }
        let info = TopicInfo { id: topic.topic_id, internal: topic.is_internal, partitions };
        self.topics.insert(name, info);
        settled
    }

    pub(crate) fn next_deadline(&self, now: Now) -> Option<Duration> {
        if self.asking {
            return None;
        }
        Some(self.due_at()).filter(|at| *at > now.mono)
    }

    /// When to ask next. Not too soon, however old what is known is, unless it is about something
    /// that was never asked for.
    fn due_at(&self) -> Duration {
        if self.unasked {
            Duration::ZERO
        } else if self.refresh {
            self.ask_at
        } else {
            self.expires_at.max(self.ask_at)
        }
    }
}
