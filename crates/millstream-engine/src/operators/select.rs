//! A column expression in place of the whole value: the record goes on with its result.

use millstream_value::{Expr, Failure};

use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    expr: &Expr,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    record.value = expr.evaluate(&mut run.call(record, None)?, run.host)?;
    run.forward(node, record)
}
