//! DescribeTransactions (65), version 0: the state of transactional ids (KIP-664).

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId,
};

use super::{distinct, text, topic_name};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::transactions::{NEVER, NO_EPOCH, NO_ID, Transaction};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: DescribeTransactionsRequest,
) -> Reply {
    distinct(&mut request.transactional_ids, Clone::clone);
    let states = request
        .transactional_ids
        .into_iter()
        .map(|id| {
            let resource = Resource::TransactionalId(&id);
            if let Err(code) = broker.allow(context, AclOperation::Describe, resource) {
                return TransactionState::default()
                    .with_error_code(code.code())
                    .with_producer_id(ProducerId(NO_ID))
                    .with_producer_epoch(NO_EPOCH)
                    .with_transaction_start_time_ms(NEVER)
                    .with_transactional_id(id);
            }
            let row = match broker.transactions.get(&id) {
                Some(transaction) => describe(transaction, |topic| {
                    broker.may(context, AclOperation::Describe, Resource::Topic(topic))
                }),
                None => TransactionState::default()
                    .with_error_code(if id.is_empty() {
                        ResponseError::InvalidRequest.code()
                    } else {
                        ResponseError::TransactionalIdNotFound.code()
                    })
                    .with_producer_id(ProducerId(NO_ID))
                    .with_producer_epoch(NO_EPOCH)
                    .with_transaction_start_time_ms(NEVER),
            };
            row.with_transactional_id(id)
        })
        .collect();
    context.reply(&DescribeTransactionsResponse::default().with_transaction_states(states))
}

fn describe(transaction: &Transaction, is_seen: impl Fn(&str) -> bool) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &transaction.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let topics = topics
        .into_iter()
        .filter(|(name, _)| is_seen(name))
        .map(|(name, partitions)| {
            TopicData::default().with_topic(topic_name(name)).with_partitions(partitions)
        })
        .collect();
    TransactionState::default()
        .with_transaction_state(text(transaction.state.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.started_ms)
        .with_producer_id(ProducerId(transaction.producer_id))
        .with_producer_epoch(transaction.epoch)
        .with_topics(topics)
}
