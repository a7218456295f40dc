//! `sdf[["a", "b"]]`: a new map of exactly these columns, in this order; a missing one raises
//! `KeyError` (D-31).

use millstream_value::{Failure, Text, access};

use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    columns: &[Text],
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    record.value = access::project(&record.value, columns, run.host)?;
    run.forward(node, record)
}
