//! DeleteTopics (20), versions 1 to 6: removes topics with their records, and what groups have
//! committed for them. By name, from version 6 on also by id (KIP-516). The time-out is not used.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use uuid::Uuid;

use super::{text, topic_name};
use crate::acl::{self, AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::topics::Refused;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DeleteTopicsRequest,
) -> Reply {
    let mut asked: Vec<(Option<TopicName>, Uuid)> =
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect();
    asked.extend(request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)));
    let responses = asked
        .into_iter()
        .map(|(name, id)| {
            let outcome = delete(broker, context, name.as_ref(), id);
            let row = DeletableTopicResult::default();
            // Who knows only the id may learn the name if he may see the topic.
            let name = name.or_else(|| {
                let found = broker.topics.name_of(id)?;
                broker
                    .may(context, AclOperation::Describe, Resource::Topic(&found))
                    .then(|| topic_name(&found))
            });
            let mut row = match outcome {
                Ok((name, id)) => row.with_name(Some(topic_name(&name))).with_topic_id(id),
                Err(refused) => {
                    let row =
                        row.with_name(name).with_topic_id(id).with_error_code(refused.code.code());
                    match context.version {
                        5.. => row.with_error_message(Some(text(refused.message))),
                        _ => row,
                    }
                }
            };
            if context.version < 6 {
                row.topic_id = Uuid::nil();
            }
            row
        })
        .collect();
    context.reply(&DeleteTopicsResponse::default().with_responses(responses))
}

fn delete(
    broker: &mut Broker,
    context: &Context,
    name: Option<&TopicName>,
    id: Uuid,
) -> Result<(String, Uuid), Refused> {
    if !broker.settings.flag("delete.topic.enable") {
        let message = "delete.topic.enable is false";
        return Err(Refused::new(ResponseError::TopicDeletionDisabled, message));
    }
    let name = match name {
        Some(name) => name.to_string(),
        None => broker
            .topics
            .name_of(id)
            .ok_or_else(|| Refused::new(ResponseError::UnknownTopicId, "unknown topic id"))?
            .to_string(),
    };
    broker
        .allow_by_cluster(context, AclOperation::Delete, Resource::Topic(&name))
        .map_err(acl::refused)?;
    let id = broker.topics.delete(&mut broker.meta, &name)?;
    broker.fetches.topic_deleted(id);
    broker.coordinator.topic_deleted(&name)?;
    Ok((name, id))
}
