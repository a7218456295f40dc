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
    /// Whether it contains `compact`: only then does every record need a key.
    pub(crate) compact: bool,
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

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            delete: true,
            compact: false,
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
