//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Endpoint;
use crate::security::sasl::{Expected, Session};
use crate::security::{ANONYMOUS, Listener};

/// The other end of a connection, as far as it is known.
pub(crate) struct Peer {
    pub(crate) host: String,
    pub(super) listener: usize,
    pub(super) principal: Arc<str>,
    /// How far SASL has come, where the listener has it.
    pub(super) sasl: Option<Session>,
}

impl Peer {
    /// Somebody that nobody asks who it is.
    pub(crate) fn unknown(host: &str, listener: usize) -> Self {
        Self { host: host.to_owned(), listener, principal: ANONYMOUS.into(), sasl: None }
    }

    /// Somebody whose certificate has said who it is.
    pub(crate) fn known(host: &str, listener: usize, principal: &str) -> Self {
        Self { principal: principal.into(), ..Self::unknown(host, listener) }
    }

    /// Somebody who will say by SASL who it is.
    pub(crate) fn to_authenticate(host: &str, listener: usize) -> Self {
        Self { sasl: Some(Session::new()), ..Self::unknown(host, listener) }
    }

    /// Whether it must say who it is before anything else, and never has.
    pub(crate) fn is_stranger(&self) -> bool {
        self.sasl.as_ref().is_some_and(|session| !session.was_open())
    }

    /// Whether it is saying who it is at the moment, for the first time or anew.
    pub(crate) fn is_authenticating(&self) -> bool {
        self.sasl.as_ref().is_some_and(|session| session.expected() != Expected::Request)
    }
}

impl Endpoint {
    /// Of a listener that listens on that address.
    pub(super) fn of(listener: &Listener, listening_on: SocketAddr) -> Self {
        let (host, port) = match &listener.advertised {
            Some((host, 0)) => (host.clone(), listening_on.port()),
            Some((host, port)) => (host.clone(), *port),
            None => (listening_on.ip().to_string(), listening_on.port()),
        };
        Self { protocol: listener.protocol, host, port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.protocol, self.host, self.port)
    }
}
