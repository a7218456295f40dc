//! Tumbling windows against the rows, by script, and against a slow twin.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_engine::{
    Aggregation, Aggregations, ClosingStrategy, Emission, Late, LateCallback, Topology,
    TopologyBuilder, TopologyError, WindowSpec, WindowTrigger,
};
use millstream_testing::{
    CrashPoint, Guarantee, TestRecord, TopologyTestDriver, check, run_script,
};
use millstream_value::{Call, Failure, Value, repr};
use proptest::prelude::*;

use crate::support::{Notes, column, columns, json_source, of_values};

fn topology(spec: WindowSpec) -> Topology {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a new topic");
    builder.window(source, spec).expect("a valid window");
    builder.build().expect("a valid topology")
}

fn sum(duration: i64, grace: i64) -> WindowSpec {
    WindowSpec::tumbling(duration, grace, Aggregations::Shortcut(Aggregation::Sum(None)))
}

/// W-35, W-36, W-38, W-48: closes on the first record of the key at or behind the end; key,
/// start as timestamp, bounds and value.
#[test]
fn w_48_final_by_key() {
    check(
        topology(sum(10, 0)),
        "
        t/0 a @0 1
        t/0 a @9 2
        t/0 b @25 7
        t/0 a @10 4
        t/0 a @35 1
        ",
        "
        => a @0 {'start': 0, 'end': 10, 'value': 3}
        => a @10 {'start': 10, 'end': 20, 'value': 4}
        ",
    );
}

/// W-47, W-48: within grace a record still counts; windows stay open that long, and come out
/// ascending.
#[test]
fn w_48_grace_keeps_windows_open() {
    check(
        topology(sum(10, 5)),
        "
        t/0 a @3 1
        t/0 a @14 2
        t/0 a @4 4
        t/0 a @40 8
        ",
        "
        => a @0 {'start': 0, 'end': 10, 'value': 5}
        => a @10 {'start': 10, 'end': 20, 'value': 2}
        ",
    );
}

/// W-37: the updated window at once, with its result so far; nothing at the close.
#[test]
fn w_37_current() {
    let spec = WindowSpec { emission: Emission::Current, ..sum(10, 0) };
    check(
        topology(spec),
        "
        t/0 a @1 1
        t/0 a @2 2
        t/0 a @11 4
        ",
        "
        => a @0 {'start': 0, 'end': 10, 'value': 1}
        => a @0 {'start': 0, 'end': 10, 'value': 3}
        => a @10 {'start': 10, 'end': 20, 'value': 4}
        ",
    );
}

/// W-50: any record of the partition closes the due windows of all keys, by key and start, each
/// with its own key.
#[test]
fn w_50_final_by_partition() {
    let spec = WindowSpec { closing: ClosingStrategy::Partition, ..sum(10, 0) };
    check(
        topology(spec),
        "
        t/0 b @1 1
        t/0 a @2 2
        t/0 a @15 3
        checkpoint
        t/0 c @40 4
        ",
        "
        => a @0 {'start': 0, 'end': 10, 'value': 2}
        => b @0 {'start': 0, 'end': 10, 'value': 1}
        => a @10 {'start': 10, 'end': 20, 'value': 3}
        ",
    );
}

/// W-51: with grace a closed window does not re-open; late records are late.
#[test]
fn w_51_partition_closing_with_grace() {
    let spec = WindowSpec { closing: ClosingStrategy::Partition, ..sum(10, 5) };
    let mut driver = TopologyTestDriver::new(topology(spec)).expect("a driver");
    let notes = Notes::default();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(
        &mut driver,
        "
        t/0 a @1 1
        t/0 b @16 1
        t/0 a @2 100
        t/0 a @30 1
        ",
    );
    assert_eq!(
        out,
        "=> a @0 {'start': 0, 'end': 10, 'value': 1}\n=> b @10 {'start': 10, 'end': 20, 'value': 1}\n"
    );
    assert!(notes.take().contains(&"late by 9 for 0..10".to_owned()));
}

struct OnLate(Notes, bool);

impl LateCallback for OnLate {
    fn late(&self, value: &mut Value, key: &mut Value, late: &Late<'_>) -> Result<bool, Failure> {
        self.0.note(format!(
            "on_late {} {} {} {} {}..{} {} {}[{}] {}",
            repr(value),
            repr(key),
            late.timestamp,
            late.late_by_ms,
            late.start,
            late.end,
            late.store_name,
            late.topic,
            late.partition,
            late.offset
        ));
        Ok(self.1)
    }
}

/// W-53: the callback gets everything, and says whether the warning comes as well. W-47: its own
/// timestamp never makes a record late.
#[test]
fn w_53_on_late() {
    for warn in [false, true] {
        let notes = Notes::default();
        let spec =
            WindowSpec { on_late: Some(Arc::new(OnLate(notes.clone(), warn))), ..sum(10, 3) };
        let mut driver = TopologyTestDriver::new(topology(spec)).expect("a driver");
        driver.set_hooks(Box::new(notes.clone()));
        run_script(&mut driver, "t/0 a @20 1\nt/0 a @7 2");
        let lines = notes.take();
        let told = "on_late 2 'a' 7 10 0..10 tumbling_window_10_sum t[0] 1".to_owned();
        assert!(lines.contains(&told), "{lines:?}");
        assert_eq!(lines.contains(&"late by 10 for 0..10".to_owned()), warn, "{lines:?}");
    }
}

/// W-10: a null key is left out with a warning. W-45: a negative timestamp has no window.
#[test]
fn w_10_w_45_records_without_a_window() {
    let mut driver = TopologyTestDriver::new(topology(sum(10, 0))).expect("a driver");
    let notes = Notes::default();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(&mut driver, "t/0 - @1 1\nt/0 a @-1 1\nt/0 a @10 5\nt/0 a @20 5");
    assert_eq!(out, "=> a @10 {'start': 10, 'end': 20, 'value': 5}\n");
    assert!(notes.take().contains(&"no key at t[0] 0 tumbling_window_10_sum".to_owned()));
}

/// W-25, W-26, W-27, W-31, W-35: every aggregation over nulls, missing columns and equal values.
#[test]
fn w_26_results_of_all_aggregations() {
    let all = |c: fn() -> Option<String>| {
        columns(&[
            ("list", Aggregation::Collect(column("v"))),
            ("count", Aggregation::Count(c())),
            ("rows", Aggregation::Count(None)),
            ("sum", Aggregation::Sum(c())),
            ("mean", Aggregation::Mean(c())),
            ("min", Aggregation::Min(c())),
            ("max", Aggregation::Max(c())),
            ("first", Aggregation::First(c())),
            ("last", Aggregation::Last(c())),
            ("earliest", Aggregation::Earliest(c())),
            ("latest", Aggregation::Latest(c())),
        ])
    };
    let spec = WindowSpec::tumbling(10, 0, all(|| column("v")));
    check(
        topology(spec),
        r#"
        t/0 a @5 {"v": null}
        t/0 a @10 {"v": null}
        t/0 a @13 {"v": 2}
        t/0 a @13 {"v": 1}
        t/0 a @12 {"v": 1.0}
        t/0 a @15 {"v": 5}
        t/0 a @15 {"v": 3}
        t/0 a @11 {"v": 5.0}
        t/0 a @20 {"v": 0}
        "#,
        "
        => a @0 {'count': 0, 'rows': 1, 'sum': 0, 'mean': None, 'min': None, 'max': None, 'first': None, 'last': None, 'earliest': None, 'latest': None, 'list': [None], 'start': 0, 'end': 10}
        => a @10 {'count': 6, 'rows': 7, 'sum': 17.0, 'mean': 2.8333333333333335, 'min': 1, 'max': 5, 'first': 2, 'last': 5.0, 'earliest': 5.0, 'latest': 3, 'list': [None, 5.0, 1.0, 2, 1, 5, 3], 'start': 10, 'end': 20}
        ",
    );
}

/// W-21, W-32: an accumulated None starts anew; the reducer gets what the store gives back.
#[test]
fn w_21_reduce() {
    let reduce = Aggregation::Reduce {
        initializer: of_values("first", |values| {
            Ok(Value::List(vec![Value::from("init"), values[0].share()]))
        }),
        reducer: of_values("next", |values| {
            if repr(&values[1]) == "'reset'" {
                return Ok(Value::Null);
            }
            let mut list =
                values[0].as_list().expect("a list").iter().map(Value::share).collect::<Vec<_>>();
            list.push(values[1].share());
            Ok(Value::List(list))
        }),
        merger: None,
    };
    let spec = WindowSpec {
        emission: Emission::Current,
        ..WindowSpec::tumbling(10, 0, Aggregations::Shortcut(reduce))
    };
    check(
        topology(spec),
        r#"
        t/0 a @0 1
        t/0 a @1 null
        checkpoint
        crash
        t/0 a @2 "reset"
        t/0 a @3 4
        "#,
        "
        => a @0 {'start': 0, 'end': 10, 'value': ['init', 1]}
        => a @0 {'start': 0, 'end': 10, 'value': ['init', 1, None]}
        => a @0 {'start': 0, 'end': 10, 'value': None}
        => a @0 {'start': 0, 'end': 10, 'value': ['init', 4]}
        ",
    );
}

/// W-30: a wrong type raises; suppressed, the window is as it was, whatever came before it in
/// the list, and the record has moved no time.
#[test]
fn w_30_an_update_that_fails_changes_nothing() {
    let spec = WindowSpec::tumbling(
        10,
        0,
        columns(&[
            ("n", Aggregation::Count(column("v"))),
            ("last", Aggregation::Last(column("v"))),
            ("sum", Aggregation::Sum(column("v"))),
        ]),
    );
    let mut driver = TopologyTestDriver::new(topology(spec)).expect("a driver");
    let notes = Notes::suppressing();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(
        &mut driver,
        r#"
        t/0 a @1 {"v": 1}
        t/0 a @15 {"v": "x"}
        t/0 a @2 {"v": "y"}
        t/0 a @3 {"v": 2}
        t/0 a @4 7
        t/0 a @10 {"v": 0}
        "#,
    );
    assert_eq!(out, "=> a @0 {'n': 2, 'last': 2, 'sum': 3, 'start': 0, 'end': 10}\n");
    let errors =
        notes.take().into_iter().filter(|line| line.starts_with("processing")).collect::<Vec<_>>();
    assert_eq!(errors.len(), 3);
    assert!(
        errors[0].starts_with("processing: t[0] offset 1, operator window \"tumbling_window_10\""),
        "{}",
        errors[0]
    );
    assert!(errors[2].contains("'int' object has no attribute 'get'"), "W-24: {}", errors[2]);
}

/// W-28: a collected column must be there.
#[test]
fn w_28_collect_needs_its_column() {
    let spec = WindowSpec::tumbling(
        10,
        0,
        columns(&[
            ("a", Aggregation::Collect(column("a"))),
            ("b", Aggregation::Collect(column("b"))),
        ]),
    );
    let mut driver = TopologyTestDriver::new(topology(spec)).expect("a driver");
    driver.set_hooks(Box::new(Notes::suppressing()));
    let out = run_script(
        &mut driver,
        r#"
        t/0 k @1 {"a": 1, "b": 2, "c": 3}
        t/0 k @2 {"a": 1}
        t/0 k @3 {"a": [1], "b": null}
        t/0 k @10 {"a": 0, "b": 0}
        "#,
    );
    assert_eq!(out, "=> k @0 {'a': [1, [1]], 'b': [2, None], 'start': 0, 'end': 10}\n");
}

/// W-23, W-37: what cannot be declared.
#[test]
fn w_23_declarations() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a new topic");
    let mut declare = |spec: WindowSpec| builder.window(source, spec).map(drop);
    assert!(matches!(
        declare(WindowSpec::tumbling(10, 0, columns(&[]))),
        Err(TopologyError::Value(_))
    ));
    let start = columns(&[("start", Aggregation::Count(None))]);
    assert!(matches!(declare(WindowSpec::tumbling(10, 0, start)), Err(TopologyError::Value(_))));
    let collect = Aggregations::Shortcut(Aggregation::Collect(None));
    let current =
        WindowSpec { emission: Emission::Current, ..WindowSpec::tumbling(10, 0, collect.clone()) };
    assert!(matches!(declare(current), Err(TopologyError::InvalidOperation(_))));
    assert_eq!(declare(WindowSpec::tumbling(10, 0, collect)), Ok(()));
    assert_eq!(declare(sum(10, 0)), Ok(()));
    // W-09: the grace is not part of the name.
    let twice = declare(sum(10, 5)).expect_err("one store name");
    assert_eq!(twice.exception_name(), "StoreAlreadyRegisteredError");
    assert_eq!(declare(WindowSpec { name: Some("late".to_owned()), ..sum(10, 5) }), Ok(()));
}

struct Fires(Notes, fn(&Value) -> bool);

impl WindowTrigger for Fires {
    fn fires(&self, aggregated: Value, call: &mut Call<'_>) -> Result<bool, Failure> {
        self.0.note(format!("{} {}", repr(&aggregated), repr(call.value)));
        Ok((self.1)(call.value))
    }
}

fn is_nine(value: &Value) -> bool {
    repr(value) == "9"
}

/// W-55, W-58: a fired window comes out with the value, and starts from scratch.
#[test]
fn w_55_after_update() {
    let notes = Notes::default();
    let trigger = Some(Arc::new(Fires(notes.clone(), is_nine)) as Arc<dyn WindowTrigger>);
    let spec = WindowSpec { after_update: trigger, ..sum(10, 0) };
    check(
        topology(spec),
        "
        t/0 a @0 1
        t/0 a @1 9
        t/0 a @2 4
        t/0 a @10 9
        t/0 a @25 0
        ",
        "
        => a @0 {'start': 0, 'end': 10, 'value': 10}
        => a @0 {'start': 0, 'end': 10, 'value': 4}
        => a @10 {'start': 10, 'end': 20, 'value': 9}
        ",
    );
    assert_eq!(notes.take(), ["1 1", "10 9", "4 4", "9 9", "0 0"]);
}

/// W-54: before the update; the value is lost for that window. A new window is offered empty.
#[test]
fn w_54_before_update() {
    let notes = Notes::default();
    let trigger = Some(Arc::new(Fires(notes.clone(), is_nine)) as Arc<dyn WindowTrigger>);
    let mean = Aggregations::Shortcut(Aggregation::Mean(None));
    let spec = WindowSpec { before_update: trigger, ..WindowSpec::tumbling(10, 0, mean) };
    check(
        topology(spec),
        "
        t/0 a @0 9
        t/0 a @1 4
        t/0 a @2 9
        t/0 a @3 6
        t/0 a @20 1
        ",
        "
        => a @0 {'start': 0, 'end': 10, 'value': None}
        => a @0 {'start': 0, 'end': 10, 'value': 4.0}
        => a @0 {'start': 0, 'end': 10, 'value': 6.0}
        ",
    );
    assert_eq!(notes.take()[..3], ["[0.0, 0] 9", "[0.0, 0] 4", "[4.0, 1] 9"]);
}

/// W-56: collected values stay when a window fires, so a re-opened one has them again; time
/// deletes them. W-54: the value that fired is among them.
#[test]
fn w_56_triggers_and_collections() {
    for closing in [ClosingStrategy::Key, ClosingStrategy::Partition] {
        let notes = Notes::default();
        let trigger = Some(Arc::new(Fires(notes.clone(), is_nine)) as Arc<dyn WindowTrigger>);
        let collect = Aggregations::Shortcut(Aggregation::Collect(None));
        let spec =
            WindowSpec { before_update: trigger, closing, ..WindowSpec::tumbling(10, 0, collect) };
        check(
            topology(spec),
            "
            t/0 a @0 1
            t/0 a @1 9
            t/0 a @2 2
            t/0 a @10 9
            t/0 a @20 3
            t/0 a @30 4
            ",
            "
            => a @0 {'start': 0, 'end': 10, 'value': [1]}
            => a @0 {'start': 0, 'end': 10, 'value': [1, 9, 2]}
            => a @10 {'start': 10, 'end': 20, 'value': []}
            => a @20 {'start': 20, 'end': 30, 'value': [3]}
            ",
        );
        assert_eq!(notes.take()[2], "[1, 9] 2");
    }
}

/// W-57: with `current` a fired window comes out once, in its place. W-58: the watermark moves.
#[test]
fn w_57_w_58_triggers_with_current() {
    let notes = Notes::default();
    let trigger = Some(Arc::new(Fires(notes, is_nine)) as Arc<dyn WindowTrigger>);
    let spec = WindowSpec { after_update: trigger, emission: Emission::Current, ..sum(10, 0) };
    let mut driver = TopologyTestDriver::new(topology(spec)).expect("a driver");
    let notes = Notes::default();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(&mut driver, "t/0 a @0 1\nt/0 a @10 9\nt/0 a @11 2\nt/0 a @5 1");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "=> a @0 {'start': 0, 'end': 10, 'value': 1}",
            "=> a @10 {'start': 10, 'end': 20, 'value': 9}",
            "=> a @10 {'start': 10, 'end': 20, 'value': 2}",
        ]
    );
    assert!(notes.take().contains(&"late by 6 for 0..10".to_owned()));
}

/// W-32 *Do*: NaN and infinities stay as they are, through a restart too.
#[test]
fn w_32_non_finite_sums_survive_the_store() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a new topic");
    // JSON has no infinity: 1e308 * 10 makes one.
    let ten = millstream_value::Expr::binary(
        millstream_value::BinaryOp::Mul,
        millstream_value::Expr::record(),
        millstream_value::Expr::constant(10.0),
    );
    let scaled = builder.select(source, ten).expect("a node");
    builder.window(scaled, sum(10, 0)).expect("a window");
    check(
        builder.build().expect("a topology"),
        "
        t/0 a @0 1e308
        checkpoint
        lose disk
        crash
        t/0 a @1 1
        t/0 a @10 1
        ",
        "=> a @0 {'start': 0, 'end': 10, 'value': inf}",
    );
}

/// W-31: after a restart with other columns, new ones start fresh and others go on.
#[test]
fn w_31_changing_the_columns() {
    let before = WindowSpec::tumbling(
        10,
        0,
        columns(&[("n", Aggregation::Count(None)), ("total", Aggregation::Sum(column("v")))]),
    );
    let after = WindowSpec::tumbling(
        10,
        0,
        columns(&[
            ("best", Aggregation::Max(column("v"))),
            ("total", Aggregation::Sum(column("v"))),
            ("n", Aggregation::Count(column("v"))),
        ]),
    );
    let mut driver = TopologyTestDriver::new(topology(before)).expect("a driver");
    run_script(&mut driver, "t/0 a @0 {\"v\": 3}\nt/0 a @1 {\"v\": 4}\ncheckpoint");
    driver.restart_with(topology(after)).expect("the stores open");
    let out = run_script(&mut driver, "t/0 a @2 {\"v\": 1}\nt/0 a @10 {\"v\": 1}");
    // `n` was renamed in what it is stored under: n/Count is not n/Count/v.
    assert_eq!(out, "=> a @0 {'best': 1, 'total': 8, 'n': 1, 'start': 0, 'end': 10}\n");
}

/// W-48, W-56, W-59: of a closed window nothing is left, collected values included, and neither
/// of one that a trigger fired once time has passed it.
#[test]
fn w_59_nothing_is_left_of_closed_windows() {
    for (closing, per_key) in [(ClosingStrategy::Key, 1), (ClosingStrategy::Partition, 0)] {
        let trigger = Some(Arc::new(Fires(Notes::default(), is_nine)) as Arc<dyn WindowTrigger>);
        let collect = Aggregations::Shortcut(Aggregation::Collect(None));
        let spec =
            WindowSpec { after_update: trigger, closing, ..WindowSpec::tumbling(10, 5, collect) };
        let mut driver = TopologyTestDriver::new(topology(spec)).expect("a driver");
        let mut script = String::new();
        for at in 0..40 {
            for key in ["a", "b"] {
                script.push_str(&format!("t/0 {key} @{} {}\n", at * 3, at % 10));
                if at % 7 == 0 {
                    script.push_str("checkpoint\n");
                }
            }
        }
        for key in ["a", "b"] {
            script.push_str(&format!("t/0 {key} @1000 1\n"));
        }
        run_script(&mut driver, &script);
        driver.checkpoint().expect("a checkpoint");
        // Per key: its open window, that one's value, and its watermark or an entry in the index
        // of ends. Besides: the sequence number and the list of columns.
        let index = 1 - per_key;
        let keys = 2 * (1 + 1 + per_key + index) + 2;
        assert_eq!(driver.stored_keys("tumbling_window_10_collect"), keys, "{closing:?}");
    }
}

// ------------------------------------------------------------------------------------------
// The slow twin
// ------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
struct Input {
    key: u8,
    timestamp: i64,
    value: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    duration: i64,
    grace: i64,
    emission: Emission,
    closing: ClosingStrategy,
    collect: bool,
}

/// Timestamp and value.
type Timed = (i64, Option<i64>);

/// Everything that was accepted, per open window; each result from scratch.
#[derive(Default)]
struct Twin {
    key_times: BTreeMap<u8, i64>,
    partition_time: Option<i64>,
    open: BTreeMap<(u8, i64), Vec<Timed>>,
    out: Vec<String>,
}

impl Twin {
    fn take(&mut self, input: &Input, settings: Settings) {
        if input.timestamp < 0 {
            return;
        }
        let Settings { duration, grace, .. } = settings;
        let time = match settings.closing {
            ClosingStrategy::Key => self.key_times.get(&input.key).copied(),
            ClosingStrategy::Partition => self.partition_time,
        };
        let time = time.unwrap_or(i64::MIN).max(input.timestamp);
        self.key_times.insert(input.key, time);
        self.partition_time = Some(time);
        let start = input.timestamp.div_euclid(duration) * duration;
        if start + duration + grace > time {
            let window = self.open.entry((input.key, start)).or_default();
            window.push((input.timestamp, input.value));
            if settings.emission == Emission::Current {
                let line = result(input.key, start, &self.open[&(input.key, start)], settings);
                self.out.push(line);
            }
        }
        let due: Vec<(u8, i64)> = self
            .open
            .keys()
            .copied()
            .filter(|(key, start)| {
                start + duration + grace <= time
                    && (settings.closing == ClosingStrategy::Partition || *key == input.key)
            })
            .collect();
        for (key, start) in due {
            let values = self.open.remove(&(key, start)).expect("it is open");
            if settings.emission == Emission::Final {
                self.out.push(result(key, start, &values, settings));
            }
        }
    }
}

fn result(key: u8, start: i64, values: &[Timed], settings: Settings) -> String {
    let text = |value: Option<i64>| value.map_or("None".to_owned(), |value| value.to_string());
    let some: Vec<(i64, i64)> = values.iter().filter_map(|(t, v)| Some((*t, (*v)?))).collect();
    let total: i64 = some.iter().map(|(_, v)| v).sum();
    let mean = match some.len() {
        0 => "None".to_owned(),
        n => repr(&Value::Float(total as f64 / n as f64)),
    };
    let mut by_time = values.to_vec();
    by_time.sort_by_key(|(timestamp, _)| *timestamp);
    let mut some_by_time = some.clone();
    some_by_time.sort_by_key(|(timestamp, _)| *timestamp);
    let list: Vec<String> = by_time.iter().map(|(_, v)| text(*v)).collect();
    let fold: Vec<String> = values.iter().map(|(_, v)| text(*v)).collect();
    let earliest = some_by_time.first().map(|(_, v)| *v);
    let latest = some_by_time.last().map(|(_, v)| *v);
    let collected =
        if settings.collect { format!("'all': [{}], ", list.join(", ")) } else { String::new() };
    format!(
        "=> k{key} @{start} {{'n': {}, 'sum': {total}, 'mean': {mean}, 'min': {}, 'max': {}, 'first': {}, 'last': {}, 'earliest': {}, 'latest': {}, 'fold': [{}], {collected}'start': {start}, 'end': {}}}",
        some.len(),
        text(some.iter().map(|(_, v)| *v).min()),
        text(some.iter().map(|(_, v)| *v).max()),
        text(some.first().map(|(_, v)| *v)),
        text(some.last().map(|(_, v)| *v)),
        text(earliest),
        text(latest),
        fold.join(", "),
        start + settings.duration,
    )
}

fn all_aggregations(settings: Settings) -> WindowSpec {
    let v = || column("v");
    let fold = Aggregation::Reduce {
        initializer: of_values("first", |values| {
            let values =
                values.into_iter().map(|record| millstream_value::access::get(&record, "v"));
            values.collect::<Result<Vec<_>, _>>().map(Value::List)
        }),
        reducer: of_values("next", |values| {
            let Ok([Value::List(mut list), record]) = <[Value; 2]>::try_from(values) else {
                panic!("a list and a record")
            };
            list.push(millstream_value::access::get(&record, "v")?);
            Ok(Value::List(list))
        }),
        merger: None,
    };
    let mut list = vec![
        ("n", Aggregation::Count(v())),
        ("sum", Aggregation::Sum(v())),
        ("mean", Aggregation::Mean(v())),
        ("min", Aggregation::Min(v())),
        ("max", Aggregation::Max(v())),
        ("first", Aggregation::First(v())),
        ("last", Aggregation::Last(v())),
        ("earliest", Aggregation::Earliest(v())),
        ("latest", Aggregation::Latest(v())),
        ("fold", fold),
    ];
    if settings.collect {
        list.push(("all", Aggregation::Collect(v())));
    }
    WindowSpec {
        emission: settings.emission,
        closing: settings.closing,
        ..WindowSpec::tumbling(settings.duration, settings.grace, columns(&list))
    }
}

/// What comes between records.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Checkpoint,
    Crash,
    CrashWithoutDisk,
    CrashAfterChangelog,
    CrashAfterCommit,
}

impl Between {
    fn happen(self, driver: &mut TopologyTestDriver) {
        let outcome = match self {
            Between::Nothing => Ok(()),
            Between::Checkpoint => driver.checkpoint(),
            Between::Crash => driver.crash(),
            Between::CrashWithoutDisk => {
                driver.lose_disk();
                driver.crash()
            }
            Between::CrashAfterChangelog => driver.crash_at(CrashPoint::AfterChangelog),
            Between::CrashAfterCommit => driver.crash_at(CrashPoint::AfterCommit),
        };
        outcome.expect("a crash is survived");
        driver.run().expect("what was lost runs again");
    }
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        12 => Just(Between::Nothing),
        2 => Just(Between::Checkpoint),
        1 => Just(Between::Crash),
        1 => Just(Between::CrashWithoutDisk),
        1 => Just(Between::CrashAfterChangelog),
        1 => Just(Between::CrashAfterCommit),
    ]
}

/// Timestamps of five shapes: ordered, jumbled, sparse, dense, and ordered with late ones.
fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let value = prop_oneof![1 => Just(None), 4 => (-5..6_i64).prop_map(Some)];
    let step = (0..3_u8, 0..100_i64, value);
    (0..5_u8, proptest::collection::vec(step, 1..60)).prop_map(|(shape, steps)| {
        let mut time = 0;
        let make = |(key, number, value): (u8, i64, Option<i64>)| {
            let timestamp = match shape {
                0 => {
                    time += number % 7;
                    time
                }
                1 => number * 2 - 3,
                2 => {
                    time += number * 3;
                    time
                }
                3 => number % 25,
                _ => {
                    time += number % 9;
                    if number % 5 == 0 { (time - number).max(0) } else { time }
                }
            };
            Input { key, timestamp, value }
        };
        steps.into_iter().map(make).collect()
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    (1..20_i64, 0..25_i64, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(duration, grace, current, partition, collect)| Settings {
            duration,
            grace,
            emission: if current { Emission::Current } else { Emission::Final },
            closing: if partition { ClosingStrategy::Partition } else { ClosingStrategy::Key },
            collect: collect && !current,
        },
    )
}

fn lines_of(driver: &mut TopologyTestDriver) -> Vec<String> {
    let leaves = driver.take_leaves();
    leaves
        .iter()
        .map(|leaf| {
            let key = leaf.key.as_str().expect("a text key");
            assert!(leaf.headers.is_none(), "W-36");
            format!("=> {key} @{} {}", leaf.timestamp, repr(&leaf.value))
        })
        .collect()
}

fn send(driver: &mut TopologyTestDriver, input: &Input) {
    let value = match input.value {
        Some(value) => format!("{{\"v\": {value}}}"),
        None => "{\"v\": null}".to_owned(),
    };
    let record = TestRecord::new(format!("k{}", input.key), value, input.timestamp);
    driver.send("t", 0, record).expect("a source");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// W-20 to W-27, W-35 to W-51: every aggregation, emission and strategy against the twin;
    /// record by record, with checkpoints and crashes anywhere, and all in one batch.
    #[test]
    fn tumbling_windows_equal_the_slow_twin(
        settings in settings(),
        inputs in inputs(),
        events in proptest::collection::vec(between(), 60),
    ) {
        let mut twin = Twin::default();
        inputs.iter().for_each(|input| twin.take(input, settings));

        let mut driver = TopologyTestDriver::new(topology(all_aggregations(settings))).expect("a driver");
        inputs.iter().for_each(|input| send(&mut driver, input));
        driver.run().expect("no error");
        prop_assert_eq!(lines_of(&mut driver), twin.out.clone(), "in one batch");

        let mut driver = TopologyTestDriver::new(topology(all_aggregations(settings))).expect("a driver");
        driver.set_guarantee(Guarantee::ExactlyOnce);
        for (input, event) in inputs.iter().zip(events) {
            send(&mut driver, input);
            driver.run().expect("no error");
            event.happen(&mut driver);
        }
        prop_assert_eq!(lines_of(&mut driver), twin.out, "record by record, with crashes");
    }
}
