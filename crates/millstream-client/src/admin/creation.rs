//! Making topics, making them larger, deleting them.
//!
//! A broker answers when the controller has done it, or after the request's own time limit, which
//! is a little shorter than the call's. Until every broker knows of it a moment passes; see
//! [`Admin::await_topics`].

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::Admin;
use super::answers::{Found, checked, text, topic_name};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use super::topics::owned;
use crate::error::{Error, KafkaError, code};

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; `None` leaves it to the broker (KIP-464).
    pub partitions: Option<i32>,
    /// Copies of each; `None` leaves it to the broker (KIP-464).
    pub replication_factor: Option<i16>,
    /// Brokers of each partition, by number, instead of the two above.
    pub assignment: Option<Vec<Vec<i32>>>,
    /// Settings such as `retention.ms`.
    pub config: BTreeMap<String, String>,
}

struct CreateTopics {
    only_check: bool,
}

impl Operation for CreateTopics {
    type Request = CreateTopicsRequest;
    type Item = NewTopic;
    type Answer = ();
    const VERSIONS: (i16, i16) = (2, 7);

    fn needs(&self, topic: &NewTopic) -> i16 {
        let left_to_broker = topic.assignment.is_none()
            && (topic.partitions.is_none() || topic.replication_factor.is_none());
        if left_to_broker { 4 } else { 2 }
    }

    fn route(&self, _: &NewTopic) -> Route {
        Route::Controller
    }

    fn action(&self, topic: &NewTopic) -> String {
        format!("create topic {:?}", topic.name)
    }

    fn request(&self, topics: &[&NewTopic], _: i16, limit_ms: i32) -> CreateTopicsRequest {
        CreateTopicsRequest::default()
            .with_topics(topics.iter().map(|topic| creatable(topic)).collect())
            .with_timeout_ms(limit_ms)
            .with_validate_only(self.only_check)
    }

    fn throttle_ms(response: &CreateTopicsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        topics: &[&NewTopic],
        response: CreateTopicsResponse,
        _: Reply,
    ) -> Answers<()> {
        let found: Found<String, ()> = response
            .topics
            .into_iter()
            .map(|topic| {
                let answer = checked(topic.error_code, topic.error_message.as_deref(), ());
                (topic.name.to_string(), answer)
            })
            .collect();
        Ok(found.in_order(topics.iter().map(|topic| topic.name.clone())))
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = topic.config.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    let new =
        CreatableTopic::default().with_name(topic_name(&topic.name)).with_configs(config.collect());
    match &topic.assignment {
        Some(assignment) => {
            new.with_num_partitions(-1).with_replication_factor(-1).with_assignments(
                (0..)
                    .zip(assignment)
                    .map(|(partition, brokers)| {
                        CreatableReplicaAssignment::default()
                            .with_partition_index(partition)
                            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
                    })
                    .collect(),
            )
        }
        None => new
            .with_num_partitions(topic.partitions.unwrap_or(-1))
            .with_replication_factor(topic.replication_factor.unwrap_or(-1)),
    }
}

struct DeleteTopics;

impl Operation for DeleteTopics {
    type Request = DeleteTopicsRequest;
    type Item = String;
    type Answer = ();
    const VERSIONS: (i16, i16) = (1, 6);

    fn route(&self, _: &String) -> Route {
        Route::Controller
    }

    fn action(&self, name: &String) -> String {
        format!("delete topic {name:?}")
    }

    fn request(&self, names: &[&String], version: i16, limit_ms: i32) -> DeleteTopicsRequest {
        let names = names.iter().map(|name| topic_name(name));
        let request = DeleteTopicsRequest::default().with_timeout_ms(limit_ms);
        if version >= 6 {
            let state = |name| DeleteTopicState::default().with_name(Some(name));
            request.with_topics(names.map(state).collect())
        } else {
            request.with_topic_names(names.collect())
        }
    }

    fn throttle_ms(response: &DeleteTopicsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(&self, names: &[&String], response: DeleteTopicsResponse, _: Reply) -> Answers<()> {
        let found: Found<String, ()> = response
            .responses
            .into_iter()
            .map(|topic| {
                let answer = checked(topic.error_code, topic.error_message.as_deref(), ());
                (topic.name.map(|name| name.to_string()).unwrap_or_default(), answer)
            })
            .collect();
        Ok(found.in_order(names.iter().map(|name| (*name).clone())))
    }
}

struct CreatePartitions;

impl Operation for CreatePartitions {
    type Request = CreatePartitionsRequest;
    type Item = (String, i32);
    type Answer = ();
    const VERSIONS: (i16, i16) = (0, 3);

    fn route(&self, _: &(String, i32)) -> Route {
        Route::Controller
    }

    fn action(&self, (topic, total): &(String, i32)) -> String {
        format!("raise the partitions of topic {topic:?} to {total}")
    }

    fn request(&self, topics: &[&(String, i32)], _: i16, limit_ms: i32) -> CreatePartitionsRequest {
        let topic = |(name, total): &&(String, i32)| {
            CreatePartitionsTopic::default()
                .with_name(topic_name(name))
                .with_count(*total)
                .with_assignments(None)
        };
        CreatePartitionsRequest::default()
            .with_topics(topics.iter().map(topic).collect())
            .with_timeout_ms(limit_ms)
            .with_validate_only(false)
    }

    fn throttle_ms(response: &CreatePartitionsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        topics: &[&(String, i32)],
        response: CreatePartitionsResponse,
        _: Reply,
    ) -> Answers<()> {
        let found: Found<String, ()> = response
            .results
            .into_iter()
            .map(|topic| {
                let answer = checked(topic.error_code, topic.error_message.as_deref(), ());
                (topic.name.to_string(), answer)
            })
            .collect();
        Ok(found.in_order(topics.iter().map(|(name, _)| name.clone())))
    }
}

impl Admin {
    /// Creates topics. One that exists is code 36, `TOPIC_ALREADY_EXISTS`, also if it was this
    /// very call that made it and the first answer was lost.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn create_topics(
        &mut self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(CreateTopics { only_check: false }, topics.to_vec(), deadline)
    }

    /// Asks whether [`create_topics`](Self::create_topics) would do it, and creates nothing.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn check_topics(
        &mut self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(CreateTopics { only_check: true }, topics.to_vec(), deadline)
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn delete_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DeleteTopics, owned(names), deadline)
    }

    /// Raises a topic's number of partitions to `total`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn create_partitions(
        &mut self,
        topic: &str,
        total: i32,
        timeout: Duration,
    ) -> Result<(), Error> {
        let deadline = self.within(timeout);
        let item = (topic.to_owned(), total);
        if total < 1 {
            let text = format!("a topic cannot have {total} partitions");
            let error = KafkaError::with(code::INVALID_ARGUMENT, Some(&text));
            return Err(Error::kafka(CreatePartitions.action(&item), error));
        }
        self.call_one(CreatePartitions, item, deadline)
    }
}
