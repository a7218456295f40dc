//! `"bytes"`, `"int"` and `"double"` (parity rows T-41 to T-43).

use bytes::Bytes;
use millstream_value::{
    Deserialized, Deserializer, Failure, SerializationContext, Serialized, Serializer, Value,
};

use crate::{failure, with_native};

/// Raw bytes as they are; text as UTF-8. A null becomes a tombstone.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesSerializer;

impl Serializer for BytesSerializer {
    fn serialize(
        &self,
        value: &mut Value,
        _context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        with_native(value, |value| {
            match value {
                Value::Null => return Ok(Serialized::Null),
                Value::Bytes(bytes) => out.extend_from_slice(bytes),
                Value::Str(text) => out.extend_from_slice(text.as_bytes()),
                other => {
                    return Err(failure(format!(
                        "the bytes serializer takes bytes, not '{}'; choose another serializer, \
                         such as \"json\"",
                        other.type_name()
                    )));
                }
            }
            Ok(Serialized::Bytes)
        })
    }
}

/// Hands the bytes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesDeserializer;

impl Deserializer for BytesDeserializer {
    fn deserialize(
        &self,
        bytes: Bytes,
        _context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        Ok(Deserialized::One(Value::Bytes(bytes)))
    }
}

/// An integer as four bytes, big-endian and signed; a bool counts as one. A null becomes a
/// tombstone.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntegerSerializer;

impl Serializer for IntegerSerializer {
    fn serialize(
        &self,
        value: &mut Value,
        _context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        with_native(value, |value| {
            let integer = match value {
                Value::Null => return Ok(Serialized::Null),
                Value::Bool(v) => Some(i32::from(*v)),
                Value::Int(v) => i32::try_from(*v).ok(),
                Value::UInt(_) => None,
                other => {
                    return Err(failure(format!(
                        "the int serializer takes an int, not '{}'",
                        other.type_name()
                    )));
                }
            };
            let integer = integer.ok_or_else(|| {
                failure(
                    "the int serializer writes 4 bytes and takes -2147483648 to 2147483647; use \
                     \"json\" or \"str\" for larger integers",
                )
            })?;
            out.extend_from_slice(&integer.to_be_bytes());
            Ok(Serialized::Bytes)
        })
    }
}

/// Four bytes, big-endian and signed.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntegerDeserializer;

impl Deserializer for IntegerDeserializer {
    fn deserialize(
        &self,
        bytes: Bytes,
        _context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        let integer = i32::from_be_bytes(exact(&bytes, "an int is 4 bytes")?);
        Ok(Deserialized::One(Value::from(integer)))
    }
}

/// A float, or an int rounded to one, as the eight bytes of a double, big-endian. A null becomes
/// a tombstone.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoubleSerializer;

impl Serializer for DoubleSerializer {
    fn serialize(
        &self,
        value: &mut Value,
        _context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        with_native(value, |value| {
            let float = match value {
                Value::Null => return Ok(Serialized::Null),
                Value::Bool(v) => Some(f64::from(u8::from(*v))),
                other => other.as_f64(),
            };
            let float = float.ok_or_else(|| {
                failure(format!(
                    "the double serializer takes a float or an int, not '{}'",
                    value.type_name()
                ))
            })?;
            out.extend_from_slice(&float.to_be_bytes());
            Ok(Serialized::Bytes)
        })
    }
}

/// The eight bytes of a double, big-endian.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoubleDeserializer;

impl Deserializer for DoubleDeserializer {
    fn deserialize(
        &self,
        bytes: Bytes,
        _context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        let float = f64::from_be_bytes(exact(&bytes, "a double is 8 bytes")?);
        Ok(Deserialized::One(Value::Float(float)))
    }
}

fn exact<const N: usize>(bytes: &[u8], rule: &str) -> Result<[u8; N], Failure> {
    bytes.try_into().map_err(|_| {
        failure(format!("{rule}, but there are {}; the topic may hold another format", bytes.len()))
    })
}
