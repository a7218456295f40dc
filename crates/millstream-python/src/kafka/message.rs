//! `Message`: a record that was read or delivered, or an error in its place.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_types::{
    BatchBuilder, Header, Offset, RecordBatch, RecordView, Timestamp, TimestampType, TopicPartition,
};
use millstream_value::Headers;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::PyKafkaError;
use super::partition::INVALID;
use crate::record::headers_to_python;

/// A record: one of a batch, which it shares with the others.
#[pyclass(frozen, module = "millstream._millstream")]
pub(crate) struct Message {
    topic: Option<Arc<str>>,
    partition: Option<i32>,
    offset: Option<Offset>,
    /// Absent where an error stands alone.
    record: Option<(Arc<RecordBatch>, usize)>,
    error: Option<Py<PyKafkaError>>,
    latency: Option<Duration>,
}

impl Message {
    /// A record of a batch.
    pub(crate) fn of(batch: Arc<RecordBatch>, index: usize) -> Self {
        let partition = batch.topic_partition();
        Self {
            topic: Some(Arc::clone(&partition.topic)),
            partition: Some(partition.partition),
            offset: Some(batch.get(index).offset()),
            record: Some((batch, index)),
            error: None,
            latency: None,
        }
    }

    /// A record by itself, copied.
    pub(crate) fn copy_of(partition: &TopicPartition, record: RecordView<'_>) -> Self {
        let mut builder = BatchBuilder::new(partition.clone());
        builder.push(
            record.offset(),
            record.timestamp(),
            record.timestamp_type(),
            record.leader_epoch().unwrap_or(-1),
            record.key(),
            record.value(),
            record.headers().iter(),
        );
        Self::of(Arc::new(builder.finish()), 0)
    }

    /// An error in place of a record.
    pub(crate) fn of_error(
        partition: Option<&TopicPartition>,
        offset: Option<Offset>,
        error: Py<PyKafkaError>,
    ) -> Self {
        Self {
            topic: partition.map(|partition| Arc::clone(&partition.topic)),
            partition: partition.map(|partition| partition.partition),
            offset,
            record: None,
            error: Some(error),
            latency: None,
        }
    }

    /// A record that a producer delivered, or not.
    pub(super) fn delivered(
        sent: &Sent,
        report: Delivered,
        error: Option<Py<PyKafkaError>>,
    ) -> Self {
        let topic: Arc<str> = sent.topic.as_str().into();
        let partition = TopicPartition::new(Arc::clone(&topic), report.partition.unwrap_or(-1));
        let mut builder = BatchBuilder::new(partition);
        builder.push(
            report.offset.unwrap_or(INVALID),
            report.timestamp,
            TimestampType::CreateTime,
            -1,
            sent.key.as_deref(),
            sent.value.as_deref(),
            sent.headers.view().iter().collect::<Vec<Header<'_>>>(),
        );
        Self {
            topic: Some(topic),
            partition: report.partition,
            offset: report.offset,
            record: Some((Arc::new(builder.finish()), 0)),
            error,
            latency: report.latency,
        }
    }

    pub(super) fn topic_partition(&self) -> Option<TopicPartition> {
        Some(TopicPartition::new(self.topic.clone()?, self.partition?))
    }

    pub(super) fn record_offset(&self) -> Option<Offset> {
        self.offset
    }

    fn view(&self) -> Option<RecordView<'_>> {
        self.record.as_ref().map(|(batch, index)| batch.get(*index))
    }
}

/// What a producer keeps of a record until its report comes.
pub(super) struct Sent {
    pub(super) topic: String,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Headers,
}

/// What a report says of it.
pub(super) struct Delivered {
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<Offset>,
    pub(super) timestamp: Timestamp,
    pub(super) latency: Option<Duration>,
}

#[pymethods]
impl Message {
    fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    fn partition(&self) -> Option<i32> {
        self.partition
    }

    fn offset(&self) -> Option<Offset> {
        self.offset
    }

    fn key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, self.view()?.key()?))
    }

    fn value<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        Some(PyBytes::new(py, self.view()?.value()?))
    }

    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.view() {
            // None where there are none, as on records of a pipeline (T-09).
            Some(record) if !record.headers().is_empty() => {
                headers_to_python(py, &Headers::new(record.headers_bytes(), record.headers().len()))
            }
            _ => Ok(py.None().into_bound(py)),
        }
    }

    fn timestamp(&self) -> (u8, Timestamp) {
        self.view().map_or((0, -1), |record| (record.timestamp_type() as u8, record.timestamp()))
    }

    fn leader_epoch(&self) -> Option<i32> {
        self.view()?.leader_epoch()
    }

    fn error(&self) -> Option<&Py<PyKafkaError>> {
        self.error.as_ref()
    }

    fn latency(&self) -> Option<f64> {
        self.latency.map(|latency| latency.as_secs_f64())
    }

    fn __len__(&self) -> usize {
        self.view().map_or(0, |record| record.size())
    }

    fn __bool__(&self) -> bool {
        // A tombstone without a key has length 0 and is a message all the same.
        true
    }

    fn __repr__(&self) -> String {
        format!(
            "<Message topic={:?} partition={:?} offset={:?}>",
            self.topic.as_deref().unwrap_or(""),
            self.partition.unwrap_or(-1),
            self.offset.unwrap_or(INVALID)
        )
    }
}
