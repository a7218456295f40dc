//! DeleteRecords (21), versions 0 to 2: makes records before an offset unreadable for good
//! (KIP-107); -1 means all there are. The time-out is not used.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DeleteRecordsRequest,
) -> Reply {
    let mut topics: Vec<DeleteRecordsTopicResult> = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let allowed = broker.require(context, AclOperation::Delete, Resource::Topic(&topic.name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let index = asked.partition_index;
            let Broker { topics, meta, .. } = broker;
            let outcome = allowed
                .clone()
                .and_then(|()| topics.delete_records(meta, &topic.name, index, asked.offset));
            let row = DeleteRecordsPartitionResult::default().with_partition_index(index);
            partitions.push(match outcome {
                Ok(start) => row.with_low_watermark(start),
                Err(refused) => row.with_low_watermark(-1).with_error_code(refused.code.code()),
            });
            if allowed.is_ok()
                && let Some(topic) = broker.topics.get(&topic.name)
            {
                broker.fetches.moved(topic.id, index);
            }
        }
        topics.push(
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    // Programs delete what they have read every few seconds, in many partitions: one wait for all.
    if let Err(error) = broker.meta.sync() {
        tracing::error!(%error, "cannot make a deletion of records durable");
        for row in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            row.low_watermark = -1;
            row.error_code = ResponseError::KafkaStorageError.code();
        }
    }
    context.reply(&DeleteRecordsResponse::default().with_topics(topics))
}
