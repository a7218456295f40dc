//! `millstream broker`: the embedded broker as a program of its own.

mod listeners;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use millstream_broker::{BrokerConfig, BrokerHandle, SecurityConfig, TlsFiles};
use millstream_types::SystemClock;
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};

use crate::CommandError;
use crate::connection::data_dir_or;
use listeners::{Advertise, Listen};

/// Run the embedded broker: one durable node that speaks the Kafka protocol.
#[derive(Args)]
#[command(
    after_help = "The broker prints its address when it is ready and serves until Ctrl-C or SIGTERM.\n\
    An acknowledged record survives a crash of the process; to survive a power loss as well, set\n\
    log.flush.interval.messages=1 (slower).\n\n\
    Examples:\n  \
    millstream broker\n  \
    millstream broker --data-dir ./kafka-data --listen 127.0.0.1:9092\n  \
    millstream broker --listen 127.0.0.1:0 --set auto.create.topics.enable=true\n  \
    millstream broker --listen 0.0.0.0:9092 --advertise kafka.example:9092\n\n\
    \
    Users, encryption and rights (clients choose with security.protocol and sasl.mechanism):\n  \
    (umask 077; echo 'ann:her password' > users.txt)\n  \
    millstream broker --listen SASL_PLAINTEXT://127.0.0.1:9092 --users users.txt\n  \
    millstream broker --listen SSL://127.0.0.1:9093 --tls-cert own.pem --tls-key own.key\n\n\
    In another terminal, or from any Kafka client:\n  \
    millstream topics list --broker 127.0.0.1:9092"
)]
pub(crate) struct Arguments {
    /// Where topics and groups are kept; made if it is not there [env: MILLSTREAM_DATA_DIR]
    /// [default: .millstream]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one. PROTOCOL is PLAINTEXT (the default), SSL,
    /// SASL_PLAINTEXT or SASL_SSL; may be given once for each. PLAINTEXT anywhere but on loopback
    /// is open to the network without authentication
    #[arg(
        long,
        value_name = "[PROTOCOL://]HOST:PORT",
        default_value = "127.0.0.1:9092",
        value_parser = listeners::listen
    )]
    listen: Vec<Listen>,
    /// Name or address that clients are told to connect to, if not the one listened on; needed with
    /// a wildcard such as 0.0.0.0. Port 0 stands for the one listened on. With several listeners,
    /// PROTOCOL says which one is meant
    #[arg(long, value_name = "[PROTOCOL://]HOST:PORT", value_parser = listeners::advertise)]
    advertise: Vec<Advertise>,
    /// A broker setting by Kafka's name; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// End by itself when no client has been connected for that many seconds
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
    #[command(flatten)]
    security: Security,
}

#[derive(Args)]
#[command(next_help_heading = "Encryption, users and rights")]
struct Security {
    /// Certificate of the broker for SSL and SASL_SSL, then those that lead to its authority; PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key; PEM, not encrypted, readable by nobody else
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authorities that sign clients' certificates; PEM. On an SSL listener a client is then known
    /// as User:SUBJECT, such as User:CN=ann,O=Example
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Take clients without a certificate, too, as User:ANONYMOUS
    #[arg(long, requires = "tls_client_ca")]
    tls_client_optional: bool,
    /// Users who may log in at a SASL listener by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512: one
    /// NAME:PASSWORD a line, or NAME:SCRAM-SHA-256=[salt=..,stored_key=..,server_key=..,
    /// iterations=..]; # begins a comment. Make it readable by nobody else
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Keys that sign tokens for OAUTHBEARER (RS256, ES256): a JWKS, or public keys in PEM
    #[arg(long, value_name = "FILE")]
    oauth_keys: Option<PathBuf>,
    /// Take tokens for OAUTHBEARER that nobody has signed: everybody can be anybody
    #[arg(long, conflicts_with = "oauth_keys")]
    oauth_unsecured_for_tests: bool,
    /// Refuse what no access control list grants; see Kafka's tool kafka-acls
    #[arg(long)]
    acl: bool,
    /// Who may do everything, and give rights to others; may be given several times
    #[arg(long = "super-user", value_name = "User:NAME")]
    super_users: Vec<String>,
}

impl Security {
    fn config(self) -> SecurityConfig {
        let tls = self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles {
            certificate,
            key,
            client_ca: self.tls_client_ca,
            client_required: !self.tls_client_optional,
        });
        SecurityConfig {
            tls,
            users: self.users,
            oauth_keys: self.oauth_keys,
            oauth_unsecured: self.oauth_unsecured_for_tests,
            acl: self.acl,
            super_users: self.super_users,
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn run(arguments: Arguments) -> Result<(), CommandError> {
    let security = arguments.security.config();
    let listeners = listeners::listeners(arguments.listen, arguments.advertise)?;
    listeners::warnings(&listeners, &security).iter().for_each(|text| eprintln!("warning: {text}"));
    let data_dir = data_dir_or(arguments.data_dir, |name| std::env::var_os(name));
    let mut config = BrokerConfig::new(&data_dir);
    config.listeners = listeners.clone();
    config.security = security;
    config.settings = arguments.settings.into_iter().collect();
    config.idle_exit = arguments.idle_exit.map(Duration::from_secs);
    let broker = BrokerHandle::start(config, Arc::new(SystemClock))
        .map_err(|error| CommandError::Failed { what: error.to_string(), hint: None })?;
    // Before the address is told: whoever reads it may send a signal.
    end_on_signal(&broker)?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "millstream broker listening on {} (data in {})",
        listeners::shown(&listeners, broker.addresses()),
        data_dir.display()
    )
    .and_then(|()| out.flush())
    .map_err(CommandError::Output)?;
    broker.wait().map_err(|error| CommandError::Failed { what: error.to_string(), hint: None })
}

/// Ctrl-C and SIGTERM close the logs in order; a second one ends the process at once. A client that
/// leaves must not end it: `sendfile` raises SIGPIPE then, which `python -m millstream` leaves to the
/// system's default.
fn end_on_signal(broker: &BrokerHandle) -> Result<(), CommandError> {
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGPIPE]).map_err(|error| {
            CommandError::new(
                format!("cannot listen for signals: {error}"),
                "Raise the limit of open files with `ulimit -n`.",
            )
        })?;
    let stop = broker.stopper();
    #[expect(clippy::disallowed_methods, reason = "the outermost layer starts the thread")]
    std::thread::spawn(move || {
        let mut signals = signals.forever().filter(|signal| *signal != SIGPIPE);
        if signals.next().is_some() {
            stop.shutdown();
        }
        if signals.next().is_some() {
            std::process::exit(130);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use clap::{Args as _, Command, FromArgMatches};
    use millstream_broker::{SecurityProtocol, embedded};

    use super::*;

    #[test]
    fn the_options_of_the_embedded_broker_are_ours() {
        let options = embedded::options("some/where".as_ref());
        let matches = Arguments::augment_args(Command::new("broker").no_binary_name(true))
            .try_get_matches_from(options)
            .expect("they are understood");
        let arguments = Arguments::from_arg_matches(&matches).expect("they are understood");
        assert_eq!(arguments.data_dir, Some("some/where".into()));
        let listeners = listeners::listeners(arguments.listen, arguments.advertise).unwrap();
        assert_eq!(listeners[0].address, SocketAddr::from(([127, 0, 0, 1], 0)));
        assert_eq!((listeners.len(), listeners[0].protocol), (1, SecurityProtocol::Plaintext));
        assert_eq!(arguments.idle_exit.map(Duration::from_secs), Some(embedded::IDLE_EXIT));
    }

    #[test]
    fn options_that_need_each_other() {
        let parse = |options: &[&str]| {
            Arguments::augment_args(Command::new("broker").no_binary_name(true))
                .try_get_matches_from(options)
                .map_err(|error| error.to_string())
        };
        for (options, expected) in [
            (&["--tls-cert", "a"][..], "--tls-key"),
            (&["--tls-key", "a"], "--tls-cert"),
            (&["--tls-client-ca", "a"], "--tls-cert"),
            (&["--oauth-keys", "a", "--oauth-unsecured-for-tests"], "--oauth-unsecured-for-tests"),
            (&["--listen", "KERBEROS://127.0.0.1:1"], "SASL_SSL"),
        ] {
            let error = parse(options).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let matches = parse(&["--tls-cert", "a", "--tls-key", "b", "--acl", "--users", "c"]);
        let arguments = Arguments::from_arg_matches(&matches.unwrap()).unwrap();
        let config = arguments.security.config();
        assert!(config.acl && config.tls.is_some_and(|tls| tls.client_required));
        assert_eq!(config.users, Some("c".into()));
    }
}
