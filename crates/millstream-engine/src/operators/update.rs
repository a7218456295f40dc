//! `update`: the function is called for what it does; its result is ignored and the same value
//! goes on, changed or not (D-21, D-05).

use millstream_value::Failure;

use super::UserFunction;
use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    function: &UserFunction,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    function.call(record, run)?;
    run.forward(node, record)
}
