//! Values in window stores as bytes.
//!
//! | tag | value | content |
//! |---|---|---|
//! | `00` | null | |
//! | `01`, `02` | false, true | |
//! | `03` | integer | zigzag varint |
//! | `04` | integer beyond `i64` | varint |
//! | `05` | float | 8 bytes, little endian: NaN and infinities stay as they are (W-32 *Do*) |
//! | `06` | text | length (varint), UTF-8 |
//! | `07` | list | count (varint), values |
//! | `08` | map | count (varint), per field: name (length, UTF-8), value |
//! | `09` | undecoded JSON text | length (varint), text |
//!
//! Bytes and objects of a host language have no form here: what Quix Streams cannot store as
//! JSON cannot be stored (W-32), apart from non-finite floats.

use bytes::Bytes;
use millstream_state::EntryError;
use millstream_value::{Failure, FailureKind, Map, Text, Value};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const LIST: u8 = 7;
const MAP: u8 = 8;
const JSON: u8 = 9;

/// How deep stored values may nest: far beyond what records have, and safe for the stack.
const DEPTH: usize = 512;

/// Turns a value into one that may be stored: native all the way, and with memory of its own,
/// for text and JSON otherwise keep the whole batch alive that they were read in.
///
/// # Errors
/// [`FailureKind::StateSerialization`] for what cannot be stored (W-32).
pub(crate) fn to_stored(value: Value) -> Result<Value, Failure> {
    stored(value, DEPTH)
}

fn stored(value: Value, depth: usize) -> Result<Value, Failure> {
    if depth == 0 {
        return Err(refused("it nests too deeply"));
    }
    Ok(match value {
        Value::Str(text) => Value::Str(Text::from(&*text)),
        Value::Json(text) => {
            let copy = Bytes::copy_from_slice(text.as_bytes());
            Value::json(copy).expect("it is a copy of checked JSON text")
        }
        Value::List(items) => {
            Value::List(items.into_iter().map(|v| stored(v, depth - 1)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let mut copy = Map::with_capacity(map.len());
            for (name, value) in map {
                copy.insert(Text::from(&*name), stored(value, depth - 1)?);
            }
            Value::Map(copy)
        }
        Value::Host(object) => match object.to_native()? {
            // The host has larger integers than there are natively; JSON does not (T-44).
            Value::Host(object) if object.type_name() == "int" => {
                return Err(refused("it is an integer beyond 64 bits"));
            }
            Value::Host(object) => {
                return Err(refused(&format!("it is of type {}", object.type_name())));
            }
            native => stored(native, depth - 1)?,
        },
        Value::Bytes(_) => return Err(refused("it is of type bytes")),
        plain => plain,
    })
}

fn refused(why: &str) -> Failure {
    Failure::new(
        FailureKind::StateSerialization,
        format!("a value cannot be kept in a window's state: {why}, which JSON does not have"),
    )
}

/// Appends a value that [`to_stored`] let through.
pub(crate) fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Int(number) => {
            out.push(INT);
            write_i64(*number, out);
        }
        Value::UInt(number) => {
            out.push(UINT);
            write_u64(*number, out);
        }
        Value::Float(number) => {
            out.push(FLOAT);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Str(text) => {
            out.push(TEXT);
            write_bytes(text.as_bytes(), out);
        }
        Value::List(items) => {
            out.push(LIST);
            write_u64(items.len() as u64, out);
            items.iter().for_each(|item| write_value(item, out));
        }
        Value::Map(map) => {
            out.push(MAP);
            write_u64(map.len() as u64, out);
            for (name, value) in map.iter() {
                write_bytes(name.as_bytes(), out);
                write_value(value, out);
            }
        }
        Value::Json(text) => {
            out.push(JSON);
            write_bytes(text.as_bytes(), out);
        }
        Value::Bytes(_) | Value::Host(_) => unreachable!("to_stored refuses these"),
    }
}

pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_u64(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn write_i64(number: i64, out: &mut Vec<u8>) {
    write_u64(((number << 1) ^ (number >> 63)) as u64, out);
}

pub(crate) fn write_u64(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what the functions above wrote. Lengths are held against what is there.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

fn broken(what: &str) -> EntryError {
    EntryError(format!("{what}; the state was damaged or written by a newer version"))
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn finish(self) -> Result<(), EntryError> {
        if self.rest.is_empty() { Ok(()) } else { Err(broken("bytes are left over")) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, EntryError> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| broken("it is cut off"))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, EntryError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(broken("a number is too long"))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, EntryError> {
        let number = self.u64()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A count of things that take at least one byte each.
    pub(crate) fn count(&mut self) -> Result<usize, EntryError> {
        let count = self.u64()?;
        if count > self.rest.len() as u64 {
            return Err(broken("it is cut off"));
        }
        Ok(count as usize)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], EntryError> {
        let length = self.count()?;
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, EntryError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| broken("a text is not UTF-8"))
    }

    pub(crate) fn value(&mut self) -> Result<Value, EntryError> {
        self.nested(DEPTH)
    }

    fn nested(&mut self, depth: usize) -> Result<Value, EntryError> {
        if depth == 0 {
            return Err(broken("it nests too deeply"));
        }
        Ok(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(self.i64()?),
            UINT => Value::UInt(self.u64()?),
            FLOAT => {
                let (bytes, rest) =
                    self.rest.split_first_chunk().ok_or_else(|| broken("it is cut off"))?;
                self.rest = rest;
                Value::Float(f64::from_le_bytes(*bytes))
            }
            TEXT => Value::Str(Text::from(self.text()?)),
            LIST => {
                let count = self.count()?;
                Value::List((0..count).map(|_| self.nested(depth - 1)).collect::<Result<_, _>>()?)
            }
            MAP => {
                let count = self.count()?;
                let mut map = Map::new();
                for _ in 0..count {
                    let name = Text::from(self.text()?);
                    map.insert(name, self.nested(depth - 1)?);
                }
                Value::Map(map)
            }
            JSON => Value::json(Bytes::copy_from_slice(self.bytes()?))
                .map_err(|_| broken("a text is not JSON"))?,
            _ => return Err(broken("a value has an unknown tag")),
        })
    }
}

#[cfg(test)]
mod tests {
    use millstream_value::repr;
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(value, &mut out);
        out
    }

    /// The bytes are on disk and in changelogs.
    #[test]
    fn golden_bytes() {
        let map = [("a", Value::List(vec![Value::Null, true.into(), 300.into()]))];
        assert_eq!(
            encoded(&Value::Map(map.into_iter().collect())),
            b"\x08\x01\x01a\x07\x03\0\x02\x03\xd8\x04"
        );
        assert_eq!(encoded(&Value::Int(-1)), b"\x03\x01");
        assert_eq!(
            encoded(&Value::UInt(u64::MAX)),
            b"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        );
        assert_eq!(encoded(&Value::Float(1.5)), b"\x05\0\0\0\0\0\0\xf8\x3f");
        assert_eq!(encoded(&Value::from("é")), b"\x06\x02\xc3\xa9");
        assert_eq!(encoded(&Value::json("[1]").expect("valid")), b"\x09\x03[1]");
    }

    /// W-32: bytes cannot be stored, non-finite floats can.
    #[test]
    fn w_32_what_can_be_stored() {
        let bytes = to_stored(Value::List(vec![Value::Bytes(Bytes::from_static(b"x"))]));
        assert_eq!(bytes.expect_err("bytes").kind, FailureKind::StateSerialization);
        for float in [f64::NAN, f64::INFINITY, -0.0] {
            let bytes = encoded(&to_stored(Value::Float(float)).expect("floats are stored"));
            let Ok(Value::Float(back)) = Reader::new(&bytes).value() else { panic!() };
            assert_eq!(back.to_bits(), float.to_bits());
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(()).prop_map(|()| Leaf::Null),
            any::<bool>().prop_map(Leaf::Bool),
            any::<i64>().prop_map(Leaf::Int),
            any::<f64>().prop_map(Leaf::Float),
            ".{0,6}".prop_map(Leaf::Text),
        ];
        proptest::collection::vec((".{0,3}", leaf), 0..5).prop_map(|fields| {
            let fields = fields.into_iter().map(|(name, leaf)| (name, leaf.value()));
            Value::List(vec![Value::Map(fields.collect()), Value::UInt(u64::MAX - 1)])
        })
    }

    #[derive(Clone, Debug)]
    enum Leaf {
        Null,
        Bool(bool),
        Int(i64),
        Float(f64),
        Text(String),
    }

    impl Leaf {
        fn value(self) -> Value {
            match self {
                Leaf::Null => Value::Null,
                Leaf::Bool(v) => v.into(),
                Leaf::Int(v) => v.into(),
                Leaf::Float(v) => v.into(),
                Leaf::Text(v) => v.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(value in value()) {
            let bytes = encoded(&value);
            let mut reader = Reader::new(&bytes);
            let back = reader.value().expect("what was written is read");
            prop_assert_eq!(repr(&back), repr(&value));
            prop_assert!(reader.finish().is_ok());
        }

        /// Whatever is on disk: an error, not a panic and not a huge allocation.
        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Reader::new(&bytes).value();
        }
    }
}
