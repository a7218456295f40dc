//! The machine's own file system.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Disk, DiskFile, Piece};

/// Handles kept open at most, and no more than half of what the process may have: sockets need
/// some, too. Each partition that is read or written wants up to three.
const OPEN_FILES_MAX: usize = 600;

/// The machine's file system, with a bounded number of open handles.
#[derive(Debug, Default)]
pub struct StdDisk {
    pool: Arc<Mutex<Pool>>,
}

/// Open handles by file, with the time of their last use.
#[derive(Debug)]
struct Pool {
    max: usize,
    open: HashMap<u64, (Arc<File>, u64)>,
    uses: u64,
    next_id: u64,
}

impl Default for Pool {
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = limit.and_then(|limit| usize::try_from(limit / 2).ok());
        let max = OPEN_FILES_MAX.min(half.unwrap_or(OPEN_FILES_MAX)).max(1);
        Self { max, open: HashMap::new(), uses: 0, next_id: 0 }
    }
}

impl Pool {
    fn get(&mut self, id: u64) -> Option<Arc<File>> {
        self.uses += 1;
        let (file, used) = self.open.get_mut(&id)?;
        *used = self.uses;
        Some(Arc::clone(file))
    }

    fn put(&mut self, id: u64, file: Arc<File>) {
        if self.open.len() >= self.max {
            // A tenth at once, so that the sort is paid rarely.
            self.close_oldest((self.max / 10).max(1));
        }
        self.open.insert(id, (file, self.uses));
    }

    fn close_oldest(&mut self, count: usize) {
        let mut by_use: Vec<(u64, u64)> =
            self.open.iter().map(|(id, (_, used))| (*used, *id)).collect();
        by_use.sort_unstable();
        for (_, id) in by_use.into_iter().take(count) {
            self.open.remove(&id);
        }
    }
}

impl Disk for StdDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match fs::read_dir(dir) {
            Ok(entries) => {
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_dir_all(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        missing_is_fine(fs::remove_file(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn file(&self, path: &Path) -> Box<dyn DiskFile> {
        let mut pool = self.pool.lock().expect("no panic while the lock is held");
        pool.next_id += 1;
        let id = pool.next_id;
        Box::new(StdFile { path: path.to_owned(), id, pool: Arc::clone(&self.pool) })
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[derive(Debug)]
struct StdFile {
    path: PathBuf,
    id: u64,
    pool: Arc<Mutex<Pool>>,
}

impl StdFile {
    fn handle(&self, create: bool) -> io::Result<Arc<File>> {
        let mut pool = self.pool.lock().expect("no panic while the lock is held");
        if let Some(file) = pool.get(self.id) {
            return Ok(file);
        }
        let open = || OpenOptions::new().read(true).write(true).create(create).open(&self.path);
        let file = match open() {
            // The rest of the process, sockets mostly, has taken what was left.
            Err(error) if is_out_of_handles(&error) && !pool.open.is_empty() => {
                let half = pool.open.len().div_ceil(2);
                pool.close_oldest(half);
                open()?
            }
            other => other?,
        };
        let file = Arc::new(file);
        pool.put(self.id, Arc::clone(&file));
        Ok(file)
    }
}

fn is_out_of_handles(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    error.raw_os_error().is_some_and(|code| codes.iter().any(|errno| errno.raw_os_error() == code))
}

impl Drop for StdFile {
    fn drop(&mut self) {
        if let Ok(mut pool) = self.pool.lock() {
            pool.open.remove(&self.id);
        }
    }
}

impl DiskFile for StdFile {
    fn size(&self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        let file = self.handle(false)?;
        let mut filled = 0;
        while filled < out.len() {
            match file.read_at(&mut out[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn piece(&self, at: u64, len: usize) -> io::Result<Piece> {
        Ok(Piece::File { file: self.handle(false)?, at, len })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.handle(true)?.write_all_at(bytes, at)
    }

    fn write_both_at(&self, first: &[u8], second: &[u8], mut at: u64) -> io::Result<()> {
        let file = self.handle(true)?;
        let mut parts = [IoSlice::new(first), IoSlice::new(second)];
        let mut rest = &mut parts[..];
        // Leaves out empty parts in front: writing nothing returns 0, which would count as an error.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(&*file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut rest, written);
                    at += written as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.handle(true)?.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle(false)?.sync_data()
    }

    fn modified_ms(&self) -> Option<i64> {
        let modified = fs::metadata(&self.path).ok()?.modified().ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    fn set_modified_ms(&self, at_ms: i64) -> io::Result<()> {
        let since = std::time::Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
        self.handle(false)?.set_modified(std::time::UNIX_EPOCH + since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_outlives_the_files_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = StdDisk::default();
        let file = disk.file(&path);
        file.write_at(b"0123456789", 0).unwrap();
        let (piece, beyond) = (file.piece(2, 5).unwrap(), file.piece(8, 5).unwrap());
        drop(file);
        disk.remove_file(&path).unwrap();
        assert_eq!(piece.into_bytes().unwrap(), "23456");
        assert_eq!(beyond.into_bytes().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn both_are_written_the_one_behind_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = StdDisk::default().file(&dir.path().join("file"));
        for (first, second, at, expected) in [
            (&b"head"[..], &b"body"[..], 0, &b"headbody"[..]),
            (b"", b"tail", 8, b"headbodytail"),
            (b"HE", b"", 0, b"HEadbodytail"),
            (b"", b"", 3, b"HEadbodytail"),
        ] {
            file.write_both_at(first, second, at).unwrap();
            let mut found = vec![0; 64];
            let read = file.read_at(&mut found, 0).unwrap();
            assert_eq!(&found[..read], expected);
        }
    }
}
