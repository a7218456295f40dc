//! SASL from the client's side: one exchange per connection, without sockets.

mod client_credentials;
mod oauth;
mod plain;
mod scram;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::error::{Error, KafkaError, code};
use crate::network::Network;
use crate::settings::{ConnectionSettings, SaslSettings};
use crate::time::Now;

pub use client_credentials::NoToken;
pub(crate) use client_credentials::{ANSWER_MAX, authorization, form, token};
pub use oauth::OAuthToken;
pub(crate) use oauth::extension_problem;

/// One authentication under way. Bytes of the broker in, bytes for the broker out.
pub(crate) trait Exchange: Send {
    /// The first message for the broker.
    ///
    /// # Errors
    /// Text for the user; holds no secret.
    fn start(&mut self) -> Result<Vec<u8>, String>;

    /// Answers the broker's message: what to send next, or `None` if the exchange is over and the
    /// broker has proved what it must prove.
    ///
    /// # Errors
    /// Text for the user; holds no secret.
    fn step(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// The broker has refused, in these words. What the user is told.
    fn refused(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// Why no exchange can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotYet {
    /// OAUTHBEARER has no token that is still valid.
    TokenNeeded,
    /// What was given cannot be used; text for the user.
    Refused(String),
}

/// Makes exchanges: holds mechanism and credentials.
pub(crate) trait Authenticator: Send {
    /// The mechanism's name as SaslHandshake sends it, such as `SCRAM-SHA-256`.
    fn mechanism(&self) -> &'static str;

    /// Begins an exchange.
    ///
    /// # Errors
    /// [`NotYet`].
    fn begin(&mut self, now: Now) -> Result<Box<dyn Exchange>, NotYet>;

    /// Takes over a token, for the exchanges from here on.
    ///
    /// # Errors
    /// Text for the user, if the mechanism has none or this one cannot be sent.
    fn set_token(&mut self, _token: OAuthToken, _now: Now) -> Result<(), String> {
        Err(format!("sasl.mechanism {} takes no token", self.mechanism()))
    }

    /// A broker has refused what an exchange has sent. A token may be good for nothing, however long
    /// it says it lives.
    fn token_refused(&mut self, _now: Now) {}

    /// Whether a token is wanted now that was not asked for yet. Asking again is due after a while
    /// without an answer.
    fn take_token_wanted(&mut self, _now: Now) -> bool {
        false
    }

    /// When [`take_token_wanted`](Self::take_token_wanted) becomes true.
    fn token_wanted_at(&self, _now: Now) -> Option<Duration> {
        None
    }
}

/// Fills a buffer with random bytes that nobody can guess.
pub(crate) type Nonces = Box<dyn FnMut(&mut [u8]) -> Result<(), String> + Send>;

/// Who makes the exchanges that `settings` ask for; `None` if they ask for none. Nonces come from
/// the system.
pub(crate) fn authenticator(settings: &ConnectionSettings) -> Option<Box<dyn Authenticator>> {
    if !settings.protocol.has_sasl() {
        return None;
    }
    Some(match settings.sasl.as_ref()? {
        SaslSettings::Plain { username, password } => {
            Box::new(plain::Plain::new(username, password))
        }
        SaslSettings::Scram { sha512, username, password } => Box::new(scram::Scram::new(
            *sha512,
            username,
            password,
            Box::new(crate::driver::system_nonce),
        )),
        SaslSettings::OAuthBearer { .. } | SaslSettings::ClientCredentials(_) => {
            Box::<oauth::OAuth>::default()
        }
    })
}

/// What a broker sent, fit for an error and a terminal: whoever it is has not been authenticated
/// yet, and may send a hundred megabytes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Hands a token to who makes the exchanges.
///
/// # Errors
/// [`Error::Kafka`] if the token cannot be used.
pub(crate) fn set_token(network: &mut Network, token: OAuthToken, now: Now) -> Result<(), Error> {
    network.set_token(token, now).map_err(|text| {
        Error::kafka("set the OAuth token", KafkaError::with(code::INVALID_ARGUMENT, Some(&text)))
    })
}

/// The error to report when the user has no token to give; it is asked for again after a while.
pub(crate) fn no_token(why: &str) -> KafkaError {
    KafkaError::with(code::AUTHENTICATION, Some(&format!("no OAuth token: {why}")))
}
