//! Compaction against a slow, obvious twin, with a crash at every write, and rule by rule.

mod crashes;
mod rules;
mod twin;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millstream_protocol::{BatchIter, Compression, RecordBatchBuilder};

use super::*;
use crate::disk::{Disk, MemoryDisk};
use crate::log::{Marker, Recovery};

const DIR: &str = "/log";
const NOW: i64 = 1_700_000_000_000;
const MAP_BYTES: usize = 1 << 20;

fn open(disk: &MemoryDisk, config: &LogConfig, recovery: Recovery) -> PartitionLog {
    PartitionLog::open(Arc::new(disk.clone()), Path::new(DIR), config, 0, recovery).unwrap()
}

/// Compacts whatever is new, in segments of about two batches.
fn eager() -> LogConfig {
    LogConfig {
        segment_bytes: 200,
        index_interval_bytes: 50,
        delete: false,
        compact: true,
        min_cleanable_ratio: 0.0,
        delete_retention_ms: 1000,
        ..LogConfig::default()
    }
}

/// One record with a key.
fn keyed(key: &str, value: Option<&str>) -> Vec<u8> {
    keyed_batch(&[(key, value)], RecordBatchBuilder::new(Compression::None))
}

fn keyed_batch(records: &[(&str, Option<&str>)], mut builder: RecordBatchBuilder) -> Vec<u8> {
    for (key, value) in records {
        builder.push(NOW, Some(key.as_bytes()), value.map(str::as_bytes), []);
    }
    builder.finish(0).unwrap()
}

fn append(log: &mut PartitionLog, config: &LogConfig, bytes: &[u8]) -> i64 {
    log.append(config, NOW, bytes, &mut Vec::new()).unwrap().base_offset
}

fn end(log: &mut PartitionLog, config: &LogConfig, producer_id: i64, epoch: i16, commit: bool) {
    let marker = Marker { producer_id, epoch, commit, coordinator_epoch: 0 };
    log.write_marker(config, NOW, &marker).unwrap();
}

/// Compacts what the settings ask for. Returns whether they did.
fn clean(log: &mut PartitionLog, config: &LogConfig, now_ms: i64, map_bytes: usize) -> bool {
    let Some(dirty) = log.dirty(config, now_ms) else { return false };
    log.begin_cleaning(&dirty, now_ms, map_bytes).unwrap();
    while log.clean_some(config).unwrap() {}
    true
}

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    control: bool,
}

/// What a consumer gets that reads up to `end` in fetches of at most `max_bytes`; the aborted
/// transactions that come with each fetch are skipped as clients do it if `committed_only`.
fn consume(
    log: &mut PartitionLog,
    from: i64,
    end: i64,
    max_bytes: usize,
    committed_only: bool,
) -> Vec<Seen> {
    let mut position = from;
    let mut out = Vec::new();
    let mut last_end = -1;
    while position < end {
        let bytes = log.read(position, max_bytes, true, end).unwrap().unwrap();
        assert!(!bytes.is_empty(), "a reader would wait at {position} for ever, end {end}");
        let fetched: Vec<_> = BatchIter::new(&bytes).map(Result::unwrap).collect();
        let next = fetched.last().unwrap().header().next_offset();
        let mut aborted = log.aborted_in(position, next).unwrap();
        aborted.sort_by_key(|entry| entry.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut skipped = std::collections::HashSet::new();
        for batch in fetched {
            batch.check().unwrap();
            let header = *batch.header();
            assert!(header.base_offset > last_end, "offsets grow");
            assert!(header.last_offset() >= position, "it starts with the batch that is asked for");
            last_end = header.last_offset();
            while let Some(entry) = aborted.next_if(|a| a.first_offset <= header.last_offset()) {
                skipped.insert(entry.producer_id);
            }
            let control = header.attributes.is_control();
            if control && Marker::parse(batch.bytes()).is_some_and(|marker| !marker.commit) {
                skipped.remove(&header.producer_id);
            }
            let skip = committed_only
                && (control
                    || header.attributes.is_transactional()
                        && skipped.contains(&header.producer_id));
            for record in batch.records(&mut Vec::new(), 1 << 20).unwrap() {
                let record = record.unwrap();
                assert!((header.base_offset..=header.last_offset()).contains(&record.offset));
                if !skip && record.offset >= position {
                    out.push(Seen {
                        offset: record.offset,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                        timestamp: record.timestamp,
                        control,
                    });
                }
            }
        }
        position = next;
    }
    out
}

/// Key and value of what everybody sees.
fn texts(log: &mut PartitionLog) -> Vec<(i64, String, Option<String>)> {
    let end = log.end_offset();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let seen = consume(log, log.start_offset(), end, 1 << 20, false);
    seen.into_iter()
        .filter(|record| !record.control)
        .map(|record| (record.offset, text(record.key.unwrap()), record.value.map(text)))
        .collect()
}

/// All batch headers.
fn headers(log: &mut PartitionLog) -> Vec<millstream_protocol::BatchHeader> {
    let mut out = Vec::new();
    let mut position = log.start_offset();
    while position < log.end_offset() {
        let bytes = log.read(position, 1 << 20, true, i64::MAX).unwrap().unwrap();
        out.extend(BatchIter::new(&bytes).map(|batch| *batch.unwrap().header()));
        position = out.last().unwrap().next_offset();
    }
    out
}

/// The newest value of each key: what all this is about.
fn table(records: &[Seen]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut out = BTreeMap::new();
    for record in records.iter().filter(|record| !record.control) {
        match &record.value {
            Some(value) => out.insert(record.key.clone().unwrap(), value.clone()),
            None => out.remove(record.key.as_ref().unwrap()),
        };
    }
    out
}

fn bases(log: &PartitionLog) -> Vec<i64> {
    log.segments.iter().map(|segment| segment.base).collect()
}
