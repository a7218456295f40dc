//! Where a store partition is kept between checkpoints.
//!
//! A backend knows bytes, families and one mark; keys and entries mean nothing to it. It is
//! written to at checkpoints and during a restore, never by operators.

mod batch;
mod memory;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use batch::{Batch, BatchOp};
pub use memory::{MemoryBackend, MemoryStorage};

use crate::cache::KeyRange;
use crate::{FamilyId, Result, StoreId, StoreLayout, StoreMark};

/// Receives the pairs of a scan; [`ControlFlow::Break`] ends it.
pub type VisitPair<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Holds one store partition. All methods take `&self`: the families of a store share it.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Reads a value into `out`, whose content is dropped. False if the key is not there.
    ///
    /// # Errors
    /// If the backend fails.
    fn get(&self, family: FamilyId, key: &[u8], out: &mut Vec<u8>) -> Result<bool>;

    /// Visits the pairs of a range in ascending order of their keys.
    ///
    /// # Errors
    /// If the backend fails.
    fn scan(&self, family: FamilyId, range: &KeyRange, visit: &mut VisitPair<'_>) -> Result<()>;

    /// Applies the batch in its order and sets the mark, all or nothing: after any crash either
    /// everything of this call is there or nothing.
    ///
    /// # Errors
    /// If the backend fails. Nothing is known then about what is on disk; the store must be
    /// opened again.
    fn write(&self, batch: &Batch, mark: &StoreMark) -> Result<()>;

    /// The mark of the last write.
    ///
    /// # Errors
    /// If the backend fails, or the mark does not decode.
    fn mark(&self) -> Result<StoreMark>;

    /// An empty backend beside this one, under the same lock, to be filled and then made the
    /// store by [`Backend::promote`]. Until then an open of the store finds this one.
    ///
    /// # Errors
    /// If the backend fails.
    fn rebuild(&self) -> Result<Arc<dyn Backend>>;

    /// Makes a backend that came from [`Backend::rebuild`] the store, atomically. What it
    /// replaces is deleted when its last handle is dropped.
    ///
    /// # Errors
    /// If the backend fails.
    fn promote(&self) -> Result<()>;

    /// Sizes, as the backend knows them.
    fn stats(&self) -> BackendStats;
}

/// Sizes of a backend; estimates where counting would cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Number of keys, estimated.
    pub keys: u64,
    /// Bytes on disk (0 for memory).
    pub disk_bytes: u64,
    /// Bytes in memory, block cache excluded.
    pub memory_bytes: u64,
}

/// Opens backends by store partition.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Opens a store partition, making it if it is not there.
    ///
    /// # Errors
    /// [`crate::StateError::Locked`] while another process has it, `Corrupted`, `Incompatible`,
    /// or what the backend says.
    fn open(&self, store: &StoreId, layout: &StoreLayout) -> Result<Arc<dyn Backend>>;

    /// Deletes a store partition that is not open. Fine if it is not there.
    ///
    /// # Errors
    /// [`crate::StateError::Locked`] while it is open somewhere, or what the backend says.
    fn destroy(&self, store: &StoreId) -> Result<()>;

    /// Whether a damaged store that has a changelog is to be destroyed and rebuilt (ST-23).
    fn recreates_corrupted(&self) -> bool {
        true
    }

    /// Deletes all store partitions of the group (parity rows A-37, ST-31).
    ///
    /// # Errors
    /// [`crate::StateError::Locked`] if one is open; those before it are gone then.
    fn clear(&self) -> Result<()>;
}
