//! `millstream broker`: the embedded broker as a program of its own.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_types::SystemClock;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::CommandError;
use crate::connection::data_dir_or;

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
    In another terminal, or from any Kafka client:\n  \
    millstream topics list --broker 127.0.0.1:9092"
)]
pub(crate) struct Arguments {
    /// Where topics and groups are kept; made if it is not there [env: MILLSTREAM_DATA_DIR]
    /// [default: .millstream]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one. Anything but loopback is open to the network
    /// without authentication
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_parser = listen)]
    listen: SocketAddr,
    /// Name or address that clients are told to connect to, if not the one listened on; needed with
    /// a wildcard such as 0.0.0.0. Port 0 stands for the one listened on
    #[arg(long, value_name = "HOST:PORT", value_parser = advertise)]
    advertise: Option<(String, u16)>,
    /// A broker setting by Kafka's name; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// End by itself when no client has been connected for that many seconds
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
}

/// A name, such as `localhost`, is looked up; of its addresses one of IPv4 is taken if there is one,
/// because that is what clients try.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("HOST:PORT is wanted: {error}"))?;
    let addresses: Vec<SocketAddr> = found.collect();
    let chosen = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    chosen.copied().ok_or_else(|| "that name has no address".to_owned())
}

fn advertise(text: &str) -> Result<(String, u16), String> {
    let wanted = "HOST:PORT is wanted";
    let (host, port) = text.rsplit_once(':').ok_or(wanted)?;
    let port = port.parse().map_err(|_| wanted)?;
    // Clients want an IPv6 address without its brackets.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(address) => Ok((address.to_owned(), port)),
        None if host.is_empty() || host.contains(':') => Err(wanted.to_owned()),
        None => Ok((host.to_owned(), port)),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(crate) fn run(arguments: Arguments) -> Result<(), CommandError> {
    if !arguments.listen.ip().is_loopback() {
        eprintln!(
            "warning: {} is reachable from the network, and the broker asks nobody for a password",
            arguments.listen
        );
    }
    let data_dir = data_dir_or(arguments.data_dir, |name| std::env::var_os(name));
    let mut config = BrokerConfig::new(&data_dir);
    config.listen = arguments.listen;
    config.advertised = arguments.advertise;
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
        broker.address(),
        data_dir.display()
    )
    .and_then(|()| out.flush())
    .map_err(CommandError::Output)?;
    broker.wait().map_err(|error| CommandError::Failed { what: error.to_string(), hint: None })
}

/// Ctrl-C and SIGTERM close the logs in order; a second one ends the process at once.
fn end_on_signal(broker: &BrokerHandle) -> Result<(), CommandError> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(|error| {
        CommandError::new(
            format!("cannot listen for signals: {error}"),
            "Raise the limit of open files with `ulimit -n`.",
        )
    })?;
    let stop = broker.stopper();
    #[expect(clippy::disallowed_methods, reason = "the outermost layer starts the thread")]
    std::thread::spawn(move || {
        let mut signals = signals.forever();
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
    use clap::{Args as _, Command, FromArgMatches};
    use millstream_broker::embedded;

    use super::*;

    #[test]
    fn the_options_of_the_embedded_broker_are_ours() {
        let options = embedded::options("some/where".as_ref());
        let matches = Arguments::augment_args(Command::new("broker").no_binary_name(true))
            .try_get_matches_from(options)
            .expect("they are understood");
        let arguments = Arguments::from_arg_matches(&matches).expect("they are understood");
        assert_eq!(arguments.data_dir, Some("some/where".into()));
        assert_eq!(arguments.listen, SocketAddr::from(([127, 0, 0, 1], 0)));
        assert_eq!(arguments.idle_exit.map(Duration::from_secs), Some(embedded::IDLE_EXIT));
    }

    #[test]
    fn addresses() {
        assert_eq!(listen("127.0.0.1:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(listen("localhost:9092").is_ok_and(|address| address.ip().is_loopback()));
        assert!(listen("9092").is_err_and(|error| error.contains("HOST:PORT")));
        assert_eq!(advertise("kafka.example:9092"), Ok(("kafka.example".into(), 9092)));
        assert_eq!(advertise("[::1]:0"), Ok(("::1".into(), 0)));
        for wrong in ["kafka.example", ":9092", "::1:9092", "host:port", "host:70000"] {
            assert!(advertise(wrong).is_err(), "{wrong}");
        }
    }
}
