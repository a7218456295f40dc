//! SIGKILL and torn files: what was acknowledged is there afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, batch, produce, topic};
use crate::process::BrokerProcess;

/// Ten rounds: a producer writes numbers until the broker is killed under it, then the log must
/// hold every acknowledged number, in order, without a hole.
#[test]
fn acknowledged_records_survive_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut sent = 0u64;
    for round in 0..10 {
        let broker = BrokerProcess::start(dir.path(), &[]);
        let mut client = Client::connect(broker.address);
        if round == 0 {
            client.create_topic("t", 1);
        }
        let before = client.values("t");
        check_numbers(&before, sent);
        // What was in flight at the kill may or may not be there; go on behind it.
        sent = before.len() as u64;
        let acknowledged = Arc::new(AtomicU64::new(sent));
        let counter = Arc::clone(&acknowledged);
        let producer = std::thread::Builder::new()
            .spawn(move || {
                for number in counter.load(Ordering::SeqCst).. {
                    let request = produce("t", batch(&[number.to_string().as_bytes()]));
                    if client.send(9, &request).is_err() {
                        return;
                    }
                    match client.receive::<ProduceRequest>(9) {
                        Ok(response) => {
                            let partition = &response.responses[0].partition_responses[0];
                            assert_eq!(partition.base_offset as u64, number);
                            counter.store(number + 1, Ordering::SeqCst);
                        }
                        Err(_) => return,
                    }
                }
            })
            .unwrap();
        let target = sent + 50 + round * 37;
        while acknowledged.load(Ordering::SeqCst) < target {
            std::thread::yield_now();
        }
        broker.kill();
        producer.join().unwrap();
        sent = acknowledged.load(Ordering::SeqCst);
    }
    let broker = BrokerProcess::start(dir.path(), &[]);
    check_numbers(&Client::connect(broker.address).values("t"), sent);
}

fn check_numbers(values: &[Vec<u8>], at_least: u64) {
    assert!(values.len() as u64 >= at_least, "{} of {at_least} records", values.len());
    for (number, value) in values.iter().enumerate() {
        assert_eq!(value, number.to_string().as_bytes());
    }
}

#[test]
fn committed_offsets_survive_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), &[]);
    let mut client = Client::connect(broker.address);
    client.create_topic("t", 1);
    let group = || GroupId(StrBytes::from_static_str("g"));
    for offset in 0..100 {
        let row = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![
                OffsetCommitRequestTopic::default()
                    .with_name(topic("t"))
                    .with_partitions(vec![row]),
            ]);
        let response = client.ask(8, &request);
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    broker.kill();
    let broker = BrokerProcess::start(dir.path(), &[]);
    let row =
        OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![row]));
    let response = Client::connect(broker.address).ask(7, &request);
    assert_eq!(response.topics[0].partitions[0].committed_offset, 99);
}

#[test]
fn a_torn_tail_is_cut_and_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), &[]);
    let mut client = Client::connect(broker.address);
    client.create_topic("t", 1);
    for value in [b"a", b"b", b"c"] {
        client.produce("t", batch(&[value]));
    }
    broker.kill();
    let log = find_log(dir.path());
    let whole = std::fs::metadata(&log).unwrap().len();
    // Half of a batch, as a crash inside a write leaves it; its length says more is to come.
    let torn = batch(&[b"torn"]);
    let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(&torn[..torn.len() / 2]).unwrap();
    let broker = BrokerProcess::start(dir.path(), &[]);
    let mut client = Client::connect(broker.address);
    assert_eq!(client.values("t"), [b"a", b"b", b"c"]);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), whole);
    assert_eq!(client.produce("t", batch(&[b"d"])), (0, 3));
    broker.kill();

    // A changed byte in the middle: everything from there on is cut.
    let mut bytes = std::fs::read(&log).unwrap();
    let second = bytes.len() / 4 + 65;
    bytes[second] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let broker = BrokerProcess::start(dir.path(), &[]);
    assert_eq!(Client::connect(broker.address).values("t"), [b"a"]);
}

fn find_log(data_dir: &Path) -> PathBuf {
    let topic = std::fs::read_dir(data_dir.join("topics")).unwrap().next().unwrap().unwrap();
    topic.path().join("0").join("00000000000000000000.log")
}
