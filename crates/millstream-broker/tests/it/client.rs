//! A client that does nothing on its own: one connection, one request at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request, StrBytes};
use millstream_protocol::{BatchIter, Compression, RecordBatchBuilder};

/// So long a test waits for an answer that should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    /// Over a connection that is there.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, correlation_id: 0 }
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        self.correlation_id += 1;
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        frame.put_i16(R::KEY);
        frame.put_i16(version);
        frame.put_i32(self.correlation_id);
        frame.put_i16(-1);
        if R::header_version(version) >= 2 {
            frame.put_u8(0);
        }
        request.encode(&mut frame, version).unwrap();
        let length = frame.len() as i32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame)
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        let mut frame = Bytes::from(frame);
        assert_eq!(frame.get_i32(), self.correlation_id, "answers come in order");
        if R::Response::header_version(version) >= 1 {
            frame.advance(1);
        }
        Ok(R::Response::decode(&mut frame, version).unwrap())
    }

    /// The id that the next request will carry.
    pub(crate) fn next_correlation_id(&self) -> i32 {
        self.correlation_id + 1
    }

    /// Says which request the next answer must belong to, when several were sent.
    pub(crate) fn expect_correlation_id(&mut self, id: i32) {
        self.correlation_id = id;
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request).unwrap();
        self.receive::<R>(version).unwrap()
    }

    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response = self.ask(7, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    pub(crate) fn produce(&mut self, name: &str, records: Bytes) -> (i16, i64) {
        let response = self.ask(9, &produce(name, records));
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// All values of partition 0 from the start on.
    pub(crate) fn values(&mut self, name: &str) -> Vec<Vec<u8>> {
        let mut values: Vec<Vec<u8>> = Vec::new();
        loop {
            let response = self.ask(12, &fetch(name, values.len() as i64, 0));
            let partition = &response.responses[0].partitions[0];
            assert_eq!(partition.error_code, 0);
            let records = partition.records.clone().unwrap_or_default();
            if records.is_empty() {
                return values;
            }
            for batch in BatchIter::new(&records) {
                let batch = batch.unwrap();
                batch.check().unwrap();
                for record in batch.records(&mut Vec::new(), 1 << 20).unwrap() {
                    let record = record.unwrap();
                    if record.offset == values.len() as i64 {
                        values.push(record.value.unwrap().to_vec());
                    }
                }
            }
        }
    }
}

/// Produces three megabytes in batches of all sizes and reads them again: answers whose records go
/// from the file to the socket.
pub(crate) fn write_and_read_much<S: Read + Write>(client: &mut Client<S>, name: &str) {
    client.create_topic(name, 1);
    let value = |number: usize| {
        let byte = |at: usize| (number * 31 + at * at) as u8;
        (0..(number * number * 37) % 60_000).map(byte).collect::<Vec<u8>>()
    };
    let written: Vec<Vec<u8>> = (0..100).map(value).collect();
    for values in written.chunks(7) {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        assert_eq!(client.produce(name, batch(&values)).0, 0);
    }
    assert!(client.values(name) == written);
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Compression::None);
    for value in values {
        builder.push(1_000, None, Some(value), []);
    }
    builder.finish(0).unwrap().into()
}

pub(crate) fn produce(name: &str, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_records(Some(records));
    let row = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_topic_data(vec![row])
}

pub(crate) fn fetch(name: &str, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let row = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![row])
}
