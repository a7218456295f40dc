//! What is in the cache and what is on the medium.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Latency, Loss};
use crate::random::SplitMix64;

/// A write is torn at multiples of this many bytes, or at any byte.
const SECTOR: usize = 512;

#[derive(Default)]
struct Inode {
    bytes: Vec<u8>,
    medium: Vec<u8>,
    /// Changes that nobody has waited for.
    pending: Vec<Pending>,
}

enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Pending {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => put(bytes, *at, written),
            Self::Length(len) => bytes.resize(*len, 0),
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    if bytes.len() < at + written.len() {
        bytes.resize(at + written.len(), 0);
    }
    bytes[at..at + written.len()].copy_from_slice(written);
}

enum NameChange {
    Dir(PathBuf),
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
    NoDirs(PathBuf),
}

impl NameChange {
    fn concerns(&self, dir: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(dir);
        match self {
            Self::Dir(path) | Self::Link(path, _) | Self::Unlink(path) | Self::NoDirs(path) => {
                within(path)
            }
            Self::Rename(from, to) => within(from) || within(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>, dirs: &mut BTreeSet<PathBuf>) {
        match self {
            Self::Dir(path) => {
                dirs.insert(path.clone());
            }
            Self::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::NoDirs(path) => dirs.retain(|dir| !dir.starts_with(path)),
        }
    }
}

pub(super) struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    pub(super) dirs: BTreeSet<PathBuf>,
    names_on_medium: BTreeMap<PathBuf, u64>,
    dirs_on_medium: BTreeSet<PathBuf>,
    /// Changes of names that nobody has waited for, in order.
    name_changes: Vec<NameChange>,
    pub(super) random: SplitMix64,
    pub(super) latency: Latency,
    pub(super) die_at: Option<(u64, usize)>,
    pub(super) dead: bool,
}

impl State {
    pub(super) fn new(random: SplitMix64) -> Self {
        let root = BTreeSet::from([PathBuf::from("/")]);
        Self {
            inodes: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            dirs: root.clone(),
            names_on_medium: BTreeMap::new(),
            dirs_on_medium: root,
            name_changes: Vec::new(),
            random,
            latency: Latency::FAST,
            die_at: None,
            dead: false,
        }
    }

    /// Counts a change. `Err` with what lands of it if the process dies here or is dead.
    pub(super) fn step(&mut self) -> Result<(), usize> {
        if self.dead {
            return Err(0);
        }
        match &mut self.die_at {
            Some((1, kept)) => {
                self.dead = true;
                Err(*kept)
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<&[u8]> {
        Some(&self.inodes[self.names.get(path)?].bytes)
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, usize)> {
        let row = |(path, inode): (&PathBuf, &u64)| (path.clone(), self.inodes[inode].bytes.len());
        self.names.iter().map(row).collect()
    }

    pub(super) fn files_under(&self, dir: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.starts_with(dir)).cloned().collect()
    }

    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = self
            .names
            .keys()
            .chain(&self.dirs)
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        // A real folder has no order; the broker must not rely on this one.
        let offset = self.random.clone().below(names.len() as u64) as usize;
        names.rotate_left(offset);
        names
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names, &mut self.dirs);
        self.name_changes.push(change);
    }

    pub(super) fn make_dir(&mut self, dir: &Path) {
        self.change_name(NameChange::Dir(dir.to_owned()));
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        if self.names.contains_key(path) {
            self.change_name(NameChange::Unlink(path.to_owned()));
        }
    }

    pub(super) fn remove_dirs(&mut self, dir: &Path) {
        self.change_name(NameChange::NoDirs(dir.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// The file, made if there is none. Its folder must be there.
    fn file(&mut self, path: &Path) -> io::Result<&mut Inode> {
        if !self.names.contains_key(path) {
            if !path.parent().is_some_and(|dir| self.dirs.contains(dir)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let inode = self.next_inode;
            self.next_inode += 1;
            self.inodes.insert(inode, Inode::default());
            self.change_name(NameChange::Link(path.to_owned(), inode));
        }
        Ok(self.inodes.get_mut(&self.names[path]).expect("names lead to files"))
    }

    pub(super) fn write(&mut self, path: &Path, at: usize, written: &[u8]) -> io::Result<()> {
        let file = self.file(path)?;
        put(&mut file.bytes, at, written);
        file.pending.push(Pending::Write(at, written.to_vec()));
        Ok(())
    }

    pub(super) fn truncate(&mut self, path: &Path, len: usize) -> io::Result<()> {
        let file = self.file(path)?;
        file.bytes.resize(len, 0);
        file.pending.push(Pending::Length(len));
        Ok(())
    }

    pub(super) fn sync(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let file = self.inodes.get_mut(inode).expect("names lead to files");
        for change in file.pending.drain(..) {
            change.apply(&mut file.medium);
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let (synced, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.name_changes)
            .into_iter()
            .partition(|change| change.concerns(dir));
        for change in synced {
            change.apply(&mut self.names_on_medium, &mut self.dirs_on_medium);
        }
        self.name_changes = rest;
    }

    pub(super) fn power_loss(&mut self, loss: Loss) {
        let changes = std::mem::take(&mut self.name_changes);
        let kept = match loss {
            Loss::Everything => 0,
            Loss::ByChance => self.random.below(changes.len() as u64 + 1) as usize,
        };
        for change in &changes[..kept] {
            change.apply(&mut self.names_on_medium, &mut self.dirs_on_medium);
        }
        // A folder whose own name is lost takes along what was in it.
        let dirs = self.dirs_on_medium.clone();
        let reachable = |path: &Path| path.ancestors().skip(1).all(|dir| dirs.contains(dir));
        self.dirs_on_medium.retain(|dir| reachable(dir));
        self.names_on_medium.retain(|path, _| reachable(path));
        self.names = self.names_on_medium.clone();
        self.dirs = self.dirs_on_medium.clone();
        let used: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| used.contains(inode));
        for file in self.inodes.values_mut() {
            let pending = std::mem::take(&mut file.pending);
            if loss == Loss::ByChance {
                // Mostly all or nothing of a file, and now and then any mixture.
                let keep = self.random.below(3);
                for change in pending {
                    match keep {
                        0 => {}
                        1 => change.apply(&mut file.medium),
                        _ => keep_some(&change, &mut file.medium, &mut self.random),
                    }
                }
            }
            file.bytes = file.medium.clone();
        }
    }
}

/// Keeps a change, loses it, or tears it: at a sector, at any byte, or in the middle.
fn keep_some(change: &Pending, medium: &mut Vec<u8>, random: &mut SplitMix64) {
    let how = random.below(5);
    let Pending::Write(at, written) = change else {
        if how < 3 {
            change.apply(medium);
        }
        return;
    };
    match how {
        0 => {}
        1 | 2 => change.apply(medium),
        3 => {
            let kept = random.below(written.len() as u64 + 1) as usize;
            put(medium, *at, &written[..kept]);
        }
        _ => {
            for (index, sector) in written.chunks(SECTOR).enumerate() {
                if random.chance(500_000) {
                    put(medium, at + index * SECTOR, sector);
                }
            }
        }
    }
}
