//! A small durable map: every change is appended to a file before it counts, and the file is
//! rewritten when most of it is history. Topics, settings, committed offsets and groups are kept
//! in maps like this.
//!
//! The file is a run of Kafka record batches, one per [`Journal::commit`]: a record's key is the
//! entry's key, its value the new value, no value a removal. So a commit is there whole or not
//! at all, and a crash's torn tail is found by the checksum. A rewrite goes to
//! `NAME.<n+1>.new`, is synced, and is renamed to `NAME.<n+1>`; the highest number counts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_protocol::{BatchIter, Compression, RecordBatchBuilder};

use crate::disk::{Disk, DiskFile};

/// A file under this size is not worth rewriting.
const REWRITE_MIN_BYTES: u64 = 1 << 20;
/// Rewrite when the file is so many times as large as what it still says.
const REWRITE_FACTOR: u64 = 4;
/// Batches of a rewrite are cut at this size.
const REWRITE_BATCH_BYTES: usize = 1 << 18;

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
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Journal {
    /// Opens the map `name` in `dir`; an empty one if there is none. `sync` makes every commit
    /// wait for the medium. A torn tail is cut off.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        name: &'static str,
        sync: bool,
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
            sync,
            entries: BTreeMap::new(),
            disk,
        };
        journal.load()?;
        Ok(journal)
    }

    fn load(&mut self) -> io::Result<()> {
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
            tracing::warn!(
                journal = self.name,
                cut_bytes = length - self.size,
                "cut off the torn end of a journal"
            );
            self.file.truncate(self.size)?;
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
        if self.sync {
            self.file.sync()?;
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
        let old = path_of(&self.dir, self.name, self.number);
        self.number += 1;
        self.file = self.disk.file(&next);
        self.size = size;
        self.disk.remove_file(&old)
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::MemoryDisk;

    fn open(disk: &MemoryDisk) -> Journal {
        Journal::open(Arc::new(disk.clone()), Path::new("/d"), "meta", false).unwrap()
    }

    fn entries(journal: &Journal) -> Vec<(Vec<u8>, Vec<u8>)> {
        journal.scan(b"").map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn a_rewrite_keeps_every_entry_and_one_file() {
        let disk = MemoryDisk::default();
        let mut journal = open(&disk);
        for round in 0..40u32 {
            let changes = (0..100u32)
                .map(|n| (n.to_be_bytes().to_vec(), Some(vec![round as u8; 400])))
                .collect();
            journal.commit(changes).unwrap();
        }
        assert!(journal.number > 0, "no rewrite happened");
        assert_eq!(disk.files().len(), 1);
        let reopened = open(&disk);
        assert_eq!(entries(&reopened), entries(&journal));
        assert_eq!(reopened.get(&7u32.to_be_bytes()), Some(&[39u8; 400][..]));
    }

    proptest! {
        /// After a crash at any change, torn or not, the map is what some prefix of the commits
        /// made of it, and all commits that were acknowledged are in it.
        #[test]
        fn a_crash_loses_no_acknowledged_commit(
            commits in proptest::collection::vec(
                proptest::collection::vec((0u8..6, proptest::option::of(0u8..4)), 1..4), 1..20),
            fail_at in 1u64..25, kept in 0usize..200,
        ) {
            let disk = MemoryDisk::default();
            let mut journal = open(&disk);
            disk.fail_from(fail_at, kept);
            let mut model = BTreeMap::new();
            let mut in_doubt = None;
            for commit in commits {
                let changes: Vec<Change> = commit
                    .iter()
                    .map(|(key, value)| (vec![*key], value.map(|value| vec![value; 30])))
                    .collect();
                let mut next = model.clone();
                for (key, value) in changes.clone() {
                    match value {
                        Some(value) => next.insert(key, value),
                        None => next.remove(&key),
                    };
                }
                if journal.commit(changes).is_err() {
                    in_doubt = Some(next);
                    break;
                }
                model = next;
            }
            disk.heal();
            let found: BTreeMap<_, _> = entries(&open(&disk)).into_iter().collect();
            prop_assert!(found == model || Some(found) == in_doubt);
        }
    }
}
