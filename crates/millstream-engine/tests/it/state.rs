//! `State` of user functions.

use millstream_engine::{FunctionSpec, StoreMedium, Topology, TopologyBuilder};
use millstream_state::ExpirySettings;
use millstream_testing::{TopologyTestDriver, check, run_script};
use millstream_value::{Call, Failure, StateAccess, Value, repr};

use crate::support::{Notes, expanding, function, json_source};

fn state<'c>(call: &'c Call<'_>) -> &'c dyn StateAccess {
    &**call.state.as_ref().expect("a stateful function")
}

fn number(state: &dyn StateAccess, key: &[u8]) -> Result<i64, Failure> {
    let text = state.get(key)?;
    Ok(text.map_or(0, |text| String::from_utf8_lossy(&text).parse().expect("a number")))
}

fn add(state: &dyn StateAccess, key: &[u8], more: i64) -> Result<i64, Failure> {
    let total = number(state, key)? + more;
    state.set(key, total.to_string().as_bytes())?;
    Ok(total)
}

fn totals() -> Topology {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 2)).expect("a source");
    let total = function("total", |call| {
        let more = repr(call.value).parse().expect("the test sends numbers");
        add(state(call), b"total", more).map(Value::from)
    });
    builder.apply(source, FunctionSpec::stateful(total)).expect("a node");
    builder.build().expect("a topology")
}

/// ST-07, ST-10, ST-11: per message key and partition; what was written is read at once, and
/// survives a checkpoint and a crash. CK-08: what came after the checkpoint counts once.
#[test]
fn st_10_scope_and_durability() {
    check(
        totals(),
        "
        t/0 a @1 1
        t/0 a @2 2
        t/0 b @3 10
        t/1 a @4 100
        t/0 - @5 7
        checkpoint
        t/0 a @6 4
        crash
        lose disk
        crash
        t/0 a @7 8
        t/0 - @8 1
        ",
        "
        => a @1 1
        => a @2 3
        => b @3 10
        => a @4 100
        => - @5 7
        => a @6 7
        => a @6 7
        => a @6 7
        => a @7 15
        => - @8 8
        ",
    );
}

/// CK-08, CK-32: a crash after the changelog was written and before the offsets were committed:
/// outputs repeat, state does not count twice. After the commit: nothing repeats.
#[test]
fn ck_08_state_counts_once() {
    for disk in ["", "lose disk"] {
        let script = format!(
            "
            t/0 a @1 1
            checkpoint
            t/0 a @2 2
            {disk}
            crash after changelog
            t/0 a @3 4
            {disk}
            crash after commit
            t/0 a @4 8
            "
        );
        check(totals(), &script, "=> a @1 1\n=> a @2 3\n=> a @2 3\n=> a @3 7\n=> a @4 15");
    }
}

/// D-20: what an operator behind a generator writes is seen by it when it goes on.
#[test]
fn d_20_state_between_yields() {
    let notes = Notes::default();
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let seen = notes.clone();
    let split = expanding("split", move |call, each| {
        let state = state(call).share();
        for item in 0..3 {
            seen.note(format!("{} before item {item}", number(&*state, b"n")?));
            each(Value::from(item))?;
        }
        Ok(())
    });
    let node = builder.expand(source, FunctionSpec::stateful(split)).expect("a node");
    let count = function("count", |call| add(state(call), b"n", 5).map(Value::from));
    builder.update(node, FunctionSpec::stateful(count)).expect("a node");
    run_script(
        &mut TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver"),
        "t/0 k @1 0",
    );
    assert_eq!(notes.take(), ["0 before item 0", "5 before item 1", "10 before item 2"]);
}

/// ST-03, ST-04: deleting; and a failed transaction stays failed, whatever is suppressed.
#[test]
fn st_04_a_failed_transaction_fails_the_checkpoint() {
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let body = function("body", |call| {
        let state = state(call);
        match repr(call.value).as_str() {
            "'delete'" => state.delete(b"x")?,
            "'fail'" => state.fail(),
            _ => state.set(b"x", b"1")?,
        }
        Ok(Value::from(state.exists(b"x")?))
    });
    builder.apply(source, FunctionSpec::stateful(body)).expect("a node");
    let mut driver =
        TopologyTestDriver::new(builder.build().expect("a topology")).expect("a driver");
    let notes = Notes::suppressing();
    driver.set_hooks(Box::new(notes.clone()));
    let out = run_script(
        &mut driver,
        "t/0 k @1 1\nt/0 k @2 \"delete\"\nt/0 k @3 \"delete\"\ncheckpoint\nt/0 k @4 \"fail\"\nt/0 k @5 1",
    );
    assert_eq!(out, "=> k @1 True\n=> k @2 False\n=> k @3 False\n");
    let errors = notes.take().iter().filter(|line| line.starts_with("processing")).count();
    assert_eq!(errors, 2, "any further access fails");
    let error = driver.checkpoint().expect_err("its transaction failed");
    assert!(error.to_string().contains("the checkpoint cannot be made"), "{error}");
    driver.set_hooks(Box::new(Notes::default()));
}

/// A topology of one stateful function. Its records say what to do: `set x`, `set x 10` with a
/// ttl, `get x`, `del x`. It gives what the key has then.
fn ttl_topology(medium: StoreMedium, expiry: ExpirySettings) -> Topology {
    let mut builder = TopologyBuilder::new("g");
    builder.set_expiry(expiry);
    let source = builder.source(json_source("t", 1)).expect("a source");
    builder.register_store_in(source, medium).expect("a store");
    let body = function("body", |call| {
        let state = state(call);
        let text = repr(call.value);
        let words: Vec<&str> = text.trim_matches('\'').split(' ').collect();
        let key = words[1].as_bytes();
        match (words[0], words.get(2)) {
            ("set", None) => state.set(key, b"1")?,
            ("set", Some(ttl)) => state.set_expiring(key, b"1", ttl.parse().expect("ms"))?,
            ("del", _) => state.delete(key)?,
            _ => {}
        }
        Ok(Value::from(state.exists(key)?))
    });
    builder.apply(source, FunctionSpec::stateful(body)).expect("a node");
    builder.build().expect("a topology")
}

fn ttl_driver(medium: StoreMedium) -> TopologyTestDriver {
    let topology = ttl_topology(medium, ExpirySettings::default());
    TopologyTestDriver::new(topology).expect("a driver")
}

/// ST-50 to ST-53: event time, one time for all keys, from the first write on.
#[test]
fn st_50_expiry() {
    let script = r#"
        t/0 k @5000 "set plain"
        t/0 k @100 "set x 50"
        t/0 k @149 "get x"
        t/0 other @150 "get x"
        t/0 k @120 "get x"
        t/0 k @160 "set y 10"
        t/0 k @161 "set y"
        t/0 k @500 "get y"
        t/0 k @500 "set z 10"
        t/0 k @505 "set z 10"
        t/0 k @514 "get z"
        t/0 k @515 "get z"
        t/0 k @100 "set late 50"
        t/0 k @600 "get plain"
    "#;
    let expected = "\
=> k @5000 True
=> k @100 True
=> k @149 True
=> other @150 False
=> k @120 False
=> k @160 True
=> k @161 True
=> k @500 True
=> k @500 True
=> k @505 True
=> k @514 True
=> k @515 False
=> k @100 False
=> k @600 True
";
    for medium in [StoreMedium::Disk, StoreMedium::Memory] {
        assert_eq!(run_script(&mut ttl_driver(medium), script), expected);
    }
}

/// ST-51: no ttl of 0, none for a record without a timestamp.
#[test]
fn st_51_refused_ttls() {
    let mut driver = ttl_driver(StoreMedium::Disk);
    let out = run_script(&mut driver, "t/0 k @-1 \"set x 5\"\nt/0 k @1000 \"get x\"");
    assert_eq!(out, "=> k @-1 True\n=> k @1000 True\n");
    for text in ["\"set x 0\"", "\"set x 999999999999999\""] {
        let mut driver = ttl_driver(StoreMedium::Disk);
        let notes = Notes::suppressing();
        driver.set_hooks(Box::new(notes.clone()));
        run_script(&mut driver, &format!("t/0 k @5 {text}"));
        assert!(notes.take()[0].contains("ttl"));
        let error = driver.checkpoint().expect_err("its transaction failed");
        assert!(error.to_string().contains("the checkpoint cannot be made"), "{error}");
    }
}

/// ST-54, ST-56, ST-21: what expired leaves the store at a checkpoint; stamps and time survive a
/// crash, with a disk, without, and in a store that is in memory.
#[test]
fn st_56_stamps_survive_a_restore() {
    for medium in [StoreMedium::Disk, StoreMedium::Memory] {
        for lose_disk in [false, true] {
            let mut driver = ttl_driver(medium);
            run_script(
                &mut driver,
                "t/0 k @100 \"set x 50\"\nt/0 k @100 \"set y 60\"\nt/0 k @149 \"get x\"\ncheckpoint",
            );
            // Two entries and two pairs of their index.
            assert_eq!(driver.stored_keys("default"), 4);
            if lose_disk {
                driver.lose_disk();
            }
            driver.crash().expect("a crash");
            assert_eq!(driver.stored_keys("default"), 4);
            // The time is still 149: one more is needed.
            let out = run_script(
                &mut driver,
                "t/0 k @0 \"get x\"\nt/0 k @150 \"get x\"\nt/0 k @0 \"get y\"\ncheckpoint",
            );
            assert_eq!(out, "=> k @0 True\n=> k @150 False\n=> k @0 True\n");
            assert_eq!(driver.stored_keys("default"), 2);
        }
    }
}

/// ST-21, ST-41: a store in memory says so, and the first registration counts.
#[test]
fn st_41_the_first_registration_counts() {
    let topology = ttl_topology(StoreMedium::Memory, ExpirySettings::default());
    assert_eq!(topology.stores().len(), 1);
    assert_eq!(topology.stores()[0].medium, StoreMedium::Memory);
    assert!(topology.describe().contains("(user state, in memory, changelog"));
    let mut builder = TopologyBuilder::new("g");
    let source = builder.source(json_source("t", 1)).expect("a source");
    let first = builder.register_store(source).expect("a store");
    let second = builder.register_store_in(source, StoreMedium::Memory).expect("it is there");
    assert_eq!(first, second);
    let topology = builder.build().expect("a topology");
    assert_eq!(topology.stores()[0].medium, StoreMedium::Disk);
}
