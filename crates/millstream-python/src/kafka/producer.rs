//! `KafkaProducer`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use millstream_kafka::{
    ClientFactory, Clients, DeliveryReport, Error, Partition, ProduceError, ReportedRecord,
    ReportingEvent, ReportingProducer,
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
    statistics: Option<Py<PyAny>>,
}

struct Client {
    producer: Box<dyn ReportingProducer>,
    next_token: u64,
    /// By token: whom to tell about a record, and what of it to show them.
    waiting: HashMap<u64, (Py<PyAny>, Sent)>,
}

/// A report with its callback.
type Told = (Py<PyAny>, Sent, DeliveryReport);

/// What one look brought.
struct News {
    /// Records that were reported.
    count: usize,
    told: Vec<Told>,
    statistics: Vec<String>,
}

impl Client {
    fn poll(&mut self, wait: Duration) -> Result<News, Error> {
        let mut reports = Vec::new();
        let happened = self.producer.poll(wait, &mut reports)?;
        let count = reports.len();
        let told = reports.into_iter().filter_map(|report| {
            let (callback, sent) = self.waiting.remove(&report.token)?;
            Some((callback, sent, report))
        });
        let told = told.collect();
        let statistics = happened.into_iter().filter_map(|event| match event {
            ReportingEvent::Statistics(json) => Some(json),
            ReportingEvent::Error(_) => None,
        });
        Ok(News { count, told, statistics: statistics.collect() })
    }
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

fn call_back(py: Python<'_>, told: Vec<Told>) -> PyResult<()> {
    for (callback, sent, report) in told {
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
    }
    Ok(())
}

impl KafkaProducer {
    fn tell(&self, py: Python<'_>, news: News) -> PyResult<()> {
        call_back(py, news.told)?;
        if let Some(callback) = &self.statistics {
            for json in news.statistics {
                callback.call1(py, (json,))?;
            }
        }
        Ok(())
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
        Ok(Self { client: Shared::new(client), statistics: stats_cb })
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

    #[pyo3(signature = (timeout=0.0))]
    fn poll(&self, py: Python<'_>, timeout: f64) -> PyResult<usize> {
        let deadline = Deadline::after(wait_of(Some(timeout)));
        loop {
            let wait = deadline.next_wait();
            let news =
                self.client.call(py, |client| client.poll(wait.unwrap_or(Duration::ZERO)))?;
            let count = news.count;
            self.tell(py, news)?;
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
            let (news, left) = self.client.call(py, |client| {
                client.producer.hurry();
                // Records without a report yet, so that the wait ends with the last one.
                let wait = if client.producer.in_flight() == 0 { None } else { wait };
                let news = client.poll(wait.unwrap_or(Duration::ZERO))?;
                Ok::<_, Error>((news, client.producer.in_flight()))
            })?;
            self.tell(py, news)?;
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
        self.client.call(py, |client| Ok::<_, PyErr>(client.producer.in_flight()))
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
