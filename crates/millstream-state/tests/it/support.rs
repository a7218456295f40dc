//! Stores to test on, and a backend that crashes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use millstream_state::{
    AnyFamily, Backend, BackendStats, Batch, CacheSettings, Entry, EntryError, Family,
    FamilyContext, FamilyId, FamilySet, KeyRange, LockHolder, MemoryBackend, MemoryBudget, Result,
    RocksMemory, RocksOptions, RocksStorage, StateError, Storage, StoreId, StoreLayout, StoreMark,
    VisitPair, families,
};
use tempfile::TempDir;

pub(crate) const ONE: FamilyId = families::WINDOWS;
pub(crate) const TWO: FamilyId = families::WINDOW_TIMES;

pub(crate) fn store_id() -> StoreId {
    StoreId::new("orders", "tumbling_window_10_sum", 3)
}

pub(crate) fn cache(limit: usize) -> CacheSettings {
    CacheSettings { budget: MemoryBudget::new(limit), hash_seed: 42 }
}

/// A store with two families.
pub(crate) struct Pair {
    pub(crate) one: Family<Number>,
    pub(crate) two: Family<()>,
}

impl FamilySet for Pair {
    const LAYOUT: StoreLayout = StoreLayout { kind: "test", families: &[ONE, TWO] };

    fn open(context: &FamilyContext) -> Self {
        Self { one: context.family(ONE), two: context.family(TWO) }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily)) {
        visit(&mut self.one);
        visit(&mut self.two);
    }
}

/// An entry whose size in memory changes with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

impl Entry for Number {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let bytes = bytes.try_into().map_err(|_| EntryError("not eight bytes".into()))?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }

    fn size(&self) -> usize {
        8 + (self.0 % 100) as usize
    }
}

/// Where a store survives the end of a process.
pub(crate) trait Disk {
    /// What a new process finds. Handles from before must be dropped.
    fn open(&self) -> Arc<dyn Backend>;
}

impl Disk for Arc<MemoryBackend> {
    fn open(&self) -> Arc<dyn Backend> {
        Arc::clone(self) as Arc<dyn Backend>
    }
}

/// RocksDB in a temporary directory.
pub(crate) struct RocksDisk {
    pub(crate) storage: RocksStorage,
    pub(crate) directory: TempDir,
}

impl RocksDisk {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let storage = RocksStorage::new(
            directory.path(),
            "group",
            small_options(),
            RocksMemory::new(8 << 20),
            LockHolder { pid: Some(std::process::id()), host: Some("here".into()) },
        );
        Self { storage, directory }
    }
}

/// Small memtables, so that data reaches table files.
pub(crate) fn small_options() -> RocksOptions {
    RocksOptions { write_buffer_size: 64 << 10, ..RocksOptions::default() }
}

impl Disk for RocksDisk {
    fn open(&self) -> Arc<dyn Backend> {
        self.storage.open(&store_id(), &Pair::LAYOUT).expect("the last handle was dropped")
    }
}

/// What a backend was replaced by, if it was.
pub(crate) type Promoted = Arc<Mutex<Option<Arc<dyn Backend>>>>;

/// Fails from the n-th write on, as if the process had been killed just before it.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Backend>,
    writes_left: Arc<AtomicI64>,
    promoted: Promoted,
}

impl Faulty {
    pub(crate) fn over(inner: Arc<dyn Backend>, writes: i64) -> Arc<dyn Backend> {
        Self::watched(inner, writes).0
    }

    /// Also gives where to find what was promoted.
    pub(crate) fn watched(inner: Arc<dyn Backend>, writes: i64) -> (Arc<dyn Backend>, Promoted) {
        let promoted = Arc::new(Mutex::new(None));
        let writes_left = Arc::new(AtomicI64::new(writes));
        (Arc::new(Self { inner, writes_left, promoted: Arc::clone(&promoted) }), promoted)
    }

    fn may_write(&self) -> Result<()> {
        if self.writes_left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(StateError::Backend { action: "writing", detail: "killed by the test".into() })
    }
}

impl Backend for Faulty {
    fn get(&self, family: FamilyId, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        self.inner.get(family, key, out)
    }

    fn scan(&self, family: FamilyId, range: &KeyRange, visit: &mut VisitPair<'_>) -> Result<()> {
        self.inner.scan(family, range, visit)
    }

    fn write(&self, batch: &Batch, mark: &StoreMark) -> Result<()> {
        self.may_write()?;
        self.inner.write(batch, mark)
    }

    fn mark(&self) -> Result<StoreMark> {
        self.inner.mark()
    }

    fn rebuild(&self) -> Result<Arc<dyn Backend>> {
        let inner = self.inner.rebuild()?;
        let (writes_left, promoted) = (Arc::clone(&self.writes_left), Arc::clone(&self.promoted));
        Ok(Arc::new(Self { inner, writes_left, promoted }))
    }

    fn promote(&self) -> Result<()> {
        self.may_write()?;
        self.inner.promote()?;
        *self.promoted.lock().expect("nothing panics with it") = Some(Arc::clone(&self.inner));
        Ok(())
    }

    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}
