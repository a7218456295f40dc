//! Fetched bytes into record batches, as many records at a time as are asked for. Runs on the
//! thread that polls, outside of the machine's lock.

use std::collections::HashSet;
use std::ops::Range;

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
    /// Records from this offset on are gone from the log since (KIP-320).
    pub(super) until: Offset,
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
    /// Records that were handed out.
    records: usize,
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
            records: 0,
            chunk,
        }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.chunk.partition
    }

    pub(super) fn reading(&self) -> u64 {
        self.chunk.reading
    }

    /// Hands nothing out any more from `offset` on.
    pub(super) fn cut(&mut self, offset: Offset) {
        self.chunk.until = self.chunk.until.min(offset);
    }

    /// Bytes that it counts for.
    pub(super) fn size(&self) -> usize {
        self.chunk.size()
    }

    /// Records that were handed out so far.
    pub(super) fn records(&self) -> usize {
        self.records
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
            if self.batch.is_none() {
                match self.open_next() {
                    Ok(true) => {}
                    Ok(false) => break,
                    // What was read before it is handed out first; then the error comes again.
                    Err(_) if !run.entries.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
            let Some(batch) = &mut self.batch else { continue };
            // One arena a batch: what is uncompressed shares the fetched bytes. One that gave no
            // record is nobody's: compaction may have left nothing in a batch that was wanted.
            match &run.arena {
                Some(arena) if arena.as_ptr() == batch.arena.as_ptr() => {}
                Some(_) if !run.entries.is_empty() => break,
                _ => run.arena = Some(batch.arena.clone()),
            }
            let wanted = self.chunk.from..self.chunk.until;
            let done = batch.take(&wanted, &mut run, &mut self.position);
            if let Err(error) = done {
                if run.entries.is_empty() {
                    return Err(Unreadable { offset: self.position, error });
                }
                break;
            }
            if batch.is_done() {
                let next = batch.header.next_offset().min(self.chunk.until);
                self.position = self.position.max(next);
                self.batch = None;
            }
        }
        let Some(arena) = run.arena.filter(|_| !run.entries.is_empty()) else { return Ok(None) };
        self.records += run.entries.len();
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
        if header.base_offset >= self.chunk.until {
            return Ok(false);
        }
        // Where to read on from: what comes before was not asked for, or is handed out.
        let offset = header.base_offset.max(self.position);
        if header.last_offset() < self.chunk.from {
            self.at += batch.bytes().len();
            return Ok(true);
        }
        if self.chunk.check_crcs {
            batch.check().map_err(unreadable(offset))?;
        }
        let (start, end) = (self.at, self.at + batch.bytes().len());
        let wanted = self.is_wanted(&batch).map_err(unreadable(offset))?;
        if !wanted {
            self.at = end;
            let next = header.next_offset().min(self.chunk.until);
            self.position = self.position.max(next);
            return Ok(true);
        }
        let codec = header.attributes.compression().map_err(unreadable(offset))?;
        self.batch = Some(match codec {
            Compression::None => OpenBatch {
                header,
                arena: self.chunk.records.clone(),
                at: start + HEADER_LEN,
                end,
                index: 0,
            },
            codec => {
                let mut unpacked = Vec::new();
                codec
                    .unpack(&batch.bytes()[HEADER_LEN..], &mut unpacked, UNPACKED_MAX)
                    .map_err(unreadable(offset))?;
                let end = unpacked.len();
                OpenBatch { header, arena: unpacked.into(), at: 0, end, index: 0 }
            }
        });
        // Not before it is open: an error comes again.
        self.at = end;
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
        wanted: &Range<Offset>,
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
                Some(Ok(record)) if record.offset < wanted.start => {}
                Some(Ok(record)) if record.offset >= wanted.end => {
                    index = self.header.record_count;
                    break Ok(());
                }
                Some(Ok(record)) => {
                    let ranges = ranges(&record, base);
                    if !run.fits(ranges.size) {
                        // It comes first in the next run.
                        break Ok(());
                    }
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
    /// Whether a record was left for the next run.
    closed: bool,
}

impl Run {
    fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            arena: None,
            entries: Vec::with_capacity(records_max.min(1024)),
            bytes: 0,
            records_max,
            bytes_max,
            closed: false,
        }
    }

    /// Whether a record of that size is still within the bounds. A single record always is.
    fn fits(&mut self, size: usize) -> bool {
        self.closed = !self.entries.is_empty() && self.bytes + size > self.bytes_max;
        !self.closed
    }

    fn is_full(&self) -> bool {
        self.closed || self.entries.len() >= self.records_max || self.bytes >= self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A batch of a log, as a test describes it.
    #[derive(Clone, Debug)]
    enum Written {
        /// Records of a producer; those of a transaction count if it commits.
        Records { producer: Option<i64>, count: usize, codec: Compression, headers: bool },
        /// The end of a producer's transaction.
        Marker { producer: i64, commit: bool },
    }

    fn written() -> impl Strategy<Value = Written> {
        let codec = prop::sample::select(Compression::ALL.to_vec());
        prop_oneof![
            4 => (prop::option::of(0..3i64), 1..6usize, codec, any::<bool>()).prop_map(
                |(producer, count, codec, headers)| Written::Records { producer, count, codec, headers }
            ),
            1 => (0..3i64, any::<bool>())
                .prop_map(|(producer, commit)| Written::Marker { producer, commit }),
        ]
    }

    /// A log, its aborted transactions, and what a reader of either kind must see: offset, value
    /// and number of headers.
    #[derive(Default)]
    struct Log {
        bytes: Vec<u8>,
        aborted: Vec<(i64, Offset)>,
        all: Vec<(Offset, String, usize)>,
        committed: Vec<(Offset, String, usize)>,
        /// Where batches end.
        cuts: Vec<usize>,
    }

    fn log(batches: &[Written]) -> Log {
        let mut log = Log::default();
        let mut offset = 100;
        let mut open: HashMap<i64, (Offset, Vec<usize>)> = HashMap::new();
        let mut gone = HashSet::new();
        for written in batches {
            let bytes = match written {
                Written::Records { producer, count, codec, headers } => {
                    let mut builder = RecordBatchBuilder::new(*codec).leader_epoch(3);
                    if let Some(producer) = producer {
                        builder = builder.producer(*producer, 0, 0).transactional();
                    }
                    let base = offset;
                    for _ in 0..*count {
                        let value = format!("value {offset}");
                        let list: Vec<(&str, Option<&[u8]>)> = match headers {
                            true => vec![("a", Some(b"1")), ("b", None)],
                            false => vec![],
                        };
                        builder.push(offset, Some(b"k"), Some(value.as_bytes()), list);
                        let slot = log.all.len();
                        log.all.push((offset, value, if *headers { 2 } else { 0 }));
                        if let Some(producer) = producer {
                            open.entry(*producer).or_insert((base, vec![])).1.push(slot);
                        }
                        offset += 1;
                    }
                    builder.finish(base).unwrap()
                }
                Written::Marker { producer, commit } => {
                    if let Some((first, slots)) = open.remove(producer)
                        && !commit
                    {
                        log.aborted.push((*producer, first));
                        gone.extend(slots);
                    }
                    let mut builder = RecordBatchBuilder::new(Compression::None)
                        .producer(*producer, 0, NO_SEQUENCE)
                        .transactional()
                        .control();
                    let kind = u8::from(*commit);
                    builder.push(offset, Some(&[0, 0, 0, kind]), Some(&[0; 6]), []);
                    let base = offset;
                    offset += 1;
                    builder.finish(base).unwrap()
                }
            };
            log.bytes.extend_from_slice(&bytes);
            log.cuts.push(log.bytes.len());
        }
        log.aborted.sort_by_key(|(_, first)| *first);
        // A broker serves up to the last stable offset: open transactions are not in the bytes.
        let stable = open.values().map(|(first, _)| *first).min().unwrap_or(Offset::MAX);
        log.committed = log
            .all
            .iter()
            .enumerate()
            .filter(|(slot, (offset, ..))| !gone.contains(slot) && *offset < stable)
            .map(|(_, record)| record.clone())
            .collect();
        log
    }

    fn read(chunk: Chunk, records_max: usize, bytes_max: usize) -> Vec<(Offset, String, usize)> {
        let mut open = OpenChunk::new(chunk);
        let mut seen = Vec::new();
        while let Some(batch) = open.next(records_max, bytes_max).unwrap() {
            assert!(!batch.is_empty() && batch.len() <= records_max);
            for record in batch.iter() {
                let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                assert_eq!((record.key(), record.leader_epoch()), (Some(&b"k"[..]), Some(3)));
                assert_eq!(record.headers().iter().count(), record.headers().len());
                seen.push((record.offset(), value, record.headers().len()));
            }
            assert!(open.position() > seen.last().unwrap().0);
        }
        seen
    }

    fn chunk(records: Vec<u8>, from: Offset, aborted: Vec<(i64, Offset)>) -> Chunk {
        Chunk {
            partition: TopicPartition::new("t", 0),
            reading: 1,
            records: records.into(),
            from,
            until: Offset::MAX,
            aborted,
            check_crcs: true,
        }
    }

    use std::collections::HashMap;

    use millstream_protocol::{NO_SEQUENCE, RecordBatchBuilder};

    proptest! {
        /// Whatever the bounds and wherever the fetch began, what is handed out is what was
        /// written, each record once and in order.
        #[test]
        fn what_was_written_is_handed_out(
            batches in prop::collection::vec(written(), 1..12),
            from in 95i64..130,
            records_max in 1usize..9,
            bytes_max in 1usize..200,
        ) {
            let log = log(&batches);
            let seen = read(chunk(log.bytes.clone(), from, vec![]), records_max, bytes_max);
            let all: Vec<_> = log.all.into_iter().filter(|(offset, ..)| *offset >= from).collect();
            prop_assert_eq!(seen, all);
        }

        /// Compaction leaves holes in batches and empty batches, and what is left is handed out.
        #[test]
        fn what_compaction_left_is_handed_out(
            batches in prop::collection::vec(written(), 1..12),
            gone in prop::collection::vec(any::<bool>(), 72),
            from in 95i64..130,
            records_max in 1usize..9,
        ) {
            let log = log(&batches);
            let gone = |offset: Offset| gone[(offset - 100) as usize];
            let mut rest = Vec::new();
            let mut start = 0;
            for end in log.cuts {
                let batch = Batch::parse(&log.bytes[start..end]).unwrap();
                let mut scratch = Vec::new();
                let mut builder = RecordBatchBuilder::rewriting(batch.header()).unwrap();
                for record in batch.records(&mut scratch, 1 << 20).unwrap().map(Result::unwrap) {
                    if !gone(record.offset) {
                        let delta = (record.offset - batch.header().base_offset) as i32;
                        builder.push_at(delta, record.timestamp, record.key, record.value, record.headers.iter());
                    }
                }
                rest.extend(builder.finish_rewritten().unwrap());
                start = end;
            }
            let seen = read(chunk(rest, from, vec![]), records_max, 1000);
            let is_left = |offset: Offset| offset >= from && !gone(offset);
            let left: Vec<_> = log.all.into_iter().filter(|(offset, ..)| is_left(*offset)).collect();
            prop_assert_eq!(seen, left);
        }

        /// Aborted transactions do not show, also when transactions overlap.
        #[test]
        fn only_committed_transactions_show(
            batches in prop::collection::vec(written(), 1..12),
            records_max in 1usize..9,
        ) {
            let mut all = batches;
            // Ends what is open, so that the whole log is stable.
            all.extend((0..3).map(|producer| Written::Marker { producer, commit: producer == 1 }));
            let log = log(&all);
            let seen = read(chunk(log.bytes, 100, log.aborted), records_max, usize::MAX);
            prop_assert_eq!(seen, log.committed);
        }

        /// A fetch that ends inside a batch gives the whole ones; the rest comes again.
        #[test]
        fn a_cut_off_batch_waits(batches in prop::collection::vec(written(), 1..6), at in any::<prop::sample::Index>()) {
            let log = log(&batches);
            let cut = at.index(log.bytes.len() + 1);
            let whole = log.cuts.iter().filter(|end| **end <= cut).max().copied().unwrap_or(0);
            let bytes = |end: usize| log.bytes[..end].to_vec();
            prop_assert_eq!(
                read(chunk(bytes(cut), 100, vec![]), 100, 1000),
                read(chunk(bytes(whole), 100, vec![]), 100, 1000)
            );
        }

        /// Whatever a broker sends: an error or records, never a panic, never an endless walk.
        #[test]
        fn damaged_bytes_are_refused(
            batches in prop::collection::vec(written(), 1..4),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            check_crcs in any::<bool>(),
        ) {
            let mut bytes = log(&batches).bytes;
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let mut open = OpenChunk::new(Chunk { check_crcs, ..chunk(bytes, 100, vec![]) });
            for _ in 0..1000 {
                match open.next(3, 50) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
            prop_assert!(false, "a walk without end");
        }
    }

    #[test]
    fn an_unreadable_batch_is_reported_after_what_comes_before_it() {
        let written = |count| Written::Records {
            producer: None,
            count,
            codec: Compression::None,
            headers: false,
        };
        let mut log = log(&[written(3), written(2)]);
        let last = log.bytes.len() - 1;
        log.bytes[last] ^= 1;
        let mut open = OpenChunk::new(chunk(log.bytes, 100, vec![]));
        let mut seen = 0;
        let error = loop {
            match open.next(10, 1000) {
                Ok(Some(batch)) => seen += batch.len(),
                Ok(None) => panic!("the damage was not seen"),
                Err(error) => break error,
            }
        };
        assert_eq!((seen, error.offset, open.position()), (3, 103, 103));
    }

    #[test]
    fn a_header_without_a_kafka_value_is_null() {
        let written =
            Written::Records { producer: None, count: 1, codec: Compression::None, headers: true };
        let mut open = OpenChunk::new(chunk(log(&[written]).bytes, 100, vec![]));
        let batch = open.next(10, 1000).unwrap().unwrap();
        let headers: Vec<_> = batch.get(0).headers().iter().collect();
        assert_eq!(headers, [("a", Some(&b"1"[..])), ("b", None)]);
    }
}
