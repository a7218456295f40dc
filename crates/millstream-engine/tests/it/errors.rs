//! Errors of records: where they happened, who is asked, what counts as processed.

use millstream_engine::{FunctionSpec, TopologyBuilder};
use millstream_testing::{TopologyTestDriver, run_script};
use millstream_value::{BinaryOp, Expr, Failure, FailureKind, Value};

use crate::support::{Notes, column, columns, function, json_sink, json_source};

fn divide() -> TopologyBuilder {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("orders", 1)).expect("a source");
    let noted = builder.to_topic(source, json_sink("before")).expect("a node");
    let ratio = Expr::binary(BinaryOp::Div, Expr::constant(12), Expr::column("n"));
    builder.select(noted, ratio).expect("a node");
    builder.to_topic(source, json_sink("after")).expect("a node");
    builder
}

fn driver(builder: &TopologyBuilder) -> TopologyTestDriver {
    TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver")
}

/// E-02, D-09: not suppressed, the run ends with one line that says where and what to do.
/// Outputs already produced stay; the offset does not count.
#[test]
fn e_02_an_error_ends_the_run() {
    let mut driver = driver(&divide());
    let out = run_script(
        &mut driver,
        "orders/0 k @1 {\"n\": 4}\norders/0 k @2 {\"n\": 0}\norders/0 k @3 {\"n\": 1}",
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert_eq!(lines[2], "-> before k @2 {\"n\": 0}");
    assert_eq!(
        lines[3],
        "!! orders[0] offset 1, operator select (12 / value['n']): division by zero; correct the \
         operator or the record, or skip such records with on_processing_error"
    );
    assert_eq!(driver.positions().iter().map(|(_, next)| next).collect::<Vec<_>>(), [1]);
}

/// E-02: suppressed, the record is abandoned where it is, later branches included (D-09), and
/// its offset counts. The row is the record as it was read.
#[test]
fn e_02_suppressed() {
    let mut driver = driver(&divide());
    let notes = Notes::suppressing();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(&mut driver, "orders/0 k @2 {\"n\": 0}\norders/0 k @3 {\"n\": 1}");
    assert_eq!(
        out,
        "-> before k @2 {\"n\": 0}\n-> before k @3 {\"n\": 1}\n-> after k @3 {\"n\": 1}\n"
    );
    let lines = notes.take();
    assert!(lines[0].ends_with("[{'n': 0}]"), "{lines:?}");
    assert_eq!(lines[1..], ["done orders[0] 0", "done orders[0] 1"]);
}

/// E-01, T-51: a message that does not deserialize goes to the consumer callback; skipped, it is
/// covered all the same, and is not *processed*.
#[test]
fn e_01_consumer_errors() {
    let mut builder = TopologyBuilder::new("g");
    builder.source(json_source("t", 1)).expect("a source");
    let mut strict = driver(&builder);
    let out = run_script(&mut strict, "t/0 k @1 {\"a\":");
    assert!(out.starts_with("!! t[0] offset 0, operator source \"t\": "), "{out}");
    assert!(out.trim_end().ends_with("or skip such records with on_consumer_error"), "{out}");
    assert!(strict.positions().is_empty());

    let mut lenient = driver(&builder);
    let notes = Notes::suppressing();
    lenient.set_hooks(Box::new(notes.clone()));
    assert_eq!(run_script(&mut lenient, "t/0 k @1 {\"a\":\nt/0 k @2 1"), "=> k @2 1\n");
    assert_eq!(lenient.positions().iter().map(|(_, next)| next).collect::<Vec<_>>(), [2]);
    let lines = notes.take();
    assert!(lines[0].starts_with("consumer: ") && lines[0].ends_with("[0]"), "{lines:?}");
    assert_eq!(lines[1..], ["done t[0] 1"]);
}

/// E-03: an output that does not serialize. Suppressed, the record goes on; otherwise it is a
/// processing error too.
#[test]
fn e_03_producer_errors() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let bytes = function("bytes", |_| Ok(Value::Bytes(bytes::Bytes::from_static(b"x"))));
    let node = builder.apply(source, FunctionSpec::new(bytes)).expect("a node");
    let node = builder.to_topic(node, json_sink("out")).expect("a node");
    builder.to_topic(node, json_sink("out2")).expect("a node");

    let mut lenient = driver(&builder);
    let notes = Notes::suppressing();
    lenient.set_hooks(Box::new(notes.clone()));
    run_script(&mut lenient, "t/0 k @1 1");
    let lines = notes.take();
    assert_eq!(lines.len(), 3, "both outputs, and done: {lines:?}");
    assert!(
        lines[0].starts_with("producer: t[0] offset 0, operator to_topic \"out\": "),
        "{lines:?}"
    );

    let mut strict = driver(&builder);
    let notes = Notes::default();
    strict.set_hooks(Box::new(notes.clone()));
    let out = run_script(&mut strict, "t/0 k @1 1");
    assert!(out.starts_with("!! t[0] offset 0, operator to_topic \"out\": "), "{out}");
    let asked: Vec<String> = notes.take();
    assert!(asked[0].starts_with("producer") && asked[1].starts_with("processing"), "{asked:?}");
}

/// An interrupt is nobody's to suppress.
#[test]
fn interrupts_pass_the_callbacks_by() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let stop = function("stop", |_| Err(Failure::new(FailureKind::Interrupt, "Ctrl-C")));
    builder.apply(source, FunctionSpec::new(stop)).expect("a node");
    let mut driver = driver(&builder);
    let notes = Notes::suppressing();
    driver.set_hooks(Box::new(notes.clone()));
    assert!(run_script(&mut driver, "t/0 k @1 1").starts_with("!! "));
    assert!(notes.take().is_empty());
}

/// Every message is one line and ends with what to do.
#[test]
fn messages_are_one_line() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let many = function("many", |_| Err(Failure::new(FailureKind::Value, "first\nsecond.\n")));
    builder.apply(source, FunctionSpec::new(many)).expect("a node");
    let out = run_script(&mut driver(&builder), "t/0 k @1 1");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.contains("first | second. correct the operator"), "{out}");

    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let spec = millstream_engine::WindowSpec::tumbling(
        10,
        0,
        columns(&[("x", millstream_engine::Aggregation::Sum(column("v")))]),
    );
    builder.window(source, spec).expect("a window");
    let out = run_script(&mut driver(&builder), "t/0 k @1 [1]");
    assert!(out.trim_end().ends_with("skip such records with on_processing_error"), "{out}");
}
