//! Two members of a group: partitions are given, asked back, lost, and kept.

use std::time::Duration;

use millstream_kafka::{
    Assignor, ClientConfig, Consumer, ConsumerConfig, ConsumerEvent, ConsumerSettings, OffsetReset,
    PartitionStart, Properties, StartOffset, consumer_properties,
};
use millstream_types::TopicPartition;

use crate::support::*;

fn member(brokers: &str, group: &str, assignor: Assignor, extra: &Properties) -> Box<dyn Consumer> {
    let settings = ConsumerSettings {
        group_id: Some(group.to_owned()),
        auto_offset_reset: OffsetReset::Earliest,
        assignor,
        ..ConsumerSettings::default()
    };
    let mut extra = extra.clone();
    extra.set_default("session.timeout.ms", "6000");
    extra.set_default("heartbeat.interval.ms", "500");
    let properties = consumer_properties(&extra, &connection(brokers), &settings);
    clients().consumer(&ConsumerConfig::new(ClientConfig::new(properties))).unwrap()
}

/// A member that answers at once and remembers what it was told.
struct Member {
    consumer: Box<dyn Consumer>,
    assigned: Vec<Vec<TopicPartition>>,
    revoked: Vec<Vec<TopicPartition>>,
    values: Values,
}

impl Member {
    fn join(consumer: Box<dyn Consumer>, topic: &str) -> Self {
        let mut consumer = consumer;
        consumer.subscribe(&[topic.to_owned()]).unwrap();
        Self { consumer, assigned: Vec::new(), revoked: Vec::new(), values: Values::default() }
    }

    fn turn(&mut self) {
        let mut events = Vec::new();
        self.consumer.poll(Duration::from_millis(20), &mut events);
        self.values.take(&events);
        for event in events {
            match event {
                ConsumerEvent::Assigned(partitions) => {
                    self.consumer.ack_assigned(&[]).unwrap();
                    self.assigned.push(partitions);
                }
                ConsumerEvent::Revoked(partitions) => {
                    self.consumer.ack_revoked().unwrap();
                    self.revoked.push(partitions);
                }
                ConsumerEvent::Lost(partitions) => panic!("lost {partitions:?}"),
                _ => {}
            }
        }
    }

    fn owns(&self) -> usize {
        self.consumer.assignment().len()
    }
}

/// The eager protocol: a second member takes half; when the first leaves, the second has all, and
/// goes on where the first committed during its last revocation.
#[test]
fn partitions_move_between_members() {
    let brokers = brokers!();
    let name = topic(&brokers, "eager", 4);
    for partition in 0..4 {
        produce_numbers(&brokers, &name, partition, 0..5);
    }
    let group = unique("eager-group");
    let start = || member(&brokers, &group, Assignor::Range, &Properties::new());
    let mut one = Member::join(start(), &name);
    until("all partitions", || {
        one.turn();
        (one.owns() == 4 && one.values.count() == 20).then_some(())
    });
    assert_eq!(one.assigned.len(), 1);
    assert_eq!(one.assigned[0].len(), 4);

    let mut two = Member::join(start(), &name);
    until("two each", || {
        one.turn();
        two.turn();
        (one.owns() == 2 && two.owns() == 2).then_some(())
    });
    // Eager: everything was taken away, half came back.
    assert_eq!(one.revoked, [one.assigned[0].clone()]);
    let mut all = one.consumer.assignment();
    all.extend(two.consumer.assignment());
    all.sort();
    assert_eq!(all, (0..4).map(|p| tp(&name, p)).collect::<Vec<_>>());

    // The first leaves; between `Revoked` and its answer it commits, and polling answers that.
    let offsets: Vec<_> = one.consumer.assignment().into_iter().map(|tp| (tp, 3)).collect();
    one.consumer.begin_close();
    let mut events = Vec::new();
    let revoked = wait_for(&mut *one.consumer, &mut events, "Revoked", |event| match event {
        ConsumerEvent::Revoked(partitions) => Some(partitions.len()),
        _ => None,
    });
    assert_eq!(revoked, 2);
    assert_eq!(one.consumer.assignment(), []);
    let id = one.consumer.commit(&offsets).unwrap();
    let result = wait_for(&mut *one.consumer, &mut events, "CommitDone", |event| match event {
        ConsumerEvent::CommitDone { id: done, partitions } if *done == id => {
            Some(partitions.iter().all(|(_, _, result)| result.is_ok()))
        }
        _ => None,
    });
    assert!(result, "{events:?}");
    assert!(!one.consumer.is_closed(), "waits for the answer");
    one.consumer.ack_revoked().unwrap();
    wait_for(&mut *one.consumer, &mut events, "Closed", |event| {
        matches!(event, ConsumerEvent::Closed).then_some(())
    });
    assert!(one.consumer.is_closed());

    two.values = Values::default();
    until("all partitions", || {
        two.turn();
        (two.owns() == 4).then_some(())
    });
    // Half went on at 3; the other half, never committed, began anew.
    until("the records", || {
        two.turn();
        let moved = offsets.iter().all(|(partition, _)| two.values.texts(partition).len() >= 2);
        (moved && two.values.count() >= 2 * 2 + 2 * 5).then_some(())
    });
    for (partition, _) in offsets {
        assert_eq!(two.values.texts(&partition), ["3", "4"]);
    }
    assert!(two.consumer.close(LIMIT));
}

/// The cooperative protocol: only what moves is asked back, and the rest is read on.
#[test]
fn cooperative_members_keep_what_stays() {
    let brokers = brokers!();
    let name = topic(&brokers, "coop", 4);
    let group = unique("coop-group");
    let start = || member(&brokers, &group, Assignor::CooperativeSticky, &Properties::new());
    let mut one = Member::join(start(), &name);
    until("all partitions", || {
        one.turn();
        (one.owns() == 4).then_some(())
    });
    for partition in 0..4 {
        produce_numbers(&brokers, &name, partition, 0..5);
    }
    until("records", || {
        one.turn();
        (one.values.count() == 20).then_some(())
    });
    let mut two = Member::join(start(), &name);
    until("two each", || {
        one.turn();
        two.turn();
        (one.owns() == 2 && two.owns() == 2).then_some(())
    });
    let gone: Vec<_> = one.revoked.concat();
    assert_eq!(gone.len(), 2, "only what moves: {:?}", one.revoked);
    // What stayed was not read again.
    produce_numbers(&brokers, &name, one.consumer.assignment()[0].partition, 5..6);
    until("one more", || {
        one.turn();
        (one.values.count() == 21).then_some(())
    });
    assert!(one.consumer.close(LIMIT));
    until("all partitions", || {
        two.turn();
        (two.owns() == 4).then_some(())
    });
    assert!(two.consumer.close(LIMIT));
}

/// While a revocation waits for its answer no record of those partitions is handed out, and the
/// other member waits.
#[test]
fn a_revocation_waits_for_its_answer() {
    let brokers = brokers!();
    let name = topic(&brokers, "waits", 2);
    let group = unique("waits-group");
    let start = || member(&brokers, &group, Assignor::Range, &Properties::new());
    let mut one = Member::join(start(), &name);
    until("all partitions", || {
        one.turn();
        (one.owns() == 2).then_some(())
    });
    let mut two = Member::join(start(), &name);
    let mut events = Vec::new();
    until("Revoked", || {
        two.turn();
        one.consumer.poll(Duration::from_millis(20), &mut events);
        events.iter().any(|event| matches!(event, ConsumerEvent::Revoked(_))).then_some(())
    });
    produce_numbers(&brokers, &name, 0, 0..5);
    events.clear();
    for _ in 0..50 {
        two.turn();
        one.consumer.poll(Duration::from_millis(20), &mut events);
    }
    assert!(!events.iter().any(|event| matches!(event, ConsumerEvent::Records(_))), "{events:?}");
    assert_eq!(two.owns(), 0);
    one.consumer.ack_revoked().unwrap();
    until("one each", || {
        one.turn();
        two.turn();
        (one.owns() == 1 && two.owns() == 1).then_some(())
    });
    until("the records", || {
        one.turn();
        two.turn();
        (one.values.count() + two.values.count() == 5).then_some(())
    });
    assert!(two.consumer.close(LIMIT));
    assert!(one.consumer.close(LIMIT));
}

/// A member that did not poll for too long loses its partitions, is told so, and can come back.
#[test]
#[expect(clippy::disallowed_methods, reason = "not to poll is the point")]
fn a_silent_member_loses_its_partitions() {
    let brokers = brokers!();
    let name = topic(&brokers, "lost", 2);
    let group = unique("lost-group");
    let extra = Properties::from([("max.poll.interval.ms", "6000")]);
    let mut consumer = member(&brokers, &group, Assignor::Range, &extra);
    consumer.subscribe(std::slice::from_ref(&name)).unwrap();
    let mut events = Vec::new();
    let assigned = |event: &ConsumerEvent| match event {
        ConsumerEvent::Assigned(partitions) => Some(partitions.len()),
        _ => None,
    };
    assert_eq!(wait_for(&mut *consumer, &mut events, "Assigned", assigned), 2);
    consumer.ack_assigned(&[]).unwrap();
    std::thread::sleep(Duration::from_secs(9));
    events.clear();
    let lost = wait_for(&mut *consumer, &mut events, "Lost", |event| match event {
        ConsumerEvent::Lost(partitions) => Some(partitions.len()),
        _ => None,
    });
    assert_eq!(lost, 2);
    consumer.ack_revoked().unwrap();
    assert_eq!(wait_for(&mut *consumer, &mut events, "Assigned again", assigned), 2);
    let starts = [PartitionStart::new(tp(&name, 0), StartOffset::End).paused()];
    consumer.ack_assigned(&starts).unwrap();
    assert!(consumer.close(LIMIT));
}

/// A static member that comes back within the session gets its partitions without a rebalance of
/// the others.
#[test]
fn static_members_come_back() {
    let brokers = brokers!();
    let name = topic(&brokers, "static", 2);
    let group = unique("static-group");
    let start = |id: &str| {
        let extra = Properties::from([("group.instance.id", id), ("session.timeout.ms", "30000")]);
        member(&brokers, &group, Assignor::Range, &extra)
    };
    let mut one = Member::join(start("one"), &name);
    let mut two = Member::join(start("two"), &name);
    until("one each", || {
        one.turn();
        two.turn();
        (one.owns() == 1 && two.owns() == 1).then_some(())
    });
    let (rebalances, partition) = (two.assigned.len(), one.consumer.assignment());
    drop(one);
    let mut one = Member::join(start("one"), &name);
    until("back", || {
        one.turn();
        two.turn();
        (one.owns() == 1).then_some(())
    });
    assert_eq!(one.consumer.assignment(), partition);
    assert_eq!(two.assigned.len(), rebalances);
    let group_now = admin(&brokers).describe_groups(&[&group], LIMIT).unwrap().remove(0).unwrap();
    let mut ids: Vec<_> =
        group_now.members.iter().filter_map(|member| member.instance_id.clone()).collect();
    ids.sort();
    assert_eq!(ids, ["one", "two"]);
    assert!(one.consumer.close(LIMIT));
    assert!(two.consumer.close(LIMIT));
}
