//! Ranges of keys.

use crate::keys::{KeyBuf, prefix_end};

/// Keys from a start (included) to an end (excluded).
#[derive(Clone, Debug)]
pub struct KeyRange {
    start: KeyBuf,
    end: Option<KeyBuf>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self { start: KeyBuf::new(b""), end: None }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: KeyBuf::new(prefix), end: prefix_end(prefix) }
    }

    /// Keys in `start..end`.
    pub fn between(start: &[u8], end: &[u8]) -> Self {
        Self { start: KeyBuf::new(start), end: Some(KeyBuf::new(end)) }
    }

    /// Keys from `start` on.
    pub fn from(start: &[u8]) -> Self {
        Self { start: KeyBuf::new(start), end: None }
    }

    /// Keys below `end`.
    pub fn to(end: &[u8]) -> Self {
        Self::between(b"", end)
    }

    /// The first key that may be in it.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key behind it.
    pub fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.end().is_some_and(|end| end <= self.start())
    }
}
