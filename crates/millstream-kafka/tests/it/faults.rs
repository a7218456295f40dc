//! Connections that are cut, half open, slow or late: nothing is lost, doubled or out of order.

use std::time::Duration;

use millstream_kafka::{
    ClientConfig, Consumer, ConsumerConfig, ConsumerEvent, ConsumerSettings, OffsetReset,
    PartitionStart, Producer, StartOffset, consumer_properties,
};

use crate::lane::{Lane, Way, lane};
use crate::numbers::*;
use crate::support::*;

fn busy_producer(lane: &Lane) -> Box<dyn Producer> {
    crate::numbers::busy_producer(&lane.brokers())
}

fn busy_consumer(lane: &Lane, group: Option<&str>) -> Box<dyn Consumer> {
    crate::numbers::busy_consumer(&lane.brokers(), group)
}

#[test]
fn producing_while_connections_are_cut() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "cut-produce", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    let mut events = Vec::new();
    for seed in 1..=3 {
        lane.cut(seed, repeats(8));
        until("the cuts", || {
            produce(&mut *producer, handle, &mut next, 50);
            while producer.in_flight() > 200 {
                producer.flush(Duration::from_millis(5), &mut events);
            }
            (lane.cuts_left() == 0).then_some(())
        });
    }
    flush(&mut *producer);
    assert_delivered(&events);
    assert_numbers(&mut *busy_consumer(&lane, None), &name, next);
}

#[test]
fn consuming_while_connections_are_cut() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "cut-consume", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut count = 0;
    produce(&mut *producer, handle, &mut count, 3000);
    flush(&mut *producer);
    drop(producer);
    let mut consumer = busy_consumer(&lane, None);
    assert_numbers(&mut *consumer, &name, count);
    for seed in 1..=3 {
        lane.cut(seed, repeats(8));
        while lane.cuts_left() > 0 {
            consumer.seek(&tp(&name, 0), StartOffset::Beginning).unwrap();
            expect_numbers(&mut *consumer, &name, 0..count);
        }
    }
}

/// A member of a group reads everything and its last commit counts, whatever became of the ones
/// before.
#[test]
fn committing_while_connections_are_cut() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "cut-commit", 1);
    let group = unique("cut-group");
    let settings = ConsumerSettings {
        group_id: Some(group.clone()),
        auto_offset_reset: OffsetReset::Earliest,
        ..ConsumerSettings::default()
    };
    let mut extra = quick();
    extra.set("heartbeat.interval.ms", "100");
    // How long the group waits for a member whose answer to JoinGroup was cut off.
    extra.set("session.timeout.ms", "6000");
    let properties = consumer_properties(&extra, &connection(&lane.brokers()), &settings);
    let config = ConsumerConfig::new(ClientConfig::new(properties));
    let mut consumer = clients().consumer(&config).unwrap();
    consumer.subscribe(std::slice::from_ref(&name)).unwrap();
    let (partition, mut position) = (tp(&name, 0), 0);
    let mut events = Vec::new();
    let mut turn = |consumer: &mut dyn Consumer| {
        consumer.poll(Duration::from_millis(20), &mut events);
        let mut answered = Vec::new();
        for event in events.drain(..) {
            match event {
                ConsumerEvent::Assigned(_) => consumer.ack_assigned(&[]).unwrap(),
                ConsumerEvent::Revoked(_) | ConsumerEvent::Lost(_) => {
                    consumer.ack_revoked().unwrap();
                }
                ConsumerEvent::CommitDone { id, mut partitions } => {
                    answered.push((id, partitions.remove(0).2));
                }
                ConsumerEvent::Records(batch) => {
                    for record in batch.iter() {
                        // Committed and then assigned again: some may come twice, none is left out.
                        assert!(record.offset() <= position, "{} of {position}", record.offset());
                        position = position.max(record.offset() + 1);
                    }
                }
                _ => {}
            }
        }
        (position, answered)
    };
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    lane.cut(5, repeats(24));
    until("the cuts", || {
        produce(&mut *producer, handle, &mut next, 1);
        let (position, _) = turn(&mut *consumer);
        consumer.commit(&[(partition.clone(), position)]).unwrap();
        (lane.cuts_left() == 0).then_some(())
    });
    flush(&mut *producer);
    until("everything", || (turn(&mut *consumer).0 == i64::from(next)).then_some(()));
    until("a commit that counts", || {
        let id = consumer.commit(&[(partition.clone(), i64::from(next))]).unwrap();
        until("its answer", || {
            let (_, answered) = turn(&mut *consumer);
            answered.into_iter().find_map(|(answered, result)| (answered == id).then_some(result))
        })
        .ok()
    });
    // Asked by somebody whose connections were never cut.
    let committed = admin(&lane.brokers()).group_offsets(&group, LIMIT);
    assert_eq!(committed, Ok(vec![(partition, i64::from(next))]));
    assert!(consumer.close(LIMIT));
}

/// A connection on which nobody answers is given up after the request's time-out; what was under
/// way goes out again on another, once.
#[test]
fn a_producer_leaves_a_half_open_connection() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "half-produce", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    lane.freeze();
    produce(&mut *producer, handle, &mut next, 100);
    flush(&mut *producer);
    lane.await_given_up(1);
    assert_numbers(&mut *busy_consumer(&lane, None), &name, next);
}

#[test]
fn a_consumer_leaves_a_half_open_connection() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "half-consume", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    drop(producer);
    let group = unique("half-group");
    let mut consumer = busy_consumer(&lane, Some(&group));
    assert_numbers(&mut *consumer, &name, next);
    lane.freeze();
    let before = next;
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    expect_numbers(&mut *consumer, &name, before..next);
    lane.await_given_up(1);
    // The coordinator is found anew, too.
    assert_eq!(commit(&mut *consumer, &tp(&name, 0), 7), Ok(()));
    assert!(consumer.close(LIMIT));
}

/// A broker that takes connections and says nothing on them, not even which versions it has.
#[test]
fn connections_without_a_word_are_given_up() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "mute", 1);
    lane.mute(2);
    let mut extra = quick();
    extra.remove("fetch.wait.max.ms");
    extra.set("socket.connection.setup.timeout.ms", "1000");
    extra.set("api.version.request.timeout.ms", "1000");
    let mut producer = producer(&lane.brokers(), extra);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    lane.await_given_up(2);
    assert_numbers(&mut *busy_consumer(&lane, None), &name, next);
}

#[test]
fn one_direction_is_late() {
    let lane = lane!();
    for way in [Way::ToBroker, Way::ToClient] {
        let name = topic(&lane.brokers(), "late", 1);
        let mut producer = busy_producer(&lane);
        let handle = producer.topic(&name).unwrap();
        let mut consumer = busy_consumer(&lane, None);
        let start = PartitionStart::new(tp(&name, 0), StartOffset::Beginning);
        consumer.assign(&[start]).unwrap();
        lane.delay(Some((way, Duration::from_millis(100))));
        let mut next = 0;
        produce(&mut *producer, handle, &mut next, 200);
        flush(&mut *producer);
        expect_numbers(&mut *consumer, &name, 0..next);
        lane.delay(None);
    }
}

/// Answers that come after they were given up: the records are there, and not a second time.
#[test]
fn answers_come_too_late() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "too-late", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    lane.delay(Some((Way::ToClient, Duration::from_millis(2000))));
    produce(&mut *producer, handle, &mut next, 100);
    // The broker has them all, and nobody knows.
    let mut events = Vec::new();
    producer.flush(Duration::from_millis(1800), &mut events);
    assert!(producer.in_flight() > 0);
    lane.delay(None);
    flush(&mut *producer);
    assert_numbers(&mut *busy_consumer(&lane, None), &name, next);
}

#[test]
fn a_slow_connection() {
    let lane = lane!();
    let name = topic(&lane.brokers(), "slow", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    lane.slow(20_000);
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 300);
    flush(&mut *producer);
    assert_numbers(&mut *busy_consumer(&lane, None), &name, next);
}

/// KIP-219: who is told to be throttled sends nothing until that is over.
#[test]
fn a_throttled_consumer_is_quiet() {
    let lane = lane!();
    if is_librdkafka() {
        return not_applicable(
            "librdkafka reports throttling, and leaves the waiting to the broker",
        );
    }
    let name = topic(&lane.brokers(), "throttled", 1);
    let mut producer = busy_producer(&lane);
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 1000);
    flush(&mut *producer);
    lane.throttle(Duration::from_millis(300));
    // Several fetches, of 3000 bytes each.
    assert_numbers(&mut *busy_consumer(&lane, None), &name, next);
    assert!(lane.rewritten() > 1, "{} fetches were throttled", lane.rewritten());
    assert_eq!(lane.refused(), Vec::<String>::new());
}
