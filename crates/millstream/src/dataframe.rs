//! The streaming dataframe: methods add nodes to the topology, nothing runs before
//! [`crate::Application::run`] (D-01).

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{
    AssignSource, FunctionSpec, GroupByKey, GroupBySpec, NodeId, SinkSpec, SinkTarget, SinkTopic,
    TopologyBuilder,
};
use millstream_formats::{deserializer_by_name, serializer_by_name};
use millstream_value::Value;

use crate::window::millis;
use crate::{Column, Error, Topic, TumblingWindow};

/// Topics that are written to, with the partitions and replicas they are created with (T-11).
pub(crate) type Sinks = Rc<RefCell<BTreeMap<Arc<str>, (i32, i16)>>>;

/// A stream of records. Cheap to clone; two chains from one dataframe are two branches (D-03).
#[derive(Clone)]
pub struct Dataframe {
    pub(crate) topology: Rc<RefCell<TopologyBuilder>>,
    /// The topics written to, shared by all dataframes of an application.
    pub(crate) sinks: Sinks,
    pub(crate) node: NodeId,
}

impl Dataframe {
    pub(crate) fn builder(&self) -> RefMut<'_, TopologyBuilder> {
        self.topology.borrow_mut()
    }

    pub(crate) fn at(&self, node: NodeId) -> Self {
        Self { topology: self.topology.clone(), sinks: self.sinks.clone(), node }
    }

    /// Replaces the value by the function's result (D-20).
    ///
    /// # Errors
    /// [`Error::Topology`] if state is not possible here.
    pub fn apply(&self, function: FunctionSpec) -> Result<Self, Error> {
        let node = self.builder().apply(self.node, function)?;
        Ok(self.at(node))
    }

    /// A record for each item of the list that the function returns (D-20).
    ///
    /// # Errors
    /// As [`Dataframe::apply`].
    pub fn expand(&self, function: FunctionSpec) -> Result<Self, Error> {
        let node = self.builder().expand(self.node, function)?;
        Ok(self.at(node))
    }

    /// Calls the function and goes on with the same value (D-21).
    ///
    /// # Errors
    /// As [`Dataframe::apply`].
    pub fn update(&self, function: FunctionSpec) -> Result<Self, Error> {
        let node = self.builder().update(self.node, function)?;
        Ok(self.at(node))
    }

    /// Keeps records for which the expression is truthy (D-32).
    ///
    /// # Errors
    /// [`Error::Topology`] if the dataframe is of another application.
    pub fn filter(&self, condition: Column) -> Result<Self, Error> {
        let node = self.builder().filter_expr(self.node, condition.0)?;
        Ok(self.at(node))
    }

    /// Keeps records for which the function returns something truthy (D-22).
    ///
    /// # Errors
    /// As [`Dataframe::apply`].
    pub fn filter_by(&self, function: FunctionSpec) -> Result<Self, Error> {
        let node = self.builder().filter(self.node, function)?;
        Ok(self.at(node))
    }

    /// Sets a column to an expression's value or a constant (D-34).
    ///
    /// # Errors
    /// As [`Dataframe::filter`].
    pub fn assign(&self, column: &str, value: impl Into<Column>) -> Result<Self, Error> {
        let source = AssignSource::Expr(value.into().0);
        let node = self.builder().assign(self.node, column, source)?;
        Ok(self.at(node))
    }

    /// Keeps exactly these columns (D-31).
    ///
    /// # Errors
    /// As [`Dataframe::filter`].
    pub fn project(&self, columns: &[&str]) -> Result<Self, Error> {
        let node = self.builder().project(self.node, columns)?;
        Ok(self.at(node))
    }

    /// Removes columns; a missing one is an error when a record lacks it (D-37).
    ///
    /// # Errors
    /// As [`Dataframe::filter`].
    pub fn drop_columns(&self, columns: &[&str]) -> Result<Self, Error> {
        let node = self.builder().drop_columns(self.node, columns, false)?;
        Ok(self.at(node))
    }

    /// Sets columns that are missing or null (D-38).
    ///
    /// # Errors
    /// [`Error::Topology`] without any column.
    pub fn fill<N: Into<String>>(
        &self,
        columns: impl IntoIterator<Item = (N, Value)>,
    ) -> Result<Self, Error> {
        let columns = columns.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let node = self.builder().fill(self.node, columns)?;
        Ok(self.at(node))
    }

    /// Prints every record (D-54).
    ///
    /// # Errors
    /// As [`Dataframe::filter`].
    pub fn print(&self) -> Result<Self, Error> {
        let node = self.builder().print(self.node, true, false)?;
        Ok(self.at(node))
    }

    /// Re-keys records by a column (D-40); over several partitions they go through a repartition
    /// topic (D-41), as JSON.
    ///
    /// # Errors
    /// [`Error::Topology`] for a grouped stream, or a column used twice (D-43).
    pub fn group_by(&self, column: &str) -> Result<Self, Error> {
        let spec = GroupBySpec {
            operation: column.to_owned(),
            key: GroupByKey::Column(column.to_owned()),
            key_serializer: serializer_by_name("json")?,
            key_deserializer: deserializer_by_name("json")?,
            value_serializer: serializer_by_name("json")?,
            value_deserializer: deserializer_by_name("json")?,
        };
        let node = self.builder().group_by(self.node, spec)?;
        Ok(self.at(node))
    }

    /// Consecutive windows per message key; records may be late by `grace` (W-01).
    #[must_use]
    pub fn tumbling_window(&self, duration: Duration, grace: Duration) -> TumblingWindow {
        TumblingWindow {
            dataframe: self.clone(),
            duration_ms: millis(duration),
            grace_ms: millis(grace),
            name: None,
        }
    }

    /// Writes records to a topic (D-50).
    ///
    /// # Errors
    /// As [`Dataframe::filter`].
    pub fn to_topic(&self, topic: &Topic) -> Result<Self, Error> {
        let target = SinkTarget::Topic(Arc::new(SinkTopic {
            name: topic.name.as_str().into(),
            key_serializer: topic.key_serializer.clone(),
            value_serializer: topic.value_serializer.clone(),
        }));
        let node = self.builder().to_topic(self.node, SinkSpec { target, key: None })?;
        let wanted = (topic.partitions, topic.replication_factor);
        self.sinks.borrow_mut().insert(topic.name.as_str().into(), wanted);
        Ok(self.at(node))
    }
}

impl std::fmt::Debug for Dataframe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dataframe").field(&self.node).finish()
    }
}
