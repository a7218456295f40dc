//! Resume anywhere: one output, wherever a program is stopped, crashed or restored.

use millstream_engine::{
    Aggregation, Aggregations, FunctionSpec, Topology, TopologyBuilder, WindowSpec,
};
use millstream_testing::{CrashPoint, Guarantee, TestRecord, TopologyTestDriver};
use millstream_value::{BinaryOp, Expr, Value};

use crate::support::{column, columns, function, group_by_column, json_sink, json_source};

/// Everything at once: filter, state that stays and that expires, group-by, two windows, two outputs.
fn topology() -> Topology {
    let mut builder = TopologyBuilder::new("g");
    let orders = builder.source(json_source("orders", 2)).expect("a source");
    let positive = Expr::binary(BinaryOp::Gt, Expr::column("price"), Expr::constant(0));
    let orders = builder.filter_expr(orders, positive).expect("a filter");
    let number = function("number", |call| {
        let state = call.state.as_ref().expect("stateful");
        let n = state.get(b"n")?.map_or(0, |n| n[0]) + 1;
        state.set(b"n", &[n])?;
        let lately = Value::from(state.exists(b"lately")?);
        state.set_expiring(b"lately", b"1", 90)?;
        millstream_value::access::assign(call.value, &"lately".into(), lately)?;
        millstream_value::access::assign(call.value, &"nr".into(), Value::from(i64::from(n)))?;
        Ok(Value::Null)
    });
    let orders = builder.update(orders, FunctionSpec::stateful(number)).expect("a function");
    builder.to_topic(orders, json_sink("numbered")).expect("a sink");
    let by_user = builder.group_by(orders, group_by_column("user")).expect("a group-by");
    let table = columns(&[
        ("n", Aggregation::Count(None)),
        ("mean", Aggregation::Mean(column("price"))),
        ("prices", Aggregation::Collect(column("price"))),
    ]);
    let window = builder.window(by_user, WindowSpec::tumbling(100, 30, table)).expect("a window");
    builder.to_topic(window, json_sink("table")).expect("a sink");
    let latest =
        Aggregations::Columns(vec![("last".to_owned(), Aggregation::Latest(column("nr")))]);
    let spec =
        WindowSpec { name: Some("latest".to_owned()), ..WindowSpec::tumbling(50, 0, latest) };
    let window = builder.window(by_user, spec).expect("a window");
    builder.to_topic(window, json_sink("table")).expect("a sink");
    builder.build().expect("a topology")
}

fn records() -> impl Iterator<Item = (i32, TestRecord)> {
    (0..120_i64).map(|at| {
        let value = format!(
            r#"{{"user": "u{}", "price": {}.5, "note": null}}"#,
            at * 7 % 5,
            at * 13 % 11 - 1
        );
        ((at % 2) as i32, TestRecord::new(format!("k{}", at % 3), value, at * 9 - at % 4 * 20))
    })
}

fn finish(driver: &mut TopologyTestDriver) -> Vec<String> {
    driver.run().expect("it runs");
    driver.tick(0).expect("it runs");
    driver.tick(2_000).expect("it runs");
    let mut lines: Vec<String> =
        driver.take_outputs().iter().map(|out| format!("{out:?}")).collect();
    assert!(lines.len() > 150, "{}", lines.len());
    // Tasks run side by side: between their outputs there is no order (A-60).
    lines.sort_unstable();
    lines
}

fn straight() -> Vec<String> {
    let mut driver = TopologyTestDriver::new(topology()).expect("a driver");
    for (partition, record) in records() {
        driver.send("orders", partition, record).expect("a source");
        driver.run().expect("it runs");
    }
    finish(&mut driver)
}

/// With a checkpoint, a restart, a restart without a disk and crashes within checkpoints, each
/// at every seventh place.
#[test]
fn one_output_wherever_it_is_stopped() {
    let golden = straight();
    type Event = fn(&mut TopologyTestDriver);
    let events: [(&str, Event); 6] = [
        ("checkpoint", |driver| driver.checkpoint().expect("a checkpoint")),
        ("crash", |driver| driver.crash().expect("a crash")),
        ("restart", |driver| {
            driver.checkpoint().expect("a checkpoint");
            driver.crash().expect("a crash");
        }),
        ("without disk", |driver| {
            driver.lose_disk();
            driver.crash().expect("a crash");
        }),
        ("after changelog", |driver| driver.crash_at(CrashPoint::AfterChangelog).expect("a crash")),
        ("after commit", |driver| driver.crash_at(CrashPoint::AfterCommit).expect("a crash")),
    ];
    for (name, event) in events {
        for offset in 0..7 {
            let mut driver = TopologyTestDriver::new(topology()).expect("a driver");
            driver.set_guarantee(Guarantee::ExactlyOnce);
            for (at, (partition, record)) in records().enumerate() {
                driver.send("orders", partition, record).expect("a source");
                driver.run().expect("it runs");
                if at % 7 == offset {
                    event(&mut driver);
                    driver.run().expect("it runs");
                } else if at % 11 == 0 {
                    driver.checkpoint().expect("a checkpoint");
                }
            }
            assert!(finish(&mut driver) == golden, "{name} at {offset}");
        }
    }
}

/// The size of batches is nobody's business.
#[test]
fn one_output_whatever_the_batches() {
    let run = |records_per_batch| {
        let mut driver = TopologyTestDriver::new(topology()).expect("a driver");
        driver.set_batch_records(records_per_batch);
        for (partition, record) in records() {
            driver.send("orders", partition, record).expect("a source");
        }
        finish(&mut driver)
    };
    let whole = run(usize::MAX);
    assert!(run(1) == whole);
    assert!(run(7) == whole);
}

/// `discard`: everything since the last checkpoint is undone in the task itself.
#[test]
fn discard_goes_back_to_the_checkpoint() {
    let mut driver = TopologyTestDriver::new(topology()).expect("a driver");
    for (partition, record) in records().take(40) {
        driver.send("orders", partition, record).expect("a source");
    }
    driver.run().expect("it runs");
    driver.checkpoint().expect("a checkpoint");
    let committed = driver.positions();
    for (partition, record) in records().skip(40).take(20) {
        driver.send("orders", partition, record).expect("a source");
    }
    driver.run().expect("it runs");
    assert_ne!(driver.positions(), committed);
    assert!(driver.tasks().any(|task| task.dirty_bytes() > 0 && task.covered() > 0));
    for task in driver.tasks() {
        task.discard().expect("the state reads back");
        assert_eq!((task.covered(), task.dirty_bytes(), task.queued()), (0, 0, 0));
    }
    assert_eq!(driver.positions(), committed);
}
