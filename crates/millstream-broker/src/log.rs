//! The log of one partition: Kafka's record batches, as they came, in files of bounded size.
//!
//! ```text
//! DIR/00000000000000000000.log        batches from offset 0 on
//! DIR/00000000000000000000.index      offset -> place in the .log, every few KB
//! DIR/00000000000000000000.timeindex  timestamp -> offset, likewise
//! DIR/00000000000000000000.txnindex   aborted transactions, what readers of committed data skip
//! DIR/00000000000000012345.log        the next segment; only the last one is written to
//! DIR/00000000000000012345.snapshot   producers' sequence numbers and open
//!                                     transactions before that offset
//! DIR/00000000000000012345.clean      compacted up to that offset
//! DIR/00000000000000012345.gaps       below that offset batches may be missing
//! ```
//!
//! A segment is named by its first offset. Indexes are sparse and can be rebuilt; what lies in
//! the `.log` decides. Nothing of a log is held in memory but a few numbers per segment and the
//! producers' state: a fetch reads from the file, or says where in it the records lie.
//!
//! *What an acknowledgement means:* the batch has been handed to the operating system with a
//! completed `write`. It survives the end of the process by any means, not a power loss. The
//! settings `flush.messages` and `flush.ms` (Kafka's own) make the log wait for the medium; a
//! segment that is complete has been waited for in any case.
//!
//! *Invariants:* offsets in the file grow, by one where the log was never compacted; `start_offset <= end_offset`; the last segment takes
//! the appends; after a crash the last segment is cut at the first batch whose checksum fails.

mod aborted;
mod append;
mod compaction;
mod config;
mod index;
mod marker;
mod producers;
mod read;
mod recover;
mod retention;
mod segment;
mod swap;
mod window;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use aborted::Aborted;
pub(crate) use append::{AppendError, Appended};
pub(crate) use config::{LogConfig, TimestampType};
pub(crate) use marker::{Marker, MarkerError};
pub(crate) use read::{Batches, Position};
pub(crate) use recover::Recovery;

use crate::disk::Disk;
use producers::{ActiveProducer, Producers};
use segment::Segment;

/// The only leader epoch there is: a single node never loses its partitions to another.
pub(crate) const LEADER_EPOCH: i32 = 0;
/// Bound on what unpacking one batch may produce.
pub(crate) const UNPACKED_MAX: usize = 128 << 20;

/// The log of one partition.
pub(crate) struct PartitionLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Ordered by first offset, never empty.
    segments: Vec<Segment>,
    start_offset: i64,
    end_offset: i64,
    producers: Producers,
    places: read::Places,
    unflushed: u64,
    /// Markers that are in the log, but whose wait for the medium has failed.
    unsynced_markers: Vec<Marker>,
    last_flush_ms: i64,
    /// Whether files were made whose names may not be on the medium.
    names_unsynced: bool,
    /// A snapshot in the middle of a segment; the next one replaces it.
    loose_snapshot: Option<i64>,
    /// Bytes that came after the last snapshot.
    since_snapshot: u64,
    compacted: swap::Compacted,
    /// A compaction that is under way.
    cleaning: Option<Box<compaction::Cleaning>>,
    /// A replacement of segments that a failing disk has stopped.
    swap: Option<swap::UnfinishedSwap>,
    /// Wall-clock time of the last compaction that failed.
    cleaning_failed_ms: Option<i64>,
}

impl PartitionLog {
    /// First offset that can be read.
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Offset that the next record will get. On a single node this is the high watermark too.
    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Offset below which no transaction is open: readers of committed data may read up to it.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        // Records below the start are gone, whatever became of their transaction.
        let open = self.producers.first_open_transaction();
        open.map_or(self.end_offset, |first| first.max(self.start_offset))
    }

    /// Bytes of all segments.
    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Active idempotent producers.
    pub(crate) fn active_producers(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.producers.iter()
    }

    /// The highest producer id below `limit` that the log remembers.
    pub(crate) fn highest_producer_id(&self, limit: i64) -> Option<i64> {
        self.producers.highest_id(limit)
    }

    fn last(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has at least one segment")
    }

    /// The segment that holds `offset`, by index; offsets below the first belong to the first.
    fn segment_of(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    /// Waits until all is on the medium, and notes the producers' state, so that the next start
    /// need not scan.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.abandon_cleaning();
        if self.last().size > 0 {
            self.last().flush_index()?;
        }
        // The next start believes it, even if the machine goes down right after the stop.
        for segment in &self.segments {
            segment.aborted.sync()?;
        }
        self.flush(self.last_flush_ms)?;
        self.write_producer_snapshot()
    }

    /// Notes the producers' state, also if there are none: without a snapshot a start would have
    /// to look at every batch to know that.
    fn write_producer_snapshot(&mut self) -> io::Result<()> {
        if self.producers.is_empty() && self.size() == 0 {
            return Ok(());
        }
        let offset = self.end_offset;
        let file = self.disk.file(&snapshot_path(&self.dir, offset));
        if self.last().base == offset && file.size()? > 0 {
            // Written and synced when the segment was begun, and nothing has come since. It may be
            // all that remembers the producers: it must not be in pieces for a moment.
            return Ok(());
        }
        file.truncate(0)?;
        file.write_at(&self.producers.encode(), 0)?;
        // One at the beginning of a segment stays with it.
        let in_the_middle = self.last().base != offset;
        match std::mem::replace(&mut self.loose_snapshot, in_the_middle.then_some(offset)) {
            Some(old) if old != offset => self.disk.remove_file(&snapshot_path(&self.dir, old)),
            _ => Ok(()),
        }
    }
}

fn snapshot_path(dir: &Path, offset: i64) -> PathBuf {
    dir.join(format!("{offset:020}.snapshot"))
}

#[cfg(test)]
mod tests;
