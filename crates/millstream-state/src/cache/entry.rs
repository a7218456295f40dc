//! What a family holds.

use millstream_types::Timestamp;

/// Why stored bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EntryError(pub String);

/// A native value that lives in a family. It is encoded when a checkpoint is made and decoded
/// when a miss loads it, not per record.
pub trait Entry: Sized + Send {
    /// Appends the encoding. It is on disk and in changelogs: begin with what tells versions
    /// apart, and pin the bytes in a test.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads what [`Entry::encode`] wrote, also by earlier versions.
    ///
    /// # Errors
    /// If the bytes are anything else. Lengths in them must not be trusted.
    fn decode(bytes: &[u8]) -> Result<Self, EntryError>;

    /// Bytes in memory, what it owns on the heap included. Called at each access: make it cheap.
    fn size(&self) -> usize;

    /// Event time in ms from which the entry counts as gone (ST-50).
    fn expires(&self) -> Option<Timestamp> {
        None
    }

    /// Sets what [`Entry::expires`] gave when the entry was stored.
    fn set_expires(&mut self, _stamp: Timestamp) {}
}

/// An entry that says nothing beyond its key: for indexes.
impl Entry for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.is_empty() {
            Ok(())
        } else {
            Err(EntryError("an index entry has no value".into()))
        }
    }

    fn size(&self) -> usize {
        0
    }
}
