//! A broker on a thread of its own.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use millstream_types::Clock;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::disk::StdDisk;
use crate::embedded::DataDirLock;
use crate::error::BrokerError;
use crate::random::SystemRandom;
use crate::server::{self, Control};
use crate::settings::Settings;

/// A running broker. Dropping it stops the broker and waits for its end.
#[derive(Debug)]
pub struct BrokerHandle {
    address: SocketAddr,
    control: Arc<Control>,
    thread: Option<JoinHandle<Result<(), BrokerError>>>,
}

impl BrokerHandle {
    /// Starts a broker: locks its data directory, listens, recovers the logs, and serves on a
    /// thread of its own. When this returns, clients can connect, and the address stands in the
    /// data directory for [`ensure_running`](crate::ensure_running).
    ///
    /// # Errors
    /// [`BrokerError`]: the directory is in use, the port is taken, a setting is wrong, the disk
    /// fails.
    pub fn start(config: BrokerConfig, clock: Arc<dyn Clock>) -> Result<Self, BrokerError> {
        Settings::new(&config.settings).map_err(BrokerError::Setting)?;
        check_advertised(&config)?;
        let lock = DataDirLock::acquire(&config.data_dir)?;
        let listen_error = |source| BrokerError::Listen { address: config.listen, source };
        let listener = listen(&config, lock.last_address()).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let data_dir_error = |source| BrokerError::DataDir { dir: config.data_dir.clone(), source };
        let broker = Broker::open(
            &config,
            address,
            Arc::new(StdDisk::default()),
            clock,
            Box::new(SystemRandom::default()),
            &boot_id(),
        )
        .map_err(data_dir_error)?;
        lock.publish(address).map_err(data_dir_error)?;
        let control = Arc::new(Control::default());
        let (shared, idle_exit, dir) =
            (Arc::clone(&control), config.idle_exit, config.data_dir.clone());
        let thread = std::thread::Builder::new()
            .name("millstream-broker".into())
            .spawn(move || {
                let outcome = server::run(broker, listener, shared, idle_exit);
                // Only now may another broker take the directory.
                drop(lock);
                outcome.map_err(|source| BrokerError::DataDir { dir, source })
            })
            .map_err(BrokerError::Run)?;
        Ok(Self { address, control, thread: Some(thread) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
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
fn listen(config: &BrokerConfig, last: Option<SocketAddr>) -> std::io::Result<TcpListener> {
    let again = last.filter(|last| config.listen.port() == 0 && last.ip() == config.listen.ip());
    match again.map(TcpListener::bind) {
        Some(Ok(listener)) => Ok(listener),
        _ => TcpListener::bind(config.listen),
    }
}

/// Clients connect to what they are told at the first connection; a wildcard leads each of them to
/// its own machine, or nowhere.
fn check_advertised(config: &BrokerConfig) -> Result<(), BrokerError> {
    let leads_nowhere = |host: &str| {
        host.is_empty() || host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
    };
    let (host, address) = match &config.advertised {
        Some((host, port)) => (host.clone(), format!("{host}:{port}")),
        None => (config.listen.ip().to_string(), config.listen.to_string()),
    };
    if leads_nowhere(&host) { Err(BrokerError::Advertise { address }) } else { Ok(()) }
}

/// What tells one run of the machine from the next; empty where the system does not say, which
/// makes a start after a crash check everything.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}
