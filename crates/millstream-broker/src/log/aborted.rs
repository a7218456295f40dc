//! A segment's index of aborted transactions: the `.txnindex` file, in Kafka's own form.
//!
//! Readers of committed data get all records up to the last stable offset, and with them the
//! list of aborted transactions whose records they must skip (KIP-98). An entry stands in the
//! segment that holds the transaction's abort marker. Unlike the other indexes this one decides
//! what readers see, so an entry that cannot be written waits in memory, and no further segment
//! is begun before it is in the file; after a crash it is rebuilt with the segment.

use std::io;

use crate::disk::DiskFile;
use crate::journal::Fields;

/// Version in front of each entry, as Kafka writes it.
const VERSION: i16 = 0;
/// Bytes of an entry.
const SIZE: usize = 34;
/// Entries read at once.
const CHUNK: usize = 128;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    /// Offset of its first record in this partition.
    pub(crate) first_offset: i64,
    /// Offset of the marker that ended it.
    pub(crate) last_offset: i64,
    /// The last stable offset once it had ended: all transactions with records below it had.
    pub(crate) stable_offset: i64,
}

impl Aborted {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for number in [self.producer_id, self.first_offset, self.last_offset, self.stable_offset] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let version = i16::from_be_bytes(fields.fixed()?);
        (version == VERSION).then_some(())?;
        Some(Self {
            producer_id: fields.i64()?,
            first_offset: fields.i64()?,
            last_offset: fields.i64()?,
            stable_offset: fields.i64()?,
        })
    }
}

/// The index: entries in the order in which the transactions ended.
pub(crate) struct AbortedIndex {
    file: Box<dyn DiskFile>,
    /// Entries in the file.
    written: usize,
    /// Entries that the file does not have yet.
    pending: Vec<Aborted>,
    /// Where the last transaction of all entries ended.
    last_offset: i64,
}

impl AbortedIndex {
    /// Opens the file as it is.
    pub(crate) fn open(file: Box<dyn DiskFile>) -> io::Result<Self> {
        let written = file.size()? as usize / SIZE;
        let mut index = Self { file, written, pending: Vec::new(), last_offset: -1 };
        if written > 0 {
            index.last_offset = index.read(written - 1, 1)?[0].last_offset;
        }
        Ok(index)
    }

    /// Starts with no entry, whatever is in the file.
    pub(crate) fn create(file: Box<dyn DiskFile>) -> io::Result<Self> {
        if file.size()? > 0 {
            file.truncate(0)?;
        }
        Ok(Self { file, written: 0, pending: Vec::new(), last_offset: -1 })
    }

    /// Whether there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.written == 0 && self.pending.is_empty()
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// Goes on with the same file under another name.
    pub(super) fn move_to(&mut self, file: Box<dyn DiskFile>) {
        self.file = file;
    }

    /// Adds an entry, unless it is there already: a start that goes on with a segment may meet
    /// the last ones again. It counts even if it cannot be written yet.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn push(&mut self, entry: Aborted) -> io::Result<()> {
        if entry.last_offset <= self.last_offset {
            return Ok(());
        }
        self.last_offset = entry.last_offset;
        self.pending.push(entry);
        self.flush()
    }

    /// Writes what waits in memory.
    ///
    /// # Errors
    /// What the disk says; it goes on waiting then.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * SIZE);
        for entry in &self.pending {
            entry.encode(&mut bytes);
        }
        self.file.write_at(&bytes, (self.written * SIZE) as u64)?;
        self.written += self.pending.len();
        self.pending.clear();
        Ok(())
    }

    /// Waits until the entries are on the medium.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.written == 0 { Ok(()) } else { self.file.sync() }
    }

    /// Adds to `out` the transactions with records in `from..to`. Returns whether the segments
    /// behind this one cannot hold any more of them.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn collect(&self, from: i64, to: i64, out: &mut Vec<Aborted>) -> io::Result<bool> {
        // Entries are ordered by their last offset: skip those that ended before the range.
        let (mut low, mut high) = (0, self.written);
        while low < high {
            let middle = (low + high) / 2;
            if self.read(middle, 1)?[0].last_offset < from {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        while low < self.written {
            let entries = self.read(low, CHUNK.min(self.written - low))?;
            low += entries.len();
            if take(&entries, from, to, out) {
                return Ok(true);
            }
        }
        Ok(take(&self.pending, from, to, out))
    }

    fn read(&self, at: usize, count: usize) -> io::Result<Vec<Aborted>> {
        let mut bytes = vec![0; count * SIZE];
        let read = self.file.read_at(&mut bytes, (at * SIZE) as u64)?;
        if read < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unknown = || io::Error::other("an entry of a .txnindex is of an unknown version");
        bytes.chunks(SIZE).map(|entry| Aborted::decode(entry).ok_or_else(unknown)).collect()
    }
}

/// Whether the end of the range was reached: what ended later has no record in it.
fn take(entries: &[Aborted], from: i64, to: i64, out: &mut Vec<Aborted>) -> bool {
    for entry in entries {
        if entry.last_offset >= from && entry.first_offset < to {
            out.push(*entry);
        }
        if entry.stable_offset >= to {
            return true;
        }
    }
    false
}
