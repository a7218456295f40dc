//! Operators against the rows.

use std::sync::Arc;

use millstream_engine::{
    AssignSource, FunctionSpec, HeadersFunction, SinkSpec, SinkTarget, SinkTopic, SourceSpec,
    TimestampExtractor, TopicChooser, TopologyBuilder,
};
use millstream_formats::serializer_by_name;
use millstream_testing::{TestRecord, TopologyTestDriver, check, run_script};
use millstream_types::TimestampType;
use millstream_value::{
    BinaryOp, Call, Deserialized, Deserializer, Expr, Failure, Headers, SerializationContext,
    Serialized, Serializer, Value, access, repr,
};

use crate::support::{Notes, expanding, function, json_sink, json_source};

fn start() -> (TopologyBuilder, millstream_engine::NodeId) {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    (builder, source)
}

fn gt(column: &str, than: i64) -> Expr {
    Expr::binary(BinaryOp::Gt, Expr::column(column), Expr::constant(than))
}

/// D-03, D-04: branches run depth first in the order of declaration; the first has the value
/// itself, each other a copy from before any of them ran.
#[test]
fn d_04_branches_are_isolated() {
    let (mut builder, source) = start();
    let set = |name: &str, to: i64| {
        FunctionSpec::new(function(name, move |call| {
            access::assign(call.value, &"x".into(), Value::from(to))?;
            Ok(Value::Null)
        }))
    };
    let first = builder.update(source, set("first", 1)).expect("a node");
    builder.assign(first, "y", AssignSource::Constant(Value::from(1))).expect("a node");
    builder.update(first, set("inner", 5)).expect("a node");
    builder.update(source, set("second", 2)).expect("a node");
    builder.filter_expr(source, gt("x", -1)).expect("a node");
    check(
        builder.build().expect("a topology"),
        r#"t/0 k @1 {"x": 0}"#,
        "
        => k @1 {'x': 1, 'y': 1}
        => k @1 {'x': 5}
        => k @1 {'x': 2}
        => k @1 {'x': 0}
        ",
    );
}

/// D-05: on a line the value is passed on as it is. D-06: None is a value.
#[test]
fn d_05_d_06_a_line() {
    let (mut builder, source) = start();
    let node = builder
        .update(
            source,
            FunctionSpec::new(function("mutate", |call| {
                access::assign(call.value, &"seen".into(), Value::Bool(true))?;
                Ok(Value::from("ignored"))
            })),
        )
        .expect("a node");
    let node = builder
        .apply(
            node,
            FunctionSpec::new(function("none", |call| {
                Ok(if repr(call.value).contains("drop") { Value::Null } else { call.value.share() })
            })),
        )
        .expect("a node");
    builder
        .filter(node, FunctionSpec::new(function("all", |_| Ok(Value::from(1)))))
        .expect("a node");
    check(
        builder.build().expect("a topology"),
        "t/0 k @1 {\"a\": 1}\nt/0 k @2 {\"drop\": 1}",
        "=> k @1 {'a': 1, 'seen': True}\n=> k @2 None",
    );
}

/// D-20: each item runs to the end before the next is made, with key, timestamp and headers.
#[test]
fn d_20_expand_is_driven_lazily() {
    let notes = Notes::default();
    let (mut builder, source) = start();
    let (made, used) = (notes.clone(), notes.clone());
    let node = builder
        .expand(
            source,
            FunctionSpec::new(expanding("split", move |_, each| {
                for item in 0..3 {
                    made.note(format!("make {item}"));
                    each(Value::from(item))?;
                }
                Ok(())
            })),
        )
        .expect("a node");
    builder
        .update(
            node,
            FunctionSpec::new(function("use", move |call| {
                used.note(format!(
                    "use {} {} {}",
                    repr(call.value),
                    repr(call.key),
                    call.timestamp
                ));
                Ok(Value::Null)
            })),
        )
        .expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    driver.process("t", TestRecord::new("k", "1", 7)).expect("it runs");
    assert_eq!(
        notes.take(),
        ["make 0", "use 0 'k' 7", "make 1", "use 1 'k' 7", "make 2", "use 2 'k' 7"]
    );
    assert_eq!(driver.take_leaves().len(), 3, "A-53");
}

/// D-31, D-32, D-34, D-37, D-38.
#[test]
fn d_30s_columns() {
    let (mut builder, source) = start();
    let node = builder.filter_expr(source, gt("a", 0)).expect("a node");
    let sum = Expr::binary(BinaryOp::Add, Expr::column("a"), Expr::column("b"));
    let node = builder.assign(node, "sum", AssignSource::Expr(sum)).expect("a node");
    let node = builder.assign(node, "a", AssignSource::Constant(Value::from("x"))).expect("a node");
    let node = builder.drop_columns(node, &["b"], false).expect("a node");
    let node = builder.drop_columns(node, &["missing"], true).expect("a node");
    let fill = vec![("c".to_owned(), Value::Null), ("d".to_owned(), Value::from(1))];
    let node = builder.fill(node, fill).expect("a node");
    builder.project(node, &["d", "sum", "a", "c"]).expect("a node");
    check(
        builder.build().expect("a topology"),
        "
        t/0 k @1 {\"a\": 1, \"b\": 2}
        t/0 k @2 {\"a\": 0, \"b\": 2}
        t/0 k @3 {\"a\": 1, \"b\": 2, \"c\": 3, \"d\": null}
        ",
        "
        => k @1 {'d': 1, 'sum': 3, 'a': 'x', 'c': None}
        => k @3 {'d': 1, 'sum': 3, 'a': 'x', 'c': 3}
        ",
    );
}

/// D-33, D-34, D-05: a chain of `apply` begins with the value itself, so that what its first
/// function changes there stays; the value goes on, not the result; and the chain makes no output
/// of its own.
#[test]
fn d_33_chains() {
    let (mut builder, source) = start();
    let nested = |name: &str| {
        FunctionSpec::new(function(name, |call| {
            access::assign(call.value, &"dirty".into(), Value::Bool(true))?;
            access::get(call.value, "a")
        }))
    };
    let chain = builder.apply(source, nested("pick")).expect("a node");
    let node = builder.filter_chain(source, chain).expect("a node");
    let chain = builder.apply(node, nested("pick")).expect("a node");
    let twice = FunctionSpec::new(function("twice", |call| {
        Ok(Value::from(call.value.as_i64().unwrap_or(0) * 2))
    }));
    let chain = builder.apply(chain, twice).expect("a node");
    builder.assign_chain(node, "b", chain).expect("a node");
    check(
        builder.build().expect("a topology"),
        "t/0 k @1 {\"a\": 3}\nt/0 k @2 {\"a\": 0}",
        "=> k @1 {'a': 3, 'dirty': True, 'b': 6}",
    );
}

struct SetHeaders;

impl HeadersFunction for SetHeaders {
    fn name(&self) -> &str {
        "set"
    }

    fn headers(&self, call: &mut Call<'_>) -> Result<Headers, Failure> {
        let mut bytes = Vec::new();
        let count = call.headers.view().len();
        millstream_types::encode_header(&mut bytes, "n", Some(count.to_string().as_bytes()));
        Ok(Headers::new(bytes.into(), 1))
    }
}

/// D-50, D-51, D-52, T-06: key, value, timestamp and headers of an output. A null key meets no
/// serializer, a null value does.
#[test]
fn d_50_outputs() {
    let (mut builder, source) = start();
    builder.to_topic(source, json_sink("as-is")).expect("a node");
    let node = builder
        .set_timestamp(source, function("later", |call| Ok(Value::from(call.timestamp + 100))))
        .expect("a node");
    let node = builder.set_headers(node, Arc::new(SetHeaders)).expect("a node");
    let keyed = SinkSpec {
        key: Some(function("key", |call| access::get(call.value, "a"))),
        ..json_sink("keyed")
    };
    builder.to_topic(node, keyed).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let mut record = TestRecord::new("k", r#"{"a": "new"}"#, 5);
    record.headers = vec![("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), None)];
    driver.process("t", record).expect("it runs");
    let outputs = driver.take_outputs();
    assert_eq!((&*outputs[0].topic, outputs[0].timestamp), ("as-is", 5));
    assert_eq!(outputs[0].headers.len(), 2, "T-09: order and duplicates stay");
    assert_eq!((&*outputs[1].topic, outputs[1].timestamp), ("keyed", 105));
    assert_eq!(outputs[1].key.as_deref(), Some(&b"new"[..]));
    assert_eq!(outputs[1].headers, [("n".to_owned(), Some(b"2".to_vec()))]);

    let out = run_script(&mut driver, "t/0 - @1 {\"a\": null}\nt/0 k @2 null");
    assert_eq!(out.lines().next(), Some("-> as-is - @1 {\"a\": null}"));
    assert!(out.contains("-> keyed - @101"), "{out}");
    assert!(out.contains("-> as-is k @2 null"), "T-06: {out}");
}

struct WithHeaders;

impl Serializer for WithHeaders {
    fn serialize(
        &self,
        _: &mut Value,
        _: &SerializationContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Serialized, Failure> {
        out.push(b'v');
        Ok(Serialized::Bytes)
    }

    fn extra_headers(&self) -> Result<Option<Headers>, Failure> {
        let mut bytes = Vec::new();
        millstream_types::encode_header(&mut bytes, "format", Some(b"x"));
        Ok(Some(Headers::new(bytes.into(), 1)))
    }
}

/// T-06: headers that the serializer sets replace those of the record and come last.
#[test]
fn t_06_extra_headers() {
    let (mut builder, source) = start();
    let topic = SinkTopic {
        name: "out".into(),
        key_serializer: serializer_by_name("str").expect("a format"),
        value_serializer: Arc::new(WithHeaders),
    };
    let spec = SinkSpec { target: SinkTarget::Topic(Arc::new(topic)), key: None };
    builder.to_topic(source, spec).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let mut record = TestRecord::new("k", "1", 0);
    record.headers = vec![("format".to_owned(), None), ("a".to_owned(), None)];
    driver.process("t", record).expect("it runs");
    let headers = &driver.take_outputs()[0].headers;
    assert_eq!(headers, &[("a".to_owned(), None), ("format".to_owned(), Some(b"x".to_vec()))]);
}

struct ByValue(Vec<Arc<SinkTopic>>);

impl TopicChooser for ByValue {
    fn name(&self) -> &str {
        "by_value"
    }

    fn choose(&self, call: &mut Call<'_>) -> Result<Arc<SinkTopic>, Failure> {
        let at = call.value.share();
        Ok(Arc::clone(&self.0[usize::from(repr(&at) == "1")]))
    }
}

/// D-50: a function chooses the topic.
#[test]
fn d_50_chosen_topic() {
    let topic = |name: &str| {
        Arc::new(SinkTopic {
            name: name.into(),
            key_serializer: serializer_by_name("str").expect("a format"),
            value_serializer: serializer_by_name("json").expect("a format"),
        })
    };
    let (mut builder, source) = start();
    let target = SinkTarget::Chosen(Arc::new(ByValue(vec![topic("zero"), topic("one")])));
    builder.to_topic(source, SinkSpec { target, key: None }).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    run_script(&mut driver, "");
    for value in ["0", "1"] {
        driver.process("t", TestRecord::new("k", value, 0)).expect("it runs");
    }
    let topics: Vec<_> = driver.take_outputs().iter().map(|out| out.topic.to_string()).collect();
    assert_eq!(topics, ["zero", "one"]);
}

/// T-64: several records of one message; the offset is stored once. T-07: each item sees the
/// message's own timestamp. T-51: an ignored message is covered as well.
struct Split;

impl Deserializer for Split {
    fn deserialize(
        &self,
        bytes: bytes::Bytes,
        _: &SerializationContext<'_>,
    ) -> Result<Deserialized, Failure> {
        let text = std::str::from_utf8(&bytes).expect("the test sends text");
        if text == "ignore" {
            return Ok(Deserialized::Ignore);
        }
        Ok(Deserialized::Many(text.split(',').filter(|s| !s.is_empty()).map(Value::from).collect()))
    }
}

struct PlusTen;

impl TimestampExtractor for PlusTen {
    fn extract(
        &self,
        _: &mut Value,
        _: &Headers,
        timestamp: i64,
        kind: TimestampType,
    ) -> Result<i64, Failure> {
        assert_eq!(kind, TimestampType::CreateTime);
        Ok(timestamp + 10)
    }
}

#[test]
fn t_64_t_07_t_51_splitting() {
    let mut builder = TopologyBuilder::new("g");
    let source = SourceSpec {
        value_deserializer: Arc::new(Split),
        timestamp_extractor: Some(Arc::new(PlusTen)),
        ..json_source("t", 1)
    };
    let source = builder.source(source).expect("a source");
    let fails = function("fails", |call| match repr(call.value).as_str() {
        "'bad'" => Err(Failure::new(millstream_value::FailureKind::Value, "bad")),
        _ => Ok(call.value.share()),
    });
    builder.apply(source, FunctionSpec::new(fails)).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let notes = Notes::suppressing();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(&mut driver, "t/0 k @1 a,bad,b\nt/0 k @2 ignore\nt/0 k @3 ,");
    assert_eq!(out, "=> k @11 'a'\n=> k @11 'b'\n", "E-02: the others still run");
    let lines = notes.take();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].ends_with("['bad']"), "the row is the failed item: {lines:?}");
    assert_eq!(lines[1..], ["done t[0] 0", "done t[0] 2"]);
    let next = driver.positions();
    assert_eq!(next.iter().map(|(_, next)| next).collect::<Vec<_>>(), [3], "T-51 Do");
}

/// T-05: tombstones reach user functions as None, without a deserializer.
#[test]
fn t_05_tombstones() {
    let (builder, _) = start();
    check(
        builder.build().expect("a topology"),
        "t/0 k @1 -\nt/0 - @2 1",
        "=> k @1 None\n=> - @2 1",
    );
}

/// A-53: leaves are counted where branches end; a filtered record is none.
#[test]
fn a_53_outputs_are_leaves() {
    let (mut builder, source) = start();
    builder
        .filter_expr(source, Expr::binary(BinaryOp::Gt, Expr::record(), Expr::constant(1)))
        .expect("a node");
    builder.to_topic(source, json_sink("out")).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    for value in ["1", "2"] {
        driver.process("t", TestRecord::new("k", value, 0)).expect("it runs");
    }
    assert_eq!(driver.take_leaves().len(), 3);
}

/// D-60: a record given as values, and the leaves of every branch in order.
#[test]
fn d_60_inject() {
    let (mut builder, source) = start();
    builder.select(source, Expr::column("a")).expect("a node");
    builder.select(source, Expr::column("b")).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let record = millstream_engine::Record {
        value: Value::json(r#"{"a": 1, "b": 2}"#).expect("valid"),
        key: Value::from("k"),
        timestamp: 3,
        headers: Headers::none(),
    };
    let context = millstream_value::RecordContext {
        topic_partition: millstream_types::TopicPartition::new("t", 0),
        offset: 0,
        size: 0,
        leader_epoch: None,
    };
    let leaves = driver.inject("t", record, context).expect("it runs");
    assert_eq!(leaves.iter().map(|leaf| repr(&leaf.value)).collect::<Vec<_>>(), ["1", "2"]);
}
