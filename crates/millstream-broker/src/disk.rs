//! The files the broker keeps, behind two small traits, so that a test can run on memory and
//! let any write fail or tear, and a simulation can crash at each of them.
//!
//! A [`DiskFile`] is a path with positioned reads and writes; whether a handle of the operating
//! system is open behind it is the implementation's business. [`StdDisk`] keeps a bounded
//! number of handles open, whatever the number of partitions. A [`Piece`] of a file keeps that file
//! open beside them until it is dropped.

mod memory;
mod piece;
mod real;

use std::io;
use std::path::Path;

pub use memory::MemoryDisk;
pub use piece::Piece;
pub use real::StdDisk;

/// A place for files and folders.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names of what lies directly in a folder, in no order; empty if there is no such folder.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Removes a folder and all in it; no error if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Removes a file; no error if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Renames a file over another, atomically.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Waits until the names in a folder (made, renamed, removed) are on the medium.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// A handle on a file, which need not exist yet: the first write makes it.
    fn file(&self, path: &Path) -> Box<dyn DiskFile>;
}

/// One file. Reads and writes state their position.
pub trait DiskFile: Send + Sync {
    /// Length in bytes; 0 if the file does not exist.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills as much of `out` as the file has bytes from `at` on and says how much that was.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize>;

    /// `len` bytes from `at` on, to be sent: read, or where they lie, if whoever sends them can take
    /// them from there.
    ///
    /// # Errors
    /// What the file system says; `UnexpectedEof` if there are fewer and they are read here. Of a
    /// piece in its file that turns out when it is read or sent.
    fn piece(&self, at: u64, len: usize) -> io::Result<Piece> {
        let mut bytes = vec![0; len];
        if self.read_at(&mut bytes, at)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Piece::Bytes(bytes.into()))
    }

    /// Writes all of `bytes` at `at`, making the file if there is none. On an error some bytes
    /// may have been written.
    ///
    /// # Errors
    /// What the file system says.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Writes the one behind the other as [`write_at`](Self::write_at) writes one, in one go.
    ///
    /// # Errors
    /// What the file system says.
    fn write_both_at(&self, first: &[u8], second: &[u8], at: u64) -> io::Result<()> {
        self.write_at(&[first, second].concat(), at)
    }

    /// Sets the length, making the file if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Waits until the bytes are on the medium.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;

    /// When the file was last changed, in milliseconds since the epoch; `None` if unknown.
    fn modified_ms(&self) -> Option<i64>;

    /// Sets when the file was last changed, in milliseconds since the epoch; a later write moves
    /// it again. Files that know no such time need not do anything.
    ///
    /// # Errors
    /// What the file system says.
    fn set_modified_ms(&self, at_ms: i64) -> io::Result<()> {
        let _ = at_ms;
        Ok(())
    }
}
