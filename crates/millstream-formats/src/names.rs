//! Formats by the names that users give (parity row T-01).

use std::sync::Arc;

use millstream_value::{Deserializer, Serializer};

use crate::{
    BytesDeserializer, BytesSerializer, DoubleDeserializer, DoubleSerializer, IntegerDeserializer,
    IntegerSerializer, JsonDeserializer, JsonSerializer, StringDeserializer, StringSerializer,
};

/// All names, for the error that lists them.
const NAMES: &[&str] = &["bytes", "double", "int", "integer", "json", "str", "string"];

/// A name that no format has (`ValueError`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {role} {name:?}; use one of {NAMES:?}, or pass a {role} object")]
pub struct UnknownFormat {
    role: &'static str,
    name: String,
}

/// The serializer of that name.
///
/// # Errors
/// If there is none; the error lists those that are there.
pub fn serializer_by_name(name: &str) -> Result<Arc<dyn Serializer>, UnknownFormat> {
    Ok(match name {
        "bytes" => Arc::new(BytesSerializer),
        "double" => Arc::new(DoubleSerializer),
        "int" | "integer" => Arc::new(IntegerSerializer),
        "json" => Arc::new(JsonSerializer),
        "str" | "string" => Arc::new(StringSerializer::default()),
        _ => return Err(UnknownFormat { role: "serializer", name: name.to_owned() }),
    })
}

/// The deserializer of that name.
///
/// # Errors
/// If there is none; the error lists those that are there.
pub fn deserializer_by_name(name: &str) -> Result<Arc<dyn Deserializer>, UnknownFormat> {
    Ok(match name {
        "bytes" => Arc::new(BytesDeserializer),
        "double" => Arc::new(DoubleDeserializer),
        "int" | "integer" => Arc::new(IntegerDeserializer),
        "json" => Arc::new(JsonDeserializer),
        "str" | "string" => Arc::new(StringDeserializer::default()),
        _ => return Err(UnknownFormat { role: "deserializer", name: name.to_owned() }),
    })
}
