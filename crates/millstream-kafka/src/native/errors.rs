//! Our client's errors as those of the traits.

use millstream_client as own;

use crate::{Error, KafkaError};

/// An error by its code. `fatal`: the instance that it came from is of no more use.
pub(super) fn kafka_error(error: own::KafkaError, fatal: bool) -> KafkaError {
    KafkaError {
        name: name_of(&error).to_owned(),
        retriable: error.is_retriable(),
        fatal: fatal || error.code == own::code::FATAL,
        code: error.code,
        description: error.text,
    }
}

/// The code's name as programs know it from librdkafka, whatever the client (parity row E-11): some
/// codes have another there than in Kafka's protocol.
fn name_of(error: &own::KafkaError) -> &'static str {
    match error.code {
        -1 => "UNKNOWN",
        0 => "NO_ERROR",
        2 => "INVALID_MSG",
        3 => "UNKNOWN_TOPIC_OR_PART",
        4 => "INVALID_MSG_SIZE",
        6 => "NOT_LEADER_FOR_PARTITION",
        10 => "MSG_SIZE_TOO_LARGE",
        11 => "STALE_CTRL_EPOCH",
        17 => "TOPIC_EXCEPTION",
        _ => error.name(),
    }
}

/// The error that a code stands for.
#[cfg(not(feature = "librdkafka"))]
pub(crate) fn error_of_code(code: i32) -> KafkaError {
    kafka_error(own::KafkaError::of(code), false)
}

/// What a call answers with.
pub(super) fn error(error: own::Error) -> Error {
    match error {
        own::Error::Kafka { action, error } => {
            Error::Kafka { action, error: kafka_error(error, false) }
        }
        own::Error::TimedOut { action, after } => Error::TimedOut { action, after },
        own::Error::Setting(error) => Error::Config { name: error.name, reason: error.reason },
        own::Error::Misuse(text) => Error::Misuse(text),
        // The enum may grow; its text says what happened.
        other => {
            let error = own::KafkaError::with(own::code::STATE, Some(&other.to_string()));
            Error::Kafka { action: "use the Kafka client".into(), error: kafka_error(error, false) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::code;

    #[test]
    fn errors_keep_what_they_say() {
        let refused = own::Error::kafka(
            "create topic \"a\"",
            own::KafkaError::with(36, Some("Topic 'a' already exists.")),
        );
        let refused = error(refused);
        assert_eq!(refused.code(), Some(code::TOPIC_ALREADY_EXISTS));
        assert!(refused.to_string().starts_with("create topic \"a\": Topic 'a' already exists."));
        let after = Duration::from_secs(3);
        let late = own::Error::TimedOut { action: "list topics".into(), after };
        assert_eq!(error(late), Error::TimedOut { action: "list topics".into(), after });
        let missing = own::Error::kafka("x", own::KafkaError::of(3));
        assert!(error(missing).is_topic_missing());
        assert!(kafka_error(own::KafkaError::of(own::code::FATAL), false).fatal);
        assert!(kafka_error(own::KafkaError::of(1), true).fatal);
    }
}
