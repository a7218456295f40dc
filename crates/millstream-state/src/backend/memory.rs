//! A backend in memory: for `MemoryStore` (parity rows ST-21, CK-33) and for tests.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, BackendStats, Batch, Storage, VisitPair};
use crate::cache::KeyRange;
use crate::{FamilyId, Result, StoreId, StoreLayout, StoreMark};

/// Ordered maps behind a lock, which is taken on cache misses only.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    families: BTreeMap<FamilyId, BTreeMap<Vec<u8>, Vec<u8>>>,
    mark: StoreMark,
    bytes: u64,
}

impl MemoryBackend {
    /// An empty backend.
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A panic between two changes of one batch cannot happen: nothing in `write` panics.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    fn get(&self, family: FamilyId, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        let content = self.content();
        let value = content.families.get(&family).and_then(|pairs| pairs.get(key));
        if let Some(value) = value {
            out.extend_from_slice(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, family: FamilyId, range: &KeyRange, visit: &mut VisitPair<'_>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let content = self.content();
        let Some(pairs) = content.families.get(&family) else { return Ok(()) };
        let end = range.end().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, value) in pairs.range::<[u8], _>((Bound::Included(range.start()), end)) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: &Batch, mark: &StoreMark) -> Result<()> {
        let content = &mut *self.content();
        for op in batch.iter() {
            let pairs = content.families.entry(op.family).or_default();
            let before = match op.value {
                Some(value) => {
                    content.bytes += (op.key.len() + value.len()) as u64;
                    pairs.insert(op.key.to_vec(), value.to_vec())
                }
                None => pairs.remove(op.key),
            };
            if let Some(before) = before {
                content.bytes -= (op.key.len() + before.len()) as u64;
            }
        }
        content.mark = mark.clone();
        Ok(())
    }

    fn mark(&self) -> Result<StoreMark> {
        Ok(self.content().mark.clone())
    }

    fn rebuild(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(MemoryBackend::new()))
    }

    fn promote(&self) -> Result<()> {
        Ok(())
    }

    fn stats(&self) -> BackendStats {
        let content = self.content();
        let keys = content.families.values().map(|pairs| pairs.len() as u64).sum();
        BackendStats { keys, disk_bytes: 0, memory_bytes: content.bytes }
    }
}

/// Gives every open an empty [`MemoryBackend`], so a store is always restored from its changelog
/// (CK-33).
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryStorage;

impl Storage for MemoryStorage {
    fn open(&self, _: &StoreId, _: &StoreLayout) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(MemoryBackend::new()))
    }

    fn destroy(&self, _: &StoreId) -> Result<()> {
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        Ok(())
    }
}
