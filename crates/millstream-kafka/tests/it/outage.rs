//! The broker goes away and comes back; polling never stops.

use std::time::Duration;

use millstream_kafka::{
    ConsumerEvent, PartitionStart, ProducerEvent, Properties, StartOffset, code,
};

use crate::support::*;

/// E-12, C-13, CK-05: down is told once, a flush and a commit wait without holding anyone up, and
/// everything goes on when the broker is back.
#[test]
fn an_outage_is_told_and_survived() {
    let Some(brokers) = env("MILLSTREAM_TEST_OUTAGE_BROKERS") else { return };
    let Some(stop) = env("MILLSTREAM_TEST_BROKER_STOP") else { return };
    let Some(start) = env("MILLSTREAM_TEST_BROKER_START") else { return };
    let name = topic(&brokers, "outage", 1);
    let mut producer = producer(&brokers, Properties::new());
    let handle = producer.topic(&name).unwrap();
    let group = unique("outage-group");
    let mut consumer = consumer(&brokers, Some(&group));
    consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Beginning)]).unwrap();
    producer.set_waker(consumer.waker());
    producer.produce(&record(handle, 0, None, Some(b"0"))).unwrap();
    flush(&mut *producer);
    assert_eq!(read(&mut *consumer, 1).count(), 1);
    // The coordinator is known, so that the commit below is sent to it.
    let first = consumer.commit(&[(tp(&name, 0), 0)]).unwrap();
    let mut seen = Vec::new();
    wait_for(&mut *consumer, &mut seen, "a commit", |event| match event {
        ConsumerEvent::CommitDone { id, .. } => (*id == first).then_some(()),
        _ => None,
    });

    shell(&stop);
    producer.produce(&record(handle, 0, None, Some(b"1"))).unwrap();
    let flush_id = producer.begin_flush();
    let commit_id = consumer.commit(&[(tp(&name, 0), 1)]).unwrap();
    let (mut from_consumer, mut from_producer) = (Vec::new(), Vec::new());
    until("both to notice", || {
        consumer.poll(Duration::from_millis(50), &mut from_consumer);
        producer.poll(&mut from_producer);
        let consumer_down = from_consumer.iter().any(|event| {
            matches!(event, ConsumerEvent::BrokersDown(error)
                if error.code == code::ALL_BROKERS_DOWN)
        });
        let producer_down =
            from_producer.iter().any(|event| matches!(event, ProducerEvent::BrokersDown(_)));
        (consumer_down && producer_down).then_some(())
    });
    consumer.probe();
    producer.probe();
    for _ in 0..20 {
        consumer.poll(Duration::from_millis(50), &mut from_consumer);
        producer.poll(&mut from_producer);
    }
    let is_up = |event: &ConsumerEvent| match event {
        ConsumerEvent::BrokersUp => Some(true),
        ConsumerEvent::BrokersDown(_) => Some(false),
        _ => None,
    };
    let told: Vec<_> = from_consumer.iter().filter_map(is_up).collect();
    assert_eq!(told.last(), Some(&false));
    // librdkafka may find several brokers down, one of them up for a moment, and all down again.
    assert!(told.len() == 1 || is_librdkafka(), "{told:?}");
    assert!(!from_producer.iter().any(|event| matches!(event, ProducerEvent::FlushDone { .. })));
    assert_eq!(producer.in_flight(), 1);

    shell(&start);
    let mut committed = None;
    let mut values = Values::default();
    let (mut consumer_up, mut producer_up, mut flushed) = (false, false, false);
    until("everything to go on", || {
        let mut events = Vec::new();
        consumer.poll(Duration::from_millis(50), &mut events);
        values.take(&events);
        for event in &events {
            match event {
                ConsumerEvent::CommitDone { id, partitions } if *id == commit_id => {
                    committed = Some(partitions[0].2.clone());
                }
                ConsumerEvent::BrokersUp => consumer_up = true,
                _ => {}
            }
        }
        producer.poll(&mut from_producer);
        for event in from_producer.drain(..) {
            match event {
                ProducerEvent::FlushDone { id, failed } => {
                    assert_eq!((id, failed), (flush_id, 0));
                    flushed = true;
                }
                ProducerEvent::BrokersUp => producer_up = true,
                ProducerEvent::DeliveryFailed(failure) => panic!("{failure}"),
                _ => {}
            }
        }
        let done = consumer_up && producer_up && flushed && values.count() == 1;
        // The commit may have failed meanwhile, but it was answered.
        (done && (committed.is_some()
            || from_consumer.iter().any(
                |event| matches!(event, ConsumerEvent::CommitDone { id, .. } if *id == commit_id),
            )))
        .then_some(())
    });
    assert_eq!(values.texts(&tp(&name, 0)), ["1"]);
    assert!(consumer.close(LIMIT));
}
