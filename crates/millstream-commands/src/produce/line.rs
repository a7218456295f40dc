//! From a line of input to a record.

use millstream_types::Timestamp;
use serde_json::Value;

use crate::when::iso8601;

/// What lines are, and which parts of a record they give.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineFormat {
    /// Lines are JSON and are checked; else they are text and taken as they are.
    pub(crate) json: bool,
    /// The key of every record.
    pub(crate) key: Option<String>,
    /// The field of a JSON line that is the key.
    pub(crate) key_field: Option<String>,
    /// What stands between key and value in a text line.
    pub(crate) key_separator: Option<String>,
    /// The timestamp of every record.
    pub(crate) timestamp: Option<Timestamp>,
    /// The field of a JSON line that is the timestamp.
    pub(crate) timestamp_field: Option<String>,
}

/// One record's parts, borrowed from its line where they can be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: &'a [u8],
    pub(crate) timestamp: Option<Timestamp>,
}

/// A line without its end, `\n` or `\r\n`; whatever stands before belongs to it.
pub(crate) fn without_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

impl LineFormat {
    /// Whether a line (without its end) holds nothing and is left out.
    pub(crate) fn is_blank(&self, line: &[u8]) -> bool {
        match self.json {
            true => line.trim_ascii().is_empty(),
            false => line.is_empty(),
        }
    }

    /// Takes a line (without its end) apart.
    pub(crate) fn read<'a>(&self, line: &'a [u8]) -> Result<Parts<'a>, String> {
        let fixed = self.key.as_ref().map(|key| key.clone().into_bytes());
        if !self.json {
            let (key, value) = self.split(line)?;
            return Ok(Parts { key: key.or(fixed), value, timestamp: self.timestamp });
        }
        if self.key_field.is_none() && self.timestamp_field.is_none() {
            serde_json::from_slice::<serde::de::IgnoredAny>(line).map_err(|e| not_json(&e))?;
            return Ok(Parts { key: fixed, value: line, timestamp: self.timestamp });
        }
        let parsed: Value = serde_json::from_slice(line).map_err(|e| not_json(&e))?;
        let field = |name: &String| {
            parsed.get(name).ok_or_else(|| format!("has no field {name:?}: {}", shorten(line)))
        };
        let key = match &self.key_field {
            Some(name) => key_of(field(name)?),
            None => fixed,
        };
        let timestamp = match &self.timestamp_field {
            Some(name) => Some(time_of(field(name)?).ok_or_else(|| {
                format!(
                    "field {name:?} is no time: {}; milliseconds since the epoch are wanted, or a \
                     text such as \"2013-01-01T05:00:00Z\"",
                    shorten(field(name).map(Value::to_string).unwrap_or_default().as_bytes())
                )
            })?),
            None => self.timestamp,
        };
        Ok(Parts { key, value: line, timestamp })
    }

    fn split<'a>(&self, line: &'a [u8]) -> Result<(Option<Vec<u8>>, &'a [u8]), String> {
        let Some(separator) = &self.key_separator else { return Ok((None, line)) };
        let at = line
            .windows(separator.len())
            .position(|window| window == separator.as_bytes())
            .ok_or_else(|| format!("has no {separator:?} between key and value"))?;
        Ok((Some(line[..at].to_vec()), &line[at + separator.len()..]))
    }
}

/// Text keys as they are, null as no key, anything else as JSON.
fn key_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

/// An integer as milliseconds since the epoch, a text as ISO 8601.
fn time_of(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => iso8601(text),
        other => other.as_i64(),
    }
}

fn not_json(error: &serde_json::Error) -> String {
    format!("is no JSON ({error}); use --format text to send lines as they are")
}

fn shorten(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines() {
        let format = LineFormat {
            json: true,
            key_field: Some("k".into()),
            timestamp_field: Some("t".into()),
            ..LineFormat::default()
        };
        let line = br#"{"k": "AA", "t": 12, "x": [1]}"#;
        let parts = format.read(line).expect("a good line");
        assert_eq!(parts, Parts { key: Some(b"AA".to_vec()), value: line, timestamp: Some(12) });
        let parts = format.read(br#"{"k": 5, "t": 0}"#).expect("a good line");
        assert_eq!(parts.key, Some(b"5".to_vec()));
        let line = br#"{"k": 5, "t": "2013-01-01T05:00:00Z"}"#;
        let parts = format.read(line).expect("a good line");
        assert_eq!(parts.timestamp, Some(1_357_016_400_000));
        for (line, complaint) in [
            (&br#"{"k": 5"#[..], "is no JSON"),
            (br#"{"k": 5}"#, "has no field \"t\""),
            (br#"{"k": 5, "t": "x"}"#, "field \"t\" is no time: \"x\"; milliseconds since"),
            (br#"{"k": 5, "t": 1.5}"#, "is no time: 1.5"),
        ] {
            let error = format.read(line).expect_err("a bad line");
            assert!(error.contains(complaint), "{error}");
        }
    }

    #[test]
    fn text_lines() {
        let format = LineFormat { key_separator: Some(": ".into()), ..LineFormat::default() };
        let parts = format.read(b"a: b: c").expect("a good line");
        assert_eq!(parts, Parts { key: Some(b"a".to_vec()), value: b"b: c", timestamp: None });
        assert!(format.read(b"abc").is_err());
        let parts = format.read(b"k: ").expect("an empty value is one");
        assert_eq!(parts, Parts { key: Some(b"k".to_vec()), value: b"", timestamp: None });
    }

    #[test]
    fn only_the_end_of_a_line_is_taken_off() {
        for (line, text) in [
            (&b"a\n"[..], &b"a"[..]),
            (b"a\r\n", b"a"),
            (b"a \t\n", b"a \t"),
            (b"a\r\r\n", b"a\r"),
            (b"a\r", b"a\r"),
            (b"\n", b""),
            (b"", b""),
        ] {
            assert_eq!(without_end(line), text);
        }
    }

    #[test]
    fn blank_lines() {
        let text = LineFormat::default();
        assert!(text.is_blank(b"") && !text.is_blank(b"  "));
        let json = LineFormat { json: true, ..LineFormat::default() };
        assert!(json.is_blank(b"") && json.is_blank(b" \t") && !json.is_blank(b" 1"));
    }

    #[test]
    fn one_time_for_all() {
        let format = LineFormat { json: true, timestamp: Some(7), ..LineFormat::default() };
        assert_eq!(format.read(b"1").expect("a good line").timestamp, Some(7));
        let format = LineFormat { json: false, ..format };
        assert_eq!(format.read(b"x").expect("a good line").timestamp, Some(7));
    }
}
