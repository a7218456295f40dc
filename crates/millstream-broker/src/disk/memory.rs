//! Files in memory, for tests and simulation: a write can be made to fail, whole or torn, and a
//! power loss takes what nobody waited for.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile};

/// A disk in memory. Clones share the files, so a clone kept aside is what a crash leaves.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// What a power loss leaves: each file as it was at its last sync. Names count as durable at
    /// once, which is kinder than a real disk; `dir_syncs` tells whether somebody waited for them.
    on_medium: BTreeMap<PathBuf, Vec<u8>>,
    writes: u64,
    reads: u64,
    dir_syncs: u64,
    syncs: u64,
    fail_at: Option<(u64, usize)>,
    fail_syncs: bool,
}

impl State {
    /// Counts a change. `Err(kept)` once the failing one is reached: that many bytes still land.
    fn change(&mut self) -> Result<(), usize> {
        self.writes += 1;
        match self.fail_at {
            Some((at, kept)) if self.writes == at => Err(kept),
            Some((at, _)) if self.writes > at => Err(0),
            _ => Ok(()),
        }
    }
}

impl MemoryDisk {
    /// Lets the `nth` change from now on (1 is the next) fail after `kept_bytes` of it have
    /// landed, and all after that one: what a process sees whose disk goes away, and what the
    /// next process finds.
    pub fn fail_from(&self, nth: u64, kept_bytes: usize) {
        let mut state = self.lock();
        state.fail_at = Some((state.writes + nth, kept_bytes));
    }

    /// Lets every wait for the medium fail; changes land as before.
    pub fn fail_syncs(&self) {
        self.lock().fail_syncs = true;
    }

    /// Ends the failing.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.fail_at = None;
        state.fail_syncs = false;
    }

    /// Changes so far: writes, truncations, renames and removals.
    pub fn changes(&self) -> u64 {
        self.lock().writes
    }

    /// How often somebody waited for the medium.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How often somebody waited for a folder's names.
    pub fn dir_syncs(&self) -> u64 {
        self.lock().dir_syncs
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Takes all that nobody has waited for.
    pub fn power_loss(&self) {
        let mut state = self.lock();
        state.files = state.on_medium.clone();
    }

    /// Changes the bytes of a file behind the broker's back.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.lock().files.entry(path.to_owned()).or_default());
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        self.lock().files.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }
}

fn failed() -> io::Error {
    io::Error::other("the test's disk fails")
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self
            .lock()
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok()?.iter().next())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.change().map_err(|_| failed())?;
        state.files.retain(|path, _| !path.starts_with(dir));
        state.on_medium.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.change().map_err(|_| failed())?;
        state.files.remove(path);
        state.on_medium.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.change().map_err(|_| failed())?;
        let bytes = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), bytes);
        match state.on_medium.remove(from) {
            Some(bytes) => state.on_medium.insert(to.to_owned(), bytes),
            None => state.on_medium.remove(to),
        };
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.dir_syncs += 1;
        // A file of which nothing was synced has its name, and is empty.
        let State { files, on_medium, .. } = &mut *state;
        for path in files.keys().filter(|path| path.parent() == Some(dir)) {
            on_medium.entry(path.clone()).or_default();
        }
        Ok(())
    }

    fn file(&self, path: &Path) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { path: path.to_owned(), disk: self.clone() })
    }
}

#[derive(Debug)]
struct MemoryFile {
    path: PathBuf,
    disk: MemoryDisk,
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files.get(&self.path).map_or(0, |bytes| bytes.len() as u64))
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.reads += 1;
        let bytes = state.files.get(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let from = bytes.len().min(at as usize);
        let length = out.len().min(bytes.len() - from);
        out[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let outcome = state.change();
        let landing = match outcome {
            Ok(()) => bytes,
            Err(kept) => &bytes[..kept.min(bytes.len())],
        };
        if outcome.is_ok() || !landing.is_empty() {
            let file = state.files.entry(self.path.clone()).or_default();
            let (from, to) = (at as usize, at as usize + landing.len());
            if file.len() < to {
                file.resize(to, 0);
            }
            file[from..to].copy_from_slice(landing);
        }
        outcome.map_err(|_| failed())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.change().map_err(|_| failed())?;
        state.files.entry(self.path.clone()).or_default().resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        if state.fail_syncs {
            return Err(failed());
        }
        state.syncs += 1;
        if let Some(bytes) = state.files.get(&self.path).cloned() {
            state.on_medium.insert(self.path.clone(), bytes);
        }
        Ok(())
    }

    fn modified_ms(&self) -> Option<i64> {
        None
    }
}
