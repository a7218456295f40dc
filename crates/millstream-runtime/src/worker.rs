//! The loop: poll, process, look up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{Step, TaskId, Topology};
use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Consumer, ConsumerEvent, DeliveryFailure, ProducerEvent,
    code,
};
use millstream_state::Storage;
use millstream_types::{Clock, RecordBatch, TopicPartition};
use millstream_value::Host;

use crate::assignment::{Slot, Stage, TaskState};
use crate::availability::Availability;
use crate::checkpoint::Gathered;
use crate::commit::{CheckpointEnd, Patience};
use crate::limits::LimitTracker;
use crate::output::ProducerOutput;
use crate::purge::Purge;
use crate::rebalance::{PendingAssignment, source_topics};
use crate::restore::{RestoreContext, RestoreReader, StoreRestore};
use crate::{
    RunConfig, RunHooks, RunParams, RuntimeError, StopHandle, StopReason, StopRequest,
    internal_topics,
};

/// Time for leaving the group at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for what is on its way to be delivered when a run ends with nothing to commit.
const LAST_FLUSH: Duration = Duration::from_secs(30);
/// A wait for records while stores restore.
const RESTORE_WAIT: Duration = Duration::from_millis(50);
/// How often tasks are told the time.
const TICK: Duration = Duration::from_millis(250);
/// Records on their way to brokers above which no further record is begun. Several times what a
/// round trip to a cluster needs at full speed; four times as many cost a tenth more CPU, for memory
/// that is new instead of memory that is warm (measured, docs/design/0003).
const IN_FLIGHT_MAX: u64 = 20_000;
/// Records of one task before another one's older record may go first. Choosing anew costs more
/// than a record; the order between partitions is a preference, not a promise.
const RUN_AT_LEAST: u64 = 32;
/// Records of one task between two looks at the clock.
const RUN_RECORDS: u64 = 64;

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
    pub(crate) hooks: &'a mut dyn RunHooks,
    storage: Arc<dyn Storage>,
    pub(crate) clients: &'a dyn ClientFactory,
    pub(crate) stop: StopHandle,
    pub(crate) consumer: Box<dyn Consumer>,
    pub(crate) output: ProducerOutput,
    pub(crate) admin: Box<dyn Admin>,
    pub(crate) restore: Option<RestoreReader>,
    pub(crate) slots: BTreeMap<TaskId, Slot>,
    /// An assignment that could not be taken yet.
    pub(crate) pending: Option<PendingAssignment>,
    /// Reported and not handled yet.
    pub(crate) events: Vec<ConsumerEvent>,
    pub(crate) producer_events: Vec<ProducerEvent>,
    /// A failed delivery that no callback suppressed.
    pub(crate) delivery_failure: Option<DeliveryFailure>,
    pub(crate) availability: Availability,
    pub(crate) limits: LimitTracker,
    pub(crate) purge: Purge,
    pub(crate) checkpoint_opened: Duration,
    ticked: Duration,
    pub(crate) probed: Duration,
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
        let mut producer = clients.producer(&producer_config(&topology, &config.producer))?;
        producer.set_waker(consumer.waker());
        let output = ProducerOutput::new(producer, topology.sink_topics(), leaves)?;
        consumer.subscribe(&source_topics(&topology))?;
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
            pending: None,
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
            if !matches!(outcome, Err(RuntimeError::BrokersUnavailable { .. })) {
                // Changelog entries of a checkpoint that failed may be on their way. They must not
                // arrive behind those of the next owner, so the locks are kept until then; what
                // went wrong first is what the caller learns.
                let _ = self.settle();
            }
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
        self.take_pending()?;
        self.handle_producer()?;
        self.restore_turn()?;
        self.process()?;
        self.tick()?;
        if self.checkpoint_due() {
            match self.make_checkpoint(Patience::OrFail(self.config.flush_timeout))? {
                CheckpointEnd::Complete => {}
                end => self.give_up_checkpoint(end)?,
            }
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
        if let Some(at) = self.pending_at() {
            wait = wait.min(at.saturating_sub(now));
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
            ConsumerEvent::Assigned(partitions) => self.on_assigned(partitions)?,
            ConsumerEvent::Revoked(partitions) => self.on_revoked(&partitions)?,
            ConsumerEvent::Lost(partitions) => self.on_lost(&partitions)?,
            ConsumerEvent::PartitionError(partition, error) => {
                self.consumer_error(Some(partition), error)?;
            }
            ConsumerEvent::Error(error)
                if error.retriable && !error.fatal || error.code == code::MAX_POLL_EXCEEDED =>
            {
                // The second kind is followed by `Lost`, which says what there is to do.
                tracing::warn!("{error}");
            }
            ConsumerEvent::Error(error) => self.consumer_error(None, error)?,
            ConsumerEvent::BrokersDown(error) => {
                tracing::error!("no broker is reachable: {error}");
                self.availability.all_down(self.clock.monotonic());
            }
            ConsumerEvent::BrokersUp => self.availability.reached(),
            ConsumerEvent::Statistics(json) => {
                self.hooks.on_consumer_statistics(&json).map_err(RuntimeError::Hook)?;
            }
            // Answers to checkpoints that were given up, tokens of a source that the
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
        if reader.is_unanswered() {
            self.renew_admin()?;
        }
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
            let due = every > 0 && task.covered() >= every;
            !over
                && !due
                && !limits.count_reached()
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

    fn last_checkpoint(&mut self) -> Result<(), RuntimeError> {
        let end = self.make_checkpoint(Patience::OrFail(self.config.flush_timeout))?;
        if end != CheckpointEnd::Complete {
            tracing::warn!("the last checkpoint was not committed: {end}");
        }
        // Markers of idle partitions are covered by no offset; they go out all the same.
        let mut events = Vec::new();
        self.output.producer.flush(LAST_FLUSH, &mut events);
        self.output.events.append(&mut events);
        self.handle_producer()?;
        self.purge.run(self.admin.as_mut(), self.clock.monotonic(), true);
        Ok(())
    }
}

/// The producer's settings. The changelogs' markers must come behind the entries they cover,
/// also when a batch is sent again, so with state the user cannot switch idempotence off.
fn producer_config(topology: &Topology, config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    let on =
        |name: &str| config.properties.get(name).is_none_or(|v| v.eq_ignore_ascii_case("true"));
    if topology.stores().iter().any(|store| store.changelog_topic.is_some())
        && !on("enable.idempotence")
    {
        tracing::warn!(
            "enable.idempotence=false is left out: the changelogs of stateful steps need their \
             records in order"
        );
        config.properties.set("enable.idempotence", "true");
        if config.properties.get("acks").is_some() {
            config.properties.set("acks", "all");
        }
    }
    config
}

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
