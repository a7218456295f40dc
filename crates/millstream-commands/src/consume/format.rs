//! How a record is printed.

use std::io::Write;

use clap::ValueEnum;
use millstream_types::RecordView;
use serde_json::{Map, Value};

/// How records are printed, one per line unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The value as it is; a null value is an empty line.
    Value,
    /// Key, a tab, and the value, as they are.
    KeyValue,
    /// A JSON object with topic, partition, offset, timestamp, key, value and headers. A JSON
    /// value stands in it as JSON, other text as a string, other bytes as {"base64": "..."}.
    Json,
    /// The same as `json`, indented over several lines.
    Pretty,
    /// The bytes of the values and nothing between them.
    Raw,
}

impl Format {
    /// Prints one record.
    pub(crate) fn write(
        self,
        out: &mut impl Write,
        topic: &str,
        partition: i32,
        record: RecordView<'_>,
    ) -> std::io::Result<()> {
        let value = record.value().unwrap_or_default();
        match self {
            Self::Raw => out.write_all(value),
            Self::Value => {
                out.write_all(value)?;
                out.write_all(b"\n")
            }
            Self::KeyValue => {
                out.write_all(record.key().unwrap_or_default())?;
                out.write_all(b"\t")?;
                out.write_all(value)?;
                out.write_all(b"\n")
            }
            Self::Json => {
                serde_json::to_writer(&mut *out, &describe(topic, partition, record))?;
                out.write_all(b"\n")
            }
            Self::Pretty => {
                serde_json::to_writer_pretty(&mut *out, &describe(topic, partition, record))?;
                out.write_all(b"\n")
            }
        }
    }
}

fn describe(topic: &str, partition: i32, record: RecordView<'_>) -> Value {
    let mut all = Map::new();
    all.insert("topic".into(), topic.into());
    all.insert("partition".into(), partition.into());
    all.insert("offset".into(), record.offset().into());
    all.insert("timestamp".into(), record.timestamp().into());
    all.insert("key".into(), record.key().map_or(Value::Null, text_or_base64));
    all.insert("value".into(), record.value().map_or(Value::Null, json_or_text));
    let headers: Vec<Value> = record
        .headers()
        .iter()
        .map(|(name, value)| {
            Value::Array(vec![name.into(), value.map_or(Value::Null, text_or_base64)])
        })
        .collect();
    if !headers.is_empty() {
        all.insert("headers".into(), headers.into());
    }
    Value::Object(all)
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| text_or_base64(bytes))
}

fn text_or_base64(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            Value::Object(Map::from_iter([("base64".to_owned(), Value::String(base64(bytes)))]))
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use millstream_types::{BatchBuilder, TimestampType, TopicPartition};

    use super::*;

    fn print(format: Format, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let mut builder = BatchBuilder::new(TopicPartition::new("t", 2));
        builder.push(5, 17, TimestampType::CreateTime, -1, key, value, [("h", Some(&b"x"[..]))]);
        let mut out = Vec::new();
        format.write(&mut out, "t", 2, builder.finish().get(0)).expect("a vector takes all");
        String::from_utf8(out).expect("printed text")
    }

    #[test]
    fn formats() {
        let value = Some(&br#"{"b":1,"a":1.50}"#[..]);
        assert_eq!(print(Format::Value, Some(b"k"), value), "{\"b\":1,\"a\":1.50}\n");
        assert_eq!(print(Format::KeyValue, Some(b"k"), value), "k\t{\"b\":1,\"a\":1.50}\n");
        assert_eq!(
            print(Format::Json, Some(b"k"), value),
            "{\"topic\":\"t\",\"partition\":2,\"offset\":5,\"timestamp\":17,\"key\":\"k\",\
             \"value\":{\"b\":1,\"a\":1.50},\"headers\":[[\"h\",\"x\"]]}\n"
        );
    }

    #[test]
    fn what_is_no_json_and_no_text() {
        let printed = print(Format::Json, None, Some(&[0xff, 0xfe, 0x00, 0x01]));
        assert!(printed.contains("\"key\":null"), "{printed}");
        assert!(printed.contains("{\"base64\":\"//4AAQ==\"}"), "{printed}");
        assert!(print(Format::Json, None, None).contains("\"value\":null"));
    }

    #[test]
    fn base64_of_every_remainder() {
        let cases = [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes), text);
        }
    }
}
