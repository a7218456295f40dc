//! Text that is known to be JSON.

use std::fmt;

use bytes::Bytes;

use super::check::check_noting;
use super::index::{FieldIndex, Indexer};
use super::{JsonError, JsonRef, check};

/// JSON text that was checked whole, with no white space around it. Sharing it is cheap.
pub struct JsonText {
    bytes: Bytes,
    /// Where the fields lie, for the first who has the text: what is shared may be kept for long,
    /// and has none.
    index: Option<FieldIndex>,
}

impl JsonText {
    /// Checks `bytes`; white space around the value is left out.
    ///
    /// # Errors
    /// If they are not JSON as [`check`] has it.
    pub fn check(bytes: Bytes) -> Result<Self, JsonError> {
        let mut notes = Indexer::new(bytes.len());
        let range = check_noting(&bytes, &mut notes)?;
        if range.len() < bytes.len() {
            return Ok(Self { bytes: bytes.slice(range), index: None });
        }
        Ok(Self { bytes, index: notes.finish() })
    }

    /// A part of checked text that is a value by itself.
    pub(super) fn part(bytes: Bytes) -> Self {
        debug_assert!(check(&bytes).is_ok_and(|range| range.len() == bytes.len()));
        Self { bytes, index: None }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: the check includes UTF-8, and a value's start and end are ASCII characters.
        unsafe { std::str::from_utf8_unchecked(&self.bytes) }
    }

    /// The text as shared bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The text as shared bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Where the fields lie, if that was noted.
    #[inline]
    pub(super) fn index(&self) -> Option<&FieldIndex> {
        self.index.as_ref()
    }

    /// The value, to look into.
    pub fn get(&self) -> JsonRef<'_> {
        JsonRef::whole(self)
    }
}

impl Clone for JsonText {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), index: None }
    }
}

impl AsRef<[u8]> for JsonText {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
