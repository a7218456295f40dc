//! One broker, as much of it as members see: versions, topics, the coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

use super::by_broker::Server;
use super::coordinator::Coordinator;
use crate::testing::frames::Arrived;

pub(super) const NODE: i32 = 1;

/// Who waits for an answer: a member's connection.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) connection: (usize, u64),
    pub(super) request: Arrived,
}

/// An answer on its way.
pub(super) type Answer = ((usize, u64), Bytes);

pub(super) struct Cluster {
    pub(super) topics: BTreeMap<String, i32>,
    /// Highest version by API key, below what the client has.
    pub(super) caps: BTreeMap<i16, i16>,
    pub(super) coordinator: Coordinator,
    pub(super) server: Server,
    /// Until when the coordinator is elsewhere.
    pub(super) away_until: Duration,
    pub(super) answers: Vec<Answer>,
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn topic_id(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().fold(7, |id, byte| id * 257 + u128::from(byte)))
}

impl Cluster {
    pub(super) fn new(topics: &[(&str, i32)]) -> Self {
        Self {
            topics: topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            caps: BTreeMap::new(),
            coordinator: Coordinator::default(),
            server: Server::default(),
            away_until: Duration::ZERO,
            answers: Vec::new(),
        }
    }

    fn versions(&self, request: &Arrived) -> Bytes {
        fn of<R: Request>(caps: &BTreeMap<i16, i16>) -> ApiVersion {
            let max = caps.get(&R::KEY).copied().unwrap_or(R::VERSIONS.max);
            ApiVersion::default()
                .with_api_key(R::KEY)
                .with_min_version(R::VERSIONS.min)
                .with_max_version(max)
        }
        let caps = &self.caps;
        let mut keys = vec![
            of::<ApiVersionsRequest>(caps),
            of::<MetadataRequest>(caps),
            of::<FindCoordinatorRequest>(caps),
            of::<JoinGroupRequest>(caps),
            of::<SyncGroupRequest>(caps),
            of::<HeartbeatRequest>(caps),
            of::<LeaveGroupRequest>(caps),
            of::<OffsetCommitRequest>(caps),
            of::<OffsetFetchRequest>(caps),
            of::<ConsumerGroupHeartbeatRequest>(caps),
        ];
        keys.retain(|key| key.max_version >= 0);
        request.answer::<ApiVersionsRequest>(&ApiVersionsResponse::default().with_api_keys(keys))
    }

    fn metadata(&self, request: &Arrived) -> Bytes {
        let asked = request.decode::<MetadataRequest>().topics;
        let names: Vec<String> = match asked {
            Some(topics) => {
                topics.into_iter().filter_map(|t| t.name.map(|n| n.to_string())).collect()
            }
            None => self.topics.keys().cloned().collect(),
        };
        let topics = names.iter().map(|name| {
            let topic = MetadataResponseTopic::default().with_name(Some(text(name).into()));
            let Some(count) = self.topics.get(name) else { return topic.with_error_code(3) };
            let partitions = (0..*count).map(|index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(NODE.into())
            });
            let id = if request.version >= 10 { topic_id(name) } else { Uuid::nil() };
            topic.with_topic_id(id).with_partitions(partitions.collect())
        });
        let broker = MetadataResponseBroker::default()
            .with_node_id(NODE.into())
            .with_host(text("broker"))
            .with_port(9092);
        let response = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(NODE.into())
            .with_topics(topics.collect());
        request.answer::<MetadataRequest>(&response)
    }

    fn find(&self, request: &Arrived) -> Bytes {
        let mut response = FindCoordinatorResponse::default();
        if request.version >= 4 {
            let asked = request.decode::<FindCoordinatorRequest>().coordinator_keys;
            let found = asked.into_iter().map(|key| {
                Found::default()
                    .with_key(key)
                    .with_node_id(NODE.into())
                    .with_host(text("broker"))
                    .with_port(9092)
            });
            response = response.with_coordinators(found.collect());
        } else {
            response = response.with_node_id(NODE.into()).with_host(text("broker")).with_port(9092);
        }
        request.answer::<FindCoordinatorRequest>(&response)
    }

    /// Takes a request. Its answer is in `answers` now, or comes later.
    pub(super) fn handle(&mut self, ticket: Ticket, now: Duration) {
        let request = &ticket.request;
        let at_once = match request.key {
            key if key == ApiVersionsRequest::KEY => self.versions(request),
            key if key == MetadataRequest::KEY => self.metadata(request),
            key if key == FindCoordinatorRequest::KEY => self.find(request),
            key if key == ConsumerGroupHeartbeatRequest::KEY => {
                let away = self.away_until > now;
                self.server.heartbeat(request, &self.topics, away, now)
            }
            _ => {
                let away = self.away_until > now;
                let by_broker = self.server.is_in_use();
                if by_broker && request.key == OffsetCommitRequest::KEY {
                    let members = self.server.epochs();
                    self.coordinator.commit_with_epochs(ticket, &members, away);
                } else {
                    self.coordinator.handle(ticket, away, now);
                }
                self.answers.append(&mut self.coordinator.answers);
                return;
            }
        };
        self.answers.push((ticket.connection, at_once));
    }

    pub(super) fn tick(&mut self, now: Duration) {
        self.coordinator.tick(now);
        self.server.tick(now);
        self.answers.append(&mut self.coordinator.answers);
    }
}
