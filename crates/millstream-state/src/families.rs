//! The numbers of families. **They are on disk and in changelog records: a number is never given
//! another meaning, and one that is no longer used stays listed as retired.**
//!
//! | number | constant | key | entry |
//! |---|---|---|---|
//! | `00` | [`MARKER`] | marker slot | changelog only: checkpoint markers |
//! | `01` | [`USER_DATA`] | message key, state key | a user's value |
//! | `10` | [`WINDOW_KEYS`] | message key | what a window operator knows per key: watermark, open windows |
//! | `11` | [`WINDOWS`] | message key, window start | one window's accumulators |
//! | `12` | [`WINDOW_TIMES`] | window end, message key, window start | index by time: windows to close |
//! | `13` | [`WINDOW_VALUES`] | message key, timestamp, sequence number | one collected value |
//! | `14` | [`WINDOW_PARTITION`] | name | what a window operator knows per partition: watermark, counters, upstream stream times |
//! | `15` | [`WINDOW_HELD`] | window end, message key, window start | index by time: windows held back by a slower upstream partition |
//! | `16`–`1f` | | | kept for windows |
//! | `20`–`2f` | | | kept for joins and buffers |
//! | `80`–`ff` | | | never used by Millstream |

use crate::FamilyId;

/// Checkpoint markers; exists in changelogs only.
pub const MARKER: FamilyId = FamilyId(0x00);
/// User state.
pub const USER_DATA: FamilyId = FamilyId(0x01);
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
