//! SASL from the client's side: one exchange per connection, without sockets.

use crate::random::Random;
use crate::time::Now;

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
    fn begin(&mut self, now: Now, random: &mut dyn Random) -> Result<Box<dyn Exchange>, NotYet>;
}

/// Who authenticates connections with these settings.
pub(crate) fn authenticator(
    _settings: &crate::settings::ConnectionSettings,
) -> Option<Box<dyn Authenticator>> {
    None
}
