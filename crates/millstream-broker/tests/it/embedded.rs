//! The broker that applications share: started once, found by all, alive without them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;
use millstream_broker::embedded::ensure_running_within;
use millstream_broker::{EmbeddedError, ensure_running};

use crate::client::{Client, batch};
use crate::process::{BrokerProcess, program};

fn command(data_dir: &Path, idle_exit: &str) -> Command {
    let mut command = Command::new(program());
    command.arg("--data-dir").arg(data_dir).args(["--idle-exit", idle_exit]);
    command
}

fn process_of(data_dir: &Path) -> i32 {
    let text = std::fs::read_to_string(data_dir.join("broker.address")).unwrap();
    text.lines().nth(1).unwrap().parse().unwrap()
}

/// Waits for a broker to be gone: until its lock can be had.
fn wait_for_end(data_dir: &Path) {
    while data_dir.join("broker.address").exists() {
        std::thread::yield_now();
    }
}

#[test]
fn many_starters_get_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let addresses: Vec<SocketAddr> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| ensure_running(dir.path(), || command(dir.path(), "5")).unwrap())
            })
            .collect();
        starters.into_iter().map(|starter| starter.join().unwrap()).collect()
    });
    assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    let mut client = Client::connect(addresses[0]);
    assert_eq!(client.ask(0, &ApiVersionsRequest::default()).error_code, 0);

    // It leads a session of its own: no signal of our terminal reaches it.
    let broker = process_of(dir.path());
    let stat = std::fs::read_to_string(format!("/proc/{broker}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().to_owned();
    assert_eq!(session, broker.to_string());
}

#[test]
fn an_address_of_a_dead_broker_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let killed = BrokerProcess::start(dir.path(), &[]);
    let mut client = Client::connect(killed.address);
    client.create_topic("t", 1);
    client.produce("t", batch(&[b"kept"]));
    let old = killed.address;
    killed.kill();
    assert!(dir.path().join("broker.address").exists(), "nobody was left to remove it");
    // Somebody else has taken the port meanwhile.
    let other = std::net::TcpListener::bind(old).unwrap();
    let address = ensure_running(dir.path(), || command(dir.path(), "5")).unwrap();
    assert_ne!(address, old);
    assert_eq!(Client::connect(address).values("t"), [b"kept"]);
    drop(other);
}

/// Clients of the killed broker go on connecting to its address.
#[test]
fn a_killed_broker_comes_back_at_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let killed = BrokerProcess::start(dir.path(), &[]);
    let old = killed.address;
    killed.kill();
    assert_eq!(ensure_running(dir.path(), || command(dir.path(), "5")).unwrap(), old);
}

#[test]
fn a_broker_started_by_hand_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), &[]);
    let found = ensure_running(dir.path(), || panic!("none must be started")).unwrap();
    assert_eq!(found, broker.address);
}

#[test]
fn it_ends_by_itself_and_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = ensure_running(dir.path(), || command(dir.path(), "0.5")).unwrap();
    Client::connect(first).create_topic("t", 1);
    wait_for_end(dir.path());
    let second = ensure_running(dir.path(), || command(dir.path(), "5")).unwrap();
    assert!(Client::connect(second).values("t").is_empty());
}

#[test]
fn a_broker_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let error = ensure_running(dir.path(), || {
        let mut command = command(dir.path(), "5");
        command.args(["--set", "log.retention.years=1"]);
        command
    })
    .unwrap_err();
    assert!(matches!(error, EmbeddedError::Ended { .. }));
    let text = error.to_string();
    assert!(text.contains("log.retention.years") && text.contains("broker.log"), "{text}");

    let error = ensure_running(dir.path(), || Command::new("/no/such/program")).unwrap_err();
    assert!(matches!(error, EmbeddedError::Spawn { .. }), "{error}");
}

#[test]
fn a_held_lock_without_an_answer_is_an_error_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), &[]);
    // The lock is held, but the published address leads nowhere.
    let address = dir.path().join("broker.address");
    std::fs::write(&address, format!("127.0.0.1:1\n{}\n", std::process::id())).unwrap();
    let limit = Duration::from_millis(300);
    let error =
        ensure_running_within(dir.path(), || panic!("none must be started"), limit).unwrap_err();
    assert!(matches!(error, EmbeddedError::NoAnswer { .. }));
    assert!(error.to_string().contains("end that process"), "{error}");
    drop(broker);
}
