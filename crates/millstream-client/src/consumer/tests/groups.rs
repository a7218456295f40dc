//! A group of one member: rebalances, committed offsets, commits by interval.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use millstream_types::TopicPartition;

use super::brokers::{World, from, settings, text, tp};
use crate::consumer::{Bounds, ConsumerEvent, PartitionStart, StartOffset};
use crate::producer::GroupMetadata;
use crate::settings::{Assignor, ConnectionSettings, ConsumerSettings, GroupSettings, OffsetReset};
use crate::testing::frames::Arrived;

/// Coordinates one member, which leads the group. It is broker 1.
#[derive(Default)]
pub(super) struct Coordinator {
    pub(super) committed: BTreeMap<(String, i32), i64>,
    pub(super) commits: usize,
    /// Whether the answers to come ask for a rebalance.
    pub(super) rebalances: bool,
    /// A code for the next commit.
    pub(super) refuses_commit: Option<i16>,
    stable_wanted: Vec<bool>,
    generation: i32,
    left: bool,
}

impl Coordinator {
    pub(super) fn answer(&mut self, request: &Arrived) -> Bytes {
        match request.key {
            key if key == FindCoordinatorRequest::KEY => {
                let keys = request.decode::<FindCoordinatorRequest>().coordinator_keys;
                let found = keys.into_iter().map(|key| {
                    let found = Found::default().with_key(key).with_node_id(1.into());
                    found.with_host(text("b")).with_port(9001)
                });
                let response = FindCoordinatorResponse::default();
                request
                    .answer::<FindCoordinatorRequest>(&response.with_coordinators(found.collect()))
            }
            key if key == JoinGroupRequest::KEY => {
                let asked = request.decode::<JoinGroupRequest>();
                self.rebalances = false;
                self.generation += 1;
                let protocol = &asked.protocols[0];
                let member = JoinGroupResponseMember::default()
                    .with_member_id(text("m"))
                    .with_metadata(protocol.metadata.clone());
                request.answer::<JoinGroupRequest>(
                    &JoinGroupResponse::default()
                        .with_generation_id(self.generation)
                        .with_protocol_type(Some(asked.protocol_type.clone()))
                        .with_protocol_name(Some(protocol.name.clone()))
                        .with_leader(text("m"))
                        .with_member_id(text("m"))
                        .with_members(vec![member]),
                )
            }
            key if key == SyncGroupRequest::KEY => {
                let asked = request.decode::<SyncGroupRequest>();
                let given = asked.assignments.first().map(|given| given.assignment.clone());
                request.answer::<SyncGroupRequest>(
                    &SyncGroupResponse::default()
                        .with_protocol_type(asked.protocol_type.clone())
                        .with_protocol_name(asked.protocol_name.clone())
                        .with_assignment(given.unwrap_or_default()),
                )
            }
            key if key == HeartbeatRequest::KEY => {
                let code = if self.rebalances { 27 } else { 0 };
                request
                    .answer::<HeartbeatRequest>(&HeartbeatResponse::default().with_error_code(code))
            }
            key if key == LeaveGroupRequest::KEY => {
                self.left = true;
                request.answer::<LeaveGroupRequest>(&LeaveGroupResponse::default())
            }
            key if key == OffsetCommitRequest::KEY => {
                self.commits += 1;
                let code = self.refuses_commit.take().unwrap_or(0);
                let asked = request.decode::<OffsetCommitRequest>();
                let topics = asked.topics.into_iter().map(|topic| {
                    let partitions = topic.partitions.iter().map(|p| {
                        if code == 0 {
                            let key = (topic.name.to_string(), p.partition_index);
                            self.committed.insert(key, p.committed_offset);
                        }
                        OffsetCommitResponsePartition::default()
                            .with_partition_index(p.partition_index)
                            .with_error_code(code)
                    });
                    let partitions = partitions.collect();
                    OffsetCommitResponseTopic::default()
                        .with_name(topic.name.clone())
                        .with_partitions(partitions)
                });
                let topics = topics.collect();
                request.answer::<OffsetCommitRequest>(
                    &OffsetCommitResponse::default().with_topics(topics),
                )
            }
            key if key == OffsetFetchRequest::KEY => {
                let asked = request.decode::<OffsetFetchRequest>();
                self.stable_wanted.push(asked.require_stable);
                let groups = asked.groups.into_iter().map(|group| {
                    let topics = group.topics.unwrap_or_default().into_iter().map(|topic| {
                        let partitions = topic.partition_indexes.iter().map(|index| {
                            let key = (topic.name.to_string(), *index);
                            let offset = self.committed.get(&key).copied().unwrap_or(-1);
                            OffsetFetchResponsePartitions::default()
                                .with_partition_index(*index)
                                .with_committed_offset(offset)
                        });
                        OffsetFetchResponseTopics::default()
                            .with_name(topic.name.clone())
                            .with_partitions(partitions.collect())
                    });
                    let topics = topics.collect();
                    OffsetFetchResponseGroup::default()
                        .with_group_id(group.group_id)
                        .with_topics(topics)
                });
                let groups = groups.collect();
                request.answer::<OffsetFetchRequest>(
                    &OffsetFetchResponse::default().with_groups(groups),
                )
            }
            other => panic!("request {other} is not in the script"),
        }
    }
}

pub(super) fn group(auto_commit: Option<Duration>) -> ConsumerSettings {
    let group = GroupSettings {
        group_id: "g".into(),
        instance_id: None,
        assignors: vec![Assignor::Range],
        session_timeout: Duration::from_secs(45),
        heartbeat_interval: Duration::from_secs(3),
        max_poll_interval: Duration::from_secs(300),
        broker_assigns: false,
        remote_assignor: None,
        auto_commit_interval: auto_commit,
    };
    ConsumerSettings { group: Some(group), offset_reset: OffsetReset::Earliest, ..settings() }
}

fn joined(world: &mut World) -> Vec<TopicPartition> {
    world.run_ms(2000);
    let assigned = world.events.iter().find_map(|event| match event {
        ConsumerEvent::Assigned(partitions) => Some(partitions.clone()),
        _ => None,
    });
    world.events.clear();
    assigned.expect("an assignment")
}

#[test]
fn reading_starts_at_what_is_committed_or_as_the_setting_says() {
    for (reset, second) in [
        (OffsetReset::Earliest, vec!["0@0", "1@0", "end 2"]),
        (OffsetReset::Latest, vec!["end 2"]),
        (OffsetReset::Error, vec![]),
    ] {
        let mut world = World::new(ConsumerSettings { offset_reset: reset, ..group(None) }, 2);
        world.state().partition(0).write(5, None);
        world.state().partition(1).write(2, None);
        world.state().coordinator.committed.insert(("t".into(), 0), 3);
        world
            .consumer
            .assign(&[from(0, StartOffset::Committed), from(1, StartOffset::Committed)])
            .unwrap();
        world.run_ms(3000);
        assert_eq!(world.read(0), ["3@0", "4@0", "end 5"]);
        assert_eq!(world.read(1), second);
        let wanted = if reset == OffsetReset::Error { vec![(1, -140)] } else { vec![] };
        assert_eq!(world.errors(), wanted);
        assert!(world.state().coordinator.stable_wanted.iter().all(|wanted| *wanted));
        let found = world.consumer.committed(&[tp(1), tp(0)], Duration::from_secs(5));
        assert_eq!(found.unwrap(), [None, Some(3)]);
    }
}

#[test]
fn a_rebalance_drops_what_is_not_handed_out_and_starts_anew() {
    let mut world = World::new(group(None), 1);
    world.state().partition(0).write(4, None);
    world.consumer.subscribe(&["t".into()]).unwrap();
    assert_eq!(joined(&mut world), [tp(0)]);
    world.consumer.ack_assigned(&[from(0, StartOffset::At(1))]).unwrap();
    world.run_ms(1000);
    assert_eq!(world.read(0), ["1@0", "2@0", "3@0", "end 4"]);
    // Fetched and held while the group takes the partition back.
    world.consumer.hold_records(true);
    world.state().partition(0).write(3, None);
    world.state().coordinator.rebalances = true;
    world.run_ms(5000);
    world.consumer.hold_records(false);
    world.run_ms(500);
    assert!(world.events.iter().any(|event| matches!(event, ConsumerEvent::Revoked(_))));
    assert_eq!(world.read(0), Vec::<String>::new());
    assert_eq!((world.buffered(), world.consumer.assignment()), (0, vec![]));
    world.consumer.pause(&[tp(0)]).unwrap_err();
    world.events.clear();
    let commit = world.consumer.commit(&[(tp(0), 4)]).unwrap();
    world.run_ms(100);
    assert!(matches!(&world.events[..], [ConsumerEvent::CommitDone { id, .. }] if *id == commit));
    world.consumer.ack_revoked().unwrap();
    world.events.clear();
    assert_eq!(joined(&mut world), [tp(0)]);
    // Left out: at its committed offset.
    world.consumer.ack_assigned(&[]).unwrap();
    world.run_ms(1000);
    assert_eq!(world.read(0), ["4@0", "5@0", "6@0", "end 7"]);
    assert!(world.consumer.close(Duration::from_secs(5)));
    assert!(world.state().coordinator.left);
    assert_eq!(world.buffered(), 0);
}

#[test]
fn closing_answers_an_assignment_that_nobody_has_answered() {
    let mut world = World::new(group(None), 1);
    world.state().partition(0).write(4, None);
    world.consumer.subscribe(&["t".into()]).unwrap();
    assert_eq!(joined(&mut world), [tp(0)]);
    assert!(world.consumer.close(Duration::from_secs(5)));
    assert!(world.state().coordinator.left);
}

#[test]
fn what_was_used_up_of_a_partition_that_is_taken_back_counts_no_more() {
    let bounds = Bounds { records_max: 4, bytes_max: 1 << 20 };
    let mut world = World::with(ConnectionSettings::default(), group(None), bounds, 2, 4);
    world.state().partition(0).write(2, None);
    world.state().partition(1).write(20, None);
    world.consumer.subscribe(&["t".into()]).unwrap();
    joined(&mut world);
    world.consumer.ack_assigned(&[]).unwrap();
    world.consumer.hold_records(true);
    world.run_ms(1000);
    world.consumer.hold_records(false);
    for _ in 0..2 {
        world.consumer.poll(Duration::from_secs(1), &mut world.events);
    }
    assert_eq!(world.read(0), ["0@0", "1@0"]);
    assert_eq!(world.read(1).len(), 4);
    world.state().coordinator.rebalances = true;
    world.wait(Duration::from_secs(4));
    world.consumer.poll(Duration::ZERO, &mut world.events);
    assert!(matches!(&world.events[..], [ConsumerEvent::Revoked(_)]), "{:?}", world.events);
    assert_eq!(world.buffered(), 0);
}

#[test]
fn positions_are_committed_by_interval_until_it_succeeds_and_at_the_end() {
    let mut world = World::new(group(Some(Duration::from_secs(5))), 1);
    world.state().partition(0).write(4, None);
    world.consumer.subscribe(&["t".into()]).unwrap();
    joined(&mut world);
    world.consumer.ack_assigned(&[]).unwrap();
    // The coordinator finds something wrong with the first.
    world.state().coordinator.refuses_commit = Some(12);
    world.run_ms(14_000);
    let committed =
        |world: &World| world.state().coordinator.committed.get(&("t".into(), 0)).copied();
    assert_eq!(committed(&world), Some(4));
    let commits = world.state().coordinator.commits;
    world.run_ms(20_000);
    assert_eq!(world.state().coordinator.commits, commits, "nothing has moved");
    world.state().partition(0).write(2, None);
    world.run_ms(600);
    assert!(world.consumer.close(Duration::from_secs(5)));
    assert_eq!(committed(&world), Some(6));
    let done = |event: &ConsumerEvent| matches!(event, ConsumerEvent::CommitDone { .. });
    assert!(!world.events.iter().any(done));
}

#[test]
fn assignments_by_hand_and_by_a_group_exclude_each_other() {
    let mut world = World::new(group(None), 1);
    world.consumer.assign(&[from(0, StartOffset::End)]).unwrap();
    world.consumer.subscribe(&["t".into()]).unwrap_err();
    world.consumer.assign(&[]).unwrap();
    world.consumer.subscribe(&["t".into()]).unwrap();
    world.consumer.assign(&[] as &[PartitionStart]).unwrap_err();
    world.consumer.ack_assigned(&[]).unwrap_err();
    world.consumer.ack_revoked().unwrap_err();
}

/// A member, with the place that it has, that was asked for all three partitions and has not
/// answered; the commit that it makes meanwhile will be told that the group does not know it.
fn about_to_lose_what_is_revoked() -> (World, GroupMetadata) {
    let mut world = World::new(group(None), 3);
    world.consumer.subscribe(&["t".into()]).unwrap();
    assert_eq!(joined(&mut world).len(), 3);
    world.consumer.ack_assigned(&[]).unwrap();
    world.run_ms(1000);
    let place = world.consumer.group_metadata().unwrap();
    assert!(place.generation_id > 0);
    world.state().coordinator.rebalances = true;
    world.run_ms(4000);
    let is_revoked = |event: &ConsumerEvent| matches!(event, ConsumerEvent::Revoked(_));
    assert!(world.events.iter().any(is_revoked), "{:?}", world.events);
    world.events.clear();
    // 25: UNKNOWN_MEMBER_ID.
    world.state().coordinator.refuses_commit = Some(25);
    world.consumer.commit(&[(tp(0), 1)]).unwrap();
    (world, place)
}

/// The group finds out that the member is a stranger to it while the member commits what a rebalance
/// takes back: the loss comes in the place of the revocation, and the owner answers both, as it does
/// not know of the second when it answers the first.
#[test]
fn a_revocation_that_is_lost_before_its_answer_is_answered_twice() {
    let (mut world, _) = about_to_lose_what_is_revoked();
    world.run_ms(1000);
    world.consumer.ack_revoked().unwrap();
    let lost =
        |event: &ConsumerEvent| matches!(event, ConsumerEvent::Lost(gone) if gone.len() == 3);
    assert!(world.events.iter().any(lost), "{:?}", world.events);
    world.consumer.ack_revoked().unwrap();
    assert!(world.consumer.ack_revoked().is_err(), "that was one too many");
    world.events.clear();
    assert_eq!(joined(&mut world).len(), 3);
    world.consumer.ack_assigned(&[]).unwrap();
    assert_eq!(world.consumer.assignment().len(), 3);
    world.consumer.pause(&[tp(0)]).unwrap();
}

/// An owner that answers a revocation and has not seen the loss behind it acts as a member still:
/// what it commits with a transaction must be fenced by the place that it had. (Found by the
/// simulator, seed 39985: records were copied twice.)
#[test]
fn the_answer_to_a_revocation_is_none_to_a_loss_that_nobody_has_seen() {
    let (mut world, place) = about_to_lose_what_is_revoked();
    world.wait(Duration::from_secs(1));
    world.consumer.ack_revoked().unwrap();
    world.wait(Duration::from_secs(1));
    assert_eq!(world.consumer.group_metadata().unwrap(), place);
    assert_eq!(world.consumer.assignment(), []);
    world.run_ms(100);
    let lost =
        |event: &ConsumerEvent| matches!(event, ConsumerEvent::Lost(gone) if gone.len() == 3);
    assert!(world.events.iter().any(lost), "{:?}", world.events);
    world.consumer.ack_revoked().unwrap();
    // It may have records of before in a transaction.
    assert_eq!(world.consumer.group_metadata().unwrap(), place);
    assert!(world.consumer.ack_revoked().is_err(), "that was one too many");
    world.events.clear();
    assert_eq!(joined(&mut world).len(), 3);
    assert!(world.consumer.group_metadata().unwrap().generation_id > place.generation_id);
}
