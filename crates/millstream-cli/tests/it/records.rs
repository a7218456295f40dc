//! From lines to records and back.

use crate::program::{Broker, errors};

#[test]
fn text_lines_are_taken_as_they_are() {
    let broker = Broker::with_topics(&["t"]);
    let input = b"k: \nk:  two spaces  \r\nk: tab\t\n\nk: last";
    let done = broker.feed(&["produce", "t", "--format", "text", "--key-separator", ": "], input);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let records = broker.records("t");
    let values: Vec<_> = records.iter().map(|record| record["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["", " two spaces  ", "tab\t", "last"]);
    assert!(records.iter().all(|record| record["key"] == "k"));
}

#[test]
fn a_key_separator_without_text_is_refused() {
    let broker = Broker::start();
    let done = broker.feed(&["produce", "t", "--format", "text", "--key-separator", ""], b"");
    assert_eq!(done.status.code(), Some(2));
    assert!(errors(&done).contains("give what stands between key and value"), "{}", errors(&done));
}

#[test]
fn timestamps() {
    let broker = Broker::with_topics(&["field", "same", "ago"]);
    let lines = br#"{"at": 1357016400000}
{"at": "2013-01-01T05:00:01Z"}
{"at": "2013-01-01T06:00:02.500+01:00"}
"#;
    let done = broker.feed(&["produce", "field", "--timestamp-field", "at"], lines);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let times = |topic: &str| -> Vec<i64> {
        broker.records(topic).iter().map(|record| record["timestamp"].as_i64().unwrap()).collect()
    };
    assert_eq!(times("field"), [1_357_016_400_000, 1_357_016_401_000, 1_357_016_402_500]);

    let time = "2013-01-01T05:00:00Z";
    let done = broker.feed(&["produce", "same", "--timestamp", time], b"1\n2\n");
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    assert_eq!(times("same"), [1_357_016_400_000; 2]);

    let done = broker.feed(&["produce", "ago", "--timestamp", "-3h"], b"1\n2\n");
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let done = broker.feed(&["produce", "ago"], b"3\n");
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let ago = times("ago");
    assert_eq!(ago[0], ago[1]);
    assert!((10_800_000..10_900_000).contains(&(ago[2] - ago[0])), "{ago:?}");

    let from = |topic: &str, start: &str| {
        let done = broker.run(&["consume", topic, "--from", start]);
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        String::from_utf8(done.stdout).unwrap()
    };
    assert_eq!(from("ago", "@-1h"), "3\n");
    assert_eq!(from("field", "@2013-01-01T05:00:02Z").lines().count(), 1);
}

#[test]
fn what_a_line_lacks_is_said_and_what_came_before_is_there() {
    let broker = Broker::with_topics(&["t"]);
    let done =
        broker.feed(&["produce", "t", "--timestamp-field", "at"], b"{\"at\": 5}\n{\"at\": true}\n");
    assert_eq!(done.status.code(), Some(1));
    let said = errors(&done);
    assert!(said.contains("-, line 2: field \"at\" is no time: true; milliseconds"), "{said}");
    assert!(said.contains("The lines before it were sent."), "{said}");
    assert_eq!(broker.records("t").len(), 1);
}

#[test]
fn a_time_that_brokers_refuse_is_explained() {
    let broker = Broker::with_topics(&["t"]);
    let done = broker.feed(&["produce", "t", "--timestamp", "2999-01-01"], b"1\n");
    assert_eq!(done.status.code(), Some(1));
    assert!(errors(&done).contains("message.timestamp.after.max.ms"), "{}", errors(&done));
}

#[test]
fn a_partition_that_is_not_there() {
    let broker = Broker::with_topics(&["t"]);
    let done = broker.feed(&["produce", "t", "--partition", "7"], b"1\n");
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(
        errors(&done),
        "error: topic \"t\" has no partition 7\nIt has 1 partition(s), numbered from 0.\n"
    );
}
