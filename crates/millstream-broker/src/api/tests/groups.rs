//! Groups as requests see them.

use super::*;

/// What a consumer says to the leader: version, topics, user data.
fn subscription(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    out.freeze()
}

pub(super) fn offset_delete(group: &str, topic: &str) -> OffsetDeleteRequest {
    use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let row = OffsetDeleteRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    OffsetDeleteRequest::default().with_group_id(text(group).into()).with_topics(vec![row])
}

impl Bench {
    /// Makes a group with one member that has its assignment, and returns the member's id.
    fn stable_group(&mut self, group: &str, topics: &[&str]) -> String {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription(topics));
        let request = JoinGroupRequest::default()
            .with_group_id(text(group).into())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let joined = self.ask(3, &request);
        assert_eq!(joined.error_code, 0);
        let request = SyncGroupRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        assert_eq!(self.ask(3, &request).error_code, 0);
        joined.member_id.to_string()
    }

    fn heartbeat(&mut self, group: &str, member: &str) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(text(group).into())
            .with_generation_id(1)
            .with_member_id(text(member));
        self.ask(3, &request).error_code
    }
}

/// The broker's process was stopped for a minute: heartbeats wait in its sockets.
#[test]
fn a_stall_of_the_broker_ends_no_session() {
    let mut bench = Bench::new();
    let member = bench.stable_group("g", &["t"]);
    bench.clock.advance(Duration::from_secs(60));
    bench.broker.tick();
    assert_eq!(bench.heartbeat("g", &member), 0);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.heartbeat("g", &member), 0);
    // In time, a silent member is put out as ever.
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.heartbeat("g", &member), ResponseError::UnknownMemberId.code());
}

#[test]
fn offsets_of_a_topic_in_use_are_not_deleted() {
    let mut bench = Bench::new();
    for topic in ["used", "other"] {
        bench.create(topic, 1, &[]);
        bench.commit("g", topic, "");
    }
    bench.stable_group("g", &["used"]);
    let code = |response: OffsetDeleteResponse| {
        (response.error_code, response.topics[0].partitions[0].error_code)
    };
    let used = bench.ask(0, &offset_delete("g", "used"));
    assert_eq!(code(used), (0, ResponseError::GroupSubscribedToTopic.code()));
    let other = bench.ask(0, &offset_delete("g", "other"));
    assert_eq!(code(other), (0, 0));
    assert!(bench.broker.coordinator.committed("g", "used", 0).is_some());
    assert!(bench.broker.coordinator.committed("g", "other", 0).is_none());
    let missing = bench.ask(0, &offset_delete("nobody", "used"));
    assert_eq!(missing.error_code, ResponseError::GroupIdNotFound.code());
}

#[test]
fn a_group_with_members_is_not_deleted() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.commit("empty", "t", "");
    let member = bench.stable_group("full", &["t"]);
    let names = ["empty", "full", "missing"].map(|name| GroupId(text(name)));
    let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
    let response = bench.ask(2, &request);
    let codes: Vec<i16> = response.results.iter().map(|row| row.error_code).collect();
    let [full, missing] = [ResponseError::NonEmptyGroup, ResponseError::GroupIdNotFound];
    assert_eq!(codes, [0, full.code(), missing.code()]);
    assert_eq!(bench.heartbeat("full", &member), 0);
    assert!(bench.broker.coordinator.group("empty").is_none());
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.commit("empty", "t", "");
    bench.stable_group("stable", &["t"]);
    let mut list = |states: &[&str], types: &[&str]| {
        let request = ListGroupsRequest::default()
            .with_states_filter(states.iter().map(|state| text(*state)).collect())
            .with_types_filter(types.iter().map(|kind| text(*kind)).collect());
        let groups = bench.ask(5, &request).groups;
        groups.iter().map(|group| group.group_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["empty", "stable"]);
    assert_eq!(list(&["Stable"], &[]), ["stable"]);
    assert_eq!(list(&["empty", "Dead"], &["classic"]), ["empty"]);
    assert!(list(&[], &["consumer"]).is_empty());
    assert!(list(&["Dead"], &[]).is_empty());
}
