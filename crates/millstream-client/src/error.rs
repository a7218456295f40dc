//! What can go wrong, by Kafka's numbers and by the client's own.

use std::fmt;
use std::time::Duration;

use crate::network::Failure;

/// What to do about an error (KIP-1050).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same may succeed later, as it is.
    Retry,
    /// The same may succeed later, with fresh metadata or a fresh coordinator.
    Refresh,
    /// The transaction has to be aborted; then the producer goes on.
    Abort,
    /// This client is of no more use: it was fenced or may not be here.
    Fatal,
    /// What was asked is wrong and stays wrong; the client goes on.
    Refused,
}

/// An error by its code: positive from a broker, negative of the client ([`code`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaError {
    /// Kafka's number, or one of [`code`].
    pub code: i32,
    /// What happened, in words; what the broker said, where it said something.
    pub text: String,
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, code {})", self.text, self.name(), self.code)
    }
}

impl std::error::Error for KafkaError {}

/// The client's own codes, with librdkafka's numbers where it has one.
pub mod code {
    /// A response or a batch could not be read.
    pub const BAD_MESSAGE: i32 = -199;
    /// The connection has ended.
    pub const TRANSPORT: i32 = -195;
    /// The record was not delivered in time.
    pub const MESSAGE_TIMED_OUT: i32 = -192;
    /// Partition not known after asking the brokers.
    pub const UNKNOWN_PARTITION: i32 = -190;
    /// Topic not known after asking the brokers.
    pub const UNKNOWN_TOPIC: i32 = -188;
    /// No broker is reachable.
    pub const ALL_BROKERS_DOWN: i32 = -187;
    /// A setting or an argument that cannot be.
    pub const INVALID_ARGUMENT: i32 = -186;
    /// No answer in time.
    pub const TIMED_OUT: i32 = -185;
    /// The producer's queue is full.
    pub const QUEUE_FULL: i32 = -184;
    /// TLS was refused.
    pub const SSL: i32 = -181;
    /// The call does not fit the client's state.
    pub const STATE: i32 = -172;
    /// SASL was refused.
    pub const AUTHENTICATION: i32 = -169;
    /// Nothing to commit.
    pub const NO_OFFSET: i32 = -168;
    /// The broker is too old for what is asked.
    pub const UNSUPPORTED_FEATURE: i32 = -165;
    /// Purged from the producer's queue.
    pub const PURGED_FROM_QUEUE: i32 = -152;
    /// Purged while a request was out.
    pub const PURGED_IN_FLIGHT: i32 = -151;
    /// A fatal error came before.
    pub const FATAL: i32 = -150;
    /// `max.poll.interval.ms` passed without a poll.
    pub const MAX_POLL_EXCEEDED: i32 = -147;
    /// No committed offset, or one out of range, and `auto.offset.reset=error`.
    pub const AUTO_OFFSET_RESET: i32 = -140;
    /// The log was cut behind what was read (KIP-320).
    pub const LOG_TRUNCATION: i32 = -139;
}

impl KafkaError {
    /// An error in the words of the table of codes.
    pub fn of(code: impl Into<i32>) -> Self {
        let code = code.into();
        Self { code, text: describe(code).1.to_owned() }
    }

    /// An error in the broker's words, or in the table's if it said nothing.
    pub fn with(code: impl Into<i32>, text: Option<&str>) -> Self {
        let mut error = Self::of(code);
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            text.clone_into(&mut error.text);
        }
        error
    }

    /// The code's name, such as `NOT_LEADER_OR_FOLLOWER`; `UNKNOWN` for one nobody knows.
    pub fn name(&self) -> &'static str {
        describe(self.code).0
    }

    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        describe(self.code).2
    }

    /// Whether the same may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self.remedy(), Remedy::Retry | Remedy::Refresh)
    }
}

impl From<Failure> for KafkaError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Disconnected(text) => Self::with(code::TRANSPORT, Some(&text)),
            Failure::TimedOut => Self::of(code::TIMED_OUT),
            Failure::Authentication(text) => Self::with(code::AUTHENTICATION, Some(&text)),
            Failure::NoToken => Self::with(code::AUTHENTICATION, Some(&failure.to_string())),
        }
    }
}

/// What a call answers with when it fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A broker, or the client on its behalf, refused.
    #[error("{action}: {error}")]
    Kafka {
        /// What was tried, such as `create topic "orders"`.
        action: String,
        /// The refusal.
        error: KafkaError,
    },
    /// No answer in time.
    #[error("{action}: no answer within {} s; check the broker address, the security settings and the network", .after.as_secs_f64())]
    TimedOut {
        /// What was tried.
        action: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A setting that cannot be.
    #[error(transparent)]
    Setting(#[from] crate::settings::SettingError),
    /// The call does not fit what went before.
    #[error("{0}")]
    Misuse(&'static str),
}

impl Error {
    /// `error` of what was tried.
    pub fn kafka(action: impl Into<String>, error: KafkaError) -> Self {
        Self::Kafka { action: action.into(), error }
    }
}

mod table;
use table::describe;
