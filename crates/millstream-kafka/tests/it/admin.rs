//! The admin client: what it does and how it fails.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_kafka::{Error, NewTopic, OffsetSpec, TOPIC_NAME_MAX, Watermarks, code};

use crate::support::*;

/// T-10, T-13, T-14.
#[test]
fn topics_live_and_die() {
    let brokers = brokers!();
    let mut admin = admin(&brokers);
    let name = unique("life");
    let missing = admin.describe_topics(&[&name], LIMIT).unwrap().remove(0).unwrap_err();
    assert!(missing.is_topic_missing(), "{missing}");
    assert!(missing.to_string().contains(&name));
    // Asking did not create it.
    assert!(!admin.list_topics(LIMIT).unwrap().iter().any(|topic| topic.name == name));

    let config = BTreeMap::from([
        ("retention.ms".to_owned(), "-1".to_owned()),
        ("cleanup.policy".to_owned(), "compact".to_owned()),
    ]);
    let new = NewTopic { partitions: Some(3), config, ..NewTopic::new(&name) };
    admin.create_topics(std::slice::from_ref(&new), LIMIT).unwrap().remove(0).unwrap();
    admin.await_topics(&[&name], LIMIT).unwrap();
    let again = admin.create_topics(&[new], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(again.code(), Some(code::TOPIC_ALREADY_EXISTS), "{again}");

    let found = admin.describe_topics(&[&name], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!((found.partitions.len(), found.replication_factor()), (3, 1));
    assert!(found.partitions.iter().all(|p| p.leader.is_some() && p.in_sync.len() == 1));
    assert!(!found.internal);
    let listed = admin.list_topics(LIMIT).unwrap();
    assert!(listed.contains(&found));

    let configs = admin.describe_configs(&[&name], LIMIT).unwrap().remove(0).unwrap();
    let value = |name: &str| configs[name].value.as_deref();
    assert_eq!(value("retention.ms"), Some("-1"));
    assert_eq!(value("cleanup.policy"), Some("compact"));
    assert!(!configs["retention.ms"].is_default);
    assert!(configs["retention.bytes"].is_default);
    assert_eq!(value("retention.bytes"), Some("-1"));
    // The broker's own setting: with several of them, all but one (`tools/kafka`).
    let in_sync = (admin.cluster(LIMIT).unwrap().brokers.len() - 1).max(1).to_string();
    assert_eq!(value("min.insync.replicas"), Some(in_sync.as_str()));

    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), Some("60000".to_owned())),
        ("cleanup.policy".to_owned(), None),
    ]);
    admin.alter_configs(&name, &changes, LIMIT).unwrap();
    until("the new settings", || {
        let configs = admin.describe_configs(&[&name], LIMIT).unwrap().remove(0).unwrap();
        let value = |name: &str| configs[name].value.as_deref();
        (value("retention.ms") == Some("60000") && value("cleanup.policy") == Some("delete"))
            .then_some(())
    });

    admin.create_partitions(&name, 5, LIMIT).unwrap();
    until("five partitions", || {
        let found = admin.describe_topics(&[&name], LIMIT).unwrap().remove(0).unwrap();
        (found.partitions.len() == 5).then_some(())
    });
    assert!(admin.create_partitions(&name, 2, LIMIT).is_err());

    admin.delete_topics(&[&name], LIMIT).unwrap().remove(0).unwrap();
    until("gone", || {
        let found = admin.describe_topics(&[&name], LIMIT).unwrap().remove(0);
        found.is_err_and(|error| error.is_topic_missing()).then_some(())
    });
    let again = admin.delete_topics(&[&name], LIMIT).unwrap().remove(0).unwrap_err();
    assert!(again.is_topic_missing(), "{again}");
}

/// T-12: what the broker refuses, refused per topic; the others are created.
#[test]
fn bad_topics_are_refused_one_by_one() {
    let brokers = brokers!();
    let mut admin = admin(&brokers);
    let good = unique("good");
    let long = "x".repeat(TOPIC_NAME_MAX + 1);
    let kafka_long = "x".repeat(250);
    let topics = [
        NewTopic::new("no/slash"),
        NewTopic::new(&long),
        NewTopic::new(&good),
        NewTopic::new(&kafka_long),
        NewTopic { replication_factor: Some(9), ..NewTopic::new(unique("replicas")) },
        NewTopic {
            config: BTreeMap::from([("retention.ms".to_owned(), "soon".to_owned())]),
            ..NewTopic::new(unique("config"))
        },
    ];
    let results = admin.create_topics(&topics, LIMIT).unwrap();
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().err()).collect();
    assert_eq!(codes[0].and_then(Error::code), Some(code::INVALID_TOPIC));
    assert_eq!(codes[1], Some(&Error::TopicNameTooLong { length: TOPIC_NAME_MAX + 1 }));
    assert_eq!(codes[2], None);
    assert_eq!(codes[3].and_then(Error::code), Some(code::INVALID_TOPIC));
    assert_eq!(codes[4].and_then(Error::code), Some(code::INVALID_REPLICATION_FACTOR));
    assert!(codes[5].is_some());
    assert!(codes[0].unwrap().to_string().contains("no/slash"));
    admin.await_topics(&[&good], LIMIT).unwrap();
    // what does not appear is a time-out.
    let error = admin.await_topics(&[&unique("never")], Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[test]
fn records_offsets_and_watermarks() {
    let brokers = brokers!();
    let name = topic(&brokers, "records", 2);
    produce_numbers(&brokers, &name, 0, 0..10);
    let mut admin = admin(&brokers);
    let (first, second) = (tp(&name, 0), tp(&name, 1));
    assert_eq!(
        admin.watermarks(&[first.clone(), second.clone()], LIMIT),
        Ok(vec![Watermarks { low: 0, high: 10 }, Watermarks { low: 0, high: 0 }])
    );
    let low = admin.delete_records(&[(first.clone(), 4)], LIMIT).unwrap();
    assert_eq!(low, [Ok(4)]);
    assert_eq!(
        admin.watermarks(std::slice::from_ref(&first), LIMIT),
        Ok(vec![Watermarks { low: 4, high: 10 }])
    );
    let spec = [
        (first.clone(), OffsetSpec::AtOrAfter(1_700_000_000_000)),
        (second.clone(), OffsetSpec::AtOrAfter(0)),
        (tp(&name, 7), OffsetSpec::Latest),
    ];
    let found = admin.list_offsets(&spec, LIMIT).unwrap();
    assert_eq!(found[..2], [Ok(Some(4)), Ok(None)]);
    assert!(found[2].is_err());
    let beyond = admin.delete_records(&[(first, 99)], LIMIT).unwrap();
    assert_eq!(beyond[0].as_ref().unwrap_err().code(), Some(code::OFFSET_OUT_OF_RANGE));
}

#[test]
fn groups_and_their_offsets() {
    let brokers = brokers!();
    let name = topic(&brokers, "groups", 2);
    let group = unique("groups-group");
    let mut admin = admin(&brokers);
    let mut consumer = consumer(&brokers, Some(&group));
    consumer.subscribe(std::slice::from_ref(&name)).unwrap();
    let mut events = Vec::new();
    wait_for(&mut *consumer, &mut events, "Assigned", |event| {
        matches!(event, millstream_kafka::ConsumerEvent::Assigned(_)).then_some(())
    });
    consumer.ack_assigned(&[]).unwrap();
    let described = until("a stable group", || {
        consumer.poll(Duration::from_millis(50), &mut events);
        let found = admin.describe_groups(&[&group], LIMIT).unwrap().remove(0).unwrap();
        (found.state == "Stable").then_some(found)
    });
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.assignor, "range");
    assert_eq!(described.members[0].partitions, [tp(&name, 0), tp(&name, 1)]);
    assert_eq!(Some(&described.members[0].member_id), consumer.member_id().as_ref());
    let listed = admin.list_groups(LIMIT).unwrap();
    assert!(listed.iter().any(|listing| listing.group == group), "{listed:?}");

    let id = consumer.commit(&[(tp(&name, 1), 0)]).unwrap();
    wait_for(&mut *consumer, &mut events, "the commit", |event| match event {
        millstream_kafka::ConsumerEvent::CommitDone { id: done, .. } => (*done == id).then_some(()),
        _ => None,
    });
    assert_eq!(admin.group_offsets(&group, LIMIT), Ok(vec![(tp(&name, 1), 0)]));
    // A group with members is not to be touched.
    assert!(admin.delete_groups(&[&group], LIMIT).unwrap()[0].is_err());
    assert!(admin.alter_group_offsets(&group, &[(tp(&name, 0), 7)], LIMIT).is_err());
    assert!(consumer.close(LIMIT));

    admin.alter_group_offsets(&group, &[(tp(&name, 0), 7)], LIMIT).unwrap();
    let offsets = vec![(tp(&name, 0), 7), (tp(&name, 1), 0)];
    assert_eq!(admin.group_offsets(&group, LIMIT), Ok(offsets));
    admin.delete_group_offsets(&group, &[tp(&name, 1)], LIMIT).unwrap();
    assert_eq!(admin.group_offsets(&group, LIMIT), Ok(vec![(tp(&name, 0), 7)]));
    admin.delete_groups(&[&group], LIMIT).unwrap().remove(0).unwrap();
    assert!(!admin.list_groups(LIMIT).unwrap().iter().any(|listing| listing.group == group));
}

#[test]
fn the_cluster() {
    let brokers = brokers!();
    let cluster = admin(&brokers).cluster(LIMIT).unwrap();
    assert!(!cluster.id.is_empty());
    assert!(!cluster.brokers.is_empty());
    assert!(cluster.brokers.iter().any(|broker| brokers.contains(&broker.port.to_string())));
}

/// No broker: an error in time that says what to check.
#[test]
fn nobody_answers() {
    let mut admin = admin("127.0.0.1:1");
    let limit = Duration::from_millis(500);
    for error in
        [admin.list_topics(limit).unwrap_err(), admin.describe_topics(&["x"], limit).unwrap_err()]
    {
        assert!(error.to_string().contains("check the broker address"), "{error}");
    }
}
