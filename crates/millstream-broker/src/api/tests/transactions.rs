//! Transactions as clients see them: every request, every refusal, both versions of the protocol.

mod crash;
mod offsets;
mod refusals;

use kafka_protocol::messages::*;
use millstream_protocol::Batch;

use super::*;
use crate::transactions::{Caller, TransactionState};

/// Versions of the requests of one version of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Protocol {
    produce: i16,
    offsets: i16,
    end: i16,
}

/// Partitions are added by requests of their own, and the epoch stays (KIP-98).
const V1: Protocol = Protocol { produce: 11, offsets: 4, end: 4 };
/// What is sent adds its partitions, and each end raises the epoch (KIP-890).
const V2: Protocol = Protocol { produce: 12, offsets: 5, end: 5 };

/// A transactional producer.
#[derive(Clone, Debug)]
struct Producer {
    id: &'static str,
    is: Caller,
    protocol: Protocol,
    /// Next sequence number, one for all partitions of a test that uses one.
    sequence: i32,
}

impl Bench {
    fn init_with(
        &mut self,
        version: i16,
        id: &str,
        timeout_ms: i32,
        expected: Option<Caller>,
    ) -> Result<Caller, i16> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(text(id).into()))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(expected.map_or(-1, |expected| expected.producer_id)))
            .with_producer_epoch(expected.map_or(-1, |expected| expected.epoch));
        let response = self.ask(version, &request);
        match response.error_code {
            0 => Ok(Caller { producer_id: response.producer_id.0, epoch: response.producer_epoch }),
            code => Err(code),
        }
    }

    fn producer(&mut self, id: &'static str, protocol: Protocol) -> Producer {
        let is = self.init_with(4, id, 60_000, None).expect("a producer may start");
        Producer { id, is, protocol, sequence: 0 }
    }

    fn add(&mut self, producer: &Producer, topic: &str, partitions: &[i32]) -> Vec<i16> {
        use add_partitions_to_txn_request::AddPartitionsToTxnTopic;
        let row = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.to_vec());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(text(producer.id).into())
            .with_v3_and_below_producer_id(ProducerId(producer.is.producer_id))
            .with_v3_and_below_producer_epoch(producer.is.epoch)
            .with_v3_and_below_topics(vec![row]);
        let response = self.ask(3, &request);
        let rows = &response.results_by_topic_v3_and_below[0].results_by_partition;
        rows.iter().map(|row| row.partition_error_code).collect()
    }

    /// Sends one record, after adding the partition if the protocol wants it so.
    fn write(&mut self, producer: &mut Producer, topic: &str, partition: i32, value: &str) -> i16 {
        if producer.protocol == V1 {
            let added = self.add(producer, topic, &[partition]);
            if added != [0] {
                return added[0];
            }
        }
        let code = self.write_unadded(producer, topic, partition, value);
        producer.sequence += i32::from(code == 0);
        code
    }

    fn write_unadded(
        &mut self,
        producer: &Producer,
        topic: &str,
        partition: i32,
        value: &str,
    ) -> i16 {
        let records = transactional(producer.is, producer.sequence, value);
        let request = produce_request(topic, partition, records)
            .with_transactional_id(Some(text(producer.id).into()));
        let response = self.ask(producer.protocol.produce, &request);
        response.responses[0].partition_responses[0].error_code
    }

    fn add_offsets(&mut self, producer: &Producer, group: &str) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(text(producer.id).into())
            .with_producer_id(ProducerId(producer.is.producer_id))
            .with_producer_epoch(producer.is.epoch)
            .with_group_id(text(group).into());
        self.ask(4, &request).error_code
    }

    fn send_offset(&mut self, producer: &Producer, group: &str, topic: &str, offset: i64) -> i16 {
        if producer.protocol == V1 {
            let code = self.add_offsets(producer, group);
            if code != 0 {
                return code;
            }
        }
        let request = offsets_request(producer, group, topic, offset);
        self.ask(producer.protocol.offsets, &request).topics[0].partitions[0].error_code
    }

    fn end(&mut self, producer: &mut Producer, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(text(producer.id).into())
            .with_producer_id(ProducerId(producer.is.producer_id))
            .with_producer_epoch(producer.is.epoch)
            .with_committed(commit);
        let response = self.ask(producer.protocol.end, &request);
        if response.error_code == 0 && producer.protocol == V2 {
            producer.is =
                Caller { producer_id: response.producer_id.0, epoch: response.producer_epoch };
            producer.sequence = 0;
        }
        response.error_code
    }

    fn fetch_committed(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> fetch_response::PartitionData {
        let mut request =
            fetch_request(12, self, topic, offset).with_isolation_level(1).with_max_wait_ms(0);
        request.topics[0].partitions[0].partition = partition;
        let mut response = self.ask(12, &request);
        response.responses.remove(0).partitions.remove(0)
    }

    /// Values that a reader of committed data sees, by the rules of a client.
    fn committed_values(&mut self, topic: &str, partition: i32) -> Vec<String> {
        let mut values = Vec::new();
        let mut offset = 0;
        loop {
            let data = self.fetch_committed(topic, partition, offset);
            assert_eq!(data.error_code, 0);
            let records = data.records.unwrap();
            if records.is_empty() {
                assert_eq!(
                    offset, data.last_stable_offset,
                    "readers get to the last stable offset"
                );
                return values;
            }
            offset = visible(&records, &data.aborted_transactions.unwrap(), offset, &mut values);
        }
    }

    fn log(&self, topic: &str, partition: i32) -> &crate::log::PartitionLog {
        self.broker.topics.get(topic).unwrap().log(partition).unwrap()
    }

    fn state(&self, id: &str) -> TransactionState {
        self.broker.transactions.get(id).unwrap().state
    }

    fn offset(&mut self, group: &str, topic: &str, stable: bool) -> (i16, i64) {
        use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
        let row = OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_require_stable(stable).with_groups(vec![
            OffsetFetchRequestGroup::default()
                .with_group_id(text(group).into())
                .with_topics(Some(vec![row])),
        ]);
        let response = self.ask(8, &request);
        let row = &response.groups[0].topics[0].partitions[0];
        (row.error_code, row.committed_offset)
    }
}

fn transactional(caller: Caller, sequence: i32, value: &str) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Compression::None)
        .producer(caller.producer_id, caller.epoch, sequence)
        .transactional();
    builder.push(START_MS, None, Some(value.as_bytes()), []);
    builder.finish(0).unwrap().into()
}

fn offsets_request(
    producer: &Producer,
    group: &str,
    topic: &str,
    offset: i64,
) -> TxnOffsetCommitRequest {
    use txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
    let row = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
    let row = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![row]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(text(producer.id).into())
        .with_producer_id(ProducerId(producer.is.producer_id))
        .with_producer_epoch(producer.is.epoch)
        .with_group_id(text(group).into())
        .with_generation_id(-1)
        .with_topics(vec![row])
}

/// What a client shows of fetched records (KIP-98): no markers, and nothing of a producer from
/// where one of its aborted transactions begins up to that one's marker. Returns where to go on.
fn visible(
    records: &Bytes,
    aborted: &[fetch_response::AbortedTransaction],
    from: i64,
    values: &mut Vec<String>,
) -> i64 {
    let mut begins: Vec<(i64, i64)> =
        aborted.iter().map(|row| (row.first_offset, row.producer_id.0)).collect();
    begins.sort_unstable();
    begins.reverse();
    let mut skipped = std::collections::BTreeSet::new();
    let mut next = from;
    for batch in BatchIter::new(records) {
        let batch: Batch<'_> = batch.unwrap();
        batch.check().unwrap();
        let header = *batch.header();
        next = header.next_offset();
        while begins.last().is_some_and(|(first, _)| *first <= header.last_offset()) {
            skipped.insert(begins.pop().unwrap().1);
        }
        if header.attributes.is_control() {
            skipped.remove(&header.producer_id);
            continue;
        }
        if header.attributes.is_transactional() && skipped.contains(&header.producer_id) {
            continue;
        }
        for record in batch.records(&mut Vec::new(), 1 << 20).unwrap() {
            let record = record.unwrap();
            if record.offset >= from {
                values.push(String::from_utf8_lossy(record.value.unwrap()).into_owned());
            }
        }
    }
    next
}

#[test]
fn committed_records_are_seen_and_aborted_ones_are_not() {
    for protocol in [V1, V2] {
        let mut bench = Bench::new();
        bench.create("t", 2, &[]);
        let mut producer = bench.producer("tx", protocol);
        let mut other = bench.producer("other", protocol);
        assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
        assert_eq!(bench.write(&mut other, "t", 0, "x"), 0);
        assert_eq!(bench.log("t", 0).last_stable_offset(), 0);
        assert!(bench.committed_values("t", 0).is_empty(), "nothing is decided yet");
        assert_eq!(bench.end(&mut other, false), 0);
        assert_eq!(bench.log("t", 0).last_stable_offset(), 0, "the older one is open still");
        assert_eq!(bench.write(&mut producer, "t", 0, "b"), 0);
        assert_eq!(bench.end(&mut producer, true), 0);
        assert_eq!(bench.committed_values("t", 0), ["a", "b"]);
        let log = bench.log("t", 0);
        assert_eq!((log.end_offset(), log.last_stable_offset()), (5, 5), "two markers");
        // Further ones, with all that came before still in place.
        for (value, commit) in [("c", true), ("y", false), ("d", true)] {
            assert_eq!(bench.write(&mut producer, "t", 0, value), 0);
            assert_eq!(bench.end(&mut producer, commit), 0);
        }
        assert_eq!(bench.committed_values("t", 0), ["a", "b", "c", "d"]);
        // A reader in the middle learns of the aborted transactions behind it, and of no others.
        let data = bench.fetch_committed("t", 0, 6);
        let aborted = data.aborted_transactions.unwrap();
        let rows: Vec<_> =
            aborted.iter().map(|row| (row.producer_id.0, row.first_offset)).collect();
        assert_eq!(rows, [(producer.is.producer_id, 7)]);
        let mut bench = bench.crash();
        assert_eq!(bench.committed_values("t", 0), ["a", "b", "c", "d"], "after a restart");
    }
}

/// The wait for the medium fails when the marker is in the log: the next attempt waits again and
/// writes no second one.
#[test]
fn a_marker_that_could_not_be_synced_is_not_written_twice() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[("flush.messages", "1")]);
    let mut producer = bench.producer("tx", V2);
    assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
    bench.disk.fail_syncs();
    bench.end(&mut producer, true);
    for _ in 0..2 {
        assert_eq!(bench.state("tx"), TransactionState::PrepareCommit);
        assert_eq!(bench.log("t", 0).end_offset(), 2);
        bench.clock.advance(Duration::from_secs(2));
        bench.broker.tick();
    }
    bench.disk.heal();
    let syncs = bench.disk.syncs();
    bench.clock.advance(Duration::from_secs(2));
    bench.broker.tick();
    assert_eq!(bench.state("tx"), TransactionState::CompleteCommit);
    assert_eq!((bench.log("t", 0).end_offset(), bench.disk.syncs()), (2, syncs + 1));
    assert_eq!(bench.committed_values("t", 0), ["a"]);
}

/// With synced journals a power loss takes nothing of a transaction that was acknowledged.
#[test]
fn a_synced_transaction_survives_a_power_loss() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench
        .broker
        .set_dynamic(false, [("log.flush.interval.messages".into(), "1".into())].into())
        .unwrap();
    for (value, offset) in [("a", 7), ("b", 8)] {
        let mut producer = bench.producer("tx", V2);
        assert_eq!(bench.write(&mut producer, "t", 0, value), 0);
        assert_eq!(bench.send_offset(&producer, "g", "t", offset), 0);
        assert_eq!(bench.end(&mut producer, true), 0);
        let mut open = bench.producer("other", V2);
        assert_eq!(bench.write(&mut open, "t", 0, "open"), 0);
        bench = bench.power_loss();
        assert_eq!(bench.state("other"), TransactionState::Ongoing);
        let stored = bench.broker.transactions.get("tx").unwrap();
        assert_eq!(
            (stored.state, stored.epoch),
            (TransactionState::CompleteCommit, producer.is.epoch)
        );
        assert_eq!(bench.offset("g", "t", true), (0, offset));
    }
    assert_eq!(bench.committed_values("t", 0), ["a", "b"]);
}

/// A power loss took the journal's last writes and left the logs theirs: the epoch that the logs know
/// counts, or the marker of the abort would be refused and the last stable offset stand still.
#[test]
fn an_id_does_not_fall_behind_what_its_logs_know() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let journal = std::path::Path::new("/data/journals/transactions.0");
    let mut producer = bench.producer("tx", V2);
    assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
    let mut older = Vec::new();
    bench.disk.corrupt(journal, |bytes| older = bytes.clone());
    assert_eq!(bench.end(&mut producer, true), 0);
    let mut producer = bench.producer("tx", V2);
    assert_eq!(bench.write(&mut producer, "t", 0, "b"), 0);
    bench.disk.corrupt(journal, |bytes| *bytes = older);
    let epoch = producer.is.epoch;
    let mut bench = bench.crash();
    assert_eq!(bench.broker.transactions.get("tx").unwrap().epoch, epoch);
    assert!(bench.log("t", 0).last_stable_offset() < bench.log("t", 0).end_offset());
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.log("t", 0).last_stable_offset(), bench.log("t", 0).end_offset());
    assert_eq!(bench.committed_values("t", 0), ["a"]);
    let mut next = bench.producer("tx", V2);
    assert_eq!(bench.write(&mut next, "t", 0, "c"), 0);
    assert_eq!(bench.end(&mut next, true), 0);
    assert_eq!(bench.committed_values("t", 0), ["a", "c"]);
}
