//! What can go wrong with state.

use std::fmt;
use std::path::PathBuf;

use millstream_types::Offset;

use crate::{FamilyId, StoreId};

/// The process that holds a store's lock, as far as it said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id.
    pub pid: Option<u32>,
    /// The machine it runs on.
    pub host: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pid, &self.host) {
            (Some(pid), Some(host)) => write!(f, "process {pid} on {host}"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, Some(host)) => write!(f, "a process on {host}"),
            (None, None) => f.write_str("another process"),
        }
    }
}

/// Errors of state stores. [`StateError::exception_name`] gives the Python exception (ST-40).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process (or another store of this one) has the directory. Retry: it may be on
    /// its way out (ST-22).
    #[error(
        "the store {store} in {} is in use by {holder}; stop that process, or give this one \
         another `state_dir`", path.display()
    )]
    Locked {
        /// The store.
        store: StoreId,
        /// Its directory.
        path: PathBuf,
        /// Who has it.
        holder: LockHolder,
    },
    /// RocksDB finds its files damaged (ST-23).
    #[error(
        "the store {store} in {} is damaged: {detail}; delete the directory (it is rebuilt from \
         the changelog), or set `on_corrupted_recreate=True`", path.display()
    )]
    Corrupted {
        /// The store.
        store: StoreId,
        /// Its directory.
        path: PathBuf,
        /// What RocksDB says.
        detail: String,
    },
    /// The files are of another kind of store, or of a newer version.
    #[error("the store {store} cannot be read: {detail}")]
    Incompatible {
        /// The store.
        store: StoreId,
        /// What does not fit, and what to do.
        detail: String,
    },
    /// An input/output error at a path.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The backend failed.
    #[error("the state backend failed while {action}: {detail}")]
    Backend {
        /// What was tried.
        action: &'static str,
        /// What the backend says.
        detail: String,
    },
    /// A stored entry does not decode.
    #[error("an entry of family {family} does not decode (key {key}): {detail}")]
    Decode {
        /// The family.
        family: FamilyId,
        /// The key, in hexadecimal, cut if long.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The store's transaction was marked failed and is accessed again (ST-04).
    #[error(
        "the state of {store} cannot be used since an earlier error ({reason}); the application \
         must restart from its last checkpoint"
    )]
    TransactionAccess {
        /// The store.
        store: StoreId,
        /// Why it failed.
        reason: String,
    },
    /// The store's transaction was marked failed and is to be committed (ST-04, CK-03).
    #[error(
        "the checkpoint cannot be made, because the state of {store} failed earlier ({reason}); \
         nothing of it was written"
    )]
    TransactionFailed {
        /// The store.
        store: StoreId,
        /// Why it failed.
        reason: String,
    },
    /// The local store is ahead of its changelog (CK-30).
    #[error(
        "the local store {store} was written up to changelog offset {local}, but the changelog \
         ends at {high}: the topic was deleted or made anew; clear the local state \
         (`app.clear_state()`) to start from the changelog as it is now, or use another \
         consumer group"
    )]
    InvalidChangelogOffset {
        /// The store.
        store: StoreId,
        /// Position after the last applied record.
        local: Offset,
        /// The changelog's high watermark.
        high: Offset,
    },
    /// The changelog holds what this version did not write.
    #[error(
        "the changelog of {store} holds a record at offset {offset} that {found}; use another \
         consumer_group, or delete this group's changelog topics (`millstream topics delete`) and \
         its state directory to start anew"
    )]
    ForeignChangelog {
        /// The store.
        store: StoreId,
        /// Offset of the first such record.
        offset: Offset,
        /// What it is, as the end of a sentence.
        found: String,
    },
}

impl StateError {
    /// Whether trying again later may help without anyone doing anything.
    pub fn is_retriable(&self) -> bool {
        matches!(self, StateError::Locked { .. })
    }

    /// Name of the Python exception class (parity row ST-40).
    pub fn exception_name(&self) -> &'static str {
        match self {
            StateError::Locked { .. } => "PartitionStoreIsUsed",
            StateError::Corrupted { .. } => "RocksDBCorruptedError",
            StateError::Incompatible { .. } => "IncompatibleStateStoreError",
            StateError::TransactionAccess { .. } => "StateTransactionError",
            StateError::TransactionFailed { .. } => "StoreTransactionFailed",
            StateError::InvalidChangelogOffset { .. } => "InvalidStoreChangelogOffset",
            StateError::ForeignChangelog { .. } => "IncompatibleStateStoreError",
            StateError::Io { .. } | StateError::Backend { .. } | StateError::Decode { .. } => {
                "StateError"
            }
        }
    }
}

/// The key for an error message: hexadecimal, at most 32 bytes of it.
pub(crate) fn key_text(key: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::new();
    for byte in key.iter().take(32) {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    if key.len() > 32 {
        text.push('…');
    }
    text
}
