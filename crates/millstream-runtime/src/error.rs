//! Why a run ended with an error: few kinds, each saying what the user does next.

use std::time::Duration;

use millstream_engine::TaskError;
use millstream_kafka::{DeliveryFailure, KafkaError};
use millstream_state::StateError;
use millstream_types::TopicPartition;
use millstream_value::Failure;

/// Why a run could not go on. Nothing of the open checkpoint was committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A record failed, or a task cannot go on.
    #[error("{0}")]
    Task(#[from] TaskError),
    /// A state store failed.
    #[error("{0}")]
    State(#[from] StateError),
    /// The Kafka client refused or failed.
    #[error("{0}")]
    Kafka(#[from] millstream_kafka::Error),
    /// The consumer reported an error that no callback suppressed (E-01).
    #[error("{}", consumer_text(.partition.as_ref(), .error))]
    Consumer {
        /// The partition it concerns, if it is one.
        partition: Option<TopicPartition>,
        /// What happened.
        error: KafkaError,
    },
    /// A callback of the embedding program failed.
    #[error("a callback failed: {0}")]
    Hook(Failure),
    /// Records could not be delivered (CK-05, E-03).
    #[error(
        "{0}; nothing of this checkpoint was committed: see to the output topic and start again"
    )]
    Delivery(DeliveryFailure),
    /// Records were not delivered in the time a checkpoint has (CK-05).
    #[error(
        "{undelivered} record(s) were not delivered within {} s; see whether the brokers answer, \
         then start again: nothing of this checkpoint was committed", .after.as_secs()
    )]
    DeliveryOverdue {
        /// How many.
        undelivered: u64,
        /// The time allowed.
        after: Duration,
    },
    /// The offsets of a checkpoint were refused (CK-06).
    #[error(
        "the offsets of a checkpoint were not committed ({reason}); start again: what was \
         processed since the last commit is processed once more"
    )]
    Commit {
        /// What the coordinator said, or that it said nothing.
        reason: String,
    },
    /// No broker was reachable for too long (A-20, E-12).
    #[error(
        "no broker has been reachable for {} s; see to the brokers and restart the application \
         (broker_availability_timeout sets how long it waits, 0 for ever)", .away.as_secs()
    )]
    BrokersUnavailable {
        /// How long.
        away: Duration,
    },
    /// An input topic is not there (T-10).
    #[error(
        "the topic \"{topic}\" does not exist; create it (`millstream topics create {topic}`), or \
         let the application do so with auto_create_topics=True"
    )]
    TopicMissing {
        /// The topic.
        topic: String,
    },
    /// An internal topic has another number of partitions than the topology needs (T-24).
    #[error(
        "the topic \"{topic}\" has {found} partition(s), but {wanted} are needed: its input has \
         grown; delete the topic to start its state anew, or use another consumer group"
    )]
    TopicConfigurationMismatch {
        /// The topic.
        topic: String,
        /// Its partitions.
        found: usize,
        /// The topology's.
        wanted: i32,
    },
    /// A topic got more partitions while the application ran, and there is state to go with each
    /// of them.
    #[error(
        "the topic \"{topic}\" has grown to {found} partition(s) or more, and the application knew \
         {known} when it started; restart it"
    )]
    TopicGrown {
        /// The topic.
        topic: String,
        /// Its partitions, as far as they were assigned.
        found: usize,
        /// The topology's.
        known: i32,
    },
    /// The group's offset is no longer in the topic (CK-41).
    #[error(
        "{partition}: the group's offset {committed} was deleted by retention (the topic begins \
         at {low}); set auto_recover_from_source_offset_out_of_range=True to rebuild the state \
         and go on, or reset the group's offsets"
    )]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// What the group had committed.
        committed: i64,
        /// The oldest offset there is.
        low: i64,
    },
    /// The user interrupted the run for a second time.
    #[error("interrupted")]
    Interrupted,
}

fn consumer_text(partition: Option<&TopicPartition>, error: &KafkaError) -> String {
    let place = partition.map_or(String::new(), |partition| format!("{partition}: "));
    let remedy = match error.code {
        millstream_kafka::code::AUTO_OFFSET_RESET => {
            "the group has no offset there; commit one, or use auto_offset_reset=\"earliest\" or \
             \"latest\""
        }
        _ if error.is_authentication() => "check the user name, password and certificates",
        _ if error.is_authorization() => "ask for the right to read the topic and use the group",
        _ => "see to the topic, or skip such errors with on_consumer_error",
    };
    format!("{place}{error}; {remedy}")
}

impl RuntimeError {
    /// Name of the Python exception class (rows E-11, E-12, E-15, E-16, ST-40).
    pub fn exception_name(&self) -> &'static str {
        match self {
            Self::Task(TaskError::State(error)) | Self::State(error) => error.exception_name(),
            Self::Task(TaskError::InvalidStoredOffset { .. }) => "InvalidStoredOffset",
            Self::Task(TaskError::Produce(_)) | Self::Delivery(_) => "KafkaProducerDeliveryError",
            Self::Task(_) | Self::Hook(_) => "RuntimeError",
            Self::Kafka(_) => "KafkaException",
            Self::Consumer { .. } => "KafkaConsumerException",
            Self::DeliveryOverdue { .. } => "CheckpointProducerTimeout",
            Self::Commit { .. } => "CheckpointConsumerCommitError",
            Self::BrokersUnavailable { .. } => "KafkaBrokerUnavailableError",
            Self::TopicMissing { .. } => "TopicNotFoundError",
            Self::TopicConfigurationMismatch { .. } | Self::TopicGrown { .. } => {
                "TopicConfigurationMismatch"
            }
            Self::OffsetOutOfRange { .. } => "StateRecoveryOffsetOutOfRange",
            Self::Interrupted => "KeyboardInterrupt",
        }
    }
}
