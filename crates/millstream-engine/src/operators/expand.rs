//! `apply(expand=True)`: each item of the function's result becomes a record with the same key,
//! timestamp and headers, and is processed to the end before the next item is asked for (D-20).
//! So a generator is driven lazily, and what an operator behind it writes to state is visible to
//! the generator when it goes on. An error in the middle leaves the items before it processed.

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
    // What the items are made of, apart from the record that the function is working on.
    let parts = record.with_value(millstream_value::Value::Null);
    let mut call = run.call(record, function.store)?;
    function.function.call_expand(&mut call, &mut |value| {
        let mut item = parts.with_value(value);
        run.forward(node, &mut item)
    })
}
