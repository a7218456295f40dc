//! A small durable map: every change is appended to a file before it counts, and the file is
//! rewritten when most of it is history. Topics, settings, committed offsets and groups are kept
//! in maps like this.
//!
//! The file is a run of Kafka record batches, one per [`Journal::commit`]: a record's key is the
//! entry's key, its value the new value, no value a removal. So a commit is there whole or not
//! at all, and a crash's torn tail is found by the checksum. A broken commit with sound ones
//! behind it is no torn tail but damage: opening fails, for a cut would lose what lies behind.
//! A rewrite goes to `NAME.<n+1>.new`, is synced, and is renamed to `NAME.<n+1>`; the highest
//! number counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_protocol::{Batch, BatchIter, Compression, HEADER_LEN, RecordBatchBuilder};

use crate::disk::{Disk, DiskFile};

/// A file under this size is not worth rewriting.
const REWRITE_MIN_BYTES: u64 = 1 << 20;
/// Rewrite when the file is so many times as large as what it still says.
const REWRITE_FACTOR: u64 = 4;
/// Batches of a rewrite are cut at this size.
const REWRITE_BATCH_BYTES: usize = 1 << 18;

/// When a commit is on the medium, and so what may be missing at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Each commit waits for the medium.
    Synced,
    /// The system writes when it likes.
    Cached,
    /// The same, and the machine went down since: pages may be missing in any order, so the file
    /// is cut at the first one whatever lies behind it.
    CachedAndLost,
}

/// A change: a key with its new value, or none to remove it.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// The map and its file.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: &'static str,
    number: u64,
    file: Box<dyn DiskFile>,
    size: u64,
    live_bytes: u64,
    sync: bool,
    /// Whether the file's name is on the medium.
    has_dir_entry: bool,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Journal {
    /// Opens the map `name` in `dir`; an empty one if there is none. A torn tail is cut off.
    ///
    /// # Errors
    /// What the disk says, or that the file is damaged in its middle.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        name: &'static str,
        durability: Durability,
    ) -> io::Result<Self> {
        disk.create_dir_all(dir)?;
        let mut numbers = Vec::new();
        for file in disk.list(dir)? {
            let Some(rest) = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            match rest.parse::<u64>() {
                Ok(number) => numbers.push(number),
                // A rewrite that did not get to its rename.
                Err(_) => disk.remove_file(&dir.join(&file))?,
            }
        }
        numbers.sort_unstable();
        let number = numbers.pop().unwrap_or(0);
        for old in numbers {
            disk.remove_file(&path_of(dir, name, old))?;
        }
        let file = disk.file(&path_of(dir, name, number));
        let mut journal = Self {
            dir: dir.to_owned(),
            name,
            number,
            file,
            size: 0,
            live_bytes: 0,
            sync: durability == Durability::Synced,
            has_dir_entry: false,
            entries: BTreeMap::new(),
            disk,
        };
        journal.load(durability)?;
        if journal.sync {
            // What a dead process has written and not waited for is believed from here on.
            journal.sync()?;
        }
        Ok(journal)
    }

    fn load(&mut self, durability: Durability) -> io::Result<()> {
        let length = self.file.size()?;
        if length == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let read = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let mut scratch = Vec::new();
        for batch in BatchIter::new(&bytes) {
            let Ok(batch) = batch.and_then(|batch| batch.check().map(|()| batch)) else { break };
            let Ok(records) = batch.records(&mut scratch, 0) else { break };
            for record in records.flatten() {
                let Some(key) = record.key else { continue };
                self.apply(key.to_vec(), record.value.map(<[u8]>::to_vec));
            }
            self.size += batch.bytes().len() as u64;
        }
        if self.size < length {
            let rest = &bytes[usize::try_from(self.size).map_err(io::Error::other)?..];
            if durability != Durability::CachedAndLost
                && let Some(skipped) = sound_commit(rest)
            {
                let path = path_of(&self.dir, self.name, self.number);
                return Err(io::Error::other(format!(
                    "{path} is damaged at byte {at}, and what follows from byte {next} on is sound; \
                     nothing was changed. Put back a copy of that file, or, to go on without \
                     everything behind the damage: truncate -s {at} {path}",
                    path = path.display(),
                    at = self.size,
                    next = self.size + skipped as u64,
                )));
            }
            tracing::warn!(
                journal = self.name,
                cut_bytes = length - self.size,
                "cut off the torn end of a journal"
            );
            self.file.truncate(self.size)?;
            // At once: a stop that finds nothing to write would leave it to chance, and vouch for
            // a file whose torn end can come back.
            self.file.sync()?;
        }
        Ok(())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    /// All entries whose key starts with `prefix`, in the order of their keys.
    pub(crate) fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + 'a {
        self.entries
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Makes the changes durable, all or none, then visible.
    ///
    /// # Errors
    /// What the disk says; nothing has changed then.
    pub(crate) fn commit(&mut self, changes: Vec<Change>) -> io::Result<()> {
        self.append(changes, self.sync)
    }

    /// The same without waiting for the medium: the caller does that once for several of them,
    /// with [`sync`](Self::sync).
    ///
    /// # Errors
    /// What the disk says; nothing has changed then.
    pub(crate) fn commit_cached(&mut self, changes: Vec<Change>) -> io::Result<()> {
        self.append(changes, false)
    }

    fn append(&mut self, changes: Vec<Change>, sync: bool) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut builder = RecordBatchBuilder::new(Compression::None);
        for (key, value) in &changes {
            builder.push(0, Some(key), value.as_deref(), []);
        }
        let bytes = builder.finish(0).map_err(io::Error::other)?;
        if let Err(error) = self.file.write_at(&bytes, self.size) {
            // Best effort: what landed of it is cut off, or overwritten by the next commit.
            let _ = self.file.truncate(self.size);
            return Err(error);
        }
        if sync && let Err(error) = self.sync() {
            // It was not promised, so it must not be found either.
            let _ = self.file.truncate(self.size);
            return Err(error);
        }
        self.size += bytes.len() as u64;
        for (key, value) in changes {
            self.apply(key, value);
        }
        if self.size > REWRITE_MIN_BYTES.max(self.live_bytes * REWRITE_FACTOR)
            && let Err(error) = self.rewrite()
        {
            tracing::warn!(journal = self.name, %error, "could not shorten a journal; it grows on");
        }
        Ok(())
    }

    /// Lets every commit from now on wait for the medium, or not.
    pub(crate) fn set_sync(&mut self, sync: bool) {
        self.sync = sync;
    }

    /// Waits until all commits are on the medium.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.file.size()? == 0 {
            return Ok(());
        }
        self.file.sync()?;
        if !self.has_dir_entry {
            self.disk.sync_dir(&self.dir)?;
            self.has_dir_entry = true;
        }
        Ok(())
    }

    fn apply(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let cost = |key: &[u8], value: &[u8]| (key.len() + value.len() + 16) as u64;
        let key_cost = cost(&key, &[]);
        let old = match value {
            Some(value) => {
                self.live_bytes += cost(&key, &value);
                self.entries.insert(key, value)
            }
            None => self.entries.remove(&key),
        };
        if let Some(old) = old {
            self.live_bytes -= key_cost + old.len() as u64;
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let next = path_of(&self.dir, self.name, self.number + 1);
        let new = next.with_extension(format!("{}.new", self.number + 1));
        let file = self.disk.file(&new);
        file.truncate(0)?;
        let mut size = 0;
        let mut builder = RecordBatchBuilder::new(Compression::None);
        for (key, value) in &self.entries {
            builder.push(0, Some(key), Some(value), []);
            if builder.byte_size() > REWRITE_BATCH_BYTES {
                let full =
                    std::mem::replace(&mut builder, RecordBatchBuilder::new(Compression::None));
                let bytes = full.finish(0).map_err(io::Error::other)?;
                file.write_at(&bytes, size)?;
                size += bytes.len() as u64;
            }
        }
        if !builder.is_empty() {
            let bytes = builder.finish(0).map_err(io::Error::other)?;
            file.write_at(&bytes, size)?;
            size += bytes.len() as u64;
        }
        file.sync()?;
        self.disk.rename(&new, &next)?;
        // The old file must not go before the new one's name is safe.
        self.disk.sync_dir(&self.dir)?;
        let old = path_of(&self.dir, self.name, self.number);
        self.number += 1;
        self.file = self.disk.file(&next);
        self.size = size;
        self.disk.remove_file(&old)
    }
}

/// Where in `bytes` the first sound commit starts, if there is one.
fn sound_commit(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len().saturating_sub(HEADER_LEN)).find(|at| {
        let bytes = &bytes[*at..];
        // Every commit has base offset 0: most places are ruled out before a checksum is made.
        bytes.starts_with(&[0; 8]) && Batch::parse(bytes).and_then(|batch| batch.check()).is_ok()
    })
}

fn path_of(dir: &Path, name: &str, number: u64) -> PathBuf {
    dir.join(format!("{name}.{number}"))
}

/// Reads fields back from a journal's keys and values; `None` where the bytes end too early.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.fixed()?) as usize;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn string(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    /// A string that may be absent.
    pub(crate) fn option(&mut self) -> Option<Option<String>> {
        match self.fixed::<1>()? {
            [0] => Some(None),
            _ => Some(Some(self.string()?)),
        }
    }
}

/// Appends length-prefixed bytes, as [`Fields::bytes`] reads them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a string that may be absent, as [`Fields::option`] reads it.
pub(crate) fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

#[cfg(test)]
mod tests;
