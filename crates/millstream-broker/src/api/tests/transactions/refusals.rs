//! What is refused, with which code, and what waits for a transaction to end.

use kafka_protocol::ResponseError::*;

use super::*;
use crate::broker::OFFSETS_TOPIC;

#[test]
fn init_checks_what_it_is_given() {
    let mut bench = Bench::new();
    let request = InvalidRequest.code();
    assert_eq!(bench.init_with(4, "", 1000, None), Err(request));
    let half = Caller { producer_id: 5, epoch: -1 };
    assert_eq!(bench.init_with(4, "tx", 1000, Some(half)), Err(request));
    let timeout = InvalidTransactionTimeout.code();
    for timeout_ms in [0, -1, 900_001] {
        assert_eq!(bench.init_with(4, "tx", timeout_ms, None), Err(timeout));
    }
    let first = bench.init_with(4, "tx", 900_000, None).unwrap();
    assert_eq!(first.epoch, 0);
    bench.init_with(4, "tx", 1000, None).unwrap();
    // Who was replaced is told so in the words its version knows.
    assert_eq!(bench.init_with(4, "tx", 1000, Some(first)), Err(ProducerFenced.code()));
    assert_eq!(bench.init_with(3, "tx", 1000, Some(first)), Err(InvalidProducerEpoch.code()));
}

#[test]
fn partitions_that_are_not_there_add_none() {
    let mut bench = Bench::new();
    bench.create("t", 2, &[]);
    let producer = bench.producer("tx", V1);
    let (unknown, not_tried) = (UnknownTopicOrPartition.code(), OperationNotAttempted.code());
    assert_eq!(bench.add(&producer, "t", &[0, 7]), [not_tried, unknown]);
    assert_eq!(bench.add(&producer, "u", &[0]), [unknown]);
    assert_eq!(bench.state("tx"), TransactionState::Empty);
    let stranger = Producer { id: "nobody", ..producer.clone() };
    assert_eq!(bench.add(&stranger, "t", &[0]), [InvalidProducerIdMapping.code()]);
    assert_eq!(bench.add(&Producer { id: "", ..producer }, "t", &[0]), [InvalidRequest.code()]);
}

#[test]
fn brokers_may_ask_whether_a_partition_was_added() {
    use add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
    let mut bench = Bench::new();
    bench.create("t", 2, &[]);
    let producer = bench.producer("tx", V1);
    let mut ask = |version: i16, partition: i32, verify_only: bool, epoch: i16| {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![partition]);
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(text("tx").into())
            .with_producer_id(ProducerId(producer.is.producer_id))
            .with_producer_epoch(epoch)
            .with_verify_only(verify_only)
            .with_topics(vec![topic]);
        let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
        let response = bench.ask(version, &request);
        let topic = &response.results_by_transaction[0].topic_results[0];
        topic.results_by_partition[0].partition_error_code
    };
    assert_eq!(ask(5, 0, true, 0), TransactionAbortable.code());
    assert_eq!(ask(4, 0, true, 0), InvalidTxnState.code());
    assert_eq!(ask(5, 0, false, 0), 0);
    assert_eq!(ask(5, 0, true, 0), 0);
    assert_eq!(ask(5, 1, true, 0), TransactionAbortable.code());
    assert_eq!(ask(5, 0, true, 1), ProducerFenced.code());
}

#[test]
fn a_zombies_record_never_gets_in() {
    for protocol in [V1, V2] {
        let mut bench = Bench::new();
        bench.create("t", 1, &[]);
        let mut zombie = bench.producer("tx", protocol);
        assert_eq!(bench.write(&mut zombie, "t", 0, "z0"), 0);
        let mut alive = bench.producer("tx", protocol);
        assert_eq!(alive.is.epoch, zombie.is.epoch + 2, "one for the abort, one for itself");
        let invalid = InvalidProducerEpoch.code();
        assert_eq!(bench.write_unadded(&zombie, "t", 0, "z1"), invalid);
        assert_eq!(bench.write(&mut alive, "t", 0, "a0"), 0);
        assert_eq!(bench.write_unadded(&zombie, "t", 0, "z2"), invalid, "nor behind it");
        assert_eq!(bench.end(&mut zombie, true), ProducerFenced.code());
        assert_eq!(bench.add_offsets(&zombie, "g"), ProducerFenced.code());
        assert_eq!(bench.end(&mut alive, true), 0);
        assert_eq!(bench.committed_values("t", 0), ["a0"]);
        assert_eq!(bench.log("t", 0).end_offset(), 4);
    }
}

#[test]
fn a_late_batch_does_not_slip_into_the_next_transaction() {
    // Version 2: the epoch of the ended transaction is old, even for the producer itself.
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let mut producer = bench.producer("tx", V2);
    let late = producer.clone();
    assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(producer.is.epoch, late.is.epoch + 1);
    assert_eq!(bench.write(&mut producer, "t", 0, "b"), 0);
    let late = Producer { sequence: 1, ..late };
    assert_eq!(bench.write_unadded(&late, "t", 0, "late"), InvalidProducerEpoch.code());
    // The first batch of the raised epoch is lost: the second must not take its place.
    assert_eq!(bench.end(&mut producer, true), 0);
    let second = Producer { sequence: 1, ..producer.clone() };
    assert_eq!(bench.write_unadded(&second, "t", 0, "d"), OutOfOrderSequenceNumber.code());
    assert_eq!(bench.write(&mut producer, "t", 0, "c"), 0);
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(bench.committed_values("t", 0), ["a", "b", "c"]);
    // Version 1: a batch outside of any transaction is refused.
    let producer = bench.producer("old", V1);
    assert_eq!(bench.write_unadded(&producer, "t", 0, "late"), TransactionAbortable.code());
    let older = Producer { protocol: Protocol { produce: 10, ..V1 }, ..producer };
    assert_eq!(bench.write_unadded(&older, "t", 0, "late"), InvalidTxnState.code());
}

#[test]
fn batches_that_lie_about_their_transaction_are_refused() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let mut producer = bench.producer("tx", V1);
    assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
    let records = transactional(producer.is, 1, "x");
    let nameless = bench.ask(9, &produce_request("t", 0, records));
    let code = nameless.responses[0].partition_responses[0].error_code;
    assert_eq!(code, TransactionalIdAuthorizationFailed.code());
    let mut plain = RecordBatchBuilder::new(Compression::None).producer(
        producer.is.producer_id,
        producer.is.epoch,
        1,
    );
    plain.push(START_MS, None, Some(b"x"), []);
    let plain = plain.finish(0).unwrap();
    assert_eq!(bench.produce("t", 0, plain.into()).0, InvalidTxnState.code());
    let mut marker = RecordBatchBuilder::new(Compression::None)
        .producer(producer.is.producer_id, producer.is.epoch, 1)
        .transactional()
        .control();
    marker.push(START_MS, Some(&[0, 0, 0, 1]), Some(&[0; 6]), []);
    let request = produce_request("t", 0, marker.finish(0).unwrap().into())
        .with_transactional_id(Some(text("tx").into()));
    let response = bench.ask(9, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, InvalidRecord.code());
    assert_eq!(bench.log("t", 0).end_offset(), 1);
}

#[test]
fn repacked_batches_stay_in_their_transaction() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[("compression.type", "zstd")]);
    let mut producer = bench.producer("tx", V1);
    assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
    assert_eq!(bench.log("t", 0).last_stable_offset(), 0);
    assert_eq!(bench.end(&mut producer, false), 0);
    assert!(bench.committed_values("t", 0).is_empty());
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    for protocol in [V1, V2] {
        let mut bench = Bench::new();
        bench.create("t", 1, &[]);
        let is = bench.init_with(4, "tx", 5000, None).unwrap();
        let mut producer = Producer { id: "tx", is, protocol, sequence: 0 };
        assert_eq!(bench.write(&mut producer, "t", 0, "late"), 0);
        assert_eq!(bench.produce("t", 0, batch(1, 1)), (0, 1));
        bench.pass(Duration::from_millis(4999));
        assert_eq!(bench.log("t", 0).last_stable_offset(), 0);
        bench.pass(Duration::from_millis(1));
        assert_eq!(bench.log("t", 0).last_stable_offset(), 3);
        assert_eq!(bench.write_unadded(&producer, "t", 0, "later"), InvalidProducerEpoch.code());
        // With version 2 the producer may admit that nothing came of it, and go on.
        let commit = if protocol == V1 { ProducerFenced } else { InvalidTxnState };
        assert_eq!(bench.end(&mut producer, true), commit.code());
        let abort = if protocol == V1 { ProducerFenced.code() } else { 0 };
        assert_eq!(bench.end(&mut producer, false), abort);
        assert_eq!(bench.committed_values("t", 0).len(), 1);
        let mut bench = bench.crash();
        assert_eq!(bench.committed_values("t", 0).len(), 1);
    }
}

#[test]
fn ids_that_nobody_uses_are_forgotten() {
    let config = BrokerConfig::new("/data").setting("transactional.id.expiration.ms", "3600000");
    let mut bench = Bench::with(config);
    bench.producer("tx", V1);
    bench.pass(Duration::from_secs(3000));
    assert!(bench.broker.transactions.get("tx").is_some());
    bench.pass(Duration::from_secs(1200));
    assert!(bench.broker.transactions.get("tx").is_none());
}

#[test]
fn a_reader_of_committed_data_waits_for_the_end_and_not_for_bytes() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let mut producer = bench.producer("tx", V1);
    let committed = fetch_request(12, &bench, "t", 0).with_isolation_level(1);
    let Reply::Later(waits) = bench.send(12, &committed).unwrap() else { panic!("not parked") };
    let any = fetch_request(12, &bench, "t", 0);
    let Reply::Later(woken) = bench.send(12, &any).unwrap() else { panic!("not parked") };
    assert_eq!(bench.write(&mut producer, "t", 0, "a"), 0);
    let answers = bench.broker.take_answers();
    assert_eq!(answers.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [woken]);
    // Plain records behind an open transaction cannot be read either.
    assert_eq!(bench.produce("t", 0, batch(1, 1)), (0, 1));
    assert!(bench.answer(waits).is_none());
    assert_eq!(bench.end(&mut producer, false), 0);
    let frame = bench.answer(waits).expect("the end wakes it");
    let response = Bench::decode::<FetchRequest>(12, frame);
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.last_stable_offset, 3);
    assert_eq!(data.aborted_transactions.as_ref().unwrap().len(), 1);
    assert_eq!(record_count(data.records.as_ref()), 3);
}

#[test]
fn look_ups_of_committed_readers_end_at_the_last_stable_offset() {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(2, 1));
    let mut producer = bench.producer("tx", V1);
    bench.write(&mut producer, "t", 0, "a");
    let mut ask = |timestamp: i64, isolation: i8| {
        let row =
            ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![row]);
        let request =
            ListOffsetsRequest::default().with_isolation_level(isolation).with_topics(vec![topic]);
        bench.ask(7, &request).topics[0].partitions[0].offset
    };
    assert_eq!((ask(-1, 0), ask(-1, 1)), (3, 2));
    assert_eq!((ask(START_MS + 1, 0), ask(START_MS + 1, 1)), (1, 1));
    assert_eq!((ask(START_MS + 2, 0), ask(START_MS + 2, 1)), (-1, -1));
}

#[test]
fn deleting_records_takes_an_open_transaction_along() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let mut producer = bench.producer("tx", V1);
    bench.write(&mut producer, "t", 0, "a");
    bench.write(&mut producer, "t", 0, "b");
    let Broker { topics, meta, .. } = &mut bench.broker;
    topics.delete_records(meta, "t", 0, 1).unwrap();
    assert_eq!(bench.log("t", 0).last_stable_offset(), 1, "not below the start");
    let mut bench = bench.crash();
    assert_eq!(bench.log("t", 0).last_stable_offset(), 1);
    assert_eq!(bench.end(&mut producer, true), 0);
    let data = bench.fetch_committed("t", 0, 1);
    assert_eq!((data.error_code, record_count(data.records.as_ref())), (0, 2));
}

#[test]
fn a_topic_that_is_deleted_does_not_hold_the_end_up() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.create("u", 1, &[]);
    let mut producer = bench.producer("tx", V2);
    bench.write(&mut producer, "t", 0, "a");
    producer.sequence = 0;
    bench.write(&mut producer, "u", 0, "a");
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    assert_eq!(bench.ask(5, &delete).responses[0].error_code, 0);
    assert_eq!(bench.end(&mut producer, true), 0);
    assert_eq!(bench.state("tx"), TransactionState::CompleteCommit);
    assert_eq!(bench.committed_values("u", 0), ["a"]);
}

#[test]
fn administrators_see_and_end_transactions() {
    use write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
    let mut bench = Bench::new();
    bench.create("t", 2, &[]);
    let mut producer = bench.producer("tx", V1);
    bench.producer("idle", V1);
    bench.produce("t", 0, batch(3, 1));
    bench.write(&mut producer, "t", 0, "a");
    bench.add_offsets(&producer, "g");
    bench.pass(Duration::from_secs(10));

    let ids = ["tx", "idle", "missing"].map(|id| text(id).into()).to_vec();
    let describe = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let response = bench.ask(0, &describe);
    let [tx, idle, missing] = &response.transaction_states[..] else { panic!() };
    assert_eq!((tx.error_code, tx.transaction_state.as_str()), (0, "Ongoing"));
    assert_eq!((tx.transaction_start_time_ms, tx.transaction_timeout_ms), (START_MS, 60_000));
    assert_eq!((tx.producer_id.0, tx.producer_epoch), (producer.is.producer_id, 0));
    let topics: Vec<_> = tx.topics.iter().map(|t| (t.topic.as_str(), &t.partitions[..])).collect();
    assert_eq!(topics, [(OFFSETS_TOPIC, &[0][..]), ("t", &[0])]);
    assert_eq!((idle.transaction_state.as_str(), idle.transaction_start_time_ms), ("Empty", -1));
    assert_eq!(missing.error_code, TransactionalIdNotFound.code());

    let mut list = |states: &[&str], producers: &[i64], duration: i64| {
        let request = ListTransactionsRequest::default()
            .with_state_filters(states.iter().map(|state| text(*state)).collect())
            .with_producer_id_filters(producers.iter().map(|id| ProducerId(*id)).collect())
            .with_duration_filter(duration);
        let response = bench.ask(1, &request);
        let ids = response.transaction_states.iter().map(|row| row.transactional_id.to_string());
        (ids.collect::<Vec<_>>(), response.unknown_state_filters.len())
    };
    let only = |id: &str| vec![id.to_owned()];
    assert_eq!(list(&[], &[], -1).0, ["idle", "tx"]);
    assert_eq!(list(&["Ongoing"], &[], -1), (only("tx"), 0));
    assert_eq!(list(&["Empty", "Dead", "Nonsense"], &[], -1), (only("idle"), 1));
    assert_eq!(list(&[], &[producer.is.producer_id], -1).0, only("tx"));
    assert_eq!(list(&[], &[], 9_999).0, only("tx"));
    assert!(list(&[], &[], 10_000).0.is_empty());
    let mut by_pattern = |pattern: &str| {
        let request =
            ListTransactionsRequest::default().with_transactional_id_pattern(Some(text(pattern)));
        bench.ask(2, &request)
    };
    let ids = |response: ListTransactionsResponse| -> Vec<String> {
        response.transaction_states.iter().map(|row| row.transactional_id.to_string()).collect()
    };
    let answers = ["t.", "t", "", ".*d.*"].map(|pattern| ids(by_pattern(pattern)));
    assert_eq!(answers, [only("tx"), vec![], vec!["idle".into(), "tx".into()], only("idle")]);
    assert_eq!(by_pattern("t(").error_code, InvalidRegularExpression.code());

    let producers = |bench: &mut Bench| {
        let row = describe_producers_request::TopicRequest::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![row]);
        let response = bench.ask(0, &request);
        let row = &response.topics[0].partitions[0].active_producers[0];
        (row.coordinator_epoch, row.current_txn_start_offset, row.last_sequence)
    };
    assert_eq!(producers(&mut bench), (-1, 3, 0));

    let mut mark = |topic: &str, epoch: i16, coordinator_epoch: i32, id: i64| {
        let row = WritableTxnMarkerTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![0]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch)
            .with_transaction_result(false)
            .with_coordinator_epoch(coordinator_epoch)
            .with_topics(vec![row]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        bench.ask(1, &request).markers[0].topics[0].partitions[0].error_code
    };
    let id = producer.is.producer_id;
    assert_eq!(mark("t", -1, 0, id), InvalidProducerEpoch.code());
    assert_eq!(mark("nowhere", 0, 0, id), UnknownTopicOrPartition.code());
    assert_eq!(mark("t", 0, 4, id), 0);
    assert_eq!(mark("t", 0, 3, id), TransactionCoordinatorFenced.code());
    assert_eq!(producers(&mut bench), (4, -1, 0));
    assert_eq!(bench.committed_values("t", 0).len(), 3);
}

#[test]
fn clients_are_told_of_the_second_version() {
    let mut bench = Bench::new();
    let request = ApiVersionsRequest::default().with_client_software_name(text("x"));
    let response = bench.ask(4, &request);
    let feature = |name: &str| {
        let mut features = response.finalized_features.iter();
        features.find(|feature| feature.name.as_str() == name).map(|f| f.max_version_level)
    };
    assert_eq!(feature("transaction.version"), Some(2));
    assert_eq!(feature("group.version"), Some(1), "else tools do not ask for consumer groups");
    assert!(response.finalized_features_epoch >= 0, "else Java clients take no notice");
    let supported: Vec<i16> = response.supported_features.iter().map(|f| f.max_version).collect();
    assert_eq!(supported, [1, 2]);
    assert!(bench.ask(3, &request).supported_features.is_empty());
    let find =
        FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text("tx")]);
    let response = bench.ask(4, &find);
    assert_eq!((response.coordinators[0].error_code, response.coordinators[0].port), (0, 9092));
}
