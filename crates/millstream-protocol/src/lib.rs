//! Kafka's record batches (message format 2, KIP-98) as bytes: walk, check and build them.
//!
//! Kafka stores, sends and replicates records in *batches*. The broker of this project and its
//! own client share this crate and nothing else. Requests and responses around the batches come
//! from the `kafka-protocol` crate; the batches themselves are the hot path, so they are handled
//! here without an allocation per record:
//!
//! * [`BatchIter`] splits bytes into [`Batch`]es and looks at headers only.
//! * [`Batch::check`] compares the checksum; [`Batch::records`] walks the [`Record`]s, which
//!   borrow from the batch (or from a scratch buffer, if the batch is compressed).
//! * [`RecordBatchBuilder`] writes a batch, or one anew without some of its records; [`header`] patches what a broker may change.
//! * [`Compression`] packs and unpacks, always with a bound on the output.
//! * [`shape`] holds the bytes of a request or response against what they state, before
//!   `kafka-protocol` allocates for them.
//!
//! *Invariant:* no length read from the bytes is trusted. Whatever the input, the functions here
//! return an error; they do not panic and do not allocate more than a caller's bound.
//!
//! ```
//! use millstream_protocol::{BatchIter, Compression, RecordBatchBuilder};
//! let mut builder = RecordBatchBuilder::new(Compression::None);
//! builder.push(1_000, Some(b"k"), Some(b"v"), [("trace", Some(&b"1"[..]))]);
//! let bytes = builder.finish(7)?;
//!
//! let mut scratch = Vec::new();
//! for batch in BatchIter::new(&bytes) {
//!     let batch = batch?;
//!     batch.check()?;
//!     for record in batch.records(&mut scratch, 1 << 20)? {
//!         let record = record?;
//!         assert_eq!((record.offset, record.key), (7, Some(&b"k"[..])));
//!     }
//! }
//! # Ok::<(), millstream_protocol::BatchError>(())
//! ```

mod batch;
mod build;
mod compression;
mod error;
pub mod header;
mod record;
pub mod shape;
pub mod varint;

pub use batch::{Batch, BatchIter};
pub use build::RecordBatchBuilder;
pub use compression::Compression;
pub use error::BatchError;
pub use header::{Attributes, BatchHeader, HEADER_LEN};
pub use record::{ControlType, HeaderIter, Headers, Record, RecordIter};

/// Producer id of a batch written without idempotence.
pub const NO_PRODUCER_ID: i64 = -1;
/// Producer epoch of a batch written without idempotence.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// Sequence number of a batch written without idempotence.
pub const NO_SEQUENCE: i32 = -1;
/// Timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

/// CRC-32C (Castagnoli), the checksum of batches; the broker uses it for its own files too.
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}
