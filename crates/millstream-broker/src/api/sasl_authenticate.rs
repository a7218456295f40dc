//! SaslAuthenticate (36), versions 0 to 2: a mechanism's messages (KIP-152), from version 1 on with
//! the length of the session (KIP-368). It is served in [`crate::broker`]; here it comes where
//! there is nothing to be said: `ILLEGAL_SASL_STATE`, as in Kafka.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::text;
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(_: &mut Broker, context: &Context, _: SaslAuthenticateRequest) -> Reply {
    let response = SaslAuthenticateResponse::default()
        .with_error_code(ResponseError::IllegalSaslState.code())
        .with_error_message(Some(text(
            "SaslAuthenticate request received after successful authentication",
        )));
    context.reply(&response)
}
