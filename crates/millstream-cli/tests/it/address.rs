//! Which broker a command talks to.

use std::process::Stdio;

use crate::program::{Broker, EndOfEmbedded, errors, millstream};

#[test]
fn the_environment_names_a_broker_and_a_data_directory() {
    let broker = Broker::with_topics(&["there"]);
    let dir = tempfile::tempdir().unwrap();
    let (named, exported) = (dir.path().join("named"), dir.path().join("exported"));
    let _ends = [EndOfEmbedded(&named), EndOfEmbedded(&exported)];
    let run = |arguments: &[&str], address: &str| {
        let done = millstream(arguments)
            .current_dir(dir.path())
            .env("Quix__Broker__Address", address)
            .env("MILLSTREAM_DATA_DIR", &exported)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(run(&["topics", "list"], &broker.address()).contains("there"));
    assert!(!exported.exists());

    // An exported address does not stand in the way of what is said.
    assert_eq!(run(&["topics", "list", "--data-dir", "named"], &broker.address()), "");
    assert!(named.join("broker.address").exists());

    run(&["topics", "create", "mine"], "");
    assert!(exported.join("broker.address").exists());
    assert!(run(&["topics", "list", "--broker", "embedded"], &broker.address()).contains("mine"));
    assert!(!dir.path().join(".millstream").exists());
}

#[test]
fn two_brokers_at_once_are_refused() {
    let done =
        millstream(&["topics", "list", "--broker", "a:1", "--data-dir", "d"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(errors(&done).contains("cannot be used with"), "{}", errors(&done));
}

#[test]
fn a_broker_of_its_own_takes_its_directory_from_the_environment() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("exported");
    let mut child = millstream(&["broker", "--listen", "127.0.0.1:0"])
        .current_dir(dir.path())
        .env("MILLSTREAM_DATA_DIR", &data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(line.contains(data.to_str().unwrap()), "{line}");
    assert!(!dir.path().join(".millstream").exists());
}
