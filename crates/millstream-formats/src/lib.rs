//! Serializers and deserializers as users name them (parity rows T-40 to T-45): `"str"`,
//! `"bytes"`, `"int"`, `"double"` and `"json"`, and the classes behind these names.
//!
//! Not here yet: JSON Schema (T-46), Schema Registry, Avro, Protobuf and Quix's own formats.
//!
//! ```
//! use millstream_formats::{deserializer_by_name, serializer_by_name};
//!
//! assert!(serializer_by_name("json").is_ok());
//! let error = deserializer_by_name("jsn").err().expect("there is no such name");
//! assert!(error.to_string().contains("\"json\""));
//! ```

mod json;
mod names;
mod plain;
mod text;

pub use json::{JsonDeserializer, JsonSerializer};
pub use names::{UnknownFormat, deserializer_by_name, serializer_by_name};
pub use plain::{
    BytesDeserializer, BytesSerializer, DoubleDeserializer, DoubleSerializer, IntegerDeserializer,
    IntegerSerializer,
};
pub use text::{Codec, StringDeserializer, StringSerializer, UnknownCodec};

use millstream_value::{Failure, FailureKind, Value};

#[cold]
fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Serialization, message)
}

/// Hands `read` the value without the wrappings it may come in: undecoded JSON, or an object of
/// the host that has a native form.
fn with_native<T>(
    value: &Value,
    read: impl FnOnce(&Value) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match value {
        Value::Json(text) => read(&text.get().to_value()),
        Value::Host(object) => read(&object.to_native()?),
        _ => read(value),
    }
}

#[cfg(test)]
mod tests;
