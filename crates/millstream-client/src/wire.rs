//! Frames: a request as bytes, and a response's bytes until someone who knows its type decodes it.

mod shapes;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

pub(crate) use self::shapes::Checked;

/// A frame that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub(crate) struct Malformed {
    what: &'static str,
    reason: String,
}

impl Malformed {
    fn new(what: &'static str, reason: impl ToString) -> Self {
        Self { what, reason: reason.to_string() }
    }
}

/// A request as a whole frame, its length included.
///
/// # Errors
/// [`Malformed`] if a field is set that `version` does not have; a bug of the caller.
pub(crate) fn encode<R: Request>(
    request: &R,
    version: i16,
    correlation: i32,
    client_id: &StrBytes,
) -> Result<Bytes, Malformed> {
    let failed = |error| Malformed::new("a request could not be encoded", error);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version).map_err(failed)?
        + request.compute_size(version).map_err(failed)?;
    let mut frame = BytesMut::with_capacity(4 + size);
    frame.put_i32(i32::try_from(size).map_err(|_| Malformed::new("a request", "over 2 GiB"))?);
    header.encode(&mut frame, header_version).map_err(failed)?;
    request.encode(&mut frame, version).map_err(failed)?;
    Ok(frame.freeze())
}

/// The correlation id at the front of a response.
pub(crate) fn correlation_of(frame: &Bytes) -> Result<i32, Malformed> {
    match frame.get(..4) {
        Some(bytes) => Ok(i32::from_be_bytes(bytes.try_into().expect("four bytes"))),
        None => Err(Malformed::new("a response", "shorter than its correlation id")),
    }
}

/// A response that is not decoded yet.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    version: i16,
    frame: Bytes,
}

impl Body {
    /// A response's frame (without its length) to a request of that version.
    pub(crate) fn new(version: i16, frame: Bytes) -> Self {
        Self { version, frame }
    }

    /// The version that request and response have.
    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    /// Reads the response to a request of type `R`, once it was held against its shape.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are no such response.
    pub(crate) fn decode<R: Checked>(self) -> Result<R::Response, Malformed> {
        const WHAT: &str = "a response could not be decoded";
        let (version, mut frame) = (self.version, self.frame);
        if !(R::SHAPED.0..=R::SHAPED.1).contains(&version) {
            return Err(Malformed::new(WHAT, format_args!("version {version} is not known here")));
        }
        correlation_of(&frame)?;
        frame.advance(4);
        let header = shapes::check::<R>(version, &frame).map_err(|e| Malformed::new(WHAT, e))?;
        frame.advance(header);
        R::Response::decode(&mut frame, version).map_err(|e| Malformed::new(WHAT, e))
    }
}

/// The length that a frame starts with, if it can be.
pub(crate) fn frame_length(prefix: [u8; 4], max: usize) -> Result<usize, Malformed> {
    let stated = i32::from_be_bytes(prefix);
    match usize::try_from(stated) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(Malformed::new(
            "a response's length",
            format_args!("{stated} bytes, and receive.message.max.bytes is {max}"),
        )),
    }
}

impl Body {
    /// The error code of an ApiVersions response, which comes first in every version of it.
    pub(crate) fn error_code_at_front(&self) -> Option<i16> {
        let bytes = self.frame.get(4..6)?;
        Some(i16::from_be_bytes(bytes.try_into().expect("two bytes")))
    }
}
