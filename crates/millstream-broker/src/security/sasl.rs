//! The order of things on a connection with SASL, as Kafka's `SaslServerAuthenticator` has it:
//!
//! ```text
//!  Start ──ApiVersions──► Versions ──SaslHandshake──► Tokens ──► Done ──SaslHandshake──► Tokens
//!    └───────────────SaslHandshake───────────────────────┘         (again, KIP-368)
//! ```
//!
//! In `Tokens` the mechanism's messages come and go, as requests SaslAuthenticate after a
//! handshake of version 1, as bare frames after one of version 0. A session may end: with the
//! token that opened it, or after `connections.max.reauth.ms`. The client opens it anew with a
//! SaslHandshake, as the same user by the same mechanism; the first other request after its end
//! closes the connection.

use std::sync::Arc;
use std::time::Duration;

use super::oauth::OauthExchange;
use super::scram::{Hash, ScramExchange};
use super::{Security, plain};
use crate::random::Random;

/// Sessions are opened anew no more often than that; Kafka's.
const AGAIN_MIN: Duration = Duration::from_secs(1);

/// A way to say who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    Scram(Hash),
    OauthBearer,
}

impl Mechanism {
    /// All that are served.
    pub(crate) const ALL: [Self; 4] =
        [Self::Plain, Self::Scram(Hash::Sha256), Self::Scram(Hash::Sha512), Self::OauthBearer];

    /// Its registered name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(hash) => hash.mechanism(),
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The client must answer this.
    Challenge(Vec<u8>),
    /// The client is who he says.
    Done(Authenticated),
}

/// Who somebody has proved to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    pub(crate) user: String,
    /// The mechanism's last word to the client.
    pub(crate) answer: Vec<u8>,
    /// Until when the proof counts, in milliseconds since the epoch.
    pub(crate) expires_ms: Option<i64>,
}

/// Why somebody is not believed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the client is told; none stands for Kafka's text about credentials.
    told: Option<String>,
    /// For the log.
    pub(crate) reason: String,
}

impl Refusal {
    /// Something that is wrong with the credentials or the messages: the client learns no more.
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self { told: None, reason: reason.into() }
    }

    /// The client is told that text.
    pub(super) fn told(text: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { told: Some(text.into()), reason: reason.into() }
    }

    pub(super) fn wrong_password() -> Self {
        Self::told("Authentication failed: Invalid username or password", "wrong user or password")
    }

    pub(super) fn other_identity() -> Self {
        Self::told(
            "Authentication failed: Client requested an authorization id that is different from username",
            "the client wants to act as somebody else",
        )
    }

    /// What the client is told, in Kafka's words.
    pub(crate) fn told_text(&self, mechanism: &str) -> String {
        self.told.clone().unwrap_or_else(|| {
            format!(
                "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
            )
        })
    }
}

/// A mechanism at work.
enum Exchange {
    Plain,
    Scram(ScramExchange),
    Oauth(OauthExchange),
}

/// Where a connection stands.
enum State {
    Start,
    Versions,
    Tokens {
        mechanism: Mechanism,
        exchange: Exchange,
        bare: bool,
    },
    /// The client wants another mechanism than before; he is told when he goes on with it.
    OtherMechanism {
        mechanism: Mechanism,
        bare: bool,
    },
    Done,
}

/// An open session.
struct Open {
    mechanism: Mechanism,
    principal: Arc<str>,
    until: Option<Duration>,
}

/// What a connection with SASL has said so far.
pub(crate) struct Session {
    state: State,
    open: Option<Open>,
    /// When the session was last begun to be opened anew.
    again_at: Option<Duration>,
}

/// What becomes of the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A request ApiVersions or SaslHandshake; the first not for a second time.
    Handshake { versions: bool },
    /// A request SaslAuthenticate.
    Token,
    /// A token without a header.
    BareToken,
    /// Any request.
    Request,
}

/// Times of the broker: since its start, and since the epoch in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) monotonic: Duration,
    pub(crate) wall_ms: i64,
}

/// What a token has brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Challenge(Vec<u8>),
    Done {
        answer: Vec<u8>,
        principal: Arc<str>,
        /// How long the session lasts, in milliseconds; 0 is for good (KIP-368).
        lifetime_ms: i64,
    },
}

impl Session {
    /// Of a new connection.
    pub(crate) fn new() -> Self {
        Self { state: State::Start, open: None, again_at: None }
    }

    /// What the next frame must be.
    pub(crate) fn expected(&self) -> Expected {
        match &self.state {
            State::Start => Expected::Handshake { versions: true },
            State::Versions => Expected::Handshake { versions: false },
            State::Tokens { bare: true, .. } | State::OtherMechanism { bare: true, .. } => {
                Expected::BareToken
            }
            State::Tokens { .. } | State::OtherMechanism { .. } => Expected::Token,
            State::Done => Expected::Request,
        }
    }

    /// Whether it was ever open.
    pub(crate) fn was_open(&self) -> bool {
        self.open.is_some()
    }

    /// ApiVersions was answered.
    pub(crate) fn told_versions(&mut self) {
        self.state = State::Versions;
    }

    /// A mechanism was agreed upon.
    pub(crate) fn begin(&mut self, mechanism: Mechanism, bare: bool) {
        let changed = self.open.as_ref().is_some_and(|open| open.mechanism != mechanism);
        if changed {
            self.state = State::OtherMechanism { mechanism, bare };
            return;
        }
        let exchange = match mechanism {
            Mechanism::Plain => Exchange::Plain,
            Mechanism::Scram(hash) => Exchange::Scram(ScramExchange::new(hash)),
            Mechanism::OauthBearer => Exchange::Oauth(OauthExchange::default()),
        };
        self.state = State::Tokens { mechanism, exchange, bare };
    }

    /// Whether a handshake on an open session opens it anew. One that does not end needs none,
    /// and once a second is enough; a client that asks nevertheless is refused.
    pub(crate) fn may_begin_again(&mut self, now: Duration) -> bool {
        let ends = self.open.as_ref().is_some_and(|open| open.until.is_some());
        let rested = self.again_at.is_none_or(|last| now.saturating_sub(last) >= AGAIN_MIN);
        if !ends || !rested {
            return false;
        }
        self.again_at = Some(now);
        self.state = State::Versions;
        true
    }

    /// Whether the session has ended.
    pub(crate) fn has_ended(&self, now: Duration) -> bool {
        self.open.as_ref().and_then(|open| open.until).is_some_and(|until| now > until)
    }

    /// The name of the mechanism in use, for messages.
    pub(crate) fn mechanism(&self) -> &'static str {
        match &self.state {
            State::Tokens { mechanism, .. } | State::OtherMechanism { mechanism, .. } => {
                mechanism.name()
            }
            _ => "",
        }
    }

    /// Takes a token. `longest` is `connections.max.reauth.ms`, if it is set.
    ///
    /// # Errors
    /// The client is not believed; the connection must be closed.
    pub(crate) fn token(
        &mut self,
        token: &[u8],
        security: &Security,
        random: &mut dyn Random,
        times: Times,
        longest: Option<i64>,
    ) -> Result<Answer, Refusal> {
        let (mechanism, exchange) = match &mut self.state {
            State::Tokens { mechanism, exchange, .. } => (*mechanism, exchange),
            State::OtherMechanism { mechanism, .. } => {
                let before = self.open.as_ref().map_or("", |open| open.mechanism.name());
                let text = format!(
                    "SASL mechanism '{}' requested by client is not supported for reauthentication of mechanism '{before}'",
                    mechanism.name()
                );
                return Err(Refusal::told(text, "another mechanism than before"));
            }
            _ => return Err(Refusal::invalid("a token out of order")),
        };
        let step = match exchange {
            Exchange::Plain => plain::authenticate(token, security).map(Step::Done),
            Exchange::Scram(scram) => scram.step(token, security, random),
            Exchange::Oauth(oauth) => oauth.step(token, security, times.wall_ms),
        }?;
        let done = match step {
            Step::Challenge(bytes) => return Ok(Answer::Challenge(bytes)),
            Step::Done(done) => done,
        };
        let principal: Arc<str> = format!("User:{}", done.user).into();
        if let Some(open) = &self.open
            && open.principal != principal
        {
            let text = "Cannot change principals during re-authentication";
            return Err(Refusal::told(text, "another user than before"));
        }
        let left = done.expires_ms.map(|expires| expires.saturating_sub(times.wall_ms).max(0));
        let lifetime_ms = match (left, longest) {
            (Some(left), Some(longest)) => Some(left.min(longest)),
            (left, longest) => left.or(longest),
        };
        let until = lifetime_ms
            .map(|lifetime| times.monotonic + Duration::from_millis(lifetime.unsigned_abs()));
        self.open = Some(Open { mechanism, principal: Arc::clone(&principal), until });
        self.state = State::Done;
        Ok(Answer::Done { answer: done.answer, principal, lifetime_ms: lifetime_ms.unwrap_or(0) })
    }
}

#[cfg(test)]
mod tests;
