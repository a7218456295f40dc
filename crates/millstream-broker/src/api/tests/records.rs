//! Producing and fetching: limits, refusals, epochs.

use super::*;

/// A batch with something changed and a checksum that says it was meant so.
fn altered(change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = batch(1, 10).to_vec();
    change(&mut bytes);
    let crc = millstream_protocol::crc32c(&bytes[millstream_protocol::header::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn what_is_wrong_with_a_batch_has_its_code() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.create("compacted", 1, &[("cleanup.policy", "compact")]);
    let mut broken = batch(1, 10).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let corrupt = ResponseError::CorruptMessage.code();
    assert_eq!(bench.produce("t", 0, broken.into()).0, corrupt);
    for codec in [5, 6, 7] {
        let unknown = altered(|bytes| bytes[22] |= codec);
        let code = bench.produce("t", 0, unknown).0;
        assert_eq!(code, ResponseError::UnsupportedCompressionType.code());
    }
    let old = altered(|bytes| bytes[16] = 1);
    let code = bench.produce("t", 0, old).0;
    assert_eq!(code, ResponseError::UnsupportedForMessageFormat.code());
    let invalid = ResponseError::InvalidRecord.code();
    // A producer id without a sequence number.
    let unnumbered = altered(|bytes| bytes[43..51].copy_from_slice(&7i64.to_be_bytes()));
    assert_eq!(bench.produce("t", 0, unnumbered).0, invalid);
    assert_eq!(bench.produce("compacted", 0, batch(1, 10)).0, invalid, "it has no key");
    assert_eq!(bench.produce("t", 0, batch(1, 10)), (0, 0), "nothing of that was stored");
}

#[test]
fn acks_decide_whether_there_is_an_answer() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let silent = |topic: &str| produce_request(topic, 0, batch(1, 10)).with_acks(0);
    assert!(matches!(bench.send(9, &silent("t")).unwrap(), Reply::Nothing));
    assert_eq!(bench.broker.topics.get("t").unwrap().log(0).unwrap().end_offset(), 1);
    assert!(matches!(bench.send(9, &silent("missing")).unwrap(), Reply::Close(_)));
    for acks in [2, -2] {
        let request = produce_request("t", 0, batch(1, 10)).with_acks(acks);
        let response = bench.ask(9, &request);
        let row = &response.responses[0].partition_responses[0];
        assert_eq!(row.error_code, ResponseError::InvalidRequiredAcks.code());
    }
    assert_eq!(bench.broker.topics.get("t").unwrap().log(0).unwrap().end_offset(), 1);
}

#[test]
fn a_fetch_keeps_to_its_limits() {
    use fetch_request::{FetchPartition, FetchTopic};
    let mut bench = Bench::new();
    bench.create("t", 3, &[]);
    let one = batch(1, 500);
    let size = one.len() as i32;
    for partition in 0..3 {
        for _ in 0..4 {
            bench.produce("t", partition, one.clone());
        }
    }
    let mut counts = |max_bytes: i32, partition_max_bytes: i32| {
        let rows = (0..3)
            .map(|partition| {
                FetchPartition::default()
                    .with_partition(partition)
                    .with_partition_max_bytes(partition_max_bytes)
                    .with_current_leader_epoch(-1)
            })
            .collect();
        let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(rows);
        let request = FetchRequest::default().with_max_bytes(max_bytes).with_topics(vec![topic]);
        let response = bench.ask(12, &request);
        let rows = &response.responses[0].partitions;
        rows.iter().map(|row| record_count(row.records.as_ref())).collect::<Vec<_>>()
    };
    assert_eq!(counts(i32::MAX, i32::MAX), [4, 4, 4]);
    assert_eq!(counts(i32::MAX, size * 2 + 1), [2, 2, 2]);
    assert_eq!(counts(size * 5, i32::MAX), [4, 1, 0]);
    assert_eq!(counts(size * 5, size * 2), [2, 2, 1]);
    // The first batch comes whole, so that a reader gets on; one only.
    assert_eq!(counts(1, i32::MAX), [1, 0, 0]);
    assert_eq!(counts(i32::MAX, 1), [1, 0, 0]);
}

#[test]
fn without_slots_fetch_sessions_are_declined() {
    let slots = "max.incremental.fetch.session.cache.slots";
    let mut bench = Bench::with(BrokerConfig::new("/data").setting(slots, "0"));
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(1, 10));
    // A client that would like one is given none, and its records.
    let wish = fetch_request(12, &bench, "t", 0).with_session_id(0).with_session_epoch(0);
    let response = bench.ask(12, &wish);
    assert_eq!((response.error_code, response.session_id), (0, 0));
    assert_eq!(record_count(response.responses[0].partitions[0].records.as_ref()), 1);
    let response = bench.ask(12, &wish.with_session_id(5).with_session_epoch(1));
    assert_eq!(response.error_code, ResponseError::FetchSessionIdNotFound.code());
    assert!(response.responses.is_empty());
}

#[test]
fn a_leader_epoch_that_never_was_is_refused() {
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(3, 10));
    let mut ask = |current: i32, asked: i32, partition: i32| {
        let row = OffsetForLeaderPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(current)
            .with_leader_epoch(asked);
        let topic =
            OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![row]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let response = bench.ask(4, &request);
        let row = &response.topics[0].partitions[0];
        (row.error_code, row.leader_epoch, row.end_offset)
    };
    assert_eq!(ask(-1, 0, 0), (0, 0, 3));
    assert_eq!(ask(0, 0, 0), (0, 0, 3));
    assert_eq!(ask(0, 7, 0), (0, -1, -1), "of that epoch nothing is known");
    assert_eq!(ask(1, 0, 0), (ResponseError::UnknownLeaderEpoch.code(), -1, -1));
    assert_eq!(ask(-2, 0, 0), (ResponseError::FencedLeaderEpoch.code(), -1, -1));
    assert_eq!(ask(0, 0, 9), (ResponseError::UnknownTopicOrPartition.code(), -1, -1));
    let mut fetch = fetch_request(12, &bench, "t", 0);
    for (current, code) in [
        (0, 0),
        (1, ResponseError::UnknownLeaderEpoch.code()),
        (-2, ResponseError::FencedLeaderEpoch.code()),
    ] {
        fetch.topics[0].partitions[0].current_leader_epoch = current;
        let response = bench.ask(12, &fetch);
        assert_eq!(response.responses[0].partitions[0].error_code, code);
    }
}
