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
/// Between two tries to commit.
const COMMIT_RETRY: Duration = Duration::from_millis(100);

/// How a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointEnd {
    /// Committed, or there was nothing to commit.
    Complete,
    /// The group has gone on without this member: what was processed belongs to others now.
    MembershipLost,
    /// Somebody else has written to a changelog of this member's: the group has gone on.
    ForeignWriter,
    /// At a revocation there was no time to finish it (CK-21).
    OutOfTime,
}

impl std::fmt::Display for CheckpointEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Complete => "the checkpoint is complete",
            Self::MembershipLost => "the group has gone on without this member",
            Self::ForeignWriter => "another process has written to a changelog of this one's",
            Self::OutOfTime => "the checkpoint could not be finished before the partitions go",
        })
    }
}

/// Until when a checkpoint must be done, and what then.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// The run fails (CK-05).
    OrFail(Duration),
    /// The partitions are on their way to others, who begin at the last checkpoint (CK-21).
    OrLeave(Duration),
}

impl Patience {
    fn time(self) -> Duration {
        match self {
            Self::OrFail(time) | Self::OrLeave(time) => time,
        }
    }
}

/// A checkpoint under way.
struct Checkpoint {
    facts: Facts,
    deadline: Duration,
    flush: Option<FlushId>,
    request: Option<RequestId>,
    /// A coordinator that moves is asked again, but not before this moment.
    retry_at: Duration,
    offsets: Vec<(TopicPartition, Offset)>,
    refusal: Option<KafkaError>,
}

impl Checkpoint {
    fn refused(&mut self, error: KafkaError) {
        self.refusal = Some(error);
        self.facts.commit = CommitProgress::Failed;
    }
}

impl Worker<'_> {
    /// Makes the open checkpoint of all running tasks, in the time given. Polling goes on, but
    /// records stay with the client; what else it brings is kept for afterwards.
    pub(crate) fn make_checkpoint(
        &mut self,
        patience: Patience,
    ) -> Result<CheckpointEnd, RuntimeError> {
        self.consumer.hold_records(true);
        let end = self.checkpoint_steps(patience);
        self.consumer.hold_records(false);
        end
    }

    fn checkpoint_steps(&mut self, patience: Patience) -> Result<CheckpointEnd, RuntimeError> {
        let within = patience.time();
        let leave = matches!(patience, Patience::OrLeave(_));
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
            retry_at: started,
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
                CheckpointStep::CommitOffsets if self.clock.monotonic() < checkpoint.retry_at => {
                    self.turn_of_waiting(&mut checkpoint)?;
                }
                CheckpointStep::CommitOffsets => {
                    if self.has_foreign_writer() {
                        break CheckpointEnd::ForeignWriter;
                    }
                    match self.consumer.commit(&checkpoint.offsets) {
                        Ok(id) => {
                            checkpoint.request = Some(id);
                            checkpoint.facts.commit = CommitProgress::Sent;
                        }
                        Err(error) => match error.kafka() {
                            Some(kafka) => checkpoint.refused(kafka.clone()),
                            None => return Err(RuntimeError::Commit { reason: error.to_string() }),
                        },
                    }
                }
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
                CheckpointStep::FailOverdue if leave => break CheckpointEnd::OutOfTime,
                CheckpointStep::FailOverdue if let Some(error) = &checkpoint.refusal => {
                    return Err(RuntimeError::Commit { reason: error.to_string() });
                }
                CheckpointStep::FailOverdue => {
                    return Err(RuntimeError::DeliveryOverdue {
                        undelivered: self.output.producer.in_flight(),
                        after: within,
                    });
                }
                CheckpointStep::FailCommit => match &checkpoint.refusal {
                    Some(error) if is_membership(error) => break CheckpointEnd::MembershipLost,
                    Some(error) if error.retriable && !error.fatal && !checkpoint.facts.overdue => {
                        // A coordinator that moves or loads: the same offsets again, in a moment.
                        tracing::debug!("the offsets are not committed yet: {error}");
                        checkpoint.retry_at = self.clock.monotonic() + COMMIT_RETRY;
                        checkpoint.facts.commit = CommitProgress::NotSent;
                    }
                    _ if leave => break CheckpointEnd::OutOfTime,
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

    /// Whether a changelog partition holds more than its store has written: what this checkpoint
    /// added must lie right behind the last one. At-least-once producers write no control records,
    /// so any gap is the work of another process, which took the partition for its own.
    fn has_foreign_writer(&mut self) -> bool {
        let mut found = false;
        for slot in self.slots.values_mut() {
            let Stage::Running(task) = &mut slot.stage else { continue };
            let (output, partition) = (&self.output, slot.id.partition);
            task.each_store(&mut |spec, store| {
                let position =
                    changelog_of(spec, partition).and_then(|p| output.changelog_position(&p));
                let before = store.mark().and_then(|mark| mark.changelog_offset);
                if let (Some(prepared), Some(before), Some(position)) =
                    (store.prepared(), before, position)
                    && before + prepared.len() as Offset != position
                {
                    tracing::warn!(
                        "{}: the changelog stands at {position} and should stand at {}",
                        store.id(),
                        before + prepared.len() as Offset
                    );
                    found = true;
                }
            });
        }
        found
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
                    match partitions.into_iter().find_map(|(_, _, result)| result.err()) {
                        None => checkpoint.facts.commit = CommitProgress::Confirmed,
                        Some(error) => checkpoint.refused(error),
                    }
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

pub(crate) fn changelog_of(spec: &StoreSpec, partition: i32) -> Option<TopicPartition> {
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
            | code::FENCED_MEMBER_EPOCH
            | code::STALE_MEMBER_EPOCH
            | code::MAX_POLL_EXCEEDED
    )
}
