//! `fill`: sets columns that are missing or null; what is no map passes unchanged (D-38).

use millstream_value::{Failure, Text, Value, access};

use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    columns: &[(Text, Value)],
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    access::fill(&mut record.value, columns)?;
    run.forward(node, record)
}
