//! What can be wrong with the bytes of a batch.

use crate::Compression;

/// Why bytes are not a valid record batch. Each variant carries what a log line needs; the
/// caller adds topic, partition and offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside a batch header or inside the batch.
    #[error("the bytes end {missing} bytes before the end of the record batch")]
    Truncated {
        /// Bytes that are missing at least.
        missing: usize,
    },
    /// The batch states a length that no batch can have.
    #[error("a record batch states the impossible length {0}")]
    Length(i32),
    /// A message format other than 2.
    #[error("record batch format {0} is not supported; formats 0 and 1 are older than Kafka 0.11")]
    Magic(i8),
    /// The bytes were changed on their way.
    #[error("record batch checksum is {found:#010x} but its header states {stated:#010x}")]
    Checksum {
        /// Computed over the bytes.
        found: u32,
        /// Read from the header.
        stated: u32,
    },
    /// Compression bits 5, 6 and 7 mean nothing.
    #[error("unknown compression code {0}")]
    Codec(i16),
    /// The compressed bytes do not unpack.
    #[error("cannot unpack a {codec} record batch: {reason}")]
    Unpack {
        /// How the batch says that it is packed.
        codec: Compression,
        /// What the library said.
        reason: String,
    },
    /// Unpacking would need more memory than the caller allows.
    #[error("a {codec} record batch unpacks to more than {limit} bytes")]
    TooLarge {
        /// How the batch is packed.
        codec: Compression,
        /// The caller's bound.
        limit: usize,
    },
    /// A variable-length number has too many bytes, or the bytes end inside it.
    #[error("record {index} of the batch has a malformed number")]
    Varint {
        /// Which record, from 0.
        index: i32,
    },
    /// A length inside a record points outside of it.
    #[error("record {index} of the batch has a length outside the record")]
    RecordLength {
        /// Which record, from 0.
        index: i32,
    },
    /// A header's name is not UTF-8.
    #[error("record {index} of the batch has a header whose name is not UTF-8")]
    HeaderName {
        /// Which record, from 0.
        index: i32,
    },
    /// There are bytes behind the last record, or fewer records than stated.
    #[error("the record count {stated} of the batch does not fit its bytes")]
    Count {
        /// Number of records in the header.
        stated: i32,
    },
    /// Offsets inside the batch do not count up by one, or do not agree with the header.
    #[error("offsets of the batch's records do not count up to the header's last offset")]
    Offsets,
    /// Packing failed, or the batch has grown beyond what its fields can say.
    #[error("cannot build a record batch: {0}")]
    Build(String),
}
