//! The admin client of our own behind the trait, against the embedded broker. The same calls run
//! against librdkafka's in `it`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_kafka::{
    Admin, ClientConfig, Error, NativeAdmin, NewTopic, OffsetSpec, Properties, TOPIC_NAME_MAX,
    Watermarks, admin_properties, code,
};
use millstream_types::{SystemClock, TopicPartition};

const LIMIT: Duration = Duration::from_secs(60);

fn start() -> (tempfile::TempDir, BrokerHandle, Box<dyn Admin>) {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerHandle::start(BrokerConfig::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let connection = Properties::from([("bootstrap.servers", &*broker.address().to_string())]);
    let properties = admin_properties(&Properties::new(), &connection);
    let admin = NativeAdmin::new(&ClientConfig::new(properties)).unwrap();
    (dir, broker, Box::new(admin))
}

/// T-10 to T-14, A-17.
#[test]
fn topics_live_and_die() {
    let (_dir, _broker, mut admin) = start();
    let missing = admin.describe_topics(&["a"], LIMIT).unwrap().remove(0).unwrap_err();
    assert!(missing.is_topic_missing(), "{missing}");
    assert!(admin.list_topics(LIMIT).unwrap().is_empty());
    let long = "x".repeat(TOPIC_NAME_MAX + 1);
    let config = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    let topics = [
        NewTopic::new("no/slash"),
        NewTopic::new(&long),
        NewTopic { partitions: Some(3), config, ..NewTopic::new("a") },
        NewTopic { replication_factor: Some(9), ..NewTopic::new("replicas") },
        NewTopic { replication_factor: Some(70_000), ..NewTopic::new("more") },
        NewTopic { partitions: None, replication_factor: None, ..NewTopic::new("b") },
    ];
    let results = admin.create_topics(&topics, LIMIT).unwrap();
    let codes: Vec<_> = results.iter().map(|result| result.as_ref().err()).collect();
    assert_eq!(codes[0].and_then(Error::code), Some(code::INVALID_TOPIC));
    assert_eq!(codes[1], Some(&Error::TopicNameTooLong { length: TOPIC_NAME_MAX + 1 }));
    assert_eq!((codes[2], codes[5]), (None, None));
    assert_eq!(codes[3].and_then(Error::code), Some(code::INVALID_REPLICATION_FACTOR));
    assert_eq!(codes[4].and_then(Error::code), Some(code::INVALID_REPLICATION_FACTOR));
    admin.await_topics(&["a", "b"], LIMIT).unwrap();
    let late = admin.await_topics(&["never"], Duration::from_millis(300)).unwrap_err();
    assert!(matches!(late, Error::TimedOut { .. }), "{late}");
    let again = admin.create_topics(&topics[2..3], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(again.code(), Some(code::TOPIC_ALREADY_EXISTS));

    let found = admin.describe_topics(&["a"], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!((found.partitions.len(), found.replication_factor()), (3, 1));
    assert!(admin.list_topics(LIMIT).unwrap().contains(&found));
    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), None),
        ("cleanup.policy".to_owned(), Some("compact".to_owned())),
    ]);
    admin.alter_configs("a", &changes, LIMIT).unwrap();
    let configs = admin.describe_configs(&["a"], LIMIT).unwrap().remove(0).unwrap();
    assert!(configs["retention.ms"].is_default);
    assert_eq!(configs["cleanup.policy"].value.as_deref(), Some("compact"));
    assert!(!configs["cleanup.policy"].is_default);
    admin.create_partitions("a", 4, LIMIT).unwrap();
    assert!(admin.create_partitions("a", 2, LIMIT).is_err());
    admin.delete_topics(&["a"], LIMIT).unwrap().remove(0).unwrap();
    let gone = admin.delete_topics(&["a"], LIMIT).unwrap().remove(0).unwrap_err();
    assert!(gone.is_topic_missing(), "{gone}");
}

#[test]
fn offsets_and_groups() {
    let (_dir, broker, mut admin) = start();
    let cluster = admin.cluster(LIMIT).unwrap();
    assert_eq!(cluster.brokers[0].port, broker.address().port());
    admin.create_topics(&[NewTopic::new("a")], LIMIT).unwrap().remove(0).unwrap();
    let first = TopicPartition::new("a", 0);
    let marks = admin.watermarks(std::slice::from_ref(&first), LIMIT);
    assert_eq!(marks, Ok(vec![Watermarks { low: 0, high: 0 }]));
    let asked = [
        (first.clone(), OffsetSpec::AtOrAfter(0)),
        (TopicPartition::new("a", 7), OffsetSpec::Latest),
    ];
    let found = admin.list_offsets(&asked, LIMIT).unwrap();
    assert_eq!(found[0], Ok(None));
    assert!(found[1].as_ref().unwrap_err().is_topic_missing());
    let beyond = admin.delete_records(&[(first.clone(), 99)], LIMIT).unwrap();
    assert_eq!(beyond[0].as_ref().unwrap_err().code(), Some(code::OFFSET_OUT_OF_RANGE));

    admin.alter_group_offsets("g", &[(first.clone(), 7)], LIMIT).unwrap();
    assert_eq!(admin.group_offsets("g", LIMIT), Ok(vec![(first.clone(), 7)]));
    assert_eq!(admin.list_groups(LIMIT).unwrap()[0].group, "g");
    let described = admin.describe_groups(&["g"], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!((described.state.as_str(), described.members.len()), ("Empty", 0));
    assert_eq!(described.coordinator, Some(cluster.brokers[0].id));
    admin.delete_group_offsets("g", &[first], LIMIT).unwrap();
    assert_eq!(admin.group_offsets("g", LIMIT), Ok(vec![]));
}

#[test]
fn nobody_answers() {
    let connection = Properties::from([("bootstrap.servers", "127.0.0.1:1")]);
    let mut admin = NativeAdmin::new(&ClientConfig::new(connection)).unwrap();
    let late = admin.list_topics(Duration::from_millis(300)).unwrap_err();
    assert!(late.to_string().contains("check the broker address"), "{late}");
}
