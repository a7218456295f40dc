//! The 61 bytes in front of a batch's records, and the few of them that a broker may change.
//!
//! ```text
//!  0 base offset            i64    21 attributes         i16    43 producer id     i64
//!  8 length after this one  i32    23 last offset delta  i32    51 producer epoch  i16
//! 12 partition leader epoch i32    27 base timestamp     i64    53 base sequence   i32
//! 16 magic = 2              i8     35 maximum timestamp  i64    57 record count    i32
//! 17 CRC-32C of 21..        u32
//! ```
//!
//! All numbers are big endian. The checksum starts behind base offset and leader epoch, so a
//! broker sets those two without touching it.

use crate::{BatchError, Compression};

/// Length of the header.
pub const HEADER_LEN: usize = 61;
/// Bytes in front of what the length field counts.
pub const LENGTH_BASE: usize = 12;
/// Where the checksum starts to count.
pub const CRC_START: usize = 21;
const CRC_AT: usize = 17;

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// How the records are packed.
    ///
    /// # Errors
    /// [`BatchError::Codec`] for the codes 5, 6 and 7.
    pub fn compression(self) -> Result<Compression, BatchError> {
        Compression::from_code(self.0 & 7)
    }

    /// Whether the broker set the timestamps; then the header's maximum counts for all records.
    pub fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker of the broker instead of a user's records.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop the batch's
    /// tombstones or its marker (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with a delete horizon.
    pub(crate) fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    /// The flags that a batch keeps when compaction takes all its records: nothing is packed any
    /// more, and nothing waits for a delete horizon.
    pub(crate) fn of_empty(self) -> Self {
        Self(self.0 & (Self::LOG_APPEND_TIME | Self::TRANSACTIONAL | Self::CONTROL))
    }

    pub(crate) fn of(compression: Compression, transactional: bool, control: bool) -> Self {
        let mut bits = compression as i16;
        bits |= if transactional { Self::TRANSACTIONAL } else { 0 };
        bits |= if control { Self::CONTROL } else { 0 };
        Self(bits)
    }
}

/// A decoded batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (also if compaction has removed that record).
    pub base_offset: i64,
    /// Bytes behind the length field.
    pub length: i32,
    /// Epoch of the leader that appended the batch, -1 if unknown.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression and flags.
    pub attributes: Attributes,
    /// Offset of the last record, counted from `base_offset`.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from, in milliseconds; with a delete horizon it
    /// is that.
    pub base_timestamp: i64,
    /// Highest timestamp of the batch, in milliseconds. A batch that compaction has emptied
    /// keeps what it had.
    pub max_timestamp: i64,
    /// Id of an idempotent producer, -1 without.
    pub producer_id: i64,
    /// Its epoch, -1 without.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 without.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`. The batch itself need not be there.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Length`] or [`BatchError::Magic`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic byte comes first: formats 0 and 1 have shorter headers.
        if let Some(&magic) = bytes.get(16)
            && magic != 2
        {
            return Err(BatchError::Magic(magic as i8));
        }
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BatchError::Truncated { missing: HEADER_LEN - bytes.len() });
        };
        let parsed = Self {
            base_offset: i64_at(header, 0),
            length: i32_at(header, 8),
            leader_epoch: i32_at(header, 12),
            crc: i32_at(header, CRC_AT) as u32,
            attributes: Attributes(i16_at(header, 21)),
            last_offset_delta: i32_at(header, 23),
            base_timestamp: i64_at(header, 27),
            max_timestamp: i64_at(header, 35),
            producer_id: i64_at(header, 43),
            producer_epoch: i16_at(header, 51),
            base_sequence: i32_at(header, 53),
            record_count: i32_at(header, 57),
        };
        if parsed.length < (HEADER_LEN - LENGTH_BASE) as i32 {
            return Err(BatchError::Length(parsed.length));
        }
        Ok(parsed)
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        LENGTH_BASE + self.length as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Offset behind the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// When compaction may drop the batch's tombstones or its marker, in milliseconds since the
    /// epoch; `None` if compaction has not met one in it yet (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whether an idempotent producer wrote the batch.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record; sequence numbers wrap at 2^31 to 0.
    pub fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// Adds to a producer's sequence number, which goes from `i32::MAX` to 0.
pub fn add_sequence(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// Sets the offset of the first record. The checksum stays valid.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    batch[0..8].copy_from_slice(&offset.to_be_bytes());
}

/// Sets the epoch of the partition's leader. The checksum stays valid.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    batch[12..16].copy_from_slice(&epoch.to_be_bytes());
}

/// Marks the batch as stamped by the broker with `timestamp` and computes its checksum anew.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_log_append_time(batch: &mut [u8], timestamp: i64) {
    let attributes = i16_at(batch, 21) | Attributes::LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    set_crc(batch);
}

/// Corrects the highest timestamp and computes the checksum anew.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_max_timestamp(batch: &mut [u8], timestamp: i64) {
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    set_crc(batch);
}

/// Sets id, epoch and first sequence number of the producer and computes the checksum anew.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_producer(batch: &mut [u8], id: i64, epoch: i16, base_sequence: i32) {
    batch[43..51].copy_from_slice(&id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&base_sequence.to_be_bytes());
    set_crc(batch);
}

/// Computes the checksum of a whole batch and writes it into its header.
pub(crate) fn set_crc(batch: &mut [u8]) {
    let crc = ::crc32c::crc32c(&batch[CRC_START..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
