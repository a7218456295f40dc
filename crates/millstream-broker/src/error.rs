//! Why a broker does not start or does not go on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a broker does not start, or ended. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Another broker has the data directory.
    #[error(
        "the data directory {dir} is in use by another broker{holder}; \
         connect to that one, stop it, or give this one another --data-dir"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// ` (process 123 at 127.0.0.1:9092)`, or nothing if that is not known.
        holder: String,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; \
         choose another port with --listen, or port 0 to let the system pick one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Clients would be told to connect to no place at all.
    #[error(
        "clients cannot connect to {address}: \
         say with --advertise HOST:PORT under which name or address they reach this broker"
    )]
    Advertise {
        /// What they would be told.
        address: String,
    },
    /// A setting that does not exist, or a value that is not allowed.
    #[error("{0}")]
    Setting(String),
    /// Certificates, users or keys are missing or cannot be used; or two listeners are of a kind.
    #[error("{0}")]
    Security(String),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {dir}: {source}")]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no thread or no event loop.
    #[error("cannot run the broker: {0}")]
    Run(io::Error),
}
