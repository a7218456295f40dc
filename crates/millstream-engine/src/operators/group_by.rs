//! `group_by`: a new key for each record (D-40).
//!
//! * **One partition** (D-42): the record is re-keyed on the spot.
//! * **Several** (D-41): the record goes to the repartition topic with its new key, its value,
//!   its timestamp and its headers, and ends here; that is no output. In front of the headers
//!   stands one that says which partition it comes from and how far that one is in time
//!   (`upstream.rs`). The value serializer's own headers replace those of their name (T-06). The
//!   reading end is a source of its own.
//! * **Idle** partitions: a caught-up task without a record for [`IDLE_AFTER_MS`] of wall-clock
//!   time sends one marker to every partition of the topic, so that the windows behind it do not
//!   wait for it.
//! * A missing column raises `KeyError`; a null key is allowed.

use std::sync::Arc;

use millstream_types::{HeadersView, Timestamp};
use millstream_value::{Failure, Function, Value, access};

use super::to_topic::{merge_headers, serialize};
use crate::SinkTopic;
use crate::output::{Output, OutputRecord, ProduceFailure};
use crate::record::Record;
use crate::run::{Buffers, Run};
use crate::topology::{Node, SinkTopicId};
use crate::upstream::Upstream;

/// Wall-clock time without a record after which a caught-up partition counts as idle.
pub const IDLE_AFTER_MS: i64 = 1_000;

/// Where the new key comes from.
#[derive(Clone)]
pub(crate) enum KeySource {
    Column(String),
    Function(Arc<dyn Function>),
}

impl KeySource {
    pub(super) fn needs_host(&self) -> bool {
        match self {
            KeySource::Column(_) => false,
            KeySource::Function(function) => function.needs_host(),
        }
    }

    fn key(&self, record: &mut Record, run: &Run<'_>) -> Result<Value, Failure> {
        match self {
            KeySource::Column(column) => access::require(&record.value, column, run.host),
            KeySource::Function(function) => function.call(&mut run.call(record, None)?),
        }
    }
}

pub(super) fn run_in_place(
    key: &KeySource,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    record.key = key.key(record, run)?;
    run.forward(node, record)
}

/// The writing end of a repartition topic.
#[derive(Clone)]
pub(crate) struct Repartition {
    pub(crate) key: KeySource,
    pub(crate) topic: Arc<SinkTopic>,
    pub(crate) sink: SinkTopicId,
    /// Partitions of the repartition topic.
    pub(crate) partitions: i32,
}

/// What a task knows of the time at a repartition sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RepartitionTime {
    /// Greatest timestamp that passed it.
    stream_time: Timestamp,
    /// The topic was told that this partition is idle, and no record passed since then.
    told_idle: bool,
}

impl Default for RepartitionTime {
    fn default() -> Self {
        Self { stream_time: Timestamp::MIN, told_idle: false }
    }
}

impl Repartition {
    pub(super) fn needs_host(&self) -> bool {
        self.key.needs_host()
            || self.topic.key_serializer.needs_host()
            || self.topic.value_serializer.needs_host()
    }

    pub(super) fn run(
        &self,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        let mut key = self.key.key(record, run)?;
        let mut buffers = std::mem::take(&mut run.state.buffers);
        let outcome = self.write(&mut key, node, record, run, &mut buffers);
        run.state.buffers = buffers;
        outcome
    }

    fn write(
        &self,
        key: &mut Value,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
        buffers: &mut Buffers,
    ) -> Result<(), Failure> {
        let written = serialize(&self.topic, key, &mut record.value, &record.headers, buffers);
        let (has_key, has_value) = match written {
            Ok(written) => written,
            Err(failure) => return run.producer_failure(&node.name, failure),
        };
        let extra = match self.topic.value_serializer.extra_headers() {
            Ok(extra) => extra,
            Err(failure) => return run.producer_failure(&node.name, failure),
        };
        let partition = run.partition;
        let time = &mut run.state.repartition[self.sink.0 as usize];
        time.stream_time = time.stream_time.max(record.timestamp);
        time.told_idle = false;
        let stream_time = time.stream_time;
        buffers.headers.clear();
        Upstream { partition, stream_time, idle: false }.encode(&mut buffers.headers);
        let own = match extra {
            None => {
                buffers.headers.extend_from_slice(record.headers.bytes());
                record.headers.view().len()
            }
            Some(extra) => merge_headers(&record.headers, &extra, &mut buffers.headers),
        };
        let output = OutputRecord {
            topic: &self.topic.name,
            sink: Some(self.sink),
            partition: None,
            key: has_key.then_some(&buffers.key),
            value: has_value.then_some(&buffers.value),
            timestamp: record.timestamp,
            headers: HeadersView::new(&buffers.headers, 1 + own),
        };
        run.produce(&node.name, output)
    }

    /// Tells every partition of the topic, once, that this task's is idle. The time is that of
    /// the records that have passed here; a marker's own timestamp means nothing.
    pub(crate) fn mark_idle(
        &self,
        partition: i32,
        time: &mut RepartitionTime,
        output: &mut dyn Output,
    ) -> Result<(), ProduceFailure> {
        if std::mem::replace(&mut time.told_idle, true) {
            return Ok(());
        }
        let mut headers = Vec::new();
        Upstream { partition, stream_time: time.stream_time, idle: true }.encode(&mut headers);
        for target in 0..self.partitions {
            output.produce(OutputRecord {
                topic: &self.topic.name,
                sink: Some(self.sink),
                partition: Some(target),
                key: None,
                value: None,
                timestamp: time.stream_time.max(0),
                headers: HeadersView::new(&headers, 1),
            })?;
        }
        Ok(())
    }
}
