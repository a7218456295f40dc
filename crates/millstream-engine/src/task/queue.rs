//! What a task has been given of one partition, and how far it has come in it.

use std::collections::VecDeque;

use millstream_types::{Offset, RecordBatch, RecordView, Timestamp, TopicPartition};
use millstream_value::RecordContext;

use super::Position;
use crate::TaskError;

/// One partition of one source topic.
pub(crate) struct Input {
    /// Index in the topology's sources.
    pub(crate) source: usize,
    /// Where the record at hand comes from.
    context: RecordContext,
    batches: VecDeque<RecordBatch>,
    /// Index of the next record in the first batch.
    at: usize,
    queued: usize,
    /// First and last offset processed since the last checkpoint (CK-01).
    covered: Option<(Offset, Offset)>,
    /// Last offset processed before that.
    last: Option<Offset>,
}

impl Input {
    pub(crate) fn new(source: usize, topic_partition: TopicPartition) -> Self {
        Self {
            source,
            context: RecordContext { topic_partition, offset: -1, size: 0, leader_epoch: None },
            batches: VecDeque::new(),
            at: 0,
            queued: 0,
            covered: None,
            last: None,
        }
    }

    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.context.topic_partition
    }

    pub(crate) fn push(&mut self, batch: RecordBatch) {
        if !batch.is_empty() {
            self.queued += batch.len();
            self.batches.push_back(batch);
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::byte_size).sum()
    }

    /// The batch at hand and the index of its next record.
    pub(crate) fn front(&self) -> Option<(&RecordBatch, usize)> {
        self.batches.front().map(|batch| (batch, self.at))
    }

    pub(crate) fn next_timestamp(&self) -> Option<Timestamp> {
        self.front().map(|(batch, at)| batch.get(at).timestamp())
    }

    /// Takes up the next record; gives its offset, which must be beyond the last one's (CK-07).
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn begin(&mut self) -> Result<Offset, TaskError> {
        let batch = self.batches.front().expect("the input was chosen for its record");
        let message = batch.get(self.at);
        let offset = message.offset();
        self.context.offset = offset;
        self.context.size = message.size();
        self.context.leader_epoch = message.leader_epoch();
        match self.covered.map(|(_, last)| last).or(self.last) {
            Some(last) if offset <= last => Err(TaskError::InvalidStoredOffset {
                topic_partition: self.topic_partition().clone(),
                offset,
                last,
            }),
            _ => Ok(offset),
        }
    }

    /// The record taken up by [`Input::begin`], and where it comes from.
    pub(crate) fn message(&self) -> (RecordView<'_>, &RecordContext) {
        let batch = self.batches.front().expect("begin() took up its record");
        (batch.get(self.at), &self.context)
    }

    /// The record at hand is done: its offset counts.
    pub(crate) fn done(&mut self, offset: Offset) {
        let first = self.covered.map_or(offset, |(first, _)| first);
        self.covered = Some((first, offset));
        self.at += 1;
        self.queued -= 1;
        if self.batches.front().is_some_and(|batch| self.at == batch.len()) {
            self.batches.pop_front();
            self.at = 0;
        }
    }

    pub(crate) fn position(&self) -> Option<Position<'_>> {
        let (first, last) = self.covered?;
        Some(Position { topic_partition: self.topic_partition(), first, next: last + 1 })
    }

    pub(crate) fn checkpointed(&mut self) {
        if let Some((_, last)) = self.covered.take() {
            self.last = Some(last);
        }
    }

    pub(crate) fn drop_queued(&mut self) {
        self.batches.clear();
        self.at = 0;
        self.queued = 0;
    }

    /// Back to the last checkpoint. The next record may be any: the caller seeks.
    pub(crate) fn discard(&mut self) {
        self.drop_queued();
        self.covered = None;
        self.last = None;
    }
}
