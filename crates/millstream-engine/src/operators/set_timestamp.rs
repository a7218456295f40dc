//! `set_timestamp`: the function's result is the record's event time from here on: for windows,
//! state and outputs behind it (D-51). It must be an integer.

use std::sync::Arc;

use millstream_value::{Failure, FailureKind, Function};

use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    function: &Arc<dyn Function>,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    let mut result = function.call(&mut run.call(record, None)?)?;
    result.decode();
    record.timestamp = result.as_i64().ok_or_else(|| {
        Failure::new(
            FailureKind::Type,
            format!(
                "set_timestamp needs an int in milliseconds, but {} gave a value of type {}",
                function.name(),
                result.type_name()
            ),
        )
    })?;
    run.forward(node, record)
}
