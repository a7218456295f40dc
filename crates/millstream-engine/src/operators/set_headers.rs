//! `set_headers`: the function's result replaces all headers (D-52).

use std::sync::Arc;

use millstream_value::Failure;

use crate::HeadersFunction;
use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    function: &Arc<dyn HeadersFunction>,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    record.headers = function.headers(&mut run.call(record, None)?)?;
    run.forward(node, record)
}
