//! `"json"` (parity rows T-44 and T-45).

use bytes::Bytes;
use millstream_value::json::{self, JsonText};
use millstream_value::{
    Deserialized, Deserializer, Failure, FailureKind, SerializationContext, Serialized, Serializer,
    Value,
};

use crate::failure;

/// Writes any value as JSON, a null too (four bytes, no tombstone: T-06). Undecoded JSON goes
/// out byte for byte as it came in.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonSerializer;

impl Serializer for JsonSerializer {
    fn serialize(
        &self,
        value: &mut Value,
        _context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        let start = out.len();
        match json::write(value, out) {
            Ok(()) => Ok(Serialized::Bytes),
            Err(error) => {
                out.truncate(start);
                Err(wrapped(error))
            }
        }
    }
}

/// A host reports what its value cannot be as it likes; to the user it is one kind of error, with
/// the host's own as the cause. A wish to end the process is none of that.
fn wrapped(error: Failure) -> Failure {
    match error.kind {
        FailureKind::Serialization | FailureKind::Interrupt => error,
        _ => Failure { kind: FailureKind::Serialization, ..error },
    }
}

/// Checks JSON whole and decodes nothing: the value is [`Value::Json`], whatever its type.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonDeserializer;

impl Deserializer for JsonDeserializer {
    fn deserialize(
        &self,
        bytes: Bytes,
        _context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        match JsonText::check(bytes) {
            Ok(text) => Ok(Deserialized::One(Value::Json(text))),
            Err(error) => Err(failure(error.to_string())),
        }
    }
}
