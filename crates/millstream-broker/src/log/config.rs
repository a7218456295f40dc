//! The settings of a topic that its logs obey, as numbers.

/// Who sets a record's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, when it appends.
    LogAppendTime,
}

/// Effective settings of a topic; the names are Kafka's, times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    /// `segment.bytes`: a segment does not grow beyond this.
    pub(crate) segment_bytes: u64,
    /// `segment.ms`: a segment spans no longer time than this.
    pub(crate) segment_ms: i64,
    /// `retention.ms`; negative is unlimited.
    pub(crate) retention_ms: i64,
    /// `retention.bytes`; negative is unlimited.
    pub(crate) retention_bytes: i64,
    /// Whether `cleanup.policy` contains `delete`: only then does retention apply.
    pub(crate) delete: bool,
    /// Whether it contains `compact`: only then is the log compacted, and every record needs a key.
    pub(crate) compact: bool,
    /// `min.cleanable.dirty.ratio`: compact when more than this share of the bytes is new.
    pub(crate) min_cleanable_ratio: f64,
    /// `min.compaction.lag.ms`: records stay out of it for so long.
    pub(crate) min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: compact after so long whatever the share.
    pub(crate) max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: so long a tombstone stays after the first compaction that met it.
    pub(crate) delete_retention_ms: i64,
    /// `segment.index.bytes`: segments whose indexes are larger together are not made one.
    pub(crate) segment_index_bytes: u64,
    /// `max.message.bytes`: largest batch.
    pub(crate) max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub(crate) timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie in the past.
    pub(crate) timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far it may lie in the future.
    pub(crate) timestamp_after_max_ms: i64,
    /// `index.interval.bytes`: one index entry per so many bytes.
    pub(crate) index_interval_bytes: u64,
    /// `flush.messages`: wait for the medium after so many records.
    pub(crate) flush_messages: u64,
    /// `flush.ms`: and after so long.
    pub(crate) flush_ms: i64,
    /// `producer.id.expiration.ms` of the broker.
    pub(crate) producer_expiration_ms: i64,
    /// `compression.type`, if it is not `producer`: what batches are packed with anew.
    pub(crate) compression: Option<millstream_protocol::Compression>,
}

impl LogConfig {
    /// How much time a segment may span: one that is written to is not compacted, so
    /// `max.compaction.lag.ms` bounds it too (KIP-354).
    pub(crate) fn segment_span_ms(&self) -> i64 {
        match self.compact {
            true => self.segment_ms.min(self.max_compaction_lag_ms),
            false => self.segment_ms,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            delete: true,
            compact: false,
            min_cleanable_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 86_400_000,
            segment_index_bytes: 10 << 20,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            index_interval_bytes: 4096,
            flush_messages: i64::MAX as u64,
            flush_ms: i64::MAX,
            producer_expiration_ms: 86_400_000,
            compression: None,
        }
    }
}
