//! Errors of declaration ([`TopologyError`]) and of running ([`RecordError`], [`TaskError`]).

use std::fmt;
use std::sync::Arc;

use millstream_state::StateError;
use millstream_types::{Offset, TopicPartition};
use millstream_value::{Failure, FailureKind};

/// What is wrong with a declaration. Nothing was added when one is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// Two dataframes over one topic.
    #[error(
        "the topic \"{topic}\" has a dataframe already; branch that one instead of making another"
    )]
    DuplicateSource {
        /// The topic.
        topic: String,
    },
    /// Group-by of a grouped stream (D-43).
    #[error(
        "the stream \"{stream_id}\" is grouped already; write it to a topic with to_topic() and \
         group a dataframe over that topic"
    )]
    GroupByNestingLimit {
        /// The grouped stream.
        stream_id: String,
    },
    /// Two group-bys of one name on one stream (D-43).
    #[error(
        "the stream \"{stream_id}\" has a group_by named \"{operation}\" already; give this one \
         another name with group_by(..., name=...)"
    )]
    GroupByDuplicate {
        /// The stream.
        stream_id: String,
        /// The operation's name.
        operation: String,
    },
    /// Two window stores of one name on one stream (W-09).
    #[error(
        "the store \"{store_name}\" of the stream \"{stream_id}\" is there already; give one of \
         the windows a name with name=..."
    )]
    StoreAlreadyRegistered {
        /// The stream.
        stream_id: String,
        /// The store.
        store_name: String,
    },
    /// Something stateful over topics of different partition counts (T-25).
    #[error(
        "state over several topics needs equal numbers of partitions, but there are {counts}; \
         give the topics the same number"
    )]
    TopicPartitionsMismatch {
        /// Each topic with its count: `"a" (2), "b" (3)`.
        counts: String,
    },
    /// An operation that makes no sense at this place (D-35, W-37).
    #[error("{0}")]
    InvalidOperation(String),
    /// An argument out of its domain.
    #[error("{0}")]
    Value(String),
    /// An argument of a wrong type.
    #[error("{0}")]
    Type(String),
    /// What a later version will do.
    #[error("{0} is not supported yet")]
    NotSupportedYet(String),
}

impl TopologyError {
    /// Name of the Python exception class (rows E-13, E-14, E-15, ST-40).
    pub fn exception_name(&self) -> &'static str {
        match self {
            TopologyError::DuplicateSource { .. } => "StreamingDataFrameDuplicate",
            TopologyError::GroupByNestingLimit { .. } => "GroupByNestingLimit",
            TopologyError::GroupByDuplicate { .. } => "GroupByDuplicate",
            TopologyError::StoreAlreadyRegistered { .. } => "StoreAlreadyRegisteredError",
            TopologyError::TopicPartitionsMismatch { .. } => "TopicPartitionsMismatch",
            TopologyError::InvalidOperation(_) => "InvalidOperation",
            TopologyError::Value(_) => "ValueError",
            TopologyError::Type(_) => "TypeError",
            TopologyError::NotSupportedYet(_) => "NotImplementedError",
        }
    }
}

/// At what a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading its bytes, or its timestamp extractor (E-01).
    Consume,
    /// An operator (E-02).
    Process,
    /// Serializing or producing an output (E-03).
    Produce,
}

/// A failure with the place where it happened.
///
/// ```
/// use millstream_engine::{RecordError, Stage};
/// use millstream_types::TopicPartition;
/// use millstream_value::{Failure, FailureKind};
/// let error = RecordError {
///     stage: Stage::Process,
///     failure: Failure::new(FailureKind::ZeroDivision, "division by zero"),
///     topic_partition: TopicPartition::new("orders", 2),
///     offset: 41,
///     operator: "filter".into(),
/// };
/// assert_eq!(
///     error.to_string(),
///     "orders[2] offset 41, operator filter: division by zero; correct the operator or the \
///      record, or skip such records with on_processing_error",
/// );
/// ```
#[derive(Debug)]
pub struct RecordError {
    /// At what it failed.
    pub stage: Stage,
    /// What happened.
    pub failure: Failure,
    /// Partition of the input record.
    pub topic_partition: TopicPartition,
    /// Offset of the input record.
    pub offset: Offset,
    /// Name of the operator; that of the source while the record is read.
    pub operator: Arc<str>,
}

impl RecordError {
    /// What the user can do about it, as the end of a sentence.
    pub fn remedy(&self) -> &'static str {
        match (self.stage, self.failure.kind) {
            (_, FailureKind::Interrupt) => "the run was interrupted; start it again to go on",
            (_, FailureKind::State | FailureKind::StateTransaction) => {
                "see to the state directory and restart the application"
            }
            (_, FailureKind::StateSerialization) => {
                "store only what JSON can hold, and restart the application"
            }
            (Stage::Consume, _) => {
                "give the topic the deserializer that fits its records, or skip such records \
                 with on_consumer_error"
            }
            (Stage::Produce, FailureKind::Serialization) => {
                "give the output topic a serializer that fits, or skip such records with \
                 on_producer_error"
            }
            (Stage::Produce, _) => {
                "see to the output topic, or skip such records with on_producer_error"
            }
            (Stage::Process, FailureKind::ColumnDoesNotExist | FailureKind::Key) => {
                "filter the records that lack the field first (contains()), or skip them with \
                 on_processing_error"
            }
            (Stage::Process, FailureKind::Type) => {
                "filter values of another type first (notnull(), isnull()), or skip such records \
                 with on_processing_error"
            }
            (Stage::Process, _) => {
                "correct the operator or the record, or skip such records with on_processing_error"
            }
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} offset {}, operator {}: ", self.topic_partition, self.offset, self.operator)?;
        // One line, whatever the user's exception says.
        let message = self.failure.message.trim_end();
        for (index, line) in message.lines().enumerate() {
            write!(f, "{}{line}", if index == 0 { "" } else { " | " })?;
        }
        let end = if message.ends_with(['.', ';', '!', '?']) { "" } else { ";" };
        write!(f, "{end} {}", self.remedy())
    }
}

impl std::error::Error for RecordError {}

/// Why a task cannot go on. The open checkpoint must not be committed then.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A record failed and no callback suppressed that, or the user interrupted.
    #[error("{0}")]
    Record(Box<RecordError>),
    /// A callback of the embedding program failed.
    #[error("a callback failed: {0}")]
    Hook(Failure),
    /// A store failed outside a record.
    #[error("{0}")]
    State(#[from] StateError),
    /// An offset that is not beyond the one before it (CK-07).
    #[error(
        "{topic_partition}: offset {offset} follows offset {last}; the topic was deleted or made \
         anew while the application ran: restart it"
    )]
    InvalidStoredOffset {
        /// The partition.
        topic_partition: TopicPartition,
        /// The record's offset.
        offset: Offset,
        /// The offset processed last.
        last: Offset,
    },
    /// The producer refused a marker.
    #[error("{0}")]
    Produce(String),
}
