//! From failures to Python exceptions and back.
//!
//! The classes live in the Python layer, at the paths where Quix Streams has them; they are looked up
//! when the first one is raised. Exceptions of user code travel as themselves.

use std::any::Any;
use std::fmt;

use millstream_engine::RecordError;
use millstream_value::{Failure, FailureKind, HostException};
use pyo3::exceptions::{
    PyAttributeError, PyException, PyIndexError, PyKeyError, PyKeyboardInterrupt,
    PyNotImplementedError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError,
    PyZeroDivisionError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::gil::{self, IntoException};

/// An exception class of the Python layer.
pub(crate) struct ExceptionClass {
    module: &'static str,
    name: &'static str,
    class: PyOnceLock<Py<PyType>>,
}

impl ExceptionClass {
    const fn new(module: &'static str, name: &'static str) -> Self {
        Self { module, name, class: PyOnceLock::new() }
    }

    /// An exception of the class with that text. If the class cannot be imported, the import's error.
    pub(crate) fn error(&'static self, py: Python<'_>, message: impl Into<String>) -> PyErr {
        match self.class.import(py, self.module, self.name) {
            Ok(class) => PyErr::from_type(class.clone(), (message.into(),)),
            Err(error) => error,
        }
    }

    /// Whether `error` is one of the class. (A class that was never imported has no instances.)
    pub(crate) fn is_class_of(&'static self, py: Python<'_>, error: &PyErr) -> bool {
        match self.class.import(py, self.module, self.name) {
            Ok(class) => error.is_instance(py, class),
            Err(_) => false,
        }
    }

    /// An exception of the class with any argument.
    pub(crate) fn error_of(&'static self, argument: &Bound<'_, PyAny>) -> PyErr {
        let made = self
            .class
            .import(argument.py(), self.module, self.name)
            .and_then(|class| class.call1((argument,)));
        made.map_or_else(|error| error, PyErr::from_value)
    }
}

/// Declares classes of the Python layer.
macro_rules! classes {
    ($($constant:ident = $module:literal . $name:ident;)*) => {
        $(pub(crate) static $constant: ExceptionClass =
            ExceptionClass::new($module, stringify!($name));)*

        /// Every class.
        static ALL: &[&ExceptionClass] = &[$(&$constant),*];
    };
}

classes! {
    COLUMN_DOES_NOT_EXIST = "millstream.dataframe.exceptions".ColumnDoesNotExist;
    INVALID_COLUMN_REFERENCE = "millstream.dataframe.exceptions".InvalidColumnReference;
    GROUP_BY_NESTING_LIMIT = "millstream.dataframe.exceptions".GroupByNestingLimit;
    GROUP_BY_DUPLICATE = "millstream.dataframe.exceptions".GroupByDuplicate;
    DATAFRAME_DUPLICATE = "millstream.dataframe.exceptions".StreamingDataFrameDuplicate;
    INVALID_OPERATION = "millstream.core.stream.exceptions".InvalidOperation;
    SERIALIZATION = "millstream.models.serializers".SerializationError;
    IGNORE_MESSAGE = "millstream.models.serializers".IgnoreMessage;
    STATE = "millstream.state.exceptions".StateError;
    STATE_SERIALIZATION = "millstream.state.exceptions".StateSerializationError;
    STATE_TRANSACTION = "millstream.state.exceptions".StateTransactionError;
    STORE_TRANSACTION_FAILED = "millstream.state.exceptions".StoreTransactionFailed;
    STORE_ALREADY_REGISTERED = "millstream.state.exceptions".StoreAlreadyRegisteredError;
    STORE_IS_USED = "millstream.state.exceptions".PartitionStoreIsUsed;
    INCOMPATIBLE_STORE = "millstream.state.exceptions".IncompatibleStateStoreError;
    INVALID_STORE_CHANGELOG_OFFSET = "millstream.state.exceptions".InvalidStoreChangelogOffset;
    RECOVERY_OUT_OF_RANGE = "millstream.state.exceptions".StateRecoveryOffsetOutOfRange;
    ROCKSDB_CORRUPTED = "millstream.state.rocksdb".RocksDBCorruptedError;
    INVALID_STORED_OFFSET = "millstream.checkpointing.exceptions".InvalidStoredOffset;
    PRODUCER_TIMEOUT = "millstream.checkpointing.exceptions".CheckpointProducerTimeout;
    COMMIT_ERROR = "millstream.checkpointing.exceptions".CheckpointConsumerCommitError;
    KAFKA_EXCEPTION = "millstream.kafka.exceptions".KafkaException;
    CONSUMER_EXCEPTION = "millstream.kafka.exceptions".KafkaConsumerException;
    DELIVERY_ERROR = "millstream.kafka.exceptions".KafkaProducerDeliveryError;
    BROKER_UNAVAILABLE = "millstream.kafka.exceptions".KafkaBrokerUnavailableError;
    TOPIC_NOT_FOUND = "millstream.models.topics.exceptions".TopicNotFoundError;
    TOPIC_MISMATCH = "millstream.models.topics.exceptions".TopicConfigurationMismatch;
    TOPIC_PARTITIONS_MISMATCH = "millstream.models.topics.exceptions".TopicPartitionsMismatch;
    TOPIC_NAME_LENGTH_EXCEEDED = "millstream.models.topics.exceptions".TopicNameLengthExceeded;
    TOPIC_PERMISSION = "millstream.models.topics.exceptions".TopicPermissionError;
    CONTEXT_NOT_SET = "millstream.context".MessageContextNotSetError;
}

/// The exception of the class of that name, as the crates below name them: one of the Python layer,
/// or one of Python's own.
pub(crate) fn named(py: Python<'_>, name: &str, message: String) -> PyErr {
    if let Some(class) = ALL.iter().find(|class| class.name == name) {
        return class.error(py, message);
    }
    match name {
        "ValueError" => PyValueError::new_err(message),
        "TypeError" => PyTypeError::new_err(message),
        "NotImplementedError" => PyNotImplementedError::new_err(message),
        "KeyboardInterrupt" => PyKeyboardInterrupt::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

/// An exception object on its way through the engine.
pub(crate) struct UserException {
    error: PyErr,
    /// It says already where it happened.
    placed: bool,
}

impl UserException {
    fn new(error: PyErr) -> Self {
        Self { error, placed: false }
    }
}

impl fmt::Display for UserException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        gil::enter(|_| self.error.fmt(f))
    }
}

impl fmt::Debug for UserException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        gil::enter(|_| self.error.fmt(f))
    }
}

impl HostException for UserException {
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What user code raised, on its way through the engine. What is no `Exception` (`KeyboardInterrupt`,
/// `SystemExit`) ends the process and is never offered to error callbacks.
pub(crate) fn to_failure(error: PyErr) -> Failure {
    gil::enter(|py| {
        let ordinary = error.is_instance_of::<PyException>(py);
        let mut failure = Failure::host(Box::new(UserException::new(error)));
        if !ordinary {
            failure.kind = FailureKind::Interrupt;
        }
        failure
    })
}

/// The exception of a failure: the user's own object where it was one, else one of the class that the
/// kind stands for.
pub(crate) fn to_exception(py: Python<'_>, failure: Failure) -> PyErr {
    let own = failure.exception.and_then(|exception| {
        let exception = exception.into_any().downcast::<UserException>().ok()?;
        Some(exception.error)
    });
    if matches!(failure.kind, FailureKind::Host | FailureKind::Interrupt) {
        return own.unwrap_or_else(|| PyRuntimeError::new_err(failure.message));
    }
    let error = of_kind(py, failure.kind, failure.message);
    if own.is_some() {
        error.set_cause(py, own);
    }
    error
}

fn of_kind(py: Python<'_>, kind: FailureKind, message: String) -> PyErr {
    match kind {
        FailureKind::Type => PyTypeError::new_err(message),
        FailureKind::Value => PyValueError::new_err(message),
        FailureKind::Key => key_error(py, &message),
        FailureKind::Index => PyIndexError::new_err(message),
        FailureKind::Attribute => PyAttributeError::new_err(message),
        FailureKind::ZeroDivision => PyZeroDivisionError::new_err(message),
        FailureKind::Overflow => PyOverflowError::new_err(message),
        FailureKind::ColumnDoesNotExist => COLUMN_DOES_NOT_EXIST.error(py, message),
        FailureKind::InvalidColumnReference => INVALID_COLUMN_REFERENCE.error(py, message),
        FailureKind::InvalidOperation => INVALID_OPERATION.error(py, message),
        FailureKind::Serialization => SERIALIZATION.error(py, message),
        FailureKind::StateSerialization => STATE_SERIALIZATION.error(py, message),
        FailureKind::StateTransaction => STATE_TRANSACTION.error(py, message),
        FailureKind::State => STATE.error(py, message),
        // `FailureKind` may grow; an unknown kind still says what happened.
        _ => PyRuntimeError::new_err(message),
    }
}

/// A `KeyError` holds the key itself and shows its `repr`, which is what the message of a failure is.
fn key_error(py: Python<'_>, repr: &str) -> PyErr {
    let key = py.import("ast").and_then(|ast| ast.call_method1("literal_eval", (repr,)));
    match key {
        // In a tuple of its own, for `None` and a tuple would be taken for no key and for several.
        Ok(key) => PyKeyError::new_err((key.unbind(),)),
        // A key that no literal stands for.
        Err(_) => PyKeyError::new_err(repr.to_owned()),
    }
}

impl IntoException for Failure {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        to_exception(py, self)
    }
}

/// The exception of a record's failure, which says where it happened and what to do: exceptions of
/// user code, and a `KeyError`, whose text is its key, by a note, others of the engine in their text.
/// The failure keeps it, so that what comes out of `run()` is the object that callbacks saw.
pub(crate) fn record_exception(py: Python<'_>, error: &mut RecordError) -> PyErr {
    let own = matches!(error.failure.kind, FailureKind::Host | FailureKind::Interrupt);
    let placed = error
        .failure
        .exception
        .as_ref()
        .and_then(|exception| exception.as_any().downcast_ref::<UserException>())
        .is_some_and(|exception| exception.placed);
    let text = error.to_string();
    let note = format!(
        "{} offset {}, operator {}: {}",
        error.topic_partition,
        error.offset,
        error.operator,
        error.remedy()
    );
    let failure = std::mem::replace(&mut error.failure, Failure::new(FailureKind::Host, ""));
    let (kind, message) = (failure.kind, failure.message.clone());
    let exception = if own || kind == FailureKind::Key {
        let exception = to_exception(py, failure);
        if !placed {
            add_note(py, &exception, &note);
        }
        exception
    } else {
        to_exception(py, Failure { message: text, ..failure })
    };
    error.failure = Failure {
        kind: if own { kind } else { FailureKind::Host },
        message,
        exception: Some(Box::new(UserException { error: exception.clone_ref(py), placed: true })),
    };
    exception
}

/// Adds a line to an exception's traceback (PEP 678).
pub(crate) fn add_note(py: Python<'_>, error: &PyErr, note: &str) {
    let value = error.value(py);
    if let Err(error) = value.call_method1(intern!(py, "add_note"), (note,)) {
        // A class of the user's may have an `add_note` of its own that fails; the exception matters more.
        error.write_unraisable(py, Some(value));
    }
}
