//! Which topics there are.

use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use uuid::Uuid;

use super::Admin;
use super::answers::{Found, checked, topic_name};
use super::call::{Answers, Operation, Reply};
use super::route::{Route, UNKNOWN_TOPIC_OR_PARTITION};
use crate::error::{Error, KafkaError};

/// How often [`Admin::await_topics`] looks.
const LOOK: Duration = Duration::from_millis(50);

/// A partition as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// Broker that leads it; `None` while there is none.
    pub leader: Option<i32>,
    /// The leader's epoch (KIP-320); -1 before Kafka 2.1.
    pub leader_epoch: i32,
    /// Brokers that hold a copy.
    pub replicas: Vec<i32>,
    /// Those that are up to date.
    pub in_sync: Vec<i32>,
}

/// A topic as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id (KIP-516); nil before Kafka 2.8.
    pub id: Uuid,
    /// Its partitions by number.
    pub partitions: Vec<PartitionDescription>,
    /// Whether it is Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
}

fn described(topic: MetadataResponseTopic) -> (String, Result<TopicDescription, KafkaError>) {
    let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
    let mut partitions: Vec<_> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.iter().map(|id| id.0).collect(),
            in_sync: partition.isr_nodes.iter().map(|id| id.0).collect(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    let description = TopicDescription {
        name: name.clone(),
        id: topic.topic_id,
        partitions,
        internal: topic.is_internal,
    };
    (name, checked(topic.error_code, None, description))
}

struct ListTopics;

impl Operation for ListTopics {
    type Request = MetadataRequest;
    type Item = ();
    type Answer = Vec<TopicDescription>;
    const VERSIONS: (i16, i16) = (4, 13);

    fn route(&self, (): &()) -> Route {
        Route::Any
    }

    fn action(&self, (): &()) -> String {
        "list topics".into()
    }

    fn request(&self, _: &[&()], _: i16, _: i32) -> MetadataRequest {
        MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false)
    }

    fn throttle_ms(response: &MetadataResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        items: &[&()],
        response: MetadataResponse,
        _: Reply,
    ) -> Answers<Vec<TopicDescription>> {
        // A topic that came or went while the broker looked is an error in the list; Kafka's own
        // client leaves it out as well.
        let mut topics: Vec<_> =
            response.topics.into_iter().filter_map(|topic| described(topic).1.ok()).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        checked(response.error_code, None, topics)
            .map(|topics| items.iter().map(|()| Ok(topics.clone())).collect())
    }
}

struct DescribeTopics;

impl Operation for DescribeTopics {
    type Request = MetadataRequest;
    type Item = String;
    type Answer = TopicDescription;
    const VERSIONS: (i16, i16) = (4, 13);

    fn route(&self, _: &String) -> Route {
        Route::Any
    }

    fn action(&self, name: &String) -> String {
        format!("describe topic {name:?}")
    }

    fn request(&self, names: &[&String], _: i16, _: i32) -> MetadataRequest {
        let topic = |name: &&String| {
            MetadataRequestTopic::default().with_name(Some(topic_name(name.as_str())))
        };
        MetadataRequest::default()
            .with_topics(Some(names.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(false)
    }

    fn throttle_ms(response: &MetadataResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        names: &[&String],
        response: MetadataResponse,
        _: Reply,
    ) -> Answers<TopicDescription> {
        let topics = checked(response.error_code, None, response.topics)?;
        let found: Found<String, _> = topics.into_iter().map(described).collect();
        Ok(found.in_order(names.iter().map(|name| (*name).clone())))
    }
}

impl Admin {
    /// All topics that may be seen, sorted by name.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn list_topics(&mut self, timeout: Duration) -> Result<Vec<TopicDescription>, Error> {
        let deadline = self.within(timeout);
        self.call_one(ListTopics, (), deadline)
    }

    /// These topics; a missing one is code 3, `UNKNOWN_TOPIC_OR_PARTITION`. Never creates one.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<TopicDescription, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DescribeTopics, owned(names), deadline)
    }

    /// Waits until all these topics are visible with a leader for each partition.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of a topic that may not be seen or cannot be.
    pub fn await_topics(&mut self, names: &[&str], timeout: Duration) -> Result<(), Error> {
        let deadline = self.within(timeout);
        let missing = |topic: &Result<TopicDescription, Error>| match topic {
            Ok(topic) => topic.partitions.iter().any(|partition| partition.leader.is_none()),
            Err(Error::Kafka { error, .. }) => error.code == i32::from(UNKNOWN_TOPIC_OR_PARTITION),
            Err(_) => false,
        };
        loop {
            let topics = match self.call(DescribeTopics, owned(names), deadline) {
                Err(Error::TimedOut { after, .. }) => {
                    let action = format!("wait until topics are there: {}", names.join(", "));
                    return Err(Error::TimedOut { action, after });
                }
                topics => topics?,
            };
            let waiting: Vec<&str> = names
                .iter()
                .zip(&topics)
                .filter(|(_, topic)| missing(topic))
                .map(|(name, _)| *name)
                .collect();
            if let Some(error) =
                topics.iter().filter(|topic| !missing(topic)).find_map(|t| t.as_ref().err())
            {
                return Err(error.clone());
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if deadline.left(self.driven.now()).is_zero() {
                let action = format!("wait until topics are there: {}", waiting.join(", "));
                return Err(Error::TimedOut { action, after: timeout });
            }
            self.pause(LOOK, deadline);
        }
    }
}

/// Names to keep while the call is under way.
pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
