//! Reading: order, bounds, positions, pausing, seeking, committing.

use std::time::Duration;

use millstream_kafka::{
    ConsumerConfig, ConsumerEvent, Error, OffsetReset, PartitionStart, Properties, StartOffset,
    Watermarks, code, consumer_properties,
};

use crate::support::*;

/// Hundred thousand records of four partitions: complete, in order, within the bounds asked for.
#[test]
fn many_records_in_order() {
    let brokers = brokers!();
    let name = topic(&brokers, "many", 4);
    let mut producer = producer(&brokers, Properties::new());
    let handle = producer.topic(&name).unwrap();
    let mut events = Vec::new();
    for number in 0..100_000 {
        let text = number.to_string();
        let record = record(handle, number % 4, Some(text.as_bytes()), Some(text.as_bytes()));
        while producer.produce(&record).is_err() {
            producer.flush(Duration::from_millis(10), &mut events);
        }
    }
    flush(&mut *producer);

    let config = consumer_config(&brokers, None, &Properties::new());
    let config = ConsumerConfig { poll_records_max: 500, batch_bytes_max: 2000, ..config };
    let mut consumer = clients().consumer(&config).unwrap();
    let starts: Vec<_> =
        (0..4).map(|p| PartitionStart::new(tp(&name, p), StartOffset::At(0))).collect();
    consumer.assign(&starts).unwrap();
    let mut values = Values::default();
    let mut ends = 0;
    until("all records", || {
        let mut events = Vec::new();
        consumer.poll(Duration::from_millis(100), &mut events);
        let mut records = 0;
        for event in &events {
            match event {
                ConsumerEvent::Records(batch) => {
                    records += batch.len();
                    assert!(batch.byte_size() <= 2000);
                }
                ConsumerEvent::PartitionEnd(_, 25_000) => ends += 1,
                _ => {}
            }
        }
        assert!(records <= 500);
        values.take(&events);
        (ends == 4).then_some(())
    });
    assert_eq!(values.count(), 100_000);
    for partition in 0..4 {
        let tp = tp(&name, partition);
        for (index, (offset, text)) in values.0[&tp].iter().enumerate() {
            assert_eq!((*offset, text.parse()), (index as i64, Ok(4 * index as i32 + partition)));
        }
        assert_eq!(consumer.position(&tp), Some(25_000));
        let end = Watermarks { low: 0, high: 25_000 };
        assert_eq!(consumer.watermarks(&tp, LIMIT), Ok(end));
        assert_eq!(consumer.cached_watermarks(&tp).map(|w| w.high), Some(25_000));
        assert_eq!(consumer.lag(&tp), Some(0));
    }
    assert!(consumer.close(LIMIT));
}

#[test]
fn pause_resume_and_seek() {
    let brokers = brokers!();
    let name = topic(&brokers, "pause", 2);
    produce_numbers(&brokers, &name, 0, 0..10);
    produce_numbers(&brokers, &name, 1, 100..110);
    let (first, second) = (tp(&name, 0), tp(&name, 1));
    let mut consumer = consumer(&brokers, None);
    consumer
        .assign(&[
            PartitionStart::new(first.clone(), StartOffset::At(3)),
            PartitionStart::new(second.clone(), StartOffset::Beginning).paused(),
        ])
        .unwrap();
    let values = read(&mut *consumer, 7);
    assert_eq!(values.texts(&first), ["3", "4", "5", "6", "7", "8", "9"]);
    assert!(values.texts(&second).is_empty(), "assigned paused");

    consumer.resume(std::slice::from_ref(&second)).unwrap();
    let values = read(&mut *consumer, 10);
    assert_eq!(values.texts(&second).len(), 10);
    assert!(values.texts(&first).is_empty());

    // Paused, new records wait; resumed, none is missing and none comes twice.
    consumer.pause(std::slice::from_ref(&first)).unwrap();
    produce_numbers(&brokers, &name, 0, 10..20);
    produce_numbers(&brokers, &name, 1, 110..112);
    let values = read(&mut *consumer, 2);
    assert_eq!(values.texts(&second), ["110", "111"]);
    assert!(values.texts(&first).is_empty());
    consumer.resume(std::slice::from_ref(&first)).unwrap();
    let values = read(&mut *consumer, 10);
    assert_eq!(values.texts(&first), (10..20).map(|n| n.to_string()).collect::<Vec<_>>());

    consumer.seek(&first, StartOffset::At(18)).unwrap();
    assert_eq!(read(&mut *consumer, 2).texts(&first), ["18", "19"]);
    consumer.seek(&first, StartOffset::Beginning).unwrap();
    assert_eq!(read(&mut *consumer, 20).texts(&first)[0], "0");

    let foreign = tp(&name, 9);
    assert_eq!(
        consumer.seek(&foreign, StartOffset::End).unwrap_err().code(),
        Some(code::UNKNOWN_PARTITION)
    );
    assert!(consumer.pause(&[foreign]).is_err());
    // Given up, nothing comes any more.
    consumer.assign(&[]).unwrap();
    assert_eq!(consumer.assignment(), []);
    produce_numbers(&brokers, &name, 0, 20..21);
    let mut events = Vec::new();
    consumer.poll(Duration::from_millis(500), &mut events);
    assert!(!events.iter().any(|event| matches!(event, ConsumerEvent::Records(_))), "{events:?}");
}

/// CK-06, A-17.
#[test]
fn commits_are_answered_and_remembered() {
    let brokers = brokers!();
    let name = topic(&brokers, "commit", 2);
    produce_numbers(&brokers, &name, 0, 0..10);
    let group = unique("commit-group");
    let (first, second) = (tp(&name, 0), tp(&name, 1));
    let mut consumer = consumer(&brokers, Some(&group));
    consumer.assign(&[PartitionStart::new(first.clone(), StartOffset::Committed)]).unwrap();
    assert_eq!(read(&mut *consumer, 10).count(), 10);
    let both = [first.clone(), second.clone()];
    assert_eq!(consumer.committed(&both, LIMIT), Ok(vec![None, None]));

    let id = consumer.commit(&[(first.clone(), 4)]).unwrap();
    let mut events = Vec::new();
    let done = wait_for(&mut *consumer, &mut events, "the commit", |event| match event {
        ConsumerEvent::CommitDone { id, partitions } => Some((*id, partitions.clone())),
        _ => None,
    });
    assert_eq!(done, (id, vec![(first.clone(), 4, Ok(()))]));
    assert_eq!(consumer.committed(&both, LIMIT), Ok(vec![Some(4), None]));
    // An empty commit has an answer too.
    let id = consumer.commit(&[]).unwrap();
    events.clear();
    let done = wait_for(&mut *consumer, &mut events, "the empty commit", |event| match event {
        ConsumerEvent::CommitDone { id, partitions } => Some((*id, partitions.clone())),
        _ => None,
    });
    assert_eq!(done, (id, vec![]));
    assert!(consumer.close(LIMIT));

    let mut consumer = crate::support::consumer(&brokers, Some(&group));
    consumer.assign(&[PartitionStart::new(first.clone(), StartOffset::Committed)]).unwrap();
    assert_eq!(read(&mut *consumer, 6).texts(&first)[0], "4");
    assert!(consumer.close(LIMIT));
}

#[test]
fn offsets_by_time() {
    let brokers = brokers!();
    let name = topic(&brokers, "times", 1);
    let mut producer = producer(&brokers, Properties::new());
    let handle = producer.topic(&name).unwrap();
    for timestamp in [1000, 2000, 3000] {
        let record = record(handle, 0, None, Some(b"x"));
        let record = millstream_kafka::ProduceRecord { timestamp: Some(timestamp), ..record };
        producer.produce(&record).unwrap();
        // A batch each, so that the index is looked at as well.
        flush(&mut *producer);
    }
    let mut consumer = consumer(&brokers, None);
    let tp = tp(&name, 0);
    let mut at = |timestamp| consumer.offsets_for_times(&[(tp.clone(), timestamp)], LIMIT);
    assert_eq!(at(0), Ok(vec![Some(0)]));
    assert_eq!(at(2000), Ok(vec![Some(1)]));
    assert_eq!(at(2001), Ok(vec![Some(2)]));
    assert_eq!(at(3001), Ok(vec![None]));
}

/// `error` reports the partition, by the code that parity asks for.
#[test]
fn no_offset_and_no_reset() {
    let brokers = brokers!();
    let name = topic(&brokers, "reset", 1);
    let settings = millstream_kafka::ConsumerSettings {
        group_id: Some(unique("reset-group")),
        auto_offset_reset: OffsetReset::Error,
        ..Default::default()
    };
    let properties = consumer_properties(&Properties::new(), &connection(&brokers), &settings);
    let config = ConsumerConfig::new(millstream_kafka::ClientConfig::new(properties));
    let mut consumer = clients().consumer(&config).unwrap();
    consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Committed)]).unwrap();
    let mut events = Vec::new();
    let (partition, error) =
        wait_for(&mut *consumer, &mut events, "the error", |event| match event {
            ConsumerEvent::PartitionError(partition, error) => {
                Some((partition.clone(), error.clone()))
            }
            _ => None,
        });
    assert_eq!((partition, error.code), (tp(&name, 0), code::AUTO_OFFSET_RESET));
}

/// Another thread ends a wait, before it has begun or while it lasts.
#[test]
#[expect(clippy::disallowed_methods, reason = "two threads are the point")]
fn a_wake_ends_a_poll() {
    let brokers = brokers!();
    let mut consumer = consumer(&brokers, None);
    let waker = consumer.waker();
    let mut events = Vec::new();
    waker.wake();
    consumer.poll(Duration::from_secs(600), &mut events);
    let thread = std::thread::spawn(move || waker.wake());
    consumer.poll(Duration::from_secs(600), &mut events);
    thread.join().unwrap();
}

#[test]
fn misuse_is_an_error() {
    let brokers = brokers!();
    let name = topic(&brokers, "misuse", 1);
    let mut alone = consumer(&brokers, None);
    assert!(matches!(alone.subscribe(std::slice::from_ref(&name)), Err(Error::Misuse(_))));
    assert!(matches!(alone.commit(&[(tp(&name, 0), 1)]), Err(Error::Misuse(_))));
    assert!(matches!(alone.ack_assigned(&[]), Err(Error::Misuse(_))));
    assert!(matches!(alone.ack_revoked(), Err(Error::Misuse(_))));
    let committed = PartitionStart::new(tp(&name, 0), StartOffset::Committed);
    assert!(matches!(alone.assign(&[committed]), Err(Error::Misuse(_))));

    let bad = consumer_config(&brokers, None, &Properties::from([("no.such.setting", "1")]));
    let error = clients().consumer(&bad).err().unwrap();
    assert!(error.to_string().contains("no.such.setting"), "{error}");
    let bad = consumer_config(&brokers, None, &Properties::from([("fetch.min.bytes", "many")]));
    let error = clients().consumer(&bad).err().unwrap();
    assert!(error.to_string().contains("fetch.min.bytes"), "{error}");
}

/// The client's own commits remember what was handed out, not a record more (M-21).
#[test]
fn auto_commit_remembers_what_was_handed_out() {
    let brokers = brokers!();
    let name = topic(&brokers, "auto", 1);
    produce_numbers(&brokers, &name, 0, 0..5);
    let settings = millstream_kafka::ConsumerSettings {
        group_id: Some(unique("auto-group")),
        auto_offset_reset: OffsetReset::Earliest,
        auto_commit: true,
        ..Default::default()
    };
    let extra = Properties::from([("enable.auto.offset.store", "true")]);
    let properties = consumer_properties(&extra, &connection(&brokers), &settings);
    let config = ConsumerConfig::new(millstream_kafka::ClientConfig::new(properties));
    let tp = tp(&name, 0);
    let committed = PartitionStart::new(tp.clone(), StartOffset::Committed);
    let mut consumer = clients().consumer(&config).unwrap();
    consumer.assign(std::slice::from_ref(&committed)).unwrap();
    let mut events = Vec::new();
    wait_for(&mut *consumer, &mut events, "the end", |event| {
        matches!(event, ConsumerEvent::PartitionEnd(_, 5)).then_some(())
    });
    // Time for the end to arrive at whoever would count it.
    consumer.poll(Duration::from_millis(200), &mut events);
    assert!(consumer.close(LIMIT));
    produce_numbers(&brokers, &name, 0, 5..8);
    let mut consumer = clients().consumer(&config).unwrap();
    consumer.assign(&[committed]).unwrap();
    assert_eq!(read(&mut *consumer, 3).texts(&tp), ["5", "6", "7"]);
    assert!(consumer.close(LIMIT));
}

/// With a group, too, one assignment can follow another, though the first is being stopped while
/// the second starts.
#[test]
fn assignments_follow_each_other() {
    let brokers = brokers!();
    let name = topic(&brokers, "again", 1);
    produce_numbers(&brokers, &name, 0, 0..5);
    let tp = tp(&name, 0);
    for group in [Some(unique("again-group")), None] {
        let mut consumer = consumer(&brokers, group.as_deref());
        for start in [0, 3, 1, 4, 2] {
            consumer.assign(&[PartitionStart::new(tp.clone(), StartOffset::At(start))]).unwrap();
            let values = read(&mut *consumer, 5 - start as usize);
            assert_eq!(values.texts(&tp)[0], start.to_string());
        }
        assert!(consumer.close(LIMIT));
    }
}
