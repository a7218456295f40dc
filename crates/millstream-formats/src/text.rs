//! `"str"` (parity row T-40).

use std::str::FromStr;

use bytes::Bytes;
use millstream_value::{
    Deserialized, Deserializer, Failure, SerializationContext, Serialized, Serializer, Text, Value,
};

use crate::{failure, with_native};

/// How text is written as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// UTF-8.
    #[default]
    Utf8,
    /// The first 128 characters of Unicode, one byte each.
    Ascii,
    /// The first 256 characters of Unicode, one byte each (ISO 8859-1).
    Latin1,
}

/// A codec that is not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown codec {0:?}; use \"utf_8\", \"ascii\" or \"latin_1\"")]
pub struct UnknownCodec(String);

impl FromStr for Codec {
    type Err = UnknownCodec;

    /// Python's names and their usual aliases, in any case, with `-`, `_` or a blank in between.
    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        let plain: String =
            name.to_ascii_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
        match &*plain {
            "utf8" | "u8" | "utf" | "cp65001" => Ok(Codec::Utf8),
            "ascii" | "usascii" | "646" | "iso646us" => Ok(Codec::Ascii),
            "latin1" | "latin" | "l1" | "iso88591" | "88591" | "cp819" => Ok(Codec::Latin1),
            _ => Err(UnknownCodec(name.to_owned())),
        }
    }
}

impl Codec {
    /// The name that errors give it.
    fn name(self) -> &'static str {
        match self {
            Codec::Utf8 => "UTF-8",
            Codec::Ascii => "ASCII",
            Codec::Latin1 => "Latin-1",
        }
    }

    fn encode(self, text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        let last = match self {
            Codec::Ascii => '\x7f',
            Codec::Latin1 => '\u{ff}',
            Codec::Utf8 => char::MAX,
        };
        if let Some(index) = text.chars().position(|char| char > last) {
            return Err(failure(format!(
                "character {index} of the text does not exist in {}; use the codec \"utf_8\"",
                self.name()
            )));
        }
        match self {
            // `char as u8`: none is beyond 255, as was just seen.
            Codec::Latin1 => out.extend(text.chars().map(|char| char as u8)),
            Codec::Utf8 | Codec::Ascii => out.extend_from_slice(text.as_bytes()),
        }
        Ok(())
    }

    fn decode(self, bytes: Bytes) -> Result<Text, Failure> {
        let invalid = |position: usize| {
            failure(format!(
                "byte {position} of the text is not valid in {}; the topic may hold another \
                 codec or format",
                self.name()
            ))
        };
        match self {
            Codec::Utf8 => Text::from_utf8(bytes).map_err(|error| invalid(error.valid_up_to())),
            Codec::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
                Some(position) => Err(invalid(position)),
                None => Ok(Text::from_utf8(bytes).expect("ASCII is UTF-8")),
            },
            Codec::Latin1 => {
                Ok(Text::from(bytes.iter().copied().map(char::from).collect::<String>()))
            }
        }
    }
}

/// Writes text. A null becomes a tombstone.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringSerializer {
    codec: Codec,
}

impl StringSerializer {
    /// For a codec; the default is UTF-8.
    pub fn new(codec: Codec) -> Self {
        Self { codec }
    }
}

impl Serializer for StringSerializer {
    fn serialize(
        &self,
        value: &mut Value,
        _context: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        with_native(value, |value| match value {
            Value::Null => Ok(Serialized::Null),
            Value::Str(text) => self.codec.encode(text, out).map(|()| Serialized::Bytes),
            other => Err(failure(format!(
                "the str serializer takes a str, not '{}'; choose another serializer, such as \
                 \"json\"",
                other.type_name()
            ))),
        })
    }
}

/// Reads text.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringDeserializer {
    codec: Codec,
}

impl StringDeserializer {
    /// For a codec; the default is UTF-8.
    pub fn new(codec: Codec) -> Self {
        Self { codec }
    }
}

impl Deserializer for StringDeserializer {
    fn deserialize(
        &self,
        bytes: Bytes,
        _context: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        self.codec.decode(bytes).map(|text| Deserialized::One(Value::Str(text)))
    }
}
