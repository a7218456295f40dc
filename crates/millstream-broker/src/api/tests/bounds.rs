//! Small requests get no large answers.

use super::*;
use crate::disk::{Piece, StdDisk};

const TIMES: usize = 10_000;

impl Bench {
    /// Bytes of the answer.
    fn size<R: Request>(&mut self, version: i16, request: &R) -> usize {
        match self.send(version, request).unwrap() {
            Reply::Now(frame) => frame.len(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn commit(&mut self, group: &str, topic: &str, metadata: &str) {
        use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let row = OffsetCommitRequestPartition::default()
            .with_committed_offset(1)
            .with_committed_metadata(Some(text(metadata)));
        let request = OffsetCommitRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![
                OffsetCommitRequestTopic::default()
                    .with_name(topic_name(topic))
                    .with_partitions(vec![row]),
            ]);
        assert_eq!(self.ask(8, &request).topics[0].partitions[0].error_code, 0);
    }
}

#[test]
fn a_thing_that_is_named_often_is_described_once() {
    let mut bench = Bench::new();
    bench.create("t", 50, &[]);
    bench.produce("t", 0, batch(1, 10));
    bench.commit("g", "t", &"m".repeat(4000));

    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name("t")));
    let by_id = topic.clone().with_name(None).with_topic_id(bench.topic_id("t"));
    let mut topics = vec![topic; TIMES];
    topics.extend(vec![by_id; TIMES]);
    let response = bench.ask(12, &MetadataRequest::default().with_topics(Some(topics)));
    assert_eq!(response.topics.len(), 2);

    let resource = |kind, name: &str| {
        describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    let mut resources = vec![resource(4, "1"); TIMES];
    resources.extend(vec![resource(2, "t"); TIMES]);
    let response = bench.ask(4, &DescribeConfigsRequest::default().with_resources(resources));
    assert_eq!(response.results.len(), 2);

    let groups = vec![GroupId(text("g")); TIMES];
    let response = bench.ask(5, &DescribeGroupsRequest::default().with_groups(groups));
    assert_eq!(response.groups.len(), 1);

    use offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0; TIMES]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(text("g").into())
        .with_topics(Some(vec![topic; 10]));
    let size = bench.size(8, &OffsetFetchRequest::default().with_groups(vec![group; 3]));
    assert!((4000..5000).contains(&size), "{size}");
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0; TIMES]);
    let request = OffsetFetchRequest::default()
        .with_group_id(text("g").into())
        .with_topics(Some(vec![topic; 10]));
    let size = bench.size(7, &request);
    assert!((4000..5000).contains(&size), "{size}");

    let row = describe_producers_request::TopicRequest::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0; TIMES]);
    let size = bench.size(0, &DescribeProducersRequest::default().with_topics(vec![row; 10]));
    assert!(size < 200, "{size}");

    let ids = vec![text("tx").into(); TIMES];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    assert_eq!(bench.ask(0, &request).transaction_states.len(), 1);

    let row = describe_log_dirs_request::DescribableLogDirTopic::default()
        .with_topic(topic_name("t"))
        .with_partitions(vec![3; TIMES]);
    let request = DescribeLogDirsRequest::default().with_topics(Some(vec![row; 10]));
    let response = bench.ask(4, &request);
    let partitions = &response.results[0].topics[0].partitions;
    assert_eq!((partitions.len(), partitions[0].partition_index), (1, 3));

    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let row = ListOffsetsPartition::default().with_timestamp(1).with_current_leader_epoch(-1);
    let row = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![row; 2]);
    let response = bench.ask(7, &ListOffsetsRequest::default().with_topics(vec![row]));
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|row| row.error_code).collect();
    assert_eq!(codes, [0, ResponseError::InvalidRequest.code()]);
}

#[test]
fn a_resource_is_changed_once_in_a_request() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let resource = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"));
    let before = bench.disk.syncs();
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource; TIMES]);
    let response = bench.ask(1, &request);
    let refused = response.responses.iter().filter(|row| row.error_code != 0).count();
    assert_eq!((refused, bench.disk.syncs() - before), (TIMES - 1, 1));
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"));
    let request = AlterConfigsRequest::default().with_resources(vec![resource; 2]);
    let codes =
        bench.ask(1, &request).responses.iter().map(|row| row.error_code).collect::<Vec<_>>();
    assert_eq!(codes, [0, ResponseError::InvalidRequest.code()]);
}

#[test]
fn many_things_are_refused_and_not_described() {
    let mut bench = Bench::new();
    let topics: Vec<CreatableTopic> = (0..DESCRIBED_MAX + 1)
        .map(|number| {
            CreatableTopic::default()
                .with_name(topic_name(&format!("t{number}")))
                .with_num_partitions(1)
                .with_replication_factor(1)
        })
        .collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_validate_only(true);
    let response = bench.ask(7, &request);
    let refused = response.topics.iter().filter(|topic| topic.error_code != 0).count();
    assert_eq!(refused, 1);
}

/// More than an answer may hold would never be there: the fetch would wait to its deadline.
#[test]
fn a_fetch_does_not_wait_for_more_than_it_may_get() {
    let config = BrokerConfig::new("/data").setting("fetch.max.bytes", "1100");
    let mut bench = Bench::with(config);
    bench.create("t", 1, &[]);
    for _ in 0..3 {
        bench.produce("t", 0, batch(1, 500));
    }
    for (min_bytes, max_bytes) in [(2000, 1000), (i32::MAX, i32::MAX)] {
        let request =
            fetch_request(12, &bench, "t", 0).with_min_bytes(min_bytes).with_max_bytes(max_bytes);
        let response = bench.ask(12, &request);
        assert!(record_count(response.responses[0].partitions[0].records.as_ref()) > 0);
    }
    // The segment ends, or the partition's own limit does not let more through.
    let mut request = fetch_request(12, &bench, "t", 0).with_min_bytes(1100);
    request.topics[0].partitions[0].partition_max_bytes = 600;
    bench.ask(12, &request);
    // What is not there yet is waited for, but no longer than it takes to fill the answer.
    let request = fetch_request(12, &bench, "t", 3).with_min_bytes(i32::MAX).with_max_bytes(600);
    let Reply::Later(ticket) = bench.send(12, &request).unwrap() else { panic!("not parked") };
    bench.produce("t", 0, batch(1, 700));
    assert!(bench.answer(ticket).is_some());
}

/// Of more partitions than it may keep files open of, an answer has the rest in memory.
#[test]
fn an_answer_keeps_few_files_open() {
    const PARTITIONS: i32 = 20;
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_MS));
    let broker = Broker::open(
        &BrokerConfig::new(dir.path()),
        &[SocketAddr::from(([127, 0, 0, 1], 9092))],
        Arc::new(StdDisk::default()),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Box::new(Counting(1)),
        "boot",
    )
    .unwrap();
    let mut bench = Bench { broker, clock, disk: MemoryDisk::default() };
    bench.create("t", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        assert_eq!(bench.produce("t", partition, batch(1, 70_000)), (0, 0));
    }
    let mut request = fetch_request(12, &bench, "t", 0).with_max_bytes(8 << 20);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions =
        (0..PARTITIONS).map(|number| one.clone().with_partition(number)).collect();
    let Reply::Now(frame) = bench.send(12, &request).unwrap() else { panic!("answered at once") };
    let in_file = |piece: &&Piece| matches!(piece, Piece::File { .. });
    assert_eq!(frame.pieces().iter().filter(in_file).count(), 16);
    let response = Bench::decode::<FetchRequest>(12, frame.into_bytes().unwrap());
    let records = response.responses[0].partitions.iter().map(|data| data.records.as_ref());
    assert!(records.map(|records| records.map_or(0, Bytes::len)).all(|length| length > 70_000));
}
