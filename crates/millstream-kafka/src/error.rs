//! What can go wrong, as values: Kafka's own error codes and what this crate was doing when one
//! came back.

use std::time::Duration;

/// An error by Kafka's numbers (positive: from a broker) or the client's (negative). Parity row
/// E-11.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{description} ({name}, code {code})")]
pub struct KafkaError {
    /// Kafka's error code, or a negative one of the client.
    pub code: i32,
    /// The code's name, such as `UNKNOWN_TOPIC_OR_PART`; names of client errors start with `_`.
    pub name: String,
    /// What happened, in words.
    pub description: String,
    /// Whether the same request may succeed later.
    pub retriable: bool,
    /// Whether this client instance is of no more use.
    pub fatal: bool,
}

impl KafkaError {
    /// The error that a code stands for: in librdkafka's words where it is compiled in, in our own
    /// client's otherwise.
    pub fn of_code(code: i32) -> Self {
        #[cfg(feature = "librdkafka")]
        return crate::librdkafka::error_of_code(code);
        #[cfg(not(feature = "librdkafka"))]
        return crate::native::error_of_code(code);
    }

    /// Whether the broker refused who we are (SASL, TLS): waiting will not help.
    pub fn is_authentication(&self) -> bool {
        matches!(self.code, code::SSL | code::AUTHENTICATION | 33 | 34 | 58)
    }

    /// Whether the broker refused what we may do.
    pub fn is_authorization(&self) -> bool {
        matches!(self.code, 29 | 30 | 31 | 53)
    }
}

/// Codes that callers decide on. Negative ones are the client's own.
pub mod code {
    /// Topic or partition unknown to the client after asking the brokers.
    pub const UNKNOWN_PARTITION: i32 = -190;
    /// Topic unknown to the client after asking the brokers.
    pub const UNKNOWN_TOPIC: i32 = -188;
    /// No broker is reachable.
    pub const ALL_BROKERS_DOWN: i32 = -187;
    /// A local call ran into its time limit.
    pub const TIMED_OUT: i32 = -185;
    /// The producer's queue is full.
    pub const QUEUE_FULL: i32 = -184;
    /// TLS failure.
    pub const SSL: i32 = -181;
    /// The call does not fit the client's state.
    pub const STATE: i32 = -172;
    /// SASL failure.
    pub const AUTHENTICATION: i32 = -169;
    /// Nothing to commit.
    pub const NO_OFFSET: i32 = -168;
    /// Purged from the producer's queue.
    pub const PURGED_FROM_QUEUE: i32 = -152;
    /// Purged while a request was out: it may have been written.
    pub const PURGED_IN_FLIGHT: i32 = -151;
    /// A fatal error was raised before; the client instance is of no more use.
    pub const FATAL: i32 = -150;
    /// `max.poll.interval.ms` passed without a poll.
    pub const MAX_POLL_EXCEEDED: i32 = -147;
    /// No committed offset and `auto.offset.reset=error` (parity row A-04).
    pub const AUTO_OFFSET_RESET: i32 = -140;
    /// The offset asked for is not in the log.
    pub const OFFSET_OUT_OF_RANGE: i32 = 1;
    /// The topic or partition does not exist (or may not be seen).
    pub const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
    /// The partition has no leader right now, or the client does not know it.
    pub const LEADER_NOT_AVAILABLE: i32 = 5;
    /// The record is larger than the topic takes.
    pub const MESSAGE_TOO_LARGE: i32 = 10;
    /// The name is not allowed.
    pub const INVALID_TOPIC: i32 = 17;
    /// The member belongs to an older generation of its group.
    pub const ILLEGAL_GENERATION: i32 = 22;
    /// The group does not know this member (any more).
    pub const UNKNOWN_MEMBER_ID: i32 = 25;
    /// The group is between two generations.
    pub const REBALANCE_IN_PROGRESS: i32 = 27;
    /// Not allowed to do this with the topic.
    pub const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
    /// The topic exists (parity row T-14: on creation this counts as success).
    pub const TOPIC_ALREADY_EXISTS: i32 = 36;
    /// More replicas than brokers, or none.
    pub const INVALID_REPLICATION_FACTOR: i32 = 38;
    /// The member's epoch is not the group's any more (KIP-848).
    pub const FENCED_MEMBER_EPOCH: i32 = 110;
    /// The member's epoch is behind the group's (KIP-848).
    pub const STALE_MEMBER_EPOCH: i32 = 113;
    /// Another member took this static member's instance id.
    pub const FENCED_INSTANCE_ID: i32 = 82;
}

/// What a call of this crate answers with when it fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Kafka, or the client on its behalf, refused.
    #[error("{action}: {error}")]
    Kafka {
        /// What was tried, such as `create topic "orders"`.
        action: String,
        /// The refusal.
        error: KafkaError,
    },
    /// A client setting does not exist, has a bad value, or clashes with another.
    #[error("Kafka client setting {name}: {reason}")]
    Config {
        /// The setting's dotted name; empty where the client does not say which one.
        name: String,
        /// Why it was refused. Holds no secret.
        reason: String,
    },
    /// No answer in time.
    #[error(
        "{action}: no answer within {} s; check the broker address, the security settings and the network",
        .after.as_secs_f64()
    )]
    TimedOut {
        /// What was tried.
        action: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A name that Kafka cannot take (parity row T-12).
    #[error("topic name of {length} characters; the limit is {} characters", crate::TOPIC_NAME_MAX)]
    TopicNameTooLong {
        /// Its length.
        length: usize,
    },
    /// A text with a NUL character, which no Kafka client takes.
    #[error("{what} contains a NUL character")]
    Nul {
        /// Which text.
        what: String,
    },
    /// The call does not fit what went before, such as an answer to a rebalance that is not there.
    #[error("{0}")]
    Misuse(&'static str),
}

impl Error {
    /// The Kafka error inside, if it is one.
    pub fn kafka(&self) -> Option<&KafkaError> {
        match self {
            Self::Kafka { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The code of the Kafka error inside, if it is one.
    pub fn code(&self) -> Option<i32> {
        self.kafka().map(|error| error.code)
    }

    /// Whether this says that a topic does not exist.
    pub fn is_topic_missing(&self) -> bool {
        matches!(
            self.code(),
            Some(code::UNKNOWN_TOPIC_OR_PARTITION | code::UNKNOWN_TOPIC | code::UNKNOWN_PARTITION)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_was_tried() {
        let error = KafkaError {
            code: 36,
            name: "TOPIC_ALREADY_EXISTS".into(),
            description: "Topic 'a' already exists.".into(),
            retriable: false,
            fatal: false,
        };
        let error = Error::Kafka { action: "create topic \"a\"".into(), error };
        assert_eq!(
            error.to_string(),
            "create topic \"a\": Topic 'a' already exists. (TOPIC_ALREADY_EXISTS, code 36)"
        );
        assert_eq!(error.code(), Some(code::TOPIC_ALREADY_EXISTS));
    }
}
