//! Topics change under those who use them; so does the broker's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use millstream_kafka::{
    ClientConfig, ConsumerConfig, ConsumerEvent, ConsumerSettings, NewTopic, OffsetReset,
    PartitionStart, ProducerEvent, Properties, StartOffset, consumer_properties,
};

use millstream_types::{Clock, SystemClock, Timestamp};

use crate::lane::Lane;
use crate::numbers::*;
use crate::support::*;

fn watchful() -> Properties {
    Properties::from([
        ("topic.metadata.refresh.interval.ms", "300"),
        ("metadata.max.age.ms", "1000"),
        ("retry.backoff.ms", "20"),
    ])
}

/// A producer and a group find partitions that were added, and lose nothing of the old ones.
#[test]
fn partitions_are_added_while_consuming() {
    let brokers = brokers!();
    let name = topic(&brokers, "added", 1);
    let mut producer = producer(&brokers, watchful());
    let handle = producer.topic(&name).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 20);
    let settings = ConsumerSettings {
        group_id: Some(unique("added-group")),
        auto_offset_reset: OffsetReset::Earliest,
        ..ConsumerSettings::default()
    };
    let mut extra = watchful();
    extra.set("heartbeat.interval.ms", "200");
    let properties = consumer_properties(&extra, &connection(&brokers), &settings);
    let config = ConsumerConfig::new(ClientConfig::new(properties));
    let mut consumer = clients().consumer(&config).unwrap();
    consumer.subscribe(std::slice::from_ref(&name)).unwrap();
    let mut values = Values::default();
    let mut poll = |count: usize, partitions: usize| {
        until("records of all partitions", || {
            let mut events = Vec::new();
            consumer.poll(Duration::from_millis(20), &mut events);
            values.take(&events);
            for event in events {
                match event {
                    ConsumerEvent::Assigned(assigned) => {
                        let start = |tp| {
                            let next = values.0.get(&tp).map_or(0, |seen| seen.len() as i64);
                            PartitionStart::new(tp, StartOffset::At(next))
                        };
                        let starts: Vec<_> = assigned.into_iter().map(start).collect();
                        consumer.ack_assigned(&starts).unwrap();
                    }
                    ConsumerEvent::Revoked(_) => consumer.ack_revoked().unwrap(),
                    ConsumerEvent::Lost(lost) => panic!("lost {lost:?}"),
                    _ => {}
                }
            }
            (values.count() >= count && consumer.assignment().len() == partitions).then_some(())
        });
    };
    poll(20, 1);
    admin(&brokers).create_partitions(&name, 3, LIMIT).unwrap();
    // Refused as long as the producer knows of one partition only.
    until("the producer to know", || {
        producer.flush(Duration::from_millis(20), &mut Vec::new());
        producer.produce(&record(handle, 2, None, Some(b"new"))).ok()
    });
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    poll(41, 3);
    let expected: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    assert_eq!(values.texts(&tp(&name, 0)), expected);
    assert_eq!(values.texts(&tp(&name, 2)), ["new"]);
    assert!(consumer.close(LIMIT));
}

/// Deleted, and created under the same name: who reads goes on with the new one from its start, who
/// writes writes to the new one.
#[test]
fn a_topic_is_created_anew_under_its_name() {
    let brokers = brokers!();
    let name = topic(&brokers, "anew", 1);
    let mut producer = producer(&brokers, watchful());
    let handle = producer.topic(&name).unwrap();
    let config = consumer_config(&brokers, None, &watchful());
    let mut consumer = clients().consumer(&config).unwrap();
    let mut next = 0;
    produce(&mut *producer, handle, &mut next, 20);
    flush(&mut *producer);
    assert_numbers(&mut *consumer, &name, next);

    let mut admin = admin(&brokers);
    admin.delete_topics(&[&name], LIMIT).unwrap().remove(0).unwrap();
    let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
    let new = NewTopic { partitions: Some(1), config, ..NewTopic::new(&name) };
    until("the name to be free", || {
        admin.create_topics(std::slice::from_ref(&new), LIMIT).unwrap().remove(0).ok()
    });
    admin.await_topics(&[&name], LIMIT).unwrap();
    // Fewer than before: the old position is behind the new end. What is sent before the producer
    // has seen that the topic is another one may be given up, and is said to be.
    let mut events = Vec::new();
    until("five records in the new topic", || {
        producer.produce(&record(handle, 0, None, Some(b"new"))).ok()?;
        assert_eq!(producer.flush(LIMIT, &mut events), 0);
        let failed = |event: &ProducerEvent| matches!(event, ProducerEvent::DeliveryFailed(_));
        events.drain(..).all(|event| !failed(&event)).then_some(())?;
        let end = admin.watermarks(&[tp(&name, 0)], LIMIT).ok()?[0].high;
        (end >= 5).then_some(())
    });
    let end = admin.watermarks(&[tp(&name, 0)], LIMIT).unwrap()[0].high;
    let values = read(&mut *consumer, end as usize);
    let offsets: Vec<_> = values.0[&tp(&name, 0)].iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (0..end).collect::<Vec<_>>());
    assert!(values.texts(&tp(&name, 0)).iter().all(|text| *text == "new"));
}

/// The system's clock, and how far its wall clock is off, in milliseconds.
#[derive(Default)]
struct Jumping(AtomicI64);

impl Clock for Jumping {
    fn wall(&self) -> Timestamp {
        SystemClock.wall() + self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

/// A day forward, a day back: no record is lost or doubled, and the group's member stays one.
#[test]
fn the_clock_of_the_broker_jumps() {
    if env("MILLSTREAM_TEST_LANES").is_none() {
        return;
    }
    if !Lane::are_embedded() {
        return not_applicable("the clock of a Kafka on this machine is the machine's");
    }
    let clock = Arc::new(Jumping::default());
    let lane = Lane::embedded(clock.clone());
    let name = topic(&lane.brokers(), "clock", 1);
    let partition = tp(&name, 0);
    let mut producer = busy_producer(&lane.brokers());
    let handle = producer.topic(&name).unwrap();
    let extra =
        Properties::from([("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "200")]);
    let config = consumer_config(&lane.brokers(), Some(&unique("clock-group")), &extra);
    let mut consumer = clients().consumer(&config).unwrap();
    consumer.subscribe(std::slice::from_ref(&name)).unwrap();
    let mut events = Vec::new();
    wait_for(&mut *consumer, &mut events, "Assigned", |event| {
        matches!(event, ConsumerEvent::Assigned(_)).then_some(())
    });
    consumer.ack_assigned(&[]).unwrap();
    let (mut next, mut read) = (0, 0);
    for jump in [0, 86_400_000, 0, -86_400_000, 0] {
        clock.0.store(jump, Ordering::Relaxed);
        produce(&mut *producer, handle, &mut next, 50);
        flush(&mut *producer);
        expect_numbers(&mut *consumer, &name, read..next);
        read = next;
        assert_eq!(commit(&mut *consumer, &partition, i64::from(next)), Ok(()));
        // Some heartbeats under this clock.
        let end = SystemClock.monotonic() + Duration::from_millis(700);
        while SystemClock.monotonic() < end {
            consumer.poll(Duration::from_millis(50), &mut events);
        }
        assert_eq!(consumer.assignment(), std::slice::from_ref(&partition));
    }
    let is_rebalance =
        |event: &ConsumerEvent| matches!(event, ConsumerEvent::Revoked(_) | ConsumerEvent::Lost(_));
    assert!(!events.iter().any(is_rebalance), "{events:?}");
    assert!(consumer.close(LIMIT));
}
