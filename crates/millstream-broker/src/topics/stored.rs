//! The form of topics in the *meta* journal: one byte that says what an entry is, then its key.

use uuid::Uuid;

use crate::journal::{Fields, put_bytes};
use crate::settings::Values;

/// A topic: its id, number of partitions and own settings.
pub(super) const TOPIC_KEY: u8 = b't';
/// Where deleted records of a partition end.
pub(super) const START_KEY: u8 = b's';
/// A topic that was deleted, but whose files may still be there.
pub(super) const DELETING_KEY: u8 = b'x';

/// Where a topic's entry stands.
pub(super) fn topic_key(name: &str) -> Vec<u8> {
    [&[TOPIC_KEY], name.as_bytes()].concat()
}

/// Where it stands how far a partition's records are deleted.
pub(super) fn start_key(id: Uuid, partition: i32) -> Vec<u8> {
    [&[START_KEY], &id.as_bytes()[..], &partition.to_be_bytes()].concat()
}

/// Where it stands that a topic's files are being removed.
pub(super) fn deleting_key(id: Uuid) -> Vec<u8> {
    [&[DELETING_KEY], &id.as_bytes()[..]].concat()
}

/// A topic's entry.
pub(super) fn encode_topic(id: Uuid, partitions: i32, own: &Values) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(&partitions.to_be_bytes());
    for (name, value) in own {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    out
}

/// Reads what [`encode_topic`] wrote; `None` if it is not that.
pub(super) fn decode_topic(bytes: &[u8]) -> Option<(Uuid, i32, Values)> {
    let mut fields = Fields(bytes);
    if fields.fixed()? != [1] {
        return None;
    }
    let id = Uuid::from_bytes(fields.fixed()?);
    let partitions = fields.i32()?;
    let mut own = Values::new();
    while !fields.0.is_empty() {
        own.insert(fields.string()?, fields.string()?);
    }
    Some((id, partitions, own))
}
