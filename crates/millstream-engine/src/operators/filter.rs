//! `filter`, `sdf[series]`, `sdf[sdf.apply(...)]`: keeps a record whose condition is truthy
//! (D-22, D-32, D-33). A record that is kept goes on as it came: the condition's result is
//! nobody's value. One that is left out ends here and is no output.
//!
//! A chain of `apply` functions (D-33) works on a copy of its own, as it did when it was a
//! branch.

use millstream_value::{Expr, Failure};

use super::{UserFunction, truthy};
use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

/// What a record must meet.
pub(crate) enum Condition {
    Function(UserFunction),
    Expr(Expr),
    Chain(Vec<UserFunction>),
}

impl Condition {
    pub(super) fn needs_host(&self) -> bool {
        match self {
            Condition::Function(function) => function.function.needs_host(),
            Condition::Expr(expr) => expr.needs_host(),
            Condition::Chain(chain) => chain.iter().any(|f| f.function.needs_host()),
        }
    }
}

pub(super) fn run(
    condition: &Condition,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    let keep = match condition {
        Condition::Function(function) => truthy(&function.call(record, run)?)?,
        Condition::Expr(expr) => expr.truthy(&mut run.call(record, None)?, run.host)?,
        Condition::Chain(chain) => truthy(&run_chain(chain, record, run)?)?,
    };
    if keep { run.forward(node, record) } else { Ok(()) }
}

/// The value at the end of a chain of `apply` functions.
pub(super) fn run_chain(
    chain: &[UserFunction],
    record: &Record,
    run: &Run<'_>,
) -> Result<millstream_value::Value, Failure> {
    let mut branch = record.branch()?;
    for function in chain {
        branch.value = function.call(&mut branch, run)?;
    }
    Ok(branch.value)
}
