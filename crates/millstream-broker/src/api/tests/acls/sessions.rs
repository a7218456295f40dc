//! Rights within a fetch session, and of members of groups of KIP-848.

use consumer_group_heartbeat_response::Assignment;
use fetch_request::{FetchPartition, FetchTopic};

use super::*;

const FETCH: i16 = 16;
/// `TOPIC_AUTHORIZATION_FAILED`.
const NOT_ALLOWED: i16 = 29;

/// Topic, error, high watermark, start of the log, and whether there are records.
type Row = (Uuid, i16, i64, i64, bool);

fn rows(response: &FetchResponse) -> Vec<Row> {
    assert_eq!(response.error_code, 0);
    let row = |topic: &fetch_response::FetchableTopicResponse| {
        let data = &topic.partitions[0];
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        (topic.topic_id, data.error_code, data.high_watermark, data.log_start_offset, has_records)
    };
    response.responses.iter().map(row).collect()
}

fn fetch(session: i32, epoch: i32) -> FetchRequest {
    FetchRequest::default().with_max_bytes(1000).with_session_id(session).with_session_epoch(epoch)
}

fn from(topic: Uuid, offset: i64) -> FetchTopic {
    let row = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1000)
        .with_current_leader_epoch(-1);
    FetchTopic::default().with_topic_id(topic).with_partitions(vec![row])
}

fn produce(bench: &mut Bench, topic: &str) {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData::default().with_records(Some(batch(1, 10)));
    let row =
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![row]);
    let response = bench.ask_as(ROOT, 9, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

fn bench_with(topics: &[&str]) -> Bench {
    let mut bench = Bench::with(config());
    for topic in topics {
        bench.create_as_root(topic);
    }
    bench
}

fn id_of(bench: &Bench, topic: &str) -> Uuid {
    bench.broker.topics.get(topic).unwrap().id
}

#[test]
fn a_session_tells_of_a_missing_right_in_every_answer_until_it_is_granted() {
    let mut bench = bench_with(&["mine", "theirs"]);
    produce(&mut bench, "theirs");
    bench.grant(ResourceType::Topic, "mine", Read);
    let (mine, theirs) = (id_of(&bench, "mine"), id_of(&bench, "theirs"));
    let opening = fetch(0, 0).with_topics(vec![from(mine, 0), from(theirs, 0)]);
    let response = bench.ask_as(ANN, FETCH, &opening);
    let session = response.session_id;
    assert_ne!(session, 0);
    let refused = (theirs, NOT_ALLOWED, -1, -1, false);
    assert_eq!(rows(&response), [(mine, 0, 0, 0, false), refused]);
    for epoch in [1, 2] {
        assert_eq!(rows(&bench.ask_as(ANN, FETCH, &fetch(session, epoch))), [refused]);
    }
    bench.grant(ResourceType::Topic, "theirs", Read);
    let response = bench.ask_as(ANN, FETCH, &fetch(session, 3));
    assert_eq!(rows(&response), [(theirs, 0, 1, 0, true)]);
}

#[test]
fn a_right_that_is_taken_away_is_missed_at_once_though_the_log_rests() {
    let mut bench = bench_with(&["t"]);
    bench.grant(ResourceType::Topic, "t", Read);
    let topic = id_of(&bench, "t");
    let response = bench.ask_as(ANN, FETCH, &fetch(0, 0).with_topics(vec![from(topic, 0)]));
    let session = response.session_id;
    assert_eq!(rows(&bench.ask_as(ANN, FETCH, &fetch(session, 1))), []);
    assert_eq!(bench.revoke_all(), 1);
    let refused = (topic, NOT_ALLOWED, -1, -1, false);
    assert_eq!(rows(&bench.ask_as(ANN, FETCH, &fetch(session, 2))), [refused]);
    produce(&mut bench, "t");
    assert_eq!(rows(&bench.ask_as(ANN, FETCH, &fetch(session, 3))), [refused]);
}

#[test]
fn a_session_gives_nothing_to_somebody_else_who_knows_its_number() {
    let mut bench = bench_with(&["t"]);
    let topic = id_of(&bench, "t");
    let response = bench.ask_as(ROOT, FETCH, &fetch(0, 0).with_topics(vec![from(topic, 0)]));
    let session = response.session_id;
    produce(&mut bench, "t");
    let refused = (topic, NOT_ALLOWED, -1, -1, false);
    assert_eq!(rows(&bench.ask_as(ANN, FETCH, &fetch(session, 1))), [refused]);
    let read = bench.ask_as(ROOT, FETCH, &fetch(session, 2));
    assert_eq!(rows(&read), [(topic, 0, 1, 0, true)]);
}

fn heartbeat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(g())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(1000)
        .with_topic_partitions(Some(vec![]))
}

fn topics_of(assignment: Option<&Assignment>) -> Vec<Uuid> {
    let topics = assignment.into_iter().flat_map(|assignment| &assignment.topic_partitions);
    topics.map(|topic| topic.topic_id).collect()
}

#[test]
fn a_regular_expression_finds_what_its_member_may_describe() {
    let mut bench = bench_with(&["a", "b"]);
    bench.grant(Group, "g", Read);
    bench.grant(ResourceType::Topic, "a", Describe);
    let joins = heartbeat("m", 0).with_subscribed_topic_regex(Some(text("[ab]")));
    let response = bench.ask_as(ANN, 1, &joins);
    assert_eq!(response.error_code, 0);
    assert_eq!(topics_of(response.assignment.as_ref()), [id_of(&bench, "a")]);
    // A right that comes later counts at the next heartbeat, though no topic has changed.
    bench.grant(ResourceType::Topic, "b", Describe);
    let next = heartbeat("m", response.member_epoch)
        .with_rebalance_timeout_ms(-1)
        .with_topic_partitions(None);
    let response = bench.ask_as(ANN, 1, &next);
    let mut expected = vec![id_of(&bench, "a"), id_of(&bench, "b")];
    expected.sort();
    assert_eq!(topics_of(response.assignment.as_ref()), expected);
}

#[test]
fn a_group_with_a_topic_that_may_not_be_seen_is_not_shown() {
    let mut bench = bench_with(&["t"]);
    let joins = heartbeat("m", 0).with_subscribed_topic_names(Some(vec![topic_name("t")]));
    let response = bench.ask_as(ROOT, 1, &joins);
    assert_eq!(topics_of(response.assignment.as_ref()), [id_of(&bench, "t")]);
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![g()])
        .with_include_authorized_operations(true);
    bench.grant(Group, "g", Describe);
    let row = &bench.ask_as(ANN, 1, &request).groups[0];
    assert_eq!((row.error_code, row.members.len()), (NOT_ALLOWED, 0));
    bench.grant(ResourceType::Topic, "t", Describe);
    let row = &bench.ask_as(ANN, 1, &request).groups[0];
    assert_eq!((row.error_code, row.members.len()), (0, 1));
    assert_eq!(row.authorized_operations, 1 << 8);
}
