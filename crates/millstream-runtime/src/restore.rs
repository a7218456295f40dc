//! Reads changelogs until the stores of a task stand where the committed offsets are.
//!
//! Background work of the worker: it polls a consumer of no group between two slices of
//! processing, so that tasks that are ready run while others restore (design: `Assigned →
//! Restoring → Running`). What to read and what to do with it is the state crate's decision
//! ([`millstream_state::RestorePlan`], [`Restorer`]); this file opens, polls, seeks and reports.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{StoreMedium, StoreSpec, TaskId, TaskStore};
use millstream_kafka::{
    Admin, Consumer, ConsumerEvent, FlushId, PartitionStart, ProducerEvent, StartOffset,
};
use millstream_state::restore::{
    ChangelogRange, RestoreFacts, RestorePlan, RestoreStep, Restorer, plan,
};
use millstream_state::{
    Backend, CacheSettings, MemoryStorage, SourceOffsets, StateError, Storage, StoreId,
    StoreLayout, StoreMark,
};
use millstream_types::{Clock, Offset, TopicPartition};

use crate::RuntimeError;
use crate::output::ProducerOutput;
use crate::rebalance::may_pass;

/// Between two tries to open a store that another process has (ST-22).
const LOCK_RETRY: Duration = Duration::from_millis(200);
/// Between two reports of a long restore (CK-31).
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Kafka's default of `delete.retention.ms`, which changelog topics have.
const DELETE_RETENTION_MS: i64 = 24 * 3_600_000;

/// One store partition on its way.
pub(crate) struct StoreRestore {
    spec: StoreSpec,
    store: StoreId,
    layout: StoreLayout,
    changelog: Option<TopicPartition>,
    committed: SourceOffsets,
    /// What is on disk is to be deleted first (CK-42).
    destroy_first: bool,
    phase: Phase,
}

enum Phase {
    /// To be opened at that time; tried before if a holder was named.
    Opening { at: Duration, told: bool },
    /// Open; what it needs is not known yet.
    Opened(Arc<dyn Backend>),
    /// Reading its changelog.
    Reading(Box<Restorer>),
    /// Reading is done, what was written again is on its way.
    Rewriting { restorer: Box<Restorer>, flush: FlushId },
    /// Stands where the committed offsets are.
    Ready(Arc<dyn Backend>),
}

impl StoreRestore {
    pub(crate) fn new(
        spec: &StoreSpec,
        task: TaskId,
        committed: SourceOffsets,
        destroy_first: bool,
    ) -> Self {
        Self {
            spec: spec.clone(),
            store: spec.id(task.partition),
            layout: *spec.layout(),
            changelog: spec
                .changelog_topic
                .as_ref()
                .map(|topic| TopicPartition::new(topic.clone(), task.partition)),
            committed,
            destroy_first,
            phase: Phase::Opening { at: Duration::ZERO, told: false },
        }
    }

    pub(crate) fn store(&self) -> &StoreId {
        &self.store
    }

    /// Whether its changelog is being read. Waiting for another process's lock is no progress.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Reading(_) | Phase::Rewriting { .. })
    }

    /// Whether values that it wrote to its changelog may still be on their way.
    pub(crate) fn has_written(&self) -> bool {
        match &self.phase {
            Phase::Reading(restorer) => restorer.has_rewritten(),
            Phase::Rewriting { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Opens the store over its backend.
    ///
    /// # Panics
    /// If it is not ready.
    pub(crate) fn into_store(self, cache: &CacheSettings) -> Result<TaskStore, StateError> {
        let Phase::Ready(backend) = self.phase else { panic!("{} is not ready", self.store) };
        self.spec.open(self.store.partition, backend, cache)
    }

    fn wants(&self) -> Option<(&TopicPartition, Offset)> {
        match &self.phase {
            Phase::Reading(restorer) => match restorer.step() {
                RestoreStep::Read { from, .. } => Some((self.changelog.as_ref()?, from)),
                RestoreStep::Finish => None,
            },
            _ => None,
        }
    }
}

/// What a restore needs of the worker.
pub(crate) struct RestoreContext<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) admin: &'a mut dyn Admin,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) output: &'a mut ProducerOutput,
    pub(crate) request_timeout: Duration,
}

/// The consumer that reads changelogs, and where it stands.
pub(crate) struct RestoreReader {
    consumer: Box<dyn Consumer>,
    /// What is assigned, and the offset that comes next of each.
    next: HashMap<TopicPartition, Offset>,
    events: Vec<ConsumerEvent>,
    reported: Duration,
    records_reported: u64,
    started: Option<Duration>,
    /// Since when the brokers do not say how far changelogs reach.
    unanswered_since: Option<Duration>,
}

impl RestoreReader {
    pub(crate) fn new(consumer: Box<dyn Consumer>) -> Self {
        Self {
            consumer,
            next: HashMap::new(),
            events: Vec::new(),
            reported: Duration::ZERO,
            records_reported: 0,
            started: None,
            unanswered_since: None,
        }
    }

    /// One turn for all stores that are on their way. Waits at most `wait` for records.
    pub(crate) fn turn(
        &mut self,
        stores: &mut [&mut StoreRestore],
        context: &mut RestoreContext<'_>,
        wait: Duration,
    ) -> Result<(), RuntimeError> {
        let now = context.clock.monotonic();
        self.started.get_or_insert(now);
        for store in stores.iter_mut() {
            open(store, context, now)?;
        }
        // From the last turn that got an answer.
        let patience = *self.unanswered_since.get_or_insert(now) + 2 * context.request_timeout;
        plan_opened(stores, context, patience)?;
        if !stores.iter().any(|store| matches!(store.phase, Phase::Opened(_))) {
            self.unanswered_since = None;
        }
        for store in stores.iter_mut() {
            finish(store, context)?;
        }
        self.assign(stores)?;
        if !self.next.is_empty() {
            self.read(stores, context, wait)?;
        }
        self.report(stores, now);
        if stores.iter().all(|store| store.is_ready()) {
            self.started = None;
            self.records_reported = 0;
        }
        Ok(())
    }

    /// Tells the restores whose rewritten values were waited for.
    pub(crate) fn on_producer_event(
        stores: &mut [&mut StoreRestore],
        event: &ProducerEvent,
        output: &ProducerOutput,
    ) -> Result<(), RuntimeError> {
        let ProducerEvent::FlushDone { id, failed } = event else { return Ok(()) };
        for store in stores.iter_mut() {
            let Phase::Rewriting { flush, .. } = &store.phase else { continue };
            if flush != id {
                continue;
            }
            if *failed > 0 {
                return Err(StateError::Backend {
                    action: "writing committed values to the changelog again",
                    detail: format!("{failed} record(s) were not delivered"),
                }
                .into());
            }
            let Phase::Rewriting { restorer, .. } = std::mem::replace(
                &mut store.phase,
                Phase::Opening { at: Duration::MAX, told: true },
            ) else {
                unreachable!("looked at above");
            };
            let partition = store.changelog.as_ref().expect("what is rewritten has a changelog");
            let position = output.changelog_position(partition);
            store.phase = Phase::Ready(restorer.complete(position)?);
        }
        Ok(())
    }

    /// Reads exactly what is wanted, each from where it is wanted.
    fn assign(&mut self, stores: &[&mut StoreRestore]) -> Result<(), RuntimeError> {
        let wanted: HashMap<TopicPartition, Offset> = stores
            .iter()
            .filter_map(|store| store.wants())
            .map(|(partition, from)| (partition.clone(), from))
            .collect();
        let same = wanted.len() == self.next.len()
            && wanted.keys().all(|partition| self.next.contains_key(partition));
        if same {
            for (partition, from) in &wanted {
                if self.next[partition] != *from {
                    self.consumer.seek(partition, StartOffset::At(*from))?;
                }
            }
        } else {
            let starts: Vec<PartitionStart> = wanted
                .iter()
                .map(|(partition, from)| {
                    PartitionStart::new(partition.clone(), StartOffset::At(*from))
                })
                .collect();
            self.consumer.assign(&starts)?;
        }
        self.next = wanted;
        Ok(())
    }

    fn read(
        &mut self,
        stores: &mut [&mut StoreRestore],
        context: &mut RestoreContext<'_>,
        wait: Duration,
    ) -> Result<(), RuntimeError> {
        self.consumer.poll(wait, &mut self.events);
        // A store that wants another place next has no use for what else was fetched with it.
        let mut moved: HashSet<TopicPartition> = HashSet::new();
        for event in self.events.drain(..) {
            let (partition, next) = match &event {
                ConsumerEvent::Records(batch) => {
                    let last = batch.get(batch.len() - 1).offset();
                    (batch.topic_partition().clone(), last + 1)
                }
                ConsumerEvent::PartitionEnd(partition, end) => (partition.clone(), *end),
                ConsumerEvent::PartitionError(partition, error) if !error.retriable => {
                    return Err(RuntimeError::Consumer {
                        partition: Some(partition.clone()),
                        error: error.clone(),
                    });
                }
                ConsumerEvent::Error(error) if error.fatal || error.is_authentication() => {
                    return Err(RuntimeError::Consumer { partition: None, error: error.clone() });
                }
                _ => continue,
            };
            if moved.contains(&partition) {
                continue;
            }
            let Some(store) =
                stores.iter_mut().find(|store| store.changelog.as_ref() == Some(&partition))
            else {
                continue;
            };
            let Phase::Reading(restorer) = &mut store.phase else { continue };
            // Ends of transactions and gaps of compaction count too (CK-34): the position says so.
            let records = match &event {
                ConsumerEvent::Records(batch) => Some(batch),
                _ => None,
            };
            restorer.feed(records, next)?;
            let rewrites = restorer.take_rewrites();
            for op in rewrites.iter() {
                context.output.write_changelog(&partition, op.record_key, op.value)?;
            }
            match restorer.step() {
                RestoreStep::Read { from, .. } if from == next => {
                    self.next.insert(partition, next);
                }
                _ => {
                    // Remembered as somewhere else, so that the next turn seeks or lets go.
                    self.next.insert(partition.clone(), next);
                    moved.insert(partition);
                }
            }
        }
        Ok(())
    }

    /// Says every ten seconds how far it is (CK-31).
    fn report(&mut self, stores: &[&mut StoreRestore], now: Duration) {
        let since = now.saturating_sub(self.reported.max(self.started.unwrap_or(now)));
        if since < REPORT_EVERY {
            return;
        }
        let (mut records, mut left) = (0, 0);
        for store in stores {
            if let Phase::Reading(restorer) = &store.phase {
                let progress = restorer.progress();
                records += progress.records;
                left += progress.to - progress.position;
            }
        }
        let rate = records.saturating_sub(self.records_reported) as f64 / since.as_secs_f64();
        let eta = if rate > 0.0 { left as f64 / rate } else { f64::INFINITY };
        tracing::info!(
            "restoring {} store partition(s): {records} records applied, {rate:.0}/s, about {left} \
             to go{}",
            stores.iter().filter(|store| !store.is_ready()).count(),
            if eta.is_finite() { format!(", {eta:.0} s") } else { String::new() },
        );
        self.reported = now;
        self.records_reported = records;
    }
}

fn open(
    restore: &mut StoreRestore,
    context: &mut RestoreContext<'_>,
    now: Duration,
) -> Result<(), RuntimeError> {
    let Phase::Opening { at, told } = restore.phase else { return Ok(()) };
    if now < at {
        return Ok(());
    }
    let storage = match restore.spec.medium {
        StoreMedium::Disk => context.storage,
        StoreMedium::Memory => &MemoryStorage,
    };
    match open_backend(restore, storage) {
        Ok(backend) => restore.phase = Phase::Opened(backend),
        Err(error @ StateError::Locked { .. }) => {
            if !told {
                tracing::warn!("waiting: {error}");
            }
            restore.phase = Phase::Opening { at: now + LOCK_RETRY, told: true };
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn open_backend(
    restore: &mut StoreRestore,
    storage: &dyn Storage,
) -> Result<Arc<dyn Backend>, StateError> {
    if restore.destroy_first {
        storage.destroy(&restore.store)?;
        restore.destroy_first = false;
    }
    match storage.open(&restore.store, &restore.layout) {
        // ST-23: what is damaged comes back from the changelog.
        Err(error @ StateError::Corrupted { .. })
            if restore.changelog.is_some() && storage.recreates_corrupted() =>
        {
            tracing::error!("{error}; it is deleted and rebuilt from its changelog");
            storage.destroy(&restore.store)?;
            storage.open(&restore.store, &restore.layout)
        }
        outcome => outcome,
    }
}

/// Decides what the opened stores need, with one look at their changelogs together.
fn plan_opened(
    stores: &mut [&mut StoreRestore],
    context: &mut RestoreContext<'_>,
    patience: Duration,
) -> Result<(), RuntimeError> {
    let changelogs: Vec<TopicPartition> = stores
        .iter()
        .filter(|store| matches!(store.phase, Phase::Opened(_)))
        .filter_map(|store| store.changelog.clone())
        .collect();
    let marks = if changelogs.is_empty() {
        Vec::new()
    } else {
        match context.admin.watermarks(&changelogs, context.request_timeout) {
            Ok(marks) => marks,
            // A leader that moves: asked again in the next turn, while polling goes on.
            Err(error) if may_pass(&error) && context.clock.monotonic() < patience => {
                tracing::warn!("the changelogs cannot be looked up yet: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    };
    let ranges: HashMap<&TopicPartition, ChangelogRange> = changelogs
        .iter()
        .zip(marks)
        .map(|(partition, mark)| (partition, ChangelogRange { low: mark.low, high: mark.high }))
        .collect();
    for restore in stores.iter_mut() {
        let Phase::Opened(backend) = &restore.phase else { continue };
        let backend = backend.clone();
        let local = backend.mark()?;
        let now_ms = context.clock.wall();
        let plan = plan(&RestoreFacts {
            store: &restore.store,
            local: &local,
            changelog: restore.changelog.as_ref().map(|partition| ranges[partition]),
            committed: &restore.committed,
            now_ms,
            delete_retention_ms: DELETE_RETENTION_MS,
        })?;
        log_plan(&restore.store, &local, &plan);
        let restorer = Restorer::new(
            restore.store.clone(),
            restore.layout,
            backend.clone(),
            &plan,
            restore.committed.clone(),
            now_ms,
        )?;
        restore.phase = match restorer {
            None => Phase::Ready(backend),
            Some(restorer) => Phase::Reading(Box::new(restorer)),
        };
    }
    Ok(())
}

fn log_plan(store: &StoreId, local: &StoreMark, plan: &RestorePlan) {
    match plan {
        RestorePlan::UpToDate => tracing::debug!("{store}: the local state is up to date"),
        RestorePlan::Replay { from, to } => {
            tracing::info!("{store}: replaying {} changelog record(s)", to - from);
        }
        RestorePlan::Rebuild { from, to, reason } if *local == StoreMark::Empty => {
            tracing::info!("{store}: restoring from {} changelog record(s): {reason}", to - from);
        }
        RestorePlan::Rebuild { from, to, reason } => {
            tracing::warn!("{store}: rebuilding from {} changelog record(s): {reason}", to - from);
        }
    }
}

/// Ends a restore that has read everything; one that wrote values again waits for their delivery.
fn finish(
    restore: &mut StoreRestore,
    context: &mut RestoreContext<'_>,
) -> Result<(), RuntimeError> {
    let done = matches!(&restore.phase, Phase::Reading(r) if r.step() == RestoreStep::Finish);
    if !done {
        return Ok(());
    }
    let Phase::Reading(mut restorer) =
        std::mem::replace(&mut restore.phase, Phase::Opening { at: Duration::MAX, told: true })
    else {
        unreachable!("looked at above");
    };
    if let Some(partition) = &restore.changelog {
        for op in restorer.take_rewrites().iter() {
            context.output.write_changelog(partition, op.record_key, op.value)?;
        }
        if let Some(marker) = restorer.marker() {
            let record = marker.record();
            context.output.write_changelog(partition, record.key, record.value)?;
            let flush = context.output.producer.begin_flush();
            restore.phase = Phase::Rewriting { restorer, flush };
            return Ok(());
        }
    }
    restore.phase = Phase::Ready(restorer.complete(None)?);
    Ok(())
}
