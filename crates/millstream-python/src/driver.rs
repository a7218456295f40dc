//! `TestDriver`: topologies without Kafka (M-01, D-60).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_engine::{Record, TaskError};
use millstream_testing::{DriverError, LeafRecord, ProducedRecord, TestRecord, TopologyTestDriver};
use millstream_types::TopicPartition;
use millstream_value::{Headers, RecordContext, Value};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::context::MessageContext;
use crate::convert::{from_python, to_python};
use crate::errors::{self, record_exception, to_exception};
use crate::gil::{IntoException, leave};
use crate::hooks::{Callbacks, PyHooks};
use crate::host::PyHost;
use crate::record::{headers_from_python, headers_to_python, output_tuple};
use crate::state::Codec;
use crate::topology::PyTopology;

/// Runs a topology in memory.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct TestDriver {
    driver: Mutex<Option<TopologyTestDriver>>,
    codec: Codec,
}

/// What a driver's call gave.
enum Trouble {
    Closed,
    Driver(DriverError),
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl IntoException for Trouble {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Closed => PyRuntimeError::new_err("this driver is closed; make a new one"),
            Self::Driver(DriverError::Task(error)) => task_exception(py, error),
            Self::Driver(DriverError::State(error)) => {
                errors::named(py, error.exception_name(), error.to_string())
            }
            Self::Driver(error @ DriverError::NoSource(_)) => {
                PyValueError::new_err(format!("{error}; make a dataframe of the topic first"))
            }
        }
    }
}

/// The exception of a task's error.
pub(crate) fn task_exception(py: Python<'_>, error: TaskError) -> PyErr {
    let text = error.to_string();
    match error {
        TaskError::Record(mut error) => record_exception(py, &mut error),
        TaskError::Hook(failure) => to_exception(py, failure),
        TaskError::State(error) => errors::named(py, error.exception_name(), text),
        TaskError::InvalidStoredOffset { .. } => errors::INVALID_STORED_OFFSET.error(py, text),
        TaskError::Produce(_) => PyRuntimeError::new_err(text),
    }
}

impl TestDriver {
    fn lock(&self) -> MutexGuard<'_, Option<TopologyTestDriver>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the driver, detached, as the runtime would. A user function that calls the driver that
    /// runs it would wait for itself; it gets an error instead.
    fn call<R: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut TopologyTestDriver) -> Result<R, DriverError> + Send,
    ) -> PyResult<R> {
        self.codec.during(py, || {
            leave(py, || match &mut *self.lock() {
                Some(driver) => call(driver).map_err(Trouble::from),
                None => Err(Trouble::Closed),
            })
        })
    }
}

fn leaf<'py>(py: Python<'py>, leaf: &LeafRecord) -> PyResult<Bound<'py, PyTuple>> {
    let value = to_python(py, &leaf.value)?;
    let key = to_python(py, &leaf.key)?;
    output_tuple(value, key, leaf.timestamp, headers_to_python(py, &leaf.headers)?)
}

fn leaves<'py>(py: Python<'py>, found: &[LeafRecord]) -> PyResult<Vec<Bound<'py, PyTuple>>> {
    found.iter().map(|one| leaf(py, one)).collect()
}

fn output<'py>(py: Python<'py>, record: ProducedRecord) -> PyResult<Bound<'py, PyDict>> {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| PyBytes::new(py, bytes));
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), bytes(value)));
    let dict = PyDict::new(py);
    dict.set_item("topic", &*record.topic)?;
    dict.set_item("partition", record.partition)?;
    dict.set_item("key", bytes(&record.key))?;
    dict.set_item("value", bytes(&record.value))?;
    dict.set_item("timestamp", record.timestamp)?;
    dict.set_item("headers", headers.collect::<Vec<_>>())?;
    Ok(dict)
}

#[pymethods]
impl TestDriver {
    #[new]
    #[pyo3(signature = (
        topology, *, on_consumer_error=None, on_processing_error=None, on_producer_error=None,
        on_message_processed=None, dumps=None, loads=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "all but the first are keywords")]
    fn new(
        py: Python<'_>,
        topology: &Bound<'_, PyTopology>,
        on_consumer_error: Option<Py<PyAny>>,
        on_processing_error: Option<Py<PyAny>>,
        on_producer_error: Option<Py<PyAny>>,
        on_message_processed: Option<Py<PyAny>>,
        dumps: Option<Bound<'_, PyAny>>,
        loads: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let topology = Arc::clone(&topology.get().0);
        let callbacks = Callbacks {
            consumer_error: on_consumer_error,
            processing_error: on_processing_error,
            producer_error: on_producer_error,
            message_processed: on_message_processed,
            ..Callbacks::default()
        };
        let driver = leave(py, || {
            let mut driver = TopologyTestDriver::with_host(topology, Arc::new(PyHost))?;
            driver.set_hooks(Box::new(PyHooks(callbacks)));
            Ok::<_, Trouble>(driver)
        })?;
        Ok(Self { driver: Mutex::new(Some(driver)), codec: Codec::new(dumps, loads) })
    }

    #[pyo3(signature = (topic, value, key=None, timestamp=0, headers=None, context=None))]
    fn process<'py>(
        &self,
        topic: &str,
        value: Bound<'py, PyAny>,
        key: Option<Bound<'py, PyAny>>,
        timestamp: i64,
        headers: Option<Bound<'py, PyAny>>,
        context: Option<Bound<'py, MessageContext>>,
    ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let py = value.py();
        let headers =
            headers.map_or_else(|| Ok(Headers::none()), |headers| headers_from_python(&headers))?;
        let record = Record {
            value: from_python(value),
            key: key.map_or(Value::Null, from_python),
            timestamp,
            headers,
        };
        let context = match context {
            Some(context) => context.get().to_record_context(),
            None => RecordContext {
                topic_partition: TopicPartition::new(topic, 0),
                offset: 0,
                size: 0,
                leader_epoch: None,
            },
        };
        let found = self.call(py, |driver| driver.inject(topic, record, context))?;
        leaves(py, &found)
    }

    #[pyo3(signature = (topic, value, key=None, timestamp=0, headers=None, partition=0))]
    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    fn send(
        &self,
        py: Python<'_>,
        topic: &str,
        value: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
        timestamp: i64,
        headers: Option<Bound<'_, PyAny>>,
        partition: i32,
    ) -> PyResult<()> {
        let headers =
            headers.map_or_else(|| Ok(Headers::none()), |headers| headers_from_python(&headers))?;
        let owned = |bytes: &[u8]| bytes.to_vec();
        let headers = headers.view().iter();
        let headers = headers.map(|(name, value)| (name.to_owned(), value.map(owned))).collect();
        let record = TestRecord { key, value, timestamp, headers };
        self.call(py, |driver| driver.send(topic, partition, record)).map(drop)
    }

    fn run<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let found = self.call(py, |driver| {
            driver.run()?;
            Ok(driver.take_leaves())
        })?;
        leaves(py, &found)
    }

    fn checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, TopologyTestDriver::checkpoint)
    }

    fn crash(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, TopologyTestDriver::crash)
    }

    fn tick(&self, py: Python<'_>, now_ms: i64) -> PyResult<()> {
        self.call(py, |driver| driver.tick(now_ms))
    }

    #[pyo3(signature = (topic=None))]
    fn outputs<'py>(
        &self,
        py: Python<'py>,
        topic: Option<&str>,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = self.call(py, |driver| {
            let mut found = driver.take_outputs();
            found.append(&mut driver.take_changelog_records());
            Ok(found)
        })?;
        let wanted = found.into_iter().filter(|one| topic.is_none_or(|topic| *one.topic == *topic));
        wanted.map(|one| output(py, one)).collect()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        leave(py, || {
            drop(self.lock().take());
            Ok::<_, Trouble>(())
        })
    }
}
