//! Errors that a record can cause, before they are given a position.

use std::any::Any;
use std::fmt;

/// What went wrong, by the Python exception that a user of the Python API sees for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// Operand of a wrong type (`TypeError`).
    Type,
    /// A value out of its domain (`ValueError`).
    Value,
    /// A missing key in a nested read, a projection or a drop (`KeyError`).
    Key,
    /// A list index out of range (`IndexError`).
    Index,
    /// An attribute the value does not have (`AttributeError`; W-24).
    Attribute,
    /// Division by zero (`ZeroDivisionError`).
    ZeroDivision,
    /// A result too large (`OverflowError`).
    Overflow,
    /// A missing column (`ColumnDoesNotExist`, S-01).
    ColumnDoesNotExist,
    /// A column read of something that has none (`InvalidColumnReference`, S-01).
    InvalidColumnReference,
    /// An operation the topology does not allow (`InvalidOperation`).
    InvalidOperation,
    /// Bytes that the serializer or deserializer cannot handle (`SerializationError`, T-52).
    Serialization,
    /// A state key or value that cannot be encoded (`StateSerializationError`, ST-04).
    StateSerialization,
    /// Access to a store transaction that failed before (`StateTransactionError`, ST-04).
    StateTransaction,
    /// A state store failed: disk, corruption (`StateError`).
    State,
    /// An output that the producer did not take (`KafkaProducerDeliveryError`, E-03).
    Producer,
    /// An exception of the host language, carried as it is.
    Host,
    /// The process is to end: `KeyboardInterrupt` and its like came up in user code.
    Interrupt,
}

/// An exception object of the host language, kept so that it can come out again as itself.
pub trait HostException: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// For the host's own layer to get its exception back.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
    /// For looking at it.
    fn as_any(&self) -> &dyn Any;
}

/// An error of one record. Whoever knows the record's position adds it.
#[derive(Debug)]
pub struct Failure {
    /// Which exception it is for the user.
    pub kind: FailureKind,
    /// One sentence, with what to do where that is not plain.
    pub message: String,
    /// The host's own exception, for [`FailureKind::Host`] and [`FailureKind::Interrupt`], or
    /// the cause of another kind.
    pub exception: Option<Box<dyn HostException>>,
}

impl Failure {
    /// An error of that kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exception: None }
    }

    /// An exception of the host language.
    pub fn host(exception: Box<dyn HostException>) -> Self {
        Self { kind: FailureKind::Host, message: exception.to_string(), exception: Some(exception) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
