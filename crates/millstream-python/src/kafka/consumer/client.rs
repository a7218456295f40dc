//! What a consumer keeps beside the client underneath.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use millstream_kafka::{Consumer, ConsumerEvent, Error, KafkaError, RequestId, StartOffset};
use millstream_types::{Clock, Offset, RecordBatch, SystemClock, TopicPartition};

use super::super::Deadline;
use super::CLOSE_LIMIT;

/// What was asked of the consumer by its settings, and is done here.
pub(super) struct Habits {
    /// Commit stored offsets that often; `None`: never.
    pub(super) auto_commit: Option<Duration>,
    /// Store an offset when its message is given out.
    pub(super) auto_store: bool,
    /// Tell of a partition's end.
    pub(super) partition_end: bool,
}

pub(super) struct Client {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) habits: Habits,
    /// The latest that were not told yet.
    pub(super) statistics: Option<String>,
    /// What came and was not given out yet.
    pub(super) ready: VecDeque<Ready>,
    pub(super) events: Vec<ConsumerEvent>,
    /// The offset after the message given out last.
    pub(super) positions: HashMap<TopicPartition, Offset>,
    pub(super) stored: HashMap<TopicPartition, Offset>,
    pub(super) commit_due: Duration,
    /// Answers to commits somebody waits for.
    pub(super) answers: HashMap<RequestId, CommitAnswer>,
    /// The rebalance that waits for an answer.
    pub(super) rebalance: Option<Rebalance>,
}

pub(super) type CommitAnswer = Vec<(TopicPartition, Offset, Result<(), KafkaError>)>;

pub(super) enum Ready {
    Records(Arc<RecordBatch>, usize),
    End(TopicPartition, Offset),
    Failed(Option<TopicPartition>, KafkaError),
}

#[derive(Clone)]
pub(super) enum Rebalance {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Lost(Vec<TopicPartition>),
}

/// What one look brought.
pub(super) enum Found {
    Message(Ready),
    Rebalance(Rebalance),
    Statistics(String),
    Nothing,
}

impl Client {
    pub(super) fn new(consumer: Box<dyn Consumer>, habits: Habits) -> Self {
        Self {
            consumer,
            commit_due: SystemClock.monotonic() + habits.auto_commit.unwrap_or_default(),
            habits,
            statistics: None,
            ready: VecDeque::new(),
            events: Vec::new(),
            positions: HashMap::new(),
            stored: HashMap::new(),
            answers: HashMap::new(),
            rebalance: None,
        }
    }

    /// Takes what has come, waiting up to `wait` for something.
    pub(super) fn take_in(&mut self, wait: Duration) {
        self.auto_commit();
        let mut events = std::mem::take(&mut self.events);
        self.consumer.poll(wait, &mut events);
        for event in events.drain(..) {
            self.event(event);
        }
        self.events = events;
    }

    fn event(&mut self, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Assigned(partitions) => {
                self.rebalance = Some(Rebalance::Assigned(partitions));
            }
            ConsumerEvent::Revoked(partitions) => {
                self.forget_unread(&partitions);
                self.rebalance = Some(Rebalance::Revoked(partitions));
            }
            ConsumerEvent::Lost(partitions) => {
                self.forget_unread(&partitions);
                self.stored.retain(|partition, _| !partitions.contains(partition));
                self.rebalance = Some(Rebalance::Lost(partitions));
            }
            ConsumerEvent::Records(batch) => {
                self.ready.push_back(Ready::Records(Arc::new(batch), 0))
            }
            ConsumerEvent::PartitionEnd(partition, offset) if self.habits.partition_end => {
                self.ready.push_back(Ready::End(partition, offset));
            }
            ConsumerEvent::PartitionError(partition, error) => {
                self.ready.push_back(Ready::Failed(Some(partition), error));
            }
            ConsumerEvent::Error(error) => self.ready.push_back(Ready::Failed(None, error)),
            ConsumerEvent::CommitDone { id, partitions } => {
                if let Some(answer) = self.answers.get_mut(&id) {
                    *answer = partitions;
                } else {
                    for (partition, offset, result) in partitions {
                        if let Err(error) = result {
                            tracing::warn!("commit of {partition} at offset {offset}: {error}");
                        }
                    }
                }
            }
            ConsumerEvent::Statistics(json) => self.statistics = Some(json),
            // Brokers down and up are in the log; the rest needs no answer here.
            _ => {}
        }
    }

    pub(super) fn forget_unread(&mut self, partitions: &[TopicPartition]) {
        self.ready.retain(|ready| match ready {
            Ready::Records(batch, _) => !partitions.contains(batch.topic_partition()),
            Ready::End(partition, _) | Ready::Failed(Some(partition), _) => {
                !partitions.contains(partition)
            }
            Ready::Failed(None, _) => true,
        });
        self.positions.retain(|partition, _| !partitions.contains(partition));
    }

    fn auto_commit(&mut self) {
        let Some(every) = self.habits.auto_commit else { return };
        let now = SystemClock.monotonic();
        if now >= self.commit_due && !self.stored.is_empty() && self.rebalance.is_none() {
            self.commit_due = now + every;
            if let Err(error) = self.commit_stored() {
                tracing::warn!("automatic commit: {error}");
            }
        }
    }

    fn commit_stored(&mut self) -> Result<Option<RequestId>, Error> {
        if self.stored.is_empty() {
            return Ok(None);
        }
        let offsets: Vec<_> = self.stored.drain().collect();
        self.consumer.commit(&offsets).map(Some)
    }

    /// The next message, or what must be dealt with before it.
    pub(super) fn find(&mut self, wait: Duration) -> Found {
        if self.ready.is_empty() && self.rebalance.is_none() {
            self.take_in(wait);
        } else {
            // Keeps the group membership alive while many messages lie ready.
            self.auto_commit();
        }
        if let Some(rebalance) = self.rebalance.clone() {
            return Found::Rebalance(rebalance);
        }
        if let Some(json) = self.statistics.take() {
            return Found::Statistics(json);
        }
        let Some(ready) = self.ready.pop_front() else { return Found::Nothing };
        if let Ready::Records(batch, index) = &ready {
            let (partition, offset) = (batch.topic_partition().clone(), batch.get(*index).offset());
            if index + 1 < batch.len() {
                self.ready.push_front(Ready::Records(Arc::clone(batch), index + 1));
            }
            if self.habits.auto_store {
                self.stored.insert(partition.clone(), offset + 1);
            }
            self.positions.insert(partition, offset + 1);
        }
        Found::Message(ready)
    }

    /// Answers a rebalance that no callback answered.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        match self.rebalance.take() {
            Some(Rebalance::Assigned(_)) => self.consumer.ack_assigned(&[]),
            Some(Rebalance::Revoked(partitions)) => {
                if self.habits.auto_commit.is_some() {
                    self.commit_and_wait()?;
                }
                self.stored.retain(|partition, _| !partitions.contains(partition));
                self.consumer.ack_revoked()
            }
            Some(Rebalance::Lost(_)) => self.consumer.ack_revoked(),
            None => Ok(()),
        }
    }

    pub(super) fn commit_and_wait(&mut self) -> Result<(), Error> {
        if let Some(id) = self.commit_stored()? {
            self.answers.insert(id, Vec::new());
            let deadline = Deadline::after(Some(CLOSE_LIMIT));
            while self.answers.get(&id).is_some_and(Vec::is_empty) {
                let Some(wait) = deadline.next_wait() else { break };
                self.take_in(wait);
            }
            self.answers.remove(&id);
        }
        Ok(())
    }

    /// Paused partitions give nothing out any more; what lies ready of them is read again later.
    pub(super) fn rewind_unread(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        for partition in partitions {
            let first = self.ready.iter().find_map(|ready| match ready {
                Ready::Records(batch, index) if batch.topic_partition() == partition => {
                    Some(batch.get(*index).offset())
                }
                _ => None,
            });
            if let Some(offset) = first {
                let position = self.positions.get(partition).copied();
                self.forget_unread(std::slice::from_ref(partition));
                self.positions.extend(position.map(|position| (partition.clone(), position)));
                self.consumer.seek(partition, StartOffset::At(offset))?;
            }
        }
        Ok(())
    }
}
