//! The same transactional requests to this broker and, if `MILLSTREAM_TEST_KAFKA` names one, to a
//! real Apache Kafka: every error code must be the same. A request that Kafka answers with "not
//! yet" (it ends transactions in the background, this broker within the request) is repeated.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_protocol::{Compression, RecordBatchBuilder};
use millstream_types::{Clock, SystemClock};

use crate::client::{Client, batch, produce, topic};

const PATIENCE: Duration = Duration::from_secs(30);
/// Coordinator loading, not available, not this one; transaction still ending; not enough
/// replicas, which is how Produce says the same.
const NOT_YET: [i16; 5] = [14, 15, 16, 51, 19];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "Apache Kafka says by no event when it is ready")]
fn until_decided(mut ask: impl FnMut() -> i16) -> i16 {
    let end = SystemClock.monotonic() + PATIENCE;
    loop {
        let code = ask();
        if !NOT_YET.contains(&code) || SystemClock.monotonic() > end {
            return code;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One transactional id on one broker.
struct Session {
    client: Client,
    id: String,
    topic: String,
    producer_id: i64,
    epoch: i16,
    /// What every step was answered with.
    codes: Vec<(&'static str, i16)>,
}

impl Session {
    fn note(&mut self, step: &'static str, code: i16) {
        self.codes.push((step, code));
    }

    fn init(&mut self, step: &'static str, expected: Option<(i64, i16)>) {
        let (producer_id, epoch) = expected.unwrap_or((-1, -1));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(text(&self.id).into()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(epoch);
        let mut got = None;
        let code = until_decided(|| {
            let response = self.client.ask(4, &request);
            got = Some((response.producer_id.0, response.producer_epoch));
            response.error_code
        });
        if code == 0 {
            (self.producer_id, self.epoch) = got.expect("asked at least once");
        }
        self.note(step, code);
    }

    fn add(&mut self, step: &'static str, partition: i32, by: (i64, i16)) {
        let row = AddPartitionsToTxnTopic::default()
            .with_name(topic(&self.topic))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(text(&self.id).into())
            .with_v3_and_below_producer_id(ProducerId(by.0))
            .with_v3_and_below_producer_epoch(by.1)
            .with_v3_and_below_topics(vec![row]);
        let code = until_decided(|| {
            let response = self.client.ask(3, &request);
            let topic = &response.results_by_topic_v3_and_below[0];
            topic.results_by_partition[0].partition_error_code
        });
        self.note(step, code);
    }

    fn write(&mut self, step: &'static str, version: i16, sequence: i32, by: (i64, i16)) {
        let mut builder = RecordBatchBuilder::new(Compression::None)
            .producer(by.0, by.1, sequence)
            .transactional();
        builder.push(1_700_000_000_000, None, Some(b"v"), []);
        let records: Bytes = builder.finish(0).unwrap().into();
        let request = produce(&self.topic, records)
            .with_timeout_ms(10_000)
            .with_transactional_id(Some(text(&self.id).into()));
        let code = until_decided(|| {
            let response = self.client.ask(version, &request);
            response.responses[0].partition_responses[0].error_code
        });
        self.note(step, code);
    }

    fn add_offsets(&mut self, step: &'static str, by: (i64, i16)) {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(text(&self.id).into())
            .with_producer_id(ProducerId(by.0))
            .with_producer_epoch(by.1)
            .with_group_id(text(&self.id).into());
        let code = until_decided(|| self.client.ask(4, &request).error_code);
        self.note(step, code);
    }

    fn offsets(&mut self, step: &'static str, version: i16, generation: i32, by: (i64, i16)) {
        let row = TxnOffsetCommitRequestPartition::default().with_committed_offset(3);
        let row = TxnOffsetCommitRequestTopic::default()
            .with_name(topic(&self.topic))
            .with_partitions(vec![row]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(text(&self.id).into())
            .with_group_id(text(&self.id).into())
            .with_producer_id(ProducerId(by.0))
            .with_producer_epoch(by.1)
            .with_generation_id(generation)
            .with_topics(vec![row]);
        let code =
            until_decided(|| self.client.ask(version, &request).topics[0].partitions[0].error_code);
        self.note(step, code);
    }

    fn end(&mut self, step: &'static str, version: i16, committed: bool, by: (i64, i16)) {
        let request = EndTxnRequest::default()
            .with_transactional_id(text(&self.id).into())
            .with_producer_id(ProducerId(by.0))
            .with_producer_epoch(by.1)
            .with_committed(committed);
        let code = until_decided(|| {
            let response = self.client.ask(version, &request);
            if response.error_code == 0 && version >= 5 {
                self.epoch = response.producer_epoch;
            }
            response.error_code
        });
        self.note(step, code);
    }

    fn me(&self) -> (i64, i16) {
        (self.producer_id, self.epoch)
    }
}

/// The first version: what is refused, and what may be repeated.
fn version_1(s: &mut Session) {
    s.init("init", None);
    let me = s.me();
    s.end("commit of nothing", 4, true, me);
    s.end("abort of nothing", 4, false, me);
    s.write("write before adding, version 10", 10, 0, me);
    s.write("write before adding, version 11", 11, 0, me);
    s.offsets("offsets before adding, version 3", 3, -1, me);
    s.offsets("offsets before adding, version 4", 4, -1, me);
    s.add("add a partition that is not there", 77, me);
    s.add("add with another producer id", 0, (me.0 + 1, me.1));
    s.add("add with another epoch", 0, (me.0, me.1 + 1));
    s.add("add", 0, me);
    s.write("write", 11, 0, me);
    s.add_offsets("add offsets", me);
    s.offsets("offsets", 4, -1, me);
    s.offsets("offsets of a generation", 4, 5, me);
    s.offsets("offsets of another epoch", 4, -1, (me.0, me.1 + 1));
    s.end("commit with another epoch", 4, true, (me.0, me.1 + 1));
    s.end("commit with another producer id", 4, true, (me.0 + 1, me.1));
    s.end("commit", 4, true, me);
    s.end("commit again", 4, true, me);
    s.end("abort what is committed", 4, false, me);
    s.write("write behind the end", 11, 1, me);
    s.add("add again", 0, me);
    s.write("go on", 11, 1, me);
    s.write("repeat", 11, 1, me);
    s.write("leave a gap", 11, 7, me);
    s.init("init of a second producer", None);
    s.add("the first adds", 0, me);
    s.write("the first writes", 11, 2, me);
    s.end("the first commits", 4, true, me);
    s.init("the first asks for its epoch", Some(me));
    let me = s.me();
    s.init("the second asks for its epoch", Some(me));
    s.init("and again", Some(me));
}

/// The second version: every end raises the epoch.
fn version_2(s: &mut Session) {
    s.init("init", None);
    let me = s.me();
    s.end("commit of nothing", 5, true, me);
    s.end("abort of nothing", 5, false, me);
    s.write("write with the old epoch", 12, 0, me);
    let me = s.me();
    s.write("write", 12, 0, me);
    s.offsets("offsets", 5, -1, me);
    s.offsets("offsets of a generation", 5, 5, me);
    s.end("commit", 5, true, me);
    s.end("commit again", 5, true, me);
    s.end("abort what is committed", 5, false, me);
    s.write("write behind the end", 12, 1, me);
    let me = s.me();
    s.write("begin with a gap", 12, 1, me);
    s.write("begin", 12, 0, me);
    s.end("abort", 5, false, me);
    s.end("abort again", 5, false, me);
    s.end("commit what is aborted", 5, true, me);
}

fn codes(address: &str, name: &str, script: fn(&mut Session)) -> Vec<(&'static str, i16)> {
    let address = address.to_socket_addrs().unwrap().next().expect("an address");
    let mut client = Client::connect(address);
    let name = format!("{name}-{}-{}", std::process::id(), SystemClock.wall());
    client.create_topic(&name, 1);
    // A cluster needs a moment from the topic to its leader.
    let begun = until_decided(|| match client.produce(&name, batch(&[b"first"])).0 {
        3 | 6 => NOT_YET[0],
        code => code,
    });
    assert_eq!(begun, 0);
    let find =
        FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(&name)]);
    until_decided(|| client.ask(4, &find).coordinators[0].error_code);
    let find = find.with_key_type(0);
    until_decided(|| client.ask(4, &find).coordinators[0].error_code);
    let mut session = Session {
        client,
        id: name.clone(),
        topic: name,
        producer_id: -1,
        epoch: -1,
        codes: Vec::new(),
    };
    script(&mut session);
    session.codes
}

fn compare(name: &str, script: fn(&mut Session)) {
    let folder = tempfile::tempdir().unwrap();
    let broker =
        BrokerHandle::start(BrokerConfig::new(folder.path()), Arc::new(SystemClock)).unwrap();
    let ours = codes(&broker.address().to_string(), name, script);
    broker.shutdown();
    broker.wait().unwrap();
    assert!(!ours.iter().any(|(_, code)| NOT_YET.contains(code)), "{ours:?}");
    let Ok(kafka) = std::env::var("MILLSTREAM_TEST_KAFKA") else {
        eprintln!("NO REAL KAFKA to compare with: MILLSTREAM_TEST_KAFKA is not set");
        return;
    };
    let theirs = codes(&kafka, name, script);
    let different: Vec<_> = ours.iter().zip(&theirs).filter(|(a, b)| a != b).collect();
    assert!(different.is_empty(), "ours and Kafka's: {different:#?}");
}

#[test]
fn version_1_is_answered_as_kafka_does() {
    compare("version-1", version_1);
}

#[test]
fn version_2_is_answered_as_kafka_does() {
    compare("version-2", version_2);
}
