//! The finished operator graph: immutable, shared by all tasks.

mod builder;
mod describe;

use std::sync::Arc;

use millstream_state::ExpirySettings;
use millstream_value::Deserializer;

use crate::TimestampExtractor;
use crate::operators::Operator;
use crate::topics::TopicConfig;

pub use builder::TopologyBuilder;

/// A node of the graph: a source, an operator, an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// As a number, for layers that hand nodes out to a host language.
    pub fn index(self) -> u32 {
        self.0
    }

    /// The node of that number. Numbers that were never handed out give
    /// [`crate::TopologyError::Value`] where they are used.
    pub fn from_index(index: u32) -> Self {
        Self(index)
    }

    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

/// A part of the graph that runs without repartitioning; numbered from 0 in the order of its
/// first source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubTopologyId(pub u32);

/// One sub-topology on one partition number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The sub-topology.
    pub sub_topology: SubTopologyId,
    /// The partition number.
    pub partition: i32,
}

/// Number of a topic that the topology writes to, see [`Topology::sink_topics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkTopicId(pub u32);

/// Number of a store in the topology, see [`Topology::stores`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreIndex(pub u32);

pub(crate) struct Node {
    /// Stable: made of what the operator does, not of where it stands.
    pub(crate) name: Arc<str>,
    pub(crate) operator: Arc<Operator>,
    pub(crate) children: Vec<NodeId>,
}

/// A topic that is read.
pub struct Source {
    /// Its name.
    pub topic: Arc<str>,
    /// Its number of partitions.
    pub partitions: i32,
    /// For the reading end of a group-by: how many partitions write to it.
    pub(crate) upstream_partitions: Option<i32>,
    pub(crate) sub_topology: SubTopologyId,
    pub(crate) root: NodeId,
    pub(crate) key_deserializer: Arc<dyn Deserializer>,
    pub(crate) value_deserializer: Arc<dyn Deserializer>,
    pub(crate) timestamp_extractor: Option<Arc<dyn TimestampExtractor>>,
}

impl Source {
    /// Whether it is a repartition topic, which this topology writes itself.
    pub fn is_repartition(&self) -> bool {
        self.upstream_partitions.is_some()
    }
}

/// What kind of store a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The user's key/value store `default` (D-23).
    User,
    /// A window operator's.
    Window,
}

/// Where a store is between checkpoints (ST-21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMedium {
    /// On disk.
    #[default]
    Disk,
    /// In memory: each start rebuilds it from its changelog.
    Memory,
}

/// A store, one partition of it per task.
#[derive(Clone)]
pub struct StoreSpec {
    /// Its number.
    pub index: StoreIndex,
    /// The stream that owns it (T-21).
    pub stream_id: Arc<str>,
    /// `default`, or W-09.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: StoreKind,
    /// Where it is.
    pub medium: StoreMedium,
    /// How values that expired are removed from it, if it is the user's.
    pub expiry: ExpirySettings,
    /// Number of partitions: those of the stream's topics.
    pub partitions: i32,
    /// Its changelog topic (T-20); `None` where changelogs are switched off (A-08).
    pub changelog_topic: Option<Arc<str>>,
}

/// What an internal topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalTopicKind {
    /// Carries re-keyed records.
    Repartition,
    /// Carries the changes of a store.
    Changelog,
}

/// A topic that must exist before the topology runs (T-20, T-23). An existing changelog of
/// another partition count is an error (T-24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its name.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: InternalTopicKind,
    /// Its size and settings.
    pub config: TopicConfig,
}

/// A part of the graph that runs without repartitioning.
#[derive(Debug)]
pub struct SubTopology {
    /// Its number.
    pub id: SubTopologyId,
    /// Its sources: indices into [`Topology::sources`].
    pub sources: Vec<usize>,
    /// Its stores.
    pub stores: Vec<StoreIndex>,
    /// The largest partition count among its sources: it has that many tasks.
    pub partitions: i32,
    /// Whether something in it must run with the thread attached to the host.
    pub needs_host: bool,
    /// Its windows, in the order of their nodes.
    pub(crate) windows: Vec<NodeId>,
    /// Its repartition sinks, in the order of their nodes.
    pub(crate) repartition_sinks: Vec<NodeId>,
}

impl SubTopology {
    /// Whether a topic that it reads may have more partitions than were declared: where there is
    /// state, each partition needs stores and changelog partitions of its own.
    pub(crate) fn may_grow(&self, source: &Source) -> bool {
        self.stores.is_empty() && !source.is_repartition()
    }
}

/// The finished operator graph.
pub struct Topology {
    pub(crate) nodes: Vec<Node>,
    pub(crate) sources: Vec<Source>,
    pub(crate) stores: Vec<StoreSpec>,
    pub(crate) sub_topologies: Vec<SubTopology>,
    pub(crate) sink_topics: Vec<Arc<str>>,
    pub(crate) internal_topics: Vec<InternalTopic>,
    pub(crate) description: String,
}

impl Topology {
    /// The parts that run without repartitioning.
    pub fn sub_topologies(&self) -> &[SubTopology] {
        &self.sub_topologies
    }

    /// One part.
    ///
    /// # Panics
    /// If there is no such part.
    pub fn sub_topology(&self, id: SubTopologyId) -> &SubTopology {
        &self.sub_topologies[id.0 as usize]
    }

    /// All topics that are read, repartition topics included.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The task that reads a partition of a topic; `None` for a topic that is no source.
    pub fn task_of(&self, topic: &str, partition: i32) -> Option<TaskId> {
        let source = self.sources.iter().find(|source| &*source.topic == topic)?;
        Some(TaskId { sub_topology: source.sub_topology, partition })
    }

    /// Whether the source may have more partitions than were declared: true where no state goes
    /// with them.
    pub fn may_grow(&self, source: &Source) -> bool {
        self.sub_topology(source.sub_topology).may_grow(source)
    }

    /// All stores.
    pub fn stores(&self) -> &[StoreSpec] {
        &self.stores
    }

    /// The stores of one task, in the order in which [`crate::Task::new`] takes them.
    pub fn stores_of(&self, task: TaskId) -> impl Iterator<Item = &StoreSpec> {
        self.sub_topology(task.sub_topology)
            .stores
            .iter()
            .map(|index| &self.stores[index.0 as usize])
            .filter(move |store| task.partition < store.partitions)
    }

    /// Topics that are written to, by [`SinkTopicId`]: those of `to_topic` and of group-bys.
    /// Topics that a function chooses while running are not among them.
    pub fn sink_topics(&self) -> &[Arc<str>] {
        &self.sink_topics
    }

    /// Repartition and changelog topics, which must exist before it runs.
    pub fn internal_topics(&self) -> &[InternalTopic] {
        &self.internal_topics
    }

    /// The graph as text, for people and for comparing two versions of a program: one line per
    /// source, operator and store. The same program gives the same text.
    ///
    /// ```text
    /// sub-topology 0
    ///   source "orders" (3 partitions)
    ///     filter(price > 10)
    ///       group_by "user" -> topic "repartition__g--orders--user"
    /// ```
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// A short form of [`Topology::describe`]: 16 hexadecimal digits that change when it does.
    pub fn fingerprint(&self) -> String {
        describe::fingerprint(&self.description)
    }
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.description)
    }
}
