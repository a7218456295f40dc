//! Requests and responses as frames: what is checked before the codec sees a byte, the request
//! header, and the encoding of answers.
//!
//! The codec (`kafka-protocol`) reserves memory for as many elements as an array *states*; a
//! request of twenty bytes could ask it for gigabytes. So each request is first walked against
//! its [`shape`], which trusts no length and bounds the number of elements.

mod frame;
pub(crate) mod shape;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, HeaderVersion};

pub use frame::Frame;

/// Why a frame cannot be answered; the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The request ends inside a field, or a length lies.
    #[error("the request ends inside a field")]
    Cut,
    /// More array elements than any client sends.
    #[error("the request has more than {} array elements", shape::ELEMENTS_MAX)]
    TooMany,
    /// An API key that this broker does not serve.
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    /// A version that ApiVersions did not offer.
    #[error("version {version} of {api:?} is not served")]
    UnknownVersion {
        /// Which API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// A string that is not UTF-8, or the like.
    #[error("the codec cannot read the request: {0}")]
    Codec(String),
}

/// The fields in front of every request.
#[derive(Clone, Debug)]
pub(crate) struct RequestHeader {
    pub(crate) api_key: i16,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
}

/// Splits a frame (without its length) into header and body. Keys and versions that we do not
/// know still give a header, so that ApiVersions can be answered in any version.
pub(crate) fn read_header(frame: &mut Bytes) -> Result<RequestHeader, Malformed> {
    if frame.len() < 8 {
        return Err(Malformed::Cut);
    }
    let api_key = frame.get_i16();
    let version = frame.get_i16();
    let correlation_id = frame.get_i32();
    let mut header = RequestHeader { api_key, version, correlation_id, client_id: None };
    let Ok(api) = ApiKey::try_from(api_key) else { return Ok(header) };
    if frame.len() < 2 {
        return Err(Malformed::Cut);
    }
    let length = frame.get_i16();
    if let Ok(length) = usize::try_from(length) {
        if frame.len() < length {
            return Err(Malformed::Cut);
        }
        let client_id = frame.split_to(length);
        header.client_id = Some(String::from_utf8_lossy(&client_id).into_owned());
    } else if length != -1 {
        return Err(Malformed::Cut);
    }
    if is_flexible(api, version) {
        shape::skip_tags(frame)?;
    }
    Ok(header)
}

/// Whether that version of a request uses compact lengths and tagged fields.
pub(crate) fn is_flexible(api: ApiKey, version: i16) -> bool {
    api.request_header_version(version) >= 2
}

/// Encodes a response with its length, correlation id and header. An empty result means that the
/// codec refused (a field that `version` cannot carry: a bug in a handler); the connection is
/// closed then, the others go on.
pub(crate) fn encode<R: Encodable + HeaderVersion>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Bytes {
    try_encode(response, version, correlation_id).unwrap_or_else(|| {
        let kind = std::any::type_name::<R>();
        tracing::error!(kind, version, "a response does not fit its version");
        Bytes::new()
    })
}

fn try_encode<R: Encodable + HeaderVersion>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Option<Bytes> {
    let size = response.compute_size(version).ok()?;
    let mut out = BytesMut::with_capacity(size + 9);
    out.put_i32(0);
    out.put_i32(correlation_id);
    if R::header_version(version) >= 1 {
        out.put_u8(0);
    }
    response.encode(&mut out, version).ok()?;
    let length = i32::try_from(out.len() - 4).ok()?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Some(out.freeze())
}
