//! Groups of KIP-848 as requests see them.

use super::groups::offset_delete;
use super::*;
use consumer_group_heartbeat_response::Assignment;

fn join(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(vec![]))
}

fn beat(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

fn partitions(assignment: Option<&Assignment>) -> Vec<i32> {
    let topics = assignment.into_iter().flat_map(|assignment| &assignment.topic_partitions);
    topics.flat_map(|topic| topic.partitions.clone()).collect()
}

fn offset_commit(group: &str, member: &str, epoch: i32) -> OffsetCommitRequest {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let row = OffsetCommitRequestPartition::default().with_committed_offset(5);
    OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(epoch)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![row]),
        ])
}

impl Bench {
    fn consumer_beat(&mut self, request: &ConsumerGroupHeartbeatRequest) -> (i16, i32, Vec<i32>) {
        let response = self.ask(1, request);
        (response.error_code, response.member_epoch, partitions(response.assignment.as_ref()))
    }

    fn describe_consumer(
        &mut self,
        group: &str,
    ) -> consumer_group_describe_response::DescribedGroup {
        let request = ConsumerGroupDescribeRequest::default()
            .with_group_ids(vec![text(group).into()])
            .with_include_authorized_operations(true);
        self.ask(1, &request).groups.remove(0)
    }

    fn commit_code(&mut self, version: i16, request: &OffsetCommitRequest) -> i16 {
        self.ask(version, request).topics[0].partitions[0].error_code
    }

    fn listed(&mut self, types: &[&str], states: &[&str]) -> Vec<(String, String, String)> {
        let request = ListGroupsRequest::default()
            .with_types_filter(types.iter().map(|kind| text(*kind)).collect())
            .with_states_filter(states.iter().map(|state| text(*state)).collect());
        let row = |row: &list_groups_response::ListedGroup| {
            let [id, kind, state] = [&*row.group_id, &row.group_type, &row.group_state];
            (id.to_string(), kind.to_string(), state.to_string())
        };
        self.ask(5, &request).groups.iter().map(row).collect()
    }

    fn classic_join(&mut self, group: &str) -> i16 {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
        let request = JoinGroupRequest::default()
            .with_group_id(text(group).into())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.ask(3, &request).error_code
    }

    fn delete_group(&mut self, group: &str) -> i16 {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![text(group).into()]);
        self.ask(2, &request).results[0].error_code
    }
}

#[test]
fn a_group_is_described_listed_and_deleted() {
    let mut bench = Bench::new();
    bench.create("t", 4, &[]);
    let response = bench.ask(1, &join("g", "a"));
    assert_eq!((response.error_code, response.heartbeat_interval_ms), (0, 5000));
    assert_eq!(response.member_id.as_deref(), Some("a"));
    assert_eq!(partitions(response.assignment.as_ref()), [0, 1, 2, 3]);
    bench.consumer_beat(&join("g", "b"));

    let group = bench.describe_consumer("g");
    assert_eq!(
        (group.error_code, &*group.group_state, &*group.assignor_name),
        (0, "Reconciling", "uniform")
    );
    assert_eq!((group.group_epoch, group.assignment_epoch, group.members.len()), (2, 2, 2));
    let member = &group.members[0];
    assert_eq!((&*member.member_id, member.member_epoch, member.member_type), ("a", 1, 1));
    assert_eq!((&*member.client_id, &*member.client_host), ("test", "/127.0.0.1"));
    assert_eq!(member.subscribed_topic_names, [topic_name("t")]);
    let row = |assignment: &consumer_group_describe_response::Assignment| {
        let topic = &assignment.topic_partitions[0];
        (topic.topic_name.to_string(), topic.topic_id, topic.partitions.clone())
    };
    let id = bench.topic_id("t");
    assert_eq!(row(&member.assignment), ("t".into(), id, vec![0, 1, 2, 3]));
    assert_eq!(row(&member.target_assignment), ("t".into(), id, vec![0, 1]));
    assert_ne!(group.authorized_operations, i32::MIN);

    // Beside a classic group.
    bench.commit("classic", "t", "");
    let all = bench.listed(&[], &[]);
    let names: Vec<&str> = all.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["classic", "g"]);
    let only = [("g".to_owned(), "consumer".to_owned(), "Reconciling".to_owned())];
    assert_eq!(bench.listed(&["Consumer"], &[]), only);
    assert_eq!(bench.listed(&[], &["reconciling"]), only);
    assert_eq!(bench.listed(&["classic"], &[]).len(), 1);
    // Each kind is described by its own request.
    let not_found = ResponseError::GroupIdNotFound.code();
    for name in ["classic", "missing"] {
        assert_eq!(bench.describe_consumer(name).error_code, not_found);
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![text("g").into()]);
    let described = bench.ask(6, &request);
    assert_eq!(described.groups[0].error_code, not_found);
    assert_eq!(&*bench.ask(5, &request).groups[0].group_state, "Dead");

    assert_eq!(bench.delete_group("g"), ResponseError::NonEmptyGroup.code());
    for member in ["a", "b"] {
        assert_eq!(bench.consumer_beat(&beat("g", member, -1)), (0, -1, vec![]));
    }
    assert_eq!(&*bench.describe_consumer("g").group_state, "Empty");
    assert_eq!(bench.delete_group("g"), 0);
    assert_eq!(bench.describe_consumer("g").error_code, not_found);
    let mut bench = bench.crash();
    assert_eq!(bench.describe_consumer("g").error_code, not_found);
}

#[test]
fn requests_that_say_too_little_are_refused() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let good = join("g", "a");
    let invalid = ResponseError::InvalidRequest.code();
    for request in [
        good.clone().with_group_id(text("").into()),
        good.clone().with_instance_id(Some(text(""))),
        good.clone().with_rack_id(Some(text(""))),
        good.clone().with_member_id(text("")),
        good.clone().with_rebalance_timeout_ms(-1),
        good.clone().with_topic_partitions(None),
        good.clone().with_subscribed_topic_names(None),
        beat("g", "a", -2),
        beat("g", "a", -3),
    ] {
        assert_eq!(bench.ask(1, &request).error_code, invalid, "{request:?}");
    }
    let other = good.clone().with_server_assignor(Some(text("mine")));
    assert_eq!(bench.ask(1, &other).error_code, ResponseError::UnsupportedAssignor.code());
    let missing = ResponseError::GroupIdNotFound.code();
    assert_eq!(bench.ask(1, &beat("g", "a", 1)).error_code, missing);
    assert_eq!(bench.ask(1, &beat("g", "a", -1)).error_code, missing);
    assert!(bench.listed(&[], &[]).is_empty(), "no group has come of it");
    // In version 0 the broker may make the id.
    let response = bench.ask(0, &good.with_member_id(text("")));
    assert_eq!(response.error_code, 0);
    assert_eq!(response.member_id.unwrap().len(), 22);
}

#[test]
fn the_protocol_can_be_turned_off() {
    let protocols = "group.coordinator.rebalance.protocols";
    let mut bench = Bench::with(BrokerConfig::new("/data").setting(protocols, "classic"));
    let unsupported = ResponseError::UnsupportedVersion.code();
    assert_eq!(bench.ask(1, &join("g", "a")).error_code, unsupported);
    assert_eq!(bench.describe_consumer("g").error_code, unsupported);
}

#[test]
fn epochs_and_assignments_survive_a_kill() {
    let mut bench = Bench::new();
    bench.create("t", 4, &[]);
    bench.consumer_beat(&join("g", "a"));
    bench.consumer_beat(&join("g", "b"));
    assert_eq!(bench.consumer_beat(&beat("g", "a", 1)), (0, 1, vec![0, 1]));
    let before = bench.describe_consumer("g");

    let mut bench = bench.crash();
    assert_eq!(bench.describe_consumer("g"), before);
    assert_eq!(bench.commit_code(9, &offset_commit("g", "a", 1)), 0);
    let id = bench.topic_id("t");
    let owns = |partitions: &[i32]| {
        let topic = consumer_group_heartbeat_request::TopicPartitions::default()
            .with_topic_id(id)
            .with_partitions(partitions.to_vec());
        beat("g", "a", 1).with_topic_partitions(Some(vec![topic]))
    };
    assert_eq!(bench.consumer_beat(&owns(&[0, 1, 2, 3])).1, 1, "it still has what it must give up");
    assert_eq!(bench.consumer_beat(&beat("g", "b", 2)), (0, 2, vec![]));
    assert_eq!(bench.consumer_beat(&owns(&[0, 1])).1, 2);
    let mut bench = bench.crash();
    assert_eq!(bench.consumer_beat(&beat("g", "b", 2)), (0, 2, vec![2, 3]));
    assert_eq!(&*bench.describe_consumer("g").group_state, "Stable");

    // Sessions go on: who is silent after the restart is put out.
    let mut bench = bench.crash();
    bench.pass(Duration::from_secs(44));
    assert_eq!(bench.consumer_beat(&beat("g", "b", 2)).0, 0);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.consumer_beat(&beat("g", "b", 2)), (0, 3, vec![0, 1, 2, 3]));
    // A topic that grew while nobody looked is found after the next restart.
    let grown = create_partitions_request::CreatePartitionsTopic::default()
        .with_name(topic_name("t"))
        .with_count(5)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![grown]);
    assert_eq!(bench.ask(3, &request).results[0].error_code, 0);
    let mut bench = bench.crash();
    assert_eq!(bench.consumer_beat(&beat("g", "b", 3)), (0, 4, vec![0, 1, 2, 3, 4]));
}

#[test]
fn a_group_without_members_changes_its_kind_and_keeps_its_offsets() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.commit("g", "t", "");
    // From classic to consumer.
    assert_eq!(bench.consumer_beat(&join("g", "a")), (0, 1, vec![0]));
    assert!(bench.broker.coordinator.committed("g", "t", 0).is_some());
    let inconsistent = ResponseError::InconsistentGroupProtocol.code();
    assert_eq!(bench.classic_join("g"), inconsistent);
    let mut bench = bench.crash();
    assert_eq!(bench.listed(&[], &[]), [("g".into(), "consumer".into(), "Stable".into())]);
    assert_eq!(bench.commit_code(9, &offset_commit("g", "a", 1)), 0);
    // And back.
    bench.consumer_beat(&beat("g", "a", -1));
    assert_eq!(bench.classic_join("g"), 0);
    assert_eq!(bench.consumer_beat(&join("g", "a")).0, ResponseError::GroupIdNotFound.code());
    let mut bench = bench.crash();
    let listed = bench.listed(&[], &[]);
    assert_eq!((listed.len(), listed[0].1.as_str()), (1, "classic"));
    assert_eq!(bench.broker.coordinator.committed("g", "t", 0).unwrap().offset, 5);
}

#[test]
fn offsets_are_the_members_alone() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.consumer_beat(&join("g", "a"));
    let code = |bench: &mut Bench, version, member, epoch| {
        bench.commit_code(version, &offset_commit("g", member, epoch))
    };
    assert_eq!(code(&mut bench, 9, "a", 1), 0);
    assert_eq!(code(&mut bench, 9, "a", 2), ResponseError::StaleMemberEpoch.code());
    assert_eq!(code(&mut bench, 9, "b", 1), ResponseError::UnknownMemberId.code());
    assert_eq!(code(&mut bench, 9, "", -1), ResponseError::UnknownMemberId.code());
    assert_eq!(code(&mut bench, 8, "a", 1), ResponseError::UnsupportedVersion.code());
    let missing = offset_commit("missing", "a", 1);
    assert_eq!(bench.commit_code(9, &missing), ResponseError::GroupIdNotFound.code());
    assert_eq!(bench.commit_code(8, &missing), ResponseError::IllegalGeneration.code());

    let fetch = |bench: &mut Bench, member: Option<&str>, epoch| {
        let group = offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(text("g").into())
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(None);
        let response = bench.ask(9, &OffsetFetchRequest::default().with_groups(vec![group]));
        (response.groups[0].error_code, response.groups[0].topics.len())
    };
    assert_eq!([fetch(&mut bench, Some("a"), 1), fetch(&mut bench, None, -1)], [(0, 1); 2]);
    assert_eq!(fetch(&mut bench, Some("a"), 2), (ResponseError::StaleMemberEpoch.code(), 0));
    assert_eq!(fetch(&mut bench, Some("b"), 1), (ResponseError::UnknownMemberId.code(), 0));
    let request = offset_delete("g", "t");
    let row = &bench.ask(0, &request).topics[0].partitions[0];
    assert_eq!(row.error_code, ResponseError::GroupSubscribedToTopic.code());
    bench.consumer_beat(&beat("g", "a", -1));
    assert_eq!(code(&mut bench, 9, "", -1), 0, "a tool may, once nobody is there");
}

/// The answer waits for the disk: a member must not act on what a crash would undo.
#[test]
fn a_heartbeat_that_cannot_be_stored_is_not_answered() {
    let mut bench = Bench::new();
    bench.create("t", 2, &[]);
    bench.consumer_beat(&join("g", "a"));
    bench.disk.fail_from(1, 0);
    let unavailable = ResponseError::CoordinatorNotAvailable.code();
    assert_eq!(bench.consumer_beat(&join("g", "b")).0, unavailable);
    bench.disk.heal();
    // It asks again, and the next attempt stores all of it.
    assert_eq!(bench.consumer_beat(&join("g", "b")), (0, 2, vec![]));
    let before = bench.describe_consumer("g");
    let mut bench = bench.crash();
    assert_eq!(bench.describe_consumer("g"), before);
}

#[test]
fn a_group_is_forgotten_with_its_offsets() {
    let mut bench =
        Bench::with(BrokerConfig::new("/data").setting("offsets.retention.minutes", "60"));
    bench.create("t", 1, &[]);
    bench.consumer_beat(&join("g", "a"));
    assert_eq!(bench.commit_code(9, &offset_commit("g", "a", 1)), 0);
    bench.consumer_beat(&beat("g", "a", -1));
    bench.pass(Duration::from_secs(55 * 60));
    assert_eq!(bench.listed(&[], &[]).len(), 1);
    bench.pass(Duration::from_secs(15 * 60));
    assert!(bench.listed(&[], &[]).is_empty());
    assert!(bench.broker.coordinator.all_committed("g").is_empty());
}
