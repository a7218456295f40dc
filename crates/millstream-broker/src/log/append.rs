//! Taking a producer's batch into the log.

use std::io;

use millstream_protocol::{
    Batch, BatchError, BatchHeader, Compression, HEADER_LEN, RecordBatchBuilder, header,
};

use super::marker::Marker;
use super::producers::{Refusal, Verdict};
use super::segment::Segment;
use super::{LEADER_EPOCH, LogConfig, PartitionLog, TimestampType, UNPACKED_MAX};

/// Folders from a log up to the data directory: partition, topic, `topics`, and that one.
const DIR_DEPTH: usize = 4;

/// The producers' state is noted after so many bytes, and so many more per producer: a start after
/// a death of the process reads the headers that come behind.
const SNAPSHOT_BYTES: u64 = 1 << 20;
const SNAPSHOT_BYTES_PER_PRODUCER: u64 = 4 << 10;

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Offset of its first record.
    pub(crate) base_offset: i64,
    /// The time the broker set, -1 if the producer's timestamps stand.
    pub(crate) log_append_time: i64,
    /// Bytes that were added: 0 for a batch that was there already.
    pub(crate) bytes: usize,
}

/// Why a batch is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Nothing there, or bytes behind the batch, or more than one batch.
    #[error("a produce request carries exactly one record batch per partition")]
    NotOneBatch,
    /// Larger than the topic allows.
    #[error("the record batch has {size} bytes, max.message.bytes allows {limit}")]
    TooLarge {
        /// Size of the batch.
        size: usize,
        /// The setting.
        limit: usize,
    },
    /// Changed on the way, or not a batch.
    #[error(transparent)]
    Corrupt(BatchError),
    /// The header is sound but the records are not.
    #[error(transparent)]
    Invalid(BatchError),
    /// Only a broker writes markers.
    #[error("a producer may not write control records")]
    Control,
    /// A transaction of nobody could never end.
    #[error("a transactional record batch needs a producer id")]
    NoProducer,
    /// A batch outside of the producer's open transaction.
    #[error("producer {0} has a transaction open here and sent a batch that is not part of it")]
    OutsideTransaction(i64),
    /// Compaction keeps the last record of each key; one without could neither be kept nor go.
    #[error("the topic is compacted (cleanup.policy), so every record needs a key")]
    Keyless,
    /// A producer counts its records from 0 on.
    #[error("the batch has a producer id and the sequence number {0}")]
    Sequence(i32),
    /// Outside of what `message.timestamp.*.max.ms` allow.
    #[error("record timestamp {0} is too far from the broker's clock (message.timestamp.*.max.ms)")]
    Timestamp(i64),
    /// The producer's numbers do not fit.
    #[error("producer {id} sent sequence number {sequence}, which does not follow its last one")]
    OutOfOrder {
        /// Producer id.
        id: i64,
        /// First sequence number of the batch.
        sequence: i32,
    },
    /// A newer instance has taken over.
    #[error("producer {id} has been replaced by a newer instance (epoch {epoch} is old)")]
    Fenced {
        /// Producer id.
        id: i64,
        /// The epoch that is old.
        epoch: i16,
    },
    /// The batch is in the log and can be read, but the wait for the medium that the settings ask
    /// for has failed. A repetition waits anew.
    #[error("the record batch is in the partition's log but not on the medium: {source}")]
    NotSynced {
        /// Size of the batch.
        bytes: usize,
        /// What the disk says.
        source: io::Error,
    },
    /// The disk failed.
    #[error("cannot write the partition's log: {0}")]
    Disk(#[from] io::Error),
}

impl PartitionLog {
    /// Checks one batch of a producer and appends it. `scratch` is reused from call to call.
    ///
    /// # Errors
    /// See [`AppendError`]; the log has changed only with [`NotSynced`](AppendError::NotSynced).
    pub(crate) fn append(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
        records: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Appended, AppendError> {
        let batch = Batch::parse(records).map_err(AppendError::Corrupt)?;
        if batch.bytes().len() != records.len() {
            return Err(AppendError::NotOneBatch);
        }
        let newest = check_batch(&batch, config, now_ms, scratch)?;
        let sent = *batch.header();
        if sent.has_producer() {
            let (id, sequence, epoch) = (sent.producer_id, sent.base_sequence, sent.producer_epoch);
            match self.producers.check(&sent) {
                Ok(Verdict::New) => {}
                Ok(Verdict::Duplicate { base_offset, timestamp }) => {
                    // The sync of the first one may have failed.
                    self.flush_if_due(config, now_ms)?;
                    let stamped = config.timestamp_type == TimestampType::LogAppendTime;
                    let log_append_time = if stamped { timestamp } else { -1 };
                    return Ok(Appended { base_offset, log_append_time, bytes: 0 });
                }
                Err(Refusal::OutOfOrder) => return Err(AppendError::OutOfOrder { id, sequence }),
                Err(Refusal::Fenced) => return Err(AppendError::Fenced { id, epoch }),
                Err(Refusal::OutsideTransaction) => {
                    return Err(AppendError::OutsideTransaction(id));
                }
            }
        }
        let base_offset = self.end_offset;
        let stamped = config.timestamp_type == TimestampType::LogAppendTime;
        let mut changed = repack(&batch, config, scratch)?;
        // The time index and look-ups believe the header; some clients fill it carelessly.
        let careless = !stamped && newest != sent.max_timestamp;
        if stamped || careless {
            let bytes = changed.get_or_insert_with(|| batch.bytes().to_vec());
            match stamped {
                true => header::set_log_append_time(bytes, now_ms),
                false => header::set_max_timestamp(bytes, newest),
            }
        }
        // Offset and epoch are outside of the checksum: the records go from the request into the
        // file as they came.
        let bytes = changed.as_deref().unwrap_or(batch.bytes());
        let (head, records) = bytes.split_first_chunk::<HEADER_LEN>().expect("it has a header");
        let mut head = *head;
        header::set_base_offset(&mut head, base_offset);
        header::set_leader_epoch(&mut head, LEADER_EPOCH);
        if let Err(source) = self.write(config, now_ms, &head, records) {
            return Err(match self.end_offset > base_offset {
                true => AppendError::NotSynced { bytes: bytes.len(), source },
                false => AppendError::Disk(source),
            });
        }
        let log_append_time = if stamped { now_ms } else { -1 };
        Ok(Appended { base_offset, log_append_time, bytes: bytes.len() })
    }

    /// Writes a batch whose offset is set, header and records, at the end of the log. On an error it
    /// may be in the log all the same; the end offset tells.
    pub(super) fn write(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
        head: &[u8; HEADER_LEN],
        records: &[u8],
    ) -> io::Result<()> {
        let header = BatchHeader::parse(head).map_err(io::Error::other)?;
        self.roll_if_due(config, now_ms, &header)?;
        self.snapshot_if_due();
        let segment = self.segments.last_mut().expect("a log has at least one segment");
        if segment.size == 0 {
            self.disk.create_dir_all(&self.dir)?;
            self.names_unsynced = true;
        }
        if let Err(error) = segment.file.write_both_at(head, records, segment.size) {
            // Best effort: the next append overwrites what landed, and a start cuts it off.
            let _ = segment.file.truncate(segment.size);
            return Err(error);
        }
        self.end_offset = header.next_offset();
        self.since_snapshot += header.size() as u64;
        // The batch is in the log. An index that cannot be written is only slower.
        if let Err(error) = segment.note(&header, now_ms, config.index_interval_bytes) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot write an index");
        }
        let is_control = header.attributes.is_control();
        let marker = is_control.then(|| Marker::parse(&[head, records].concat())).flatten();
        self.note_producer(self.segments.len() - 1, &header, marker, now_ms, true);
        self.unflushed += header.record_count as u64;
        self.flush_if_due(config, now_ms)
    }

    /// Keeps `flush.messages`. What repeats something that is in the log already calls it too: the
    /// sync of the first attempt may have failed.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn flush_if_due(&mut self, config: &LogConfig, now_ms: i64) -> io::Result<()> {
        if self.unflushed >= config.flush_messages { self.flush(now_ms) } else { Ok(()) }
    }

    /// Notes the producers' state before the next batch, which gets an index entry that is written
    /// at once: a start goes on from the two together.
    fn snapshot_if_due(&mut self) {
        let per_producer = SNAPSHOT_BYTES_PER_PRODUCER * self.producers.len() as u64;
        if self.since_snapshot < SNAPSHOT_BYTES + per_producer {
            return;
        }
        self.since_snapshot = 0;
        match self.write_producer_snapshot() {
            Ok(()) => self.last().index_next(),
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot note the producers' state");
            }
        }
    }

    fn roll_if_due(
        &mut self,
        config: &LogConfig,
        now_ms: i64,
        header: &BatchHeader,
    ) -> io::Result<()> {
        let segment = self.last();
        if segment.size == 0 {
            return Ok(());
        }
        let full = segment.size + header.size() as u64 > config.segment_bytes;
        // As in Kafka: a segment's time runs by the records' timestamps, where they have some.
        let newest = if header.max_timestamp >= 0 { header.max_timestamp } else { now_ms };
        let old = segment.first_timestamp.is_some_and(|first| {
            first >= 0 && newest.saturating_sub(first) > config.segment_span_ms()
        });
        if full || old || segment.is_out_of_offsets(header.last_offset()) {
            self.roll()?;
        }
        Ok(())
    }

    /// Closes the last segment and starts the next one at the end offset. What is complete is on
    /// the medium: flushes need look at the last segment only, and so does a start after a reboot.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        self.last().flush_index()?;
        self.flush(self.last_flush_ms)?;
        self.last().sync_index()?;
        self.write_producer_snapshot()?;
        // What the older segments tell of producers goes with them, and this is what remains.
        let snapshot = self.disk.file(&super::snapshot_path(&self.dir, self.end_offset));
        // None is written of a log in which nothing is known.
        if snapshot.size()? > 0 {
            snapshot.sync()?;
        }
        // It belongs to the segment that begins here.
        self.loose_snapshot = None;
        self.since_snapshot = 0;
        let segment = Segment::create(&*self.disk, &self.dir, self.end_offset)?;
        // The file must be there: after the older ones are deleted, its name is what remembers
        // the end offset.
        segment.file.truncate(0)?;
        self.disk.sync_dir(&self.dir)?;
        self.segments.push(segment);
        Ok(())
    }

    /// Waits until what was appended is on the medium.
    pub(super) fn flush(&mut self, now_ms: i64) -> io::Result<()> {
        if self.unflushed > 0 {
            self.last().sync()?;
            if self.names_unsynced {
                // The partition's folder may be as new as its topic's.
                for dir in self.dir.ancestors().take(DIR_DEPTH) {
                    self.disk.sync_dir(dir)?;
                }
                self.names_unsynced = false;
            }
        }
        self.unflushed = 0;
        self.unsynced_markers.clear();
        self.last_flush_ms = now_ms;
        Ok(())
    }
}

/// Checks a producer's batch and returns the highest timestamp of its records.
fn check_batch(
    batch: &Batch<'_>,
    config: &LogConfig,
    now_ms: i64,
    scratch: &mut Vec<u8>,
) -> Result<i64, AppendError> {
    let size = batch.bytes().len();
    if size > config.max_message_bytes {
        return Err(AppendError::TooLarge { size, limit: config.max_message_bytes });
    }
    batch.check().map_err(AppendError::Corrupt)?;
    let attributes = batch.header().attributes;
    if attributes.is_control() {
        return Err(AppendError::Control);
    }
    if attributes.is_transactional() && !batch.header().has_producer() {
        return Err(AppendError::NoProducer);
    }
    let sequence = batch.header().base_sequence;
    if batch.header().has_producer() && sequence < 0 {
        return Err(AppendError::Sequence(sequence));
    }
    let stamped = config.timestamp_type == TimestampType::LogAppendTime;
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
    let mut refused = None;
    let mut newest = i64::MIN;
    let mut keyless = false;
    batch
        .validate(scratch, UNPACKED_MAX, |record| {
            let timestamp = record.timestamp;
            keyless |= record.key.is_none();
            newest = newest.max(timestamp);
            if timestamp != -1 && !(earliest..=latest).contains(&timestamp) {
                refused.get_or_insert(timestamp);
            }
        })
        .map_err(AppendError::Invalid)?;
    if keyless && config.compact {
        return Err(AppendError::Keyless);
    }
    match refused {
        Some(timestamp) if !stamped => Err(AppendError::Timestamp(timestamp)),
        _ => Ok(newest),
    }
}

/// The batch packed as `compression.type` asks; `None` if it stays as it came.
fn repack(
    batch: &Batch<'_>,
    config: &LogConfig,
    scratch: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, AppendError> {
    let sent = batch.header();
    let packed_with = sent.attributes.compression().map_err(AppendError::Invalid)?;
    let wanted: Compression = match config.compression {
        Some(wanted) if wanted != packed_with => wanted,
        _ => return Ok(None),
    };
    let mut builder = RecordBatchBuilder::new(wanted);
    if sent.has_producer() {
        builder = builder.producer(sent.producer_id, sent.producer_epoch, sent.base_sequence);
    }
    if sent.attributes.is_transactional() {
        builder = builder.transactional();
    }
    for record in batch.records(scratch, UNPACKED_MAX).map_err(AppendError::Invalid)? {
        let record = record.map_err(AppendError::Invalid)?;
        builder.push(record.timestamp, record.key, record.value, record.headers.iter());
    }
    builder.finish(0).map(Some).map_err(AppendError::Invalid)
}
