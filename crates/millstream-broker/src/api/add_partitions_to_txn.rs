//! AddPartitionsToTxn (24), versions 0 to 5: partitions that a transaction is going to write to
//! (KIP-98). The first ones begin it.
//!
//! Versions 0 to 3 are for producers: all partitions are added, or none. Versions 4 and 5 are for
//! brokers that ask for several producers at once, and may ask only whether a partition was added
//! (KIP-890); here the broker and the coordinator are one, so only tests send them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::{code_of, fenced_code};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::transactions::{Caller, Partition};

/// From here on a producer that was replaced is told so; before, that its epoch is invalid.
const TELLS_FENCED: i16 = 2;
/// From here on several transactions at once.
const BATCHED: i16 = 4;
/// From here on a partition that was not added is told apart from other invalid states.
const TELLS_ABORTABLE: i16 = 5;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: AddPartitionsToTxnRequest,
) -> Reply {
    let response = AddPartitionsToTxnResponse::default();
    if context.version < BATCHED {
        let caller = Caller {
            producer_id: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        let id = request.v3_and_below_transactional_id;
        let results = add(broker, context, &id, caller, &request.v3_and_below_topics);
        return context.reply(&response.with_results_by_topic_v3_and_below(results));
    }
    if let Err(code) = broker.allow(context, AclOperation::ClusterAction, Resource::Cluster) {
        return context.reply(&response.with_error_code(code.code()));
    }
    let results = request
        .transactions
        .into_iter()
        .map(|asked| {
            let caller = Caller { producer_id: asked.producer_id.0, epoch: asked.producer_epoch };
            let id = &asked.transactional_id;
            let topics = match asked.verify_only {
                true => verify(broker, context, id, caller, &asked.topics),
                false => add(broker, context, id, caller, &asked.topics),
            };
            AddPartitionsToTxnResult::default()
                .with_transactional_id(asked.transactional_id)
                .with_topic_results(topics)
        })
        .collect();
    context.reply(&response.with_results_by_transaction(results))
}

fn add(
    broker: &mut Broker,
    context: &Context,
    id: &str,
    caller: Caller,
    topics: &[AddPartitionsToTxnTopic],
) -> Vec<AddPartitionsToTxnTopicResult> {
    // Between brokers, which has been checked, nobody asks for each.
    if context.version < BATCHED
        && let Err(code) = broker.allow(context, AclOperation::Write, Resource::TransactionalId(id))
    {
        return results(topics, |_, _| Err(code));
    }
    let check = |name: &str, partition| {
        if context.version < BATCHED {
            broker.allow(context, AclOperation::Write, Resource::Topic(name))?;
        }
        let topic = broker.topics.get(name);
        let log = topic.and_then(|topic| topic.log(partition));
        log.map(drop).ok_or(ResponseError::UnknownTopicOrPartition)
    };
    let all_good =
        topics.iter().all(|topic| topic.partitions.iter().all(|p| check(&topic.name, *p).is_ok()));
    if !all_good {
        return results(topics, |name, partition| {
            check(name, partition).and(Err(ResponseError::OperationNotAttempted))
        });
    }
    let partitions: Vec<Partition> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.to_string(), *p)))
        .collect();
    let outcome = match id.is_empty() {
        true => Err(ResponseError::InvalidRequest),
        false => broker.transactions.add(id, caller, &partitions, broker.now()),
    };
    let outcome = outcome.map_err(|code| fenced_code(code, context.version >= TELLS_FENCED));
    results(topics, |_, _| outcome)
}

fn verify(
    broker: &Broker,
    context: &Context,
    id: &str,
    caller: Caller,
    topics: &[AddPartitionsToTxnTopic],
) -> Vec<AddPartitionsToTxnTopicResult> {
    results(topics, |name, partition| {
        let outcome = broker.transactions.verify(id, caller, &(name.to_owned(), partition));
        outcome.map_err(|code| match code {
            ResponseError::TransactionAbortable if context.version < TELLS_ABORTABLE => {
                ResponseError::InvalidTxnState
            }
            code => code,
        })
    })
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    outcome: impl Fn(&str, i32) -> Result<(), ResponseError>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    topics
        .iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|partition| {
                    AddPartitionsToTxnPartitionResult::default()
                        .with_partition_index(*partition)
                        .with_partition_error_code(code_of(outcome(&topic.name, *partition)))
                })
                .collect();
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions)
        })
        .collect()
}
