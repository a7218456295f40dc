//! Single situations, one after the other.

use std::time::Duration;

use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::Request;
use millstream_types::TopicPartition;

use super::user::Busy;
use super::world::{World, settings};
use crate::error::code::MAX_POLL_EXCEEDED;
use crate::group::codes::*;
use crate::group::{Committed, GroupEvent, Subscription};
use crate::settings::{Assignor, GroupSettings};

const CO: Assignor = Assignor::CoPartitioned;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("a", number)
}

fn lost(world: &mut World, index: usize) -> bool {
    world.program(index).log.iter().any(|event| matches!(event, GroupEvent::Lost(_)))
}

fn errors(world: &mut World, index: usize) -> Vec<(i32, bool)> {
    let log = world.program(index).log.iter();
    log.filter_map(|event| match event {
        GroupEvent::Error(error, fatal) => Some((error.code, *fatal)),
        _ => None,
    })
    .collect()
}

fn by_broker() -> GroupSettings {
    GroupSettings { broker_assigns: true, ..settings(&[]) }
}

#[test]
fn brokers_of_kafka_2_4_will_do() {
    let mut world = World::new(&[("a", 4)], 1);
    world.cluster.caps = [
        (JoinGroupRequest::KEY, 6),
        (SyncGroupRequest::KEY, 4),
        (HeartbeatRequest::KEY, 4),
        (LeaveGroupRequest::KEY, 4),
        (OffsetCommitRequest::KEY, 8),
        (OffsetFetchRequest::KEY, 6),
        (ConsumerGroupHeartbeatRequest::KEY, -1),
    ]
    .into();
    let first = world.start(settings(&[CO]), &["a"]);
    let second = world.start(settings(&[CO]), &["a"]);
    assert!(world.program(first).group.is_eager());
    world.run(seconds(10));
    world.check_settled(&["a"]);
    assert!(!world.program(first).group.is_eager());
    assert_eq!(world.shares()[&first].len(), 2);
    world.program(first).group.close();
    world.run(seconds(5));
    assert!(world.program(first).left);
    assert_eq!(world.shares()[&second].len(), 4);
    assert!(world.cluster.coordinator.accepted > 0);
}

#[test]
fn offsets_are_kept_for_who_assigns_by_hand() {
    for caps in [9, 7, 5] {
        let mut world = World::new(&[("a", 4)], 2);
        world.cluster.caps = [(OffsetFetchRequest::KEY, caps)].into();
        let index = world.start(settings(&[CO]), &[]);
        let group = &mut world.program(index).group;
        let first = group.commit(vec![(partition(0), 5, Some(3)), (partition(1), 6, None)]);
        let second = group.commit(vec![(partition(0), 7, Some(4))]);
        world.run(seconds(2));
        let asked = vec![partition(1), partition(3), partition(0)];
        let third = world.program(index).group.fetch_committed(asked);
        world.run(seconds(2));
        let committed = |offset, leader_epoch| {
            Some(Committed { offset, leader_epoch, metadata: String::new() })
        };
        let expected = [
            GroupEvent::Committed {
                id: first,
                partitions: vec![(partition(0), 5, Ok(())), (partition(1), 6, Ok(()))],
            },
            GroupEvent::Committed { id: second, partitions: vec![(partition(0), 7, Ok(()))] },
            GroupEvent::Fetched {
                id: third,
                result: Ok(vec![
                    (partition(1), committed(6, None)),
                    (partition(3), None),
                    (partition(0), committed(7, Some(4))),
                ]),
            },
        ];
        assert_eq!(world.program(index).log, expected);
        assert_eq!(world.program(index).group.metadata_for_transactions().generation_id, -1);
        // Nothing to leave.
        world.program(index).group.close();
        world.run(seconds(1));
        assert!(world.program(index).left);
    }
}

#[test]
fn who_does_not_poll_loses_its_partitions_and_comes_back() {
    for settings in [settings(&[CO]), settings(&[Assignor::Range]), by_broker()] {
        let mut world = World::new(&[("a", 4)], 3);
        let first = world.start(settings.clone(), &["a"]);
        let second = world.start(settings, &["a"]);
        world.run(seconds(10));
        world.check_settled(&["a"]);
        let place = world.program(first).group.metadata_for_transactions();
        world.program(first).stalled_until = world.now + seconds(20);
        world.run(seconds(15));
        // It does not know yet, and everything is someone else's.
        assert_eq!(world.shares()[&second].len(), 4);
        // What it sends with a transaction must not pass as someone's without a group.
        assert_eq!(world.program(first).group.metadata_for_transactions(), place);
        assert!(place.generation_id > 0 && !place.member_id.is_empty());
        assert!(!lost(&mut world, first));
        world.run(seconds(15));
        assert!(lost(&mut world, first));
        assert_eq!(errors(&mut world, first), [(MAX_POLL_EXCEEDED, false)]);
        world.check_settled(&["a"]);
        assert_eq!(world.shares()[&first].len(), 2);
    }
}

#[test]
fn who_does_not_give_up_in_time_loses() {
    for settings in [settings(&[CO]), settings(&[Assignor::Range]), by_broker()] {
        let mut world = World::new(&[("a", 4)], 4);
        let first = world.start(settings.clone(), &["a"]);
        world.run(seconds(8));
        // It polls, and takes longer over its answer than the group waits.
        world.program(first).slowness = 0;
        let second = world.start(settings, &["a"]);
        let mut patience = 0;
        while !matches!(world.program(first).busy, Busy::AnswersRevoked(..) | Busy::Committing(..))
        {
            world.run(Duration::from_millis(10));
            patience += 1;
            assert!(patience < 1000);
        }
        world.program(first).busy = Busy::AnswersRevoked(vec![], seconds(10_000));
        world.run(seconds(14));
        assert!(world.shares()[&second].len() >= 2);
        assert!(lost(&mut world, first));
        world.run(seconds(20));
        world.check_settled(&["a"]);
    }
}

#[test]
fn topics_that_grow_come_and_go_are_noticed() {
    for settings in [settings(&[CO]), settings(&[Assignor::Range]), by_broker()] {
        let mut world = World::new(&[("a", 2), ("ab", 1), ("b", 1)], 5);
        world.start(settings.clone(), &["^a"]);
        world.start(settings, &["^a"]);
        world.run(seconds(10));
        world.check_settled(&["a", "ab"]);
        world.cluster.topics.insert("a".into(), 5);
        world.cluster.topics.insert("aa".into(), 2);
        world.run(seconds(15));
        world.check_settled(&["a", "aa", "ab"]);
        world.cluster.topics.remove("ab");
        world.run(seconds(15));
        world.check_settled(&["a", "aa"]);
    }
}

#[test]
fn commits_go_on_while_the_group_waits_for_a_member() {
    let mut world = World::new(&[("a", 4)], 6);
    let quick = world.start(settings(&[CO]), &["a"]);
    let slow = world.start(settings(&[CO, Assignor::Range]), &["a"]);
    world.run(seconds(10));
    // The slow one is eager: the group waits until it has given up.
    world.program(slow).stalled_until = world.now + seconds(6);
    world.start(settings(&[CO]), &["a"]);
    world.run(seconds(3));
    world.program(quick).log.clear();
    let (first, at) = {
        let (partition, at) = world.program(quick).positions.iter().next().unwrap();
        (partition.clone(), at.unwrap())
    };
    let id = world.program(quick).group.commit(vec![(first.clone(), at, None)]);
    world.wake(quick);
    world.run(Duration::from_millis(500));
    let log = &world.program(quick).log;
    let done = GroupEvent::Committed { id, partitions: vec![(first, at, Ok(()))] };
    assert!(log.contains(&done), "{log:?}");
    assert!(!log.iter().any(|event| matches!(event, GroupEvent::Assigned(_))), "{log:?}");
    world.run(seconds(20));
    world.check_settled(&["a"]);
}

#[test]
fn an_instance_that_was_replaced_is_of_no_more_use() {
    let twin = GroupSettings { instance_id: Some("i".into()), ..settings(&[CO]) };
    let mut world = World::new(&[("a", 2)], 7);
    let first = world.start(twin.clone(), &["a"]);
    world.run(seconds(5));
    world.program(first).may_fail = true;
    let second = world.start(twin, &["a"]);
    world.run(seconds(10));
    assert_eq!(errors(&mut world, first), [(FENCED_INSTANCE_ID, true)]);
    assert!(lost(&mut world, first));
    assert_eq!(world.shares()[&second].len(), 2);
}

#[test]
fn static_members_stay_members_when_they_close() {
    for instance_id in [None, Some("i".to_owned())] {
        let mut world = World::new(&[("a", 2)], 8);
        let stays = instance_id.is_some();
        let index = world.start(GroupSettings { instance_id, ..settings(&[CO]) }, &["a"]);
        world.run(seconds(5));
        let id = world.program(index).group.member_id().unwrap().to_owned();
        world.program(index).group.close();
        world.wake(index);
        world.run(seconds(2));
        let log = &world.program(index).log;
        assert!(log.iter().any(|event| matches!(event, GroupEvent::Revoked(p) if p.len() == 2)));
        assert_eq!(log.last(), Some(&GroupEvent::Left));
        assert_eq!(world.cluster.coordinator.knows(&id), stays);
    }
}

#[test]
fn who_unsubscribes_gives_up_and_may_come_back() {
    for settings in [settings(&[CO]), by_broker()] {
        let mut world = World::new(&[("a", 2), ("b", 2)], 9);
        let index = world.start(settings, &["a"]);
        world.run(seconds(5));
        let mut subscribe = |topics: Option<&str>| {
            let now = world.clock();
            let program = world.program(index);
            let wanted = topics.map(|topic| Subscription::parse(&[topic]).unwrap());
            program.group.subscribe(wanted, &mut program.base, now);
            world.wake(index);
            world.run(seconds(8));
            world.shares()[&index].iter().map(|p| p.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(subscribe(Some("b")), ["b[0]", "b[1]"]);
        assert_eq!(subscribe(None), [""; 0]);
        assert_eq!(subscribe(Some("a")), ["a[0]", "a[1]"]);
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    assert!(Subscription::parse(&[""]).is_err());
    assert!(Subscription::parse(&["^(a"]).is_err());
    let both = Subscription::parse(&["a", "^b", "^b"]).unwrap();
    assert_eq!((both.topics.len(), both.patterns.len()), (1, 1));
    assert!(both.covers("bc") && !both.covers("cb") && !both.covers("ab"));
}

#[test]
fn heartbeats_to_the_assigning_broker_say_what_is_new() {
    let mut world = World::new(&[("a", 2), ("b", 2)], 10);
    let settings = GroupSettings {
        instance_id: Some("i".into()),
        remote_assignor: Some("range".into()),
        ..by_broker()
    };
    let index = world.start(settings, &["b", "^a"]);
    world.run(seconds(5));
    world.check_settled(&["a", "b"]);
    let log = &world.cluster.server.log;
    let join = &log[0];
    assert_eq!(join.member_epoch, 0);
    assert_eq!(join.subscribed_topic_names.as_ref().map(Vec::len), Some(1));
    assert_eq!(join.subscribed_topic_regex.as_deref(), Some(".*(?:^a).*"));
    assert_eq!(join.server_assignor.as_deref(), Some("range"));
    assert_eq!(join.instance_id.as_deref(), Some("i"));
    let told: Vec<_> = log[1..].iter().filter_map(|beat| beat.topic_partitions.as_ref()).collect();
    assert_eq!(told.len(), 1, "once what was taken over");
    assert_eq!(told[0].len(), 2);
    assert!(log[1..].iter().all(|beat| {
        beat.subscribed_topic_names.is_none()
            && beat.subscribed_topic_regex.is_none()
            && beat.rebalance_timeout_ms == -1
            && beat.member_epoch > 0
    }));
    assert!(log.len() > 4);
    // Thrown out, it loses everything and joins anew.
    world.cluster.server.refuse_next = Some(FENCED_MEMBER_EPOCH);
    world.cluster.server.log.clear();
    world.run(seconds(5));
    assert!(lost(&mut world, index));
    let again = world.cluster.server.log.iter().skip(1).find(|beat| beat.member_epoch == 0);
    assert!(again.is_some_and(|beat| beat.subscribed_topic_names.is_some()));
    world.check_settled(&["a", "b"]);
    // A static member says that it will be back.
    world.program(index).group.close();
    world.run(seconds(2));
    assert_eq!(world.cluster.server.log.last().unwrap().member_epoch, -2);
    assert!(world.program(index).left);
}

#[test]
fn a_broker_without_the_new_protocol_is_an_error_for_good() {
    let mut world = World::new(&[("a", 2)], 11);
    world.cluster.caps = [(ConsumerGroupHeartbeatRequest::KEY, -1)].into();
    let index = world.start(by_broker(), &["a"]);
    world.program(index).may_fail = true;
    world.run(seconds(5));
    assert_eq!(errors(&mut world, index), [(UNSUPPORTED_VERSION, true)]);
}
