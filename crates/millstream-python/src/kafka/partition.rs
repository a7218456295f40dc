//! `TopicPartition`.

use std::hash::{DefaultHasher, Hash, Hasher};

use millstream_kafka::{PartitionStart, StartOffset};
use millstream_types::{Offset, TopicPartition};
use pyo3::basic::CompareOp;
use pyo3::prelude::*;

use super::PyKafkaError;

/// No offset.
pub(super) const INVALID: Offset = -1001;
const BEGINNING: Offset = -2;
const END: Offset = -1;

/// A partition, with an offset or not.
#[pyclass(name = "TopicPartition", module = "millstream._millstream", from_py_object)]
#[derive(Clone)]
pub(crate) struct PyTopicPartition {
    #[pyo3(get, set)]
    topic: String,
    #[pyo3(get, set)]
    partition: i32,
    #[pyo3(get, set)]
    offset: Offset,
    #[pyo3(get, set)]
    metadata: Option<String>,
    #[pyo3(get, set)]
    leader_epoch: Option<i32>,
    #[pyo3(get, set)]
    error: Option<PyKafkaError>,
}

impl PyTopicPartition {
    /// A partition as the client names it.
    pub(super) fn of(partition: &TopicPartition, offset: Option<Offset>) -> Self {
        Self::new(
            partition.topic.to_string(),
            partition.partition,
            offset.unwrap_or(INVALID),
            None,
            None,
        )
    }

    /// The same with an error.
    pub(super) fn failed(
        partition: &TopicPartition,
        offset: Offset,
        error: Option<PyKafkaError>,
    ) -> Self {
        Self { error, ..Self::of(partition, Some(offset)) }
    }

    pub(super) fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }

    pub(super) fn offset(&self) -> Offset {
        self.offset
    }

    /// Where reading starts: at an offset, or what the negative ones stand for.
    pub(super) fn start(&self) -> StartOffset {
        match self.offset {
            BEGINNING => StartOffset::Beginning,
            END => StartOffset::End,
            offset if offset >= 0 => StartOffset::At(offset),
            _ => StartOffset::Committed,
        }
    }

    pub(super) fn partition_start(&self) -> PartitionStart {
        PartitionStart::new(self.topic_partition(), self.start())
    }
}

#[pymethods]
impl PyTopicPartition {
    #[new]
    #[pyo3(signature = (topic, partition=-1, offset=INVALID, metadata=None, leader_epoch=None))]
    #[pyo3(
        text_signature = "(topic, partition=-1, offset=-1001, metadata=None, leader_epoch=None)"
    )]
    fn new(
        topic: String,
        partition: i32,
        offset: Offset,
        metadata: Option<String>,
        leader_epoch: Option<i32>,
    ) -> Self {
        Self { topic, partition, offset, metadata, leader_epoch, error: None }
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
        let other = other.borrow();
        let ordering = (&self.topic, self.partition).cmp(&(&other.topic, other.partition));
        Ok(op.matches(ordering).into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.topic, self.partition).hash(&mut hasher);
        hasher.finish()
    }

    fn __str__(&self) -> String {
        format!("{}[{}]@{}", self.topic, self.partition, self.offset)
    }

    fn __repr__(&self) -> String {
        let error = self.error.as_ref().map_or_else(|| "None".to_owned(), PyKafkaError::text);
        format!(
            "TopicPartition{{topic={},partition={},offset={},error={error}}}",
            self.topic, self.partition, self.offset
        )
    }
}
