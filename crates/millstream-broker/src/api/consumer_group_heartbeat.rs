//! ConsumerGroupHeartbeat (68), versions 0 and 1: a member of a group of KIP-848 joins, lives,
//! says what it has, and leaves; the rules are in [`crate::consumer_group`]. From version 1 on
//! members make their ids themselves (KIP-1082) and may subscribe by a regular expression.
//!
//! Topics that are subscribed to by name the client must be allowed to describe; of those that a
//! regular expression matches, the others are left out. As in Kafka it is the rights of the member
//! whose heartbeat resolves the expressions of its group that decide.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::{base64, text};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply, VisibleTopics};
use crate::consumer_group::{
    Assignor, HeartbeatAnswer, HeartbeatRequest, JOINS, LEAVES, LEAVES_FOR_A_WHILE, Partition,
};
use crate::topics::Refused;

/// From here on members make their ids.
const BRINGS_ITS_ID: i16 = 1;
/// A time that has not changed since the last heartbeat.
const UNCHANGED: i32 = -1;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Reply {
    let interval = broker.settings.consumer_groups().map(|settings| settings.heartbeat_interval);
    let interval_ms = interval.map_or(0, |interval| interval.as_millis() as i32);
    let response = match answer(broker, context, request) {
        Ok(answer) => ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(answer.member_id)))
            .with_member_epoch(answer.epoch)
            .with_heartbeat_interval_ms(if answer.epoch < 0 { 0 } else { interval_ms })
            .with_assignment(answer.assignment.map(assignment)),
        Err(refused) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(refused.message))),
    };
    context.reply(&response)
}

fn answer(
    broker: &mut Broker,
    context: &Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<HeartbeatAnswer, Refused> {
    let refused = |code: ResponseError, message: &str| Refused::new(code, message);
    if !broker.settings.serves_consumer_groups() {
        let message = "group.coordinator.rebalance.protocols does not name `consumer`";
        return Err(refused(ResponseError::UnsupportedVersion, message));
    }
    broker.require(context, AclOperation::Read, Resource::Group(&request.group_id))?;
    for name in request.subscribed_topic_names.iter().flatten() {
        broker.require(context, AclOperation::Describe, Resource::Topic(name))?;
    }
    check(context, &request).map_err(|message| refused(ResponseError::InvalidRequest, message))?;
    let settings = broker
        .settings
        .consumer_groups()
        .map_err(|message| Refused::new(ResponseError::InvalidConfig, message))?;
    let assignor = match request.server_assignor.as_deref() {
        None => None,
        Some(name) => {
            let known = Assignor::from_name(name).filter(|a| settings.assignors.contains(a));
            Some(known.ok_or_else(|| {
                let names: Vec<&str> = settings.assignors.iter().map(|a| a.name()).collect();
                let message = format!("`{name}` is not served; there is {}", names.join(", "));
                Refused::new(ResponseError::UnsupportedAssignor, message)
            })?)
        }
    };
    let (now, wall) = (broker.clock.monotonic(), broker.clock.wall());
    let (group, epoch) = (&request.group_id, request.member_epoch);
    if epoch < JOINS {
        let (id, instance) = (&request.member_id, request.instance_id.as_deref());
        broker.coordinator.consumer_leave(group, id, instance, epoch, wall)?;
        return Ok(HeartbeatAnswer { member_id: id.to_string(), epoch, assignment: None });
    }
    let member_id = match request.member_id.as_str() {
        "" => base64(broker.random.uuid().as_bytes()),
        id => id.to_owned(),
    };
    let names = request.subscribed_topic_names;
    let owned = request.topic_partitions.map(|topics| -> BTreeSet<Partition> {
        let partitions = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic_id, *partition))
        });
        partitions.collect()
    });
    let heartbeat = HeartbeatRequest {
        member_id,
        epoch,
        instance: request.instance_id.map(|id| id.to_string()),
        rack: request.rack_id.map(|id| id.to_string()),
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms)
            .ok()
            .map(Duration::from_millis),
        names: names.map(|names| names.iter().map(|name| name.to_string()).collect()),
        regex: request.subscribed_topic_regex.map(|regex| regex.to_string()),
        assignor,
        owned,
        client_id: context.client_id.clone(),
        client_host: context.host.clone(),
    };
    let authorizer = broker.security.authorizer.as_ref();
    let topics = VisibleTopics { topics: &broker.topics, authorizer, context };
    broker.coordinator.consumer_heartbeat(group, heartbeat, &settings, &topics, now, wall)
}

/// Kafka's checks of what a request must say and must not.
fn check(context: &Context, request: &ConsumerGroupHeartbeatRequest) -> Result<(), &'static str> {
    let needs = |fine: bool, message| if fine { Ok(()) } else { Err(message) };
    let is_empty = |text: &Option<kafka_protocol::protocol::StrBytes>| {
        text.as_ref().is_some_and(|text| text.is_empty())
    };
    let has_id = !request.member_id.is_empty();
    let epoch = request.member_epoch;
    needs(!request.group_id.is_empty(), "the group's id must not be empty")?;
    needs(!is_empty(&request.instance_id), "the instance id must not be empty")?;
    needs(!is_empty(&request.rack_id), "the rack's id must not be empty")?;
    if context.version >= BRINGS_ITS_ID || epoch != JOINS {
        needs(has_id, "the member's id must not be empty")?;
    }
    match epoch {
        JOINS => {
            let subscribes = request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some();
            let has_nothing = request.topic_partitions.as_ref().is_some_and(Vec::is_empty);
            needs(
                request.rebalance_timeout_ms != UNCHANGED,
                "a member that joins must say its rebalance timeout",
            )?;
            needs(has_nothing, "a member that joins must say that it has no partitions")?;
            needs(subscribes, "a member that joins must say what it subscribes to")
        }
        LEAVES_FOR_A_WHILE => needs(
            request.instance_id.is_some(),
            "only a member with an instance id may leave for a while",
        ),
        LEAVES | 1.. => Ok(()),
        _ => Err("there is no such member epoch"),
    }
}

fn assignment(partitions: BTreeSet<Partition>) -> Assignment {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut().filter(|last| last.topic_id == topic) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(
                TopicPartitions::default().with_topic_id(topic).with_partitions(vec![partition]),
            ),
        }
    }
    Assignment::default().with_topic_partitions(topics)
}
