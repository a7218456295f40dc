//! The admin client on real sockets, against the embedded broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_client::Error;
use millstream_client::admin::{
    Admin, ConfigChange, ConfigResource, ConfigSource, NewTopic, OffsetSpec, OpenTransaction,
};
use millstream_client::settings::ConnectionSettings;
use millstream_types::{SystemClock, TopicPartition};

const LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    broker: BrokerHandle,
    _dir: tempfile::TempDir,
}

impl Cluster {
    fn start() -> (Self, Admin) {
        let dir = tempfile::tempdir().unwrap();
        let config = BrokerConfig::new(dir.path());
        let broker = BrokerHandle::start(config, Arc::new(SystemClock)).unwrap();
        let admin = admin_of(broker.address().port());
        (Self { broker, _dir: dir }, admin)
    }
}

fn admin_of(port: u16) -> Admin {
    let settings = ConnectionSettings {
        bootstrap: vec![("127.0.0.1".into(), port)],
        ..ConnectionSettings::default()
    };
    Admin::start(&settings).unwrap()
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.into(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        ..NewTopic::default()
    }
}

fn code(error: &Error) -> i32 {
    match error {
        Error::Kafka { error, .. } => error.code,
        other => panic!("no error of Kafka: {other}"),
    }
}

#[test]
fn topics_live_and_die() {
    let (cluster, mut admin) = Cluster::start();
    let found = admin.cluster(LIMIT).unwrap();
    assert_eq!(found.brokers.len(), 1);
    assert_eq!(found.brokers[0].port, cluster.broker.address().port());
    assert_eq!(found.controller, Some(found.brokers[0].id));
    assert!(!found.id.is_empty());

    let missing = admin.describe_topics(&["a"], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(code(&missing), 3);
    assert_eq!(admin.check_topics(&[topic("a", 3)], LIMIT).unwrap(), [Ok(())]);
    assert!(admin.list_topics(LIMIT).unwrap().is_empty(), "checking and asking create nothing");

    let mut new = topic("a", 3);
    new.config.insert("retention.ms".into(), "-1".into());
    let created = admin.create_topics(&[new, topic("no/slash", 1)], LIMIT).unwrap();
    assert_eq!(created[0], Ok(()));
    assert_eq!(code(created[1].as_ref().unwrap_err()), 17);
    admin.await_topics(&["a"], LIMIT).unwrap();
    let found = admin.describe_topics(&["a"], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!(found.partitions.len(), 3);
    assert!(!found.id.is_nil() && !found.internal);
    assert_eq!(admin.list_topics(LIMIT).unwrap(), [found]);

    let resource = ConfigResource::Topic("a".into());
    let resources = std::slice::from_ref(&resource);
    let configs = admin.describe_configs(resources, LIMIT).unwrap().remove(0).unwrap();
    assert_eq!(configs["retention.ms"].value.as_deref(), Some("-1"));
    assert_eq!(configs["retention.ms"].source, ConfigSource::Own);
    assert_eq!(configs["retention.bytes"].source, ConfigSource::Default);
    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), ConfigChange::Reset),
        ("cleanup.policy".to_owned(), ConfigChange::Append("compact".into())),
    ]);
    assert_eq!(admin.alter_configs(&[(resource.clone(), changes)], LIMIT).unwrap(), [Ok(())]);
    let configs = admin.describe_configs(resources, LIMIT).unwrap().remove(0).unwrap();
    assert_eq!(configs["retention.ms"].source, ConfigSource::Default);
    assert_eq!(configs["cleanup.policy"].value.as_deref(), Some("delete,compact"));

    admin.create_partitions("a", 5, LIMIT).unwrap();
    let found = admin.describe_topics(&["a"], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!(found.partitions.len(), 5);
    assert_eq!(code(&admin.create_partitions("a", 2, LIMIT).unwrap_err()), 37);

    let deleted = admin.delete_topics(&["never", "a"], LIMIT).unwrap();
    assert_eq!(code(deleted[0].as_ref().unwrap_err()), 3);
    assert_eq!(deleted[1], Ok(()));
    assert!(admin.list_topics(LIMIT).unwrap().is_empty());
}

#[test]
fn offsets_of_partitions_and_groups() {
    let (_cluster, mut admin) = Cluster::start();
    admin.create_topics(&[topic("a", 2)], LIMIT).unwrap().remove(0).unwrap();
    let asked = [
        (tp("a", 1), OffsetSpec::Earliest),
        (tp("a", 0), OffsetSpec::Latest),
        (tp("a", 7), OffsetSpec::Latest),
        (tp("a", 0), OffsetSpec::AtOrAfter(0)),
        (tp("a", 0), OffsetSpec::MaxTimestamp),
    ];
    let found = admin.list_offsets(&asked, true, LIMIT).unwrap();
    let offset = |index: usize| found[index].as_ref().unwrap().map(|found| found.offset);
    assert_eq!((offset(0), offset(1), offset(3), offset(4)), (Some(0), Some(0), None, None));
    assert_eq!(code(found[2].as_ref().unwrap_err()), 3);
    let deleted = admin.delete_records(&[(tp("a", 0), -1), (tp("a", 1), 9)], LIMIT).unwrap();
    assert_eq!(deleted[0], Ok(0));
    assert_eq!(code(deleted[1].as_ref().unwrap_err()), 1);

    assert_eq!(admin.group_offsets("g", LIMIT), Ok(vec![]));
    let offsets = vec![(tp("a", 0), 7), (tp("a", 1), 8)];
    admin.alter_group_offsets("g", &offsets, LIMIT).unwrap();
    assert_eq!(admin.group_offsets("g", LIMIT), Ok(offsets));
    admin.delete_group_offsets("g", &[tp("a", 0)], LIMIT).unwrap();
    assert_eq!(admin.group_offsets("g", LIMIT), Ok(vec![(tp("a", 1), 8)]));
    let listed = admin.list_groups(LIMIT).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].group.as_str(), listed[0].state.as_str()), ("g", "Empty"));
    let described = admin.describe_groups(&["none", "g"], LIMIT).unwrap();
    let states = described.iter().map(|group| group.as_ref().unwrap().state.as_str());
    assert_eq!(states.collect::<Vec<_>>(), ["Dead", "Empty"]);
    let deleted = admin.delete_groups(&["none", "g"], LIMIT).unwrap();
    assert_eq!(code(deleted[0].as_ref().unwrap_err()), 69);
    assert_eq!(deleted[1], Ok(()));
    assert!(admin.list_groups(LIMIT).unwrap().is_empty());
}

#[test]
fn transactions_and_folders() {
    let (_cluster, mut admin) = Cluster::start();
    admin.create_topics(&[topic("a", 1)], LIMIT).unwrap().remove(0).unwrap();
    let fenced = admin.fence_producers(&["t"], LIMIT).unwrap().remove(0).unwrap();
    let again = admin.fence_producers(&["t"], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!(again.producer_id, fenced.producer_id);
    assert_eq!(again.producer_epoch, fenced.producer_epoch + 1);
    let listed = admin.list_transactions(LIMIT).unwrap();
    assert_eq!((listed.len(), listed[0].transactional_id.as_str()), (1, "t"));
    assert_eq!(listed[0].producer_id, fenced.producer_id);
    let described = admin.describe_transactions(&["none", "t"], LIMIT).unwrap();
    assert_eq!(code(described[0].as_ref().unwrap_err()), 105);
    let described = described[1].as_ref().unwrap();
    assert_eq!((described.state.as_str(), described.started), ("Empty", None));
    assert_eq!(described.producer_epoch, again.producer_epoch);

    assert_eq!(admin.describe_producers(&[tp("a", 0)], LIMIT).unwrap(), [Ok(vec![])]);
    let open = OpenTransaction {
        partition: tp("a", 0),
        producer_id: fenced.producer_id,
        producer_epoch: again.producer_epoch,
        coordinator_epoch: 0,
    };
    admin.abort_transaction(&open, LIMIT).unwrap();
    let end = admin.list_offsets(&[(tp("a", 0), OffsetSpec::Latest)], false, LIMIT).unwrap();
    assert_eq!(end[0].as_ref().unwrap().map(|end| end.offset), Some(1), "a marker is a record");

    let id = admin.cluster(LIMIT).unwrap().brokers[0].id;
    let dirs = admin.describe_log_dirs(&[id, 99], LIMIT).unwrap();
    let replicas = &dirs[0].as_ref().unwrap()[0].replicas;
    assert!(replicas.iter().any(|replica| replica.partition == tp("a", 0)));
    assert_eq!(code(dirs[1].as_ref().unwrap_err()), 8);
}

/// Nobody listens: an error in time, with what the system said.
#[test]
fn nobody_answers() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let mut admin = admin_of(port);
    let late = admin.list_topics(Duration::from_millis(500)).unwrap_err().to_string();
    assert!(late.starts_with("list topics (last: "), "{late}");
    assert!(late.contains("check the broker address"), "{late}");
}

/// A broker that comes back is found again.
#[test]
fn a_broker_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let start = |port| {
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let config = BrokerConfig::new(dir.path()).listen(listen);
        BrokerHandle::start(config, Arc::new(SystemClock)).unwrap()
    };
    let broker = start(0);
    let port = broker.address().port();
    let mut admin = admin_of(port);
    admin.create_topics(&[topic("a", 1)], LIMIT).unwrap().remove(0).unwrap();
    drop(broker);
    assert!(admin.list_topics(Duration::from_millis(300)).is_err());
    let _broker = start(port);
    assert_eq!(admin.list_topics(LIMIT).unwrap().len(), 1);
}
