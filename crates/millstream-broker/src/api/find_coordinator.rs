//! FindCoordinator (10), versions 0 to 6: this broker coordinates every group and transaction.
//!
//! From version 4 on several keys at once (KIP-699). For share groups (key type 2) there is no
//! coordinator: `INVALID_REQUEST`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::{NODE, text};
use crate::broker::{Broker, Context, Reply};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: FindCoordinatorRequest,
) -> Reply {
    let refusal = match request.key_type {
        GROUP | TRANSACTION => None,
        _ => Some((
            ResponseError::InvalidRequest,
            "share groups are not supported by the embedded broker",
        )),
    };
    let code = refusal.map_or(0, |(code, _)| code.code());
    let message = refusal.map(|(_, message)| text(message));
    let found = Coordinator::default()
        .with_error_code(code)
        .with_error_message(message.clone())
        .with_node_id(if code == 0 { NODE } else { (-1).into() })
        .with_host(text(if code == 0 { &broker.endpoint.host } else { "" }))
        .with_port(if code == 0 { broker.endpoint.port.into() } else { -1 });
    if context.version >= 4 {
        let keys = request.coordinator_keys.into_iter();
        let all = keys.map(|key| found.clone().with_key(key)).collect();
        return context.reply(&FindCoordinatorResponse::default().with_coordinators(all));
    }
    let mut response = FindCoordinatorResponse::default()
        .with_error_code(code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    if context.version >= 1 {
        response = response.with_error_message(message);
    }
    context.reply(&response)
}
