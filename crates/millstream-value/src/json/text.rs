//! Text that is known to be JSON.

use std::fmt;

use bytes::Bytes;

use super::{JsonError, JsonRef, check};

/// JSON text that was checked whole, with no white space around it. Sharing it is cheap.
#[derive(Clone)]
pub struct JsonText(Bytes);

impl JsonText {
    /// Checks `bytes`; white space around the value is left out.
    ///
    /// # Errors
    /// If they are not JSON as [`check`] has it.
    pub fn check(bytes: Bytes) -> Result<Self, JsonError> {
        let range = check(&bytes)?;
        Ok(if range.len() == bytes.len() { Self(bytes) } else { Self(bytes.slice(range)) })
    }

    /// A part of checked text that is a value by itself.
    pub(super) fn part(bytes: Bytes) -> Self {
        debug_assert!(check(&bytes).is_ok_and(|range| range.len() == bytes.len()));
        Self(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: the check includes UTF-8, and a value's start and end are ASCII characters.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// The text as shared bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text as shared bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The value, to look into.
    pub fn get(&self) -> JsonRef<'_> {
        JsonRef::whole(self)
    }
}

impl AsRef<[u8]> for JsonText {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
