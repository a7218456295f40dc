//! A segment's two sparse indexes: files of fixed entries, searched in place.
//!
//! `.index` has 8 bytes an entry (offset counted from the segment's first, then place in the
//! `.log`, both u32); `.timeindex` has 12 (timestamp i64, offset u32): "up to here no record is
//! later than this". Big endian, as Kafka's own.

use std::io;

use crate::disk::DiskFile;

/// An entry of fixed size, ordered by what it is searched for.
pub(crate) trait Entry: Copy {
    const SIZE: usize;
    type Key: Ord + Copy;
    fn key(&self) -> Self::Key;
    fn decode(bytes: &[u8]) -> Self;
    fn encode(&self, out: &mut Vec<u8>);
}

/// The batch at `place` starts at `offset` (from the segment's first).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) offset: u32,
    pub(crate) place: u32,
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;
    type Key = u32;

    fn key(&self) -> u32 {
        self.offset
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { offset: u32_at(bytes, 0), place: u32_at(bytes, 4) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.place.to_be_bytes());
    }
}

/// The highest timestamp so far is in the batch that starts at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) offset: u32,
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;
    type Key = i64;

    fn key(&self) -> i64 {
        self.timestamp
    }

    fn decode(bytes: &[u8]) -> Self {
        let timestamp = i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
        Self { timestamp, offset: u32_at(bytes, 8) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// An index file: keys grow strictly from entry to entry.
pub(crate) struct Index<E> {
    file: Box<dyn DiskFile>,
    /// Entries in the file.
    written: usize,
    pending: Vec<E>,
    last: Option<E>,
}

impl<E: Entry> Index<E> {
    /// Opens the file as it is.
    pub(crate) fn open(file: Box<dyn DiskFile>) -> io::Result<Self> {
        let length = file.size()? as usize;
        let mut index = Self { file, written: length / E::SIZE, pending: Vec::new(), last: None };
        if index.written > 0 {
            index.last = Some(index.read(index.written - 1)?);
        }
        Ok(index)
    }

    /// Starts with no entry, whatever is in the file.
    pub(crate) fn create(file: Box<dyn DiskFile>) -> io::Result<Self> {
        if file.size()? > 0 {
            file.truncate(0)?;
        }
        Ok(Self { file, written: 0, pending: Vec::new(), last: None })
    }

    /// Whether there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Bytes of all entries.
    pub(super) fn byte_size(&self) -> u64 {
        ((self.written + self.pending.len()) * E::SIZE) as u64
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    /// Goes on with the same file under another name.
    pub(super) fn move_to(&mut self, file: Box<dyn DiskFile>) {
        self.file = file;
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<E> {
        self.last
    }

    /// Appends an entry, which waits in memory; one whose key is not larger than the last one's
    /// says nothing new.
    pub(crate) fn push(&mut self, entry: E) {
        if self.last.is_none_or(|last| entry.key() > last.key()) {
            self.last = Some(entry);
            self.pending.push(entry);
        }
    }

    /// Entries that wait in memory.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Writes what waits in memory. A lost index entry costs a longer scan, nothing else.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.encode(&mut bytes);
        }
        self.file.write_at(&bytes, (self.written * E::SIZE) as u64)?;
        self.written += self.pending.len();
        self.pending.clear();
        Ok(())
    }

    /// Waits until what is written is on the medium.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // Without entries there may be no file.
        if self.written == 0 { Ok(()) } else { self.file.sync() }
    }

    /// The last entry for which `before(key)` holds; it must hold for a prefix of the entries.
    pub(crate) fn last_where(&self, before: impl Fn(E::Key) -> bool) -> io::Result<Option<E>> {
        let (mut low, mut high) = (0, self.written + self.pending.len());
        let mut found = None;
        while low < high {
            let middle = (low + high) / 2;
            let entry = match middle.checked_sub(self.written) {
                Some(at) => self.pending[at],
                None => self.read(middle)?,
            };
            if before(entry.key()) {
                found = Some(entry);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    fn read(&self, number: usize) -> io::Result<E> {
        let mut bytes = [0; 12];
        let bytes = &mut bytes[..E::SIZE];
        let read = self.file.read_at(bytes, (number * E::SIZE) as u64)?;
        if read < E::SIZE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(E::decode(bytes))
    }
}
