//! `print`: hands `{"value": ...}`, with key, timestamp and headers if asked, to the host to
//! print (D-54). The record goes on as it came. Allocates: printing costs more.

use millstream_value::{Failure, Headers, Map, Text, Value};

use crate::record::Record;
use crate::run::Run;
use crate::topology::Node;

pub(super) fn run(
    pretty: bool,
    metadata: bool,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    let mut shown = Map::with_capacity(4);
    shown.insert(Text::from("value"), record.value.share());
    if metadata {
        shown.insert(Text::from("key"), record.key.share());
        shown.insert(Text::from("timestamp"), Value::Int(record.timestamp));
        shown.insert(Text::from("headers"), headers(&record.headers));
    }
    run.host.print(&mut Value::Map(shown), pretty)?;
    run.forward(node, record)
}

/// Headers as a value: `None`, or pairs of name and bytes.
fn headers(headers: &Headers) -> Value {
    if headers.is_none() {
        return Value::Null;
    }
    let pairs = headers.view().iter().map(|(name, value)| {
        let value = value.map(bytes::Bytes::copy_from_slice);
        Value::List(vec![Value::from(name), Value::from(value)])
    });
    Value::List(pairs.collect())
}
