//! The directory of a store partition: lock, holder, and which database in it is the store.
//!
//! | file | |
//! |---|---|
//! | `LOCK` | locked by the process that has the store, for as long as it has it |
//! | `HOLDER` | `pid=… host=…` of the last process that took the lock. Read by those who find it locked, and nothing else depends on it |
//! | `STORE` | the store's address, to notice if two names led to one directory |
//! | `CURRENT` | the number of the database that is the store; absent: `1` |
//! | `1/`, `2/`, … | databases. One that is not current is the left-over of a rebuild and is deleted |
//!
//! A rebuild fills a new database beside the current one; writing `CURRENT` (a new file that is
//! renamed over the old one) puts it in its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{LockHolder, Result, StateError, StoreId};

/// A store partition's directory, locked.
#[derive(Debug)]
pub(super) struct PartitionDirectory {
    path: PathBuf,
    store: StoreId,
    current: AtomicU64,
    lock: File,
}

impl PartitionDirectory {
    /// Makes the directory if need be, locks it, and deletes what an interrupted rebuild left.
    pub(super) fn open(path: PathBuf, store: &StoreId, holder: &LockHolder) -> Result<Self> {
        fs::create_dir_all(&path).map_err(at("cannot make the state directory", &path))?;
        let lock = lock(&path, store)?;
        write_holder(&path, holder);
        check_store(&path, store)?;
        let current = read_current(&path, store)?;
        let directory = Self { path, store: store.clone(), current: AtomicU64::new(current), lock };
        for generation in generations(&directory.path)? {
            if generation != current {
                directory.remove_generation(generation)?;
            }
        }
        Ok(directory)
    }

    pub(super) fn store(&self) -> &StoreId {
        &self.store
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the database that is the store.
    pub(super) fn current(&self) -> u64 {
        self.current.load(Ordering::SeqCst)
    }

    /// Where the database of that number is.
    pub(super) fn generation(&self, generation: u64) -> PathBuf {
        self.path.join(generation.to_string())
    }

    /// Makes the database of that number the store.
    pub(super) fn set_current(&self, generation: u64) -> Result<()> {
        let target = self.path.join("CURRENT");
        replace(&target, format!("{generation}\n").as_bytes())
            .map_err(at("cannot write", &target))?;
        self.current.store(generation, Ordering::SeqCst);
        Ok(())
    }

    /// Deletes the database of that number.
    pub(super) fn remove_generation(&self, generation: u64) -> Result<()> {
        let path = self.generation(generation);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at("cannot delete", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes the directory.
    pub(super) fn destroy(path: &Path, store: &StoreId, holder: &LockHolder) -> Result<()> {
        let lock = lock(path, store)?;
        write_holder(path, holder);
        let deleted = fs::remove_dir_all(path).map_err(at("cannot delete", path));
        let _ = lock.unlock();
        deleted
    }
}

impl Drop for PartitionDirectory {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that another thread is just starting
        // has a copy of it, and with it the lock, until it runs its program.
        let _ = self.lock.unlock();
    }
}

/// Takes the lock, or says who has it.
fn lock(path: &Path, store: &StoreId) -> Result<File> {
    let lock_path = path.join("LOCK");
    loop {
        fs::create_dir_all(path).map_err(at("cannot make the state directory", path))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(at("cannot open", &lock_path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    store: store.clone(),
                    path: path.to_owned(),
                    holder: read_holder(path),
                });
            }
            Err(TryLockError::Error(error)) => return Err(at("cannot lock", &lock_path)(error)),
        }
        // Whoever had the lock may have deleted the directory: then this locks a file that no
        // one else will find.
        if same_file(&file, &lock_path) {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// Where an open file cannot be deleted, the path still leads to it.
#[cfg(not(unix))]
fn same_file(_: &File, _: &Path) -> bool {
    true
}

/// Best effort: without it the error for others is less helpful, nothing else.
fn write_holder(path: &Path, holder: &LockHolder) {
    let mut text = String::new();
    if let Some(pid) = holder.pid {
        text.push_str(&format!("pid={pid}\n"));
    }
    if let Some(host) = &holder.host {
        text.push_str(&format!("host={host}\n"));
    }
    let _ = fs::write(path.join("HOLDER"), text);
}

fn read_holder(path: &Path) -> LockHolder {
    let mut holder = LockHolder::default();
    for line in fs::read_to_string(path.join("HOLDER")).unwrap_or_default().lines() {
        match line.split_once('=') {
            Some(("pid", pid)) => holder.pid = pid.parse().ok(),
            Some(("host", host)) => holder.host = Some(host.into()),
            _ => {}
        }
    }
    holder
}

fn check_store(path: &Path, store: &StoreId) -> Result<()> {
    let file = path.join("STORE");
    let text = format!("{}\n{}\n{}\n", store.store_name, store.stream_id, store.partition);
    match fs::read_to_string(&file) {
        Ok(found) if found == text => Ok(()),
        // An empty file is what a power loss may leave of a new one.
        Ok(found) if !found.is_empty() => Err(StateError::Incompatible {
            store: store.clone(),
            detail: format!(
                "the directory {} belongs to the store {:?}; use another `state_dir`",
                path.display(),
                found.trim_end()
            ),
        }),
        _ => replace(&file, text.as_bytes()).map_err(at("cannot write", &file)),
    }
}

fn read_current(path: &Path, store: &StoreId) -> Result<u64> {
    let file = path.join("CURRENT");
    match fs::read_to_string(&file) {
        Ok(text) => text.trim_end().parse().map_err(|_| StateError::Corrupted {
            store: store.clone(),
            path: path.to_owned(),
            detail: "its file CURRENT does not hold a number".into(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
        Err(error) => Err(at("cannot read", &file)(error)),
    }
}

fn generations(path: &Path) -> Result<Vec<u64>> {
    let entries = fs::read_dir(path).map_err(at("cannot list", path))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// All store partitions below a group's directory, as `STORE` names them.
pub(super) fn partitions(root: &Path) -> Result<Vec<(StoreId, PathBuf)>> {
    let mut found = Vec::new();
    let mut level = vec![root.to_owned()];
    for _ in 0..3 {
        let mut next = Vec::new();
        for directory in level {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at("cannot list", &directory)(error)),
            };
            next.extend(
                entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()),
            );
        }
        level = next;
    }
    level.sort();
    for path in level {
        let Ok(text) = fs::read_to_string(path.join("STORE")) else { continue };
        let mut lines = text.lines();
        if let (Some(name), Some(stream), Some(partition)) =
            (lines.next(), lines.next(), lines.next())
            && let Ok(partition) = partition.parse()
        {
            found.push((StoreId::new(stream, name, partition), path));
        }
    }
    Ok(found)
}

/// Writes a file whole or not at all, and makes sure that it is there after a power loss.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(directory) = path.parent() {
        // Not every system can sync a directory; the rename is atomic all the same.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(())
}

/// Longest part of a name that is kept; file systems take 255 bytes.
const LONGEST: usize = 200;

/// A name as one component of a path. Different names give different components, except that
/// long ones share their first 200 bytes and differ by a hash; `STORE` tells those apart.
pub(super) fn component(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        // A dot may not lead: `.` and `..` are places of their own.
        if plain || (byte == b'.' && !text.is_empty()) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    if text.is_empty() {
        text.push('%');
    }
    if text.len() > LONGEST {
        // FNV-1a: the same on every machine and in every version.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        text.truncate(LONGEST);
        text.push_str(&format!("%{hash:016x}"));
    }
    text
}

pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_harmless_components() {
        assert_eq!(component("orders-1_a.b"), "orders-1_a.b");
        assert_eq!(component(".."), "%2e.");
        assert_eq!(component("../etc/passwd"), "%2e.%2fetc%2fpasswd");
        assert_eq!(component(""), "%");
        assert_eq!(component("%2f"), "%252f");
        assert_eq!(component("é"), "%c3%a9");
        let (a, b) = ("x".repeat(300), format!("{}y", "x".repeat(299)));
        assert_ne!(component(&a), component(&b));
        assert!(component(&"é".repeat(300)).len() < 255);
    }

    fn open(path: &Path, store: &StoreId, pid: u32) -> Result<PartitionDirectory> {
        let holder = LockHolder { pid: Some(pid), host: Some("alpha".into()) };
        PartitionDirectory::open(path.to_owned(), store, &holder)
    }

    /// ST-22: locked exclusively; the error names the holder.
    #[test]
    fn st_22_a_second_open_is_told_who_has_it() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let path = temp.path().join("0");
        let store = StoreId::new("orders", "default", 0);
        let first = open(&path, &store, 41).expect("nobody has it");
        let error = open(&path, &store, 42).expect_err("the first has it");
        assert!(error.is_retriable());
        assert_eq!(error.exception_name(), "PartitionStoreIsUsed");
        assert!(error.to_string().contains("process 41 on alpha"), "{error}");
        assert!(error.to_string().contains("state_dir"), "{error}");
        drop(first);
        open(&path, &store, 42).expect("the first let go");
    }

    /// A child process that is being started holds a copy of the file; the lock goes all the same.
    #[test]
    fn a_copy_of_the_file_does_not_keep_the_lock() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let store = StoreId::new("orders", "default", 0);
        let first = open(temp.path(), &store, 1).expect("nobody has it");
        let copy = first.lock.try_clone().expect("a copy");
        drop(first);
        open(temp.path(), &store, 2).expect("the first let go");
        drop(copy);
    }

    #[test]
    fn a_directory_belongs_to_one_store() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        drop(open(temp.path(), &StoreId::new("a", "default", 0), 1).expect("new"));
        let error = open(temp.path(), &StoreId::new("b", "default", 0), 1).expect_err("another's");
        assert!(matches!(error, StateError::Incompatible { .. }), "{error}");
    }

    #[test]
    fn what_is_not_current_is_deleted_at_an_open() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let store = StoreId::new("a", "default", 0);
        let directory = open(temp.path(), &store, 1).expect("new");
        assert_eq!(directory.current(), 1);
        for generation in 1..=3 {
            fs::create_dir(directory.generation(generation)).expect("a new directory");
        }
        directory.set_current(2).expect("it can be written");
        drop(directory);
        let directory = open(temp.path(), &store, 1).expect("it is free");
        assert_eq!(directory.current(), 2);
        assert_eq!(generations(temp.path()).expect("it can be listed"), [2]);
        let (holder, path) = (LockHolder::default(), temp.path());
        PartitionDirectory::destroy(path, &store, &holder).expect_err("it is open");
        drop(directory);
        PartitionDirectory::destroy(path, &store, &holder).expect("it is free");
        assert!(!temp.path().exists());
    }
}
