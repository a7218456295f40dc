//! Text that is small in place, or shares the bytes it was read from.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// Longest text, in bytes, that is kept in place. With it a [`Text`] is as large as the
/// [`Bytes`] of a longer one.
const IN_PLACE: usize = 23;

/// Text that may share the bytes it was read from.
///
/// Up to 23 bytes are kept in place: that covers nearly all field names and many values, and
/// neither making nor dropping such a text touches a reference count.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    InPlace { length: u8, bytes: [u8; IN_PLACE] },
    Shared(Bytes),
}

const _: () = assert!(size_of::<Text>() == size_of::<Bytes>());

impl Text {
    /// Takes over bytes that are UTF-8.
    ///
    /// # Errors
    /// If they are not.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        let text = std::str::from_utf8(&bytes)?;
        Ok(Self::in_place(text).unwrap_or(Self(Repr::Shared(bytes))))
    }

    /// Takes over bytes that are known to be UTF-8.
    ///
    /// # Safety
    /// `bytes` must be valid UTF-8.
    pub unsafe fn from_utf8_unchecked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self(Repr::Shared(bytes))
    }

    /// `part`, which lies within `owner`: copied if it is short, else shared with `owner`.
    ///
    /// # Panics
    /// If `part` is long and does not lie within `owner`.
    pub fn part_of(owner: &Bytes, part: &str) -> Self {
        match Self::in_place(part) {
            Some(text) => text,
            None => Self(Repr::Shared(owner.slice_ref(part.as_bytes()))),
        }
    }

    fn in_place(text: &str) -> Option<Self> {
        if text.len() > IN_PLACE {
            return None;
        }
        let mut bytes = [0; IN_PLACE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self(Repr::InPlace { length: text.len() as u8, bytes }))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        let bytes = match &self.0 {
            Repr::InPlace { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Shared(bytes) => bytes,
        };
        // SAFETY: every constructor takes UTF-8 only, and neither form is ever changed.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(Repr::InPlace { length: 0, bytes: [0; IN_PLACE] })
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::in_place(text)
            .unwrap_or_else(|| Self(Repr::Shared(Bytes::copy_from_slice(text.as_bytes()))))
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::in_place(&text).unwrap_or_else(|| Self(Repr::Shared(Bytes::from(text))))
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        match text.0 {
            Repr::InPlace { length, bytes } => {
                Bytes::copy_from_slice(&bytes[..usize::from(length)])
            }
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
