//! How a broker is started.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::security::{Listener, SecurityConfig, SecurityProtocol};

/// How a broker is started. The defaults listen on loopback only, on a port that the system
/// picks.
///
/// ```
/// use millstream_broker::BrokerConfig;
/// let config = BrokerConfig::new("/tmp/data").setting("num.partitions", "3");
/// assert!(config.listeners[0].address.ip().is_loopback());
/// ```
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Folder for everything the broker keeps. One broker at a time may use it.
    pub data_dir: PathBuf,
    /// Where to listen, and how each is secured; by default one PLAINTEXT on loopback. Clients of
    /// a listener are told its own address.
    pub listeners: Vec<Listener>,
    /// Certificates, users and rights; by default none.
    pub security: SecurityConfig,
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
            listeners: vec![Listener::new(
                SecurityProtocol::Plaintext,
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            )],
            security: SecurityConfig::default(),
            settings: BTreeMap::new(),
            idle_exit: None,
        }
    }

    /// Listens on that address, PLAINTEXT, and nowhere else.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listeners = vec![Listener::new(SecurityProtocol::Plaintext, address)];
        self
    }

    /// Listens at that listener, too.
    #[must_use]
    pub fn and_listen(mut self, protocol: SecurityProtocol, address: SocketAddr) -> Self {
        self.listeners.push(Listener::new(protocol, address));
        self
    }

    /// Tells clients of the last listener to connect to that host and port; see
    /// [`Listener::advertised`].
    #[must_use]
    pub fn advertise(mut self, host: &str, port: u16) -> Self {
        if let Some(listener) = self.listeners.last_mut() {
            listener.advertised = Some((host.to_owned(), port));
        }
        self
    }

    /// Secures it; see [`SecurityConfig`].
    #[must_use]
    pub fn security(mut self, security: SecurityConfig) -> Self {
        self.security = security;
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
