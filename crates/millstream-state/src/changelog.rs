//! Records of a changelog topic.
//!
//! | | key | value | header `millstream` |
//! |---|---|---|---|
//! | entry | family (1 byte), key in the family | the stored value ([`crate::Entry`]), null if removed | `01` |
//! | marker | `00`, slot (1 byte, `00` to `07`) | JSON: the source offsets covered, see `mark.rs` | `01` |
//!
//! A checkpoint is its entries followed by one marker. Markers take turns in eight slots, so
//! that compaction, which keeps the newest record of a key, keeps the eight newest markers: if
//! the last ones are beyond the committed offsets, an earlier one is still there to stop at.
//!
//! The header's value is the version of all this. A record without it is not ours.

use millstream_types::{Header, Offset, RecordView};

use crate::{CheckpointMark, FamilyId, Result, StateError, StoreId, StoreLayout, families, slot};

/// Name of the header that every record carries.
pub const HEADER: &str = "millstream";

const VERSION: &[u8] = &[1];

/// Header by which Quix Streams marks its changelog records (ST-25).
const QUIX_HEADER: &str = "__column_family__";

/// Number of slots in which markers take turns.
const MARKER_SLOTS: u64 = 8;

/// A record for the changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangelogRecord<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl ChangelogRecord<'_> {
    /// The headers of every changelog record.
    pub const HEADERS: [Header<'static>; 1] = [(HEADER, Some(VERSION))];
}

/// An encoded marker.
#[derive(Clone, Debug)]
pub struct Marker {
    key: [u8; 2],
    value: String,
}

impl Marker {
    /// The marker of a checkpoint.
    pub fn new(mark: &CheckpointMark) -> Self {
        let slot = (mark.sequence % MARKER_SLOTS) as u8;
        Self { key: [families::MARKER.0, slot], value: mark.marker_text() }
    }

    /// It as a record.
    pub fn record(&self) -> ChangelogRecord<'_> {
        ChangelogRecord { key: &self.key, value: Some(self.value.as_bytes()) }
    }
}

/// What a record of a changelog is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// An entry changed.
    Entry {
        /// Its family.
        family: FamilyId,
        /// Its key.
        key: &'a [u8],
        /// Its stored form; `None` if it was removed.
        value: Option<&'a [u8]>,
    },
    /// A checkpoint ends. Its mark has no changelog offset.
    Marker(CheckpointMark),
}

/// Reads a record.
///
/// # Errors
/// [`StateError::ForeignChangelog`] if it is not from this version of Millstream, or not for a
/// store of this layout.
pub fn read<'a>(
    record: &RecordView<'a>,
    store: &StoreId,
    layout: &StoreLayout,
) -> Result<Change<'a>> {
    read_parts(record, layout).map_err(|found| StateError::ForeignChangelog {
        store: store.clone(),
        offset: record.offset(),
        found,
    })
}

fn read_parts<'a>(record: &RecordView<'a>, layout: &StoreLayout) -> Result<Change<'a>, String> {
    let headers = record.headers();
    match headers.last(HEADER) {
        Some(Some(VERSION)) => {}
        Some(_) => return Err("was written by a newer version of Millstream".into()),
        None if headers.last(QUIX_HEADER).is_some() => {
            return Err("was written by Quix Streams, whose state Millstream does not read".into());
        }
        None => return Err("was not written by Millstream".into()),
    }
    let Some((family, key)) = record.key().and_then(|key| key.split_first()) else {
        return Err("has no key".into());
    };
    let family = FamilyId(*family);
    let value = record.value();
    if family == families::MARKER {
        let text = value.ok_or("is a checkpoint marker without content")?;
        let mark = CheckpointMark::from_marker(text)
            .map_err(|reason| format!("is a checkpoint marker that cannot be read: {reason}"))?;
        return Ok(Change::Marker(mark));
    }
    if !layout.families.contains(&family) {
        let kind = layout.kind;
        return Err(format!("belongs to family {family}, which a store for {kind} does not have"));
    }
    if let Some(value) = value {
        slot::open(value).map_err(|reason| format!("cannot be read: {reason}"))?;
    }
    Ok(Change::Entry { family, key, value })
}

/// The offset to give to [`crate::Store::commit`], when the marker was written at this one.
pub fn position_after(marker: Offset) -> Offset {
    marker + 1
}

#[cfg(test)]
mod tests {
    use millstream_types::{BatchBuilder, RecordBatch, TimestampType, TopicPartition};

    use super::*;

    const LAYOUT: StoreLayout =
        StoreLayout { kind: "user state", families: &[families::USER_DATA] };

    fn one<'h>(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'h>>,
    ) -> RecordBatch {
        let mut builder = BatchBuilder::new(TopicPartition::new("changelog", 0));
        builder.push(7, 1, TimestampType::CreateTime, -1, key, value, headers);
        builder.finish()
    }

    fn ours(key: &[u8], value: Option<&[u8]>) -> RecordBatch {
        one(Some(key), value, ChangelogRecord::HEADERS)
    }

    fn refusal(batch: &RecordBatch) -> String {
        let store = StoreId::new("orders", "default", 0);
        match read(&batch.get(0), &store, &LAYOUT) {
            Err(error @ StateError::ForeignChangelog { offset: 7, .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn golden_records() {
        assert_eq!(ChangelogRecord::HEADERS, [("millstream", Some(&[1][..]))]);
        let mark = CheckpointMark { sequence: 11, written_ms: 5, ..Default::default() };
        let marker = Marker::new(&mark);
        let record = marker.record();
        assert_eq!(record.key, b"\0\x03");
        assert_eq!(
            record.value,
            Some(&br#"{"v":1,"sources":{},"sequence":11,"written_ms":5}"#[..])
        );

        let store = StoreId::new("orders", "default", 0);
        let batch = ours(record.key, record.value);
        assert_eq!(read(&batch.get(0), &store, &LAYOUT).expect("ours"), Change::Marker(mark));
        let batch = ours(b"\x01k", Some(b"\x01\0v"));
        let entry = Change::Entry { family: FamilyId(1), key: b"k", value: Some(b"\x01\0v") };
        assert_eq!(read(&batch.get(0), &store, &LAYOUT).expect("ours"), entry);
        let batch = ours(b"\x01k", None);
        let removal = Change::Entry { family: FamilyId(1), key: b"k", value: None };
        assert_eq!(read(&batch.get(0), &store, &LAYOUT).expect("ours"), removal);
    }

    /// What is not ours stops the start and says what to do.
    #[test]
    fn foreign_records_are_refused_with_advice() {
        let quix = one(Some(b"k|x"), Some(b"1"), [("__column_family__", Some(&b"default"[..]))]);
        let text = refusal(&quix);
        assert!(text.contains("Quix Streams"), "{text}");
        assert!(
            text.contains("another consumer_group") && text.contains("topics delete"),
            "{text}"
        );
        assert!(refusal(&one(Some(b"k"), None, [])).contains("not written by Millstream"));
        let newer = one(Some(b"\x01k"), None, [(HEADER, Some(&[2][..]))]);
        assert!(refusal(&newer).contains("newer version"));
        assert!(refusal(&ours(b"\x55k", None)).contains("family 0x55"));
        assert!(refusal(&ours(b"", None)).contains("no key"));
        assert!(refusal(&one(None, None, ChangelogRecord::HEADERS)).contains("no key"));
        assert!(refusal(&ours(b"\0\0", None)).contains("marker"));
        assert!(refusal(&ours(b"\0\0", Some(b"[]"))).contains("no version"));
        assert!(refusal(&ours(b"\x01k", Some(b"\x02\0"))).contains("newer version"));
    }
}
