//! Walks the bytes of a request or a response against its shape, before a codec allocates for it.
//!
//! Codecs of Kafka's protocol reserve memory for as many elements as an array *states*; twenty
//! bytes could ask one for gigabytes. A walk trusts no length: what it lets pass has every element
//! and every byte that it states.
//!
//! A shape is a line of text. Fields are separated by spaces:
//!
//! ```text
//! 1 2 4 8 16   so many bytes
//! s            string          (16-bit length; compact when flexible; null allowed)
//! b            bytes           (32-bit length; compact when flexible; null allowed)
//! [..]         array of structs or of one bare kind such as [4]; null allowed
//! {..}         struct
//! ?{..}        struct that may be absent
//! #0:..        any of these as tagged field 0; behind the other fields of its struct
//! ..@3..       from version 3;  ..@3..5  in versions 3 to 5
//! ```
//!
//! Structs end with tagged fields when the version is flexible (KIP-482); so do array elements
//! that are structs. Which ones are, the shape says by itself: a bare kind stands alone in its
//! brackets, a struct of one field is written with braces, as in `[{4}]`.
//!
//! Tagged fields that the shape does not name are skipped by their size, as codecs do with those
//! they do not know. So a shape has to name each one that the codec looks into: the codec reads
//! such a field by its type and need not care for the stated size, so that no rule about sizes or
//! bytes alone could tell what it will allocate. Here the two must agree to the byte.
//!
//! ```
//! use millstream_protocol::shape::{Limit, Shape, ShapeError};
//! // A number from version 1, and topics, each with its partitions.
//! const SHAPE: Shape = Shape::parse("4@1.. [s [4]]");
//! let honest = [0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 0];
//! let limit = Limit::Elements(1000);
//! assert_eq!(SHAPE.check(1, false, &honest, limit), Ok(()));
//! let lie = [0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff, 0, 1, b't'];
//! assert_eq!(SHAPE.check(1, false, &lie, limit), Err(ShapeError::Cut));
//! ```

pub mod example;
mod parse;

use self::parse::{FIELDS_MAX, Field, Kind};
use crate::varint;

/// How many elements arrays may have in one message, all together, tagged fields included.
///
/// Every element that is counted is there in bytes, but a codec's struct takes some ten times the
/// bytes that it has on the wire; hence a limit beside the size of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many elements of any kind.
    Elements(usize),
    /// So many elements that are not bare numbers. Numbers take no more memory than bytes on the
    /// wire, and honest responses have very many: the replicas of all partitions.
    ButNumbers(usize),
}

/// Why bytes do not fit a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The bytes end inside a field, or a length lies.
    #[error("the bytes end inside a field, or a length lies")]
    Cut,
    /// More array elements than the [`Limit`].
    #[error("more than {0} array elements")]
    TooMany(usize),
}

/// A shape, parsed. Made at compile time where it is a constant.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Depth first: a field is followed by what is inside it.
    fields: [Field; FIELDS_MAX],
    count: usize,
}

impl Shape {
    /// Checks `body`, which begins behind the header, in that version. `flexible` says whether the
    /// version has compact lengths and tagged fields.
    ///
    /// What follows behind the last field is left alone, as Kafka does: librdkafka sends three
    /// stray bytes behind a request for the metadata of all topics.
    ///
    /// # Errors
    /// [`ShapeError`] if a length or count states what is not there, or there is more than
    /// `limit`.
    pub fn check(
        &self,
        version: i16,
        flexible: bool,
        body: &[u8],
        limit: Limit,
    ) -> Result<(), ShapeError> {
        let fields = &self.fields[..self.count];
        let mut walk = Walk { fields, bytes: body, version, flexible, elements: 0, limit };
        walk.structure(0, self.count)
    }
}

/// The length of the tagged fields at the front of `bytes`, such as those that end a header.
///
/// # Errors
/// Those of [`Shape::check`].
pub fn tags_length(bytes: &[u8], limit: Limit) -> Result<usize, ShapeError> {
    let mut walk = Walk { fields: &[], bytes, version: 0, flexible: true, elements: 0, limit };
    walk.tags(0, 0)?;
    Ok(bytes.len() - walk.bytes.len())
}

struct Walk<'a> {
    fields: &'a [Field],
    bytes: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
    limit: Limit,
}

impl<'a> Walk<'a> {
    /// Walks a struct whose fields stand in that range.
    fn structure(&mut self, start: usize, end: usize) -> Result<(), ShapeError> {
        let mut at = start;
        while at < end && self.fields[at].tag.is_none() {
            let field = self.fields[at];
            if field.is_in(self.version) {
                self.field(at)?;
            }
            at = field.end();
        }
        if self.flexible { self.tags(at, end) } else { Ok(()) }
    }

    fn field(&mut self, at: usize) -> Result<(), ShapeError> {
        let field = self.fields[at];
        match field.kind {
            Kind::Number(bytes) => self.take(usize::from(bytes)).map(drop),
            Kind::String => self.string(),
            Kind::Bytes => self.byte_string(),
            Kind::Struct => self.structure(at + 1, field.end()),
            Kind::Maybe => match self.take(1)?[0] {
                1 => self.structure(at + 1, field.end()),
                _ => Ok(()),
            },
            Kind::Numbers(bytes) => {
                let count = self.count()?;
                let length = count.checked_mul(usize::from(bytes)).ok_or(ShapeError::Cut)?;
                self.take(length)?;
                match self.limit {
                    Limit::Elements(_) => self.elements(count),
                    Limit::ButNumbers(_) => Ok(()),
                }
            }
            Kind::Texts => {
                for _ in 0..self.count()? {
                    self.elements(1)?;
                    self.field(at + 1)?;
                }
                Ok(())
            }
            Kind::Structs { first } => {
                for _ in 0..self.count()? {
                    self.elements(1)?;
                    self.structure(usize::from(first), field.end())?;
                }
                Ok(())
            }
        }
    }

    /// Walks tagged fields, of which those in the range are known.
    fn tags(&mut self, start: usize, end: usize) -> Result<(), ShapeError> {
        for _ in 0..self.varint()? {
            self.elements(1)?;
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            match self.tagged(tag, start, end) {
                Some(at) => {
                    let after = self.bytes.len().checked_sub(size).ok_or(ShapeError::Cut)?;
                    self.field(at)?;
                    if self.bytes.len() != after {
                        return Err(ShapeError::Cut);
                    }
                }
                None => self.take(size).map(drop)?,
            }
        }
        Ok(())
    }

    fn tagged(&self, tag: u32, mut at: usize, end: usize) -> Option<usize> {
        while at < end {
            let field = &self.fields[at];
            if field.tag.map(u32::from) == Some(tag) && field.is_in(self.version) {
                return Some(at);
            }
            at = field.end();
        }
        None
    }

    fn elements(&mut self, more: usize) -> Result<(), ShapeError> {
        self.elements += more;
        let (Limit::Elements(max) | Limit::ButNumbers(max)) = self.limit;
        if self.elements > max { Err(ShapeError::TooMany(max)) } else { Ok(()) }
    }

    /// How many elements an array states; null has none.
    fn count(&mut self) -> Result<usize, ShapeError> {
        let count = if self.flexible { i64::from(self.varint()?) - 1 } else { self.i32()?.into() };
        match count {
            -1 => Ok(0),
            count => usize::try_from(count).map_err(|_| ShapeError::Cut),
        }
    }

    fn string(&mut self) -> Result<(), ShapeError> {
        let length = if self.flexible {
            i64::from(self.varint()?) - 1
        } else {
            i16::from_be_bytes(self.take(2)?.try_into().expect("two bytes")).into()
        };
        self.skip(length)
    }

    fn byte_string(&mut self) -> Result<(), ShapeError> {
        let length = if self.flexible { i64::from(self.varint()?) - 1 } else { self.i32()?.into() };
        self.skip(length)
    }

    /// -1 is null and takes nothing.
    fn skip(&mut self, length: i64) -> Result<(), ShapeError> {
        match length {
            -1 => Ok(()),
            length => {
                let length = usize::try_from(length).map_err(|_| ShapeError::Cut)?;
                self.take(length).map(drop)
            }
        }
    }

    fn i32(&mut self) -> Result<i32, ShapeError> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        varint::read_u32(&mut self.bytes).ok_or(ShapeError::Cut)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ShapeError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(ShapeError::Cut)?;
        self.bytes = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
