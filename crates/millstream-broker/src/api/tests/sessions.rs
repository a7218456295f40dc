//! Fetch sessions as clients see them, and against a twin that looks at every partition each time.

use std::collections::BTreeMap;

use super::*;
use fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};

const VERSION: i16 = 16;

fn partition(index: i32, offset: i64) -> FetchPartition {
    FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1)
}

fn request(id: i32, epoch: i32) -> FetchRequest {
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_min_bytes(1)
        .with_session_id(id)
        .with_session_epoch(epoch)
}

fn topic_of(id: Uuid, partitions: Vec<FetchPartition>) -> FetchTopic {
    FetchTopic::default().with_topic_id(id).with_partitions(partitions)
}

/// Partition, error, high watermark and number of records.
fn rows(response: &FetchResponse) -> Vec<(i32, i16, i64, i32)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let row = |partition: &fetch_response::PartitionData| {
        let records = record_count(partition.records.as_ref());
        (partition.partition_index, partition.error_code, partition.high_watermark, records)
    };
    partitions.map(row).collect()
}

impl Bench {
    /// A session on the first partitions of a topic, from their starts on.
    fn open_session(&mut self, topic: &str, partitions: i32) -> i32 {
        let rows = (0..partitions).map(|index| partition(index, 0)).collect();
        let topic = topic_of(self.topic_id(topic), rows);
        let response = self.ask(VERSION, &request(0, 0).with_topics(vec![topic]));
        assert_eq!((response.error_code, rows_len(&response)), (0, partitions as usize));
        assert_ne!(response.session_id, 0);
        response.session_id
    }
}

fn rows_len(response: &FetchResponse) -> usize {
    response.responses.iter().map(|topic| topic.partitions.len()).sum()
}

#[test]
fn a_session_names_only_what_has_changed() {
    let mut bench = Bench::new();
    bench.create("t", 1000, &[]);
    let id = bench.open_session("t", 1000);
    assert_eq!(bench.broker.fetches.to_look_at(id).unwrap().len(), 0, "nothing is worth a look");

    bench.produce("t", 7, batch(2, 10));
    let response = bench.ask(VERSION, &request(id, 1));
    assert_eq!((response.session_id, rows(&response)), (id, vec![(7, 0, 2, 2)]));

    // The client has read them and says so; there is nothing new.
    let read = topic_of(bench.topic_id("t"), vec![partition(7, 2)]);
    let response = bench.ask(VERSION, &request(id, 2).with_topics(vec![read]));
    assert_eq!(rows(&response), []);
    assert_eq!(bench.broker.fetches.to_look_at(id).unwrap().len(), 0);

    // A client that does not say that it has read them gets them again.
    bench.produce("t", 8, batch(1, 10));
    for epoch in [3, 4] {
        assert_eq!(rows(&bench.ask(VERSION, &request(id, epoch))), [(8, 0, 1, 1)]);
    }
}

#[test]
fn a_fetch_that_waits_in_a_session_is_woken_by_its_partitions() {
    let mut bench = Bench::new();
    bench.create("t", 3, &[]);
    bench.create("other", 1, &[]);
    let id = bench.open_session("t", 3);
    let waits = request(id, 1).with_max_wait_ms(30_000);
    let Reply::Later(ticket) = bench.send(VERSION, &waits).unwrap() else { panic!() };
    bench.produce("other", 0, batch(1, 10));
    assert!(bench.answer(ticket).is_none());
    bench.produce("t", 2, batch(1, 10));
    let frame = bench.answer(ticket).expect("woken");
    let response = Bench::decode::<FetchRequest>(VERSION, frame);
    assert_eq!((response.session_id, rows(&response)), (id, vec![(2, 0, 1, 1)]));

    // Its time comes: an answer without partitions.
    let read = topic_of(bench.topic_id("t"), vec![partition(2, 1)]);
    let waits = request(id, 2).with_max_wait_ms(500).with_topics(vec![read]);
    let Reply::Later(ticket) = bench.send(VERSION, &waits).unwrap() else { panic!() };
    bench.pass(Duration::from_millis(501));
    let response = Bench::decode::<FetchRequest>(VERSION, bench.answer(ticket).unwrap());
    assert_eq!((response.error_code, response.session_id, rows_len(&response)), (0, id, 0));
}

#[test]
fn epochs_and_ids_that_do_not_fit_are_refused() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let id = bench.open_session("t", 1);
    let mut code = |version, request: &FetchRequest| {
        let response = bench.ask(version, request);
        (response.error_code, response.session_id)
    };
    assert_eq!(code(VERSION, &request(id, 2)), (ResponseError::InvalidFetchSessionEpoch.code(), 0));
    assert_eq!(code(VERSION, &request(id ^ 1, 1)).0, ResponseError::FetchSessionIdNotFound.code());
    assert_eq!(code(12, &request(id, 1)).0, ResponseError::FetchSessionTopicIdError.code());
    assert_eq!(code(VERSION, &request(id, 1)), (0, id));
    // Epoch -1 ends it.
    assert_eq!(code(VERSION, &request(id, -1)), (0, 0));
    assert_eq!(code(VERSION, &request(id, 2)).0, ResponseError::FetchSessionIdNotFound.code());
}

#[test]
fn the_same_request_again_while_the_first_one_waits() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let id = bench.open_session("t", 1);
    let waits = |epoch| request(id, epoch).with_max_wait_ms(30_000);
    let Reply::Later(first) = bench.send(VERSION, &waits(1)).unwrap() else { panic!() };
    let Reply::Later(second) = bench.send(VERSION, &waits(2)).unwrap() else { panic!() };
    bench.produce("t", 0, batch(1, 10));
    let answers = bench.broker.take_answers().into_iter();
    let mut answers: BTreeMap<Ticket, Bytes> =
        answers.map(|(ticket, frame)| (ticket, frame.into_bytes().unwrap())).collect();
    let mut decode =
        |ticket| Bench::decode::<FetchRequest>(VERSION, answers.remove(&ticket).unwrap());
    let (old, new) = (decode(first), decode(second));
    assert_eq!(
        (old.error_code, old.session_id),
        (ResponseError::InvalidFetchSessionEpoch.code(), id)
    );
    assert_eq!((new.error_code, rows(&new)), (0, vec![(0, 0, 1, 1)]));
}

#[test]
fn a_topic_that_was_made_anew_is_another_one() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let by_id = bench.open_session("t", 1);
    let by_name =
        FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition(0, 0)]);
    let by_name = bench.ask(12, &request(0, 0).with_topics(vec![by_name])).session_id;
    let waits = request(by_id, 1).with_max_wait_ms(30_000);
    let Reply::Later(ticket) = bench.send(VERSION, &waits).unwrap() else { panic!() };

    let topic = delete_topics_request::DeleteTopicState::default().with_name(Some(topic_name("t")));
    let deletion = DeleteTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(bench.ask(6, &deletion).responses[0].error_code, 0);
    let code = |response: &FetchResponse| response.responses[0].partitions[0].error_code;
    let response = Bench::decode::<FetchRequest>(VERSION, bench.answer(ticket).unwrap());
    assert_eq!(code(&response), ResponseError::UnknownTopicId.code());
    let response = bench.ask(12, &request(by_name, 1));
    assert_eq!(code(&response), ResponseError::UnknownTopicOrPartition.code());

    // Said again each time, until it is there.
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(3, 10));
    assert_eq!(code(&bench.ask(VERSION, &request(by_id, 2))), ResponseError::UnknownTopicId.code());
    assert_eq!(rows(&bench.ask(12, &request(by_name, 2))), [(0, 0, 3, 3)]);
}

#[test]
fn no_partition_starves_under_a_limit() {
    let mut bench = Bench::new();
    bench.create("t", 5, &[]);
    for index in 0..5 {
        for _ in 0..10 {
            bench.produce("t", index, batch(1, 1000));
        }
    }
    let topic = bench.topic_id("t");
    let mut offsets = [0; 5];
    let all = (0..5).map(|index| partition(index, 0)).collect();
    let mut next = request(0, 0).with_max_bytes(1500).with_topics(vec![topic_of(topic, all)]);
    for epoch in 1..=50 {
        let response = bench.ask(VERSION, &next);
        let read: Vec<_> = rows(&response).into_iter().filter(|row| row.3 > 0).collect();
        for row in &read {
            offsets[row.0 as usize] += i64::from(row.3);
        }
        let (least, most) = (offsets.iter().min().unwrap(), offsets.iter().max().unwrap());
        assert!(most - least <= 1, "{offsets:?}");
        let said = read.iter().map(|row| partition(row.0, offsets[row.0 as usize])).collect();
        next = request(response.session_id, epoch)
            .with_max_bytes(1500)
            .with_topics(vec![topic_of(topic, said)]);
    }
    assert_eq!(offsets, [10; 5]);
}

#[derive(Clone, Debug)]
enum Step {
    Append(i32),
    DeleteRecords(i32),
    Forget(i32),
    Want(i32, i64),
    Fetch,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6).prop_map(Step::Append),
        (0..6).prop_map(Step::DeleteRecords),
        (0..6).prop_map(Step::Forget),
        (0..8, 0..4i64).prop_map(|(index, offset)| Step::Want(index, offset)),
        Just(Step::Fetch),
        Just(Step::Fetch),
    ]
}

proptest! {
    /// The twin asks for every partition of the session without one, and compares what it hears
    /// with what the session has said.
    #[test]
    fn a_session_says_what_a_look_at_everything_would(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut bench = Bench::new();
        bench.create("t", 6, &[]);
        let topic = bench.topic_id("t");
        let id = bench.open_session("t", 6);
        let mut wanted: BTreeMap<i32, i64> = (0..6).map(|index| (index, 0)).collect();
        // High watermark and start of the log.
        let mut told: BTreeMap<i32, (i64, i64)> = (0..6).map(|index| (index, (0, 0))).collect();
        let (mut said, mut forgotten) = (Vec::new(), Vec::new());
        let mut epoch = 1;
        for step in steps {
            match step {
                Step::Append(index) => {
                    bench.produce("t", index, batch(1, 10));
                }
                Step::DeleteRecords(index) => {
                    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
                    let row = DeleteRecordsPartition::default().with_partition_index(index).with_offset(-1);
                    let row = DeleteRecordsTopic::default()
                        .with_name(topic_name("t"))
                        .with_partitions(vec![row]);
                    let request = DeleteRecordsRequest::default().with_topics(vec![row]);
                    prop_assert_eq!(bench.ask(2, &request).topics[0].partitions[0].error_code, 0);
                }
                Step::Forget(index) => forgotten.push(index),
                Step::Want(index, offset) => {
                    forgotten.retain(|other| *other != index);
                    said.retain(|other: &FetchPartition| other.partition != index);
                    said.push(partition(index, offset));
                }
                Step::Fetch => {
                    for row in &said {
                        if wanted.insert(row.partition, row.fetch_offset).is_none() {
                            told.insert(row.partition, (-1, -1));
                        }
                    }
                    for index in &forgotten {
                        wanted.remove(index);
                        told.remove(index);
                    }
                    let gone = ForgottenTopic::default()
                        .with_topic_id(topic)
                        .with_partitions(std::mem::take(&mut forgotten));
                    let request = request(id, epoch)
                        .with_topics(vec![topic_of(topic, std::mem::take(&mut said))])
                        .with_forgotten_topics_data(vec![gone]);
                    let response = bench.ask(VERSION, &request);
                    if wanted.is_empty() {
                        prop_assert_eq!(response.session_id, 0);
                        return Ok(());
                    }
                    epoch += 1;
                    let all = wanted.iter().map(|(index, offset)| partition(*index, *offset));
                    let look = super::sessions::request(0, -1)
                        .with_topics(vec![topic_of(topic, all.collect())]);
                    let look = bench.ask(VERSION, &look);
                    let mut expected = BTreeMap::new();
                    for row in &look.responses[0].partitions {
                        let now = (row.high_watermark, row.log_start_offset);
                        let records = record_count(row.records.as_ref());
                        let before = told.get_mut(&row.partition_index).unwrap();
                        if records > 0 || row.error_code != 0 || *before != now {
                            expected.insert(row.partition_index, (row.error_code, now, records));
                        }
                        *before = if row.error_code != 0 { (-1, now.1) } else { now };
                    }
                    let answered: BTreeMap<_, _> = response
                        .responses
                        .iter()
                        .flat_map(|topic| &topic.partitions)
                        .map(|row| {
                            let now = (row.high_watermark, row.log_start_offset);
                            let records = record_count(row.records.as_ref());
                            (row.partition_index, (row.error_code, now, records))
                        })
                        .collect();
                    prop_assert_eq!(answered, expected);
                }
            }
        }
    }
}
