//! A disk that forgets: what nobody waited for may be gone after a power loss, whole, in part, or
//! not at all, in any order; a process can die at any change; and everything takes time.
//!
//! *The model.* Bytes and lengths of a file are on the medium after its `sync`. Names (made,
//! renamed, removed) are on the medium after `sync_dir` of their folder; a power loss keeps some
//! first part of the name changes that nobody waited for, as a journaling file system does. A lost
//! write leaves what was there before, or zeros where a later one has made the file longer.

mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_broker::disk::{Disk, DiskFile};

use self::state::State;
use crate::clock::HostClock;
use crate::random::SplitMix64;

/// How a machine loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All that nobody waited for is gone.
    Everything,
    /// Each change that nobody waited for is there, gone or torn, by chance.
    ByChance,
}

/// What an operation costs: the least and the most.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Writes, truncations and changes of names.
    pub change: (Duration, Duration),
    /// Waits for the medium.
    pub sync: (Duration, Duration),
}

impl Latency {
    /// A disk in good health.
    pub const FAST: Self = Self {
        change: (Duration::from_micros(5), Duration::from_micros(60)),
        sync: (Duration::from_micros(100), Duration::from_millis(2)),
    };
    /// One that is busy with something else.
    pub const SLOW: Self = Self {
        change: (Duration::from_millis(1), Duration::from_millis(60)),
        sync: (Duration::from_millis(20), Duration::from_millis(400)),
    };
}

/// The disk of one host. Clones share it; it outlives the process.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    clock: Arc<HostClock>,
}

impl SimDisk {
    /// An empty disk of a host with that clock.
    pub fn new(clock: Arc<HostClock>, random: SplitMix64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(random))), clock }
    }

    /// Lets the process die at its `nth` change or sync from now on (1 is the next), after that
    /// many bytes of it have landed if it is a write.
    pub fn die_at(&self, nth: u64, kept_bytes: usize) {
        self.lock().die_at = Some((nth.max(1), kept_bytes));
    }

    /// Takes [`die_at`](Self::die_at) back, if it has not come to that.
    pub fn spare(&self) {
        self.lock().die_at = None;
    }

    /// Whether the process has died; nothing it does counts any more.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The next process starts.
    pub fn revive(&self) {
        let mut state = self.lock();
        state.dead = false;
        state.die_at = None;
    }

    /// Takes what nobody waited for.
    pub fn power_loss(&self, loss: Loss) {
        self.lock().power_loss(loss);
    }

    /// What operations cost from now on.
    pub fn set_latency(&self, latency: Latency) {
        self.lock().latency = latency;
    }

    /// All files with their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        self.lock().files()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a change: the time it takes passes. `Err` with the bytes that still land if the
    /// process dies here, or has died before.
    fn change(&self, state: &mut State) -> Result<(), usize> {
        let cost = state.latency.change;
        self.spend(state, cost);
        state.step()
    }

    fn spend(&self, state: &mut State, (least, most): (Duration, Duration)) {
        let range = most.saturating_sub(least).as_nanos() as u64;
        let cost = least + Duration::from_nanos(state.random.below(range + 1));
        self.clock.pass(cost);
    }
}

fn died() -> io::Error {
    io::Error::other("the process has died")
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let mut missing: Vec<&Path> =
            dir.ancestors().take_while(|dir| !state.dirs.contains(*dir)).collect();
        while let Some(dir) = missing.pop() {
            self.change(&mut state).map_err(|_| died())?;
            state.make_dir(dir);
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        if state.dead {
            return Err(died());
        }
        Ok(state.list(dir))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        // One file after the other: a death leaves some of them.
        for path in state.files_under(dir) {
            self.change(&mut state).map_err(|_| died())?;
            state.unlink(&path);
        }
        self.change(&mut state).map_err(|_| died())?;
        state.remove_dirs(dir);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        self.change(&mut state).map_err(|_| died())?;
        state.unlink(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        self.change(&mut state).map_err(|_| died())?;
        state.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let cost = state.latency.sync;
        self.spend(&mut state, cost);
        state.step().map_err(|_| died())?;
        state.sync_dir(dir);
        Ok(())
    }

    fn file(&self, path: &Path) -> Box<dyn DiskFile> {
        Box::new(SimFile { path: path.to_owned(), disk: self.clone() })
    }
}

struct SimFile {
    path: PathBuf,
    disk: SimDisk,
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        if state.dead {
            return Err(died());
        }
        Ok(state.bytes(&self.path).map_or(0, |bytes| bytes.len() as u64))
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        if state.dead {
            return Err(died());
        }
        let bytes = state.bytes(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let from = bytes.len().min(usize::try_from(at).unwrap_or(usize::MAX));
        let length = out.len().min(bytes.len() - from);
        out[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        let outcome = self.disk.change(&mut state);
        let landing = match outcome {
            Ok(()) => bytes,
            Err(kept) => &bytes[..kept.min(bytes.len())],
        };
        if outcome.is_ok() || !landing.is_empty() {
            state.write(&self.path, at as usize, landing)?;
        }
        outcome.map_err(|_| died())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        self.disk.change(&mut state).map_err(|_| died())?;
        state.truncate(&self.path, len as usize)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        let cost = state.latency.sync;
        self.disk.spend(&mut state, cost);
        state.step().map_err(|_| died())?;
        state.sync(&self.path)
    }

    fn modified_ms(&self) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests;
