//! InitProducerId (22), versions 0 to 5: an id for an idempotent producer (KIP-98).
//!
//! Each call without a transactional id gives a new id with epoch 0; a producer that brings its
//! id to have the epoch raised (KIP-360) gets a new id too, which serves the same end. With a
//! transactional id: `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`, for the reason given at
//! [`find_coordinator`](super::find_coordinator).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: InitProducerIdRequest,
) -> Reply {
    let outcome = match request.transactional_id {
        Some(_) => Err(ResponseError::TransactionalIdAuthorizationFailed),
        None => broker.new_producer_id().map_err(|error| {
            tracing::error!(%error, "cannot reserve producer ids");
            ResponseError::KafkaStorageError
        }),
    };
    let response = InitProducerIdResponse::default();
    context.reply(&match outcome {
        Ok(id) => response.with_producer_id(ProducerId(id)),
        Err(code) => response
            .with_error_code(code.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    })
}
