//! EndTxn (26), versions 0 to 5: commits or aborts a transaction (KIP-98). The answer comes when
//! all is done, so the producer's next request finds no transaction that is still ending.
//!
//! Version 5 is the second version of transactions (KIP-890): each end raises the producer's
//! epoch, and the answer says which it is now.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId};

use super::fenced_code;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::transactions::{Caller, End, NO_EPOCH, NO_ID};

/// From here on a producer that was replaced is told so; before, that its epoch is invalid.
const TELLS_FENCED: i16 = 2;
/// From here on the epoch is raised.
const RAISES_EPOCH: i16 = 5;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: EndTxnRequest) -> Reply {
    let caller = Caller { producer_id: request.producer_id.0, epoch: request.producer_epoch };
    let end = End { commit: request.committed, raise_epoch: context.version >= RAISES_EPOCH };
    let id = &request.transactional_id;
    let allowed = broker.allow(context, AclOperation::Write, Resource::TransactionalId(id));
    let outcome = allowed.and_then(|()| match id.is_empty() {
        true => Err(ResponseError::InvalidRequest),
        false => broker.end_transaction(id, caller, end),
    });
    let response = match outcome {
        Ok(now) if end.raise_epoch => EndTxnResponse::default()
            .with_producer_id(ProducerId(now.producer_id))
            .with_producer_epoch(now.epoch),
        Ok(_) => EndTxnResponse::default(),
        Err(code) => EndTxnResponse::default()
            .with_error_code(fenced_code(code, context.version >= TELLS_FENCED).code())
            .with_producer_id(ProducerId(NO_ID))
            .with_producer_epoch(NO_EPOCH),
    };
    context.reply(&response)
}
