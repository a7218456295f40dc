//! Control batches: the markers that end a transaction in a partition (KIP-98), and what they
//! do to the log.

use std::io;

use millstream_protocol::{
    Batch, BatchHeader, Compression, ControlType, HEADER_LEN, RecordBatchBuilder,
};

use super::aborted::Aborted;
use super::{LEADER_EPOCH, LogConfig, PartitionLog};
use crate::journal::Fields;

/// Version of a marker's key and of its value.
const VERSION: [u8; 2] = [0, 0];

/// The end of a producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    /// The epoch that the producer has from now on; older ones are fenced by it.
    pub(crate) epoch: i16,
    pub(crate) commit: bool,
    /// Which coordinator decided; an administrator's tool repeats what DescribeProducers said.
    pub(crate) coordinator_epoch: i32,
}

/// Why a marker is not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkerError {
    /// The producer has a newer epoch here.
    #[error("the producer's epoch in the partition is newer than the marker's")]
    Fenced,
    /// A newer coordinator has written a marker already.
    #[error("a newer coordinator has written markers for the producer")]
    CoordinatorFenced,
    /// The marker is in the log and counts, but the wait for the medium that the settings ask for
    /// has failed.
    #[error("a marker is in the partition's log but not on the medium: {source}")]
    NotSynced {
        /// Size of its batch.
        bytes: usize,
        /// What the disk says.
        source: io::Error,
    },
    /// The disk failed.
    #[error("cannot write a marker: {0}")]
    Disk(#[from] io::Error),
}

impl Marker {
    /// The control batch, to be appended at `base_offset`.
    fn encode(&self, base_offset: i64, now_ms: i64) -> io::Result<Vec<u8>> {
        let kind: [u8; 2] = if self.commit { [0, 1] } else { [0, 0] };
        let key = [VERSION, kind].concat();
        let value = [&VERSION[..], &self.coordinator_epoch.to_be_bytes()].concat();
        let mut builder = RecordBatchBuilder::new(Compression::None)
            .producer(self.producer_id, self.epoch, millstream_protocol::NO_SEQUENCE)
            .transactional()
            .control()
            .leader_epoch(LEADER_EPOCH);
        builder.push(now_ms, Some(&key), Some(&value), []);
        builder.finish(base_offset).map_err(io::Error::other)
    }

    /// Reads a control batch; `None` if it is not a transaction's marker.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let batch = Batch::parse(bytes).ok()?;
        let mut scratch = Vec::new();
        let record = batch.records(&mut scratch, 0).ok()?.next()?.ok()?;
        let mut value = Fields(record.value?);
        let _version: [u8; 2] = value.fixed()?;
        Some(Self {
            producer_id: batch.header().producer_id,
            epoch: batch.header().producer_epoch,
            commit: record.control_type()? == ControlType::Commit,
            coordinator_epoch: value.i32()?,
        })
    }
}

impl PartitionLog {
    /// Ends a producer's transaction in this partition. Returns the bytes that were added: none if
    /// this repeats a marker whose wait for the medium has failed. Such a marker counts already;
    /// what is made up for is the wait.
    ///
    /// # Errors
    /// See [`MarkerError`]; the log has changed only with [`NotSynced`](MarkerError::NotSynced).
    pub(crate) fn write_marker(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
        marker: &Marker,
    ) -> Result<usize, MarkerError> {
        if let Some((epoch, coordinator_epoch)) = self.producers.epochs_of(marker.producer_id) {
            if marker.epoch < epoch {
                return Err(MarkerError::Fenced);
            }
            if marker.coordinator_epoch < coordinator_epoch {
                return Err(MarkerError::CoordinatorFenced);
            }
        }
        let is_open = self.producers.transaction_of(marker.producer_id).is_some();
        if !is_open && self.unsynced_markers.contains(marker) {
            let flushed = self.flush(now_ms);
            return flushed
                .map(|()| 0)
                .map_err(|source| MarkerError::NotSynced { bytes: 0, source });
        }
        let offset = self.end_offset;
        let bytes = marker.encode(offset, now_ms)?;
        let (head, records) = bytes.split_first_chunk::<HEADER_LEN>().expect("it has a header");
        match self.write(config, now_ms, head, records) {
            Err(source) if self.end_offset > offset => {
                self.unsynced_markers.push(*marker);
                Err(MarkerError::NotSynced { bytes: bytes.len(), source })
            }
            Err(error) => Err(MarkerError::Disk(error)),
            Ok(()) => Ok(bytes.len()),
        }
    }

    /// Whether a marker of that producer and epoch is missing here: what an interrupted end of a
    /// transaction has not done yet.
    pub(crate) fn lacks_marker(&self, producer_id: i64, epoch: i16) -> bool {
        let known = self.producers.epochs_of(producer_id);
        self.producers.transaction_of(producer_id).is_some()
            || known.is_none_or(|(known, _)| known < epoch)
    }

    /// Producers with an open transaction: id and epoch.
    pub(crate) fn open_transactions(&self) -> Vec<(i64, i16)> {
        self.producers.open_transactions().collect()
    }

    /// Aborted transactions with records in `from..to`: what a reader of committed data skips.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn aborted_in(&self, from: i64, to: i64) -> io::Result<Vec<Aborted>> {
        let mut found = Vec::new();
        for segment in &self.segments[self.segment_of(from)..] {
            if segment.aborted.collect(from, to, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// Notes a batch that lies in the segment of that number: its producer's sequence numbers,
    /// and what a marker ends. A batch of a segment whose index of aborted transactions is
    /// believed does not go into it again (`index` is false then).
    pub(super) fn note_producer(
        &mut self,
        segment: usize,
        header: &BatchHeader,
        marker: Option<Marker>,
        now_ms: i64,
        index: bool,
    ) {
        let Some(marker) = marker else {
            self.producers.note(header, now_ms);
            return;
        };
        let ended = self.producers.end(&marker, now_ms);
        let Some(first_offset) = ended.filter(|_| !marker.commit && index) else { return };
        let last_offset = header.last_offset();
        let open = self.producers.first_open_transaction();
        let entry = Aborted {
            producer_id: marker.producer_id,
            first_offset,
            last_offset,
            stable_offset: open.unwrap_or(last_offset + 1),
        };
        if let Err(error) = self.segments[segment].aborted.push(entry) {
            tracing::warn!(
                dir = %self.dir.display(),
                %error,
                "cannot write the index of aborted transactions; it is kept in memory"
            );
        }
    }
}
