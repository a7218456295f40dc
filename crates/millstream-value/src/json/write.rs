//! Writing JSON in the form that orjson gives it (parity row T-44).

use crate::{Failure, FailureKind, Value};

/// Appends `value` as JSON: compact; floats in their shortest form, NaN and infinities as
/// `null`; characters beyond ASCII as they are. JSON text is copied as it is.
///
/// # Errors
/// [`FailureKind::Serialization`] for raw bytes, and for native containers nested more than
/// 1024 deep; those of [`crate::HostObject::write_json`]. What was appended until then stays.
///
/// ```
/// use millstream_value::{Map, Value, json};
///
/// let map: Map = [("a", Value::from(1.0)), ("b", Value::Float(f64::NAN))].into_iter().collect();
/// let mut out = Vec::new();
/// json::write(&Value::Map(map), &mut out)?;
/// assert_eq!(out, br#"{"a":1.0,"b":null}"#);
/// # Ok::<(), millstream_value::Failure>(())
/// ```
pub fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), Failure> {
    write_nested(value, out, super::DEPTH_MAX)
}

fn write_nested(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Failure> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Value::UInt(v) => out.extend_from_slice(itoa::Buffer::new().format(*v).as_bytes()),
        Value::Float(v) => write_float(*v, out),
        Value::Str(v) => write_str(v, out),
        Value::Json(v) => out.extend_from_slice(v.as_ref()),
        Value::Host(object) => return object.write_json(out),
        Value::Bytes(_) => {
            return Err(Failure::new(
                FailureKind::Serialization,
                "Type is not JSON serializable: bytes; decode them to a str first",
            ));
        }
        Value::List(_) | Value::Map(_) if depth == 0 => {
            return Err(Failure::new(
                FailureKind::Serialization,
                "the value is nested more than 1024 deep; flatten it first",
            ));
        }
        Value::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_nested(item, out, depth - 1)?;
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_str(key, out);
                out.push(b':');
                write_nested(value, out, depth - 1)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends a float: `null` if it is not finite.
pub fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
}

/// Appends a string with its quotes.
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let to = super::scan::plain_run(bytes, from, &mut false);
        out.extend_from_slice(&bytes[from..to]);
        let Some(&byte) = bytes.get(to) else { break };
        write_escape(byte, out);
        from = to + 1;
    }
    out.push(b'"');
}

#[cold]
fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
