//! The value type and its parts.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::host::HostObject;

/// A value on its way through the topology.
///
/// Integers are exact over `i64` and `u64`. There is no canonical form across variants: a
/// [`Value::Json`] that holds `1` and a [`Value::Int`] of 1 mean the same and compare the same
/// under the expressions of this crate.
#[derive(Default)]
pub enum Value {
    /// `None` / JSON `null`.
    #[default]
    Null,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer in `i64::MAX + 1 ..= u64::MAX`; smaller ones are `Int`.
    UInt(u64),
    /// A float, NaN and infinities included.
    Float(f64),
    /// Text.
    Str(Text),
    /// Raw bytes.
    Bytes(Bytes),
    /// A list.
    List(Vec<Value>),
    /// A map with text keys that keeps their order.
    Map(Map),
    /// JSON text that was checked whole and is not decoded yet: of any type, with no white
    /// space around it.
    Json(Bytes),
    /// An object of the host language.
    Host(Box<dyn HostObject>),
}

/// Text that may share the bytes it was read from.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// Takes over bytes that are UTF-8.
    ///
    /// # Errors
    /// If they are not.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// Takes over bytes that are known to be UTF-8.
    ///
    /// # Safety
    /// `bytes` must be valid UTF-8.
    pub unsafe fn from_utf8_unchecked(bytes: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&bytes).is_ok());
        Self(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor takes UTF-8 only, and `Bytes` are immutable.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A map with text keys in order of first insertion; of keys set twice the last value counts.
/// Look-ups scan: records have few fields.
#[derive(Debug, Default)]
pub struct Map {
    entries: Vec<(Text, Value)>,
}

impl Map {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty map with room for `capacity` fields.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { entries: Vec::with_capacity(capacity) }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k.as_str() == key).map(|(_, value)| value)
    }

    /// The value of a field, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.entries.iter_mut().find(|(k, _)| k.as_str() == key).map(|(_, value)| value)
    }

    /// Sets a field: in its place if it is there, else at the end.
    pub fn insert(&mut self, key: impl Into<Text> + AsRef<str>, value: Value) {
        match self.get_mut(key.as_ref()) {
            Some(slot) => *slot = value,
            None => self.entries.push((key.into(), value)),
        }
    }

    /// Removes a field, the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.entries.iter().position(|(k, _)| k.as_str() == key)?;
        Some(self.entries.remove(index).1)
    }

    /// All fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Value)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("None"),
            Value::Bool(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::UInt(v) => v.fmt(f),
            Value::Float(v) => v.fmt(f),
            Value::Str(v) => v.fmt(f),
            Value::Bytes(v) => v.fmt(f),
            Value::List(v) => v.fmt(f),
            Value::Map(v) => f.debug_map().entries(v.iter()).finish(),
            Value::Json(v) => write!(f, "json {}", String::from_utf8_lossy(v)),
            Value::Host(v) => v.fmt(f),
        }
    }
}
