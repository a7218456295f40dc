//! `KafkaError`, and what calls raise.

use millstream_kafka::{Error, KafkaError};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::errors::{BROKER_UNAVAILABLE, KAFKA_EXCEPTION, TOPIC_NAME_LENGTH_EXCEEDED};
use crate::gil::IntoException;

/// An error of Kafka or its client.
#[pyclass(frozen, eq, hash, name = "KafkaError", module = "millstream._millstream", from_py_object)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PyKafkaError {
    code: i32,
    name: String,
    reason: String,
    fatal: bool,
    retriable: bool,
}

impl From<KafkaError> for PyKafkaError {
    fn from(error: KafkaError) -> Self {
        Self {
            code: error.code,
            name: error.name,
            reason: error.description,
            fatal: error.fatal,
            retriable: error.retriable,
        }
    }
}

impl PyKafkaError {
    /// The error of that code and text.
    pub(crate) fn of(code: i32, reason: impl Into<String>) -> Self {
        let name = KafkaError::of_code(code).name;
        Self { code, name, reason: reason.into(), fatal: false, retriable: false }
    }

    /// As confluent-kafka prints it.
    pub(crate) fn text(&self) -> String {
        format!("KafkaError{{code={},val={},str=\"{}\"}}", self.name, self.code, self.reason)
    }

    /// The exception that carries it.
    pub(crate) fn exception(self, py: Python<'_>) -> PyErr {
        match Bound::new(py, self) {
            Ok(error) => KAFKA_EXCEPTION.error_of(error.as_any()),
            Err(error) => error,
        }
    }
}

#[pymethods]
impl PyKafkaError {
    #[new]
    #[pyo3(signature = (code, reason=None, fatal=false, retriable=false))]
    fn new(code: i32, reason: Option<String>, fatal: bool, retriable: bool) -> Self {
        let known = KafkaError::of_code(code);
        Self {
            code,
            name: known.name,
            reason: reason.unwrap_or(known.description),
            fatal,
            retriable,
        }
    }

    fn code(&self) -> i32 {
        self.code
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn str(&self) -> &str {
        &self.reason
    }

    fn fatal(&self) -> bool {
        self.fatal
    }

    fn retriable(&self) -> bool {
        self.retriable
    }

    fn __str__(&self) -> String {
        self.text()
    }

    fn __repr__(&self) -> String {
        self.text()
    }
}

impl IntoException for Error {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        let text = self.to_string();
        match self {
            Error::Kafka { error, .. } => PyKafkaError::from(error).exception(py),
            Error::TimedOut { .. } => BROKER_UNAVAILABLE.error(py, text),
            Error::TopicNameTooLong { .. } => TOPIC_NAME_LENGTH_EXCEEDED.error(py, text),
            Error::Config { .. } | Error::Nul { .. } => PyValueError::new_err(text),
            _ => PyRuntimeError::new_err(text),
        }
    }
}
