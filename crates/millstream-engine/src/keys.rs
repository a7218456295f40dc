//! Message keys between their two forms: a value on a record, and a component of state keys.

use bytes::Bytes;
use millstream_state::MessageKey;
use millstream_value::{Failure, FailureKind, Text, Value, json};

/// A message key that is held while state is accessed. Cheap: bytes and text are shared with
/// the record; only other types are written as JSON, into a buffer of their own.
#[derive(Clone, Debug)]
pub(crate) enum OwnedKey {
    None,
    Bytes(Bytes),
    Text(Text),
    Json(Vec<u8>),
}

impl OwnedKey {
    /// The key of a record (ST-12): bytes as they are, text as text, all else as JSON.
    pub(crate) fn of(key: &Value) -> Result<Self, Failure> {
        Ok(match key {
            Value::Null => OwnedKey::None,
            Value::Bytes(bytes) => OwnedKey::Bytes(bytes.clone()),
            Value::Str(text) => OwnedKey::Text(text.clone()),
            Value::Json(_) => {
                let mut decoded = key.share();
                decoded.decode();
                match decoded {
                    Value::List(_) | Value::Map(_) => OwnedKey::Json(as_json(&decoded)?),
                    scalar => OwnedKey::of(&scalar)?,
                }
            }
            Value::Host(object) => match object.to_native()? {
                Value::Host(object) => {
                    let mut out = Vec::new();
                    object.write_json(&mut out).map_err(not_a_key)?;
                    OwnedKey::Json(out)
                }
                native => OwnedKey::of(&native)?,
            },
            _ => OwnedKey::Json(as_json(key)?),
        })
    }

    pub(crate) fn as_message_key(&self) -> MessageKey<'_> {
        match self {
            OwnedKey::None => MessageKey::None,
            OwnedKey::Bytes(bytes) => MessageKey::Bytes(bytes),
            OwnedKey::Text(text) => MessageKey::Text(text),
            OwnedKey::Json(text) => MessageKey::Json(text),
        }
    }
}

fn as_json(key: &Value) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    json::write(key, &mut out).map_err(not_a_key)?;
    Ok(out)
}

fn not_a_key(failure: Failure) -> Failure {
    Failure {
        kind: FailureKind::StateSerialization,
        message: format!("the record's key has no form for state: {}", failure.message),
        exception: failure.exception,
    }
}

/// The key that a stored one stands for (W-50): the type is part of what is stored.
pub(crate) fn to_value(key: MessageKey<'_>) -> Value {
    match key {
        MessageKey::None => Value::Null,
        MessageKey::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        MessageKey::Text(text) => Value::Str(Text::from(text)),
        MessageKey::Json(text) => match Value::json(Bytes::copy_from_slice(text)) {
            Ok(mut value) => {
                value.decode_deep();
                value
            }
            // Never: only `OwnedKey::of` writes such keys. Rather a key of bytes than a panic.
            Err(_) => Value::Bytes(Bytes::copy_from_slice(text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ST-12, W-50: a key comes back as what it was, whatever it looks like.
    #[test]
    fn st_12_keys_come_back_with_their_type() {
        let json = Value::json(r#"{"b":[1,2.5]}"#).expect("valid");
        for key in [
            Value::Null,
            Value::Bytes(Bytes::from_static(b"null")),
            Value::from("null"),
            Value::from(12),
            Value::from(1.0),
            Value::Bool(true),
            json,
        ] {
            let owned = OwnedKey::of(&key).expect("keys of these types are allowed");
            let back = to_value(owned.as_message_key());
            assert_eq!(millstream_value::repr(&back), millstream_value::repr(&key));
        }
    }

    /// Text is text, whichever deserializer gave it.
    #[test]
    fn json_text_and_plain_text_are_one_key() {
        let lazy = Value::json(r#""a\u0062""#).expect("valid");
        let lazy = OwnedKey::of(&lazy).expect("a key");
        assert_eq!(lazy.as_message_key(), MessageKey::Text("ab"));
        let null = OwnedKey::of(&Value::json("null").expect("valid")).expect("a key");
        assert_eq!(null.as_message_key(), MessageKey::None);
    }
}
