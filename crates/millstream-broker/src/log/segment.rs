//! One segment: a `.log` file with its indexes.

use std::io;
use std::path::{Path, PathBuf};

use millstream_protocol::{BatchHeader, HEADER_LEN};

use super::aborted::AbortedIndex;
use super::index::{Index, OffsetEntry, TimeEntry};
use crate::disk::{Disk, DiskFile};

/// What a segment's files end with.
pub(super) const FILE_KINDS: [&str; 4] = ["log", "index", "timeindex", "txnindex"];
/// The first of them.
pub(super) const LOG: usize = 0;

/// New index entries wait in memory until there are this many, so that an append costs one write.
/// What a start after a crash must scan grows with it.
const PENDING_MAX: usize = 16;

/// What can be known of a segment without its file.
pub(crate) struct Segment {
    /// First offset.
    pub(crate) base: i64,
    /// Bytes of valid batches.
    pub(crate) size: u64,
    /// Highest timestamp, and where the batch with it starts; -1 if there is none.
    pub(crate) max_timestamp: i64,
    pub(crate) max_timestamp_offset: i64,
    /// Timestamp of the first batch: rolling by time counts from it.
    pub(crate) first_timestamp: Option<i64>,
    /// When the last batch came, for retention of records without timestamps.
    pub(crate) last_append_ms: i64,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) offsets: Index<OffsetEntry>,
    pub(crate) times: Index<TimeEntry>,
    pub(crate) aborted: AbortedIndex,
    bytes_since_index: u64,
    /// While a start reads the segment, its indexes wait in memory: see
    /// [`release_index`](Self::release_index).
    held: bool,
    /// Whether the entry of the next batch is to be written at once.
    flush_next: bool,
    paths: [PathBuf; 4],
}

impl Segment {
    /// Starts an empty segment, over whatever files there are.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<Self> {
        Self::create_at(disk, paths_of(dir, base), base)
    }

    /// The same under other names.
    pub(super) fn create_at(disk: &dyn Disk, paths: [PathBuf; 4], base: i64) -> io::Result<Self> {
        Ok(Self {
            base,
            size: 0,
            max_timestamp: -1,
            max_timestamp_offset: base,
            first_timestamp: None,
            last_append_ms: 0,
            file: disk.file(&paths[0]),
            offsets: Index::create(disk.file(&paths[1]))?,
            times: Index::create(disk.file(&paths[2]))?,
            aborted: AbortedIndex::create(disk.file(&paths[3]))?,
            bytes_since_index: u64::MAX / 2,
            held: false,
            flush_next: false,
            paths,
        })
    }

    /// Opens a segment whose files are believed: the log's length and the indexes' last entries.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<Self> {
        let paths = paths_of(dir, base);
        let file = disk.file(&paths[0]);
        let mut segment = Self {
            base,
            size: file.size()?,
            max_timestamp: -1,
            max_timestamp_offset: base,
            first_timestamp: None,
            last_append_ms: file.modified_ms().unwrap_or(0),
            file,
            offsets: Index::open(disk.file(&paths[1]))?,
            times: Index::open(disk.file(&paths[2]))?,
            aborted: AbortedIndex::open(disk.file(&paths[3]))?,
            bytes_since_index: 0,
            held: false,
            flush_next: false,
            paths,
        };
        if let Some(last) = segment.times.last() {
            segment.max_timestamp = last.timestamp;
            segment.max_timestamp_offset = base + i64::from(last.offset);
        }
        if segment.size > 0 {
            segment.first_timestamp = Some(segment.header_at(0)?.max_timestamp);
        }
        Ok(segment)
    }

    /// Whether the index is there: the first batch of a segment always has an entry.
    pub(crate) fn has_index(&self) -> bool {
        self.size == 0 || self.offsets.last().is_some()
    }

    /// Reads the batch header at `place`.
    pub(crate) fn header_at(&self, place: u64) -> io::Result<BatchHeader> {
        let mut bytes = [0; HEADER_LEN];
        let read = self.file.read_at(&mut bytes, place)?;
        BatchHeader::parse(&bytes[..read])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads the whole batch at `place`, whose header that is.
    pub(crate) fn batch_at(&self, place: u64, header: &BatchHeader) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; header.size()];
        let read = self.file.read_at(&mut bytes, place)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Notes a batch that has just been written at the end of the file.
    pub(crate) fn note(
        &mut self,
        header: &BatchHeader,
        now_ms: i64,
        index_interval: u64,
    ) -> io::Result<()> {
        let place = self.size;
        self.size += header.size() as u64;
        self.last_append_ms = now_ms;
        self.first_timestamp.get_or_insert(header.max_timestamp);
        // A batch that compaction has emptied has the timestamp of a record that is gone.
        if header.max_timestamp > self.max_timestamp && header.record_count > 0 {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.base_offset;
        }
        if self.bytes_since_index > index_interval {
            self.bytes_since_index = 0;
            let offset = self.relative(header.base_offset);
            self.offsets.push(OffsetEntry { offset, place: place as u32 });
            self.push_time();
        }
        self.bytes_since_index = self.bytes_since_index.saturating_add(header.size() as u64);
        let enough = self.offsets.pending() >= PENDING_MAX || self.flush_next;
        if !enough || self.held {
            return Ok(());
        }
        self.flush_next = false;
        self.flush_entries()
    }

    /// Writes the last time entry, so that the highest timestamp can be read from the file, and
    /// all that waits in memory. Called when another segment takes over.
    pub(crate) fn flush_index(&mut self) -> io::Result<()> {
        if self.max_timestamp >= 0 {
            self.push_time();
        }
        self.flush_entries()
    }

    /// The offsets go last: a start believes the other indexes as far as this one reaches.
    fn flush_entries(&mut self) -> io::Result<()> {
        self.aborted.flush()?;
        self.times.flush()?;
        self.offsets.flush()
    }

    /// Gives the next batch an index entry, and writes that at once.
    pub(super) fn index_next(&mut self) {
        self.bytes_since_index = u64::MAX / 2;
        self.flush_next = true;
    }

    /// Keeps new entries of the sparse indexes in memory.
    pub(super) fn hold_index(&mut self) {
        self.held = true;
    }

    /// Writes what was held: now the index of aborted transactions has all that belongs to it. A
    /// start that is interrupted before finds an index that is not there, or reaches as far as
    /// the others.
    pub(super) fn release_index(&mut self, is_complete: bool) -> io::Result<()> {
        self.held = false;
        if !is_complete {
            return self.flush_entries();
        }
        // Nobody waits for the indexes of a complete segment later on.
        if self.max_timestamp >= 0 {
            self.push_time();
        }
        self.aborted.flush()?;
        self.aborted.sync()?;
        self.times.flush()?;
        self.times.sync()?;
        self.offsets.flush()?;
        self.offsets.sync()
    }

    fn push_time(&mut self) {
        let offset = self.relative(self.max_timestamp_offset);
        self.times.push(TimeEntry { timestamp: self.max_timestamp, offset });
    }

    /// Whether an offset is too far from the first one to be written as 32 bits.
    pub(crate) fn is_out_of_offsets(&self, offset: i64) -> bool {
        offset - self.base > i64::from(i32::MAX)
    }

    fn relative(&self, offset: i64) -> u32 {
        u32::try_from(offset - self.base).expect("a segment is rolled before 32 bits run out")
    }

    /// Bytes of the larger of the two sparse indexes.
    pub(super) fn index_bytes(&self) -> u64 {
        self.offsets.byte_size().max(self.times.byte_size())
    }

    /// When the newest of its records is from: by its timestamp, or by when it came.
    pub(super) fn newest_ms(&self) -> i64 {
        if self.max_timestamp >= 0 { self.max_timestamp } else { self.last_append_ms }
    }

    /// Completes a segment that is not written to any more: all four files are there, also those
    /// with nothing in them, and on the medium, and the log has the age of its last batch.
    pub(super) fn complete(&mut self) -> io::Result<()> {
        self.flush_index()?;
        let empty = [self.size == 0, self.offsets.is_empty(), self.times.is_empty()];
        let files = [&*self.file, self.offsets.file(), self.times.file(), self.aborted.file()];
        for (file, empty) in files.iter().zip(empty.into_iter().chain([self.aborted.is_empty()])) {
            if empty {
                file.truncate(0)?;
            }
        }
        self.file.set_modified_ms(self.last_append_ms)?;
        files.iter().try_for_each(|file| file.sync())
    }

    /// Gives one of the files another name; no error if it has that one.
    pub(super) fn rename(&mut self, disk: &dyn Disk, kind: usize, to: PathBuf) -> io::Result<()> {
        if self.paths[kind] == to {
            return Ok(());
        }
        disk.rename(&self.paths[kind], &to)?;
        let file = disk.file(&to);
        match kind {
            LOG => self.file = file,
            1 => self.offsets.move_to(file),
            2 => self.times.move_to(file),
            _ => self.aborted.move_to(file),
        }
        self.paths[kind] = to;
        Ok(())
    }

    /// Waits until the written part of the indexes is on the medium.
    pub(crate) fn sync_index(&self) -> io::Result<()> {
        self.offsets.sync()?;
        self.times.sync()?;
        self.aborted.sync()
    }

    /// Waits until the log is on the medium.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Removes the files.
    pub(crate) fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        // The log first: without it the others are ignored at the next start.
        for path in &self.paths {
            disk.remove_file(path)?;
        }
        Ok(())
    }
}

fn paths_of(dir: &Path, base: i64) -> [PathBuf; 4] {
    [0, 1, 2, 3].map(|kind| path_of(dir, base, kind))
}

/// One of the files of a segment, by its place in [`FILE_KINDS`].
pub(super) fn path_of(dir: &Path, base: i64, kind: usize) -> PathBuf {
    dir.join(format!("{base:020}.{}", FILE_KINDS[kind]))
}
