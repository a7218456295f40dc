//! Walks the bytes of a request against its shape, before the codec allocates for it.
//!
//! A shape is a line of text, read once at compile time of nobody: it is interpreted, since
//! requests are few and small. Fields are separated by spaces:
//!
//! ```text
//! 1 2 4 8 16   so many bytes
//! s            string          (16-bit length; compact when flexible; null allowed)
//! b            bytes           (32-bit length; compact when flexible; null allowed)
//! [..]         array of structs or of one bare kind such as [4]; null allowed
//! ?{..}        struct that may be absent
//! ..@3..       from version 3;  ..@3..5  in versions 3 to 5
//! ```
//!
//! Structs end with tagged fields when the version is flexible; so do array elements that are
//! structs. Which ones are, the shape says by itself: a bare kind stands alone in its brackets,
//! a struct of one field is written with braces, as in `[{4}]`.

use bytes::{Buf, Bytes};

use super::Malformed;

/// Elements of all arrays of one request together, tagged fields included. The largest honest
/// requests name some ten thousand partitions.
pub(crate) const ELEMENTS_MAX: usize = 500_000;

/// Checks `body` against `shape` in that version.
pub(crate) fn check(
    shape: &str,
    version: i16,
    flexible: bool,
    body: &[u8],
) -> Result<(), Malformed> {
    let mut walk = Walk { bytes: body, version, flexible, elements: 0 };
    walk.fields(shape)?;
    if flexible {
        walk.tags()?;
    }
    // What follows is left alone, as Kafka does: librdkafka sends three stray bytes behind a
    // request for the metadata of all topics.
    Ok(())
}

/// Skips the tagged fields of a request header.
pub(crate) fn skip_tags(frame: &mut Bytes) -> Result<(), Malformed> {
    let mut walk = Walk { bytes: &frame[..], version: 0, flexible: true, elements: 0 };
    walk.tags()?;
    let skipped = frame.len() - walk.bytes.len();
    frame.advance(skipped);
    Ok(())
}

struct Walk<'a> {
    bytes: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, mut shape: &str) -> Result<(), Malformed> {
        while !shape.is_empty() {
            let (field, rest) = split_field(shape);
            shape = rest;
            let (kind, range) = split_range(field);
            if in_range(range, self.version) {
                self.kind(kind)?;
            }
        }
        Ok(())
    }

    fn kind(&mut self, kind: &str) -> Result<(), Malformed> {
        if let Some(inner) = kind.strip_prefix('[') {
            return self.array(&inner[..inner.len() - 1]);
        }
        if let Some(inner) = kind.strip_prefix("?{") {
            return match self.take(1)?[0] {
                1 => self.structure(&inner[..inner.len() - 1]),
                _ => Ok(()),
            };
        }
        match kind {
            "s" if !self.flexible => {
                let length = i16::from_be_bytes(self.take(2)?.try_into().expect("two bytes"));
                self.skip(i64::from(length))
            }
            "b" if !self.flexible => {
                let length = self.i32()?;
                self.skip(i64::from(length))
            }
            "s" | "b" => {
                let length = self.varint()?;
                self.skip(i64::from(length) - 1)
            }
            fixed => {
                let length = fixed.parse().expect("shapes name kinds or sizes");
                self.take(length).map(drop)
            }
        }
    }

    fn array(&mut self, element: &str) -> Result<(), Malformed> {
        let count = if self.flexible { i64::from(self.varint()?) - 1 } else { self.i32()?.into() };
        if count < -1 {
            return Err(Malformed::Cut);
        }
        for _ in 0..count {
            self.element()?;
            match element.strip_prefix('{') {
                Some(fields) => self.structure(&fields[..fields.len() - 1])?,
                None if is_bare(element) => self.kind(element)?,
                None => self.structure(element)?,
            }
        }
        Ok(())
    }

    fn structure(&mut self, fields: &str) -> Result<(), Malformed> {
        self.fields(fields)?;
        if self.flexible { self.tags() } else { Ok(()) }
    }

    fn tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.varint()? {
            self.element()?;
            self.varint()?;
            let length = self.varint()?;
            self.skip(i64::from(length))?;
        }
        Ok(())
    }

    fn element(&mut self) -> Result<(), Malformed> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX { Err(Malformed::TooMany) } else { Ok(()) }
    }

    /// -1 is null and takes nothing.
    fn skip(&mut self, length: i64) -> Result<(), Malformed> {
        match length {
            -1 => Ok(()),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed::Cut)?;
                self.take(length).map(drop)
            }
        }
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn varint(&mut self) -> Result<u32, Malformed> {
        millstream_protocol::varint::read_u32(&mut self.bytes).ok_or(Malformed::Cut)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Malformed::Cut)?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// The first field of a shape and what follows: a space ends a field outside of brackets.
fn split_field(shape: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, byte) in shape.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b' ' if depth == 0 => return (&shape[..at], shape[at..].trim_start()),
            _ => {}
        }
    }
    (shape, "")
}

/// A field's kind and its versions: what stands behind the last `@` outside of brackets.
fn split_range(field: &str) -> (&str, Option<&str>) {
    match field.rfind('@') {
        Some(at) if !field[at..].contains([']', '}']) => (&field[..at], Some(&field[at + 1..])),
        _ => (field, None),
    }
}

fn in_range(range: Option<&str>, version: i16) -> bool {
    let Some(range) = range else { return true };
    let (from, to) = range.split_once("..").expect("ranges have two dots");
    let bound = |text: &str| text.parse::<i16>().expect("bounds are numbers");
    version >= bound(from) && (to.is_empty() || version <= bound(to))
}

/// Whether an array's element is a bare kind rather than the fields of a struct.
fn is_bare(element: &str) -> bool {
    matches!(element, "s" | "b") || element.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
