//! One database behind the [`Backend`] trait.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, ErrorKind, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use super::directory::{PartitionDirectory, at};
use super::options::{RocksMemory, RocksOptions};
use crate::backend::{Backend, BackendStats, Batch, VisitPair};
use crate::cache::KeyRange;
use crate::{FamilyId, Result, StateError, StoreLayout, StoreMark};

const MARK: &[u8] = b"mark";
const FORMAT: &[u8] = b"format";
const FORMAT_VERSION: &[u8] = b"1";

/// A store partition in RocksDB.
#[derive(Debug)]
pub(super) struct RocksBackend {
    /// `None` only while it is dropped.
    db: Option<DB>,
    directory: Arc<PartitionDirectory>,
    generation: u64,
    group: String,
    layout: StoreLayout,
    options: Arc<RocksOptions>,
    memory: RocksMemory,
}

impl RocksBackend {
    /// Opens the current database of a directory.
    pub(super) fn open(
        directory: Arc<PartitionDirectory>,
        group: &str,
        layout: StoreLayout,
        options: Arc<RocksOptions>,
        memory: RocksMemory,
    ) -> Result<Self> {
        let generation = directory.current();
        Self::open_generation(directory, generation, group.to_owned(), layout, options, memory)
    }

    fn open_generation(
        directory: Arc<PartitionDirectory>,
        generation: u64,
        group: String,
        layout: StoreLayout,
        options: Arc<RocksOptions>,
        memory: RocksMemory,
    ) -> Result<Self> {
        let path = directory.generation(generation);
        let wal_dir = wal_dir(&options, &directory, &group, generation);
        if let Some(directory) = &wal_dir {
            std::fs::create_dir_all(directory).map_err(at("cannot make", directory))?;
        }
        let database = options.database(&memory, wal_dir.as_ref());
        let names = family_names(&directory, &layout, &path, &database)?;
        let families = names
            .into_iter()
            .map(|name| ColumnFamilyDescriptor::new(name, options.family(&memory)));
        let db = DB::open_cf_descriptors(&database, &path, families)
            .map_err(|error| open_error(&directory, &path, &error))?;
        let backend = Self { db: Some(db), directory, generation, group, layout, options, memory };
        backend.check_format()?;
        Ok(backend)
    }

    fn check_format(&self) -> Result<()> {
        match self.db().get(FORMAT).map_err(failed("reading the format"))? {
            Some(version) if version == FORMAT_VERSION => Ok(()),
            Some(version) => Err(StateError::Incompatible {
                store: self.directory.store().clone(),
                detail: format!(
                    "it has format {}, which a newer version of Millstream writes; use that \
                     version, or clear the state (it is rebuilt from the changelog)",
                    String::from_utf8_lossy(&version)
                ),
            }),
            None => self.db().put(FORMAT, FORMAT_VERSION).map_err(failed("writing the format")),
        }
    }

    fn db(&self) -> &DB {
        self.db.as_ref().expect("it is there until the backend is dropped")
    }

    fn family(&self, family: FamilyId) -> &ColumnFamily {
        self.db()
            .cf_handle(&family_name(family))
            .expect("a store asks for the families of its layout only")
    }
}

impl Backend for RocksBackend {
    fn get(&self, family: FamilyId, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        let found = self.db().get_pinned_cf(self.family(family), key).map_err(failed("reading"))?;
        if let Some(value) = &found {
            out.extend_from_slice(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, family: FamilyId, range: &KeyRange, visit: &mut VisitPair<'_>) -> Result<()> {
        let mut read = ReadOptions::default();
        if let Some(end) = range.end() {
            read.set_iterate_upper_bound(end);
        }
        let mut pairs = self.db().raw_iterator_cf_opt(self.family(family), read);
        pairs.seek(range.start());
        while let Some((key, value)) = pairs.item() {
            if let ControlFlow::Break(()) = visit(key, value) {
                return Ok(());
            }
            pairs.next();
        }
        pairs.status().map_err(failed("scanning"))
    }

    fn write(&self, batch: &Batch, mark: &StoreMark) -> Result<()> {
        let mut write = WriteBatch::default();
        let mut family = None;
        for op in batch.iter() {
            // Changes of one family stand together; looking up its handle costs more than a put.
            let handle = match family {
                Some((id, handle)) if id == op.family => handle,
                _ => family.insert((op.family, self.family(op.family))).1,
            };
            match op.value {
                Some(value) => write.put_cf(handle, op.key, value),
                None => write.delete_cf(handle, op.key),
            }
        }
        write.put(MARK, mark.to_text());
        let mut options = WriteOptions::default();
        options.set_sync(false);
        self.db().write_opt(write, &options).map_err(failed("writing a checkpoint"))
    }

    fn mark(&self) -> Result<StoreMark> {
        let text = self.db().get(MARK).map_err(failed("reading the mark"))?.unwrap_or_default();
        StoreMark::from_text(&text).map_err(|reason| StateError::Incompatible {
            store: self.directory.store().clone(),
            detail: format!("its checkpoint mark does not decode: {reason}"),
        })
    }

    fn rebuild(&self) -> Result<Arc<dyn Backend>> {
        let generation = self.generation.max(self.directory.current()) + 1;
        // A rebuild that was given up in this process may have left one of this number.
        self.directory.remove_generation(generation)?;
        let backend = Self::open_generation(
            Arc::clone(&self.directory),
            generation,
            self.group.clone(),
            self.layout,
            Arc::clone(&self.options),
            self.memory.clone(),
        )?;
        Ok(Arc::new(backend))
    }

    fn promote(&self) -> Result<()> {
        // The write-ahead log is not synced otherwise; after this the old database goes.
        self.db().flush_wal(true).map_err(failed("syncing a rebuilt store"))?;
        self.directory.set_current(self.generation)
    }

    fn stats(&self) -> BackendStats {
        let mut stats = BackendStats::default();
        let read = |family, name: &str| {
            self.db().property_int_value_cf(self.family(family), name).ok().flatten().unwrap_or(0)
        };
        for family in self.layout.families {
            stats.keys += read(*family, "rocksdb.estimate-num-keys");
            stats.disk_bytes += read(*family, "rocksdb.total-sst-files-size");
            stats.memory_bytes += read(*family, "rocksdb.cur-size-all-mem-tables");
        }
        stats
    }
}

impl Drop for RocksBackend {
    fn drop(&mut self) {
        drop(self.db.take());
        if self.generation != self.directory.current() {
            // Replaced, or a rebuild that was given up. If deleting fails, the next open does it.
            let _ = self.directory.remove_generation(self.generation);
            if let Some(wal) = wal_dir(&self.options, &self.directory, &self.group, self.generation)
            {
                let _ = std::fs::remove_dir_all(wal);
            }
        }
    }
}

/// `<wal_dir>/<group>/<store name>/<stream id>/<partition>/<number>`: a directory of its own,
/// for databases that shared one would delete each other's logs.
fn wal_dir(
    options: &RocksOptions,
    directory: &PartitionDirectory,
    group: &str,
    generation: u64,
) -> Option<PathBuf> {
    use super::directory::component;
    let store = directory.store();
    let root = options.wal_dir.as_ref()?;
    Some(
        root.join(component(group))
            .join(component(&store.store_name))
            .join(component(&store.stream_id))
            .join(store.partition.to_string())
            .join(generation.to_string()),
    )
}

fn family_name(family: FamilyId) -> String {
    format!("f{:02x}", family.0)
}

/// The column families to open: those on disk must be of the layout, those missing are made.
fn family_names(
    directory: &PartitionDirectory,
    layout: &StoreLayout,
    path: &Path,
    options: &Options,
) -> Result<Vec<String>> {
    let mut names = vec![DEFAULT_COLUMN_FAMILY_NAME.to_owned()];
    names.extend(layout.families.iter().map(|family| family_name(*family)));
    if path.join("CURRENT").exists() {
        let found =
            DB::list_cf(options, path).map_err(|error| open_error(directory, path, &error))?;
        if let Some(unknown) = found.iter().find(|name| !names.contains(name)) {
            return Err(StateError::Incompatible {
                store: directory.store().clone(),
                detail: format!(
                    "it holds the family {unknown}, which a store for {} does not have: another \
                     kind of store, or a newer version of Millstream, wrote it; use another name \
                     for the store or clear the state",
                    layout.kind
                ),
            });
        }
    }
    Ok(names)
}

fn open_error(directory: &PartitionDirectory, path: &Path, error: &rocksdb::Error) -> StateError {
    let detail = error.to_string();
    // A file that the manifest names and that is gone is damage too (ST-23).
    let gone = error.kind() == ErrorKind::IOError && detail.contains("No such file");
    if error.kind() == ErrorKind::Corruption || gone {
        let (store, path) = (directory.store().clone(), directory.path().to_owned());
        return StateError::Corrupted { store, path, detail };
    }
    let detail = format!("{detail} ({})", path.display());
    StateError::Backend { action: "opening a store", detail }
}

fn failed(action: &'static str) -> impl FnOnce(rocksdb::Error) -> StateError {
    move |error| StateError::Backend { action, detail: error.to_string() }
}
