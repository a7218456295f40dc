//! How a broker is started.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a broker is started. The defaults listen on loopback only, on a port that the system
/// picks.
///
/// ```
/// use millstream_broker::BrokerConfig;
/// let config = BrokerConfig::new("/tmp/data").setting("num.partitions", "3");
/// assert!(config.listen.ip().is_loopback());
/// ```
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Folder for everything the broker keeps. One broker at a time may use it.
    pub data_dir: PathBuf,
    /// Address to listen on; port 0 lets the system pick one.
    pub listen: SocketAddr,
    /// Host and port that clients are told to connect to, if not the one listened on (port 0
    /// stands for that one's). Needed if that is a wildcard such as 0.0.0.0.
    pub advertised: Option<(String, u16)>,
    /// Broker settings by Kafka's names, such as `log.retention.ms`.
    pub settings: BTreeMap<String, String>,
    /// Ends the broker when nobody has been connected for so long.
    pub idle_exit: Option<Duration>,
}

impl BrokerConfig {
    /// Keeps its data in `data_dir`; all else as documented at the fields.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised: None,
            settings: BTreeMap::new(),
            idle_exit: None,
        }
    }

    /// Listens on that address.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Tells clients to connect to that host and port; see [`advertised`](Self::advertised).
    #[must_use]
    pub fn advertise(mut self, host: &str, port: u16) -> Self {
        self.advertised = Some((host.to_owned(), port));
        self
    }

    /// Sets a broker setting; names and values are checked at the start.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Ends the broker when nobody has been connected for so long.
    #[must_use]
    pub fn idle_exit(mut self, after: Duration) -> Self {
        self.idle_exit = Some(after);
        self
    }
}
