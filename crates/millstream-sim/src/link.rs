//! A connection to the broker as an actor uses it: requests by their types, answers awaited.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::actor::Me;
use crate::network::ConnId;
use crate::world::HostId;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for an answer that needs not wait itself.
pub const TIMEOUT: Duration = Duration::from_secs(8);

/// There is no answer: the broker may or may not have done what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost(pub &'static str);

/// An open connection; dropping it hangs up.
pub struct Link {
    me: Me,
    id: ConnId,
    next: i32,
}

impl Link {
    /// Connects once.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn open(me: &Me, broker: HostId) -> Result<Self, Lost> {
        let link = Self { me: me.clone(), id: me.call(broker), next: 1 };
        let until = me.now() + CONNECT_TIMEOUT;
        let outcome = me
            .wait_on(link.id, until, |line| match line.closed {
                Some(why) => Some(Err(Lost(why))),
                None => line.open.then_some(Ok(())),
            })
            .await;
        outcome.unwrap_or(Err(Lost("not connected in time"))).map(|()| link)
    }

    /// Connects, however often it takes.
    pub async fn reopen(me: &Me, broker: HostId) -> Self {
        loop {
            match Self::open(me, broker).await {
                Ok(link) => return link,
                Err(_) => me.sleep_ms(50, 500).await,
            }
        }
    }

    /// Sends a request, without waiting. Returns what to receive the answer by.
    ///
    /// # Panics
    /// If the request has a field that `version` does not have: a bug of the caller.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let correlation = self.next;
        self.next += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_string(self.me.host().name())));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version)).expect("a header can be encoded");
        request.encode(&mut frame, version).expect("a field that this version does not have");
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let api = api_name(R::KEY);
        self.me.host().trace(format_args!("c{} asks {api} v{version} #{correlation}", self.id));
        self.me.host().send(self.id, frame.freeze());
        correlation
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation: i32,
        timeout: Duration,
    ) -> Result<R::Response, Lost> {
        let until = self.me.now() + timeout;
        let frame = self
            .me
            .wait_on(self.id, until, |line| match line.answers.remove(&correlation) {
                Some(frame) => Some(Ok(frame)),
                None => line.closed.map(|why| Err(Lost(why))),
            })
            .await;
        let mut frame = frame.unwrap_or(Err(Lost("no answer in time")))?;
        let header_version = R::Response::header_version(version);
        let decoded = ResponseHeader::decode(&mut frame, header_version)
            .and_then(|_| R::Response::decode(&mut frame, version));
        match decoded {
            Ok(response) if frame.is_empty() => Ok(response),
            _ => {
                let api = api_name(R::KEY);
                self.me.host().violation(format!("an answer to {api} v{version} cannot be read"));
                Err(Lost("unreadable"))
            }
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn ask<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, Lost> {
        let correlation = self.send(version, request);
        self.receive::<R>(version, correlation, TIMEOUT).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.me.hang_up(self.id);
    }
}

fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|_| format!("API {key}"), |api| format!("{api:?}"))
}

/// A protocol string.
pub fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
