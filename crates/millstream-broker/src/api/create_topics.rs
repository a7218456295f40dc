//! CreateTopics (19), versions 2 to 7: new topics with settings of their own.
//!
//! A replication factor other than 1 (or -1, the default) is refused: there is one broker.
//! Assignments may be given and must name it. `validate_only` checks all and makes nothing. The
//! time-out is not used: topics are there when the answer is.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use uuid::Uuid;

use super::{DESCRIBED_MAX, NODE, text};
use crate::acl::{self, AclOperation, Resource};
use crate::broker::{Broker, Context, NODE_ID, Reply};
use crate::settings::{self, Operation, Values, table};
use crate::topics::Refused;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: CreateTopicsRequest,
) -> Reply {
    let mut named: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for (number, topic) in request.topics.into_iter().enumerate() {
        let outcome = match named[topic.name.as_str()] {
            _ if number >= DESCRIBED_MAX => Err(Refused::new(
                ResponseError::InvalidRequest,
                format!("a request may make {DESCRIBED_MAX} topics at most"),
            )),
            1 => broker
                .allow_by_cluster(context, AclOperation::Create, Resource::Topic(&topic.name))
                .map_err(acl::refused)
                .and_then(|()| create(broker, &topic, request.validate_only)),
            _ => Err(Refused::new(
                ResponseError::InvalidRequest,
                format!("the request names the topic `{}` twice", topic.name.as_str()),
            )),
        };
        let row = CreatableTopicResult::default().with_name(topic.name);
        let mut row = match outcome {
            Ok(made) => describe(broker, context, row, made),
            Err(refused) => {
                let row = row
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.message)));
                if context.version >= 5 {
                    row.with_num_partitions(-1)
                        .with_replication_factor(-1)
                        .with_configs(Some(vec![]))
                } else {
                    row
                }
            }
        };
        if context.version < 7 {
            row.topic_id = Uuid::nil();
        }
        results.push(row);
    }
    context.reply(&CreateTopicsResponse::default().with_topics(results))
}

struct Made {
    id: Uuid,
    partitions: i32,
    own: Values,
}

fn create(
    broker: &mut Broker,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Made, Refused> {
    let partitions = partition_count(broker, topic)?;
    broker.topics.check_new(&topic.name, partitions)?;
    let mut own = Values::new();
    for config in &topic.configs {
        let row = table::topic(&config.name).ok_or_else(|| unknown_setting(&config.name))?;
        settings::change(&mut own, row, Operation::Set, config.value.as_deref(), None)
            .map_err(|message| Refused::new(ResponseError::InvalidConfig, message))?;
    }
    broker
        .settings
        .check_topic(&own)
        .map_err(|message| Refused::new(ResponseError::InvalidConfig, message))?;
    let id = if validate_only { Uuid::nil() } else { broker.random.uuid() };
    if !validate_only {
        let Broker { topics, meta, settings, .. } = broker;
        topics.create(meta, settings, &topic.name, id, partitions, own.clone())?;
    }
    Ok(Made { id, partitions, own })
}

fn partition_count(broker: &Broker, topic: &CreatableTopic) -> Result<i32, Refused> {
    let bad_replication = |what: String| {
        let message = format!("{what}; this broker is alone, so the replication factor is 1");
        Refused::new(ResponseError::InvalidReplicationFactor, message)
    };
    if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, -1 | 1) {
            return Err(bad_replication(format!(
                "{} replicas asked for",
                topic.replication_factor
            )));
        }
        return Ok(match topic.num_partitions {
            -1 => i32::try_from(broker.settings.number("num.partitions")).unwrap_or(1),
            count => count,
        });
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let message = "an assignment excludes partition count and replication factor";
        return Err(Refused::new(ResponseError::InvalidRequest, message));
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|a| a.partition_index).collect();
    indexes.sort_unstable();
    if indexes.iter().enumerate().any(|(at, index)| at as i32 != *index) {
        let message = "an assignment must name the partitions from 0 on, each once";
        return Err(Refused::new(ResponseError::InvalidReplicaAssignment, message));
    }
    if topic.assignments.iter().any(|assignment| assignment.broker_ids != [NODE]) {
        let message = format!("an assignment can only name the broker {NODE_ID}, once");
        return Err(Refused::new(ResponseError::InvalidReplicaAssignment, message));
    }
    Ok(indexes.len() as i32)
}

/// The refusal of a setting that topics do not have.
pub(crate) fn unknown_setting(name: &str) -> Refused {
    let message = format!("unknown topic setting `{name}`; the names are Apache Kafka's");
    Refused::new(ResponseError::InvalidConfig, message)
}

fn describe(
    broker: &Broker,
    context: &Context,
    row: CreatableTopicResult,
    made: Made,
) -> CreatableTopicResult {
    let row = row.with_topic_id(made.id);
    if context.version < 5 {
        return row;
    }
    // Who may not see settings is not told them here either.
    let resource = Resource::Topic(&row.name);
    if let Err(code) = broker.allow(context, AclOperation::DescribeConfigs, resource) {
        return row
            .with_topic_config_error_code(code.code())
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_configs(Some(vec![]));
    }
    let configs = broker
        .settings
        .describe_topic(&made.own)
        .into_iter()
        .map(|setting| {
            CreatableTopicConfigs::default()
                .with_name(text(setting.row.name))
                .with_value(setting.value.map(text))
                .with_read_only(setting.read_only)
                .with_config_source(setting.source as i8)
        })
        .collect();
    row.with_num_partitions(made.partitions).with_replication_factor(1).with_configs(Some(configs))
}
