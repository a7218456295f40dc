//! FindCoordinator (10), versions 0 to 6: this broker coordinates every group and transaction.
//!
//! From version 4 on several keys at once (KIP-699). For share groups (key type 2) there is no
//! coordinator: `INVALID_REQUEST`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::{NODE, text};
use crate::acl::{AclOperation, Resource, denied_text};
use crate::broker::{Broker, Context, Reply};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: FindCoordinatorRequest,
) -> Reply {
    let find = |key: &str| {
        let refused = refusal(broker, context, request.key_type, key);
        let (code, message) =
            refused.map_or((0, None), |(code, message)| (code.code(), Some(message)));
        let endpoint = broker.endpoint(context);
        Coordinator::default()
            .with_error_code(code)
            .with_error_message(message.map(text))
            .with_node_id(if code == 0 { NODE } else { (-1).into() })
            .with_host(text(if code == 0 { &endpoint.host } else { "" }))
            .with_port(if code == 0 { endpoint.port.into() } else { -1 })
    };
    if context.version >= 4 {
        let keys = request.coordinator_keys.into_iter();
        let all = keys.map(|key| find(&key).with_key(key)).collect();
        return context.reply(&FindCoordinatorResponse::default().with_coordinators(all));
    }
    let found = find(&request.key);
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if context.version >= 1 {
        response = response.with_error_message(found.error_message);
    }
    context.reply(&response)
}

fn refusal(
    broker: &Broker,
    context: &Context,
    key_type: i8,
    key: &str,
) -> Option<(ResponseError, String)> {
    let resource = match key_type {
        GROUP => Resource::Group(key),
        TRANSACTION => Resource::TransactionalId(key),
        _ => {
            let message = "share groups are not supported by the embedded broker";
            return Some((ResponseError::InvalidRequest, message.to_owned()));
        }
    };
    let denied = broker.allow(context, AclOperation::Describe, resource).err()?;
    Some((denied, denied_text(denied).to_owned()))
}
