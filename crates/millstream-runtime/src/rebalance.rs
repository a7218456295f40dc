//! What a worker does when the group gives it partitions or takes them away.
//!
//! *What must hold.* A task runs only on a state that equals the committed offsets, and nothing of
//! it may still be on its way to a changelog when somebody else may own the partition:
//!
//! * Look-ups that an assignment needs (committed offsets, watermarks) may fail for a while; the
//!   assignment then stays unanswered and is tried again from the loop, which goes on polling.
//! * A task whose checkpoint went wrong after its changelog entries were written is closed, never
//!   suspended or rewound: only a restore knows how to overwrite what lies uncommitted in the
//!   changelog.
//! * A suspended task is resumed only if neither the offsets nor the changelog have moved.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_engine::{Task, TaskId, TaskStore, Topology};
use millstream_kafka::{ConsumerEvent, Error, PartitionStart, StartOffset};
use millstream_state::SourceOffsets;
use millstream_types::TopicPartition;

use crate::assignment::{Slot, Stage, TaskState};
use crate::commit::{CheckpointEnd, Patience, changelog_of};
use crate::restore::StoreRestore;
use crate::worker::Worker;
use crate::{RuntimeError, SourceGap, StopRequest};

/// Share of the flush time that a checkpoint at a revocation may take (CK-21).
const REVOCATION_SHARE: f64 = 0.2;
/// The least it may take (CK-21).
const REVOCATION_MIN: Duration = Duration::from_secs(5);
/// Between two tries to take an assignment.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// How long what is on its way to brokers is waited for before a store is let go.
const SETTLE: Duration = Duration::from_secs(5);

/// An assignment that could not be taken yet.
pub(crate) struct PendingAssignment {
    partitions: Vec<TopicPartition>,
    since: Duration,
    next_try: Duration,
}

impl Worker<'_> {
    /// The group gave partitions: takes them, or tries again later.
    pub(crate) fn on_assigned(
        &mut self,
        partitions: Vec<TopicPartition>,
    ) -> Result<(), RuntimeError> {
        tracing::info!("assigned: {}", names(&partitions));
        let now = self.clock.monotonic();
        self.pending = Some(PendingAssignment { partitions, since: now, next_try: now });
        self.take_pending()
    }

    /// Tries to take an open assignment, if it is time.
    pub(crate) fn take_pending(&mut self) -> Result<(), RuntimeError> {
        let now = self.clock.monotonic();
        let Some(pending) = self.pending.take_if(|pending| pending.next_try <= now) else {
            return Ok(());
        };
        // Short tries, with polling in between: the answer may need another broker by now.
        match self.assigned(&pending.partitions) {
            Err(RuntimeError::Kafka(error))
                if may_pass(&error) && now - pending.since < 2 * self.config.request_timeout =>
            {
                tracing::warn!("the assigned partitions cannot be opened yet: {error}");
                let next_try = self.clock.monotonic() + RETRY_EVERY;
                self.pending = Some(PendingAssignment { next_try, ..pending });
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// When an open assignment is tried again.
    pub(crate) fn pending_at(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.next_try)
    }

    fn look_up_timeout(&self) -> Duration {
        (self.config.request_timeout / 6).max(Duration::from_secs(1))
    }

    fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        self.close_outdated(partitions)?;
        let mut fresh: BTreeMap<TaskId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(id) = self.topology.task_of(&partition.topic, partition.partition) else {
                continue;
            };
            self.check_partition(partition)?;
            fresh.entry(id).or_default().push(partition.clone());
        }
        // A task that comes back with the very partitions it had goes on; any other begins anew.
        let mut back = Vec::new();
        fresh.retain(|id, mine| {
            let slot = self.slots.get(id);
            let same = slot.is_some_and(|slot| {
                slot.state() == TaskState::Suspended
                    && slot.partitions.len() == mine.len()
                    && mine.iter().all(|partition| slot.partitions.contains(partition))
            });
            if same {
                back.push(*id);
            }
            !same
        });
        self.close_slots(|slot| {
            let returns = back.contains(&slot.id);
            (slot.state() == TaskState::Suspended && !returns) || fresh.contains_key(&slot.id)
        });
        // What may fail comes first: after it nothing is left half done.
        let mut starts = self.open_slots(fresh)?;
        for id in back {
            let slot = self.slots.get_mut(&id).expect("it was there just now");
            slot.resume();
            let Slot { partitions, committed, .. } = slot;
            starts.extend(partitions.iter().map(|partition| start_at(partition, committed)));
        }
        self.consumer.ack_assigned(&starts)?;
        let now = self.clock.monotonic();
        self.checkpoint_opened = now;
        self.limits.active(now);
        Ok(())
    }

    /// A topic that has grown since the topology was declared has partitions without a store.
    fn check_partition(&self, partition: &TopicPartition) -> Result<(), RuntimeError> {
        let source = self.topology.sources().iter().find(|s| s.topic == partition.topic);
        match source {
            Some(source)
                if partition.partition >= source.partitions && !self.topology.may_grow(source) =>
            {
                Err(RuntimeError::TopicGrown {
                    topic: partition.topic.to_string(),
                    found: partition.partition as usize + 1,
                    known: source.partitions,
                })
            }
            _ => Ok(()),
        }
    }

    /// Closes suspended tasks whose partitions somebody else has worked on meanwhile: the group
    /// may have gone on without this member between the revocation and now, and their state does
    /// not know of it.
    fn close_outdated(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        let back: Vec<TopicPartition> = self
            .slots
            .values()
            .filter(|slot| slot.state() == TaskState::Suspended)
            .flat_map(|slot| slot.partitions.iter())
            .filter(|partition| partitions.contains(partition))
            .cloned()
            .collect();
        if back.is_empty() {
            return Ok(());
        }
        let now = self.consumer.committed(&back, self.look_up_timeout())?;
        let moved: Vec<&TopicPartition> = back
            .iter()
            .zip(now)
            .filter(|(partition, committed)| {
                let known = self.slots.values().find(|slot| slot.partitions.contains(partition));
                known.is_some_and(|slot| slot.committed.get(partition) != *committed)
            })
            .map(|(partition, _)| partition)
            .collect();
        let mut outdated: Vec<TaskId> = self
            .slots
            .values()
            .filter(|slot| slot.partitions.iter().any(|partition| moved.contains(&partition)))
            .map(|slot| slot.id)
            .collect();
        outdated.extend(self.overtaken_in_changelog()?);
        self.close_slots(|slot| outdated.contains(&slot.id));
        Ok(())
    }

    /// Makes the tasks of newly assigned partitions, and says where to read.
    fn open_slots(
        &mut self,
        fresh: BTreeMap<TaskId, Vec<TopicPartition>>,
    ) -> Result<Vec<PartitionStart>, RuntimeError> {
        let all: Vec<TopicPartition> = fresh.values().flatten().cloned().collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let offsets = self.consumer.committed(&all, self.look_up_timeout())?;
        let committed: SourceOffsets = all
            .iter()
            .zip(offsets)
            .filter_map(|(partition, offset)| Some((partition.clone(), offset?)))
            .collect();
        let (mut starts, mut opened) = (Vec::new(), Vec::new());
        for (id, partitions) in fresh {
            let stateful = self.topology.stores_of(id).next().is_some();
            let mut mine: SourceOffsets =
                partitions.iter().filter_map(|p| Some((p.clone(), committed.get(p)?))).collect();
            let mut places: Vec<PartitionStart> =
                partitions.iter().map(|partition| start_at(partition, &mine)).collect();
            let stage = if stateful {
                let emptied = self.mend_source_gap(&mut mine, &mut places)?;
                let stores = self
                    .topology
                    .stores_of(id)
                    .map(|spec| StoreRestore::new(spec, id, mine.clone(), emptied))
                    .collect();
                places.iter_mut().for_each(|place| place.paused = true);
                Stage::Restoring(stores)
            } else {
                Stage::Running(Box::new(self.new_task(id, Vec::new())))
            };
            starts.extend(places);
            opened.push(Slot { id, partitions, committed: mine, stage, ends: Vec::new() });
        }
        self.slots.extend(opened.into_iter().map(|slot| (slot.id, slot)));
        Ok(starts)
    }

    pub(crate) fn new_task(&self, id: TaskId, stores: Vec<TaskStore>) -> Task {
        Task::new(self.topology.clone(), id, stores, self.host.clone())
    }

    pub(crate) fn is_repartition_topic(&self, topic: &str) -> bool {
        self.topology.sources().iter().any(|s| s.is_repartition() && *s.topic == *topic)
    }

    pub(crate) fn is_changelog_topic(&self, topic: &str) -> bool {
        let mut stores = self.topology.stores().iter();
        stores.any(|store| store.changelog_topic.as_deref() == Some(topic))
    }

    /// A committed offset that retention has deleted (CK-40 to CK-42): the local state goes, and
    /// `committed` becomes the place up to which the changelog counts.
    ///
    /// Whether there was one.
    fn mend_source_gap(
        &mut self,
        committed: &mut SourceOffsets,
        places: &mut [PartitionStart],
    ) -> Result<bool, RuntimeError> {
        let known: Vec<TopicPartition> = committed.iter().map(|(p, _)| p.clone()).collect();
        if known.is_empty() {
            return Ok(false);
        }
        let marks = self.admin.watermarks(&known, self.look_up_timeout())?;
        let (mut found, mut state_starts_empty) = (false, false);
        for (partition, mark) in known.iter().zip(marks) {
            let offset = committed.get(partition).expect("asked for what is committed");
            if offset >= mark.low {
                continue;
            }
            let place = places.iter_mut().find(|place| place.partition == *partition);
            let place = place.expect("every partition has a place");
            let lost = mark.low - offset;
            match self.config.source_gap {
                SourceGap::Fail => {
                    let (partition, committed, low) = (partition.clone(), offset, mark.low);
                    return Err(RuntimeError::OffsetOutOfRange { partition, committed, low });
                }
                SourceGap::Earliest => {
                    place.offset = StartOffset::At(mark.low);
                    committed.set(partition.clone(), mark.low);
                }
                SourceGap::Latest => {
                    place.offset = StartOffset::At(mark.high);
                    state_starts_empty = true;
                }
            }
            found = true;
            tracing::error!(
                "{partition}: {lost} record(s) behind the committed offset {offset} were deleted \
                 by retention; the local state is deleted and {}",
                match self.config.source_gap {
                    SourceGap::Latest => "begins empty",
                    _ => "rebuilt from its changelog",
                }
            );
        }
        if state_starts_empty {
            *committed = SourceOffsets::new();
        }
        Ok(found)
    }

    pub(crate) fn on_revoked(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        tracing::info!("revoked: {}", names(partitions));
        self.pending = None;
        if self.stop.requested() != Some(StopRequest::Failed) {
            let within = self.config.flush_timeout.mul_f64(REVOCATION_SHARE).max(REVOCATION_MIN);
            match self.make_checkpoint(Patience::OrLeave(within))? {
                CheckpointEnd::Complete => {}
                end => self.give_up_checkpoint(end)?,
            }
        }
        let revoked = |slot: &Slot| slot.partitions.iter().any(|p| partitions.contains(p));
        for slot in self.slots.values_mut().filter(|slot| revoked(slot)) {
            slot.partitions.iter().for_each(|partition| self.purge.forget(partition));
            if let Stage::Running(task) = &mut slot.stage {
                slot.partitions.iter().for_each(|partition| task.drop_queued(partition));
            }
            if slot.state() == TaskState::Running {
                slot.suspend();
            }
        }
        self.close_restoring(revoked)?;
        self.consumer.ack_revoked()?;
        Ok(())
    }

    pub(crate) fn on_lost(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        tracing::warn!(
            "lost: {}; what was processed of them since the last commit belongs to their next owner",
            names(partitions)
        );
        self.pending = None;
        let lost = |slot: &Slot| slot.partitions.iter().any(|p| partitions.contains(p));
        self.close_restoring(lost)?;
        self.close_slots(lost);
        self.consumer.ack_revoked()?;
        Ok(())
    }

    /// Ends restores that were under way. They begin anew if the partition comes back: what they
    /// wrote is marked as such on disk and is taken up again.
    fn close_restoring(&mut self, which: impl Fn(&Slot) -> bool) -> Result<(), RuntimeError> {
        let wrote = |slot: &Slot| match &slot.stage {
            Stage::Restoring(stores) => stores.iter().any(StoreRestore::has_written),
            _ => false,
        };
        if self.slots.values().any(|slot| which(slot) && wrote(slot)) {
            // Values on their way to a changelog must not arrive behind those of the next owner.
            self.settle()?;
        }
        self.close_slots(|slot| slot.state() == TaskState::Restoring && which(slot));
        Ok(())
    }

    /// Undoes a checkpoint that did not come to its end: what was processed is not the group's
    /// any more.
    pub(crate) fn give_up_checkpoint(&mut self, end: CheckpointEnd) -> Result<(), RuntimeError> {
        tracing::warn!(
            "{end}; what was processed since the last checkpoint is left to the next owner"
        );
        self.settle()?;
        // Records that were fetched meanwhile are fetched again.
        self.events.retain(|event| {
            !matches!(event, ConsumerEvent::Records(_) | ConsumerEvent::PartitionEnd(..))
        });
        let topology = self.topology.clone();
        let stateful = |id: TaskId| topology.stores_of(id).next().is_some();
        // Whether the partitions stay with this member although their tasks are gone.
        let mut stay = false;
        if self.slots.values().any(|slot| slot.state() == TaskState::Running && stateful(slot.id)) {
            // With the eager protocol, a member whose commit was refused is about to lose
            // everything it has, and gets it anew.
            stay = end == CheckpointEnd::ForeignWriter || !self.consumer.is_eager();
        }
        self.close_slots(|slot| slot.state() == TaskState::Running && stateful(slot.id));
        for slot in self.slots.values_mut() {
            let Stage::Running(task) = &mut slot.stage else { continue };
            task.discard()?;
            slot.ends.clear();
            for partition in &slot.partitions {
                let sought = match slot.committed.get(partition) {
                    Some(offset) => self.consumer.seek(partition, StartOffset::At(offset)).is_ok(),
                    // Where reading began is the group's to say.
                    None => false,
                };
                stay |= !sought && self.consumer.assignment().contains(partition);
            }
        }
        if stay { self.rejoin() } else { Ok(()) }
    }

    /// Leaves the group and joins it again, so that every partition is opened anew.
    fn rejoin(&mut self) -> Result<(), RuntimeError> {
        tracing::info!("joining the group anew");
        self.close_slots(|_| true);
        self.consumer.unsubscribe()?;
        let topics = source_topics(&self.topology);
        self.consumer.subscribe(&topics)?;
        Ok(())
    }

    /// Waits, for a short time, until nothing is on its way to brokers.
    pub(crate) fn settle(&mut self) -> Result<(), RuntimeError> {
        let end = self.clock.monotonic() + SETTLE;
        self.output.producer.begin_flush();
        while self.output.producer.in_flight() > 0 && self.clock.monotonic() < end {
            self.consumer.hold_records(true);
            self.consumer.poll(Duration::from_millis(5), &mut self.events);
            self.consumer.hold_records(false);
            self.drain_producer()?;
        }
        Ok(())
    }

    fn close_slots(&mut self, which: impl Fn(&Slot) -> bool) {
        let gone: Vec<TaskId> =
            self.slots.values().filter(|slot| which(slot)).map(|slot| slot.id).collect();
        for id in gone {
            let slot = self.slots.remove(&id).expect("found just now");
            slot.partitions.iter().for_each(|partition| self.purge.forget(partition));
            slot.close();
        }
    }

    /// Suspended tasks whose changelog has records that are not theirs: of an owner in between
    /// who died before a commit, or of a checkpoint that was refused.
    fn overtaken_in_changelog(&mut self) -> Result<Vec<TaskId>, RuntimeError> {
        let mut expected = Vec::new();
        for slot in self.slots.values_mut() {
            let Stage::Suspended(task) = &mut slot.stage else { continue };
            let id = slot.id;
            task.each_store(&mut |spec, store| {
                let changelog = changelog_of(spec, id.partition);
                let position = store.mark().and_then(|mark| mark.changelog_offset);
                expected.extend(changelog.map(|changelog| (id, changelog, position)));
            });
        }
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        let changelogs: Vec<TopicPartition> =
            expected.iter().map(|(_, changelog, _)| changelog.clone()).collect();
        let marks = self.admin.watermarks(&changelogs, self.look_up_timeout())?;
        Ok(expected
            .iter()
            .zip(marks)
            // A store without a checkpoint goes with a changelog without records.
            .filter(|((_, _, position), mark)| position.unwrap_or(mark.low) != mark.high)
            .map(|((id, _, _), _)| *id)
            .collect())
    }
}

/// Where a partition is read: at the committed offset, which is known already. Left to the client
/// it would be looked up again, and a look-up that fails leaves the partition standing still.
fn start_at(partition: &TopicPartition, committed: &SourceOffsets) -> PartitionStart {
    let place = committed.get(partition).map_or(StartOffset::Committed, StartOffset::At);
    PartitionStart::new(partition.clone(), place)
}

/// The topics that a worker subscribes to.
pub(crate) fn source_topics(topology: &Topology) -> Vec<String> {
    topology.sources().iter().map(|source| source.topic.to_string()).collect()
}

/// Whether the same request may succeed in a moment: a coordinator or a leader that moves, an
/// answer that did not come.
pub(crate) fn may_pass(error: &Error) -> bool {
    match error {
        Error::TimedOut { .. } => true,
        Error::Kafka { error, .. } => error.retriable && !error.fatal,
        _ => false,
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    if partitions.is_empty() {
        return "nothing".to_owned();
    }
    partitions.iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(", ")
}
