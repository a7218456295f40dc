//! Metadata (3), versions 0 to 13: brokers, topics and partitions, by name or by topic id.
//!
//! Version 0 takes an empty list for all topics, later ones a null list. A topic that is not
//! there is made if the client allows it *and* `auto.create.topics.enable` is true (it is false
//! unless set, unlike Kafka's). All partitions are led by this broker.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use uuid::Uuid;

use super::{NODE, distinct, operations, text, topic_name};
use crate::acl::{self, AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::log::LEADER_EPOCH;
use crate::settings::Values;
use crate::topics::{Refused, Topic};

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: MetadataRequest) -> Reply {
    let wants_operations = request.include_topic_authorized_operations;
    let mut asked = request.topics.filter(|topics| context.version > 0 || !topics.is_empty());
    if let Some(topics) = &mut asked {
        distinct(topics, |topic| (topic.topic_id, topic.name.clone()));
    }
    let topics = match asked {
        None => broker
            .topics
            .iter()
            .filter(|topic| {
                broker.may(context, AclOperation::Describe, Resource::Topic(&topic.name))
            })
            .map(|topic| describe(broker, context, topic, wants_operations))
            .collect(),
        Some(asked) => asked
            .into_iter()
            .map(|topic| {
                if !topic.topic_id.is_nil() {
                    return by_id(broker, context, topic.topic_id, wants_operations);
                }
                let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
                let resource = Resource::Topic(&name);
                if let Err(code) = broker.allow(context, AclOperation::Describe, resource) {
                    return refusal(&name, code);
                }
                if let Err(refused) = crate::topics::check_name(&name) {
                    return refusal(&name, refused.code);
                }
                if broker.topics.get(&name).is_none()
                    && request.allow_auto_topic_creation
                    && let Err(refused) = auto_create(broker, context, &name)
                {
                    return refusal(&name, refused.code);
                }
                match broker.topics.get(&name) {
                    Some(topic) => describe(broker, context, topic, wants_operations),
                    None => refusal(&name, ResponseError::UnknownTopicOrPartition),
                }
            })
            .collect(),
    };
    let asked = request.include_cluster_authorized_operations;
    let cluster_operations = broker.cluster_operations(context, asked);
    let broker_row = MetadataResponseBroker::default()
        .with_node_id(NODE)
        .with_host(text(broker.endpoint(context).host.clone()))
        .with_port(broker.endpoint(context).port.into());
    let mut response = MetadataResponse::default()
        .with_brokers(vec![broker_row])
        .with_cluster_id(Some(text(broker.cluster_id.clone())))
        .with_controller_id(NODE)
        .with_topics(topics);
    if (8..=10).contains(&context.version) {
        response = response.with_cluster_authorized_operations(cluster_operations);
    }
    context.reply(&response)
}

fn auto_create(broker: &mut Broker, context: &Context, name: &str) -> Result<(), Refused> {
    if !broker.settings.flag("auto.create.topics.enable") {
        return Ok(());
    }
    broker
        .allow_by_cluster(context, AclOperation::Create, Resource::Topic(name))
        .map_err(acl::refused)?;
    let partitions = i32::try_from(broker.settings.number("num.partitions")).unwrap_or(1);
    broker.topics.check_new(name, partitions)?;
    let id = broker.random.uuid();
    let Broker { topics, meta, settings, .. } = broker;
    topics.create(meta, settings, name, id, partitions, Values::new())
}

fn by_id(
    broker: &Broker,
    context: &Context,
    id: Uuid,
    wants_operations: bool,
) -> MetadataResponseTopic {
    let found = broker.topics.name_of(id).and_then(|name| broker.topics.get(&name));
    // Who may not see a topic does not learn whether an id is one's.
    match found
        .filter(|topic| broker.may(context, AclOperation::Describe, Resource::Topic(&topic.name)))
    {
        Some(topic) => describe(broker, context, topic, wants_operations),
        None => MetadataResponseTopic::default()
            .with_error_code(ResponseError::UnknownTopicId.code())
            // Null is allowed from version 12 on.
            .with_name((context.version < 12).then(|| topic_name("")))
            .with_topic_id(id)
            .with_topic_authorized_operations(operations::OMITTED),
    }
}

fn refusal(name: &str, code: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(topic_name(name)))
        .with_topic_authorized_operations(operations::OMITTED)
}

fn describe(
    broker: &Broker,
    context: &Context,
    topic: &Topic,
    wants_operations: bool,
) -> MetadataResponseTopic {
    let resource = Resource::Topic(&topic.name);
    let partitions = (0..topic.partitions.len() as i32)
        .map(|partition| {
            MetadataResponsePartition::default()
                .with_partition_index(partition)
                .with_leader_id(NODE)
                .with_leader_epoch(LEADER_EPOCH)
                .with_replica_nodes(vec![NODE])
                .with_isr_nodes(vec![NODE])
        })
        .collect();
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_partitions(partitions)
        .with_topic_authorized_operations(broker.operations(context, resource, wants_operations))
}
