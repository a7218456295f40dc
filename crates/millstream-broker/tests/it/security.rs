//! TLS and SASL over real sockets: certificates that `openssl` makes, clients that do not behave.

mod certificates;
mod tls;
mod tokens;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use millstream_broker::{
    BrokerConfig, BrokerError, BrokerHandle, SecurityConfig, SecurityProtocol,
};
use millstream_types::{Clock, SystemClock};

use crate::client::Client;

fn users(dir: &Path) -> PathBuf {
    let path = dir.join("users");
    std::fs::write(&path, "ann:secret\nbob:other\n").unwrap();
    path
}

fn start(config: BrokerConfig) -> BrokerHandle {
    BrokerHandle::start(config, Arc::new(SystemClock)).unwrap()
}

/// PLAINTEXT at the first address, SASL_PLAINTEXT at the second.
fn with_users(dir: &Path) -> BrokerConfig {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let security = SecurityConfig { users: Some(users(dir)), ..SecurityConfig::default() };
    BrokerConfig::new(dir.join("data"))
        .and_listen(SecurityProtocol::SaslPlaintext, loopback)
        .security(security)
}

fn handshake(mechanism: &'static str) -> SaslHandshakeRequest {
    SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism))
}

fn token(bytes: &'static [u8]) -> SaslAuthenticateRequest {
    SaslAuthenticateRequest::default().with_auth_bytes(bytes.into())
}

/// Whether the broker closes a connection without another word.
fn is_closed(client: &mut Client) -> bool {
    let mut rest = Vec::new();
    match client.stream.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn each_listener_tells_its_own_address() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(with_users(dir.path()));
    let [plain, sasl] = *broker.addresses() else { panic!("two listeners") };
    let mut client = Client::connect(plain);
    let row = client.ask(12, &MetadataRequest::default()).brokers.remove(0);
    assert_eq!(row.port, i32::from(plain.port()));
    let mut client = Client::connect(sasl);
    assert_eq!(client.ask(1, &handshake("PLAIN")).error_code, 0);
    assert_eq!(client.ask(2, &token(b"\0ann\0secret")).error_code, 0);
    let row = client.ask(12, &MetadataRequest::default()).brokers.remove(0);
    assert_eq!(row.port, i32::from(sasl.port()));
    let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
    assert_eq!(client.ask(2, &request).port, i32::from(sasl.port()));
}

#[test]
fn a_failure_is_answered_late_and_closes_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let delay = "connection.failed.authentication.delay.ms";
    let broker = start(with_users(dir.path()).setting(delay, "300"));
    let address = broker.addresses()[1];
    let mut client = Client::connect(address);
    assert_eq!(client.ask(0, &ApiVersionsRequest::default()).error_code, 0);
    client.ask(1, &handshake("PLAIN"));
    let asked = SystemClock.monotonic();
    let answer = client.ask(2, &token(b"\0ann\0wrong"));
    assert!(SystemClock.monotonic() - asked >= Duration::from_millis(300));
    assert_eq!(answer.error_code, 58);
    assert!(is_closed(&mut client));
    // Others are served meanwhile, and afterwards.
    let mut client = Client::connect(address);
    assert_eq!(client.ask(1, &handshake("GSSAPI")).error_code, 33);
    assert!(is_closed(&mut client));
    let mut client = Client::connect(address);
    client.send(12, &MetadataRequest::default()).unwrap();
    assert!(is_closed(&mut client));
}

#[test]
fn strangers_may_not_send_much() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(with_users(dir.path()).setting("sasl.server.max.receive.size", "1000"));
    let address = broker.addresses()[1];
    for frame in [&[0, 0, 0x03, 0xe9][..], &[0x7f, 0xff, 0xff, 0xff], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = Client::connect(address);
        client.stream.write_all(frame).unwrap();
        assert!(is_closed(&mut client), "{frame:?}");
    }
    // An oversized token inside a handshake that is under way.
    let mut client = Client::connect(address);
    client.ask(1, &handshake("SCRAM-SHA-256"));
    client
        .send(2, &SaslAuthenticateRequest::default().with_auth_bytes(vec![b'n'; 1000].into()))
        .unwrap();
    assert!(is_closed(&mut client));
    // One that is cut off.
    let mut client = Client::connect(address);
    client.ask(1, &handshake("PLAIN"));
    client.stream.write_all(&[0, 0, 0, 50, 0, 36]).unwrap();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_closed(&mut client));
    // Who is known may send more.
    let mut client = Client::connect(address);
    client.ask(1, &handshake("PLAIN"));
    client.ask(2, &token(b"\0ann\0secret"));
    let long = metadata_request::MetadataRequestTopic::default()
        .with_name(Some(crate::client::topic(&"t".repeat(2000))));
    let answer = client.ask(12, &MetadataRequest::default().with_topics(Some(vec![long])));
    assert_eq!(answer.topics[0].error_code, 17);
}

#[test]
fn a_stranger_who_is_silent_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(with_users(dir.path()).setting("connections.max.idle.ms", "200"));
    let mut client = Client::connect(broker.addresses()[1]);
    assert!(is_closed(&mut client));
}

#[test]
fn a_session_that_is_over_closes_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(with_users(dir.path()).setting("connections.max.reauth.ms", "100"));
    let mut client = Client::connect(broker.addresses()[1]);
    client.ask(1, &handshake("PLAIN"));
    assert_eq!(client.ask(1, &token(b"\0ann\0secret")).session_lifetime_ms, 100);
    let until = SystemClock.monotonic() + Duration::from_millis(101);
    while SystemClock.monotonic() < until {
        std::thread::yield_now();
    }
    client.send(12, &MetadataRequest::default()).unwrap();
    assert!(is_closed(&mut client));
}

#[test]
fn a_configuration_that_cannot_work_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let data = dir.path().join("data");
    let without = BrokerConfig::new(&data).and_listen(SecurityProtocol::SaslSsl, loopback);
    let twice = BrokerConfig::new(&data).and_listen(SecurityProtocol::Plaintext, loopback);
    for (config, expected) in [(without, "--tls-cert"), (twice, "two listeners for PLAINTEXT")] {
        let error = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap_err();
        assert!(matches!(error, BrokerError::Security(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(!data.exists());
}

#[test]
fn credentials_lie_where_only_their_owner_looks() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let _broker = start(with_users(dir.path()));
    let mode = std::fs::metadata(dir.path().join("data/security")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
