//! Operators: one file each, whose head settles what it does. They are immutable; what changes is
//! in the task ([`crate::run::TaskState`]).
//!
//! An operator works on the record in place and hands it on with [`Run::forward`]. Time, state
//! and emission matter to windows (`windows.rs`) and group-bys only; all others look at one
//! record and remember nothing.

mod apply;
mod assign;
mod drop;
mod expand;
mod fill;
mod filter;
mod group_by;
mod print;
mod project;
mod select;
mod set_headers;
mod set_timestamp;
mod to_topic;
mod update;

use std::sync::Arc;

use millstream_value::{Expr, Failure, Function, Text, Value};

pub(crate) use assign::{Assigned, AssignedByHost};
pub(crate) use filter::Condition;
pub use group_by::IDLE_AFTER_MS;
pub(crate) use group_by::{KeySource, Repartition, RepartitionTime};
pub(crate) use to_topic::ToTopic;

use crate::HeadersFunction;
use crate::record::Record;
use crate::run::Run;
use crate::topology::{Node, StoreIndex};
use crate::windows::Window;

/// A user function, and the store behind its `State`, if it takes one (D-23).
#[derive(Clone)]
pub(crate) struct UserFunction {
    pub(crate) function: Arc<dyn Function>,
    pub(crate) store: Option<StoreIndex>,
}

impl UserFunction {
    pub(crate) fn call(&self, record: &mut Record, run: &Run<'_>) -> Result<Value, Failure> {
        self.function.call(&mut run.call(record, self.store)?)
    }
}

/// What a node does.
pub(crate) enum Operator {
    /// Nothing: the start of a topic, or the place where streams come together (`concat`).
    Pass,
    Apply(UserFunction),
    Expand(UserFunction),
    Update(UserFunction),
    Filter(Condition),
    Select(Expr),
    Assign(Text, Assigned),
    AssignByHost(AssignedByHost),
    Project(Vec<Text>),
    Drop {
        columns: Vec<Text>,
        ignore_missing: bool,
    },
    Fill(Vec<(Text, Value)>),
    SetTimestamp(Arc<dyn Function>),
    SetHeaders(Arc<dyn HeadersFunction>),
    Print {
        pretty: bool,
        metadata: bool,
    },
    GroupByInPlace(KeySource),
    Repartition(Box<Repartition>),
    ToTopic(Box<ToTopic>),
    Window(Arc<Window>),
}

impl Operator {
    pub(crate) fn run(
        &self,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        match self {
            Operator::Pass => run.forward(node, record),
            Operator::Apply(function) => apply::run(function, node, record, run),
            Operator::Expand(function) => expand::run(function, node, record, run),
            Operator::Update(function) => update::run(function, node, record, run),
            Operator::Filter(condition) => filter::run(condition, node, record, run),
            Operator::Select(expr) => select::run(expr, node, record, run),
            Operator::Assign(column, source) => assign::run(column, source, node, record, run),
            Operator::AssignByHost(assigned) => assigned.run(node, record, run),
            Operator::Project(columns) => project::run(columns, node, record, run),
            Operator::Drop { columns, ignore_missing } => {
                drop::run(columns, *ignore_missing, node, record, run)
            }
            Operator::Fill(columns) => fill::run(columns, node, record, run),
            Operator::SetTimestamp(function) => set_timestamp::run(function, node, record, run),
            Operator::SetHeaders(function) => set_headers::run(function, node, record, run),
            Operator::Print { pretty, metadata } => {
                print::run(*pretty, *metadata, node, record, run)
            }
            Operator::GroupByInPlace(key) => group_by::run_in_place(key, node, record, run),
            Operator::Repartition(repartition) => repartition.run(node, record, run),
            Operator::ToTopic(to_topic) => to_topic.run(node, record, run),
            Operator::Window(window) => window.run(node, record, run),
        }
    }

    /// Whether it must run with the thread attached to the host.
    pub(crate) fn needs_host(&self) -> bool {
        match self {
            Operator::Pass | Operator::Project(_) | Operator::Drop { .. } => false,
            Operator::Apply(f) | Operator::Expand(f) | Operator::Update(f) => {
                f.function.needs_host()
            }
            Operator::Filter(condition) => condition.needs_host(),
            Operator::Select(expr) => expr.needs_host(),
            Operator::Assign(_, source) => source.needs_host(),
            Operator::AssignByHost(assigned) => assigned.needs_host(),
            Operator::Fill(columns) => {
                columns.iter().any(|(_, value)| matches!(value, Value::Host(_)))
            }
            Operator::SetTimestamp(function) => function.needs_host(),
            Operator::SetHeaders(function) => function.needs_host(),
            // The host prints (D-54): where there is one it must be attached.
            Operator::Print { .. } => true,
            Operator::GroupByInPlace(key) => key.needs_host(),
            Operator::Repartition(repartition) => repartition.needs_host(),
            Operator::ToTopic(to_topic) => to_topic.needs_host(),
            Operator::Window(window) => window.needs_host(),
        }
    }
}

/// `bool(value)` as Python has it (D-22).
pub(crate) fn truthy(value: &Value) -> Result<bool, Failure> {
    value.truthy()
}
