//! DescribeConfigs (32), versions 1 to 4: every setting of topics and of the broker that Apache
//! Kafka 4.3 has, with value, type, source and, if asked, where else it is set.
//!
//! Settings that this broker does not obey are shown with Kafka's default, since clients read
//! them (`NOT_IMPLEMENTED.md` lists them). Documentation texts are not carried. Broker loggers,
//! client metrics and groups have no settings here: `INVALID_REQUEST`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::alter_configs::check_rights;
use super::{DESCRIBED_MAX, distinct, text};
use crate::acl::AclOperation;
use crate::broker::{Broker, Context, NODE_ID, Reply};
use crate::settings::Described;
use crate::settings::table::Kind;
use crate::topics::{Refused, check_name, unknown_topic};

/// Resource types of the protocol.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    mut request: DescribeConfigsRequest,
) -> Reply {
    distinct(&mut request.resources, |resource| {
        (resource.resource_type, resource.resource_name.clone())
    });
    let results = request
        .resources
        .into_iter()
        .enumerate()
        .map(|(number, resource)| {
            let outcome = match number < DESCRIBED_MAX {
                true => check_rights(
                    broker,
                    context,
                    AclOperation::DescribeConfigs,
                    resource.resource_type,
                    &resource.resource_name,
                )
                .and_then(|()| describe(broker, &resource)),
                false => Err(Refused::new(
                    ResponseError::InvalidRequest,
                    format!("a request may ask for {DESCRIBED_MAX} resources at most"),
                )),
            };
            let row = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name);
            match outcome {
                Ok(settings) => {
                    let wanted = resource.configuration_keys.filter(|keys| !keys.is_empty());
                    let configs = settings
                        .into_iter()
                        .filter(|setting| {
                            wanted.as_ref().is_none_or(|keys| {
                                keys.iter().any(|key| key.as_str() == setting.row.name)
                            })
                        })
                        .map(|setting| entry(context, setting, request.include_synonyms))
                        .collect();
                    row.with_configs(configs)
                }
                Err(refused) => row
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.message))),
            }
        })
        .collect();
    context.reply(&DescribeConfigsResponse::default().with_results(results))
}

fn describe(
    broker: &Broker,
    resource: &DescribeConfigsResource,
) -> Result<Vec<Described>, Refused> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            check_name(name)?;
            let topic = broker.topics.get(name).ok_or_else(|| unknown_topic(name))?;
            Ok(broker.settings.describe_topic(&topic.own))
        }
        BROKER => {
            check_broker(name)?;
            Ok(broker.settings.describe_broker(name.is_empty()))
        }
        other => Err(no_settings(other)),
    }
}

/// A broker resource is named by this broker's number, or by nothing for all brokers.
pub(crate) fn check_broker(name: &str) -> Result<(), Refused> {
    match name.is_empty() || name == NODE_ID.to_string() {
        true => Ok(()),
        false => {
            let message = format!("there is no broker `{name}`, only {NODE_ID}");
            Err(Refused::new(ResponseError::InvalidRequest, message))
        }
    }
}

/// The refusal of a kind of resource that has no settings here.
pub(crate) fn no_settings(kind: i8) -> Refused {
    let message = format!("the embedded broker has no settings for resources of type {kind}");
    Refused::new(ResponseError::InvalidRequest, message)
}

fn entry(
    context: &Context,
    setting: Described,
    include_synonyms: bool,
) -> DescribeConfigsResourceResult {
    let sensitive = setting.row.kind == Kind::Password;
    // A secret's value never leaves the broker.
    let shown = |value: String| (!sensitive).then(|| text(value));
    let synonyms = setting
        .synonyms
        .into_iter()
        .filter(|_| include_synonyms)
        .map(|(name, value, source)| {
            DescribeConfigsSynonym::default()
                .with_name(text(name))
                .with_value(shown(value))
                .with_source(source as i8)
        })
        .collect();
    let row = DescribeConfigsResourceResult::default()
        .with_name(text(setting.row.name))
        .with_value(setting.value.and_then(shown))
        .with_read_only(setting.read_only)
        .with_config_source(setting.source as i8)
        .with_is_sensitive(sensitive)
        .with_synonyms(synonyms);
    if context.version >= 3 { row.with_config_type(setting.row.kind as i8) } else { row }
}
