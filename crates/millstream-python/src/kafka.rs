//! Kafka clients for programs beside the pipeline (M-20, M-21, T-31), with the methods that
//! confluent-kafka's objects have.
//!
//! Every client is behind a lock that is taken while detached from the interpreter only: two threads
//! that share a client wait for each other, never for each other and the interpreter at once.

mod admin;
mod consumer;
mod error;
mod message;
mod partition;
mod producer;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_kafka::config::concerns_connection;
use millstream_kafka::{ClientConfig, Clients, Properties};
use millstream_types::{Clock, SystemClock};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

pub(crate) use admin::KafkaAdmin;
pub(crate) use consumer::KafkaConsumer;
pub(crate) use error::PyKafkaError;
pub(crate) use message::Message;
pub(crate) use partition::PyTopicPartition;
pub(crate) use producer::KafkaProducer;

use crate::gil::{IntoException, leave};

/// Those of a client's settings that are about connections, for an admin client beside it.
#[pyfunction]
pub(crate) fn connection_settings(
    mut settings: BTreeMap<String, Py<PyAny>>,
) -> BTreeMap<String, Py<PyAny>> {
    settings.retain(|name, _| concerns_connection(name));
    settings
}

/// The version of librdkafka that `client="librdkafka"` brings, if this build has it.
#[pyfunction]
pub(crate) fn librdkafka_version() -> Option<String> {
    Clients::librdkafka_version()
}

/// Longest wait before Python's signal handlers get a chance.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A client that may have been closed.
struct Shared<T>(Mutex<Option<T>>);

/// What a call on a client gave.
enum CallError<E> {
    Closed,
    Failed(E),
}

impl<E: IntoException> IntoException for CallError<E> {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Closed => PyRuntimeError::new_err("this client is closed; make a new one"),
            Self::Failed(error) => error.into_exception(py),
        }
    }
}

impl<T: Send> Shared<T> {
    fn new(client: T) -> Self {
        Self(Mutex::new(Some(client)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the client, detached.
    fn call<R: Send, E: IntoException + Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut T) -> Result<R, E> + Send,
    ) -> PyResult<R> {
        leave(py, || match &mut *self.lock() {
            Some(client) => call(client).map_err(CallError::Failed),
            None => Err(CallError::Closed),
        })
    }

    /// Takes the client away, detached.
    fn take(&self, py: Python<'_>) -> PyResult<Option<T>> {
        leave(py, || Ok::<_, PyErr>(self.lock().take()))
    }
}

/// Settings of a client, as the Python layer has merged them.
fn client_config(config: BTreeMap<String, String>) -> ClientConfig {
    ClientConfig::new(Properties::from(config))
}

/// Seconds as users give them; negative and `None`: for ever.
fn wait_of(seconds: Option<f64>) -> Option<Duration> {
    seconds
        .filter(|seconds| *seconds >= 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// Ends a wait at a time, or never.
#[derive(Clone, Copy)]
struct Deadline(Option<Duration>);

impl Deadline {
    fn after(wait: Option<Duration>) -> Self {
        Self(wait.map(|wait| SystemClock.monotonic().saturating_add(wait)))
    }

    /// How long to wait next, `None` when it is over.
    fn next_wait(self) -> Option<Duration> {
        match self.0 {
            None => Some(LOOK_EVERY),
            Some(end) => {
                let left = end.saturating_sub(SystemClock.monotonic());
                (!left.is_zero()).then(|| left.min(LOOK_EVERY))
            }
        }
    }
}
