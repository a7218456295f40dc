//! Which broker a command talks to.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Consumer, ConsumerConfig, ConsumerSettings, Error,
    Librdkafka, Producer, Properties, admin_properties, consumer_properties, producer_properties,
};

use crate::{CommandError, Program};

/// Options shared by all commands that talk to a broker.
#[derive(Args)]
pub(crate) struct Connection {
    /// Broker address; without it the embedded broker of this directory is used
    #[arg(
        long,
        short = 'b',
        value_name = "HOST:PORT",
        env = "Quix__Broker__Address",
        hide_env_values = true
    )]
    broker: Option<String>,
    /// Data directory of the embedded broker
    #[arg(long, value_name = "DIR", default_value = ".millstream", conflicts_with = "broker")]
    data_dir: PathBuf,
    /// A client setting by librdkafka's name, such as security.protocol=ssl; may be given several
    /// times. Passwords are better kept in a file: see --settings-file
    #[arg(long = "setting", short = 'X', value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// A file of client settings, one KEY=VALUE per line, # begins a comment
    #[arg(long, value_name = "FILE")]
    settings_file: Option<PathBuf>,
    /// How long to wait for the broker's answers
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
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
        let address = match self.broker.filter(|address| !address.is_empty()) {
            Some(address) => address,
            None => millstream_broker::ensure_running(&self.data_dir, || {
                let mut command = (program.again)();
                command.args(embedded_arguments(&self.data_dir));
                command
            })
            .map_err(|error| CommandError::Failed { what: error.to_string(), hint: None })?
            .to_string(),
        };
        Ok(Cluster { address, extra, timeout: Duration::from_secs(self.timeout) })
    }
}

/// How long the embedded broker outlives its last client.
const IDLE_EXIT: &str = "60";

/// The command line of an embedded broker: a free port of loopback, found through the data
/// directory, and gone by itself.
fn embedded_arguments(data_dir: &std::path::Path) -> [std::ffi::OsString; 7] {
    [
        "broker".into(),
        "--data-dir".into(),
        data_dir.into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--idle-exit".into(),
        IDLE_EXIT.into(),
    ]
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
        Librdkafka.admin(&config).map_err(|error| self.explain(&error))
    }

    pub(crate) fn producer(&self) -> Result<Box<dyn Producer>, CommandError> {
        let config = ClientConfig::new(producer_properties(&self.extra, &self.connection()));
        Librdkafka.producer(&config).map_err(|error| self.explain(&error))
    }

    /// A consumer of no group: a look at a topic leaves no trace in the cluster.
    pub(crate) fn consumer(&self) -> Result<Box<dyn Consumer>, CommandError> {
        let settings = ConsumerSettings::default();
        let properties = consumer_properties(&self.extra, &self.connection(), &settings);
        Librdkafka
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
            _ => None,
        };
        CommandError::Failed { what, hint }
    }
}
