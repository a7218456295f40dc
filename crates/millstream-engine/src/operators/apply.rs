//! `apply`: the function's result replaces the value (D-20); a result of `None` is a value like
//! any other and filters nothing (D-06). Key, timestamp and headers stay. Nothing is stored.

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
    record.value = function.call(record, run)?;
    run.forward(node, record)
}
