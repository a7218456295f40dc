//! The files by which a broker is found: who holds the directory, and at which address.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_types::{Clock, SystemClock};
use rustix::fs::{FlockOperation, flock};

use crate::error::BrokerError;

/// The file that a broker locks.
pub(super) const BROKER_LOCK: &str = "broker.lock";
const ADDRESS: &str = "broker.address";
/// An application that looks whether the lock is held holds it for a moment itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// A locked file. The lock ends with this value, or with the process.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing alone would not do while another thread is starting a process: the copy of the
        // handle that the new process has until its exec would keep the lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl LockFile {
    /// Takes the lock; `None` if somebody else has it.
    pub(super) fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether somebody has the lock.
    pub(super) fn is_held(path: &Path) -> io::Result<bool> {
        Ok(Self::try_acquire(path)?.is_none())
    }
}

/// A broker's hold on its data directory.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    dir: PathBuf,
    /// Where a broker that was killed has listened.
    last_address: Option<SocketAddr>,
    _lock: LockFile,
}

impl DataDirLock {
    /// Takes the directory.
    ///
    /// # Errors
    /// [`BrokerError::Locked`] if another broker has it, [`BrokerError::DataDir`].
    pub(crate) fn acquire(dir: &Path) -> Result<Self, BrokerError> {
        let failed = |source| BrokerError::DataDir { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let until = SystemClock.monotonic() + PATIENCE;
        loop {
            if let Some(lock) = LockFile::try_acquire(&dir.join(BROKER_LOCK)).map_err(failed)? {
                // A leftover of a broker that was killed.
                let last_address = published(dir);
                let _ = fs::remove_file(dir.join(ADDRESS));
                return Ok(Self { dir: dir.to_owned(), last_address, _lock: lock });
            }
            if SystemClock.monotonic() >= until {
                return Err(BrokerError::Locked { dir: dir.to_owned(), holder: holder(dir) });
            }
            super::pause();
        }
    }

    /// Where a broker that was killed has listened: its clients look for it there.
    pub(crate) fn last_address(&self) -> Option<SocketAddr> {
        self.last_address
    }

    /// Lets others find the broker: the file is there whole or not at all.
    pub(crate) fn publish(&self, address: SocketAddr) -> io::Result<()> {
        let new = self.dir.join("broker.address.new");
        fs::write(&new, format!("{address}\n{}\n", std::process::id()))?;
        fs::rename(new, self.dir.join(ADDRESS))
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // While the lock is still held, so that no other broker's file can be hit.
        let _ = fs::remove_file(self.dir.join(ADDRESS));
    }
}

/// What stands in the address file.
fn published(dir: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(dir.join(ADDRESS)).ok()?;
    text.lines().next()?.parse().ok()
}

/// Where the broker of a directory can be reached, if it has published that.
pub(super) fn read_address(dir: &Path) -> Option<SocketAddr> {
    let address = published(dir)?;
    // Listening on all interfaces is reached on loopback.
    match address.ip().is_unspecified() {
        true if address.is_ipv4() => Some(SocketAddr::from(([127, 0, 0, 1], address.port()))),
        true => Some(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))),
        false => Some(address),
    }
}

/// ` (process 123 at 127.0.0.1:9092)`, or nothing.
pub(super) fn holder(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join(ADDRESS)).unwrap_or_default();
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(address), Some(process)) => format!(" (process {process} at {address})"),
        _ => String::new(),
    }
}
