//! `KafkaProducer`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_kafka::{
    ClientFactory, Clients, DeliveryReport, Error, Partition, ProduceError, ReportedRecord,
    ReportingProducer,
};
use millstream_value::Headers;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::message::{Delivered, Message, Sent};
use super::{Deadline, PyKafkaError, Shared, client_config, wait_of};
use crate::gil::IntoException;
use crate::json::type_name;
use crate::record::headers_from_python;

/// Writes records that are serialized already.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct KafkaProducer {
    client: Shared<Client>,
    on_statistics: Option<Py<PyAny>>,
    /// Grows under the lock of `client` only. Never locked while a callback runs.
    due: Mutex<Due>,
}

struct Client {
    producer: Box<dyn ReportingProducer>,
    next_token: u64,
    /// By token: whom to tell about a record, and what of it to show them.
    waiting: HashMap<u64, (Py<PyAny>, Sent)>,
}

/// A report with its callback.
type Told = (Py<PyAny>, Sent, DeliveryReport);

/// What is to be told yet: a callback that raises ends a call, and the next one goes on here.
#[derive(Default)]
struct Due {
    reports: VecDeque<Told>,
    /// The last ones: a program that never polls is not to fill memory.
    statistics: Option<String>,
}

impl Client {
    /// Moves news to `due`. Returns how many records were reported that have no callback.
    fn poll(&mut self, wait: Duration, due: &Mutex<Due>) -> Result<usize, Error> {
        let (mut reports, mut silent) = (Vec::new(), 0);
        let statistics = self.producer.poll(wait, &mut reports);
        let mut due = lock(due);
        for report in reports {
            match self.waiting.remove(&report.token) {
                Some((callback, sent)) => due.reports.push_back((callback, sent, report)),
                None => silent += 1,
            }
        }
        if let Some(json) = statistics?.pop() {
            due.statistics = Some(json);
        }
        Ok(silent)
    }
}

fn lock(due: &Mutex<Due>) -> MutexGuard<'_, Due> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IntoException for ProduceError {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            ProduceError::QueueFull => PyBufferError::new_err(
                "the producer's queue is full; call poll() until there is room, or raise \
                 queue.buffering.max.messages",
            ),
            ProduceError::Refused { error, .. } => PyKafkaError::from(error).exception(py),
        }
    }
}

/// Bytes of a key or value; text is written as UTF-8.
fn bytes_of(object: Option<&Bound<'_, PyAny>>, what: &str) -> PyResult<Option<Bytes>> {
    let Some(object) = object else { return Ok(None) };
    if let Ok(bytes) = object.cast::<PyBytes>() {
        Ok(Some(Bytes::copy_from_slice(bytes.as_bytes())))
    } else if let Ok(text) = object.cast::<PyString>() {
        Ok(Some(Bytes::copy_from_slice(text.to_str()?.as_bytes())))
    } else {
        Err(PyTypeError::new_err(format!(
            "a record's {what} is bytes, str or None, not {}; serialize it first, e.g. with \
             topic.serialize(...)",
            type_name(object)
        )))
    }
}

fn call_back(py: Python<'_>, (callback, sent, report): Told) -> PyResult<()> {
    let offset = report.result.as_ref().ok().copied().flatten();
    let error = match report.result {
        Ok(_) => None,
        Err(error) => Some(Py::new(py, PyKafkaError::from(error))?),
    };
    let delivered = Delivered {
        partition: report.partition,
        offset,
        timestamp: report.timestamp,
        latency: report.latency,
    };
    let shown = error.as_ref().map(|error| error.clone_ref(py));
    callback.call1(py, (error, Message::delivered(&sent, delivered, shown)))?;
    Ok(())
}

impl KafkaProducer {
    /// Waits for news and tells them. Returns how many records were reported.
    fn serve(
        &self,
        py: Python<'_>,
        statistics: bool,
        look: impl FnOnce(&mut Client) -> Result<usize, Error> + Send,
    ) -> PyResult<usize> {
        let silent = self.client.call(py, look);
        // An error is told after the reports: what came before it would not be told any more.
        let told = self.tell(py, statistics)?;
        Ok(silent? + told)
    }

    fn tell(&self, py: Python<'_>, statistics: bool) -> PyResult<usize> {
        let mut count = 0;
        // Each is out of the queue before its callback runs, and the lock is free.
        let next = || lock(&self.due).reports.pop_front();
        while let Some(told) = next() {
            call_back(py, told)?;
            count += 1;
        }
        if statistics
            && let Some(callback) = &self.on_statistics
            && let Some(json) = { lock(&self.due).statistics.take() }
        {
            callback.call1(py, (json,))?;
        }
        Ok(count)
    }
}

#[pymethods]
impl KafkaProducer {
    #[new]
    #[pyo3(signature = (config, stats_cb=None))]
    fn new(
        py: Python<'_>,
        config: BTreeMap<String, String>,
        stats_cb: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let config = client_config(config);
        let producer = crate::gil::leave(py, || Clients.reporting_producer(&config))?;
        let client = Client { producer, next_token: 1, waiting: HashMap::new() };
        Ok(Self { client: Shared::new(client), on_statistics: stats_cb, due: Mutex::default() })
    }

    #[pyo3(signature = (topic, value=None, key=None, headers=None, partition=None, timestamp=None, on_delivery=None))]
    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    fn produce(
        &self,
        py: Python<'_>,
        topic: &str,
        value: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        partition: Option<i32>,
        timestamp: Option<i64>,
        on_delivery: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let value = bytes_of(value, "value")?;
        let key = bytes_of(key, "key")?;
        let headers = headers.map_or_else(|| Ok(Headers::none()), headers_from_python)?;
        self.client.call(py, |client| {
            let token = if on_delivery.is_some() { client.next_token } else { 0 };
            client.producer.produce(&ReportedRecord {
                topic,
                // Negative: unset, as confluent-kafka has it.
                partition: partition
                    .filter(|partition| *partition >= 0)
                    .map_or(Partition::ByKey, Partition::At),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: headers.view(),
                timestamp,
                token,
            })?;
            if let Some(callback) = on_delivery {
                client.next_token += 1;
                let sent = Sent { topic: topic.to_owned(), key, value, headers };
                client.waiting.insert(token, (callback, sent));
            }
            Ok::<_, ProduceError>(())
        })
    }

    #[pyo3(signature = (timeout=0.0, statistics=true))]
    fn poll(&self, py: Python<'_>, timeout: f64, statistics: bool) -> PyResult<usize> {
        let deadline = Deadline::after(wait_of(Some(timeout)));
        loop {
            let wait = deadline.next_wait();
            let count = self.serve(py, statistics, |client| {
                let rest = !lock(&self.due).reports.is_empty();
                let wait = wait.filter(|_| !rest).unwrap_or(Duration::ZERO);
                client.poll(wait, &self.due)
            })?;
            if count > 0 || wait.is_none() {
                return Ok(count);
            }
        }
    }

    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<usize> {
        let deadline = Deadline::after(wait_of(timeout));
        loop {
            let wait = deadline.next_wait();
            self.serve(py, true, |client| {
                client.producer.hurry();
                // Records without a report yet, so that the wait ends with the last one.
                let wait = wait.filter(|_| client.producer.in_flight() > 0);
                client.poll(wait.unwrap_or(Duration::ZERO), &self.due)
            })?;
            // Counted after the callbacks: they may have produced.
            let left = self.__len__(py)?;
            if left == 0 || wait.is_none() {
                return Ok(left);
            }
        }
    }

    fn purge(&self, py: Python<'_>) -> PyResult<()> {
        self.client.call(py, |client| {
            client.producer.purge();
            Ok::<_, PyErr>(())
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.client.call(py, |client| {
            Ok::<_, PyErr>(client.producer.in_flight() + lock(&self.due).reports.len())
        })
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let client = self.client.take(py)?;
        // The client's threads are waited for.
        crate::gil::leave(py, || {
            drop(client);
            Ok::<_, PyErr>(())
        })
    }
}
