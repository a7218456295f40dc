//! Fetched bytes into record batches, as many records at a time as are asked for. Runs on the
//! thread that polls, outside of the machine's lock.

use std::collections::HashSet;

use bytes::Bytes;
use millstream_protocol::{
    Batch, BatchError, BatchHeader, Compression, ControlType, HEADER_LEN, Record, RecordIter,
};
use millstream_types::{
    Offset, RecordBatch, RecordEntry, RecordRanges, TimestampType, TopicPartition,
};

/// Most bytes that one compressed batch may unpack to. Kafka's own clients have no bound; this one
/// keeps a few hostile bytes from taking the memory of the machine.
const UNPACKED_MAX: usize = 1 << 30;

/// What one fetch brought of one partition.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) partition: TopicPartition,
    /// Which reading of the partition it belongs to; an older one's is dropped.
    pub(super) reading: u64,
    /// Whole batches, and perhaps the beginning of another.
    pub(super) records: Bytes,
    /// Records before this offset were not asked for: a batch comes whole.
    pub(super) from: Offset,
    /// Producer and first offset of transactions that were aborted, by first offset
    /// (`read_committed` only).
    pub(super) aborted: Vec<(i64, Offset)>,
    pub(super) check_crcs: bool,
}

/// A chunk that is being handed out.
#[derive(Debug)]
pub(super) struct OpenChunk {
    chunk: Chunk,
    /// Where the next batch begins.
    at: usize,
    /// Aborted transactions of the chunk that are not open yet.
    next_aborted: usize,
    /// Producers whose records belong to an aborted transaction here.
    aborting: HashSet<i64>,
    /// The batch that is half handed out.
    batch: Option<OpenBatch>,
    /// Offset behind the last record that was handed out or passed over.
    position: Offset,
}

/// A batch that is half handed out.
#[derive(Debug)]
struct OpenBatch {
    header: BatchHeader,
    arena: Bytes,
    /// Where the next record lies in the arena.
    at: usize,
    end: usize,
    index: i32,
}

/// A batch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Where it begins.
    pub(super) offset: Offset,
    pub(super) error: BatchError,
}

impl OpenChunk {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self {
            at: 0,
            next_aborted: 0,
            aborting: HashSet::new(),
            batch: None,
            position: chunk.from,
            chunk,
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.chunk.partition
    }

    pub(super) fn reading(&self) -> u64 {
        self.chunk.reading
    }

    /// Offset behind all that was handed out or passed over so far.
    pub(super) fn position(&self) -> Offset {
        self.position
    }

    /// The next records: at most `records_max`, and about `bytes_max` bytes of them. `None` when
    /// the chunk is used up.
    pub(super) fn next(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Option<RecordBatch>, Unreadable> {
        let mut run = Run::new(records_max, bytes_max);
        while !run.is_full() {
            if self.batch.is_none() && !self.open_next()? {
                break;
            }
            let Some(batch) = &mut self.batch else { continue };
            // One arena a batch: what is uncompressed shares the fetched bytes.
            if run.arena.as_ref().is_some_and(|arena| arena.as_ptr() != batch.arena.as_ptr()) {
                break;
            }
            run.arena.get_or_insert_with(|| batch.arena.clone());
            let done = batch.take(self.chunk.from, &mut run, &mut self.position);
            if let Err(error) = done {
                // What was read before it is handed out first; then the error comes again.
                if run.entries.is_empty() {
                    return Err(Unreadable { offset: self.position, error });
                }
                break;
            }
            if batch.is_done() {
                self.position = self.position.max(batch.header.next_offset());
                self.batch = None;
            }
        }
        let Some(arena) = run.arena.filter(|_| !run.entries.is_empty()) else { return Ok(None) };
        let partition = self.chunk.partition.clone();
        Ok(Some(RecordBatch::of_arena(partition, arena, run.entries, run.bytes)))
    }

    /// Opens the next batch that has records for the user. Returns whether there was a batch.
    fn open_next(&mut self) -> Result<bool, Unreadable> {
        // A share, so that what is kept of the chunk may change while the batch is looked at.
        let records = self.chunk.records.clone();
        let bytes = &records[self.at..];
        let unreadable = |offset| move |error| Unreadable { offset, error };
        let batch = match Batch::parse(bytes) {
            Ok(batch) => batch,
            // A fetch may end inside a batch; it comes again whole.
            Err(BatchError::Truncated { .. }) => return Ok(false),
            Err(error) => return Err(unreadable(self.position)(error)),
        };
        let header = *batch.header();
        if header.last_offset() < self.chunk.from {
            self.at += batch.bytes().len();
            return Ok(true);
        }
        if self.chunk.check_crcs {
            batch.check().map_err(unreadable(header.base_offset))?;
        }
        let start = self.at;
        let wanted = self.is_wanted(&batch).map_err(unreadable(header.base_offset))?;
        self.at += batch.bytes().len();
        if !wanted {
            self.position = self.position.max(header.next_offset());
            return Ok(true);
        }
        let codec = header.attributes.compression().map_err(unreadable(header.base_offset))?;
        self.batch = Some(match codec {
            Compression::None => OpenBatch {
                header,
                arena: self.chunk.records.clone(),
                at: start + HEADER_LEN,
                end: self.at,
                index: 0,
            },
            codec => {
                let mut unpacked = Vec::new();
                codec
                    .unpack(&batch.bytes()[HEADER_LEN..], &mut unpacked, UNPACKED_MAX)
                    .map_err(unreadable(header.base_offset))?;
                let end = unpacked.len();
                OpenBatch { header, arena: unpacked.into(), at: 0, end, index: 0 }
            }
        });
        Ok(true)
    }

    /// Whether a batch holds a user's records that count: no control batch, and not of an aborted
    /// transaction (KIP-98).
    fn is_wanted(&mut self, batch: &Batch<'_>) -> Result<bool, BatchError> {
        let header = batch.header();
        while let Some((producer, first)) = self.chunk.aborted.get(self.next_aborted)
            && *first <= header.last_offset()
        {
            self.aborting.insert(*producer);
            self.next_aborted += 1;
        }
        if header.attributes.is_control() {
            let mut scratch = Vec::new();
            let marker = batch.records(&mut scratch, 1 << 16)?.next().transpose()?;
            if marker.and_then(|marker| marker.control_type()) == Some(ControlType::Abort) {
                self.aborting.remove(&header.producer_id);
            }
            return Ok(false);
        }
        let aborted = header.attributes.is_transactional()
            && !self.aborting.is_empty()
            && self.aborting.contains(&header.producer_id);
        Ok(!aborted && header.record_count > 0)
    }
}

impl OpenBatch {
    fn is_done(&self) -> bool {
        self.index >= self.header.record_count
    }

    /// Moves records into `run` until it is full or the batch is done.
    fn take(
        &mut self,
        from: Offset,
        run: &mut Run,
        position: &mut Offset,
    ) -> Result<(), BatchError> {
        let timestamp_type = match self.header.attributes.is_log_append_time() {
            _ if self.header.max_timestamp < 0 => TimestampType::NotAvailable,
            true => TimestampType::LogAppendTime,
            false => TimestampType::CreateTime,
        };
        let epoch = self.header.leader_epoch;
        let base = self.arena.as_ptr().addr();
        let mut records =
            RecordIter::resume(self.header, &self.arena[self.at..self.end], self.index);
        let (mut rest, mut index);
        let done = loop {
            if run.is_full() {
                (rest, index) = (records.rest().len(), records.index());
                break Ok(());
            }
            (rest, index) = (records.rest().len(), records.index());
            match records.next() {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) if record.offset < from => {}
                Some(Ok(record)) => {
                    let ranges = ranges(&record, base);
                    run.bytes += ranges.size;
                    run.entries.push(RecordEntry::new(
                        record.offset,
                        record.timestamp,
                        timestamp_type,
                        epoch,
                        &ranges.ranges,
                    ));
                    *position = record.offset + 1;
                }
            }
        };
        // Not behind a record that cannot be read: it is reported again.
        self.at = self.end - rest;
        self.index = index;
        done
    }
}

struct Ranges {
    ranges: RecordRanges,
    size: usize,
}

/// Where the parts of a record lie, counted from the arena's address.
#[inline]
fn ranges(record: &Record<'_>, base: usize) -> Ranges {
    let range = |bytes: &[u8]| {
        let start = bytes.as_ptr().addr() - base;
        start..start + bytes.len()
    };
    let headers = record.headers.bytes();
    let size =
        record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers.len();
    let ranges = RecordRanges {
        key: record.key.map(range),
        value: record.value.map(range),
        // An empty slice may point anywhere.
        headers: if headers.is_empty() { 0..0 } else { range(headers) },
        header_count: record.headers.len(),
    };
    Ranges { ranges, size }
}

/// Records that are being gathered.
struct Run {
    arena: Option<Bytes>,
    entries: Vec<RecordEntry>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Run {
    fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            arena: None,
            entries: Vec::with_capacity(records_max.min(1024)),
            bytes: 0,
            records_max,
            bytes_max,
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.records_max || self.bytes >= self.bytes_max
    }
}
