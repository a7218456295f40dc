//! The driver.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_engine::{
    Hooks, Injected, Leaf, LogHooks, Output, OutputRecord, ProduceFailure, Ran, Record, Step, Task,
    TaskError, TaskId, Topology,
};
use millstream_state::{Backend, CacheSettings, MemoryBudget, SourceOffsets, StateError, StoreId};
use millstream_types::{HeadersView, Offset, Timestamp, TopicPartition, encode_header};
use millstream_value::{Headers, Host, InlineHost, RecordContext, Value};

use crate::logs::{LogRecord, Logs};
use crate::partition_of;

/// What a driver's calls can end in.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A record that no hook suppressed. The driver may go on after [`TopologyTestDriver::crash`].
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A store.
    #[error(transparent)]
    State(#[from] StateError),
    /// A topic or partition that the topology does not read.
    #[error("{0} is not read by this topology")]
    NoSource(TopicPartition),
}

/// What becomes of outputs of the open checkpoint when the driver crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// They stay, and come again (CK-08).
    AtLeastOnce,
    /// They vanish with their transaction, also from repartition topics (CK-10).
    ExactlyOnce,
}

/// Where in a checkpoint a crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Outputs, changelog entries and markers are written; the offsets are not committed.
    AfterChangelog,
    /// The offsets are committed; no local store is written.
    AfterCommit,
}

/// A record for a source topic.
#[derive(Clone, Debug, Default)]
pub struct TestRecord {
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// Event time, ms.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl TestRecord {
    /// A record with key and value, both as bytes.
    pub fn new(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, timestamp: Timestamp) -> Self {
        Self {
            key: Some(key.as_ref().to_vec()),
            value: Some(value.as_ref().to_vec()),
            timestamp,
            headers: Vec::new(),
        }
    }
}

/// A record that the topology produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, where the topology wanted a certain one.
    pub partition: Option<i32>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// Event time, ms.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record that reached the end of a branch (A-53, D-60).
#[derive(Debug)]
pub struct LeafRecord {
    /// Its value.
    pub value: Value,
    /// Its key.
    pub key: Value,
    /// Its timestamp, ms.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
    /// Where the input record came from.
    pub context: RecordContext,
}

/// Runs a topology without Kafka.
///
/// ```
/// # use std::sync::Arc;
/// # use millstream_engine::topics::TopicConfig;
/// # use millstream_engine::{SourceSpec, TopologyBuilder};
/// # use millstream_value::*;
/// # struct Plain;
/// # impl Deserializer for Plain {
/// #     fn deserialize(&self, b: bytes::Bytes, _: &SerializationContext<'_>) -> Result<Deserialized, Failure> {
/// #         Ok(Deserialized::One(Value::json(b).expect("valid")))
/// #     }
/// # }
/// # let source = SourceSpec {
/// #     topic: "orders".into(), config: TopicConfig::new(1), timestamp_extractor: None,
/// #     key_deserializer: Arc::new(Plain), value_deserializer: Arc::new(Plain),
/// # };
/// use millstream_testing::{TestRecord, TopologyTestDriver};
///
/// let mut builder = TopologyBuilder::new("shop");
/// let orders = builder.source(source)?;
/// let large = Expr::binary(BinaryOp::Gt, Expr::column("price"), Expr::constant(100));
/// builder.filter_expr(orders, large)?;
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.send("orders", 0, TestRecord::new("1", r#"{"price": 70}"#, 0))?;
/// driver.send("orders", 0, TestRecord::new("2", r#"{"price": 170}"#, 1))?;
/// driver.run()?;
/// let leaves = driver.take_leaves();
/// assert_eq!(leaves.len(), 1);
/// assert_eq!(leaves[0].timestamp, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TopologyTestDriver {
    pub(crate) topology: Arc<Topology>,
    host: Arc<dyn Host>,
    hooks: Box<dyn Hooks + Send>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) sink: Sink,
    pub(crate) changelogs: Logs,
    /// Records of changelogs that nobody has taken yet.
    pub(crate) changelog_records: Vec<ProducedRecord>,
    /// What is on "disk": it outlives crashes.
    pub(crate) disk: BTreeMap<StoreId, Arc<dyn Backend>>,
    pub(crate) committed: SourceOffsets,
    /// Next offset to hand to the tasks.
    fed: BTreeMap<TopicPartition, Offset>,
    pub(crate) guarantee: Guarantee,
    batch_records: usize,
    pub(crate) now_ms: Timestamp,
}

/// Takes what the tasks put out.
pub(crate) struct Sink {
    topology: Arc<Topology>,
    /// Source topics, repartition topics among them.
    pub(crate) logs: Logs,
    pub(crate) produced: Vec<ProducedRecord>,
    pub(crate) leaves: Vec<LeafRecord>,
    /// How many of `produced` and `leaves` are part of a complete checkpoint.
    pub(crate) covered: (usize, usize),
    /// Ends of repartition topics at the last checkpoint.
    pub(crate) covered_logs: BTreeMap<TopicPartition, Offset>,
    /// Where the next record without a key goes, in turn.
    unkeyed: i32,
}

impl Output for Sink {
    fn produce(&mut self, record: OutputRecord<'_>) -> Result<(), ProduceFailure> {
        let source = self.topology.sources().iter().find(|source| source.topic == *record.topic);
        if let Some(source) = source {
            let partition = record.partition.unwrap_or_else(|| match record.key {
                Some(key) => partition_of(key, source.partitions),
                None => {
                    self.unkeyed += 1;
                    self.unkeyed % source.partitions
                }
            });
            let partition = TopicPartition::new(Arc::clone(&source.topic), partition);
            let log = LogRecord::new(record.key, record.value, record.timestamp, record.headers);
            self.logs.append(&partition, log);
            if source.is_repartition() {
                return Ok(());
            }
        }
        self.produced.push(ProducedRecord {
            topic: Arc::clone(record.topic),
            partition: record.partition,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: record.timestamp,
            headers: owned_headers(record.headers),
        });
        Ok(())
    }

    fn wants_leaves(&self) -> bool {
        true
    }

    fn leaf(&mut self, leaf: Leaf<'_>) {
        self.leaves.push(LeafRecord {
            value: std::mem::take(leaf.value),
            key: std::mem::take(leaf.key),
            timestamp: leaf.timestamp,
            headers: leaf.headers.clone(),
            context: leaf.context.clone(),
        });
    }
}

pub(crate) fn owned_headers(headers: HeadersView<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    headers.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect()
}

impl TopologyTestDriver {
    /// A driver of a topology of pure Rust, with empty topics and stores.
    ///
    /// # Errors
    /// If a store cannot be opened.
    pub fn new(topology: impl Into<Arc<Topology>>) -> Result<Self, DriverError> {
        Self::with_host(topology, Arc::new(InlineHost))
    }

    /// A driver of a topology with functions of a host language.
    ///
    /// # Errors
    /// If a store cannot be opened.
    pub fn with_host(
        topology: impl Into<Arc<Topology>>,
        host: Arc<dyn Host>,
    ) -> Result<Self, DriverError> {
        let topology = topology.into();
        let mut driver = Self {
            sink: Sink {
                topology: Arc::clone(&topology),
                logs: Logs::default(),
                produced: Vec::new(),
                leaves: Vec::new(),
                covered: (0, 0),
                covered_logs: BTreeMap::new(),
                unkeyed: -1,
            },
            topology,
            host,
            hooks: Box::new(LogHooks),
            tasks: BTreeMap::new(),
            changelogs: Logs::default(),
            changelog_records: Vec::new(),
            disk: BTreeMap::new(),
            committed: SourceOffsets::new(),
            fed: BTreeMap::new(),
            guarantee: Guarantee::AtLeastOnce,
            batch_records: usize::MAX,
            now_ms: 0,
        };
        driver.start()?;
        Ok(driver)
    }

    /// Ends all tasks without a checkpoint and starts another topology on the same topics,
    /// changelogs, stores and committed offsets: a new version of a program.
    ///
    /// # Errors
    /// If a store cannot be opened.
    pub fn restart_with(&mut self, topology: impl Into<Arc<Topology>>) -> Result<(), DriverError> {
        self.topology = topology.into();
        self.sink.topology = Arc::clone(&self.topology);
        self.tasks.clear();
        self.start()
    }

    /// Sets the callbacks.
    pub fn set_hooks(&mut self, hooks: Box<dyn Hooks + Send>) {
        self.hooks = hooks;
    }

    /// Sets what becomes of outputs of the open checkpoint at a crash. Default: at least once.
    pub fn set_guarantee(&mut self, guarantee: Guarantee) {
        self.guarantee = guarantee;
    }

    /// Sets how many records a batch holds that is handed to a task. Default: all there are. It
    /// makes no difference to what comes out.
    pub fn set_batch_records(&mut self, records: usize) {
        self.batch_records = records.max(1);
    }

    /// The topology.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Appends a record to a source topic. [`TopologyTestDriver::run`] processes it.
    ///
    /// # Errors
    /// [`DriverError::NoSource`].
    pub fn send(
        &mut self,
        topic: &str,
        partition: i32,
        record: TestRecord,
    ) -> Result<Offset, DriverError> {
        let partition = TopicPartition::new(topic, partition);
        let source = self.topology.sources().iter().find(|source| &*source.topic == topic);
        if !source.is_some_and(|source| (0..source.partitions).contains(&partition.partition)) {
            return Err(DriverError::NoSource(partition));
        }
        let mut headers = Vec::new();
        for (name, value) in &record.headers {
            encode_header(&mut headers, name, value.as_deref());
        }
        let log = LogRecord {
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers,
            header_count: record.headers.len(),
        };
        Ok(self.sink.logs.append(&partition, log))
    }

    /// Processes everything that was sent, through repartition topics too, each time the record
    /// of the lowest timestamp that is waiting. Gives the number of records processed.
    ///
    /// # Errors
    /// [`DriverError::Task`] for a record that no hook suppressed.
    pub fn run(&mut self) -> Result<u64, DriverError> {
        let mut records = 0;
        loop {
            self.feed();
            let waiting =
                self.tasks.iter().filter_map(|(id, task)| Some((task.next_timestamp()?, *id)));
            let Some((_, id)) = waiting.min() else { return Ok(records) };
            let task = self.tasks.get_mut(&id).expect("it was just found");
            if task.step(&mut self.sink, &mut *self.hooks)? != Step::Idle {
                records += 1;
            }
        }
    }

    /// [`TopologyTestDriver::send`] to partition 0 and [`TopologyTestDriver::run`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn process(&mut self, topic: &str, record: TestRecord) -> Result<(), DriverError> {
        self.send(topic, 0, record)?;
        self.run().map(drop)
    }

    /// Runs a record that is given as values through everything that reads `topic`, as `sdf.test`
    /// does (D-60), then what is waiting behind a group-by. Gives the leaves. A partition that the
    /// topic does not have is a matter of the context only: the record runs on partition 0.
    ///
    /// # Errors
    /// [`DriverError::NoSource`], or the record's error.
    pub fn inject(
        &mut self,
        topic: &str,
        record: Record,
        context: RecordContext,
    ) -> Result<Vec<LeafRecord>, DriverError> {
        let partition = context.topic_partition.partition;
        let missing = || DriverError::NoSource(TopicPartition::new(topic, partition));
        let source = self.topology.sources().iter().find(|source| &*source.topic == topic);
        let source = source.ok_or_else(missing)?;
        let partition = if (0..source.partitions).contains(&partition) { partition } else { 0 };
        let topic = Arc::clone(&source.topic);
        let id = self.topology.task_of(&topic, partition).ok_or_else(missing)?;
        let task = self.tasks.get_mut(&id).ok_or_else(missing)?;
        let before = self.sink.leaves.len();
        let injected = Injected { topic, record, context };
        let Ran { .. } = task.inject(injected, &mut self.sink, &mut *self.hooks)?;
        self.run()?;
        Ok(self.sink.leaves.split_off(before))
    }

    /// Tells all tasks the wall-clock time, ms; they are caught up. Then processes what that
    /// brought about.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::run`].
    pub fn tick(&mut self, now_ms: Timestamp) -> Result<(), DriverError> {
        self.now_ms = now_ms;
        for task in self.tasks.values_mut() {
            task.tick(now_ms, true, &mut self.sink)?;
        }
        self.run().map(drop)
    }

    /// Takes the records produced since the last call, those of repartition topics excepted.
    pub fn take_outputs(&mut self) -> Vec<ProducedRecord> {
        self.sink.covered.0 = 0;
        std::mem::take(&mut self.sink.produced)
    }

    /// Takes the records written to changelog topics since the last call.
    pub fn take_changelog_records(&mut self) -> Vec<ProducedRecord> {
        std::mem::take(&mut self.changelog_records)
    }

    /// Takes the records that reached the end of a branch since the last call.
    pub fn take_leaves(&mut self) -> Vec<LeafRecord> {
        self.sink.covered.1 = 0;
        std::mem::take(&mut self.sink.leaves)
    }

    /// The offsets to commit of everything processed so far: next offset by partition.
    pub fn positions(&self) -> SourceOffsets {
        let mut offsets = self.committed.clone();
        for task in self.tasks.values() {
            for position in task.positions() {
                offsets.set(position.topic_partition.clone(), position.next);
            }
        }
        offsets
    }

    /// The offsets committed so far.
    pub fn committed(&self) -> &SourceOffsets {
        &self.committed
    }

    /// Number of keys on disk, of all partitions of a store: what a checkpoint wrote and nobody
    /// removed.
    pub fn stored_keys(&self, store_name: &str) -> u64 {
        let stores = self.disk.iter().filter(|(id, _)| &*id.store_name == store_name);
        stores.map(|(_, backend)| backend.stats().keys).sum()
    }

    /// The tasks, for what the driver does not offer itself.
    pub fn tasks(&mut self) -> impl Iterator<Item = &mut Task> {
        self.tasks.values_mut()
    }

    /// Hands what the tasks have not seen yet to them.
    fn feed(&mut self) {
        for task in self.tasks.values_mut() {
            let partitions: Vec<TopicPartition> = task.partitions().cloned().collect();
            for partition in partitions {
                let committed = self.committed.get(&partition).unwrap_or(0);
                let fed = self.fed.entry(partition.clone()).or_insert(committed);
                while let Some(batch) = self.sink.logs.read(&partition, *fed, self.batch_records) {
                    *fed += batch.len() as Offset;
                    task.push(batch);
                }
            }
        }
    }

    /// Opens all tasks at the committed offsets.
    pub(crate) fn start(&mut self) -> Result<(), DriverError> {
        self.fed.clear();
        let cache = CacheSettings { budget: MemoryBudget::new(64 << 20), hash_seed: 7 };
        let topology = Arc::clone(&self.topology);
        for part in topology.sub_topologies() {
            for partition in 0..part.partitions {
                let id = TaskId { sub_topology: part.id, partition };
                let mut stores = Vec::new();
                for spec in topology.stores_of(id) {
                    let backend = self.restored(id, spec)?;
                    stores.push(spec.open(partition, backend, &cache)?);
                }
                let task = Task::new(Arc::clone(&topology), id, stores, Arc::clone(&self.host));
                self.tasks.insert(id, task);
            }
        }
        Ok(())
    }
}
