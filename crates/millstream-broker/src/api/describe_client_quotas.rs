//! DescribeClientQuotas (48), versions 0 and 1: there are none, ever. Kafka's `configs --describe`
//! asks before it shows SCRAM credentials.

use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::text;
use crate::acl::{AclOperation, Resource, denied_text};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    _: DescribeClientQuotasRequest,
) -> Reply {
    let response = DescribeClientQuotasResponse::default();
    match broker.allow(context, AclOperation::DescribeConfigs, Resource::Cluster) {
        Ok(()) => context.reply(&response.with_entries(Some(Vec::new()))),
        Err(code) => context.reply(
            &response
                .with_error_code(code.code())
                .with_error_message(Some(text(denied_text(code))))
                .with_entries(None),
        ),
    }
}
