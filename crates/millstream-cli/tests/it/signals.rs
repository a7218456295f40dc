//! Ctrl-C and SIGTERM, whatever the program waits for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Output};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Broker, errors, millstream, spawn};

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The outcome of a process that must end although its standard input stays open.
fn end(mut child: Child) -> Output {
    let open = child.stdin.take();
    let done = child.wait_with_output().unwrap();
    drop(open);
    done
}

/// Waits until a topic holds `count` records.
fn wait_for_records(broker: &Broker, topic: &str, count: usize) {
    while broker.records(topic).len() < count {
        std::thread::yield_now();
    }
}

#[test]
fn produce_that_waits_for_input_ends_with_what_it_has_read() {
    for signal in [Signal::INT, Signal::TERM] {
        let broker = Broker::with_topics(&["t"]);
        let mut child = spawn(broker.command(&["produce", "t", "--format", "text"]));
        // The last line has no end yet, so it is no record.
        child.stdin.as_mut().unwrap().write_all(b"one\ntwo\nthr").unwrap();
        wait_for_records(&broker, "t", 2);
        send(&child, signal);
        let done = end(child);
        assert_eq!(done.status.code(), Some(130), "{}", errors(&done));
        assert_eq!(errors(&done), "Interrupted; 2 record(s) were produced to t.\n");
        assert_eq!(broker.records("t").len(), 2);
    }
}

#[test]
fn produce_that_waits_for_a_named_pipe_ends() {
    let broker = Broker::with_topics(&["t"]);
    let dir = tempfile::tempdir().unwrap();
    let (begun, pipe) = (dir.path().join("begun"), dir.path().join("pipe"));
    std::fs::write(&begun, "1\n").unwrap();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let files = [&begun, &pipe].map(|path| path.to_str().unwrap());
    let child = spawn(broker.command(&["produce", "t", files[0], files[1]]));
    wait_for_records(&broker, "t", 1);
    // No writer ever opens the pipe.
    send(&child, Signal::INT);
    let done = end(child);
    assert_eq!(done.status.code(), Some(130), "{}", errors(&done));
    assert_eq!(errors(&done), "Interrupted; 1 record(s) were produced to t.\n");
}

#[test]
fn a_named_pipe_is_read_to_its_end() {
    let broker = Broker::with_topics(&["t"]);
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let child = spawn(broker.command(&["produce", "t", pipe.to_str().unwrap()]));
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    writer.write_all(b"1\n").unwrap();
    wait_for_records(&broker, "t", 1);
    writer.write_all(b"2\n3").unwrap();
    drop(writer);
    let done = end(child);
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    assert_eq!(broker.records("t").len(), 3);
}

/// A listener that answers nothing, as a firewall or a stuck broker does.
#[test]
fn commands_that_wait_for_a_broker_end() {
    for command in [&["produce", "t"][..], &["consume", "t"], &["topics", "list"]] {
        for signal in [Signal::INT, Signal::TERM] {
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = silent.local_addr().unwrap().to_string();
            let options = ["--broker", &address, "--timeout", "3600"];
            let child = spawn(millstream(&[command, &options].concat()));
            // Whoever asks has installed its handlers.
            let mut connection = silent.accept().unwrap().0;
            connection.read_exact(&mut [0; 4]).unwrap();
            send(&child, signal);
            let done = end(child);
            assert!(done.stdout.is_empty());
            if command[0] != "topics" {
                assert_eq!(done.status.code(), Some(130), "{command:?}: {}", errors(&done));
            }
        }
    }
}

/// The broker goes while records are under way: the first signal waits for them, the second does
/// not.
#[test]
fn a_second_signal_gives_up_what_is_under_way() {
    let broker = Broker::with_topics(&["t"]);
    let mut child = spawn(broker.command(&["produce", "t", "--timeout", "3600"]));
    child.stdin.as_mut().unwrap().write_all(b"1\n").unwrap();
    wait_for_records(&broker, "t", 1);
    drop(broker);
    child.stdin.as_mut().unwrap().write_all(b"2\n").unwrap();
    drop(child.stdin.take());
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    // It says that the broker is away once it waits for deliveries.
    assert!(said.next().unwrap().unwrap().contains("127.0.0.1"));
    send(&child, Signal::INT);
    let waits = said.find_map(|line| line.unwrap().contains("Ctrl-C gives them up").then_some(()));
    assert!(waits.is_some());
    send(&child, Signal::INT);
    assert_eq!(end(child).status.code(), Some(130));
}

#[test]
fn following_ends_well() {
    let broker = Broker::with_topics(&["t"]);
    assert!(broker.feed(&["produce", "t"], b"1\n").status.success());
    let mut child = spawn(broker.command(&["consume", "t", "--follow"]));
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    send(&child, Signal::INT);
    assert_eq!(end(child).status.code(), Some(0));
}
