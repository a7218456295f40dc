//! Which broker a command talks to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millstream_broker::{embedded, ensure_running};
use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Clients, Consumer, ConsumerConfig, ConsumerSettings, Error,
    KafkaError, Producer, Properties, TopicDescription, admin_properties, code,
    consumer_properties, producer_properties,
};

use crate::{CommandError, Program};

/// Options shared by all commands that talk to a broker.
#[derive(Args)]
#[command(next_help_heading = "Which broker")]
pub(crate) struct Connection {
    /// Address of a broker; without one it is the embedded broker [env: Quix__Broker__Address]
    #[arg(long, short = 'b', value_name = "HOST:PORT", conflicts_with = "data_dir")]
    broker: Option<String>,
    /// Data directory of the embedded broker, which is started if it is not running [env:
    /// MILLSTREAM_DATA_DIR] [default: .millstream]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A client setting by librdkafka's name, such as security.protocol=ssl; may be given several
    /// times. Passwords do not belong on a command line: see --settings-file
    #[arg(long = "setting", short = 'X', value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// A file of client settings, one KEY=VALUE per line, # begins a comment
    #[arg(long, value_name = "FILE")]
    settings_file: Option<PathBuf>,
    /// How long to wait for an answer of the broker
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Which broker is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Address(String),
    Embedded(PathBuf),
}

impl Target {
    /// What stands on the command line goes before the environment, so that an exported address
    /// does not stand in the way of `--data-dir`; an empty variable counts as not set.
    fn choose(
        broker: Option<String>,
        data_dir: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let address = match (broker, &data_dir) {
            (None, None) => environment(BROKER_VARIABLE).and_then(|text| text.into_string().ok()),
            (said, _) => said,
        };
        match address.filter(|address| !address.is_empty() && address != EMBEDDED) {
            Some(address) => Self::Address(address),
            None => Self::Embedded(data_dir_or(data_dir, environment)),
        }
    }
}

/// The variable with the address of the broker, as Quix Streams has it.
const BROKER_VARIABLE: &str = "Quix__Broker__Address";
/// What asks for the embedded broker where an address is wanted.
const EMBEDDED: &str = "embedded";

/// The data directory of the embedded broker: the one that was said, else the variable's, else
/// that of the current directory.
pub(crate) fn data_dir_or(
    said: Option<PathBuf>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> PathBuf {
    said.or_else(|| environment("MILLSTREAM_DATA_DIR").filter(|d| !d.is_empty()).map(Into::into))
        .unwrap_or_else(|| ".millstream".into())
}

/// A broker's address and the settings to reach it with.
pub(crate) struct Cluster {
    address: String,
    extra: Properties,
    pub(crate) timeout: Duration,
}

impl Connection {
    /// Settles on a broker; starts the embedded one if it is wanted and not running.
    pub(crate) fn open(self, program: &Program) -> Result<Cluster, CommandError> {
        let mut extra = Properties::new();
        if let Some(path) = &self.settings_file {
            for (key, value) in read_settings(path)? {
                extra.set(&key, value);
            }
        }
        for (key, value) in &self.settings {
            extra.set(key, value.as_str());
        }
        let address =
            match Target::choose(self.broker, self.data_dir, |name| std::env::var_os(name)) {
                Target::Address(address) => address,
                Target::Embedded(data_dir) => ensure_running(&data_dir, || {
                    let mut command = (program.again)();
                    command.arg("broker").args(embedded::options(&data_dir));
                    command
                })
                .map_err(|error| CommandError::Failed { what: error.to_string(), hint: None })?
                .to_string(),
            };
        Ok(Cluster { address, extra, timeout: Duration::from_secs(self.timeout) })
    }
}

fn read_settings(path: &std::path::Path) -> Result<Vec<(String, String)>, CommandError> {
    let wrong = |what: String| {
        CommandError::new(
            format!("{}: {what}", path.display()),
            "A settings file has one KEY=VALUE per line.",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| (index, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| setting(line).map_err(|e| wrong(format!("line {}: {e}", index + 1))))
        .collect()
}

impl Cluster {
    /// The address that is talked to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn admin(&self) -> Result<Box<dyn Admin>, CommandError> {
        let config = ClientConfig::new(admin_properties(&self.extra, &self.connection()));
        Clients.admin(&config).map_err(|error| self.explain(&error))
    }

    pub(crate) fn producer(&self) -> Result<Box<dyn Producer>, CommandError> {
        let config = ClientConfig::new(producer_properties(&self.extra, &self.connection()));
        Clients.producer(&config).map_err(|error| self.explain(&error))
    }

    /// A consumer of no group: a look at a topic leaves no trace in the cluster.
    pub(crate) fn consumer(&self) -> Result<Box<dyn Consumer>, CommandError> {
        let settings = ConsumerSettings::default();
        let properties = consumer_properties(&self.extra, &self.connection(), &settings);
        Clients
            .consumer(&ConsumerConfig::new(ClientConfig::new(properties)))
            .map_err(|error| self.explain(&error))
    }

    fn connection(&self) -> Properties {
        Properties::from([("bootstrap.servers", self.address.as_str())])
    }

    /// An error of the client, with what the user can do about it.
    pub(crate) fn explain(&self, error: &Error) -> CommandError {
        let what = error.to_string();
        let hint = match error {
            Error::TimedOut { .. } => Some(format!(
                "Is a broker running at {}? `millstream broker` starts one.",
                self.address
            )),
            error if error.is_topic_missing() => Some(
                "`millstream topics list` shows what is there, `millstream topics create NAME` \
                 makes a topic."
                    .to_owned(),
            ),
            Error::Config { .. } => {
                Some("Client settings have the names that librdkafka gives them.".to_owned())
            }
            Error::TopicNameTooLong { .. } => Some(NAMING_RULE.to_owned()),
            error => error.kafka().and_then(|error| self.advice(error)),
        };
        CommandError::Failed { what, hint }
    }

    fn advice(&self, error: &KafkaError) -> Option<String> {
        let address = &self.address;
        Some(match error.code {
            code::INVALID_TOPIC => NAMING_RULE.to_owned(),
            code::INVALID_REPLICATION_FACTOR => {
                format!("Give --replication-factor no more than there are brokers at {address}.")
            }
            code::ALL_BROKERS_DOWN => {
                format!("Is a broker running at {address}? `millstream broker` starts one.")
            }
            _ if error.is_authentication() => {
                "Check security.protocol and the credentials; --settings-file keeps them in a file."
                    .to_owned()
            }
            _ if error.is_authorization() => {
                "The credentials do not allow it; ask for the right, or use others.".to_owned()
            }
            _ => return None,
        })
    }

    /// The error for a partition that a topic does not have.
    pub(crate) fn no_partition(&self, topic: &TopicDescription, wanted: i32) -> CommandError {
        CommandError::new(
            format!("topic {:?} has no partition {wanted}", topic.name),
            format!("It has {} partition(s), numbered from 0.", topic.partitions.len()),
        )
    }

    /// A cluster that nobody asks anything of.
    #[cfg(test)]
    pub(crate) fn of_test(address: &str, timeout: Duration) -> Self {
        Self { address: address.to_owned(), extra: Properties::new(), timeout }
    }
}

/// Which names topics may have.
const NAMING_RULE: &str = "Kafka does not allow this name; use at most 249 letters (a-z, A-Z), \
     digits, '.', '_' and '-', and not '.' or '..' alone.";

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(broker: &str, data_dir: &str, environment: &[(&str, &str)]) -> Target {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Target::choose(some(broker), some(data_dir).map(PathBuf::from), |name| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn what_is_said_goes_before_the_environment() {
        const ADDRESS: (&str, &str) = ("Quix__Broker__Address", "kafka:9092");
        const DIR: (&str, &str) = ("MILLSTREAM_DATA_DIR", "/data");
        let address = |text: &str| Target::Address(text.to_owned());
        let embedded = |dir: &str| Target::Embedded(dir.into());
        assert_eq!(chosen("", "", &[]), embedded(".millstream"));
        assert_eq!(chosen("", "", &[DIR]), embedded("/data"));
        assert_eq!(chosen("", "", &[ADDRESS, DIR]), address("kafka:9092"));
        assert_eq!(chosen("b:1", "", &[ADDRESS, DIR]), address("b:1"));
        assert_eq!(chosen("", "here", &[ADDRESS, DIR]), embedded("here"));
        assert_eq!(chosen("embedded", "", &[ADDRESS, DIR]), embedded("/data"));
        assert_eq!(
            chosen("", "", &[("Quix__Broker__Address", "embedded")]),
            embedded(".millstream")
        );
        let empty = [("Quix__Broker__Address", ""), ("MILLSTREAM_DATA_DIR", "")];
        assert_eq!(chosen("", "", &empty), embedded(".millstream"));
    }
}
