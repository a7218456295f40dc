//! `filter`, `sdf[series]`, `sdf[sdf.apply(...)]`: keeps a record whose condition is truthy
//! (D-22, D-32, D-33). A record that is kept goes on as it came: the condition's result is
//! nobody's value. One that is left out ends here and is no output.
//!
//! A chain of `apply` functions (D-33) is called with the record's own value, no copy of it: what
//! its first function changes there stays changed (D-05).

use millstream_value::{Expr, Failure, Value};

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

/// The value at the end of a chain of `apply` functions. The record's own is in its place again
/// afterwards, also when one of them fails.
pub(super) fn run_chain(
    chain: &[UserFunction],
    record: &mut Record,
    run: &Run<'_>,
) -> Result<Value, Failure> {
    let Some((first, rest)) = chain.split_first() else { return Ok(record.value.share()) };
    let result = first.call(record, run)?;
    if rest.is_empty() {
        return Ok(result);
    }
    let own = std::mem::replace(&mut record.value, result);
    let outcome = rest.iter().try_for_each(|function| {
        record.value = function.call(record, run)?;
        Ok(())
    });
    let result = std::mem::replace(&mut record.value, own);
    outcome.map(|()| result)
}
