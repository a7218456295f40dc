//! `drop`: removes columns; a missing one raises `KeyError` unless that is to be ignored (D-37).
//! Columns before the missing one are gone by then, as in Python.

use millstream_value::{Failure, Text, access};

use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    columns: &[Text],
    ignore_missing: bool,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    access::drop(&mut record.value, columns, ignore_missing)?;
    run.forward(node, record)
}
