//! The numbers of families. **They are on disk and in changelog records: a number is never given
//! another meaning, and one that is no longer used stays listed as retired.**
//!
//! | number | constant | key | entry |
//! |---|---|---|---|
//! | `00` | [`MARKER`] | marker slot | changelog only: checkpoint markers |
//! | `01` | [`USER_DATA`] | message key, state key | a user's value |
//! | `02` | [`USER_EXPIRY`] | expiry stamp, message key, state key | index by time: values that expire. In backends only: a restore makes it anew from the stamps of `01` |
//! | `10` | [`WINDOW_KEYS`] | message key | what a window operator knows per key: watermark, open windows |
//! | `11` | [`WINDOWS`] | message key, window start | one window's accumulators |
//! | `12` | [`WINDOW_TIMES`] | window end, message key, window start | index by time: windows to close |
//! | `13` | [`WINDOW_VALUES`] | message key, timestamp, sequence number | one collected value |
//! | `14` | [`WINDOW_PARTITION`] | name | what a window operator knows per partition: watermark, counters, upstream stream times |
//! | `15` | [`WINDOW_HELD`] | window end, message key, window start | index by time: windows held back by a slower upstream partition |
//! | `16`–`1f` | | | kept for windows |
//! | `20`–`2f` | | | kept for joins and buffers |
//! | `80`–`ff` | | | never used by Millstream |

use millstream_types::Timestamp;

use crate::FamilyId;
use crate::keys::KeyWriter;

/// Checkpoint markers; exists in changelogs only.
pub const MARKER: FamilyId = FamilyId(0x00);
/// User state.
pub const USER_DATA: FamilyId = FamilyId(0x01);
/// User state: index by expiry stamp.
pub const USER_EXPIRY: FamilyId = FamilyId(0x02);
/// Windows: per message key.
pub const WINDOW_KEYS: FamilyId = FamilyId(0x10);
/// Windows: accumulators.
pub const WINDOWS: FamilyId = FamilyId(0x11);
/// Windows: index by end.
pub const WINDOW_TIMES: FamilyId = FamilyId(0x12);
/// Windows: collected values.
pub const WINDOW_VALUES: FamilyId = FamilyId(0x13);
/// Windows: per partition.
pub const WINDOW_PARTITION: FamilyId = FamilyId(0x14);
/// Windows: those that are due but held back, by end.
pub const WINDOW_HELD: FamilyId = FamilyId(0x15);

/// The index by expiry stamp that belongs to a family. It is local: the changelog has the stamps,
/// and whoever writes an entry with one into a backend adds the pair that [`expiry_key`] makes.
/// There may be pairs in it whose entry is gone or expires later; there may not be one too few.
pub(crate) fn expiry_index(family: FamilyId) -> Option<FamilyId> {
    (family == USER_DATA).then_some(USER_EXPIRY)
}

/// The key of an entry in the index by expiry stamp.
pub(crate) fn expiry_key<'b>(buffer: &'b mut Vec<u8>, stamp: Timestamp, key: &[u8]) -> &'b [u8] {
    KeyWriter::new(buffer).timestamp(stamp).rest(key).key()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are on disk: a change here is a new format version.
    #[test]
    fn golden_bytes() {
        assert_eq!((USER_DATA.0, USER_EXPIRY.0), (0x01, 0x02));
        assert_eq!(
            expiry_key(&mut Vec::new(), 258, b"\x03k\0\x01\"n\""),
            b"\x80\0\0\0\0\0\x01\x02\x03k\0\x01\"n\""
        );
    }
}
