//! `sdf["x"] = ...`: the right side is evaluated on the value as it is here, then set (D-34). A
//! column that is there keeps its place, a new one comes last. What is no map raises a
//! `TypeError`, and nothing is set.

use std::sync::Arc;

use millstream_value::{Expr, Failure, Function, Text, Value, access};

use super::UserFunction;
use super::filter::run_chain;
use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

/// The right side.
pub(crate) enum Assigned {
    Expr(Expr),
    /// An object of the host is shared by all records (D-34).
    Constant(Value),
    /// A chain of `apply` functions, on the value itself (D-05).
    Chain(Vec<UserFunction>),
}

impl Assigned {
    pub(super) fn needs_host(&self) -> bool {
        match self {
            Assigned::Expr(expr) => expr.needs_host(),
            Assigned::Constant(value) => matches!(value, Value::Host(_)),
            Assigned::Chain(chain) => chain.iter().any(|f| f.function.needs_host()),
        }
    }
}

/// A chain whose result goes into a column that only the host can name (D-34): `assign(value,
/// result)` gives the value with it.
pub(crate) struct AssignedByHost {
    pub(crate) chain: Vec<UserFunction>,
    pub(crate) assign: Arc<dyn Function>,
}

impl AssignedByHost {
    pub(super) fn run(
        &self,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        let result = run_chain(&self.chain, record, run)?;
        record.value = self.assign.call_values(vec![record.value.share(), result])?;
        run.forward(node, record)
    }

    pub(super) fn needs_host(&self) -> bool {
        self.assign.needs_host() || self.chain.iter().any(|f| f.function.needs_host())
    }
}

pub(super) fn run(
    column: &Text,
    source: &Assigned,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    let new = match source {
        Assigned::Expr(expr) => expr.evaluate(&mut run.call(record, None)?, run.host)?,
        Assigned::Constant(value) => value.share(),
        Assigned::Chain(chain) => run_chain(chain, record, run)?,
    };
    access::assign(&mut record.value, column, new)?;
    run.forward(node, record)
}
