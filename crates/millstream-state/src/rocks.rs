//! RocksDB: one database per store partition, one column family per family.
//!
//! The write-ahead log is on and not synced, and recovery goes to a point in time: SIGKILL loses
//! no checkpoint, a power loss falls back to an earlier whole one. The column family `default`
//! holds the mark, so that one write batch carries data and position.
//!
//! No type of the `rocksdb` crate leaves this module.

mod backend;
mod directory;
mod options;

use std::path::PathBuf;
use std::sync::Arc;

pub use options::{RocksCompression, RocksMemory, RocksOptions};

use crate::backend::{Backend, Storage};
use crate::{LockHolder, Result, StoreId, StoreLayout};
use backend::RocksBackend;
use directory::{PartitionDirectory, component, partitions};

/// Stores of one consumer group under
/// `<state_dir>/<group>/<store name>/<stream id>/<partition>` (ST-20). Several processes may
/// share the directory: each store partition has a lock of its own.
#[derive(Clone, Debug)]
pub struct RocksStorage {
    root: PathBuf,
    group: String,
    options: Arc<RocksOptions>,
    memory: RocksMemory,
    holder: LockHolder,
}

impl RocksStorage {
    /// Stores of `group` below `state_dir`. `memory` is shared by all stores of the process;
    /// `holder` is what other processes are told while this one has a lock.
    pub fn new(
        state_dir: impl Into<PathBuf>,
        group: &str,
        options: RocksOptions,
        memory: RocksMemory,
        holder: LockHolder,
    ) -> Self {
        let root = state_dir.into().join(component(group));
        Self { root, group: group.into(), options: Arc::new(options), memory, holder }
    }

    /// The directory of a store partition (ST-20). Characters that file systems do not take, or
    /// that would lead elsewhere, are written as `%` and two hexadecimal digits.
    pub fn path(&self, store: &StoreId) -> PathBuf {
        self.root
            .join(component(&store.store_name))
            .join(component(&store.stream_id))
            .join(store.partition.to_string())
    }

    /// What it was made with.
    pub fn options(&self) -> &RocksOptions {
        &self.options
    }
}

impl Storage for RocksStorage {
    fn open(&self, store: &StoreId, layout: &StoreLayout) -> Result<Arc<dyn Backend>> {
        let directory = PartitionDirectory::open(self.path(store), store, &self.holder)?;
        let backend = RocksBackend::open(
            Arc::new(directory),
            &self.group,
            *layout,
            Arc::clone(&self.options),
            self.memory.clone(),
        )?;
        Ok(Arc::new(backend))
    }

    fn destroy(&self, store: &StoreId) -> Result<()> {
        let path = self.path(store);
        if path.exists() {
            PartitionDirectory::destroy(&path, store, &self.holder)?;
        }
        Ok(())
    }

    fn recreates_corrupted(&self) -> bool {
        self.options.on_corrupted_recreate
    }

    fn clear(&self) -> Result<()> {
        for (store, path) in partitions(&self.root)? {
            PartitionDirectory::destroy(&path, &store, &self.holder)?;
        }
        Ok(())
    }
}
