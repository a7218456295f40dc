//! A broker on a thread of its own.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use millstream_types::Clock;

use crate::broker::{Broker, SECURITY_DIR};
use crate::config::BrokerConfig;
use crate::disk::StdDisk;
use crate::embedded::DataDirLock;
use crate::error::BrokerError;
use crate::random::SystemRandom;
use crate::security::{self, Listener, SecurityProtocol};
use crate::server::{self, Control};
use crate::settings::Settings;

/// A running broker. Dropping it stops the broker and waits for its end.
#[derive(Debug)]
pub struct BrokerHandle {
    addresses: Vec<SocketAddr>,
    control: Arc<Control>,
    thread: Option<JoinHandle<Result<(), BrokerError>>>,
}

impl BrokerHandle {
    /// Starts a broker: locks its data directory, listens, recovers the logs, and serves on a
    /// thread of its own. When this returns, clients can connect, and the address stands in the
    /// data directory for [`ensure_running`](crate::ensure_running).
    ///
    /// The process must ignore or catch SIGPIPE, as Rust programs do unless told otherwise: on Linux
    /// a client that leaves in the middle of an answer raises it.
    ///
    /// # Errors
    /// [`BrokerError`]: the directory is in use, the port is taken, a setting is wrong, the disk
    /// fails.
    pub fn start(config: BrokerConfig, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        let settings = Settings::new(&config.settings).map_err(BrokerError::Setting)?;
        check_listeners(&config.listeners)?;
        let mut random = SystemRandom::default();
        let (security, listeners) = (&config.security, &config.listeners);
        let secrets =
            security::load(security, listeners, &settings, Arc::clone(&clock), &mut random)?;
        let tls = secrets.tls.clone();
        let lock = DataDirLock::acquire(&config.data_dir)?;
        let mut sockets = Vec::with_capacity(listeners.len());
        let mut addresses = Vec::with_capacity(listeners.len());
        let mut last = lock.last_address();
        // The one that is published, for programs on this machine: they speak PLAINTEXT.
        let is_plain = |listener: &Listener| listener.protocol == SecurityProtocol::Plaintext;
        let local = listeners.iter().position(is_plain).unwrap_or(0);
        for listener in listeners {
            let failed = |source| BrokerError::Listen { address: listener.address, source };
            let again = if addresses.len() == local { last.take() } else { None };
            let socket = listen(listener.address, again).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            sockets.push((listener.protocol, socket));
        }
        let data_dir_error = |source| BrokerError::DataDir { dir: config.data_dir.clone(), source };
        if security.keeps_something() {
            make_private(&config.data_dir.join(SECURITY_DIR)).map_err(data_dir_error)?;
        }
        let mut broker = Broker::open(
            &config,
            &addresses,
            Arc::new(StdDisk::default()),
            clock,
            Box::new(random),
            &boot_id(),
        )
        .map_err(data_dir_error)?;
        broker.secure(secrets);
        lock.publish(addresses[local]).map_err(data_dir_error)?;
        let control = Arc::new(Control::default());
        let (shared, idle_exit, dir) =
            (Arc::clone(&control), config.idle_exit, config.data_dir.clone());
        let thread = std::thread::Builder::new()
            .name("millstream-broker".into())
            .spawn(move || {
                let outcome = server::run(broker, sockets, tls, shared, idle_exit);
                // Only now may another broker take the directory.
                drop(lock);
                outcome.map_err(|source| BrokerError::DataDir { dir, source })
            })
            .map_err(BrokerError::Run)?;
        Ok(Self { addresses, control, thread: Some(thread) })
    }

    /// The address it listens on; the first listener's, if there are several.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses it listens on, in the order of [`BrokerConfig::listeners`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Open connections at the moment.
    pub fn connections(&self) -> usize {
        self.control.connections.load(Ordering::Relaxed)
    }

    /// Whether it has ended, by itself or because it was asked to.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks it to end: connections are closed, everything is made durable. Does not wait.
    pub fn shutdown(&self) {
        self.control.stop.notify_one();
    }

    /// A way to ask it to end from another thread, such as one that listens for signals.
    pub fn stopper(&self) -> BrokerStopper {
        BrokerStopper(Arc::clone(&self.control))
    }

    /// Waits until it has ended, which it does after [`shutdown`](Self::shutdown) or when idle
    /// for long enough.
    ///
    /// # Errors
    /// [`BrokerError::DataDir`] if the disk failed at the end; [`BrokerError::Run`] if the
    /// broker's thread panicked.
    pub fn wait(mut self) -> Result<(), BrokerError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), BrokerError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| {
            Err(BrokerError::Run(std::io::Error::other("the broker's thread panicked")))
        })
    }
}

/// Asks a broker to end; see [`BrokerHandle::stopper`].
#[derive(Clone, Debug)]
pub struct BrokerStopper(Arc<Control>);

impl BrokerStopper {
    /// Like [`BrokerHandle::shutdown`].
    pub fn shutdown(&self) {
        self.0.stop.notify_one();
    }
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.shutdown();
        if let Err(error) = self.join() {
            tracing::error!(%error, "the broker did not end well");
        }
    }
}

/// Listens. Where any port will do, that of a broker which was killed here is tried first: its
/// clients go on connecting to it.
fn listen(address: SocketAddr, last: Option<SocketAddr>) -> std::io::Result<TcpListener> {
    let again = last.filter(|last| address.port() == 0 && last.ip() == address.ip());
    match again.map(TcpListener::bind) {
        Some(Ok(listener)) => Ok(listener),
        _ => TcpListener::bind(address),
    }
}

/// Clients connect to what they are told at the first connection; a wildcard leads each of them to
/// its own machine, or nowhere. Kafka names listeners by their protocol, so there is one of each.
fn check_listeners(listeners: &[Listener]) -> Result<(), BrokerError> {
    let mut seen = HashSet::new();
    if let Some(again) = listeners.iter().find(|listener| !seen.insert(listener.protocol)) {
        let text = format!(
            "there are two listeners for {}; a broker has one of each security protocol",
            again.protocol
        );
        return Err(BrokerError::Security(text));
    }
    if listeners.is_empty() {
        return Err(BrokerError::Security("a broker needs a listener: see --listen".to_owned()));
    }
    listeners.iter().try_for_each(check_advertised)
}

fn check_advertised(listener: &Listener) -> Result<(), BrokerError> {
    let leads_nowhere = |host: &str| {
        host.is_empty() || host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
    };
    let (host, address) = match &listener.advertised {
        Some((host, port)) => (host.clone(), format!("{host}:{port}")),
        None => (listener.address.ip().to_string(), listener.address.to_string()),
    };
    if leads_nowhere(&host) { Err(BrokerError::Advertise { address }) } else { Ok(()) }
}

/// Makes a folder that only its owner can look into.
fn make_private(dir: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// What tells one run of the machine from the next; empty where the system does not say, which
/// makes a start after a crash check everything.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}
