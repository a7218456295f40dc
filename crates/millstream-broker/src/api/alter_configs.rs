//! AlterConfigs (33), versions 0 to 2: replaces *all* settings of a topic or of the broker by
//! those given. The way of old clients; newer ones use IncrementalAlterConfigs, which shares
//! [`alter`] with it.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::create_topics::unknown_setting;
use super::describe_configs::{BROKER, TOPIC, check_broker, no_settings};
use super::text;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};
use crate::settings::{self, Operation, Values, table};
use crate::topics::{Refused, check_name, unknown_topic};

/// One setting to change.
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) value: Option<String>,
}

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: AlterConfigsRequest,
) -> Reply {
    let mut named = HashSet::new();
    let responses = request
        .resources
        .into_iter()
        .map(|resource| {
            let changes = resource
                .configs
                .iter()
                .map(|config| Change {
                    name: config.name.to_string(),
                    operation: Operation::Set,
                    value: config.value.as_ref().map(ToString::to_string),
                })
                .collect();
            let (kind, name) = (resource.resource_type, resource.resource_name);
            let outcome = once(&mut named, kind, &name)
                .and_then(|()| {
                    check_rights(broker, context, AclOperation::AlterConfigs, kind, &name)
                })
                .and_then(|()| alter(broker, kind, &name, changes, true, request.validate_only));
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
    context.reply(&AlterConfigsResponse::default().with_responses(responses))
}

/// Refuses a resource that the request has named before, as Kafka does: each change waits for the
/// medium, and a request must not keep the broker busy with repetitions.
pub(crate) fn once(named: &mut HashSet<(i8, String)>, kind: i8, name: &str) -> Result<(), Refused> {
    if named.insert((kind, name.to_owned())) {
        return Ok(());
    }
    let message = format!("the request names the resource `{name}` twice");
    Err(Refused::new(ResponseError::InvalidRequest, message))
}

/// Whether a client may see or change the settings of a resource.
///
/// # Errors
/// It may not.
pub(crate) fn check_rights(
    broker: &Broker,
    context: &Context,
    operation: AclOperation,
    kind: i8,
    name: &str,
) -> Result<(), Refused> {
    match kind {
        TOPIC => broker.require(context, operation, Resource::Topic(name)),
        _ => broker.require(context, operation, Resource::Cluster),
    }
}

/// Changes the settings of a resource; with `replace`, those not named go back to their defaults.
///
/// # Errors
/// Kafka's code and a text; nothing has changed then.
pub(crate) fn alter(
    broker: &mut Broker,
    kind: i8,
    name: &str,
    changes: Vec<Change>,
    replace: bool,
    validate_only: bool,
) -> Result<(), Refused> {
    match kind {
        TOPIC => {
            check_name(name)?;
            let topic = broker.topics.get(name).ok_or_else(|| unknown_topic(name))?;
            let mut own = if replace { Values::new() } else { topic.own.clone() };
            let inherited = broker.settings.describe_topic(&Values::new());
            for change in changes {
                let row =
                    table::topic(&change.name).ok_or_else(|| unknown_setting(&change.name))?;
                let inherited = inherited
                    .iter()
                    .find(|setting| setting.row.name == row.name)
                    .and_then(|setting| setting.value.as_deref());
                apply(&mut own, row, &change, inherited)?;
            }
            broker
                .settings
                .check_topic(&own)
                .map_err(|message| Refused::new(ResponseError::InvalidConfig, message))?;
            if validate_only {
                return Ok(());
            }
            let Broker { topics, meta, settings, .. } = broker;
            topics.configure(meta, settings, name, own)
        }
        BROKER => {
            check_broker(name)?;
            let for_all = name.is_empty();
            let now = match for_all {
                true => &broker.settings.dynamic_default,
                false => &broker.settings.dynamic,
            };
            let mut values = if replace { Values::new() } else { now.clone() };
            for change in changes {
                let row = table::broker(&change.name).ok_or_else(|| {
                    let message = format!("unknown broker setting `{}`", change.name);
                    Refused::new(ResponseError::InvalidConfig, message)
                })?;
                settings::check_settable(row.name)
                    .map_err(|message| Refused::new(ResponseError::InvalidRequest, message))?;
                if !row.dynamic {
                    let message = format!(
                        "the broker setting `{}` cannot be changed while the broker runs; give it at the start",
                        row.name
                    );
                    return Err(Refused::new(ResponseError::InvalidRequest, message));
                }
                apply(&mut values, row, &change, broker.settings.text(row.name))?;
            }
            if validate_only {
                return Ok(());
            }
            Ok(broker.set_dynamic(for_all, values)?)
        }
        other => Err(no_settings(other)),
    }
}

fn apply(
    values: &mut Values,
    row: &table::Row,
    change: &Change,
    inherited: Option<&str>,
) -> Result<(), Refused> {
    settings::change(values, row, change.operation, change.value.as_deref(), inherited)
        .map_err(|message| Refused::new(ResponseError::InvalidConfig, message))
}
