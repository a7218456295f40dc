//! The producer as the engine sees it.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{Leaf, Output, OutputRecord, ProduceFailure, TaskError};
use millstream_kafka::{
    Error, Partition, ProduceError, ProduceRecord, Producer, ProducerEvent, TopicHandle,
};

use millstream_state::changelog::ChangelogRecord;
use millstream_types::{HeadersView, Offset, TopicPartition, encode_header};

use crate::{Leaves, RuntimeError};

/// How long one record waits for room in a full queue before it looks again. The worker does not
/// start a record with a full queue; this is for the record that fills it by itself.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// The worker's producer, with the topics of the topology looked up once.
pub(crate) struct ProducerOutput {
    pub(crate) producer: Box<dyn Producer>,
    /// By [`millstream_engine::SinkTopicId`].
    sinks: Vec<TopicHandle>,
    /// Changelog topics, and topics that functions choose while running.
    named: HashMap<Arc<str>, TopicHandle>,
    /// The headers of every changelog record, encoded.
    changelog_headers: Vec<u8>,
    /// Found while a record waited for room; the worker handles them after the run.
    pub(crate) events: Vec<ProducerEvent>,
    /// Records handed to the producer so far; shared, so that whoever lends the output out for a
    /// run can still see it.
    pub(crate) produced: Rc<Cell<u64>>,
    pub(crate) leaves: Option<Box<dyn Leaves>>,
}

impl ProducerOutput {
    pub(crate) fn new(
        mut producer: Box<dyn Producer>,
        sink_topics: &[Arc<str>],
        leaves: Option<Box<dyn Leaves>>,
    ) -> Result<Self, Error> {
        let sinks =
            sink_topics.iter().map(|topic| producer.topic(topic)).collect::<Result<_, _>>()?;
        let mut changelog_headers = Vec::new();
        for (name, value) in ChangelogRecord::HEADERS {
            encode_header(&mut changelog_headers, name, value);
        }
        Ok(Self {
            producer,
            sinks,
            named: HashMap::new(),
            changelog_headers,
            events: Vec::new(),
            produced: Rc::default(),
            leaves,
        })
    }

    /// Hands one changelog record to the producer, waiting for room if need be.
    pub(crate) fn write_changelog(
        &mut self,
        partition: &TopicPartition,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RuntimeError> {
        let topic = self.named(&partition.topic)?;
        let headers = std::mem::take(&mut self.changelog_headers);
        let record = ProduceRecord {
            topic,
            partition: Partition::At(partition.partition),
            key: Some(key),
            value,
            headers: HeadersView::new(&headers, ChangelogRecord::HEADERS.len()),
            timestamp: None,
        };
        let taken = self.produce_waiting(&record);
        self.changelog_headers = headers;
        taken.map_err(|error| RuntimeError::Task(TaskError::Produce(error.to_string())))
    }

    /// The offset after the last changelog record that the partition has confirmed.
    pub(crate) fn changelog_position(&self, partition: &TopicPartition) -> Option<Offset> {
        let topic = *self.named.get(&partition.topic)?;
        self.producer.last_delivered(topic, partition.partition).map(|offset| offset + 1)
    }

    fn named(&mut self, topic: &Arc<str>) -> Result<TopicHandle, Error> {
        if let Some(handle) = self.named.get(topic) {
            return Ok(*handle);
        }
        let handle = self.producer.topic(topic)?;
        self.named.insert(topic.clone(), handle);
        Ok(handle)
    }

    /// Ends by itself: what is queued is delivered, or given up after `message.timeout.ms`.
    fn produce_waiting(&mut self, record: &ProduceRecord<'_>) -> Result<(), ProduceError> {
        self.produced.set(self.produced.get() + 1);
        loop {
            match self.producer.produce(record) {
                Err(ProduceError::QueueFull) => {
                    self.producer.flush(ROOM_WAIT, &mut self.events);
                }
                taken => return taken,
            }
        }
    }

    fn handle(&mut self, record: &OutputRecord<'_>) -> Result<TopicHandle, ProduceFailure> {
        if let Some(sink) = record.sink {
            return Ok(self.sinks[sink.0 as usize]);
        }
        self.named(record.topic)
            .map_err(|error| ProduceFailure { message: error.to_string(), queue_full: false })
    }
}

impl Output for ProducerOutput {
    fn produce(&mut self, record: OutputRecord<'_>) -> Result<(), ProduceFailure> {
        let record = ProduceRecord {
            topic: self.handle(&record)?,
            partition: record.partition.map_or(Partition::ByKey, Partition::At),
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp: Some(record.timestamp),
        };
        self.produce_waiting(&record)
            .map_err(|error| ProduceFailure { message: error.to_string(), queue_full: false })
    }

    fn wants_leaves(&self) -> bool {
        self.leaves.is_some()
    }

    fn leaf(&mut self, leaf: Leaf<'_>) {
        if let Some(leaves) = &mut self.leaves {
            leaves.collect(leaf);
        }
    }
}
