//! Carries a checkpoint out: the steps are [`crate::checkpoint::next_step`]'s, one at a time, with
//! polling in between.

use std::time::Duration;

use millstream_engine::StoreSpec;
use millstream_kafka::{ConsumerEvent, FlushId, KafkaError, ProducerEvent, RequestId, code};
use millstream_state::{CheckpointFacts, Store};
use millstream_types::{Offset, TopicPartition};

use crate::RuntimeError;
use crate::assignment::Stage;
use crate::checkpoint::{CheckpointStep, CommitProgress, Facts, next_step};
use crate::output::ProducerOutput;
use crate::worker::Worker;

/// Between two looks at what is under way.
const TURN: Duration = Duration::from_millis(5);

/// How a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointEnd {
    /// Committed, or there was nothing to commit.
    Complete,
    /// The group has gone on without this member: what was processed belongs to others now.
    MembershipLost,
}

/// A checkpoint under way.
struct Checkpoint {
    facts: Facts,
    deadline: Duration,
    flush: Option<FlushId>,
    request: Option<RequestId>,
    offsets: Vec<(TopicPartition, Offset)>,
    refusal: Option<KafkaError>,
}

impl Worker<'_> {
    /// Makes the open checkpoint of all running tasks, in at most `within`. Polling goes on, but
    /// records stay with the client; what else it brings is kept for afterwards.
    pub(crate) fn make_checkpoint(
        &mut self,
        within: Duration,
    ) -> Result<CheckpointEnd, RuntimeError> {
        self.consumer.hold_records(true);
        let end = self.checkpoint_steps(within);
        self.consumer.hold_records(false);
        end
    }

    fn checkpoint_steps(&mut self, within: Duration) -> Result<CheckpointEnd, RuntimeError> {
        let started = self.clock.monotonic();
        let mut offsets = Vec::new();
        for slot in self.slots.values_mut() {
            if let Some(task) = slot.running() {
                offsets.extend(task.positions().map(|p| (p.topic_partition.clone(), p.next)));
            }
        }
        if offsets.is_empty() {
            self.checkpoint_opened = started;
            return Ok(CheckpointEnd::Complete);
        }
        let mut checkpoint = Checkpoint {
            facts: Facts::default(),
            deadline: started + within,
            flush: None,
            request: None,
            offsets,
            refusal: None,
        };
        let end = loop {
            checkpoint.facts.overdue = self.clock.monotonic() >= checkpoint.deadline;
            match next_step(&checkpoint.facts) {
                CheckpointStep::WriteChangelog => {
                    self.prepare_and_write()?;
                    checkpoint.facts.changelog_written = true;
                    checkpoint.facts.undelivered = 1;
                    checkpoint.flush = Some(self.output.producer.begin_flush());
                }
                CheckpointStep::AwaitDelivery | CheckpointStep::AwaitCommit => {
                    self.turn_of_waiting(&mut checkpoint)?;
                }
                CheckpointStep::CommitOffsets => match self.consumer.commit(&checkpoint.offsets) {
                    Ok(id) => {
                        checkpoint.request = Some(id);
                        checkpoint.facts.commit = CommitProgress::Sent;
                    }
                    Err(error) => match error.kafka() {
                        Some(kafka) if is_membership(kafka) => {
                            break CheckpointEnd::MembershipLost;
                        }
                        _ => return Err(RuntimeError::Commit { reason: error.to_string() }),
                    },
                },
                CheckpointStep::WriteState => {
                    self.write_state(&checkpoint.offsets)?;
                    self.note_for_purge(&checkpoint.offsets);
                    checkpoint.facts.state_written = true;
                }
                CheckpointStep::Done => break CheckpointEnd::Complete,
                CheckpointStep::FailDelivery => {
                    let failure = self.delivery_failure.take();
                    return Err(failure.map_or(
                        RuntimeError::DeliveryOverdue {
                            undelivered: self.output.producer.in_flight(),
                            after: within,
                        },
                        RuntimeError::Delivery,
                    ));
                }
                CheckpointStep::FailOverdue => {
                    return Err(RuntimeError::DeliveryOverdue {
                        undelivered: self.output.producer.in_flight(),
                        after: within,
                    });
                }
                CheckpointStep::FailCommit => match &checkpoint.refusal {
                    Some(error) if is_membership(error) => break CheckpointEnd::MembershipLost,
                    Some(error) => {
                        return Err(RuntimeError::Commit { reason: error.to_string() });
                    }
                    None => {
                        let reason = format!("no answer within {} s", within.as_secs());
                        return Err(RuntimeError::Commit { reason });
                    }
                },
            }
        };
        let now = self.clock.monotonic();
        if end == CheckpointEnd::Complete {
            tracing::debug!(
                "checkpoint of {} partition(s) in {:?}",
                checkpoint.offsets.len(),
                now - started
            );
        }
        self.checkpoint_opened = now;
        Ok(end)
    }

    /// Encodes what changed in every store and hands it to the producer, markers last.
    fn prepare_and_write(&mut self) -> Result<(), RuntimeError> {
        let written_ms = self.clock.wall();
        for slot in self.slots.values_mut() {
            let Stage::Running(task) = &mut slot.stage else { continue };
            let mut covered = slot.committed.clone();
            for position in task.positions() {
                covered.set(position.topic_partition.clone(), position.next);
            }
            let output = &mut self.output;
            let partition = slot.id.partition;
            let mut outcome = Ok(());
            task.each_store(&mut |spec, store| {
                if outcome.is_ok() {
                    let facts = CheckpointFacts { covered: covered.clone(), written_ms };
                    outcome = write_changes(spec, partition, store, facts, output);
                }
            });
            outcome?;
        }
        Ok(())
    }

    fn turn_of_waiting(&mut self, checkpoint: &mut Checkpoint) -> Result<(), RuntimeError> {
        // Who presses Ctrl-C a second time does not want to wait for brokers that are away.
        if self.host.interrupted() {
            return Err(RuntimeError::Interrupted);
        }
        let already = self.events.len();
        self.consumer.poll(TURN, &mut self.events);
        let mut index = already;
        while index < self.events.len() {
            match &self.events[index] {
                ConsumerEvent::CommitDone { id, .. } if Some(*id) == checkpoint.request => {
                    let ConsumerEvent::CommitDone { partitions, .. } = self.events.remove(index)
                    else {
                        unreachable!("looked at above");
                    };
                    checkpoint.refusal = partitions.into_iter().find_map(|(_, _, r)| r.err());
                    checkpoint.facts.commit = match checkpoint.refusal {
                        None => CommitProgress::Confirmed,
                        Some(_) => CommitProgress::Failed,
                    };
                }
                _ => index += 1,
            }
        }
        for event in self.drain_producer()? {
            if let ProducerEvent::FlushDone { id, .. } = event
                && Some(id) == checkpoint.flush
            {
                checkpoint.facts.undelivered = 0;
            }
        }
        checkpoint.facts.delivery_failed = self.delivery_failure.is_some();
        self.check_availability()
    }

    fn write_state(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), RuntimeError> {
        for slot in self.slots.values_mut() {
            let Stage::Running(task) = &mut slot.stage else { continue };
            let (output, partition) = (&self.output, slot.id.partition);
            let mut outcome = Ok(());
            task.each_store(&mut |spec, store| {
                let changelog = changelog_of(spec, partition);
                let position = changelog.and_then(|p| output.changelog_position(&p));
                if outcome.is_ok() {
                    outcome = store.commit(position);
                }
            });
            outcome?;
            task.checkpointed();
            for (partition, next) in offsets {
                if slot.partitions.contains(partition) {
                    slot.committed.set(partition.clone(), *next);
                }
            }
        }
        Ok(())
    }

    /// What was read of repartition topics may go.
    fn note_for_purge(&mut self, offsets: &[(TopicPartition, Offset)]) {
        for (partition, next) in offsets {
            if self.is_repartition_topic(&partition.topic) {
                self.purge.committed(partition, *next);
            }
        }
    }
}

fn changelog_of(spec: &StoreSpec, partition: i32) -> Option<TopicPartition> {
    spec.changelog_topic.as_ref().map(|topic| TopicPartition::new(topic.clone(), partition))
}

/// Encodes what changed in a store and hands it to the producer, the marker last.
fn write_changes(
    spec: &StoreSpec,
    partition: i32,
    store: &mut dyn Store,
    facts: CheckpointFacts,
    output: &mut ProducerOutput,
) -> Result<(), RuntimeError> {
    let Some(prepared) = store.prepare(facts)? else { return Ok(()) };
    let Some(changelog) = changelog_of(spec, partition) else { return Ok(()) };
    prepared.records().try_for_each(|r| output.write_changelog(&changelog, r.key, r.value))
}

/// Whether a refusal says that the group has gone on without this member.
fn is_membership(error: &KafkaError) -> bool {
    matches!(
        error.code,
        code::ILLEGAL_GENERATION
            | code::UNKNOWN_MEMBER_ID
            | code::REBALANCE_IN_PROGRESS
            | code::MAX_POLL_EXCEEDED
    )
}
