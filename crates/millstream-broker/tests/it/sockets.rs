//! What only sockets show: long polls, bad frames, shutdown, idle exit.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, IncrementalAlterConfigsRequest, MetadataRequest,
    ProduceRequest,
};
use kafka_protocol::protocol::StrBytes;
use millstream_broker::{BrokerConfig, BrokerError, BrokerHandle};
use millstream_protocol::Batch;
use millstream_types::{Clock, SystemClock};

use crate::client::{Client, batch, fetch, produce, write_and_read_much};

fn start(config: BrokerConfig) -> BrokerHandle {
    BrokerHandle::start(config, Arc::new(SystemClock)).unwrap()
}

/// The fetch asks to wait for five minutes; the test fails by its reader's time-out if the
/// append does not wake it.
#[test]
fn a_fetch_that_waits_is_woken_by_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut producer = Client::connect(broker.address());
    producer.create_topic("t", 1);
    let mut consumer = Client::connect(broker.address());
    for round in 0..20 {
        consumer.send(12, &fetch("t", round, 300_000)).unwrap();
        assert_eq!(producer.produce("t", batch(&[b"v"])), (0, round));
        let response = consumer.receive::<FetchRequest>(12).unwrap();
        assert!(!response.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    }
    assert_eq!(broker.connections(), 2);
}

#[test]
fn a_deadline_is_kept_without_any_other_request() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut client = Client::connect(broker.address());
    client.create_topic("t", 1);
    let response = client.ask(12, &fetch("t", 0, 50));
    assert!(response.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut client = Client::connect(broker.address());
    client.create_topic("t", 1);
    // The first one waits for a moment; those behind it must not overtake it.
    let first = client.next_correlation_id();
    client.send(12, &fetch("t", 0, 200)).unwrap();
    for _ in 0..50 {
        client.send(9, &produce("t", batch(&[b"v"]))).unwrap();
    }
    for number in 0..51 {
        client.expect_correlation_id(first + number);
        if number == 0 {
            let fetched = client.receive::<FetchRequest>(12).unwrap();
            assert_eq!(fetched.responses[0].partitions[0].high_watermark, 0);
        } else {
            let produced = client.receive::<ProduceRequest>(9).unwrap();
            let partition = &produced.responses[0].partition_responses[0];
            assert_eq!(partition.base_offset, i64::from(number) - 1);
        }
    }
}

#[test]
fn what_is_sent_from_the_file_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    write_and_read_much(&mut Client::connect(broker.address()), "t");
}

/// More partitions than an answer keeps files open, all with enough for one.
#[test]
fn an_answer_of_many_partitions_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut client = Client::connect(broker.address());
    client.create_topic("t", 20);
    let value = |partition: i32| vec![partition as u8; 70_000 + partition as usize];
    for partition in 0..20 {
        let mut request = produce("t", batch(&[&value(partition)]));
        request.topic_data[0].partition_data[0].index = partition;
        assert_eq!(client.ask(9, &request).responses[0].partition_responses[0].error_code, 0);
    }
    let mut request = fetch("t", 0, 0);
    request.max_bytes = 8 << 20;
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..20).map(|n| one.clone().with_partition(n)).collect();
    let response = client.ask(12, &request);
    assert_eq!(response.responses[0].partitions.len(), 20);
    for (partition, found) in (0..).zip(&response.responses[0].partitions) {
        let bytes = found.records.clone().unwrap();
        let found = Batch::parse(&bytes).unwrap();
        found.check().unwrap();
        let mut scratch = Vec::new();
        let record = found.records(&mut scratch, 1 << 20).unwrap().next().unwrap().unwrap();
        assert!(record.value == Some(&value(partition)));
    }
}

#[test]
fn bad_frames_close_their_connection_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut good = Client::connect(broker.address());
    let frames: [&[u8]; 8] = [
        &[0xff, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff, 1, 2, 3],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 1, 2, 3],
        // Key 3000; then Metadata in version 99; then one cut off inside its topics.
        &[0, 0, 0, 10, 0x0b, 0xb8, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
    ];
    for frame in frames {
        let mut bad = Client::connect(broker.address());
        bad.stream.write_all(frame).unwrap();
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let read = bad.stream.read_to_end(&mut rest);
        assert!(
            rest.is_empty()
                && !matches!(&read, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
            "{frame:?}: {read:?} {rest:?}"
        );
    }
    // One that states a length and then goes away.
    Client::connect(broker.address()).stream.write_all(&[0, 0, 1, 0, 5, 5]).unwrap();
    assert_eq!(good.ask(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn a_second_broker_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let error =
        BrokerHandle::start(BrokerConfig::new(dir.path()), Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(error, BrokerError::Locked { .. }));
    let text = error.to_string();
    assert!(text.contains(&broker.address().to_string()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");

    let other = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new(other.path()).listen(broker.address());
    let error = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(error, BrokerError::Listen { .. }));
    assert!(error.to_string().contains("--listen"), "{error}");

    let config = BrokerConfig::new(other.path()).setting("log.retention.day", "1");
    let error = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap_err();
    assert!(error.to_string().contains("log.retention.day"), "{error}");
}

#[test]
fn a_wildcard_address_needs_one_to_advertise() {
    let dir = tempfile::tempdir().unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let config = || BrokerConfig::new(dir.path()).listen(everywhere);
    for config in [config(), config().advertise("::", 9092), config().advertise("", 9092)] {
        let error = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap_err();
        assert!(matches!(error, BrokerError::Advertise { .. }));
        assert!(error.to_string().contains("--advertise HOST:PORT"), "{error}");
    }
    let broker = start(config().advertise("kafka.example", 0));
    let address = ([127, 0, 0, 1], broker.address().port()).into();
    let answer = Client::connect(address).ask(12, &MetadataRequest::default());
    let row = &answer.brokers[0];
    let port = i32::from(broker.address().port());
    assert_eq!((row.host.as_str(), row.port), ("kafka.example", port));
}

#[test]
fn the_limit_on_connections_can_be_changed_while_running() {
    use kafka_protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource, AlterableConfig,
    };
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut client = Client::connect(broker.address());
    let setting = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("max.connections"))
        .with_value(Some(StrBytes::from_static_str("1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(StrBytes::from_static_str("1"))
        .with_configs(vec![setting]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(client.ask(1, &request).responses[0].error_code, 0);
    let mut refused = Client::connect(broker.address());
    let read = refused.stream.read_to_end(&mut Vec::new());
    assert!(!matches!(&read, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "{read:?}");
    assert_eq!(client.ask(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()).setting("connections.max.idle.ms", "300"));
    let mut client = Client::connect(broker.address());
    client.create_topic("t", 1);
    client.produce("t", batch(&[&[7; 900_000]]));
    // More than the buffers of both sockets hold.
    for _ in 0..50 {
        if client.send(12, &fetch("t", 0, 0)).is_err() {
            break;
        }
    }
    let until = SystemClock.monotonic() + Duration::from_secs(30);
    while broker.connections() > 0 {
        assert!(SystemClock.monotonic() < until, "the connection is still open");
        std::thread::yield_now();
    }
}

#[test]
fn a_silent_connection_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()).setting("connections.max.idle.ms", "200"));
    let mut client = Client::connect(broker.address());
    client.create_topic("t", 1);
    // The client's own patience ends this read with an error, the broker's with an end.
    let mut rest = Vec::new();
    assert_eq!(client.stream.read_to_end(&mut rest).unwrap(), 0);
}

#[test]
fn it_stops_when_asked_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()));
    let mut client = Client::connect(broker.address());
    client.create_topic("t", 1);
    client.produce("t", batch(&[b"a", b"b"]));
    broker.shutdown();
    broker.wait().unwrap();
    assert!(!dir.path().join("broker.address").exists());

    let broker = start(BrokerConfig::new(dir.path()));
    let mut client = Client::connect(broker.address());
    assert_eq!(client.values("t"), [b"a", b"b"]);
}

#[test]
fn it_ends_when_nobody_has_been_connected_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(BrokerConfig::new(dir.path()).idle_exit(Duration::from_millis(300)));
    let mut client = Client::connect(broker.address());
    // While somebody is connected it goes on, for longer than the limit.
    client.create_topic("t", 1);
    client.ask(12, &fetch("t", 0, 1000));
    assert!(!broker.is_finished());
    drop(client);
    broker.wait().unwrap();
}
