//! Builds a topology node by node, checking each declaration (parity rows D-33 to D-43, T-20 to
//! T-25, W-08, W-09, W-11, ST-41).

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_state::ExpirySettings;
use millstream_value::{Deserializer, Expr, Function, Text, Value};

use super::{
    InternalTopic, InternalTopicKind, Node, NodeId, SinkTopicId, Source, StoreIndex, StoreKind,
    StoreMedium, StoreSpec, SubTopology, SubTopologyId, Topology, describe,
};
use crate::functions::{HeadersFunction, TimestampExtractor};
use crate::operators::{
    Assigned, AssignedByHost, Condition, KeySource, Operator, Repartition, ToTopic, UserFunction,
};
use crate::spec::{
    AssignSource, Emission, FunctionSpec, GroupByKey, GroupBySpec, SinkSpec, SinkTarget,
    SourceSpec, WindowDefinition, WindowSpec,
};
use crate::topics::{
    TopicConfig, changelog_config, changelog_topic, derive_config, repartition_config,
    repartition_topic, stream_id_of_group_by, stream_id_of_topics,
};
use crate::windows::{Columns, Tumbling, Window, check, store_name};
use crate::{SinkTopic, TopologyError};

/// Name of the store behind stateful functions (ST-10).
const DEFAULT_STORE: &str = "default";

/// Builds a [`Topology`]. Each method that adds a node returns it; a node may get any number of
/// children, which run in the order in which they were added (D-03).
///
/// ```
/// # use std::sync::Arc;
/// use millstream_engine::topics::TopicConfig;
/// use millstream_engine::{SourceSpec, TopologyBuilder};
/// use millstream_value::{BinaryOp, Expr};
/// # use millstream_value::{Deserialized, Deserializer, Failure, SerializationContext, Value};
/// # struct Json;
/// # impl Deserializer for Json {
/// #     fn deserialize(&self, bytes: bytes::Bytes, _: &SerializationContext<'_>) -> Result<Deserialized, Failure> {
/// #         Ok(Deserialized::One(Value::json(bytes).expect("valid")))
/// #     }
/// # }
///
/// let mut builder = TopologyBuilder::new("shop");
/// let orders = builder.source(SourceSpec {
///     topic: "orders".to_owned(),
///     config: TopicConfig::new(3),
///     key_deserializer: Arc::new(Json),
///     value_deserializer: Arc::new(Json),
///     timestamp_extractor: None,
/// })?;
/// let large = Expr::binary(BinaryOp::Gt, Expr::column("price"), Expr::constant(100));
/// builder.filter_expr(orders, large)?;
/// let topology = builder.build()?;
/// assert_eq!(
///     topology.describe(),
///     "sub-topology 0\n  source \"orders\" (3 partitions)\n    filter (value['price'] > 100)\n",
/// );
/// # Ok::<(), millstream_engine::TopologyError>(())
/// ```
#[derive(Clone)]
pub struct TopologyBuilder {
    group: String,
    changelogs: bool,
    expiry: ExpirySettings,
    nodes: Vec<Draft>,
    sources: Vec<DraftSource>,
    streams: Vec<Stream>,
    stores: Vec<StoreSpec>,
    sink_topics: Vec<Arc<str>>,
    internal_topics: Vec<InternalTopic>,
}

#[derive(Clone)]
struct Draft {
    name: String,
    operator: Arc<Operator>,
    parents: Vec<NodeId>,
    children: Vec<NodeId>,
    stream: usize,
    /// Used up as the right side of an assignment or a filter (D-35).
    cut: bool,
}

#[derive(Clone)]
struct DraftSource {
    topic: Arc<str>,
    config: TopicConfig,
    /// Writing partitions, for the reading end of a group-by.
    upstream_partitions: Option<i32>,
    root: NodeId,
    key_deserializer: Arc<dyn Deserializer>,
    value_deserializer: Arc<dyn Deserializer>,
    timestamp_extractor: Option<Arc<dyn TimestampExtractor>>,
}

/// What several nodes have in common: the unit that owns state (T-21).
#[derive(Clone)]
struct Stream {
    id: Arc<str>,
    /// The topics that feed it: indices of sources.
    sources: Vec<usize>,
    /// It is behind a group-by (D-43).
    is_grouped: bool,
    /// Names of its group-bys (D-43).
    operations: Vec<String>,
}

impl TopologyBuilder {
    /// A builder for a consumer group, with changelog topics.
    pub fn new(consumer_group: impl Into<String>) -> Self {
        Self {
            group: consumer_group.into(),
            changelogs: true,
            expiry: ExpirySettings::default(),
            nodes: Vec::new(),
            sources: Vec::new(),
            streams: Vec::new(),
            stores: Vec::new(),
            sink_topics: Vec::new(),
            internal_topics: Vec::new(),
        }
    }

    /// Stores without changelog topics (A-08). To be said before anything is declared.
    #[must_use]
    pub fn without_changelogs(mut self) -> Self {
        self.changelogs = false;
        self
    }

    /// How values of user state that expired are removed (ST-54), of stores declared from here on.
    pub fn set_expiry(&mut self, settings: ExpirySettings) {
        self.expiry = settings;
    }

    /// A topic that is read.
    ///
    /// # Errors
    /// [`TopologyError::DuplicateSource`] for a topic that is read already.
    pub fn source(&mut self, spec: SourceSpec) -> Result<NodeId, TopologyError> {
        if self.sources.iter().any(|source| *source.topic == *spec.topic) {
            return Err(TopologyError::DuplicateSource { topic: spec.topic });
        }
        if spec.config.partitions < 1 {
            return Err(TopologyError::Value(format!(
                "the topic \"{}\" must have at least one partition, but {} are given",
                spec.topic, spec.config.partitions
            )));
        }
        Ok(self.add_source(spec, None))
    }

    fn add_source(&mut self, spec: SourceSpec, upstream_partitions: Option<i32>) -> NodeId {
        let topic: Arc<str> = spec.topic.into();
        self.streams.push(Stream {
            id: Arc::clone(&topic),
            sources: vec![self.sources.len()],
            is_grouped: upstream_partitions.is_some(),
            operations: Vec::new(),
        });
        let root = NodeId(self.nodes.len() as u32);
        self.nodes.push(Draft {
            name: format!("source \"{topic}\""),
            operator: Arc::new(Operator::Pass),
            parents: Vec::new(),
            children: Vec::new(),
            stream: self.streams.len() - 1,
            cut: false,
        });
        self.sources.push(DraftSource {
            topic,
            config: spec.config,
            upstream_partitions,
            root,
            key_deserializer: spec.key_deserializer,
            value_deserializer: spec.value_deserializer,
            timestamp_extractor: spec.timestamp_extractor,
        });
        root
    }

    /// `apply` (D-20).
    ///
    /// # Errors
    /// [`TopologyError::TopicPartitionsMismatch`] for a stateful function (D-24).
    pub fn apply(&mut self, parent: NodeId, spec: FunctionSpec) -> Result<NodeId, TopologyError> {
        let function = self.user_function(parent, spec)?;
        let name = format!("apply {}", function.function.name());
        self.add(parent, name, Operator::Apply(function))
    }

    /// `apply(expand=True)` (D-20).
    ///
    /// # Errors
    /// As [`TopologyBuilder::apply`].
    pub fn expand(&mut self, parent: NodeId, spec: FunctionSpec) -> Result<NodeId, TopologyError> {
        let function = self.user_function(parent, spec)?;
        let name = format!("expand {}", function.function.name());
        self.add(parent, name, Operator::Expand(function))
    }

    /// `update` (D-21).
    ///
    /// # Errors
    /// As [`TopologyBuilder::apply`].
    pub fn update(&mut self, parent: NodeId, spec: FunctionSpec) -> Result<NodeId, TopologyError> {
        let function = self.user_function(parent, spec)?;
        let name = format!("update {}", function.function.name());
        self.add(parent, name, Operator::Update(function))
    }

    /// `filter` by a function (D-22).
    ///
    /// # Errors
    /// As [`TopologyBuilder::apply`].
    pub fn filter(&mut self, parent: NodeId, spec: FunctionSpec) -> Result<NodeId, TopologyError> {
        let function = self.user_function(parent, spec)?;
        let name = format!("filter {}", function.function.name());
        self.add(parent, name, Operator::Filter(Condition::Function(function)))
    }

    /// `filter` by an expression (D-32).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn filter_expr(&mut self, parent: NodeId, expr: Expr) -> Result<NodeId, TopologyError> {
        let name = format!("filter {expr:?}");
        self.add(parent, name, Operator::Filter(Condition::Expr(expr)))
    }

    /// `filter` by the chain of `apply` nodes from `parent` to `chain`, which is cut off (D-33).
    ///
    /// # Errors
    /// Those of D-35: [`TopologyError::Value`] if there is anything but `apply` in it,
    /// [`TopologyError::InvalidOperation`] if it does not start at `parent`, branched, or was
    /// used before.
    pub fn filter_chain(&mut self, parent: NodeId, chain: NodeId) -> Result<NodeId, TopologyError> {
        let chain = self.cut_chain(parent, chain)?;
        let name = format!("filter {}", chain_name(&chain));
        self.add(parent, name, Operator::Filter(Condition::Chain(chain)))
    }

    /// The value of an expression in place of the whole value.
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn select(&mut self, parent: NodeId, expr: Expr) -> Result<NodeId, TopologyError> {
        let name = format!("select {expr:?}");
        self.add(parent, name, Operator::Select(expr))
    }

    /// `sdf[column] = ...` (D-34).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn assign(
        &mut self,
        parent: NodeId,
        column: &str,
        source: AssignSource,
    ) -> Result<NodeId, TopologyError> {
        let (name, source) = match source {
            AssignSource::Expr(expr) => {
                (format!("assign {column:?} = {expr:?}"), Assigned::Expr(expr))
            }
            AssignSource::Constant(value) => {
                (format!("assign {column:?} = {value:?}"), Assigned::Constant(value))
            }
        };
        self.add(parent, name, Operator::Assign(Text::from(column), source))
    }

    /// `sdf[column] = sdf.apply(...)`: the chain of `apply` nodes from `parent` to `chain`, which
    /// is cut off (D-34).
    ///
    /// # Errors
    /// As [`TopologyBuilder::filter_chain`].
    pub fn assign_chain(
        &mut self,
        parent: NodeId,
        column: &str,
        chain: NodeId,
    ) -> Result<NodeId, TopologyError> {
        let chain = self.cut_chain(parent, chain)?;
        let name = format!("assign {column:?} = {}", chain_name(&chain));
        self.add(parent, name, Operator::Assign(Text::from(column), Assigned::Chain(chain)))
    }

    /// The same with a column that is no text, which a host language may have: `assign` is called
    /// with the value and the chain's result ([`Function::call_values`]) and gives the value with
    /// that in it. Its name stands for the column.
    ///
    /// # Errors
    /// As [`TopologyBuilder::filter_chain`].
    pub fn assign_chain_by(
        &mut self,
        parent: NodeId,
        assign: Arc<dyn Function>,
        chain: NodeId,
    ) -> Result<NodeId, TopologyError> {
        let chain = self.cut_chain(parent, chain)?;
        let name = format!("assign {} = {}", assign.name(), chain_name(&chain));
        self.add(parent, name, Operator::AssignByHost(AssignedByHost { chain, assign }))
    }

    /// `sdf[[columns]]` (D-31).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn project(&mut self, parent: NodeId, columns: &[&str]) -> Result<NodeId, TopologyError> {
        let name = format!("project {columns:?}");
        self.add(parent, name, Operator::Project(texts(columns)))
    }

    /// `drop` (D-37).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn drop_columns(
        &mut self,
        parent: NodeId,
        columns: &[&str],
        ignore_missing: bool,
    ) -> Result<NodeId, TopologyError> {
        let name = format!("drop {columns:?}");
        self.add(parent, name, Operator::Drop { columns: texts(columns), ignore_missing })
    }

    /// `fill` (D-38): each column with the value that it gets where it is missing or null.
    ///
    /// # Errors
    /// [`TopologyError::Value`] without columns.
    pub fn fill(
        &mut self,
        parent: NodeId,
        columns: Vec<(String, Value)>,
    ) -> Result<NodeId, TopologyError> {
        if columns.is_empty() {
            return Err(TopologyError::Value("fill() needs at least one column".to_owned()));
        }
        let names: Vec<&str> = columns.iter().map(|(name, _)| &**name).collect();
        let name = format!("fill {names:?}");
        let columns = columns.into_iter().map(|(name, value)| (Text::from(name), value)).collect();
        self.add(parent, name, Operator::Fill(columns))
    }

    /// `set_timestamp` (D-51).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn set_timestamp(
        &mut self,
        parent: NodeId,
        function: Arc<dyn Function>,
    ) -> Result<NodeId, TopologyError> {
        let name = format!("set_timestamp {}", function.name());
        self.add(parent, name, Operator::SetTimestamp(function))
    }

    /// `set_headers` (D-52).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn set_headers(
        &mut self,
        parent: NodeId,
        function: Arc<dyn HeadersFunction>,
    ) -> Result<NodeId, TopologyError> {
        let name = format!("set_headers {}", function.name());
        self.add(parent, name, Operator::SetHeaders(function))
    }

    /// `print` (D-54).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn print(
        &mut self,
        parent: NodeId,
        pretty: bool,
        metadata: bool,
    ) -> Result<NodeId, TopologyError> {
        self.add(parent, "print".to_owned(), Operator::Print { pretty, metadata })
    }

    /// Brings streams together: records of each parent go on behind the new node, in no order
    /// between them (`concat`). The stream is a new one, with state of its own (ST-13).
    ///
    /// # Errors
    /// [`TopologyError::Value`] without parents.
    pub fn concat(&mut self, parents: &[NodeId]) -> Result<NodeId, TopologyError> {
        let mut sources = Vec::new();
        let mut is_grouped = false;
        for parent in parents {
            let stream = self.stream_of(*parent)?;
            sources.extend_from_slice(&stream.sources);
            is_grouped |= stream.is_grouped;
        }
        let [first, ..] = parents else {
            return Err(TopologyError::Value("concat() needs at least one stream".to_owned()));
        };
        sources.sort_unstable();
        sources.dedup();
        let topics = sources.iter().map(|source| &*self.sources[*source].topic);
        let id = stream_id_of_topics(topics).into();
        self.streams.push(Stream { id, sources, is_grouped, operations: Vec::new() });
        let stream = self.streams.len() - 1;
        let node = self.add(*first, "concat".to_owned(), Operator::Pass)?;
        self.nodes[node.at()].stream = stream;
        for parent in &parents[1..] {
            self.nodes[parent.at()].children.push(node);
            self.nodes[node.at()].parents.push(*parent);
        }
        Ok(node)
    }

    /// `group_by` (D-40 to D-43): through a repartition topic, or in place if every topic of the
    /// stream has one partition. The node returned is where the grouped stream starts.
    ///
    /// # Errors
    /// [`TopologyError::GroupByNestingLimit`], [`TopologyError::GroupByDuplicate`],
    /// [`TopologyError::Value`] for an empty name.
    pub fn group_by(&mut self, parent: NodeId, spec: GroupBySpec) -> Result<NodeId, TopologyError> {
        let operation = spec.operation;
        let stream = self.stream_of(parent)?;
        if operation.is_empty() {
            return Err(TopologyError::Value(
                "group_by() needs a column, or a function and a name".to_owned(),
            ));
        }
        let stream_id = stream.id.to_string();
        if stream.is_grouped {
            return Err(TopologyError::GroupByNestingLimit { stream_id });
        }
        let same = self.streams.iter().filter(|other| other.id == stream.id);
        if same.into_iter().any(|other| other.operations.contains(&operation)) {
            return Err(TopologyError::GroupByDuplicate { stream_id, operation });
        }
        let derived = self.derived(stream);
        let sources = stream.sources.clone();
        let at = self.nodes[parent.at()].stream;
        self.streams[at].operations.push(operation.clone());
        let key = match spec.key {
            GroupByKey::Column(column) => KeySource::Column(column),
            GroupByKey::Function(function) => KeySource::Function(function),
        };
        if derived.partitions == 1 {
            let id = stream_id_of_group_by(&stream_id, &operation).into();
            self.streams.push(Stream { id, sources, is_grouped: true, operations: Vec::new() });
            let stream = self.streams.len() - 1;
            let name = format!("group_by {operation:?}");
            let node = self.add(parent, name, Operator::GroupByInPlace(key))?;
            self.nodes[node.at()].stream = stream;
            return Ok(node);
        }
        let topic: Arc<str> = repartition_topic(&self.group, &stream_id, &operation).into();
        let config = repartition_config(&derived);
        let sink = self.sink_topic(&topic);
        let repartition = Repartition {
            key,
            topic: Arc::new(SinkTopic {
                name: Arc::clone(&topic),
                key_serializer: spec.key_serializer,
                value_serializer: spec.value_serializer,
            }),
            sink,
            partitions: config.partitions,
        };
        let name = format!("group_by {operation:?} -> \"{topic}\"");
        self.add(parent, name, Operator::Repartition(Box::new(repartition)))?;
        self.internal_topics.push(InternalTopic {
            name: Arc::clone(&topic),
            kind: InternalTopicKind::Repartition,
            config: config.clone(),
        });
        let source = SourceSpec {
            topic: topic.to_string(),
            config,
            key_deserializer: spec.key_deserializer,
            value_deserializer: spec.value_deserializer,
            timestamp_extractor: None,
        };
        Ok(self.add_source(source, Some(derived.partitions)))
    }

    /// Tells the builder how many partitions a repartition topic has that was there already
    /// (T-10: existing topics are never altered). The topic, and the stores and changelogs behind
    /// it, have that number from then on, also if the input of the group-by has grown since.
    /// Topics that are no repartition topics of this builder are left alone.
    pub fn repartition_found(&mut self, topic: &str, partitions: i32) {
        let Some(at) =
            self.sources.iter().position(|s| s.upstream_partitions.is_some() && *s.topic == *topic)
        else {
            return;
        };
        self.sources[at].config.partitions = partitions;
        for node in &mut self.nodes {
            if let Operator::Repartition(sink) = &*node.operator
                && *sink.topic.name == *topic
            {
                let sink = Repartition { partitions, ..Repartition::clone(sink) };
                node.operator = Arc::new(Operator::Repartition(Box::new(sink)));
            }
        }
        let behind: Vec<Arc<str>> = self
            .streams
            .iter()
            .filter(|stream| stream.sources.contains(&at))
            .map(|stream| Arc::clone(&stream.id))
            .collect();
        let mut topics = vec![Arc::<str>::from(topic)];
        for at in 0..self.stores.len() {
            if !behind.contains(&self.stores[at].stream_id) {
                continue;
            }
            let stream = self.streams.iter().find(|stream| stream.id == self.stores[at].stream_id);
            let derived = self.derived(stream.expect("a store belongs to a stream"));
            self.stores[at].partitions = derived.partitions;
            topics.extend(self.stores[at].changelog_topic.clone());
        }
        for internal in &mut self.internal_topics {
            if topics.contains(&internal.name) {
                internal.config.partitions = partitions;
            }
        }
    }

    /// A window with its aggregations (W-01, W-23, W-37, W-38).
    ///
    /// # Errors
    /// [`TopologyError::Value`] (W-08, W-23), [`TopologyError::StoreAlreadyRegistered`] (W-09),
    /// [`TopologyError::TopicPartitionsMismatch`] (W-11), [`TopologyError::InvalidOperation`]
    /// (collectors with `current`, W-37), [`TopologyError::NotSupportedYet`] for other windows
    /// than tumbling ones by duration.
    pub fn window(&mut self, parent: NodeId, spec: WindowSpec) -> Result<NodeId, TopologyError> {
        let stream = self.stream_of(parent)?;
        let columns = Columns::new(&spec.aggregations, spec.emission)?;
        check(&spec.definition)?;
        let WindowDefinition::Tumbling { duration_ms, grace_ms } = spec.definition else {
            return Err(TopologyError::NotSupportedYet("this kind of window".to_owned()));
        };
        self.check_co_partitioned(stream)?;
        let store_name: Arc<str> =
            store_name(spec.name.as_deref(), &spec.definition, &spec.aggregations).into();
        if self.find_store(&stream.id, &store_name).is_some() {
            return Err(TopologyError::StoreAlreadyRegistered {
                stream_id: stream.id.to_string(),
                store_name: store_name.to_string(),
            });
        }
        let grouped =
            stream.sources.iter().any(|source| self.sources[*source].upstream_partitions.is_some());
        let name = format!(
            "window \"{store_name}\" ({}; {:?} by {:?}, grace {grace_ms} ms)",
            columns.describe(),
            spec.emission,
            spec.closing
        );
        let window = Arc::new(Window {
            store: StoreIndex(self.stores.len() as u32),
            store_name: Arc::clone(&store_name),
            grouped,
            is_plain: spec.emission == Emission::Final
                && spec.before_update.is_none()
                && spec.after_update.is_none()
                && !columns.has_collectors(),
            kind: Tumbling { duration: duration_ms, grace: grace_ms },
            columns,
            emission: spec.emission,
            closing: spec.closing,
            on_late: spec.on_late,
            before_update: spec.before_update,
            after_update: spec.after_update,
        });
        self.add_store(parent, store_name, StoreKind::Window, StoreMedium::Disk)?;
        self.add(parent, name, Operator::Window(window))
    }

    /// `to_topic` (D-50).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn to_topic(&mut self, parent: NodeId, spec: SinkSpec) -> Result<NodeId, TopologyError> {
        let (name, sink) = match &spec.target {
            SinkTarget::Topic(topic) => {
                (format!("to_topic \"{}\"", topic.name), Some(self.sink_topic(&topic.name)))
            }
            SinkTarget::Chosen(chooser) => (format!("to_topic by {}", chooser.name()), None),
        };
        let operator =
            Operator::ToTopic(Box::new(ToTopic { target: spec.target, sink, key: spec.key }));
        self.add(parent, name, operator)
    }

    /// Registers the default store of the node's stream (D-10). Doing so again changes nothing
    /// (ST-41).
    ///
    /// # Errors
    /// [`TopologyError::TopicPartitionsMismatch`] (T-25).
    pub fn register_store(&mut self, node: NodeId) -> Result<StoreIndex, TopologyError> {
        self.register_store_in(node, StoreMedium::Disk)
    }

    /// [`TopologyBuilder::register_store`] with a place for it (ST-21). Of several registrations
    /// the first one counts (ST-41).
    ///
    /// # Errors
    /// [`TopologyError::TopicPartitionsMismatch`] (T-25).
    pub fn register_store_in(
        &mut self,
        node: NodeId,
        medium: StoreMedium,
    ) -> Result<StoreIndex, TopologyError> {
        let stream = self.stream_of(node)?;
        self.check_co_partitioned(stream)?;
        match self.find_store(&stream.id, DEFAULT_STORE) {
            Some(store) => Ok(store),
            None => self.add_store(node, DEFAULT_STORE.into(), StoreKind::User, medium),
        }
    }

    /// The id of the node's stream (T-21).
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn stream_id(&self, node: NodeId) -> Result<&str, TopologyError> {
        Ok(&self.stream_of(node)?.id)
    }

    /// The topics that feed the node's stream.
    ///
    /// # Errors
    /// If the node is not one of this builder's.
    pub fn topics(&self, node: NodeId) -> Result<Vec<&str>, TopologyError> {
        let stream = self.stream_of(node)?;
        Ok(stream.sources.iter().map(|source| &*self.sources[*source].topic).collect())
    }

    /// Internal topics of everything declared so far.
    pub fn internal_topics(&self) -> &[InternalTopic] {
        &self.internal_topics
    }

    /// Finishes the topology. The builder is as it was, so that a program may run, declare more
    /// and run again.
    ///
    /// # Errors
    /// [`TopologyError::InvalidOperation`] without any source.
    pub fn build(&self) -> Result<Topology, TopologyError> {
        if self.sources.is_empty() {
            return Err(TopologyError::InvalidOperation(
                "there is nothing to run: declare a dataframe over a topic first".to_owned(),
            ));
        }
        let parts = self.parts();
        let mut sub_topologies: Vec<SubTopology> = Vec::new();
        let mut by_part = BTreeMap::new();
        for (at, source) in self.sources.iter().enumerate() {
            let id = *by_part.entry(parts[source.root.at()]).or_insert_with(|| {
                sub_topologies.push(SubTopology {
                    id: SubTopologyId(sub_topologies.len() as u32),
                    sources: Vec::new(),
                    stores: Vec::new(),
                    partitions: 0,
                    needs_host: false,
                    windows: Vec::new(),
                    repartition_sinks: Vec::new(),
                });
                sub_topologies.len() - 1
            });
            let part = &mut sub_topologies[id];
            part.sources.push(at);
            part.partitions = part.partitions.max(source.config.partitions);
            part.needs_host |= source.key_deserializer.needs_host()
                || source.value_deserializer.needs_host()
                || source.timestamp_extractor.as_ref().is_some_and(|e| e.needs_host());
        }
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| !node.cut) {
            let part = &mut sub_topologies[by_part[&parts[at]]];
            part.needs_host |= node.operator.needs_host();
            match &*node.operator {
                Operator::Window(_) => part.windows.push(NodeId(at as u32)),
                Operator::Repartition(_) => part.repartition_sinks.push(NodeId(at as u32)),
                _ => {}
            }
        }
        for store in &self.stores {
            let stream = self
                .streams
                .iter()
                .find(|stream| stream.id == store.stream_id)
                .expect("a store belongs to a stream");
            let root = self.sources[stream.sources[0]].root;
            sub_topologies[by_part[&parts[root.at()]]].stores.push(store.index);
        }
        let sources: Vec<Source> = self
            .sources
            .iter()
            .map(|source| Source {
                topic: Arc::clone(&source.topic),
                partitions: source.config.partitions,
                upstream_partitions: source.upstream_partitions,
                sub_topology: SubTopologyId(by_part[&parts[source.root.at()]] as u32),
                root: source.root,
                key_deserializer: Arc::clone(&source.key_deserializer),
                value_deserializer: Arc::clone(&source.value_deserializer),
                timestamp_extractor: source.timestamp_extractor.clone(),
            })
            .collect();
        let nodes = unique_names(&self.nodes);
        let description = describe::describe(&nodes, &sources, &self.stores, &sub_topologies);
        Ok(Topology {
            nodes,
            sources,
            stores: self.stores.clone(),
            sub_topologies,
            sink_topics: self.sink_topics.clone(),
            internal_topics: self.internal_topics.clone(),
            description,
        })
    }

    /// For each node, the smallest node that it is connected with.
    fn parts(&self) -> Vec<usize> {
        let mut part: Vec<usize> = (0..self.nodes.len()).collect();
        fn find(part: &mut [usize], mut at: usize) -> usize {
            while part[at] != at {
                part[at] = part[part[at]];
                at = part[at];
            }
            at
        }
        for (at, node) in self.nodes.iter().enumerate() {
            for child in &node.children {
                let (a, b) = (find(&mut part, at), find(&mut part, child.at()));
                part[a.max(b)] = a.min(b);
            }
        }
        (0..part.len()).map(|at| find(&mut part, at)).collect()
    }

    fn stream_of(&self, node: NodeId) -> Result<&Stream, TopologyError> {
        match self.nodes.get(node.at()) {
            Some(node) => Ok(&self.streams[node.stream]),
            None => Err(TopologyError::Value(format!("there is no node {}", node.0))),
        }
    }

    fn add(
        &mut self,
        parent: NodeId,
        name: String,
        operator: Operator,
    ) -> Result<NodeId, TopologyError> {
        let id = NodeId(self.nodes.len() as u32);
        let Some(node) = self.nodes.get_mut(parent.at()) else {
            return Err(TopologyError::Value(format!("there is no node {}", parent.0)));
        };
        if node.cut {
            return Err(TopologyError::InvalidOperation(
                "this dataframe was used as a filter or in an assignment, and ends there; branch \
                 off the dataframe it was made from"
                    .to_owned(),
            ));
        }
        node.children.push(id);
        let stream = node.stream;
        let parents = vec![parent];
        let operator = Arc::new(operator);
        self.nodes.push(Draft {
            name,
            operator,
            parents,
            children: Vec::new(),
            stream,
            cut: false,
        });
        Ok(id)
    }

    fn user_function(
        &mut self,
        parent: NodeId,
        spec: FunctionSpec,
    ) -> Result<UserFunction, TopologyError> {
        let store = if spec.stateful { Some(self.register_store(parent)?) } else { None };
        Ok(UserFunction { function: spec.function, store })
    }

    /// Takes the `apply` nodes from `parent` (excluded) to `end` out of the graph (D-35).
    fn cut_chain(
        &mut self,
        parent: NodeId,
        end: NodeId,
    ) -> Result<Vec<UserFunction>, TopologyError> {
        let invalid = |text: &str| Err(TopologyError::InvalidOperation(text.to_owned()));
        self.stream_of(parent)?;
        self.stream_of(end)?;
        if parent == end {
            return invalid(
                "a dataframe cannot be used in an assignment to itself, or filter itself",
            );
        }
        let mut nodes = Vec::new();
        let mut functions = Vec::new();
        let mut at = end;
        while at != parent {
            let node = &self.nodes[at.at()];
            if node.cut {
                return invalid("this dataframe was used as a filter or in an assignment before");
            }
            if node.children.len() > usize::from(at != end) {
                return invalid(
                    "a dataframe that has branches cannot be used as a filter or column",
                );
            }
            let [up] = node.parents[..] else {
                return invalid(
                    "a dataframe used as a filter or column must come from the dataframe as it is \
                     at this place",
                );
            };
            match &*node.operator {
                Operator::Apply(function) => functions.push(function.clone()),
                Operator::Pass => {
                    return invalid("a dataframe of several streams cannot be used as a column");
                }
                _ => {
                    let kind = node.name.split(' ').next().unwrap_or_default();
                    return Err(TopologyError::Value(format!(
                        "{kind} functions are not allowed in a dataframe that is used as a filter \
                         or column; only apply is"
                    )));
                }
            }
            nodes.push(at);
            at = up;
        }
        self.nodes[parent.at()].children.retain(|child| !nodes.contains(child));
        for id in nodes {
            let node = &mut self.nodes[id.at()];
            node.cut = true;
            node.parents.clear();
            node.children.clear();
        }
        functions.reverse();
        Ok(functions)
    }

    fn derived(&self, stream: &Stream) -> TopicConfig {
        derive_config(stream.sources.iter().map(|source| &self.sources[*source].config))
    }

    /// T-25: state over several topics needs equal numbers of partitions.
    fn check_co_partitioned(&self, stream: &Stream) -> Result<(), TopologyError> {
        let sources = || stream.sources.iter().map(|source| &self.sources[*source]);
        let mut counts = sources().map(|source| source.config.partitions);
        let first = counts.next().expect("a stream has at least one topic");
        if counts.all(|count| count == first) {
            return Ok(());
        }
        let counts = sources().map(|s| format!("\"{}\" ({})", s.topic, s.config.partitions));
        let counts = counts.collect::<Vec<_>>().join(", ");
        Err(TopologyError::TopicPartitionsMismatch { counts })
    }

    fn find_store(&self, stream_id: &str, name: &str) -> Option<StoreIndex> {
        let store = self.stores.iter().find(|s| *s.stream_id == *stream_id && *s.name == *name)?;
        Some(store.index)
    }

    fn add_store(
        &mut self,
        node: NodeId,
        name: Arc<str>,
        kind: StoreKind,
        medium: StoreMedium,
    ) -> Result<StoreIndex, TopologyError> {
        let stream = self.stream_of(node)?;
        let derived = self.derived(stream);
        let stream_id = Arc::clone(&stream.id);
        let changelog_topic: Option<Arc<str>> =
            self.changelogs.then(|| changelog_topic(&self.group, &stream_id, &name).into());
        self.internal_topics.extend(changelog_topic.iter().map(|topic| InternalTopic {
            name: Arc::clone(topic),
            kind: InternalTopicKind::Changelog,
            config: changelog_config(&derived),
        }));
        let index = StoreIndex(self.stores.len() as u32);
        let partitions = derived.partitions;
        self.stores.push(StoreSpec {
            index,
            stream_id,
            name,
            kind,
            medium,
            expiry: self.expiry,
            partitions,
            changelog_topic,
        });
        Ok(index)
    }

    fn sink_topic(&mut self, name: &Arc<str>) -> SinkTopicId {
        let at = self.sink_topics.iter().position(|known| known == name).unwrap_or_else(|| {
            self.sink_topics.push(Arc::clone(name));
            self.sink_topics.len() - 1
        });
        SinkTopicId(at as u32)
    }
}

fn texts(columns: &[&str]) -> Vec<Text> {
    columns.iter().map(|column| Text::from(*column)).collect()
}

fn chain_name(chain: &[UserFunction]) -> String {
    let names: Vec<&str> = chain.iter().map(|function| function.function.name()).collect();
    format!("apply({})", names.join(", "))
}

/// Finished nodes. Where two have one name, the later ones are numbered: `filter f`, `filter f
/// (2)`; a name does not depend on other operators that come and go.
fn unique_names(drafts: &[Draft]) -> Vec<Node> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    drafts
        .iter()
        .map(|draft| {
            let count = seen.entry(draft.name.clone()).or_insert(0);
            *count += usize::from(!draft.cut);
            let name = match *count {
                0 | 1 => draft.name.clone(),
                count => format!("{} ({count})", draft.name),
            };
            Node {
                name: name.into(),
                operator: Arc::clone(&draft.operator),
                children: draft.children.clone(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
