//! `TopologyBuilder` and `Topology`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_engine::{
    Aggregations, AssignSource, ClosingStrategy, Emission, FunctionSpec, GroupByKey, GroupBySpec,
    HeadersFunction, LateCallback, NodeId, SinkSpec, SinkTarget, SinkTopic, StoreMedium,
    TopicChooser, Topology, TopologyBuilder, TopologyError, WindowDefinition, WindowSpec,
    WindowTrigger,
};
use millstream_state::ExpirySettings;
use millstream_value::{Call, Failure, FailureKind, Headers};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::columns::{Assignment, Projection, Right};
use crate::convert::{from_python, to_python_in_place};
use crate::errors::{self, to_failure};
use crate::expr::PyExpr;
use crate::formats::{deserializer, serializer};
use crate::function::{PyFunction, Signature, callable_name};
use crate::gil::{IntoException, enter};
use crate::isolation;
use crate::json::type_name;
use crate::record::{headers_from_python, headers_list};
use crate::topic::{InternalTopic, TimestampFunction, TopicSpec};
use crate::window::{PyAggregation, PyLate, PyTrigger};

impl IntoException for TopologyError {
    fn into_exception(self, py: Python<'_>) -> PyErr {
        errors::named(py, self.exception_name(), self.to_string())
    }
}

/// A finished topology.
#[pyclass(frozen, name = "Topology", module = "millstream._millstream")]
pub(crate) struct PyTopology(pub(crate) Arc<Topology>);

#[pymethods]
impl PyTopology {
    fn describe(&self) -> &str {
        self.0.describe()
    }

    #[getter]
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }

    #[getter]
    fn internal_topics(&self) -> Vec<InternalTopic> {
        self.0.internal_topics().iter().map(InternalTopic::from).collect()
    }

    /// Whether records enter the interpreter at all.
    #[getter]
    fn needs_host(&self) -> bool {
        self.0.sub_topologies().iter().any(|part| part.needs_host)
    }
}

/// Builds a topology; nodes are numbers.
#[pyclass(frozen, name = "TopologyBuilder", module = "millstream._millstream")]
pub(crate) struct PyTopologyBuilder(Mutex<Steps>);

struct Steps {
    builder: TopologyBuilder,
    /// As it was before the last step.
    before: Option<TopologyBuilder>,
}

impl Steps {
    /// Takes a step. What is copied for `roll_back` are lists of shared parts: a pipeline is written
    /// once, and has a few dozen steps.
    fn step<R>(&mut self, step: impl FnOnce(&mut TopologyBuilder) -> R) -> R {
        self.before = Some(self.builder.clone());
        step(&mut self.builder)
    }
}

impl PyTopologyBuilder {
    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        py: Python<'_>,
        add: impl FnOnce(&mut TopologyBuilder) -> Result<NodeId, TopologyError>,
    ) -> PyResult<u32> {
        let added = self.lock().step(add);
        added.map(NodeId::index).map_err(|error| error.into_exception(py))
    }

    fn assign_any(&self, parent: u32, column: &Bound<'_, PyAny>, right: Right) -> PyResult<u32> {
        let function = FunctionSpec::new(Assignment::shared(column, right)?);
        self.add(column.py(), |builder| builder.update(node(parent), function))
    }
}

fn node(index: u32) -> NodeId {
    NodeId::from_index(index)
}

fn function(callable: &Bound<'_, PyAny>, metadata: bool, stateful: bool) -> FunctionSpec {
    let function = PyFunction::shared(callable, Signature::new(metadata, stateful));
    if stateful { FunctionSpec::stateful(function) } else { FunctionSpec::new(function) }
}

/// A column's name, if it is text.
fn column_name<'a>(column: &'a Bound<'_, PyAny>) -> PyResult<Option<&'a str>> {
    column.cast::<PyString>().ok().map(PyStringMethods::to_str).transpose()
}

#[pymethods]
impl PyTopologyBuilder {
    #[new]
    #[pyo3(signature = (consumer_group, *, use_changelog_topics=true))]
    fn new(consumer_group: &str, use_changelog_topics: bool) -> Self {
        let builder = TopologyBuilder::new(consumer_group);
        let builder = match use_changelog_topics {
            true => builder,
            false => builder.without_changelogs(),
        };
        Self(Mutex::new(Steps { builder, before: None }))
    }

    fn source(&self, py: Python<'_>, topic: &Bound<'_, TopicSpec>) -> PyResult<u32> {
        self.add(py, |builder| builder.source(topic.get().source()))
    }

    #[pyo3(signature = (parent, func, *, expand=false, metadata=false, stateful=false))]
    fn apply(
        &self,
        parent: u32,
        func: &Bound<'_, PyAny>,
        expand: bool,
        metadata: bool,
        stateful: bool,
    ) -> PyResult<u32> {
        let function = function(func, metadata, stateful);
        self.add(func.py(), |builder| match expand {
            true => builder.expand(node(parent), function),
            false => builder.apply(node(parent), function),
        })
    }

    #[pyo3(signature = (parent, func, *, metadata=false, stateful=false))]
    fn update(
        &self,
        parent: u32,
        func: &Bound<'_, PyAny>,
        metadata: bool,
        stateful: bool,
    ) -> PyResult<u32> {
        let function = function(func, metadata, stateful);
        self.add(func.py(), |builder| builder.update(node(parent), function))
    }

    #[pyo3(signature = (parent, func, *, metadata=false, stateful=false))]
    fn filter(
        &self,
        parent: u32,
        func: &Bound<'_, PyAny>,
        metadata: bool,
        stateful: bool,
    ) -> PyResult<u32> {
        let function = function(func, metadata, stateful);
        self.add(func.py(), |builder| builder.filter(node(parent), function))
    }

    fn filter_expr(&self, parent: u32, expr: &Bound<'_, PyExpr>) -> PyResult<u32> {
        self.add(expr.py(), |builder| builder.filter_expr(node(parent), expr.get().0.clone()))
    }

    fn filter_chain(&self, py: Python<'_>, parent: u32, chain: u32) -> PyResult<u32> {
        self.add(py, |builder| builder.filter_chain(node(parent), node(chain)))
    }

    #[pyo3(signature = (parent, column, expr))]
    fn assign_expr(
        &self,
        parent: u32,
        column: Bound<'_, PyAny>,
        expr: &Bound<'_, PyExpr>,
    ) -> PyResult<u32> {
        let expr = expr.get().0.clone();
        match column_name(&column)? {
            Some(name) => self.add(column.py(), |builder| {
                builder.assign(node(parent), name, AssignSource::Expr(expr))
            }),
            None => self.assign_any(parent, &column, Right::Expr(expr)),
        }
    }

    #[pyo3(signature = (parent, column, value))]
    fn assign_constant(
        &self,
        parent: u32,
        column: Bound<'_, PyAny>,
        value: Bound<'_, PyAny>,
    ) -> PyResult<u32> {
        match column_name(&column)? {
            Some(name) => self.add(column.py(), |builder| {
                builder.assign(node(parent), name, AssignSource::Constant(from_python(value)))
            }),
            None => self.assign_any(parent, &column, Right::Constant(value.unbind())),
        }
    }

    #[pyo3(signature = (parent, column, chain))]
    fn assign_chain(&self, parent: u32, column: Bound<'_, PyAny>, chain: u32) -> PyResult<u32> {
        match column_name(&column)? {
            Some(name) => self
                .add(column.py(), |builder| builder.assign_chain(node(parent), name, node(chain))),
            None => {
                let assign = Assignment::shared(&column, Right::Given)?;
                self.add(column.py(), |builder| {
                    builder.assign_chain_by(node(parent), assign, node(chain))
                })
            }
        }
    }

    fn select(&self, parent: u32, expr: &Bound<'_, PyExpr>) -> PyResult<u32> {
        self.add(expr.py(), |builder| builder.select(node(parent), expr.get().0.clone()))
    }

    fn project(
        &self,
        py: Python<'_>,
        parent: u32,
        columns: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<u32> {
        let names: Option<Vec<&str>> = columns.iter().map(column_name).collect::<PyResult<_>>()?;
        if let Some(names) = names {
            return self.add(py, |builder| builder.project(node(parent), &names));
        }
        let function = FunctionSpec::new(Projection::shared(columns)?);
        self.add(py, |builder| builder.apply(node(parent), function))
    }

    #[pyo3(signature = (parent, columns, ignore_missing=false))]
    fn drop(
        &self,
        py: Python<'_>,
        parent: u32,
        columns: Vec<String>,
        ignore_missing: bool,
    ) -> PyResult<u32> {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        self.add(py, |builder| builder.drop_columns(node(parent), &columns, ignore_missing))
    }

    fn fill(
        &self,
        py: Python<'_>,
        parent: u32,
        columns: Vec<(String, Bound<'_, PyAny>)>,
    ) -> PyResult<u32> {
        let columns =
            columns.into_iter().map(|(column, value)| (column, from_python(value))).collect();
        self.add(py, |builder| builder.fill(node(parent), columns))
    }

    fn set_timestamp(&self, parent: u32, func: &Bound<'_, PyAny>) -> PyResult<u32> {
        let function = Arc::new(TimestampFunction(PyFunction::new(func, Signature::Metadata)));
        self.add(func.py(), |builder| builder.set_timestamp(node(parent), function))
    }

    fn set_headers(&self, parent: u32, func: &Bound<'_, PyAny>) -> PyResult<u32> {
        let function = Arc::new(PyHeaders::new(func));
        self.add(func.py(), |builder| builder.set_headers(node(parent), function))
    }

    #[pyo3(signature = (parent, pretty=true, metadata=false))]
    fn print(&self, py: Python<'_>, parent: u32, pretty: bool, metadata: bool) -> PyResult<u32> {
        self.add(py, |builder| builder.print(node(parent), pretty, metadata))
    }

    #[pyo3(signature = (
        parent, operation, key, *, key_serializer=None, value_serializer=None,
        key_deserializer=None, value_deserializer=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "the formats are keywords")]
    fn group_by(
        &self,
        parent: u32,
        operation: String,
        key: &Bound<'_, PyAny>,
        key_serializer: Option<&Bound<'_, PyAny>>,
        value_serializer: Option<&Bound<'_, PyAny>>,
        key_deserializer: Option<&Bound<'_, PyAny>>,
        value_deserializer: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u32> {
        let spec = GroupBySpec {
            operation,
            key: match key.cast::<PyString>() {
                Ok(column) => GroupByKey::Column(column.to_str()?.to_owned()),
                Err(_) => GroupByKey::Function(PyFunction::shared(key, Signature::Plain)),
            },
            key_serializer: serializer(key_serializer)?,
            key_deserializer: deserializer(key_deserializer)?,
            value_serializer: serializer(value_serializer)?,
            value_deserializer: deserializer(value_deserializer)?,
        };
        self.add(key.py(), |builder| builder.group_by(node(parent), spec))
    }

    #[pyo3(signature = (
        parent, *, duration_ms, grace_ms=0, name=None, aggregations, shortcut=None, emit="final",
        closing_strategy="key", on_late=None, before_update=None, after_update=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "all but the first are keywords")]
    fn window(
        &self,
        py: Python<'_>,
        parent: u32,
        duration_ms: i64,
        grace_ms: i64,
        name: Option<String>,
        aggregations: Vec<(String, Bound<'_, PyAggregation>)>,
        shortcut: Option<&str>,
        emit: &str,
        closing_strategy: &str,
        on_late: Option<Py<PyAny>>,
        before_update: Option<Py<PyAny>>,
        after_update: Option<Py<PyAny>>,
    ) -> PyResult<u32> {
        let trigger = |callable: Py<PyAny>| Arc::new(PyTrigger(callable)) as Arc<dyn WindowTrigger>;
        let spec = WindowSpec {
            definition: WindowDefinition::Tumbling { duration_ms, grace_ms },
            name,
            aggregations: aggregations_of(aggregations, shortcut)?,
            emission: match emit {
                "current" => Emission::Current,
                "final" => Emission::Final,
                _ => return Err(PyValueError::new_err(format!("unknown emission {emit:?}"))),
            },
            closing: match closing_strategy {
                "key" => ClosingStrategy::Key,
                "partition" => ClosingStrategy::Partition,
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "closing_strategy is \"key\" or \"partition\", not {closing_strategy:?}"
                    )));
                }
            },
            on_late: on_late.map(|callable| Arc::new(PyLate(callable)) as Arc<dyn LateCallback>),
            before_update: before_update.map(trigger),
            after_update: after_update.map(trigger),
        };
        self.add(py, |builder| builder.window(node(parent), spec))
    }

    #[pyo3(signature = (parent, topic, key=None))]
    fn to_topic(
        &self,
        parent: u32,
        topic: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u32> {
        let target = match topic.cast::<TopicSpec>() {
            Ok(topic) => SinkTarget::Topic(topic.get().sink()),
            Err(_) => {
                SinkTarget::Chosen(Arc::new(PyChooser(PyFunction::new(topic, Signature::Metadata))))
            }
        };
        let key = key.map(|key| PyFunction::shared(key, Signature::Plain));
        self.add(topic.py(), |builder| builder.to_topic(node(parent), SinkSpec { target, key }))
    }

    #[pyo3(signature = (*, max_evictions_per_flush, changelog_tombstones))]
    fn set_expiry(&self, max_evictions_per_flush: usize, changelog_tombstones: bool) {
        self.lock().builder.set_expiry(ExpirySettings {
            evictions: max_evictions_per_flush,
            tombstones: changelog_tombstones,
        });
    }

    #[pyo3(signature = (node, *, in_memory=false))]
    fn register_store(&self, py: Python<'_>, node: u32, in_memory: bool) -> PyResult<()> {
        let medium = if in_memory { StoreMedium::Memory } else { StoreMedium::Disk };
        let registered =
            self.lock().step(|builder| builder.register_store_in(NodeId::from_index(node), medium));
        registered.map(|_| ()).map_err(|error| error.into_exception(py))
    }

    fn roll_back(&self) {
        let steps = &mut *self.lock();
        if let Some(before) = steps.before.take() {
            steps.builder = before;
        }
    }

    #[pyo3(signature = (node))]
    fn stream_id(&self, py: Python<'_>, node: u32) -> PyResult<String> {
        let id = self.lock().builder.stream_id(NodeId::from_index(node)).map(str::to_owned);
        id.map_err(|error| error.into_exception(py))
    }

    fn repartition_found(&self, topic: &str, partitions: i32) {
        self.lock().builder.repartition_found(topic, partitions);
    }

    fn internal_topics(&self) -> Vec<InternalTopic> {
        self.lock().builder.internal_topics().iter().map(InternalTopic::from).collect()
    }

    fn build(&self, py: Python<'_>) -> PyResult<PyTopology> {
        let built = self.lock().builder.build();
        built.map(Arc::new).map(PyTopology).map_err(|error| error.into_exception(py))
    }
}

fn aggregations_of(
    columns: Vec<(String, Bound<'_, PyAggregation>)>,
    shortcut: Option<&str>,
) -> PyResult<Aggregations> {
    let mut columns: Vec<_> =
        columns.into_iter().map(|(column, one)| (column, one.get().0.clone())).collect();
    if shortcut.is_none() {
        return Ok(Aggregations::Columns(columns));
    }
    match (columns.pop(), columns.is_empty()) {
        (Some((_, one)), true) => Ok(Aggregations::Shortcut(one)),
        _ => Err(PyValueError::new_err("a shortcut stands for one aggregation")),
    }
}

/// `set_headers`: the callable gets a list of its own, and gives pairs or `None` (D-52).
struct PyHeaders {
    callable: Py<PyAny>,
    name: String,
}

impl PyHeaders {
    fn new(callable: &Bound<'_, PyAny>) -> Self {
        Self { callable: callable.clone().unbind(), name: callable_name(callable) }
    }
}

impl HeadersFunction for PyHeaders {
    fn name(&self) -> &str {
        &self.name
    }

    fn headers(&self, call: &mut Call<'_>) -> Result<Headers, Failure> {
        enter(|py| {
            isolation::record(py)?;
            let value = to_python_in_place(py, call.value)?;
            let key = to_python_in_place(py, call.key)?;
            let headers = headers_list(py, call.headers)?;
            headers_from_python(&self.callable.bind(py).call1((
                value,
                key,
                call.timestamp,
                headers,
            ))?)
        })
        .map_err(to_failure)
    }

    fn needs_host(&self) -> bool {
        true
    }
}

/// A callable that gives the topic of an output record.
struct PyChooser(PyFunction);

impl TopicChooser for PyChooser {
    fn name(&self) -> &str {
        millstream_value::Function::name(&self.0)
    }

    fn choose(&self, call: &mut Call<'_>) -> Result<Arc<SinkTopic>, Failure> {
        enter(|py| {
            self.0.invoke(py, call, |chosen| match chosen.cast::<TopicSpec>() {
                Ok(topic) => Ok(topic.get().sink()),
                Err(_) => Err(Failure::new(
                    FailureKind::Type,
                    format!("the function that chooses a topic returned {}", type_name(&chosen)),
                )),
            })
        })
    }

    fn needs_host(&self) -> bool {
        true
    }
}
