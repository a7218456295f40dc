//! The loop: poll, process, look up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{Step, Task, TaskId, TaskStore, Topology};
use millstream_kafka::{
    Admin, ClientFactory, Consumer, ConsumerEvent, DeliveryFailure, Error, PartitionStart,
    ProducerEvent, StartOffset,
};
use millstream_state::{SourceOffsets, Storage};
use millstream_types::{Clock, RecordBatch, TopicPartition};
use millstream_value::Host;

use crate::assignment::{Slot, Stage, TaskState};
use crate::availability::Availability;
use crate::checkpoint::Gathered;
use crate::commit::CheckpointEnd;
use crate::limits::LimitTracker;
use crate::output::ProducerOutput;
use crate::purge::Purge;
use crate::restore::{RestoreContext, RestoreReader, StoreRestore};
use crate::{
    RunConfig, RunHooks, RunParams, RuntimeError, SourceGap, StopHandle, StopReason, StopRequest,
    internal_topics,
};

/// Share of the flush time that a checkpoint at a revocation may take (CK-21).
const REVOCATION_SHARE: f64 = 0.2;
/// Time for leaving the group at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for what is on its way to be delivered when a run ends with nothing to commit.
const LAST_FLUSH: Duration = Duration::from_secs(30);
/// A wait for records while stores restore.
const RESTORE_WAIT: Duration = Duration::from_millis(50);
/// How often tasks are told the time.
const TICK: Duration = Duration::from_millis(250);
/// Records on their way to brokers above which no further record is begun.
const IN_FLIGHT_MAX: u64 = 80_000;

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunReport {
    /// Why it ended.
    pub reason: StopReason,
    /// Records consumed.
    pub records: u64,
    /// Outputs made.
    pub outputs: u64,
}

/// Runs a topology until somebody stops it, a limit is reached, or it fails. Blocks; everything
/// happens on this thread.
///
/// # Errors
/// See [`RuntimeError`]. Nothing of the open checkpoint is committed then.
pub fn run(params: RunParams<'_>) -> Result<RunReport, RuntimeError> {
    let stop = params.stop.clone();
    let mut worker = Worker::new(params)?;
    stop.attach(worker.consumer.waker());
    let outcome = worker.run_and_close();
    stop.detach();
    outcome
}

/// The state of the loop.
pub(crate) struct Worker<'a> {
    pub(crate) topology: Arc<Topology>,
    pub(crate) config: RunConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) host: Arc<dyn Host>,
    hooks: &'a mut dyn RunHooks,
    storage: Arc<dyn Storage>,
    clients: &'a dyn ClientFactory,
    stop: StopHandle,
    pub(crate) consumer: Box<dyn Consumer>,
    pub(crate) output: ProducerOutput,
    admin: Box<dyn Admin>,
    restore: Option<RestoreReader>,
    pub(crate) slots: BTreeMap<TaskId, Slot>,
    /// Reported and not handled yet.
    pub(crate) events: Vec<ConsumerEvent>,
    producer_events: Vec<ProducerEvent>,
    /// A failed delivery that no callback suppressed.
    pub(crate) delivery_failure: Option<DeliveryFailure>,
    availability: Availability,
    limits: LimitTracker,
    pub(crate) purge: Purge,
    pub(crate) checkpoint_opened: Duration,
    ticked: Duration,
    probed: Duration,
    records: u64,
    /// Those of them that reached an operator; the others do not restart timeouts.
    processed: u64,
    /// Records wait with the client, so that an empty queue here says nothing.
    held: bool,
    needs_host: bool,
}

impl<'a> Worker<'a> {
    fn new(params: RunParams<'a>) -> Result<Self, RuntimeError> {
        let RunParams {
            topology,
            config,
            clients,
            storage,
            clock,
            host,
            hooks,
            stop,
            limits,
            leaves,
        } = params;
        let mut admin = clients.admin(&config.admin)?;
        check_input_topics(admin.as_mut(), &topology, config.request_timeout)?;
        internal_topics::ensure(
            admin.as_mut(),
            &topology,
            config.request_timeout,
            config.topic_create_timeout,
        )?;
        let mut consumer = clients.consumer(&config.consumer)?;
        let mut producer = clients.producer(&config.producer)?;
        producer.set_waker(consumer.waker());
        let output = ProducerOutput::new(producer, topology.sink_topics(), leaves)?;
        let topics: Vec<String> =
            topology.sources().iter().map(|source| source.topic.to_string()).collect();
        consumer.subscribe(&topics)?;
        let now = clock.monotonic();
        let needs_host = topology.sub_topologies().iter().any(|part| part.needs_host);
        Ok(Self {
            availability: Availability::new(config.availability_timeout),
            limits: LimitTracker::new(limits, now),
            topology,
            config,
            clock,
            host,
            hooks,
            storage,
            clients,
            stop,
            consumer,
            output,
            admin,
            restore: None,
            slots: BTreeMap::new(),
            events: Vec::new(),
            producer_events: Vec::new(),
            delivery_failure: None,
            purge: Purge::default(),
            checkpoint_opened: now,
            ticked: now,
            probed: now,
            records: 0,
            processed: 0,
            held: false,
            needs_host,
        })
    }

    fn run_and_close(&mut self) -> Result<RunReport, RuntimeError> {
        let outcome = self.turn_until_end();
        let outcome = outcome.and_then(|end| {
            if self.stop.requested() == Some(StopRequest::Failed) {
                return Ok(end);
            }
            self.last_checkpoint()?;
            Ok(end)
        });
        if outcome.is_err() || self.stop.requested() == Some(StopRequest::Failed) {
            self.output.producer.purge();
        }
        // Stores are closed before the group is left: the next owner finds no lock.
        self.slots.clear();
        let left = self.consumer.close(CLOSE_TIMEOUT);
        if !left {
            tracing::warn!("the group was not left in time; it will notice by its session timeout");
        }
        let reason = outcome?;
        Ok(RunReport { reason, records: self.records, outputs: self.limits.outputs() })
    }

    fn turn_until_end(&mut self) -> Result<StopReason, RuntimeError> {
        loop {
            if self.stop.requested().is_some() {
                return Ok(StopReason::Requested);
            }
            if self.host.interrupted() {
                return Err(RuntimeError::Interrupted);
            }
            let restores = |slot: &Slot| match &slot.stage {
                Stage::Restoring(stores) => stores.iter().any(StoreRestore::is_under_way),
                _ => false,
            };
            if self.slots.values().any(restores) {
                // A restore is no silence.
                self.limits.active(self.clock.monotonic());
            }
            if let Some(reason) = self.limits.reached(self.clock.monotonic()) {
                return Ok(reason);
            }
            self.turn()?;
        }
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<(), RuntimeError> {
        let wait = self.how_long_to_wait();
        // What waits at the tasks is bounded: more stays with the client, which then fetches less.
        let queued: usize =
            self.slots.values_mut().filter_map(Slot::running).map(|task| task.queued_bytes()).sum();
        self.held = queued >= self.config.queue_bytes_max;
        self.consumer.hold_records(self.held);
        self.consumer.poll(wait, &mut self.events);
        self.handle_events()?;
        self.handle_producer()?;
        self.restore_turn()?;
        self.process()?;
        self.tick()?;
        if self.checkpoint_due() {
            let end = self.make_checkpoint(self.config.flush_timeout)?;
            self.after_checkpoint(end)?;
        }
        self.purge.run(self.admin.as_mut(), self.clock.monotonic(), false);
        self.check_availability()
    }

    /// Nothing while there is work; else until the next thing that has a time.
    fn how_long_to_wait(&mut self) -> Duration {
        let busy =
            self.slots.values_mut().any(|slot| slot.running().is_some_and(|t| t.queued() > 0));
        let full = self.output.producer.in_flight() > IN_FLIGHT_MAX;
        if busy && !full || !self.events.is_empty() {
            return Duration::ZERO;
        }
        let now = self.clock.monotonic();
        let mut wait = self.config.poll_timeout;
        if full {
            wait = wait.min(Duration::from_millis(10));
        }
        if self.slots.values().any(|slot| slot.state() == TaskState::Restoring) {
            // The turn of the restore waits by itself.
            return Duration::ZERO;
        }
        if let Some(deadline) = self.limits.deadline() {
            wait = wait.min(deadline.saturating_sub(now));
        }
        if self.gathered(now).covered > 0 {
            let open_for = now.saturating_sub(self.checkpoint_opened);
            wait = wait.min(self.config.checkpoints.interval.saturating_sub(open_for));
        }
        if !self.slots.is_empty() {
            wait = wait.min(TICK);
        }
        wait
    }

    fn handle_events(&mut self) -> Result<(), RuntimeError> {
        // A checkpoint at a revocation gathers further events behind those being handled.
        while !self.events.is_empty() {
            for event in std::mem::take(&mut self.events) {
                self.handle_event(event)?;
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, event: ConsumerEvent) -> Result<(), RuntimeError> {
        match event {
            ConsumerEvent::Records(batch) => self.queue(batch),
            ConsumerEvent::PartitionEnd(partition, end) => {
                if let Some(slot) = self.slot_of(&partition) {
                    slot.reached_end(partition, end);
                }
            }
            ConsumerEvent::Assigned(partitions) => self.assigned(&partitions)?,
            ConsumerEvent::Revoked(partitions) => self.revoked(&partitions)?,
            ConsumerEvent::Lost(partitions) => self.lost(&partitions)?,
            ConsumerEvent::PartitionError(partition, error) => {
                self.consumer_error(Some(partition), error)?;
            }
            ConsumerEvent::Error(error) if error.retriable && !error.fatal => {
                tracing::warn!("{error}");
            }
            ConsumerEvent::Error(error) => self.consumer_error(None, error)?,
            ConsumerEvent::BrokersDown(error) => {
                tracing::error!("no broker is reachable: {error}");
                self.availability.all_down(self.clock.monotonic());
            }
            ConsumerEvent::BrokersUp => self.availability.reached(),
            // Answers to checkpoints that were given up, statistics, tokens of a source that the
            // client asks by itself.
            _ => {}
        }
        Ok(())
    }

    fn consumer_error(
        &mut self,
        partition: Option<TopicPartition>,
        error: millstream_kafka::KafkaError,
    ) -> Result<(), RuntimeError> {
        let suppressed =
            self.hooks.on_poll_error(partition.as_ref(), &error).map_err(RuntimeError::Hook)?;
        // A client that failed for good answers nothing any more: going on would be standing still.
        if suppressed && !error.fatal {
            return Ok(());
        }
        Err(RuntimeError::Consumer { partition, error })
    }

    fn queue(&mut self, batch: RecordBatch) {
        self.availability.reached();
        if let Some(slot) = self.slot_of(batch.topic_partition())
            && let Some(task) = slot.running()
        {
            task.push(batch);
        }
    }

    fn slot_of(&mut self, partition: &TopicPartition) -> Option<&mut Slot> {
        let id = self.topology.task_of(&partition.topic, partition.partition)?;
        self.slots.get_mut(&id)
    }

    // --- The life of tasks --------------------------------------------------------------------

    fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        tracing::info!("assigned: {}", names(partitions));
        self.close_outdated(partitions)?;
        let mut starts = Vec::new();
        let mut fresh: BTreeMap<TaskId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(id) = self.topology.task_of(&partition.topic, partition.partition) else {
                continue;
            };
            self.check_partition(partition)?;
            match self.slots.get_mut(&id) {
                Some(slot) if slot.partitions.contains(partition) => {
                    starts.push(PartitionStart::new(partition.clone(), StartOffset::Committed));
                    if slot.state() == TaskState::Suspended {
                        slot.resume();
                    }
                }
                _ => fresh.entry(id).or_default().push(partition.clone()),
            }
        }
        self.close_slots(|slot| slot.state() == TaskState::Suspended);
        starts.extend(self.open_slots(fresh)?);
        self.consumer.ack_assigned(&starts)?;
        let now = self.clock.monotonic();
        self.checkpoint_opened = now;
        self.limits.active(now);
        Ok(())
    }

    /// A topic that has grown since the topology was declared has partitions that no task knows.
    fn check_partition(&self, partition: &TopicPartition) -> Result<(), RuntimeError> {
        let source = self.topology.sources().iter().find(|s| s.topic == partition.topic);
        match source {
            Some(source) if partition.partition >= source.partitions => {
                Err(RuntimeError::TopicConfigurationMismatch {
                    topic: partition.topic.to_string(),
                    found: partition.partition as usize + 1,
                    wanted: source.partitions,
                })
            }
            _ => Ok(()),
        }
    }

    /// Closes suspended tasks whose partitions somebody else has committed meanwhile: the group
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
        let now = self.consumer.committed(&back, self.config.request_timeout)?;
        let moved: Vec<&TopicPartition> = back
            .iter()
            .zip(now)
            .filter(|(partition, committed)| {
                let known = self.slots.values().find(|slot| slot.partitions.contains(partition));
                known.is_some_and(|slot| slot.committed.get(partition) != *committed)
            })
            .map(|(partition, _)| partition)
            .collect();
        self.close_slots(|slot| slot.partitions.iter().any(|partition| moved.contains(&partition)));
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
        let offsets = self.consumer.committed(&all, self.config.request_timeout)?;
        let committed: SourceOffsets = all
            .iter()
            .zip(offsets)
            .filter_map(|(partition, offset)| Some((partition.clone(), offset?)))
            .collect();
        let mut starts = Vec::new();
        for (id, partitions) in fresh {
            let stateful = self.topology.stores_of(id).next().is_some();
            let mut mine: SourceOffsets =
                partitions.iter().filter_map(|p| Some((p.clone(), committed.get(p)?))).collect();
            let mut places: Vec<PartitionStart> = partitions
                .iter()
                .map(|p| PartitionStart::new(p.clone(), StartOffset::Committed))
                .collect();
            let stage = if stateful {
                self.mend_source_gap(id, &mut mine, &mut places)?;
                let stores = self
                    .topology
                    .stores_of(id)
                    .map(|spec| StoreRestore::new(spec, id, mine.clone()))
                    .collect();
                places.iter_mut().for_each(|place| place.paused = true);
                Stage::Restoring(stores)
            } else {
                Stage::Running(Box::new(self.new_task(id, Vec::new())))
            };
            starts.extend(places);
            let slot = Slot { id, partitions, committed: mine, stage, ends: Vec::new() };
            self.slots.insert(id, slot);
        }
        Ok(starts)
    }

    fn new_task(&self, id: TaskId, stores: Vec<TaskStore>) -> Task {
        Task::new(self.topology.clone(), id, stores, self.host.clone())
    }

    pub(crate) fn is_repartition_topic(&self, topic: &str) -> bool {
        self.topology.sources().iter().any(|s| s.is_repartition() && *s.topic == *topic)
    }

    fn is_changelog_topic(&self, topic: &str) -> bool {
        let mut stores = self.topology.stores().iter();
        stores.any(|store| store.changelog_topic.as_deref() == Some(topic))
    }

    /// A committed offset that retention has deleted (CK-40 to CK-42): the local state goes, and
    /// `committed` becomes the place up to which the changelog counts.
    fn mend_source_gap(
        &mut self,
        id: TaskId,
        committed: &mut SourceOffsets,
        places: &mut [PartitionStart],
    ) -> Result<(), RuntimeError> {
        let known: Vec<TopicPartition> = committed.iter().map(|(p, _)| p.clone()).collect();
        if known.is_empty() {
            return Ok(());
        }
        let marks = self.admin.watermarks(&known, self.config.request_timeout)?;
        let mut state_starts_empty = false;
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
            tracing::error!(
                "{partition}: {lost} record(s) behind the committed offset {offset} were deleted \
                 by retention; the local state is deleted and rebuilt from its changelog"
            );
            for spec in self.topology.stores_of(id) {
                self.storage.destroy(&spec.id(id.partition))?;
            }
        }
        if state_starts_empty {
            *committed = SourceOffsets::new();
        }
        Ok(())
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        tracing::info!("revoked: {}", names(partitions));
        if self.stop.requested() != Some(StopRequest::Failed) {
            let within = self.config.flush_timeout.mul_f64(REVOCATION_SHARE);
            let end = self.make_checkpoint(within.max(Duration::from_secs(5)))?;
            self.after_checkpoint(end)?;
        }
        for slot in self.slots.values_mut() {
            if !slot.partitions.iter().any(|partition| partitions.contains(partition)) {
                continue;
            }
            for partition in &slot.partitions {
                self.purge.forget(partition);
                if let Stage::Running(task) = &mut slot.stage {
                    task.drop_queued(partition);
                }
            }
            if slot.state() == TaskState::Running {
                slot.suspend();
            }
        }
        // A restore that was under way begins anew if the partition comes back: what it wrote is
        // marked as such on disk and is taken up again.
        self.close_slots(|slot| {
            slot.state() == TaskState::Restoring
                && slot.partitions.iter().any(|partition| partitions.contains(partition))
        });
        self.consumer.ack_revoked()?;
        Ok(())
    }

    fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), RuntimeError> {
        tracing::warn!(
            "lost: {}; what was processed of them since the last commit belongs to their next owner",
            names(partitions)
        );
        self.close_slots(|slot| slot.partitions.iter().any(|p| partitions.contains(p)));
        self.consumer.ack_revoked()?;
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

    // --- Restoring ----------------------------------------------------------------------------

    fn restore_turn(&mut self) -> Result<(), RuntimeError> {
        let mut idle = true;
        let mut stores: Vec<&mut StoreRestore> = Vec::new();
        for slot in self.slots.values_mut() {
            match &mut slot.stage {
                Stage::Restoring(restoring) => stores.extend(restoring),
                Stage::Running(task) if task.queued() > 0 => idle = false,
                _ => {}
            }
        }
        if stores.is_empty() {
            return Ok(());
        }
        let reader = match &mut self.restore {
            Some(reader) => reader,
            none => {
                let consumer = self.clients.consumer(&self.config.restore_consumer)?;
                none.insert(RestoreReader::new(consumer))
            }
        };
        let mut context = RestoreContext {
            storage: self.storage.as_ref(),
            admin: self.admin.as_mut(),
            clock: self.clock.as_ref(),
            output: &mut self.output,
            request_timeout: self.config.request_timeout,
        };
        reader.turn(&mut stores, &mut context, if idle { RESTORE_WAIT } else { Duration::ZERO })?;
        self.start_restored()
    }

    /// Starts the tasks whose stores are all where they should be.
    fn start_restored(&mut self) -> Result<(), RuntimeError> {
        let ready: Vec<TaskId> = self
            .slots
            .values()
            .filter(|slot| match &slot.stage {
                Stage::Restoring(stores) => stores.iter().all(StoreRestore::is_ready),
                _ => false,
            })
            .map(|slot| slot.id)
            .collect();
        for id in ready {
            let slot = self.slots.get_mut(&id).expect("found just now");
            let stores = slot.take_stores();
            for store in &stores {
                tracing::debug!("{}: restored", store.store());
            }
            let stores = stores
                .into_iter()
                .map(|store| store.into_store(&self.config.cache))
                .collect::<Result<Vec<_>, _>>()?;
            let partitions = slot.partitions.clone();
            let task = self.new_task(id, stores);
            let slot = self.slots.get_mut(&id).expect("found just now");
            slot.start(task);
            self.consumer.resume(&partitions)?;
            self.limits.active(self.clock.monotonic());
        }
        Ok(())
    }

    // --- Processing ---------------------------------------------------------------------------

    /// Runs tasks until the slice is over or nothing is left, attached to the host if need be.
    fn process(&mut self) -> Result<(), RuntimeError> {
        let work =
            self.slots.values_mut().any(|slot| slot.running().is_some_and(|t| t.queued() > 0));
        let full = self.output.producer.in_flight() > IN_FLIGHT_MAX;
        if !work || full || self.delivery_failure.is_some() {
            return Ok(());
        }
        let before = self.processed;
        let mut outcome = Ok(());
        if self.needs_host {
            let host = self.host.clone();
            host.attach(&mut || outcome = self.run_slice());
        } else {
            outcome = self.run_slice();
        }
        if self.processed > before {
            self.limits.active(self.clock.monotonic());
        }
        outcome
    }

    fn run_slice(&mut self) -> Result<(), RuntimeError> {
        let end = self.clock.monotonic() + self.config.slice;
        loop {
            // The task whose next record is the oldest goes first, up to the next one's.
            let mut first: Option<(TaskId, i64)> = None;
            let mut second = i64::MAX;
            for (id, slot) in &mut self.slots {
                let Some(next) = slot.running().and_then(|task| task.next_timestamp()) else {
                    continue;
                };
                match first {
                    Some((_, lowest)) if next >= lowest => second = second.min(next),
                    Some((_, lowest)) => {
                        second = lowest;
                        first = Some((*id, next));
                    }
                    None => first = Some((*id, next)),
                }
            }
            let Some((id, _)) = first else { return Ok(()) };
            let over = self.run_task(id, second, end)?;
            if over || self.checkpoint_due() || self.limits.count_reached() {
                return Ok(());
            }
        }
    }

    /// Runs one task until its next record is younger than `bound`; true if the slice is over.
    fn run_task(&mut self, id: TaskId, bound: i64, end: Duration) -> Result<bool, RuntimeError> {
        let Self {
            slots,
            output,
            hooks,
            clock,
            stop,
            limits,
            config,
            needs_host,
            records,
            processed,
            ..
        } = self;
        let room = IN_FLIGHT_MAX.saturating_sub(output.producer.in_flight());
        let produced = output.produced.clone();
        let before = produced.get();
        let task = slots.get_mut(&id).and_then(Slot::running).expect("picked among running ones");
        let every = config.checkpoints.every;
        // A user's function may take any time, so the clock is looked at after each record then.
        let look_every = if *needs_host { 1 } else { RUN_RECORDS };
        let (mut over, mut since_look, mut ran_here) = (false, 0, 0);
        task.run_until(output, hooks.as_engine_hooks(), &mut |task, step| {
            let Step::Ran(ran) = step else { return false };
            *records += 1;
            *processed += u64::from(!ran.ignored);
            limits.add_outputs(ran.outputs);
            since_look += 1;
            ran_here += 1;
            if since_look >= look_every {
                since_look = 0;
                over = clock.monotonic() >= end
                    || stop.requested().is_some()
                    || produced.get() - before >= room;
            }
            !over
                && !limits.count_reached()
                && !(every > 0 && task.covered() >= every)
                && (ran_here < RUN_AT_LEAST
                    || task.next_timestamp().is_some_and(|next| next <= bound))
        })?;
        Ok(over)
    }

    fn tick(&mut self) -> Result<(), RuntimeError> {
        let now = self.clock.monotonic();
        if now.saturating_sub(self.ticked) < TICK {
            return Ok(());
        }
        self.ticked = now;
        let wall = self.clock.wall();
        for slot in self.slots.values_mut() {
            let Stage::Running(task) = &mut slot.stage else { continue };
            let caught_up = !self.held
                && task.queued() == 0
                && slot.partitions.iter().all(|partition| {
                    let position = self.consumer.position(partition);
                    slot.ends.iter().any(|(known, end)| {
                        known == partition && position.is_none_or(|at| at == *end)
                    })
                });
            task.tick(wall, caught_up, &mut self.output)?;
        }
        Ok(())
    }

    // --- Checkpoints --------------------------------------------------------------------------

    fn gathered(&mut self, now: Duration) -> Gathered {
        let mut gathered = Gathered {
            open_for: now.saturating_sub(self.checkpoint_opened),
            ..Gathered::default()
        };
        for slot in self.slots.values_mut() {
            if let Some(task) = slot.running() {
                gathered.covered += task.covered();
                gathered.dirty_bytes += task.dirty_bytes();
            }
        }
        gathered
    }

    fn checkpoint_due(&mut self) -> bool {
        let now = self.clock.monotonic();
        let gathered = self.gathered(now);
        if gathered.covered == 0 && gathered.open_for >= self.config.checkpoints.interval {
            // An expired checkpoint that covers nothing is opened anew (CK-02).
            self.checkpoint_opened = now;
        }
        self.config.checkpoints.due(&gathered)
    }

    /// What was processed and is not the group's any more is undone.
    fn after_checkpoint(&mut self, end: CheckpointEnd) -> Result<(), RuntimeError> {
        if end == CheckpointEnd::Complete {
            return Ok(());
        }
        tracing::warn!("the group has gone on without this member; its checkpoint is discarded");
        // Records that were fetched meanwhile are fetched again.
        self.events.retain(|event| {
            !matches!(event, ConsumerEvent::Records(_) | ConsumerEvent::PartitionEnd(..))
        });
        for slot in self.slots.values_mut() {
            let Stage::Running(task) = &mut slot.stage else { continue };
            task.discard()?;
            slot.ends.clear();
            for partition in &slot.partitions {
                let place =
                    slot.committed.get(partition).map_or(StartOffset::Committed, StartOffset::At);
                // The partition may be gone already; then there is nothing to read again.
                if let Err(error) = self.consumer.seek(partition, place) {
                    tracing::debug!("{partition}: not read again from here: {error}");
                }
            }
        }
        Ok(())
    }

    fn last_checkpoint(&mut self) -> Result<(), RuntimeError> {
        let end = self.make_checkpoint(self.config.flush_timeout)?;
        if end == CheckpointEnd::MembershipLost {
            tracing::warn!("the last checkpoint was not committed: the group has gone on");
        }
        // Markers of idle partitions are covered by no offset; they go out all the same.
        let mut events = Vec::new();
        self.output.producer.flush(LAST_FLUSH, &mut events);
        self.output.events.append(&mut events);
        self.handle_producer()?;
        self.purge.run(self.admin.as_mut(), self.clock.monotonic(), true);
        Ok(())
    }

    // --- The producer and the brokers ---------------------------------------------------------

    fn handle_producer(&mut self) -> Result<(), RuntimeError> {
        self.drain_producer()?;
        match self.delivery_failure.take() {
            Some(failure) => Err(RuntimeError::Delivery(failure)),
            None => Ok(()),
        }
    }

    /// Takes what the producer has to report, and asks the callback about failed deliveries.
    pub(crate) fn drain_producer(&mut self) -> Result<Vec<ProducerEvent>, RuntimeError> {
        self.output.producer.poll(&mut self.producer_events);
        self.producer_events.append(&mut self.output.events);
        let events = std::mem::take(&mut self.producer_events);
        for event in &events {
            match event {
                ProducerEvent::DeliveryFailed(failure) => {
                    let suppressed =
                        self.hooks.on_delivery_failure(failure).map_err(RuntimeError::Hook)?;
                    // A lost changelog record would make the state wrong: nothing suppresses it.
                    if !suppressed || self.is_changelog_topic(&failure.topic) {
                        self.delivery_failure.get_or_insert_with(|| failure.clone());
                    }
                }
                ProducerEvent::Error(error) if error.fatal || error.is_authentication() => {
                    let action = "produce".to_owned();
                    return Err(Error::Kafka { action, error: error.clone() }.into());
                }
                ProducerEvent::Error(error) => tracing::warn!("{error}"),
                ProducerEvent::BrokersDown(error) => {
                    tracing::error!("no broker is reachable: {error}");
                    self.availability.all_down(self.clock.monotonic());
                }
                ProducerEvent::BrokersUp => self.availability.reached(),
                _ => {}
            }
        }
        if self.restore.is_some() {
            let mut stores: Vec<&mut StoreRestore> = Vec::new();
            for slot in self.slots.values_mut() {
                if let Stage::Restoring(restoring) = &mut slot.stage {
                    stores.extend(restoring);
                }
            }
            for event in &events {
                RestoreReader::on_producer_event(&mut stores, event, &self.output)?;
            }
        }
        Ok(events)
    }

    pub(crate) fn check_availability(&mut self) -> Result<(), RuntimeError> {
        let now = self.clock.monotonic();
        if self.availability.is_running() && now.saturating_sub(self.probed) > PROBE_EVERY {
            self.probed = now;
            self.consumer.probe();
            self.output.producer.probe();
        }
        match self.availability.exhausted(now) {
            Some(away) => Err(RuntimeError::BrokersUnavailable { away }),
            None => Ok(()),
        }
    }
}

/// Records of one task before another one's older record may go first. Choosing anew costs more
/// than a record; the order between partitions is a preference, not a promise.
const RUN_AT_LEAST: u64 = 32;
/// Records of one task between two looks at the clock.
const RUN_RECORDS: u64 = 64;
/// Between two requests for a sign of life while all brokers are away (E-12).
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Input topics must be there before anyone waits for their records (T-10).
fn check_input_topics(
    admin: &mut dyn Admin,
    topology: &Topology,
    timeout: Duration,
) -> Result<(), RuntimeError> {
    let names: Vec<&str> = topology
        .sources()
        .iter()
        .filter(|source| !source.is_repartition())
        .map(|source| &*source.topic)
        .collect();
    for (name, found) in names.iter().zip(admin.describe_topics(&names, timeout)?) {
        match found {
            Ok(_) => {}
            Err(error) if error.is_topic_missing() => {
                return Err(RuntimeError::TopicMissing { topic: (*name).to_owned() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn names(partitions: &[TopicPartition]) -> String {
    if partitions.is_empty() {
        return "nothing".to_owned();
    }
    partitions.iter().map(TopicPartition::to_string).collect::<Vec<_>>().join(", ")
}
