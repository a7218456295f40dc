//! What the tests share: sources and sinks by format name, and functions made of closures.

use std::sync::{Arc, Mutex};

use millstream_engine::topics::TopicConfig;
use millstream_engine::{
    Aggregation, Aggregations, GroupByKey, GroupBySpec, Hooks, Late, RecordError, Row, SinkSpec,
    SinkTarget, SinkTopic, SourceSpec,
};
use millstream_formats::{deserializer_by_name, serializer_by_name};
use millstream_types::RecordView;
use millstream_value::{Call, Failure, Function, RecordContext, Value};

/// A topic with text keys and JSON values.
pub(crate) fn json_source(topic: &str, partitions: i32) -> SourceSpec {
    SourceSpec {
        topic: topic.to_owned(),
        config: TopicConfig::new(partitions),
        key_deserializer: deserializer_by_name("str").expect("a format"),
        value_deserializer: deserializer_by_name("json").expect("a format"),
        timestamp_extractor: None,
    }
}

pub(crate) fn json_sink(topic: &str) -> SinkSpec {
    SinkSpec {
        target: SinkTarget::Topic(Arc::new(SinkTopic {
            name: topic.into(),
            key_serializer: serializer_by_name("str").expect("a format"),
            value_serializer: serializer_by_name("json").expect("a format"),
        })),
        key: None,
    }
}

pub(crate) fn group_by_column(column: &str) -> GroupBySpec {
    GroupBySpec {
        operation: column.to_owned(),
        key: GroupByKey::Column(column.to_owned()),
        key_serializer: serializer_by_name("json").expect("a format"),
        key_deserializer: deserializer_by_name("json").expect("a format"),
        value_serializer: serializer_by_name("json").expect("a format"),
        value_deserializer: deserializer_by_name("json").expect("a format"),
    }
}

pub(crate) fn columns(list: &[(&str, Aggregation)]) -> Aggregations {
    Aggregations::Columns(list.iter().map(|(n, a)| ((*n).to_owned(), a.clone())).collect())
}

pub(crate) fn column(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// Items of an expanding function, handed out one at a time.
type Expand = dyn Fn(&mut Call<'_>, &mut dyn FnMut(Value) -> Result<(), Failure>) -> Result<(), Failure>
    + Send
    + Sync;

type OfCall = dyn Fn(&mut Call<'_>) -> Result<Value, Failure> + Send + Sync;

enum Body {
    Call(Box<OfCall>),
    Expand(Box<Expand>),
    Values(Box<dyn Fn(Vec<Value>) -> Result<Value, Failure> + Send + Sync>),
}

struct Closure {
    name: String,
    body: Body,
}

impl Function for Closure {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs_host(&self) -> bool {
        false
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        let Body::Call(body) = &self.body else { panic!("{} is not called like that", self.name) };
        body(call)
    }

    fn call_expand(
        &self,
        call: &mut Call<'_>,
        each: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Body::Expand(body) = &self.body else { panic!("{} does not expand", self.name) };
        body(call, each)
    }

    fn call_values(&self, values: Vec<Value>) -> Result<Value, Failure> {
        let Body::Values(body) = &self.body else { panic!("{} takes no values", self.name) };
        body(values)
    }
}

pub(crate) fn function(
    name: &str,
    body: impl Fn(&mut Call<'_>) -> Result<Value, Failure> + Send + Sync + 'static,
) -> Arc<dyn Function> {
    Arc::new(Closure { name: name.to_owned(), body: Body::Call(Box::new(body)) })
}

pub(crate) fn expanding(
    name: &str,
    body: impl Fn(&mut Call<'_>, &mut dyn FnMut(Value) -> Result<(), Failure>) -> Result<(), Failure>
    + Send
    + Sync
    + 'static,
) -> Arc<dyn Function> {
    Arc::new(Closure { name: name.to_owned(), body: Body::Expand(Box::new(body)) })
}

pub(crate) fn of_values(
    name: &str,
    body: impl Fn(Vec<Value>) -> Result<Value, Failure> + Send + Sync + 'static,
) -> Arc<dyn Function> {
    Arc::new(Closure { name: name.to_owned(), body: Body::Values(Box::new(body)) })
}

/// Notes what it is told, and suppresses what it is asked to.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    pub(crate) suppress: bool,
}

impl Notes {
    pub(crate) fn suppressing() -> Self {
        Self { suppress: true, ..Self::default() }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().expect("no test panics with it"))
    }

    pub(crate) fn note(&self, line: String) {
        self.lines.lock().expect("no test panics with it").push(line);
    }
}

impl Hooks for Notes {
    fn on_consumer_error(
        &mut self,
        error: &mut RecordError,
        message: RecordView<'_>,
    ) -> Result<bool, Failure> {
        self.note(format!("consumer: {error} [{}]", message.offset()));
        Ok(self.suppress)
    }

    fn on_processing_error(
        &mut self,
        error: &mut RecordError,
        row: Row<'_>,
    ) -> Result<bool, Failure> {
        let value = row.record.map(|record| millstream_value::repr(&record.value));
        self.note(format!("processing: {error} [{}]", value.unwrap_or_default()));
        Ok(self.suppress)
    }

    fn on_producer_error(&mut self, error: &mut RecordError, _: Row<'_>) -> Result<bool, Failure> {
        self.note(format!("producer: {error}"));
        Ok(self.suppress)
    }

    fn on_message_processed(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), Failure> {
        self.note(format!("done {topic}[{partition}] {offset}"));
        Ok(())
    }

    fn late(&mut self, late: &Late<'_>) {
        self.note(format!("late by {} for {}..{}", late.late_by_ms, late.start, late.end));
    }

    fn null_key(&mut self, context: &RecordContext, store_name: &str) {
        self.note(format!("no key at {} {} {store_name}", context.topic_partition, context.offset));
    }
}
