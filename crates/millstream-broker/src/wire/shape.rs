//! Requests against their [shapes](millstream_protocol::shape), before the codec allocates for
//! them.

use bytes::{Buf, Bytes};
use millstream_protocol::shape::{Limit, Shape, ShapeError, tags_length};

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
    Ok(Shape::parse(shape).check(version, flexible, body, Limit::Elements(ELEMENTS_MAX))?)
}

/// Skips the tagged fields of a request header.
pub(crate) fn skip_tags(frame: &mut Bytes) -> Result<(), Malformed> {
    let length = tags_length(frame, Limit::Elements(ELEMENTS_MAX))?;
    frame.advance(length);
    Ok(())
}

impl From<ShapeError> for Malformed {
    fn from(error: ShapeError) -> Self {
        match error {
            ShapeError::Cut => Self::Cut,
            ShapeError::TooMany(_) => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests;
