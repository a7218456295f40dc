//! ListTransactions (66), versions 0 to 2: all transactional ids, filtered by state, producer id,
//! by how long the transaction has been open (version 1, KIP-994) and by a regular expression that
//! the whole id must match (version 2, KIP-1152).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_transactions_response::TransactionState as Row;
use kafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse, ProducerId};

use super::text;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::pattern::Pattern;
use crate::transactions::{Transaction, TransactionState};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: ListTransactionsRequest,
) -> Reply {
    let now_ms = broker.clock.wall();
    let states = &request.state_filters;
    let producers = &request.producer_id_filters;
    let longer_than = request.duration_filter;
    // None, like an empty one, stands for all ids.
    let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(|pattern| Pattern::new(&pattern)).transpose() else {
        let code = ResponseError::InvalidRegularExpression.code();
        return context.reply(&ListTransactionsResponse::default().with_error_code(code));
    };
    let matches = |id: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(id));
    let passes = |transaction: &Transaction| {
        let state = transaction.state.name();
        let open =
            transaction.state == TransactionState::Ongoing || transaction.state.is_prepared();
        let open_ms = now_ms.saturating_sub(transaction.started_ms);
        (states.is_empty() || states.iter().any(|wanted| wanted.as_str() == state))
            && (producers.is_empty() || producers.contains(&ProducerId(transaction.producer_id)))
            && (longer_than < 0 || (open && open_ms > longer_than))
    };
    let rows = broker
        .transactions
        .iter()
        .filter(|(id, transaction)| passes(transaction) && matches(id))
        .filter(|(id, _)| {
            broker.may(context, AclOperation::Describe, Resource::TransactionalId(id))
        })
        .map(|(id, transaction)| {
            Row::default()
                .with_transactional_id(text(id).into())
                .with_producer_id(ProducerId(transaction.producer_id))
                .with_transaction_state(text(transaction.state.name()))
        })
        .collect();
    let known = |name: &str| {
        // Kafka's other two states: a moment in between, and an id that is being forgotten.
        matches!(name, "PrepareEpochFence" | "Dead")
            || TransactionState::ALL.iter().any(|state| state.name() == name)
    };
    let unknown = states.iter().filter(|name| !known(name)).cloned().collect();
    let response = ListTransactionsResponse::default()
        .with_transaction_states(rows)
        .with_unknown_state_filters(unknown);
    context.reply(&response)
}
