//! Group-by through a repartition topic, and windows behind it.

use std::collections::BTreeMap;

use millstream_engine::{
    Aggregation, Aggregations, ClosingStrategy, IDLE_AFTER_MS, Topology, TopologyBuilder,
    WindowSpec,
};
use millstream_testing::{Guarantee, TestRecord, TopologyTestDriver, run_script};
use millstream_value::repr;
use proptest::prelude::*;

use crate::support::{Notes, column, columns, group_by_column, json_sink, json_source};

fn grouped(partitions: i32, closing: ClosingStrategy) -> Topology {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", partitions)).expect("a source");
    let node = builder.group_by(source, group_by_column("k")).expect("a group-by");
    let aggregations =
        columns(&[("n", Aggregation::Count(None)), ("list", Aggregation::Collect(column("v")))]);
    let spec = WindowSpec { closing, ..WindowSpec::tumbling(10, 0, aggregations) };
    builder.window(node, spec).expect("a window");
    builder.build().expect("a topology")
}

/// D-41: value, timestamp and headers cross the repartition topic, the key is the new one; the
/// original stream goes on; the hand-over is no output.
#[test]
fn d_41_repartition() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 3)).expect("a source");
    let grouped = builder.group_by(source, group_by_column("user")).expect("a group-by");
    builder.to_topic(grouped, json_sink("grouped")).expect("a sink");
    builder.to_topic(source, json_sink("original")).expect("a sink");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let mut record = TestRecord::new("old", r#"{"user": "ada"}"#, 5);
    record.headers = vec![("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), None)];
    let headers = record.headers.clone();
    driver.send("t", 2, record).expect("a source");
    driver.send("t", 1, TestRecord::new("x", r#"{"user": "bob"}"#, 6)).expect("a source");
    driver.run().expect("it runs");
    let mut outputs = driver.take_outputs();
    outputs.sort_by_key(|out| (out.timestamp, out.topic.to_string()));
    let told: Vec<_> =
        outputs.iter().map(|out| (&*out.topic, out.key.as_deref().expect("a key"))).collect();
    assert_eq!(
        told,
        [("grouped", &b"ada"[..]), ("original", b"old"), ("grouped", b"bob"), ("original", b"x")]
    );
    assert_eq!(outputs[0].headers, headers, "nothing of ours is left in them");
    assert!(outputs[2].headers.is_empty());
    assert_eq!(driver.take_leaves().len(), 4);
}

/// D-40: a missing column is a KeyError at run time, with the operator's name.
#[test]
fn d_40_missing_column() {
    for partitions in [1, 2] {
        let mut driver =
            TopologyTestDriver::new(grouped(partitions, ClosingStrategy::Key)).expect("a driver");
        let out = run_script(&mut driver, "t/0 x @1 {\"a\": 1}");
        assert!(out.starts_with("!! t[0] offset 0, operator group_by \"k\""), "{out}");
    }
}

/// A window behind a group-by waits for the slowest upstream partition; an idle one does not
/// count.
#[test]
fn windows_wait_for_the_slowest_upstream_partition() {
    for closing in [ClosingStrategy::Key, ClosingStrategy::Partition] {
        let mut driver = TopologyTestDriver::new(grouped(2, closing)).expect("a driver");
        let notes = Notes::default();
        driver.set_hooks(Box::new(notes.clone()));
        let fast = "
            t/0 x @1 {\"k\": \"a\", \"v\": 1}
            t/0 x @35 {\"k\": \"a\", \"v\": 2}
        ";
        assert_eq!(run_script(&mut driver, fast), "", "partition 1 was not heard of");
        let slow = "
            t/1 x @2 {\"k\": \"a\", \"v\": 3}
            checkpoint
            lose disk
            crash
            t/1 x @9 {\"k\": \"a\", \"v\": 4}
        ";
        assert_eq!(run_script(&mut driver, slow), "");
        assert_eq!(
            run_script(&mut driver, "t/1 x @20 {\"k\": \"a\", \"v\": 5}"),
            "=> a @0 {'n': 3, 'list': [1, 3, 4], 'start': 0, 'end': 10}\n"
        );
        let idle = format!("tick 0\ntick {}", IDLE_AFTER_MS - 1);
        assert_eq!(run_script(&mut driver, &idle), "");
        let out = run_script(&mut driver, &format!("tick {IDLE_AFTER_MS}"));
        assert_eq!(out, "=> a @20 {'n': 1, 'list': [5], 'start': 20, 'end': 30}\n");
        // Told once; and a record makes the partition count again.
        assert_eq!(run_script(&mut driver, "tick 5000"), "");
        assert_eq!(run_script(&mut driver, "t/1 x @36 {\"k\": \"a\", \"v\": 6}"), "");
        assert!(!notes.take().iter().any(|line| line.starts_with("late")));
    }
}

/// A late record is late by what all partitions have reached, and not by the fast one alone.
#[test]
fn lateness_behind_a_group_by() {
    let mut driver = TopologyTestDriver::new(grouped(2, ClosingStrategy::Key)).expect("a driver");
    let notes = Notes::default();
    driver.set_hooks(Box::new(notes.clone()));
    run_script(
        &mut driver,
        "
        t/0 x @50 {\"k\": \"a\", \"v\": 1}
        t/1 x @25 {\"k\": \"a\", \"v\": 2}
        t/1 x @12 {\"k\": \"a\", \"v\": 3}
        ",
    );
    let late: Vec<_> = notes.take().into_iter().filter(|line| line.starts_with("late")).collect();
    assert_eq!(late, ["late by 13 for 10..20"]);
}

/// Records of a foreign producer in the repartition topic: plain behaviour.
#[test]
fn without_headers_keys_close_by_themselves() {
    let mut driver = TopologyTestDriver::new(grouped(2, ClosingStrategy::Key)).expect("a driver");
    let topic = "repartition__g--t--k";
    for (timestamp, value) in [(1, "1"), (12, "2")] {
        let value = format!("{{\"k\": \"a\", \"v\": {value}}}");
        driver.send(topic, 0, TestRecord::new("\"a\"", value, timestamp)).expect("a source");
    }
    driver.run().expect("it runs");
    assert_eq!(driver.take_leaves().len(), 1);
}

/// Group-by and a shortcut, by hand: the sums of two partitions meet.
#[test]
fn sums_over_partitions() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 2)).expect("a source");
    let node = builder.group_by(source, group_by_column("k")).expect("a group-by");
    let node = builder.select(node, millstream_value::Expr::column("v")).expect("a node");
    let sum = Aggregations::Shortcut(Aggregation::Sum(None));
    builder.window(node, WindowSpec::tumbling(10, 0, sum)).expect("a window");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let out = run_script(
        &mut driver,
        "
        t/0 x @1 {\"k\": 7, \"v\": 1}
        t/1 x @2 {\"k\": 7, \"v\": 2}
        t/0 x @11 {\"k\": 7, \"v\": 4}
        t/1 x @12 {\"k\": 7, \"v\": 8}
        ",
    );
    assert_eq!(out, "=> 7 @0 {'start': 0, 'end': 10, 'value': 3}\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever the order in which the partitions' records come by: if each partition is ordered
    /// in itself, nothing is late, and every window that closes is whole. Once all have ended,
    /// every window behind whose end its key has a record is closed. With crashes.
    #[test]
    fn any_interleaving_gives_the_whole_table(
        partitions in 2..4_i32,
        by_partition in any::<bool>(),
        steps in proptest::collection::vec((0..4_i32, 0..3_u8, 0..15_i64, 0..12_u8), 1..60),
    ) {
        let closing = if by_partition { ClosingStrategy::Partition } else { ClosingStrategy::Key };
        let mut driver = TopologyTestDriver::new(grouped(partitions, closing)).expect("a driver");
        driver.set_guarantee(Guarantee::ExactlyOnce);
        let notes = Notes::default();
        driver.set_hooks(Box::new(notes.clone()));
        let mut times = vec![0; partitions as usize];
        let mut table: BTreeMap<(u8, i64), i64> = BTreeMap::new();
        for (at, (partition, key, step, event)) in steps.iter().enumerate() {
            let partition = partition % partitions;
            times[partition as usize] += step;
            let time = times[partition as usize];
            *table.entry((*key, time / 10 * 10)).or_default() += 1;
            let record = TestRecord::new("x", format!("{{\"k\": \"k{key}\", \"v\": {at}}}"), time);
            driver.send("t", partition, record).expect("a source");
            driver.run().expect("it runs");
            match event {
                0 => driver.checkpoint().expect("a checkpoint"),
                1 => driver.crash().expect("a crash"),
                2 => {
                    driver.lose_disk();
                    driver.crash().expect("a crash");
                }
                _ => {}
            }
            driver.run().expect("it runs");
        }
        // A record of each key behind everything closes the rest, once all partitions are there.
        for key in 0..3 {
            for partition in 0..partitions {
                let record = TestRecord::new("x", format!("{{\"k\": \"k{key}\", \"v\": -1}}"), 10_000);
                driver.send("t", partition, record).expect("a source");
            }
        }
        driver.run().expect("it runs");
        let mut seen: BTreeMap<(u8, i64), i64> = BTreeMap::new();
        for leaf in driver.take_leaves() {
            let key = repr(&leaf.key).as_bytes()[2] - b'0';
            let map = leaf.value.as_map().expect("a result");
            let n = map.get("n").and_then(millstream_value::Value::as_i64).expect("a count");
            let listed = map.get("list").and_then(millstream_value::Value::as_list).expect("a list");
            prop_assert_eq!(listed.len() as i64, n);
            prop_assert!(seen.insert((key, leaf.timestamp), n).is_none(), "a window closes once");
        }
        prop_assert_eq!(seen, table);
        // Nothing held is left: per key its watermark, the last window with its values and maybe
        // an index entry; per partition the columns, times and sequence number.
        driver.checkpoint().expect("a checkpoint");
        let left = driver.stored_keys("tumbling_window_10");
        let bound = 3 * (3 + partitions as u64) + 3 * partitions as u64;
        prop_assert!(left <= bound, "{} keys are left", left);
        let late = notes.take().iter().any(|line| line.starts_with("late"));
        prop_assert!(!late);
    }
}
