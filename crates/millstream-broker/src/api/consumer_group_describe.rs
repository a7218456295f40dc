//! ConsumerGroupDescribe (69), versions 0 and 1: groups of KIP-848 with their members, what these
//! have and what they should have. Of another group, or one that is not there, tools are told
//! `GROUP_ID_NOT_FOUND` and ask DescribeGroups. A group with a topic that the client may not
//! describe, be it assigned or only meant to be, is not shown at all, as in Kafka.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as Row, TopicPartitions,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
};
use uuid::Uuid;

use super::{distinct, text, topic_name};
use crate::acl::{self, AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::consumer_group::{ConsumerGroup, Member, Partition};

/// From here on it is said which protocol a member speaks.
const TELLS_MEMBER_TYPE: i16 = 1;
/// The member speaks the protocol of KIP-848.
const CONSUMER_MEMBER: i8 = 1;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: ConsumerGroupDescribeRequest,
) -> Reply {
    distinct(&mut request.group_ids, Clone::clone);
    let asked = request.include_authorized_operations;
    let is_served = broker.settings.serves_consumer_groups();
    let groups = request
        .group_ids
        .into_iter()
        .map(|id| {
            let resource = Resource::Group(&id);
            let rights = broker.allow(context, AclOperation::Describe, resource);
            if let Err(code) = rights.and_then(|()| sees_topics(broker, context, &id))
                && is_served
            {
                return hidden(code).with_group_id(id);
            }
            let row = match broker.coordinator.consumer_group(&id) {
                _ if !is_served => DescribedGroup::default()
                    .with_error_code(ResponseError::UnsupportedVersion.code()),
                _ if id.is_empty() => {
                    DescribedGroup::default().with_error_code(ResponseError::InvalidGroupId.code())
                }
                Some(group) => describe(broker, context, group),
                None => missing(&id),
            };
            let operations = broker.operations(context, resource, asked);
            row.with_group_id(id).with_authorized_operations(operations)
        })
        .collect();
    context.reply(&ConsumerGroupDescribeResponse::default().with_groups(groups))
}

/// Whether the client may describe all topics of the group's members.
fn sees_topics(broker: &Broker, context: &Context, id: &str) -> Result<(), ResponseError> {
    let Some(group) = broker.coordinator.consumer_group(id) else { return Ok(()) };
    let partitions =
        group.members().flat_map(|member| member.assigned.keys().chain(&member.target));
    let topics: BTreeSet<Uuid> = partitions.map(|(topic, _)| *topic).collect();
    topics
        .into_iter()
        .filter_map(|topic| broker.topics.name_of(topic))
        .try_for_each(|name| broker.allow(context, AclOperation::Describe, Resource::Topic(&name)))
}

fn hidden(code: ResponseError) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(code.code())
        .with_error_message(Some(text(acl::denied_text(code))))
}

fn missing(id: &GroupId) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(ResponseError::GroupIdNotFound.code())
        .with_error_message(Some(text(format!("`{}` is not a consumer group", id.as_str()))))
}

fn describe(broker: &Broker, context: &Context, group: &ConsumerGroup) -> DescribedGroup {
    let settings = broker.settings.consumer_groups();
    let assignor = settings.map_or("", |settings| group.assignor(settings.assignors[0]).name());
    let members = group.members().map(|member| row(broker, context, member)).collect();
    DescribedGroup::default()
        .with_group_state(text(group.state().name()))
        .with_group_epoch(group.epoch())
        .with_assignment_epoch(group.assignment_epoch())
        .with_assignor_name(text(assignor))
        .with_members(members)
}

fn row(broker: &Broker, context: &Context, member: &Member) -> Row {
    let regex = &member.subscription.regex;
    let row = Row::default()
        .with_member_id(text(&member.id))
        .with_instance_id(member.instance.clone().map(text))
        .with_rack_id(member.rack.clone().map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(&member.client_id))
        .with_client_host(text(format!("/{}", member.client_host)))
        .with_subscribed_topic_names(
            member.subscription.names.iter().map(|name| topic_name(name)).collect(),
        )
        .with_subscribed_topic_regex((!regex.is_empty()).then(|| text(regex)))
        .with_assignment(assignment(broker, member.assigned.keys()))
        .with_target_assignment(assignment(broker, member.target.iter()));
    match context.version {
        TELLS_MEMBER_TYPE.. => row.with_member_type(CONSUMER_MEMBER),
        _ => row,
    }
}

/// Partitions by topic; topics that are gone are left out.
fn assignment<'a>(broker: &Broker, partitions: impl Iterator<Item = &'a Partition>) -> Assignment {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for (id, partition) in partitions {
        if let Some(last) = topics.last_mut().filter(|last| last.topic_id == *id) {
            last.partitions.push(*partition);
        } else if let Some(name) = broker.topics.name_of(*id) {
            topics.push(
                TopicPartitions::default()
                    .with_topic_id(*id)
                    .with_topic_name(topic_name(&name))
                    .with_partitions(vec![*partition]),
            );
        }
    }
    Assignment::default().with_topic_partitions(topics)
}
