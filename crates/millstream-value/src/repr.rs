//! Values as Python's `repr` writes them, for messages and for printing without a host.

use std::fmt::Write;

use crate::Value;

/// `repr(value)`. Objects of a host language are written as their `Debug` says.
///
/// ```
/// use millstream_value::{Value, repr};
///
/// let value = Value::json(r#"{"a": [1.0, null, "it's"]}"#)?;
/// assert_eq!(repr(&value), r#"{'a': [1.0, None, "it's"]}"#);
/// # Ok::<(), millstream_value::json::JsonError>(())
/// ```
pub fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

fn write_repr(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(v) => out.push_str(&v.to_string()),
        Value::UInt(v) => out.push_str(&v.to_string()),
        Value::Float(v) => write_float(*v, out),
        Value::Str(v) => write_quoted(v, out),
        Value::Bytes(v) => write_bytes(v, out),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(item, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_quoted(key, out);
                out.push_str(": ");
                write_repr(value, out);
            }
            out.push('}');
        }
        Value::Json(text) => write_repr(&text.get().decode(), out),
        Value::Host(object) => {
            let _ = write!(out, "{object:?}");
        }
    }
}

fn write_float(value: f64, out: &mut String) {
    if value.is_nan() {
        return out.push_str("nan");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "inf" } else { "-inf" });
    }
    // The digits nearest to the value: what `{:e}` writes may be the other one of two as short.
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("the exponent is a small integer");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    // The exponent of the first digit.
    let leading = (all.len() - all.trim_start_matches('0').len()) as i32;
    let first = whole.len() as i32 - 1 - leading + exponent;
    out.push_str(sign);
    let _ = match first {
        _ if digits.is_empty() => out.write_str("0.0"),
        -4..0 => write!(out, "0.{:0>1$}", digits, digits.len() + (-1 - first) as usize),
        0..16 if digits.len() <= first as usize + 1 => {
            write!(out, "{:0<1$}.0", digits, first as usize + 1)
        }
        0..16 => {
            let (whole, fraction) = digits.split_at(first as usize + 1);
            write!(out, "{whole}.{fraction}")
        }
        _ => {
            let (head, tail) = digits.split_at(1);
            let point = if tail.is_empty() { "" } else { "." };
            let sign = if first < 0 { '-' } else { '+' };
            write!(out, "{head}{point}{tail}e{sign}{:02}", first.unsigned_abs())
        }
    };
}

fn write_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        let _ = match c {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if c == quote => write!(out, "\\{c}"),
            '\0'..' ' | '\x7f'..'\u{a1}' | '\u{ad}' => write!(out, "\\x{:02x}", u32::from(c)),
            c => out.write_char(c),
        };
    }
    out.push(quote);
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    out.push('b');
    out.push(quote.into());
    for &b in bytes {
        let _ = match b {
            b'\\' => out.write_str("\\\\"),
            b'\n' => out.write_str("\\n"),
            b'\r' => out.write_str("\\r"),
            b'\t' => out.write_str("\\t"),
            b if b == quote => write!(out, "\\{}", char::from(b)),
            b' '..=b'~' => out.write_char(b.into()),
            b => write!(out, "\\x{b:02x}"),
        };
    }
    out.push(quote.into());
}
