//! Settings of topics, brokers and groups.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_request,
    incremental_alter_configs_request as incremental,
};

use super::Admin;
use super::answers::{Found, checked, text};
use super::call::{Answers, Deadline, Operation, Reply};
use super::route::Route;
use crate::error::{Error, KafkaError, code};

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker.
    Broker(i32),
    /// The default of all brokers (KIP-226).
    AllBrokers,
    /// A group (KIP-848).
    Group(String),
    /// A subscription to client metrics (KIP-714).
    ClientMetrics(String),
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => 2,
            Self::Broker(_) | Self::AllBrokers => 4,
            Self::ClientMetrics(_) => 16,
            Self::Group(_) => 32,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Topic(name) | Self::Group(name) | Self::ClientMetrics(name) => name.clone(),
            Self::Broker(id) => id.to_string(),
            Self::AllBrokers => String::new(),
        }
    }

    fn key(&self) -> (i8, String) {
        (self.kind(), self.name())
    }

    fn described(&self) -> String {
        match self {
            Self::Topic(name) => format!("topic {name:?}"),
            Self::Broker(id) => format!("broker {id}"),
            Self::AllBrokers => "all brokers".into(),
            Self::Group(name) => format!("group {name:?}"),
            Self::ClientMetrics(name) => format!("the client metrics {name:?}"),
        }
    }

    /// A broker answers for its own settings only.
    fn route(&self) -> Route {
        match self {
            Self::Broker(id) => Route::Node(*id),
            _ => Route::Any,
        }
    }
}

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set for this topic, group or subscription.
    Own,
    /// Set for this broker while it runs.
    Broker,
    /// Set for all brokers while they run.
    AllBrokers,
    /// In the broker's file.
    File,
    /// Kafka's own default.
    Default,
    /// One that this client does not know, by Kafka's number.
    Other(i8),
}

impl ConfigSource {
    fn of(code: i8) -> Self {
        match code {
            1 | 7 | 8 => Self::Own,
            2 => Self::Broker,
            3 => Self::AllBrokers,
            4 => Self::File,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its value; `None` if it has none or is secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether brokers keep the value to themselves.
    pub sensitive: bool,
}

/// Settings by name.
pub type ConfigEntries = BTreeMap<String, ConfigEntry>;

/// What to do with a setting (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets it.
    Set(String),
    /// Puts it back to its default.
    Reset,
    /// Adds to a list.
    Append(String),
    /// Takes out of a list.
    Subtract(String),
}

/// Changes of one resource's settings by name.
type Changes = (ConfigResource, BTreeMap<String, ConfigChange>);

struct DescribeConfigs;

impl Operation for DescribeConfigs {
    type Request = DescribeConfigsRequest;
    type Item = ConfigResource;
    type Answer = ConfigEntries;
    const VERSIONS: (i16, i16) = (1, 4);

    fn route(&self, resource: &ConfigResource) -> Route {
        resource.route()
    }

    fn action(&self, resource: &ConfigResource) -> String {
        format!("read the settings of {}", resource.described())
    }

    fn request(&self, resources: &[&ConfigResource], _: i16, _: i32) -> DescribeConfigsRequest {
        let resource = |resource: &&ConfigResource| {
            DescribeConfigsResource::default()
                .with_resource_type(resource.kind())
                .with_resource_name(text(&resource.name()))
                .with_configuration_keys(None)
        };
        DescribeConfigsRequest::default().with_resources(resources.iter().map(resource).collect())
    }

    fn throttle_ms(response: &DescribeConfigsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        resources: &[&ConfigResource],
        response: DescribeConfigsResponse,
        _: Reply,
    ) -> Answers<ConfigEntries> {
        let found: Found<(i8, String), ConfigEntries> = response
            .results
            .into_iter()
            .map(|result| {
                let entries = result.configs.into_iter().map(entry).collect();
                let answer = checked(result.error_code, result.error_message.as_deref(), entries);
                ((result.resource_type, result.resource_name.to_string()), answer)
            })
            .collect();
        Ok(found.in_order(resources.iter().map(|resource| resource.key())))
    }
}

fn entry(config: DescribeConfigsResourceResult) -> (String, ConfigEntry) {
    let entry = ConfigEntry {
        value: config.value.filter(|_| !config.is_sensitive).map(|value| value.to_string()),
        source: ConfigSource::of(config.config_source),
        read_only: config.read_only,
        sensitive: config.is_sensitive,
    };
    (config.name.to_string(), entry)
}

fn change_action((resource, _): &Changes) -> String {
    format!("change the settings of {}", resource.described())
}

struct IncrementalAlterConfigs;

impl Operation for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;
    type Item = Changes;
    type Answer = ();
    const VERSIONS: (i16, i16) = (0, 1);

    fn route(&self, (resource, _): &Changes) -> Route {
        resource.route()
    }

    fn action(&self, changes: &Changes) -> String {
        change_action(changes)
    }

    fn request(&self, items: &[&Changes], _: i16, _: i32) -> IncrementalAlterConfigsRequest {
        let change = |(name, change): (&String, &ConfigChange)| {
            let (operation, value) = match change {
                ConfigChange::Set(value) => (0, Some(value)),
                ConfigChange::Reset => (1, None),
                ConfigChange::Append(value) => (2, Some(value)),
                ConfigChange::Subtract(value) => (3, Some(value)),
            };
            incremental::AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(operation)
                .with_value(value.map(|value| text(value)))
        };
        let resource = |(resource, changes): &&Changes| {
            incremental::AlterConfigsResource::default()
                .with_resource_type(resource.kind())
                .with_resource_name(text(&resource.name()))
                .with_configs(changes.iter().map(change).collect())
        };
        IncrementalAlterConfigsRequest::default()
            .with_resources(items.iter().map(resource).collect())
            .with_validate_only(false)
    }

    fn throttle_ms(response: &IncrementalAlterConfigsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        items: &[&Changes],
        response: IncrementalAlterConfigsResponse,
        _: Reply,
    ) -> Answers<()> {
        let found: Found<(i8, String), ()> = response
            .responses
            .into_iter()
            .map(|result| {
                let answer = checked(result.error_code, result.error_message.as_deref(), ());
                ((result.resource_type, result.resource_name.to_string()), answer)
            })
            .collect();
        Ok(found.in_order(items.iter().map(|(resource, _)| resource.key())))
    }
}

/// All of a resource's own settings, which replace what it has.
type Whole = (ConfigResource, BTreeMap<String, String>);

struct AlterConfigs;

impl Operation for AlterConfigs {
    type Request = AlterConfigsRequest;
    type Item = Whole;
    type Answer = ();
    const VERSIONS: (i16, i16) = (0, 2);

    fn route(&self, (resource, _): &Whole) -> Route {
        resource.route()
    }

    fn action(&self, (resource, _): &Whole) -> String {
        format!("change the settings of {}", resource.described())
    }

    fn request(&self, items: &[&Whole], _: i16, _: i32) -> AlterConfigsRequest {
        let resource = |(resource, settings): &&Whole| {
            let settings = settings.iter().map(|(name, value)| {
                alter_configs_request::AlterableConfig::default()
                    .with_name(text(name))
                    .with_value(Some(text(value)))
            });
            alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(resource.kind())
                .with_resource_name(text(&resource.name()))
                .with_configs(settings.collect())
        };
        AlterConfigsRequest::default()
            .with_resources(items.iter().map(resource).collect())
            .with_validate_only(false)
    }

    fn throttle_ms(response: &AlterConfigsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(&self, items: &[&Whole], response: AlterConfigsResponse, _: Reply) -> Answers<()> {
        let found: Found<(i8, String), ()> = response
            .responses
            .into_iter()
            .map(|result| {
                let answer = checked(result.error_code, result.error_message.as_deref(), ());
                ((result.resource_type, result.resource_name.to_string()), answer)
            })
            .collect();
        Ok(found.in_order(items.iter().map(|(resource, _)| resource.key())))
    }
}

impl Admin {
    /// All settings of these resources, defaults included.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_configs(
        &mut self,
        resources: &[ConfigResource],
        timeout: Duration,
    ) -> Result<Vec<Result<ConfigEntries, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DescribeConfigs, resources.to_vec(), deadline)
    }

    /// Changes settings; those that are not named stay as they are. A broker that has no request
    /// for that (before Kafka 2.3, or one that is only like Kafka) is told all settings anew, which
    /// loses a change that someone else makes at the same moment.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn alter_configs(
        &mut self,
        changes: &[(ConfigResource, BTreeMap<String, ConfigChange>)],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        let mut answers = self.call(IncrementalAlterConfigs, changes.to_vec(), deadline)?;
        for (answer, changes) in answers.iter_mut().zip(changes) {
            let unknown = matches!(
                answer,
                Err(Error::Kafka { error, .. }) if error.code == code::UNSUPPORTED_FEATURE
            );
            if unknown {
                *answer = self.replace_configs(changes, deadline);
            }
        }
        Ok(answers)
    }

    /// Reads a resource's own settings, changes them, and writes all of them.
    fn replace_configs(&mut self, changes: &Changes, deadline: Deadline) -> Result<(), Error> {
        let (resource, wanted) = changes;
        let refused = |text: &str| {
            let error = KafkaError::with(code::UNSUPPORTED_FEATURE, Some(text));
            Error::kafka(change_action(changes), error)
        };
        let entries = self.call_one(DescribeConfigs, resource.clone(), deadline)?;
        let mut whole = BTreeMap::new();
        for (name, entry) in entries {
            let own = match resource {
                ConfigResource::Broker(_) => entry.source == ConfigSource::Broker,
                ConfigResource::AllBrokers => entry.source == ConfigSource::AllBrokers,
                _ => entry.source == ConfigSource::Own,
            };
            match entry.value {
                Some(value) if own => drop(whole.insert(name, value)),
                None if own && entry.sensitive && !wanted.contains_key(&name) => {
                    return Err(refused(
                        "the broker is too old to change single settings, and a secret one among the others would be lost",
                    ));
                }
                _ => {}
            }
        }
        for (name, change) in wanted {
            match change {
                ConfigChange::Set(value) => drop(whole.insert(name.clone(), value.clone())),
                ConfigChange::Reset => drop(whole.remove(name)),
                ConfigChange::Append(_) | ConfigChange::Subtract(_) => {
                    return Err(refused("the broker is too old to change single items of a list"));
                }
            }
        }
        self.call_one(AlterConfigs, (resource.clone(), whole), deadline)
    }
}
