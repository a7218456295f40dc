//! IncrementalAlterConfigs (44), versions 0 and 1: sets, removes, adds to or takes from single
//! settings of topics and of the broker (KIP-339).
//!
//! A broker's setting can be changed only if Kafka can change it while running. Changes are
//! durable. What a resource is asked for happens whole or not at all.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{Change, alter, check_rights, once};
use super::text;
use crate::acl::AclOperation;
use crate::broker::{Broker, Context, Reply};
use crate::settings::Operation;
use crate::topics::Refused;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: IncrementalAlterConfigsRequest,
) -> Reply {
    let mut named = HashSet::new();
    let responses = request
        .resources
        .into_iter()
        .map(|resource| {
            let changes: Result<Vec<Change>, Refused> = resource
                .configs
                .iter()
                .map(|config| {
                    let operation =
                        Operation::from_code(config.config_operation).ok_or_else(|| {
                            let message = format!("unknown operation {}", config.config_operation);
                            Refused::new(ResponseError::InvalidRequest, message)
                        })?;
                    Ok(Change {
                        name: config.name.to_string(),
                        operation,
                        value: config.value.as_ref().map(ToString::to_string),
                    })
                })
                .collect();
            let (kind, name) = (resource.resource_type, resource.resource_name);
            let first = once(&mut named, kind, &name);
            let rights = check_rights(broker, context, AclOperation::AlterConfigs, kind, &name);
            let outcome = first.and(rights).and(changes).and_then(|changes| {
                alter(broker, kind, &name, changes, false, request.validate_only)
            });
            let row = AlterConfigsResourceResponse::default()
                .with_resource_type(kind)
                .with_resource_name(name);
            match outcome {
                Ok(()) => row,
                Err(refused) => row
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.message))),
            }
        })
        .collect();
    context.reply(&IncrementalAlterConfigsResponse::default().with_responses(responses))
}
