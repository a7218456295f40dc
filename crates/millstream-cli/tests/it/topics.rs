//! Several topics at once: one refusal does not keep the others from being served.

use crate::program::{Broker, errors};

fn listed(broker: &Broker) -> Vec<String> {
    let done = broker.run(&["topics", "list", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|topic| topic["topic"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_refusal_is_told() {
    let broker = Broker::with_topics(&["b"]);
    let done = broker.run(&["topics", "create", "b", "x/y", "a", "c", "a"]);
    assert_eq!(done.status.code(), Some(1));
    let said = errors(&done);
    assert!(said.contains("error: topic \"b\" exists already\nUse --if-not-exists"), "{said}");
    assert!(said.contains("use at most 249 letters (a-z, A-Z), digits"), "{said}");
    assert!(said.contains("Created a.\n") && said.contains("Created c.\n"), "{said}");
    assert_eq!(listed(&broker), ["a", "b", "c"]);

    let done = broker.run(&["topics", "describe", "a", "missing", "c"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(errors(&done).contains("missing"), "{}", errors(&done));
    let shown = String::from_utf8(done.stdout).unwrap();
    assert!(shown.contains("a\n  PARTITION") && shown.contains("c\n  PARTITION"), "{shown}");

    let done = broker.run(&["topics", "delete", "missing", "a", "also-missing", "b"]);
    assert_eq!(done.status.code(), Some(1));
    let said = errors(&done);
    assert!(said.contains("error: topic \"missing\" does not exist\nUse --if-exists"), "{said}");
    assert!(said.contains("error: topic \"also-missing\" does not exist"), "{said}");
    assert!(said.contains("Deleted a.\n") && said.contains("Deleted b.\n"), "{said}");
    assert_eq!(listed(&broker), ["c"]);
}

#[test]
fn what_is_as_wanted_is_no_error() {
    let broker = Broker::with_topics(&["b"]);
    let done = broker.run(&["topics", "create", "a", "b", "--if-not-exists"]);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    let done = broker.run(&["topics", "delete", "a", "missing", "--if-exists"]);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
}

#[test]
fn too_many_copies_and_names_that_are_no_names() {
    let broker = Broker::start();
    let done = broker.run(&["topics", "create", "a", "--replication-factor", "3"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(errors(&done).contains("--replication-factor"), "{}", errors(&done));
    let long = "x".repeat(300);
    for name in ["a/b", "..", "", &long] {
        let done = broker.run(&["topics", "create", name]);
        assert_eq!(done.status.code(), Some(1), "{name:?}");
        assert!(errors(&done).contains("use at most 249 letters"), "{name:?}: {}", errors(&done));
    }
}
