//! What somebody sees who may see some of it, and the life of rules.

use super::*;

#[test]
fn lists_leave_out_what_somebody_may_not_see() {
    let mut bench = Bench::with(config());
    for name in ["t", "secret"] {
        bench.create_as_root(name);
    }
    let all = MetadataRequest::default().with_topics(None);
    let names = |bench: &mut Bench, who| -> Vec<String> {
        let topics = bench.ask_as(who, 12, &all).topics;
        topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect()
    };
    assert!(names(&mut bench, ANN).is_empty());
    bench.grant(ResourceType::Topic, "t", Read);
    assert_eq!(names(&mut bench, ANN), ["t"]);
    assert_eq!(names(&mut bench, ROOT), ["secret", "t"]);
    let page = DescribeTopicPartitionsRequest::default()
        .with_response_partition_limit(10)
        .with_cursor(None);
    let topics = bench.ask_as(ANN, 0, &page).topics;
    assert_eq!(topics.len(), 1);
    assert_eq!(topics[0].topic_authorized_operations, 1 << 3 | 1 << 8);
    // Asked for by its id, what may not be seen is not there.
    let id = bench.ask_as(ROOT, 12, &all).topics[0].topic_id;
    let by_id = metadata_request::MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let request = MetadataRequest::default().with_topics(Some(vec![by_id]));
    let row = &bench.ask_as(ANN, 12, &request).topics[0];
    assert_eq!((row.error_code, row.name.as_ref()), (ResponseError::UnknownTopicId.code(), None));
}

#[test]
fn groups_and_transactions_are_listed_to_those_who_may_see_them() {
    let mut bench = Bench::with(config());
    bench.create_as_root("t");
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    for name in ["g", "h"] {
        let row = OffsetCommitRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![OffsetCommitRequestPartition::default()]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(name)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![row]);
        let response = bench.ask_as(ROOT, 8, &request);
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    }
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(x()))
        .with_transaction_timeout_ms(1000);
    assert_eq!(bench.ask_as(ROOT, 4, &request).error_code, 0);
    let groups = |bench: &mut Bench| bench.ask_as(ANN, 4, &ListGroupsRequest::default()).groups;
    let list = ListTransactionsRequest::default();
    assert!(groups(&mut bench).is_empty());
    assert!(bench.ask_as(ANN, 0, &list).transaction_states.is_empty());
    bench.grant(Group, "h", Read);
    bench.grant(TransactionalId, "x", Describe);
    assert_eq!(groups(&mut bench)[0].group_id.as_str(), "h");
    assert_eq!(bench.ask_as(ANN, 0, &list).transaction_states.len(), 1);
    bench.grant(Cluster, "kafka-cluster", Describe);
    assert_eq!(groups(&mut bench).len(), 2);
}

#[test]
fn authorized_operations_are_those_that_are_granted() {
    let mut bench = Bench::with(config());
    bench.create_as_root("t");
    let cluster = |bench: &mut Bench, who| {
        let request =
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        bench.ask_as(who, 0, &request).cluster_authorized_operations
    };
    assert_eq!(cluster(&mut bench, ANN), 0);
    assert_eq!(cluster(&mut bench, ROOT), operations::CLUSTER);
    bench.grant(Cluster, "kafka-cluster", Alter);
    assert_eq!(cluster(&mut bench, ANN), 1 << 7 | 1 << 8);
    bench.grant(ResourceType::Topic, "t", All);
    let metadata =
        MetadataRequest::default().with_topics(None).with_include_topic_authorized_operations(true);
    let row = &bench.ask_as(ANN, 12, &metadata).topics[0];
    assert_eq!(row.topic_authorized_operations, operations::TOPIC);
    bench.grant(Group, "g", Describe);
    let groups = DescribeGroupsRequest::default()
        .with_groups(vec![g()])
        .with_include_authorized_operations(true);
    assert_eq!(bench.ask_as(ANN, 5, &groups).groups[0].authorized_operations, 1 << 8);
}

#[test]
fn several_topics_in_a_request_are_answered_each() {
    let mut bench = Bench::with(config());
    for name in ["mine", "theirs"] {
        bench.create_as_root(name);
    }
    bench.grant(ResourceType::Topic, "mine", Write);
    let rows = ["mine", "theirs", "missing"].map(|name| {
        use produce_request::{PartitionProduceData, TopicProduceData};
        let data = PartitionProduceData::default().with_records(Some(batch(1, 10)));
        TopicProduceData::default().with_name(topic_name(name)).with_partition_data(vec![data])
    });
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(rows.to_vec());
    let response = bench.ask_as(ANN, 9, &request);
    let codes: Vec<i16> =
        response.responses.iter().map(|row| row.partition_responses[0].error_code).collect();
    assert_eq!(codes, [0, 29, 29]);
    // Nothing was written where it was refused.
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let row = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
    let row =
        ListOffsetsTopic::default().with_name(topic_name("theirs")).with_partitions(vec![row]);
    let request = ListOffsetsRequest::default().with_topics(vec![row]);
    assert_eq!(bench.ask_as(ROOT, 7, &request).topics[0].partitions[0].offset, 0);
}

#[test]
fn rules_survive_and_can_be_asked_for() {
    let mut bench = Bench::with(config());
    let wrong = [
        creation(ResourceType::Topic, "", 3, ANN, Read, 3),
        creation(ResourceType::Topic, "t", 2, ANN, Read, 3),
        creation(ResourceType::Topic, "t", 3, "ann", Read, 3),
        creation(ResourceType::Topic, "t", 3, ANN, Read, 1),
        creation(Cluster, "mine", 3, ANN, Read, 3),
        creation(ResourceType::Topic, "t", 3, ANN, Read, 3).with_operation(1),
        creation(ResourceType::Topic, "t", 3, ANN, Read, 3).with_resource_type(1),
        creation(ResourceType::Topic, "t", 3, ANN, Read, 3).with_host(text("")),
    ];
    let good = [
        creation(ResourceType::Topic, "t", 3, ANN, Read, 3),
        creation(ResourceType::Topic, "t", 3, ANN, Write, 2),
        creation(ResourceType::Topic, "pre", 4, ANN, All, 3),
    ];
    let creations = wrong.iter().chain(&good).chain(&good).cloned().collect();
    let request = CreateAclsRequest::default().with_creations(creations);
    let results = bench.ask_as(ROOT, 3, &request).results;
    for (number, result) in results.iter().enumerate() {
        let expected = if number < wrong.len() { 42 } else { 0 };
        assert_eq!(result.error_code, expected, "{number}: {result:?}");
    }
    let mut bench = Bench { broker: open(&bench.disk, &bench.clock, &config()), ..bench };
    let all = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(1)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1);
    let resources = bench.ask_as(ROOT, 3, &all).resources;
    let shown: Vec<(&str, i8, usize)> = resources
        .iter()
        .map(|row| (row.resource_name.as_str(), row.pattern_type, row.acls.len()))
        .collect();
    assert_eq!(shown, [("pre", 4, 1), ("t", 3, 2)]);
    assert_eq!(bench.revoke_all(), 3);
    let mut bench = Bench { broker: open(&bench.disk, &bench.clock, &config()), ..bench };
    assert!(bench.ask_as(ROOT, 3, &all).resources.is_empty());
    let bad = all.with_operation(99);
    assert_eq!(bench.ask_as(ROOT, 3, &bad).error_code, 42);
}

#[test]
fn without_lists_there_are_none_to_change() {
    let mut bench = Bench::new();
    let disabled = ResponseError::SecurityDisabled.code();
    let filter = DescribeAclsRequest::default().with_resource_type_filter(1);
    assert_eq!(bench.ask_as(ROOT, 3, &filter).error_code, disabled);
    let create = CreateAclsRequest::default().with_creations(vec![creation(
        ResourceType::Topic,
        "t",
        3,
        ANN,
        Read,
        3,
    )]);
    assert_eq!(bench.ask_as(ROOT, 3, &create).results[0].error_code, disabled);
    let delete = DeleteAclsRequest::default().with_filters(vec![DeleteAclsFilter::default()]);
    assert_eq!(bench.ask_as(ROOT, 3, &delete).filter_results[0].error_code, disabled);
}
