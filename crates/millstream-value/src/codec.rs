//! The seam to serializers and deserializers; `millstream-formats` has the built-in ones.

use bytes::Bytes;

use crate::{Failure, Headers, Value};

/// Which part of a record is being (de)serialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageField {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// What a (de)serializer may know beside the bytes (parity row T-51).
#[derive(Clone, Copy, Debug)]
pub struct SerializationContext<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Key or value.
    pub field: MessageField,
    /// The record's headers.
    pub headers: &'a Headers,
}

/// What a serializer made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serialized {
    /// Nothing: the key or value is null on Kafka (a tombstone).
    Null,
    /// What it appended to the output.
    Bytes,
}

/// Turns values into bytes.
pub trait Serializer: Send + Sync {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    /// [`crate::FailureKind::Serialization`] if the value has no such form.
    fn serialize(
        &self,
        value: &mut Value,
        context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure>;

    /// Headers that it adds to a record (T-06), asked right after [`Serializer::serialize`]. Most add
    /// none.
    ///
    /// # Errors
    /// What the user's code raised.
    fn extra_headers(&self) -> Result<Option<Headers>, Failure> {
        Ok(None)
    }

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}

/// What a deserializer made of bytes.
#[derive(Debug)]
pub enum Deserialized {
    /// One value.
    One(Value),
    /// Several: each becomes a record (T-64).
    Many(Vec<Value>),
    /// The record is to be left out silently (T-51, `IgnoreMessage`).
    Ignore,
}

/// Turns bytes into values.
pub trait Deserializer: Send + Sync {
    /// Reads `bytes`. A JSON payload is checked whole here, and decoded later.
    ///
    /// # Errors
    /// [`crate::FailureKind::Serialization`] if the bytes are not of the format.
    fn deserialize(
        &self,
        bytes: Bytes,
        context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure>;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool {
        false
    }
}
