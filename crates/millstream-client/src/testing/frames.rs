//! For tests that play the broker: requests out of the bytes that a machine sends, responses into
//! frames, and random numbers from a seed.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

pub(crate) use super::Seeded;

/// A request that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
    bytes: Bytes,
}

impl Arrived {
    /// Reads the front of a frame that begins with its length.
    pub(crate) fn read(mut frame: Bytes) -> Self {
        let length = frame.get_i32();
        assert_eq!(usize::try_from(length), Ok(frame.len()), "one action is one frame");
        let front = &frame[..];
        let key = i16::from_be_bytes([front[0], front[1]]);
        let version = i16::from_be_bytes([front[2], front[3]]);
        let correlation = i32::from_be_bytes([front[4], front[5], front[6], front[7]]);
        Self { key, version, correlation, bytes: frame }
    }

    /// The request itself.
    pub(crate) fn decode<R: Request>(&self) -> R {
        assert_eq!(self.key, R::KEY);
        let mut bytes = self.bytes.clone();
        RequestHeader::decode(&mut bytes, R::header_version(self.version)).unwrap();
        R::decode(&mut bytes, self.version).unwrap()
    }

    /// A response as the frame that [`crate::Input::Frame`] takes.
    pub(crate) fn answer<R: Request>(&self, response: &R::Response) -> Bytes {
        assert_eq!(self.key, R::KEY);
        let mut bytes = BytesMut::new();
        // Of ApiVersions the header stays in version 0, so that old clients can read it.
        let header = R::Response::header_version(self.version);
        let correlation = ResponseHeader::default().with_correlation_id(self.correlation);
        correlation.encode(&mut bytes, header).unwrap();
        response.encode(&mut bytes, self.version).unwrap();
        bytes.freeze()
    }
}
