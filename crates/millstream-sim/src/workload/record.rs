//! What a record looks like: it names itself, so that whoever reads it knows whose it is.

use crate::ledger::RecordId;

/// The header that names a tombstone, which has no value to do it.
pub(crate) const NAME_HEADER: &str = "id";

/// A record's parts.
pub(crate) struct Written {
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) header: Option<Vec<u8>>,
}

impl Written {
    /// The record of that name, with `filler` bytes behind it. `source`: what it copies.
    /// `compacted`: its topic is, and some of its records are tombstones.
    pub(crate) fn new(
        id: &RecordId,
        source: Option<&RecordId>,
        compacted: bool,
        filler: usize,
    ) -> Self {
        let key = id.key(compacted);
        if compacted && id.is_tombstone() {
            return Self { key, value: None, header: Some(id.to_value(0)) };
        }
        let value = match source {
            None => id.to_value(filler),
            Some(source) => {
                let mut value = id.to_value(0);
                value.extend(source.to_value(filler));
                value
            }
        };
        Self { key, value: Some(value), header: None }
    }
}

/// Who a record is, by its value or, without one, by its header.
pub(crate) fn name_of(value: Option<&[u8]>, header: Option<&[u8]>) -> Option<RecordId> {
    RecordId::parse(value.or(header)?)
}
