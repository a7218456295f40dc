//! Scripts of events as text, and what came out of them as text.
//!
//! | line | event |
//! |---|---|
//! | `topic/partition key @timestamp value` | a record; `-` is a null key or value. The rest of the line is the value |
//! | `checkpoint` | of all tasks |
//! | `crash` | without a checkpoint, and a start |
//! | `crash after changelog`, `crash after commit` | in the middle of a checkpoint |
//! | `lose disk` | before a crash: state comes back from the changelogs alone |
//! | `tick ms` | wall-clock time |
//! | empty, or beginning with `#` | nothing |
//!
//! What comes out, one line each: `-> topic key @timestamp value` for a produced record, or, in a
//! topology without output topics, `=> key @timestamp value` for a record at the end of a branch,
//! its value as Python writes it; `!! text` for an error, after which the script ends.

use std::fmt::Write;
use std::sync::Arc;

use millstream_engine::Topology;
use millstream_value::{Value, repr};

use crate::{CrashPoint, DriverError, LeafRecord, ProducedRecord, TestRecord, TopologyTestDriver};

/// Runs a script and compares what came out, line by line; white space around lines does not
/// count. Use [`run_script`] for a driver with hooks or another guarantee.
///
/// # Panics
/// If the text differs; the message has the whole text, to be pasted if it is right. Also for a
/// line that is no event.
#[track_caller]
pub fn check(topology: impl Into<Arc<Topology>>, script: &str, expect: &str) {
    let mut driver = TopologyTestDriver::new(topology).expect("fresh stores in memory open");
    let actual = run_script(&mut driver, script);
    let lines = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    if lines(&actual) != lines(expect) {
        panic!("the script put out:\n{actual}\nbut expected was:\n{expect}");
    }
}

/// Runs a script on a driver, and gives what came out.
///
/// # Panics
/// For a line that is no event.
pub fn run_script(driver: &mut TopologyTestDriver, script: &str) -> String {
    let mut out = String::new();
    for line in script.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let outcome = event(driver, line);
        render(driver, &mut out);
        if let Err(error) = outcome {
            writeln!(out, "!! {error}").expect("writing to a string");
            break;
        }
    }
    out
}

fn event(driver: &mut TopologyTestDriver, line: &str) -> Result<(), DriverError> {
    match line {
        "checkpoint" => return driver.checkpoint(),
        "crash" => driver.crash()?,
        "crash after changelog" => driver.crash_at(CrashPoint::AfterChangelog)?,
        "crash after commit" => driver.crash_at(CrashPoint::AfterCommit)?,
        "lose disk" => {
            driver.lose_disk();
            return Ok(());
        }
        _ => {
            if let Some(now) = line.strip_prefix("tick ") {
                return driver.tick(now.trim().parse().expect("tick takes milliseconds"));
            }
            let (topic, partition, record) = parse(line).unwrap_or_else(|| {
                panic!("this line of the script is no event: {line:?}");
            });
            driver.send(topic, partition, record)?;
        }
    }
    driver.run().map(drop)
}

fn parse(line: &str) -> Option<(&str, i32, TestRecord)> {
    let (place, rest) = line.split_once(' ')?;
    let (topic, partition) = place.rsplit_once('/')?;
    let (key, rest) = rest.trim_start().split_once(' ')?;
    let (timestamp, value) = rest.trim_start().strip_prefix('@')?.split_once(' ')?;
    let bytes = |text: &str| (text != "-").then(|| text.as_bytes().to_vec());
    let record = TestRecord {
        key: bytes(key),
        value: bytes(value.trim()),
        timestamp: timestamp.parse().ok()?,
        headers: Vec::new(),
    };
    Some((topic, partition.parse().ok()?, record))
}

fn render(driver: &mut TopologyTestDriver, out: &mut String) {
    let topology = Arc::clone(driver.topology());
    let produces = topology.sink_topics().iter().any(|topic| {
        !topology.sources().iter().any(|source| source.is_repartition() && source.topic == *topic)
    });
    let leaves = driver.take_leaves();
    for record in driver.take_outputs() {
        writeln!(out, "{}", produced_text(&record)).expect("writing to a string");
    }
    if !produces {
        for leaf in leaves {
            writeln!(out, "{}", leaf_text(&leaf)).expect("writing to a string");
        }
    }
}

fn produced_text(record: &ProducedRecord) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        None => "-".to_owned(),
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let mut line = format!("-> {} {}", record.topic, text(&record.key));
    write!(line, " @{} {}", record.timestamp, text(&record.value)).expect("writing to a string");
    for (name, value) in &record.headers {
        write!(line, " | {name}={}", text(value)).expect("writing to a string");
    }
    line
}

fn leaf_text(leaf: &LeafRecord) -> String {
    let mut key = leaf.key.share();
    key.decode();
    let key = match &key {
        Value::Null => "-".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Str(text) => text.to_string(),
        other => repr(other),
    };
    format!("=> {key} @{} {}", leaf.timestamp, repr(&leaf.value))
}
