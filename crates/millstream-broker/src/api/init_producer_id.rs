//! InitProducerId (22), versions 0 to 5: an id for an idempotent or transactional producer
//! (KIP-98).
//!
//! Without a transactional id each call gives a new id with epoch 0; a producer that brings its
//! id to have the epoch raised (KIP-360) gets a new id too, which serves the same end. With one
//! the id stays and the epoch is raised, which fences the producer before; a transaction that is
//! open is aborted, within the request.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::fenced_code;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::transactions::{Caller, NO_EPOCH, NO_ID};

/// From here on a producer that was replaced is told so; before, that its epoch is invalid.
const TELLS_FENCED: i16 = 4;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: InitProducerIdRequest,
) -> Reply {
    let response = InitProducerIdResponse::default();
    context.reply(&match init(broker, context, &request) {
        Ok(producer) => response
            .with_producer_id(ProducerId(producer.producer_id))
            .with_producer_epoch(producer.epoch),
        Err(code) => response
            .with_error_code(fenced_code(code, context.version >= TELLS_FENCED).code())
            .with_producer_id(ProducerId(NO_ID))
            .with_producer_epoch(NO_EPOCH),
    })
}

fn init(
    broker: &mut Broker,
    context: &Context,
    request: &InitProducerIdRequest,
) -> Result<Caller, ResponseError> {
    let Some(id) = &request.transactional_id else {
        // Who may write anywhere may do so idempotently (KIP-679).
        if !broker.may_write_some_topic(context) {
            broker.allow(context, AclOperation::IdempotentWrite, Resource::Cluster)?;
        }
        let fresh = broker.new_producer_id().map_err(|error| {
            tracing::error!(%error, "cannot reserve producer ids");
            ResponseError::KafkaStorageError
        })?;
        return Ok(Caller { producer_id: fresh, epoch: 0 });
    };
    broker.allow(context, AclOperation::Write, Resource::TransactionalId(id))?;
    let expected = match (request.producer_id.0, request.producer_epoch) {
        (NO_ID, NO_EPOCH) => None,
        (NO_ID, _) | (_, NO_EPOCH) => return Err(ResponseError::InvalidRequest),
        (producer_id, epoch) => Some(Caller { producer_id, epoch }),
    };
    if id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let timeout_ms = request.transaction_timeout_ms;
    let longest = broker.settings.number("transaction.max.timeout.ms");
    if timeout_ms <= 0 || i64::from(timeout_ms) > longest {
        return Err(ResponseError::InvalidTransactionTimeout);
    }
    broker.init_transactions(id, timeout_ms, expected)
}
