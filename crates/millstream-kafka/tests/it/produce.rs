//! What is produced comes back: bytes, headers, timestamps, partitions, failures.

use std::time::Duration;

use millstream_kafka::{
    ConsumerEvent, FlushId, Partition, PartitionStart, ProduceError, ProduceRecord, ProducerEvent,
    Properties, StartOffset, code, partition_of,
};
use millstream_types::{HeadersView, TimestampType, encode_header};

use crate::support::*;

/// T-08 types of timestamps; headers with null, empty and repeated ones; tombstones; no key.
#[test]
fn every_part_of_a_record_survives() {
    let brokers = brokers!();
    let name = topic(&brokers, "parts", 1);
    let mut producer = producer(&brokers, Properties::new());
    let handle = producer.topic(&name).unwrap();
    let mut headers = Vec::new();
    encode_header(&mut headers, "a", Some(b"1"));
    encode_header(&mut headers, "a", Some(b""));
    encode_header(&mut headers, "ü", None);
    let headers = HeadersView::new(&headers, 3);
    let plain = record(handle, 0, None, None);
    let records = [
        ProduceRecord { key: Some(b"k"), value: Some(b"v"), headers, ..plain },
        ProduceRecord { key: Some(b"k"), value: None, timestamp: Some(0), ..plain },
        ProduceRecord { key: None, value: Some(b""), timestamp: Some(1), ..plain },
        ProduceRecord { key: Some(b""), value: Some(b"now"), timestamp: None, ..plain },
        ProduceRecord { value: Some(b"none"), timestamp: Some(-1), ..plain },
        ProduceRecord {
            value: Some(b"zero in a later batch"),
            timestamp: Some(0),
            headers,
            ..plain
        },
    ];
    for record in &records {
        producer.produce(record).unwrap();
    }
    flush(&mut *producer);
    assert_eq!(producer.last_delivered(handle, 0), Some(5));
    assert_eq!(producer.last_delivered(handle, 1), None);

    let mut consumer = consumer(&brokers, None);
    consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Beginning)]).unwrap();
    let mut events = Vec::new();
    let end = wait_for(&mut *consumer, &mut events, "the end", |event| match event {
        ConsumerEvent::PartitionEnd(partition, offset) => Some((partition.clone(), *offset)),
        _ => None,
    });
    assert_eq!(end, (tp(&name, 0), 6));
    let mut back = Vec::new();
    for event in &events {
        if let ConsumerEvent::Records(batch) = event {
            back.extend((0..batch.len()).map(|index| (batch.clone(), index)));
        }
    }
    assert_eq!(back.len(), records.len());
    for (number, (sent, (batch, index))) in records.iter().zip(&back).enumerate() {
        let got = batch.get(*index);
        assert_eq!(got.offset(), number as i64);
        assert_eq!((got.key(), got.value()), (sent.key, sent.value), "record {number}");
        assert!(got.headers().iter().eq(sent.headers.iter()), "record {number}");
        assert_eq!(got.leader_epoch(), Some(0));
        match sent.timestamp {
            Some(timestamp) => assert_eq!(got.timestamp(), timestamp, "record {number}"),
            None => assert!(got.timestamp() > 1_700_000_000_000),
        }
        if sent.timestamp != Some(-1) {
            assert_eq!(got.timestamp_type(), TimestampType::CreateTime, "record {number}");
        }
    }
    assert!(consumer.close(LIMIT));
}

/// Headers survive every compression, between records without any, with and without a value.
#[test]
fn headers_survive_compression() {
    let brokers = brokers!();
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let name = topic(&brokers, &format!("headers-{compression}"), 1);
        let mut producer =
            producer(&brokers, Properties::from([("compression.type", compression)]));
        let handle = producer.topic(&name).unwrap();
        let mut encoded = Vec::new();
        encode_header(&mut encoded, "", Some(b""));
        for number in 0..300_u32 {
            let value = number.to_string().repeat(1 + number as usize % 40);
            let plain = record(handle, 0, Some(b"k"), Some(value.as_bytes()));
            let record = match number % 5 {
                0 => ProduceRecord { headers: HeadersView::new(&encoded, 1), ..plain },
                1 => ProduceRecord { headers: HeadersView::new(&encoded, 1), value: None, ..plain },
                2 => ProduceRecord {
                    headers: HeadersView::new(&encoded, 1),
                    value: Some(b""),
                    ..plain
                },
                3 => ProduceRecord { value: None, ..plain },
                _ => plain,
            };
            producer.produce(&record).unwrap();
        }
        flush(&mut *producer);
        let mut consumer = consumer(&brokers, None);
        consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Beginning)]).unwrap();
        let mut events = Vec::new();
        wait_for(&mut *consumer, &mut events, "the end", |event| {
            matches!(event, ConsumerEvent::PartitionEnd(..)).then_some(())
        });
        let mut count = 0;
        for event in &events {
            let ConsumerEvent::Records(batch) = event else { continue };
            for record in batch.iter() {
                let headers: Vec<_> = record.headers().iter().collect();
                let expected =
                    if record.offset() % 5 < 3 { vec![("", Some(&b""[..]))] } else { vec![] };
                assert_eq!(headers, expected, "{compression} {}", record.offset());
                assert_eq!(record.value().is_none(), matches!(record.offset() % 5, 1 | 3));
                count += 1;
            }
        }
        assert_eq!(count, 300, "{compression}");
    }
}

/// C-11: keys go where the Java client puts them; records without a key go somewhere.
#[test]
fn keys_choose_partitions() {
    let brokers = brokers!();
    let name = topic(&brokers, "keys", 5);
    let mut producer = producer(&brokers, Properties::new());
    let handle = producer.topic(&name).unwrap();
    let keys: Vec<String> = (0..50).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        let by_key = ProduceRecord {
            partition: Partition::ByKey,
            ..record(handle, 0, Some(key.as_bytes()), Some(key.as_bytes()))
        };
        producer.produce(&by_key).unwrap();
    }
    let no_key =
        ProduceRecord { partition: Partition::ByKey, ..record(handle, 0, None, Some(b"-")) };
    producer.produce(&no_key).unwrap();
    flush(&mut *producer);
    let mut consumer = consumer(&brokers, None);
    let starts: Vec<_> =
        (0..5).map(|p| PartitionStart::new(tp(&name, p), StartOffset::Beginning)).collect();
    consumer.assign(&starts).unwrap();
    let values = read(&mut *consumer, 51);
    for key in &keys {
        let partition = tp(&name, partition_of(key.as_bytes(), 5));
        assert!(values.texts(&partition).contains(&key.as_str()), "{key}");
    }
}

/// A full queue is a return value, and the record can be produced once there is room.
#[test]
fn a_full_queue_is_back_pressure() {
    let brokers = brokers!();
    let name = topic(&brokers, "full", 1);
    let extra = Properties::from([("queue.buffering.max.messages", "100"), ("linger.ms", "200")]);
    let mut producer = producer(&brokers, extra);
    let handle = producer.topic(&name).unwrap();
    let (mut sent, mut full) = (0, 0);
    let mut events = Vec::new();
    until("1000 records", || {
        let text = sent.to_string();
        match producer.produce(&record(handle, 0, None, Some(text.as_bytes()))) {
            Ok(()) => sent += 1,
            Err(ProduceError::QueueFull) => {
                full += 1;
                producer.flush(Duration::from_millis(100), &mut events);
            }
            Err(error) => panic!("{error}"),
        }
        (sent == 1000).then_some(())
    });
    assert!(full > 0);
    flush(&mut *producer);
    assert_eq!(producer.in_flight(), 0);
    assert_eq!(producer.last_delivered(handle, 0), Some(999));
}

/// CK-05: a flush is answered for what came before it, while producing goes on.
#[test]
fn flushes_are_answered_in_order() {
    let brokers = brokers!();
    let name = topic(&brokers, "flush", 2);
    // Without the flush the records would linger for a minute.
    let extra = Properties::from([("linger.ms", "60000")]);
    let mut producer = producer(&brokers, extra);
    let handle = producer.topic(&name).unwrap();
    let mut ids = Vec::new();
    // More flushes than there are epochs.
    for round in 0..40 {
        for n in 0..10 {
            let text = format!("{round}-{n}");
            producer.produce(&record(handle, n % 2, None, Some(text.as_bytes()))).unwrap();
        }
        ids.push(producer.begin_flush());
    }
    let mut done: Vec<FlushId> = Vec::new();
    let mut events = Vec::new();
    until("flushes", || {
        // A last flush makes sure that nobody lingers.
        producer.flush(Duration::from_millis(100), &mut events);
        for event in events.drain(..) {
            match event {
                ProducerEvent::FlushDone { id, failed } => {
                    assert_eq!(failed, 0);
                    done.push(id);
                }
                other => panic!("{other:?}"),
            }
        }
        (done.len() == ids.len()).then_some(())
    });
    assert_eq!(done, ids);
    assert_eq!(producer.last_delivered(handle, 0), Some(199));
    // And one with nothing to wait for.
    let id = producer.begin_flush();
    producer.poll(&mut events);
    assert!(matches!(events[..], [ProducerEvent::FlushDone { id: done, failed: 0 }] if done == id));
}

/// The one who waits on a consumer is woken when the flush is done.
#[test]
fn a_flush_wakes_the_one_who_waits() {
    let brokers = brokers!();
    let name = topic(&brokers, "wake", 1);
    let mut producer = producer(&brokers, Properties::new());
    let mut consumer = consumer(&brokers, None);
    producer.set_waker(consumer.waker());
    let handle = producer.topic(&name).unwrap();
    producer.produce(&record(handle, 0, None, Some(b"x"))).unwrap();
    let id = producer.begin_flush();
    let mut events = Vec::new();
    let done = until("the flush", || {
        let mut ignored = Vec::new();
        consumer.poll(Duration::from_secs(5), &mut ignored);
        producer.poll(&mut events);
        events.pop()
    });
    assert!(matches!(done, ProducerEvent::FlushDone { id: done, failed: 0 } if done == id));
}

/// Failures say where, how many and why, before the flush that counts them.
#[test]
fn failures_are_reported_by_topic_and_partition() {
    let brokers = brokers!();
    let name = topic(&brokers, "fail", 2);
    let mut producer = producer(&brokers, Properties::from([("linger.ms", "60000")]));
    let handle = producer.topic(&name).unwrap();
    for n in 0..7 {
        producer.produce(&record(handle, n % 2, None, Some(b"x"))).unwrap();
    }
    assert_eq!(producer.in_flight(), 7);
    producer.purge();
    let id = producer.begin_flush();
    let mut events = Vec::new();
    let failed = until("the flush", || {
        producer.poll(&mut events);
        events.iter().find_map(|event| match event {
            ProducerEvent::FlushDone { id: done, failed } if *done == id => Some(*failed),
            _ => None,
        })
    });
    assert_eq!(failed, 7);
    let mut failures = Vec::new();
    for event in &events {
        match event {
            ProducerEvent::DeliveryFailed(failure) => {
                assert_eq!(&*failure.topic, name);
                assert!(failure.error.code == code::PURGED_FROM_QUEUE, "{failure}");
                failures.push((failure.partition, failure.count));
            }
            ProducerEvent::FlushDone { .. } => {
                // Purged before the partition was known, or after: all of them either way.
                assert_eq!(failures.iter().map(|(_, count)| count).sum::<u64>(), 7);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(producer.in_flight(), 0);
    assert_eq!(producer.last_delivered(handle, 0), None);
    // The producer goes on, and the failures are not told twice.
    producer.produce(&record(handle, 0, None, Some(b"y"))).unwrap();
    let id = producer.begin_flush();
    events.clear();
    producer.flush(LIMIT, &mut events);
    assert!(
        matches!(events[..], [ProducerEvent::FlushDone { id: done, failed: 0 }] if done == id),
        "{events:?}"
    );
}

/// What cannot be produced is refused at once, with topic and partition.
#[test]
fn refused_records_name_the_place() {
    let brokers = brokers!();
    let name = topic(&brokers, "refuse", 1);
    let mut producer = producer(&brokers, Properties::new());
    let handle = producer.topic(&name).unwrap();
    let large = vec![0; 2_000_000];
    let refused = producer.produce(&record(handle, 0, None, Some(&large))).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(&name) && text.contains("[0]"), "{text}");
    assert!(
        matches!(refused, ProduceError::Refused { error, .. } if error.code == code::MESSAGE_TOO_LARGE)
    );

    // Metadata is here after this one, so that a partition that is not is known at once.
    producer.produce(&record(handle, 0, None, Some(b"x"))).unwrap();
    flush(&mut *producer);
    let refused = producer.produce(&record(handle, 7, None, Some(b"x"))).unwrap_err();
    assert!(
        matches!(&refused, ProduceError::Refused { partition: Some(7), error, .. }
            if error.code == code::UNKNOWN_PARTITION),
        "{refused}"
    );
    assert!(producer.produce(&record(handle, -1, None, Some(b"x"))).is_err());
    // Refused records are not counted, neither as in flight nor as failed.
    assert_eq!(producer.in_flight(), 0);
    let id = producer.begin_flush();
    let mut events = Vec::new();
    producer.poll(&mut events);
    assert!(
        matches!(events[..], [ProducerEvent::FlushDone { id: done, failed: 0 }] if done == id),
        "{events:?}"
    );
}
