//! A task: one sub-topology on one partition number.

mod queue;

use std::sync::Arc;

use bytes::Bytes;
use millstream_state::{StateError, Store};
use millstream_types::{Offset, RecordBatch, RecordView, Timestamp, TopicPartition};
use millstream_value::{
    Deserialized, Deserializer, Failure, FailureKind, Headers, Host, MessageField, RecordContext,
    SerializationContext, Value,
};

use crate::error::{RecordError, Stage, TaskError};
use crate::hooks::{Hooks, Row};
use crate::operators::{IDLE_AFTER_MS, Operator};
use crate::output::Output;
use crate::record::Record;
use crate::run::{Reread, Run, TaskState};
use crate::state::{Stores, TaskStore};
use crate::topology::{NodeId, Source, StoreSpec, TaskId, Topology};
use crate::upstream::{Upstream, UpstreamTimes};
use queue::Input;

/// Where a partition stands: what a checkpoint covers of it (CK-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// The partition.
    pub topic_partition: &'a TopicPartition,
    /// First offset that the open checkpoint covers.
    pub first: Offset,
    /// The offset to commit: the last one processed, plus one.
    pub next: Offset,
}

/// What [`Task::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is queued.
    Idle,
    /// It ran a record.
    Ran(Ran),
}

/// A record that was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Records that reached the end of a branch.
    pub outputs: u64,
    /// It never reached an operator: ignored by its deserializer, a suppressed consumer error, a
    /// marker of an idle upstream partition. Such records do not restart timeouts.
    pub ignored: bool,
}

/// A record given as values, see [`Task::inject`].
#[derive(Debug)]
pub struct Injected {
    /// The source topic that it seems to come from.
    pub topic: Arc<str>,
    /// The record.
    pub record: Record,
    /// Where it seems to come from.
    pub context: RecordContext,
}

/// One sub-topology on one partition number, with all that changes while it runs. It runs on one
/// thread at a time, and may move between threads.
///
/// Records are run one at a time, depth first: a record is finished, all its branches included,
/// before the next begins.
pub struct Task {
    id: TaskId,
    topology: Arc<Topology>,
    host: Arc<dyn Host>,
    needs_host: bool,
    inputs: Vec<Input>,
    state: TaskState,
    /// Times behind a group-by. One for all repartition topics of the sub-topology: windows see
    /// the lowest of what reaches them.
    upstream: Option<UpstreamTimes>,
    /// Wall-clock time of the last tick that found new records, ms.
    active_at: Option<Timestamp>,
    /// A record was run since the last tick.
    active: bool,
}

impl Task {
    /// A task at its last checkpoint. `stores` are those of [`Topology::stores_of`], in that
    /// order.
    ///
    /// # Panics
    /// If there are fewer or more stores than the task has.
    pub fn new(
        topology: Arc<Topology>,
        id: TaskId,
        stores: Vec<TaskStore>,
        host: Arc<dyn Host>,
    ) -> Self {
        let specs: Vec<_> = topology.stores_of(id).map(|store| store.index).collect();
        assert_eq!(specs.len(), stores.len(), "a task takes the stores of its sub-topology");
        let stores = Stores::new(topology.stores.len(), specs.into_iter().zip(stores));
        let part = topology.sub_topology(id.sub_topology);
        let mut inputs = Vec::new();
        let mut upstream: Option<UpstreamTimes> = None;
        for at in &part.sources {
            let source = &topology.sources[*at];
            // Without state, a partition that its topic got after the topology was declared is as
            // good as any other.
            if id.partition < source.partitions || part.may_grow(source) {
                let partition = TopicPartition::new(Arc::clone(&source.topic), id.partition);
                inputs.push(Input::new(*at, partition));
            }
            if let Some(partitions) = source.upstream_partitions {
                let known = upstream.as_ref().map_or(0, |times| times.partitions.len() as i32);
                upstream = Some(UpstreamTimes::new(partitions.max(known)));
            }
        }
        let needs_host = part.needs_host;
        let repartition = vec![Default::default(); topology.sink_topics.len()];
        let state = TaskState { stores, repartition, ..TaskState::default() };
        let mut task = Self {
            id,
            topology,
            host,
            needs_host,
            inputs,
            state,
            upstream,
            active_at: None,
            active: true,
        };
        task.restore_upstream();
        task
    }

    /// Which one it is.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The partitions it reads.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.inputs.iter().map(Input::topic_partition)
    }

    /// Whether its operators need the thread attached to the host. [`Task::step`] and
    /// [`Task::run_until`] see to that themselves.
    pub fn needs_host(&self) -> bool {
        self.needs_host
    }

    /// Queues a batch of one of its partitions.
    ///
    /// # Panics
    /// If the batch is of another partition.
    pub fn push(&mut self, batch: RecordBatch) {
        let partition = batch.topic_partition();
        let input = self.inputs.iter_mut().find(|input| input.topic_partition() == partition);
        input.unwrap_or_else(|| panic!("{partition} is not read by this task")).push(batch);
    }

    /// Number of queued records.
    pub fn queued(&self) -> usize {
        self.inputs.iter().map(Input::queued).sum()
    }

    /// Number of queued records of one partition.
    pub fn queued_of(&self, partition: &TopicPartition) -> usize {
        let input = self.inputs.iter().find(|input| input.topic_partition() == partition);
        input.map_or(0, Input::queued)
    }

    /// Bytes of the batches that are queued, those being run included.
    pub fn queued_bytes(&self) -> usize {
        self.inputs.iter().map(Input::queued_bytes).sum()
    }

    /// Timestamp of the record that [`Task::step`] would run, as Kafka has it; -1 where a record
    /// has none.
    pub fn next_timestamp(&self) -> Option<Timestamp> {
        self.next_input().and_then(|at| self.inputs[at].next_timestamp())
    }

    /// The input whose next record has the lowest timestamp; of equals the one declared first.
    fn next_input(&self) -> Option<usize> {
        let waiting = self.inputs.iter().enumerate();
        let times = waiting.filter_map(|(at, input)| Some((input.next_timestamp()?, at)));
        times.min().map(|(_, at)| at)
    }

    /// Runs one consumed record to the end, with all the records that its deserializer makes of
    /// it (T-64).
    ///
    /// # Errors
    /// What no callback suppressed. The task is then in the middle of a record: only
    /// [`Task::discard`] makes it usable again.
    pub fn step(
        &mut self,
        output: &mut dyn Output,
        hooks: &mut dyn Hooks,
    ) -> Result<Step, TaskError> {
        let mut last = Step::Idle;
        self.run_until(output, hooks, &mut |_, step| {
            last = step;
            false
        })?;
        Ok(last)
    }

    /// Runs queued records until there are none, or `proceed` says no; it is asked after each
    /// record with what that did. The thread is attached to the host once for all of them.
    /// Gives the number of records run.
    ///
    /// # Errors
    /// As [`Task::step`]. `proceed` is not asked about the record that failed.
    pub fn run_until(
        &mut self,
        output: &mut dyn Output,
        hooks: &mut dyn Hooks,
        proceed: &mut dyn FnMut(&Task, Step) -> bool,
    ) -> Result<u64, TaskError> {
        if !self.needs_host {
            return self.run_attached(output, hooks, proceed);
        }
        let host = Arc::clone(&self.host);
        let mut outcome = Ok(0);
        host.attach(&mut || outcome = self.run_attached(output, hooks, proceed));
        outcome
    }

    fn run_attached(
        &mut self,
        output: &mut dyn Output,
        hooks: &mut dyn Hooks,
        proceed: &mut dyn FnMut(&Task, Step) -> bool,
    ) -> Result<u64, TaskError> {
        let mut records = 0;
        while let Some(at) = self.next_input() {
            let ran = self.run_one(at, output, hooks)?;
            records += 1;
            if !proceed(self, Step::Ran(ran)) {
                break;
            }
        }
        Ok(records)
    }

    fn run_one(
        &mut self,
        at: usize,
        output: &mut dyn Output,
        hooks: &mut dyn Hooks,
    ) -> Result<Ran, TaskError> {
        self.active = true;
        let topology = &*self.topology;
        let input = &mut self.inputs[at];
        let source = &topology.sources[input.source];
        let offset = input.begin()?;
        let (message, context) = input.message();
        let (headers, upstream) = headers_of(&message, source);
        let low_before = self.upstream.as_ref().map(UpstreamTimes::low);
        if let (Some(upstream), Some(times)) = (upstream, &mut self.upstream) {
            times.observe(upstream);
        }
        let low = self.upstream.as_ref().map(UpstreamTimes::low);
        let mut runner = Runner {
            topology,
            id: self.id,
            state: &mut self.state,
            context,
            host: &*self.host,
            low: low.unwrap_or(Timestamp::MAX),
            output,
            hooks,
            message: Some((message, source)),
        };

        let headers = match upstream {
            Some(upstream) if upstream.idle => None,
            _ => Some(headers),
        };
        let mut message = Some((headers, low > low_before));
        let mut ran = Ok(Ran::default());
        self.host.record(context, &mut || {
            if let Some((headers, released)) = message.take() {
                ran = runner.message(headers, released);
            }
        });
        let ran = ran?;
        self.inputs[at].done(offset);
        Ok(ran)
    }

    /// Runs a record that is given as values, as if it came from a topic (D-60). No position
    /// changes.
    ///
    /// # Errors
    /// As [`Task::step`].
    ///
    /// # Panics
    /// If the task does not read the topic.
    pub fn inject(
        &mut self,
        injected: Injected,
        output: &mut dyn Output,
        hooks: &mut dyn Hooks,
    ) -> Result<Ran, TaskError> {
        let Injected { topic, mut record, context } = injected;
        let topology = &*self.topology;
        let source = self
            .inputs
            .iter()
            .map(|input| &topology.sources[input.source])
            .find(|source| source.topic == topic)
            .unwrap_or_else(|| panic!("\"{topic}\" is not read by this task"));
        let mut runner = Runner {
            topology,
            id: self.id,
            state: &mut self.state,
            context: &context,
            host: &*self.host,
            low: self.upstream.as_ref().map_or(Timestamp::MAX, UpstreamTimes::low),
            output,
            hooks,
            message: None,
        };
        let mut outcome = Ok(0);
        let mut body = || {
            self.host.record(&context, &mut || outcome = runner.record(source, &mut record, 0));
        };
        match self.needs_host {
            true => self.host.attach(&mut body),
            false => body(),
        }
        Ok(Ran { outputs: outcome?, ignored: false })
    }

    /// The positions of the partitions that the open checkpoint covers: also of records that
    /// were ignored, suppressed or filtered (T-51).
    pub fn positions(&self) -> impl Iterator<Item = Position<'_>> {
        self.inputs.iter().filter_map(Input::position)
    }

    /// Number of input offsets that the open checkpoint covers.
    pub fn covered(&self) -> u64 {
        self.positions().map(|position| (position.next - position.first) as u64).sum()
    }

    /// Bytes of state that changed since the last checkpoint.
    pub fn dirty_bytes(&mut self) -> usize {
        self.state.stores.each().map(|(_, store)| store.with(|store| store.dirty_bytes())).sum()
    }

    /// Visits the task's stores, for the steps of a checkpoint: prepare each, write what it
    /// gives to [`StoreSpec::changelog_topic`], and after the offsets are committed commit each.
    /// No record may be run in between (the stores check that).
    pub fn each_store(&mut self, visit: &mut dyn FnMut(&StoreSpec, &mut dyn Store)) {
        self.state.stores.save(self.upstream.as_ref());
        for (index, store) in self.state.stores.each() {
            let spec = &self.topology.stores[index.0 as usize];
            store.with(|store| visit(spec, store));
        }
    }

    /// The checkpoint is complete: the next one starts empty.
    pub fn checkpointed(&mut self) {
        self.inputs.iter_mut().for_each(Input::checkpointed);
    }

    /// Forgets what is queued of a partition: its records will come again, or to someone else.
    pub fn drop_queued(&mut self, partition: &TopicPartition) {
        let inputs = self.inputs.iter_mut();
        inputs.filter(|i| i.topic_partition() == partition).for_each(Input::drop_queued);
    }

    /// Back to the last checkpoint: state, stream times, positions; what is queued is dropped,
    /// and the caller seeks. Also after an error, and after a prepared checkpoint that failed.
    ///
    /// # Errors
    /// If reading the state back fails; the task is of no further use then.
    pub fn discard(&mut self) -> Result<(), StateError> {
        self.inputs.iter_mut().for_each(Input::discard);
        self.state.repartition.fill(Default::default());
        for (_, store) in self.state.stores.each() {
            store.with(|store| store.discard())?;
        }
        self.restore_upstream();
        Ok(())
    }

    fn restore_upstream(&mut self) {
        if let Some(times) = &mut self.upstream {
            *times = UpstreamTimes::new(times.partitions.len() as i32);
            self.state.stores.restore_upstream(times);
        }
    }

    /// Tells the task the wall-clock time; call it several times a second. `caught_up`: it has
    /// nothing queued, and nothing is left to fetch of its partitions. A task in front of a
    /// group-by that was so for [`IDLE_AFTER_MS`] tells the windows behind it, once.
    ///
    /// # Errors
    /// If the producer refuses a marker.
    pub fn tick(
        &mut self,
        now_ms: Timestamp,
        caught_up: bool,
        output: &mut dyn Output,
    ) -> Result<(), TaskError> {
        let active = std::mem::replace(&mut self.active, false);
        if active || !caught_up || self.queued() > 0 {
            self.active_at = Some(now_ms);
            return Ok(());
        }
        // A clock that was set back starts the wait anew.
        let since = self.active_at.get_or_insert(now_ms);
        *since = (*since).min(now_ms);
        if now_ms - *since < IDLE_AFTER_MS {
            return Ok(());
        }
        for id in &self.topology.sub_topology(self.id.sub_topology).repartition_sinks {
            let Operator::Repartition(sink) = &*self.topology.nodes[id.at()].operator else {
                unreachable!("the builder listed repartition sinks only");
            };
            let time = &mut self.state.repartition[sink.sink.0 as usize];
            sink.mark_idle(self.id.partition, time, output)
                .map_err(|refusal| TaskError::Produce(refusal.message))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("id", &self.id).field("queued", &self.queued()).finish()
    }
}

/// What one message is run with, besides its record.
struct Runner<'a> {
    topology: &'a Topology,
    id: TaskId,
    state: &'a mut TaskState,
    context: &'a RecordContext,
    host: &'a dyn Host,
    low: Timestamp,
    output: &'a mut dyn Output,
    hooks: &'a mut dyn Hooks,
    /// `None` for an injected record.
    message: Option<(RecordView<'a>, &'a Source)>,
}

impl Runner<'_> {
    /// Runs a consumed message with all that it brings: the records that its deserializer makes of
    /// it, and the windows that were held back until now, if `released`. `None` for headers: a
    /// marker of an idle upstream partition, which is no record.
    fn message(&mut self, headers: Option<Headers>, released: bool) -> Result<Ran, TaskError> {
        let (message, source) = self.message.expect("it is consumed, not injected");
        let mut ran = Ran::default();
        match headers.map(|headers| read(&message, source, headers)) {
            Some(Ok(Read::One(mut record))) => {
                ran.outputs += self.record(source, &mut record, 0)?;
            }
            Some(Ok(Read::Many(records))) => {
                for (item, mut record) in records.into_iter().enumerate() {
                    ran.outputs += self.record(source, &mut record, item)?;
                }
            }
            Some(Ok(Read::Ignore)) | None => ran.ignored = true,
            Some(Err(failure)) => {
                self.consumer_error(failure, &message, source)?;
                ran.ignored = true;
            }
        }
        if released {
            ran.outputs += self.release()?;
        }
        if !ran.ignored {
            let TopicPartition { topic, partition } = &self.context.topic_partition;
            let told = self.hooks.on_message_processed(topic, *partition, self.context.offset);
            told.map_err(TaskError::Hook)?;
        }
        Ok(ran)
    }

    /// Runs a record through everything behind a source.
    fn record(
        &mut self,
        source: &Source,
        record: &mut Record,
        item: usize,
    ) -> Result<u64, TaskError> {
        self.run(item, source.root, |run| {
            let root = &run.topology.nodes[source.root.at()];
            run.forward(root, record)
        })
    }

    /// Lets go of windows that were held back by a slower upstream partition.
    fn release(&mut self) -> Result<u64, TaskError> {
        let topology = self.topology;
        let mut outputs = 0;
        for id in &topology.sub_topology(self.id.sub_topology).windows {
            let node = &topology.nodes[id.at()];
            let Operator::Window(window) = &*node.operator else {
                unreachable!("the builder listed windows only");
            };
            if window.grouped {
                outputs += self.run(0, *id, |run| window.release(node, run))?;
            }
        }
        Ok(outputs)
    }

    /// Runs `body` and asks about its error (E-02). Gives the number of outputs.
    fn run(
        &mut self,
        item: usize,
        at: NodeId,
        body: impl FnOnce(&mut Run<'_>) -> Result<(), Failure>,
    ) -> Result<u64, TaskError> {
        let message = self.message;
        let reread = move || {
            let (message, source) = message?;
            reread(&message, source, item)
        };
        let mut run = Run {
            topology: self.topology,
            partition: self.id.partition,
            state: &mut *self.state,
            context: self.context,
            wants_leaves: self.output.wants_leaves(),
            output: &mut *self.output,
            hooks: &mut *self.hooks,
            host: self.host,
            reread: &reread,
            low: self.low,
            outputs: 0,
            failed_at: None,
            verdict: None,
        };
        let outcome = body(&mut run);
        let Run { outputs, failed_at, verdict, .. } = run;
        if let Some(verdict) = verdict {
            return Err(verdict);
        }
        if let Err(failure) = outcome {
            let operator = &self.topology.nodes[failed_at.unwrap_or(at).at()].name;
            self.processing_error(failure, operator, &reread)?;
        }
        Ok(outputs)
    }

    #[cold]
    fn processing_error(
        &mut self,
        failure: Failure,
        operator: &Arc<str>,
        reread: &Reread<'_>,
    ) -> Result<(), TaskError> {
        let mut error = self.record_error(Stage::Process, failure, operator);
        // An interrupt is no error of the record: nobody is asked.
        if error.failure.kind != FailureKind::Interrupt {
            let row = Row { record: reread(), context: self.context };
            if self.hooks.on_processing_error(&mut error, row).map_err(TaskError::Hook)? {
                return Ok(());
            }
        }
        Err(TaskError::Record(Box::new(error)))
    }

    #[cold]
    fn consumer_error(
        &mut self,
        failure: Failure,
        message: &RecordView<'_>,
        source: &Source,
    ) -> Result<(), TaskError> {
        let operator = &self.topology.nodes[source.root.at()].name;
        let mut error = self.record_error(Stage::Consume, failure, operator);
        if error.failure.kind != FailureKind::Interrupt
            && self.hooks.on_consumer_error(&mut error, *message).map_err(TaskError::Hook)?
        {
            return Ok(());
        }
        Err(TaskError::Record(Box::new(error)))
    }

    fn record_error(&self, stage: Stage, failure: Failure, operator: &Arc<str>) -> RecordError {
        RecordError {
            stage,
            failure,
            topic_partition: self.context.topic_partition.clone(),
            offset: self.context.offset,
            operator: Arc::clone(operator),
        }
    }
}

/// What became of a message.
enum Read {
    Ignore,
    One(Record),
    Many(Vec<Record>),
}

/// The headers as users see them, and what a group-by wrote in front of them.
fn headers_of(message: &RecordView<'_>, source: &Source) -> (Headers, Option<Upstream>) {
    let view = message.headers();
    if view.is_empty() {
        return (Headers::none(), None);
    }
    let upstream = if source.is_repartition() { Upstream::decode(view) } else { None };
    let headers = match upstream {
        Some(_) => Upstream::strip(&message.headers_bytes(), view.len()),
        None => Headers::new(message.headers_bytes(), view.len()),
    };
    (headers, upstream)
}

/// Deserializes a message (T-05, T-07, T-51, T-64).
fn read(message: &RecordView<'_>, source: &Source, headers: Headers) -> Result<Read, Failure> {
    let deserialize = |deserializer: &dyn Deserializer, bytes: Option<Bytes>, field| match bytes {
        // Null keys and tombstones do not meet a deserializer.
        None => Ok(Deserialized::One(Value::Null)),
        Some(bytes) => {
            let context = SerializationContext { topic: &source.topic, field, headers: &headers };
            deserializer.deserialize(bytes, &context)
        }
    };
    let key = deserialize(&*source.key_deserializer, message.key_bytes(), MessageField::Key)?;
    let key = match key {
        Deserialized::One(key) => key,
        Deserialized::Ignore => return Ok(Read::Ignore),
        Deserialized::Many(_) => {
            return Err(Failure::new(
                FailureKind::Serialization,
                "a key deserializer cannot split records; use it for values",
            ));
        }
    };
    let value =
        deserialize(&*source.value_deserializer, message.value_bytes(), MessageField::Value)?;
    let record = |key: Value, mut value: Value, headers: Headers| {
        let timestamp = match &source.timestamp_extractor {
            None => message.timestamp(),
            Some(extractor) => extractor.extract(
                &mut value,
                &headers,
                message.timestamp(),
                message.timestamp_type(),
            )?,
        };
        Ok::<_, Failure>(Record { value, key, timestamp, headers })
    };
    Ok(match value {
        Deserialized::Ignore => Read::Ignore,
        Deserialized::One(value) => Read::One(record(key, value, headers)?),
        Deserialized::Many(values) => {
            let records = values.into_iter().map(|v| record(key.share(), v, headers.clone()));
            Read::Many(records.collect::<Result<_, _>>()?)
        }
    })
}

/// The record once more, for an error callback: what it was before operators worked on it.
fn reread(message: &RecordView<'_>, source: &Source, item: usize) -> Option<Record> {
    let (headers, _) = headers_of(message, source);
    match read(message, source, headers).ok()? {
        Read::One(record) => Some(record),
        Read::Many(records) => records.into_iter().nth(item),
        Read::Ignore => None,
    }
}
