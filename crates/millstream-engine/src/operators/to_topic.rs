//! `to_topic`: serializes the record and hands it to the producer; the record itself goes on
//! (D-50).
//!
//! * Key: the record's, or what the given function makes of the value. A null key stays null and
//!   meets no serializer; a null value does (T-06).
//! * Headers: the record's, without those that the value serializer sets itself, and then its
//!   own (T-06).
//! * An output that cannot be serialized or is refused goes to `on_producer_error` (E-03).
//!   Suppressed: the record goes on; otherwise it is a processing error.

use std::sync::Arc;

use millstream_types::{HeadersView, encode_header};
use millstream_value::{
    Failure, Function, Headers, MessageField, SerializationContext, Serialized, Serializer, Value,
};

use crate::SinkTopic;
use crate::output::OutputRecord;
use crate::record::Record;
use crate::run::{Buffers, Run};
use crate::spec::SinkTarget;
use crate::topology::{Node, SinkTopicId};

pub(crate) struct ToTopic {
    pub(crate) target: SinkTarget,
    /// Its number, unless a function chooses the topic.
    pub(crate) sink: Option<SinkTopicId>,
    pub(crate) key: Option<Arc<dyn Function>>,
}

impl ToTopic {
    pub(super) fn needs_host(&self) -> bool {
        let target = match &self.target {
            SinkTarget::Topic(topic) => {
                topic.key_serializer.needs_host() || topic.value_serializer.needs_host()
            }
            // What it chooses may well be written by the host.
            SinkTarget::Chosen(_) => true,
        };
        target || self.key.as_ref().is_some_and(|function| function.needs_host())
    }

    pub(super) fn run(
        &self,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        let chosen;
        let topic = match &self.target {
            SinkTarget::Topic(topic) => topic,
            SinkTarget::Chosen(chooser) => {
                chosen = chooser.choose(&mut run.call(record, None)?)?;
                &chosen
            }
        };
        let mut key = match &self.key {
            Some(function) => Some(function.call(&mut run.call(record, None)?)?),
            None => None,
        };
        let mut buffers = std::mem::take(&mut run.state.buffers);
        let outcome = self.write(topic, key.as_mut(), node, record, run, &mut buffers);
        run.state.buffers = buffers;
        outcome?;
        run.forward(node, record)
    }

    fn write(
        &self,
        topic: &SinkTopic,
        key: Option<&mut Value>,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
        buffers: &mut Buffers,
    ) -> Result<(), Failure> {
        let key = match key {
            Some(key) => key,
            None => &mut record.key,
        };
        let written = serialize(topic, key, &mut record.value, &record.headers, buffers);
        let (has_key, has_value) = match written {
            Ok(written) => written,
            Err(failure) => return run.producer_failure(&node.name, failure),
        };
        let headers = match topic.value_serializer.extra_headers() {
            Ok(None) => record.headers.view(),
            Ok(Some(extra)) => {
                buffers.headers.clear();
                let count = merge_headers(&record.headers, &extra, &mut buffers.headers);
                HeadersView::new(&buffers.headers, count)
            }
            Err(failure) => return run.producer_failure(&node.name, failure),
        };
        let output = OutputRecord {
            topic: &topic.name,
            sink: self.sink,
            partition: None,
            key: has_key.then_some(&buffers.key),
            value: has_value.then_some(&buffers.value),
            timestamp: record.timestamp,
            headers,
        };
        run.produce(&node.name, output)
    }
}

/// Writes key and value into the buffers; gives whether each of them is not null.
pub(super) fn serialize(
    topic: &SinkTopic,
    key: &mut Value,
    value: &mut Value,
    headers: &Headers,
    buffers: &mut Buffers,
) -> Result<(bool, bool), Failure> {
    let write = |serializer: &dyn Serializer, value: &mut Value, field, out: &mut Vec<u8>| {
        out.clear();
        let context = SerializationContext { topic: &topic.name, field, headers };
        serializer.serialize(value, &context, out).map(|written| written == Serialized::Bytes)
    };
    let has_key =
        !key.is_null() && write(&*topic.key_serializer, key, MessageField::Key, &mut buffers.key)?;
    let has_value =
        write(&*topic.value_serializer, value, MessageField::Value, &mut buffers.value)?;
    Ok((has_key, has_value))
}

/// The record's headers without those of `extra`'s names, then `extra`; gives their number.
pub(super) fn merge_headers(record: &Headers, extra: &Headers, out: &mut Vec<u8>) -> usize {
    let extra = extra.view();
    let mut count = 0;
    let kept = record.view().iter().filter(|(name, _)| extra.last(name).is_none());
    for (name, value) in kept.chain(extra.iter()) {
        encode_header(out, name, value);
        count += 1;
    }
    count
}
