//! What a record costs the producer in CPU time, kernel included: 100-byte records to a broker of a
//! few lines on loopback, which throws them away.
//!
//! `cargo run --release -p millstream-client --example produce_cost [records] [value bytes]`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataResponse,
    ProduceRequest, ProduceResponse, ProducerId, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use millstream_client::producer::{
    Partition, ProduceError, ProduceRecord, Producer, ProducerEvent,
};
use millstream_client::settings::{ConnectionSettings, ProducerSettings};
use rustix::time::{ClockId, clock_gettime};

const PARTITIONS: i32 = 4;

fn cpu(of: ClockId) -> Duration {
    let time = clock_gettime(of);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Answers one client until it goes, and returns the CPU time that this took.
fn sink(mut stream: TcpStream, port: u16) -> Duration {
    let start = cpu(ClockId::ThreadCPUTime);
    // A frame that was read before is not read into fresh memory: the broker costs as little as
    // it can.
    let mut frame = Vec::new();
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        frame.resize(u32::from_be_bytes(length) as usize, 0);
        if stream.read_exact(&mut frame).is_err() {
            break;
        }
        let answer = answer(Bytes::from(std::mem::take(&mut frame)), port);
        if stream.write_all(&answer).is_err() {
            break;
        }
    }
    cpu(ClockId::ThreadCPUTime) - start
}

fn answer(mut request: Bytes, port: u16) -> Bytes {
    let key = ApiKey::try_from(i16::from_be_bytes([request[0], request[1]])).expect("a key");
    let version = i16::from_be_bytes([request[2], request[3]]);
    let header = RequestHeader::decode(&mut request, key.request_header_version(version));
    let correlation = header.expect("a header").correlation_id;
    let mut out = BytesMut::new();
    out.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, key.response_header_version(version)).expect("a header");
    let topic = || TopicName(StrBytes::from_static_str("t"));
    let done = match key {
        ApiKey::ApiVersions => {
            let keys = [(ApiKey::Produce, 9), (ApiKey::Metadata, 9), (ApiKey::InitProducerId, 4)];
            let keys = keys.into_iter().map(|(key, max)| {
                ApiVersion::default().with_api_key(key as i16).with_max_version(max)
            });
            ApiVersionsResponse::default().with_api_keys(keys.collect()).encode(&mut out, version)
        }
        ApiKey::Metadata => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(1))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(port));
            let partitions = (0..PARTITIONS).map(|index| {
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(1))
            });
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic()))
                .with_partitions(partitions.collect());
            MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_topics(vec![topic])
                .encode(&mut out, version)
        }
        ApiKey::InitProducerId => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(1))
            .encode(&mut out, version),
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut request, version).expect("a request");
            let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
            let partitions =
                partitions.map(|data| PartitionProduceResponse::default().with_index(data.index));
            let topic = TopicProduceResponse::default()
                .with_name(topic())
                .with_partition_responses(partitions.collect());
            ProduceResponse::default().with_responses(vec![topic]).encode(&mut out, version)
        }
        other => panic!("{other:?}"),
    };
    done.expect("an answer");
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

#[expect(clippy::disallowed_methods, reason = "a program of its own, with threads of its own")]
fn main() {
    let argument =
        |index| -> Option<u64> { std::env::args().nth(index).and_then(|text| text.parse().ok()) };
    let records: u64 = argument(1).unwrap_or(5_000_000);
    let value = vec![b'x'; argument(2).unwrap_or(100) as usize];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let broker = std::thread::spawn(move || {
        let serve = |stream: std::io::Result<TcpStream>| {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || sink(stream, port))
        };
        // The bootstrap connection and the one to the broker by its id.
        let serving: Vec<_> = listener.incoming().take(2).map(serve).collect();
        serving.into_iter().map(|thread| thread.join().expect("no panic")).sum::<Duration>()
    });
    let connection = ConnectionSettings {
        bootstrap: vec![("127.0.0.1".into(), port)],
        ..ConnectionSettings::default()
    };
    let mut producer =
        Producer::start(&connection, &ProducerSettings::default()).expect("a producer");
    let topic = producer.topic("t").expect("a topic");
    let mut events = Vec::new();
    let produce = |producer: &mut Producer, number: u64| {
        let record = ProduceRecord {
            topic,
            partition: Partition::At((number % PARTITIONS as u64) as i32),
            key: None,
            value: Some(&value),
            headers: Default::default(),
            timestamp: Some(1_700_000_000_000 + number as i64 / 1000),
        };
        while let Err(error) = producer.produce(&record) {
            assert_eq!(error, ProduceError::QueueFull);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for number in 0..10_000 {
        produce(&mut producer, number);
    }
    producer.flush(Duration::from_secs(10), &mut events);

    let (process, front) = (cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime));
    for number in 0..records {
        produce(&mut producer, number);
    }
    let appended = cpu(ClockId::ThreadCPUTime) - front;
    let left = producer.flush(Duration::from_secs(60), &mut events);
    let process = cpu(ClockId::ProcessCPUTime) - process;
    drop(producer);
    let broker = broker.join().expect("no panic");
    let lost = events.iter().any(|event| matches!(event, ProducerEvent::DeliveryFailed(_)));
    assert!(left == 0 && !lost, "{left} left, {events:?}");
    let each = |time: Duration| time.as_nanos() as f64 / records as f64;
    println!(
        "{records} records: produce() {:.0} ns, producer in all {:.0} ns, the broker {:.0} ns each",
        each(appended),
        each(process.saturating_sub(broker)),
        each(broker),
    );
}
