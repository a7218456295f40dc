//! SaslHandshake (17), versions 0 and 1: a client names its mechanism (KIP-43). It is served where
//! a connection begins, or its session is opened anew, in [`crate::broker`]; here it comes where
//! there is nothing to be said: `ILLEGAL_SASL_STATE`, as in Kafka.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};

use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(_: &mut Broker, context: &Context, _: SaslHandshakeRequest) -> Reply {
    let code = ResponseError::IllegalSaslState.code();
    context.reply(&SaslHandshakeResponse::default().with_error_code(code))
}
