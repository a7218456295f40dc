//! AddOffsetsToTxn (25), versions 0 to 4: a transaction is going to carry a group's offsets
//! (KIP-98). As in Kafka it then has a partition of `__consumer_offsets`, which admin tools show;
//! here that is a name without a log.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{code_of, fenced_code};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, OFFSETS_TOPIC, Reply};
use crate::transactions::Caller;

/// From here on a producer that was replaced is told so; before, that its epoch is invalid.
const TELLS_FENCED: i16 = 2;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: AddOffsetsToTxnRequest,
) -> Reply {
    let caller = Caller { producer_id: request.producer_id.0, epoch: request.producer_epoch };
    let id = &request.transactional_id;
    let allowed =
        broker.allow(context, AclOperation::Write, Resource::TransactionalId(id)).and_then(|()| {
            broker.allow(context, AclOperation::Read, Resource::Group(&request.group_id))
        });
    let outcome = if let Err(code) = allowed {
        Err(code)
    } else if id.is_empty() {
        Err(ResponseError::InvalidRequest)
    } else if request.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else {
        let offsets = [(OFFSETS_TOPIC.to_owned(), 0)];
        broker.transactions.add(id, caller, &offsets, broker.now())
    };
    let outcome = outcome.map_err(|code| fenced_code(code, context.version >= TELLS_FENCED));
    context.reply(&AddOffsetsToTxnResponse::default().with_error_code(code_of(outcome)))
}
