//! TxnOffsetCommit (28), versions 0 to 5: offsets that count when the transaction is committed
//! (KIP-98). Until then readers that want stable offsets are told to wait, see
//! [`offset_fetch`](super::offset_fetch).
//!
//! From version 3 on the group's member and generation are checked (KIP-447), static members
//! included. With version 5 the group need not have been added to the transaction before
//! (KIP-890); with the others it must.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, OFFSETS_TOPIC, Reply};
use crate::coordinator::Committed;
use crate::group::MemberKey;
use crate::transactions::Caller;

/// From here on clients know the code for "abort and go on".
const TELLS_ABORTABLE: i16 = 4;
/// From here on the request adds the group to the transaction by itself.
const ADDS: i16 = 5;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: TxnOffsetCommitRequest,
) -> Reply {
    let transactional = Resource::TransactionalId(&request.transactional_id);
    let rights = broker.allow(context, AclOperation::Write, transactional).and_then(|()| {
        broker.allow(context, AclOperation::Read, Resource::Group(&request.group_id))
    });
    let allowed = rights.and_then(|()| check(broker, context, &request));
    let wall = broker.clock.wall();
    let metadata_max = broker.settings.number("offset.metadata.max.bytes") as usize;
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let known = broker.topics.get(&topic.name);
        let allowed = rights
            .and_then(|()| broker.allow(context, AclOperation::Read, Resource::Topic(&topic.name)))
            .and(allowed);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let metadata = partition.committed_metadata.as_deref();
            let result = allowed.and_then(|()| {
                let topic = known
                    .filter(|topic| topic.log(index).is_some())
                    .ok_or(ResponseError::UnknownTopicOrPartition)?;
                let (member, epoch) = (&request.member_id, request.generation_id);
                broker
                    .coordinator
                    .check_commit_of(&request.group_id, member, epoch, (topic.id, index))
                    .map_err(as_generation)?;
                match metadata.map_or(0, str::len) > metadata_max {
                    true => Err(ResponseError::OffsetMetadataTooLarge),
                    false => Ok(()),
                }
            });
            if result.is_ok() {
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    at_ms: wall,
                    metadata: metadata.map(str::to_owned),
                };
                offsets.push((topic.name.to_string(), index, committed));
            }
            partitions.push((index, code_of(result)));
        }
        topics.push((topic.name.clone(), partitions));
    }
    let producer_id = request.producer_id.0;
    let stored = broker.coordinator.commit_in_transaction(producer_id, &request.group_id, offsets);
    if let Err(error) = &stored {
        tracing::error!(group = %*request.group_id, %error, "cannot store a transaction's offsets");
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(index, code)| {
                    let lost = code == 0 && stored.is_err();
                    let failed = ResponseError::CoordinatorNotAvailable.code();
                    TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(if lost { failed } else { code })
                })
                .collect();
            TxnOffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions)
        })
        .collect();
    context.reply(&TxnOffsetCommitResponse::default().with_topics(topics))
}

fn check(
    broker: &mut Broker,
    context: &Context,
    request: &TxnOffsetCommitRequest,
) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    if request.transactional_id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    // The transaction first: who is not allowed to must not make a group either.
    let caller = Caller { producer_id: request.producer_id.0, epoch: request.producer_epoch };
    let offsets = (OFFSETS_TOPIC.to_owned(), 0);
    let id = &request.transactional_id;
    let outcome = if context.version >= ADDS {
        broker.transactions.add(id, caller, &[offsets], broker.now())
    } else {
        broker.transactions.verify(id, caller, &offsets)
    };
    outcome.map_err(|code| match code {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        // What all clients answer by sending the request again.
        ResponseError::ConcurrentTransactions => ResponseError::CoordinatorLoadInProgress,
        ResponseError::TransactionAbortable if context.version < TELLS_ABORTABLE => {
            ResponseError::InvalidTxnState
        }
        code => code,
    })?;
    let (now, wall) = (broker.clock.monotonic(), broker.clock.wall());
    let key = MemberKey { id: &request.member_id, instance: request.group_instance_id.as_deref() };
    let (group, generation) = (&request.group_id, request.generation_id);
    let answer = broker.coordinator.check_transactional_commit(group, &key, generation, now, wall);
    answer.map_err(as_generation)
}

/// Clients of this request do not know the code of KIP-848.
fn as_generation(code: ResponseError) -> ResponseError {
    match code {
        ResponseError::StaleMemberEpoch => ResponseError::IllegalGeneration,
        code => code,
    }
}
