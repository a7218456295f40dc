//! A broker that has no later versions of requests than one of Kafka 2.4.

use std::time::Duration;

use millstream_kafka::{
    Assignor, ClientConfig, ConsumerConfig, ConsumerEvent, ConsumerSettings, NewTopic, OffsetReset,
    PartitionStart, ProduceRecord, Properties, StartOffset, consumer_properties,
};
use millstream_types::{HeadersView, encode_header};

use crate::lane::{KAFKA_2_4, Lane, lane};
use crate::support::*;

fn old(lane: &Lane) -> String {
    lane.pretend(KAFKA_2_4);
    lane.brokers()
}

/// The client was told of the old versions, and asked for no others.
fn assert_pretended(lane: &Lane) {
    assert!(lane.rewritten() >= 1, "no answer to ApiVersions was changed");
    assert_eq!(lane.refused(), Vec::<String>::new());
}

#[test]
fn records_on_kafka_2_4() {
    let lane = lane!();
    let brokers = old(&lane);
    let name = topic(&brokers, "old", 1);
    let compressions = ["none", "gzip", "snappy", "lz4", "zstd"];
    let mut headers = Vec::new();
    encode_header(&mut headers, "a", Some(b"1"));
    for compression in compressions {
        let mut producer =
            producer(&brokers, Properties::from([("compression.type", compression)]));
        let handle = producer.topic(&name).unwrap();
        let plain = record(handle, 0, Some(b"k"), Some(compression.as_bytes()));
        let headers = HeadersView::new(&headers, 1);
        producer.produce(&ProduceRecord { headers, ..plain }).unwrap();
        flush(&mut *producer);
    }
    let mut consumer = consumer(&brokers, None);
    consumer.assign(&[PartitionStart::new(tp(&name, 0), StartOffset::Beginning)]).unwrap();
    let mut events = Vec::new();
    wait_for(&mut *consumer, &mut events, "the end", |event| {
        matches!(event, ConsumerEvent::PartitionEnd(_, 5)).then_some(())
    });
    let mut values = Values::default();
    values.take(&events);
    assert_eq!(values.texts(&tp(&name, 0)), compressions);
    for event in &events {
        if let ConsumerEvent::Records(batch) = event {
            assert!(
                batch.iter().all(|record| record.headers().iter().eq([("a", Some(&b"1"[..]))]))
            );
        }
    }
    let times = [(tp(&name, 0), 0), (tp(&name, 0), 1_700_000_000_001)];
    assert_eq!(consumer.offsets_for_times(&times[..1], LIMIT), Ok(vec![Some(0)]));
    assert_eq!(consumer.offsets_for_times(&times[1..], LIMIT), Ok(vec![None]));
    assert_pretended(&lane);
}

#[test]
fn groups_on_kafka_2_4() {
    let lane = lane!();
    let brokers = old(&lane);
    let name = topic(&brokers, "old-group", 2);
    for assignor in [Assignor::Range, Assignor::CooperativeSticky] {
        let group = unique("old-group");
        let settings = ConsumerSettings {
            group_id: Some(group.clone()),
            auto_offset_reset: OffsetReset::Earliest,
            assignor,
            ..ConsumerSettings::default()
        };
        let member = || {
            let extra = Properties::from([("heartbeat.interval.ms", "200")]);
            let properties = consumer_properties(&extra, &connection(&brokers), &settings);
            let config = ConsumerConfig::new(ClientConfig::new(properties));
            let mut consumer = clients().consumer(&config).unwrap();
            consumer.subscribe(std::slice::from_ref(&name)).unwrap();
            consumer
        };
        let mut members = [member(), member()];
        until("a partition for each", || {
            for consumer in &mut members {
                let mut events = Vec::new();
                consumer.poll(Duration::from_millis(20), &mut events);
                for event in events {
                    match event {
                        ConsumerEvent::Assigned(_) => consumer.ack_assigned(&[]).unwrap(),
                        ConsumerEvent::Revoked(_) => consumer.ack_revoked().unwrap(),
                        _ => {}
                    }
                }
            }
            members.iter().all(|consumer| consumer.assignment().len() == 1).then_some(())
        });
        let [one, two] = &mut members;
        let own = one.assignment();
        assert_eq!(commit(&mut **one, &own[0], 3), Ok(()));
        assert_eq!(one.committed(&own, LIMIT), Ok(vec![Some(3)]));
        let described = admin(&brokers).describe_groups(&[&group], LIMIT).unwrap().remove(0);
        assert_eq!(described.unwrap().members.len(), 2);
        assert!(two.close(LIMIT));
        assert!(one.close(LIMIT));
    }
    assert_pretended(&lane);
}

#[test]
fn administration_on_kafka_2_4() {
    let lane = lane!();
    let brokers = old(&lane);
    let name = unique("old-admin");
    let mut admin = admin(&brokers);
    assert!(!admin.cluster(LIMIT).unwrap().brokers.is_empty());
    // A copy on each broker is what 2.4 must be told by number.
    let new = NewTopic { partitions: Some(1), replication_factor: Some(1), ..NewTopic::new(&name) };
    admin.create_topics(&[new], LIMIT).unwrap().remove(0).unwrap();
    admin.await_topics(&[&name], LIMIT).unwrap();
    admin.create_partitions(&name, 2, LIMIT).unwrap();
    until("the second partition", || {
        let found = admin.describe_topics(&[&name], LIMIT).unwrap().remove(0).ok()?;
        (found.partitions.len() == 2).then_some(())
    });
    let changes = [("retention.ms".to_owned(), Some("12345".to_owned()))].into();
    admin.alter_configs(&name, &changes, LIMIT).unwrap();
    // The broker that is asked may hear of it later than the one that has done it.
    until("the new setting", || {
        let configs = admin.describe_configs(&[&name], LIMIT).unwrap().remove(0).unwrap();
        (configs["retention.ms"].value.as_deref() == Some("12345")).then_some(())
    });
    produce_numbers(&brokers, &name, 0, 0..5);
    admin.delete_records(&[(tp(&name, 0), 2)], LIMIT).unwrap().remove(0).unwrap();
    let found = admin.watermarks(&[tp(&name, 0)], LIMIT).unwrap();
    assert_eq!((found[0].low, found[0].high), (2, 5));
    let group = unique("old-admin-group");
    admin.alter_group_offsets(&group, &[(tp(&name, 0), 4)], LIMIT).unwrap();
    assert_eq!(admin.group_offsets(&group, LIMIT), Ok(vec![(tp(&name, 0), 4)]));
    assert!(admin.list_groups(LIMIT).unwrap().iter().any(|listed| listed.group == group));
    admin.delete_groups(&[&group], LIMIT).unwrap().remove(0).unwrap();
    admin.delete_topics(&[&name], LIMIT).unwrap().remove(0).unwrap();
    assert_pretended(&lane);
}
