//! What is taken, where it goes, and when it is sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use millstream_types::{HeadersView, encode_header};

use super::cluster::{Cluster, Fate};
use crate::OAuthToken;
use crate::driver::Wake;
use crate::error::{Error, code};
use crate::producer::{Partition, ProduceError, ProduceRecord, ProducerEvent, TopicHandle};
use crate::settings::{
    ConnectionSettings, Partitioner, ProducerSettings, SaslSettings, Secret, SecurityProtocol,
};

fn record<'a>(topic: TopicHandle, key: Option<&'a [u8]>, value: &'a [u8]) -> ProduceRecord<'a> {
    ProduceRecord {
        topic,
        partition: Partition::ByKey,
        key,
        value: Some(value),
        headers: HeadersView::default(),
        timestamp: None,
    }
}

fn refusal(result: Result<(), ProduceError>) -> i32 {
    match result {
        Err(ProduceError::Refused { error, .. }) => error.code,
        other => panic!("{other:?}"),
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_record_arrives_as_it_was() {
    // Before and after the partitions are known.
    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 1);
    let topic = cluster.topic();
    let mut headers = Vec::new();
    encode_header(&mut headers, "h", Some(b"x"));
    encode_header(&mut headers, "none", None);
    let headers = HeadersView::new(&headers, 2);
    for _ in 0..2 {
        for timestamp in [None, Some(0), Some(-5), Some(i64::MAX)] {
            let key = Some(&b"key"[..]);
            let record = ProduceRecord { headers, timestamp, ..record(topic, key, b"value") };
            cluster.producer.produce(&record).unwrap();
        }
        let tombstone = ProduceRecord { value: None, ..record(topic, Some(b""), b"") };
        cluster.producer.produce(&tombstone).unwrap();
        cluster.settle();
    }
    let written = &cluster.log(0).records;
    assert_eq!(written.len(), 10);
    for five in written.chunks(5) {
        let times: Vec<i64> = five[1..4].iter().map(|record| record.timestamp).collect();
        assert_eq!(times, [0, -5, i64::MAX]);
        assert!((1_000_000..1_010_000).contains(&five[0].timestamp), "{}", five[0].timestamp);
        for record in &five[..4] {
            assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
            assert_eq!(record.value.as_deref(), Some(&b"value"[..]));
            let headers = [("h".to_owned(), Some(b"x".to_vec())), ("none".to_owned(), None)];
            assert_eq!(record.headers, headers);
        }
        assert_eq!((five[4].key.as_deref(), five[4].value.as_deref()), (Some(&b""[..]), None));
    }
}

#[test]
fn a_full_queue_is_told_and_room_wakes() {
    let settings = ProducerSettings { queue_max_records: 10, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 1, 2);
    let count = Arc::new(Count::default());
    cluster.producer.set_waker(count.clone());
    for number in 0..10 {
        cluster.produce(0, number).unwrap();
    }
    assert_eq!(cluster.produce(0, 10), Err(ProduceError::QueueFull));
    let before = count.0.load(Ordering::SeqCst);
    cluster.settle();
    assert_eq!(count.0.load(Ordering::SeqCst), before + 1);
    cluster.produce(0, 10).unwrap();
    cluster.settle();
    // Nobody waits for room any more.
    assert_eq!(count.0.load(Ordering::SeqCst), before + 1);
    assert_eq!(cluster.log(0).records.len(), 11);
}

#[test]
fn bytes_are_bounded_also_those_that_wait_for_a_topic() {
    let settings = ProducerSettings { queue_max_bytes: 10_000, ..Default::default() };
    for known in [false, true] {
        let mut cluster = Cluster::new(&settings, 1, 3);
        let topic = cluster.topic();
        if known {
            cluster.produce(0, 0).unwrap();
            cluster.settle();
        }
        let value = [0; 1000];
        let mut taken = 0;
        while cluster.producer.produce(&record(topic, None, &value)).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 9, "known: {known}");
        cluster.settle();
        cluster.producer.produce(&record(topic, None, &value)).unwrap();
    }
}

#[test]
fn a_batch_leaves_when_it_is_full_or_has_lingered() {
    let settings = ProducerSettings {
        linger: Duration::from_millis(500),
        batch_bytes: 1000,
        batch_records: 8,
        ..Default::default()
    };
    let mut cluster = Cluster::new(&settings, 1, 4);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    // Full by number.
    for number in 1..10 {
        cluster.produce(0, number).unwrap();
    }
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(cluster.log(0).records.len(), 9);
    cluster.run_for(Duration::from_millis(300));
    assert_eq!(cluster.log(0).records.len(), 9);
    cluster.run_for(Duration::from_millis(200));
    assert_eq!((cluster.log(0).records.len(), cluster.log(0).batches), (10, 3));
    // Full by bytes.
    let topic = cluster.topic();
    for _ in 0..3 {
        cluster.producer.produce(&record(topic, None, &[0; 400])).unwrap();
    }
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(cluster.log(0).records.len(), 12);
    cluster.settle();
    assert_eq!(cluster.log(0).batches, 5);
}

#[test]
fn a_batch_grows_while_the_broker_is_busy() {
    let settings = ProducerSettings { linger: Duration::ZERO, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 1, 5);
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    cluster.rule = Box::new(|asked, _| match asked.key {
        ApiKey::Produce => Fate::Answered(100),
        _ => Fate::Answered(1),
    });
    for number in 1..500 {
        cluster.produce(0, number).unwrap();
        cluster.step();
    }
    cluster.settle();
    assert_eq!(cluster.log(0).numbers(), (0..500).collect::<Vec<_>>());
    assert_eq!(cluster.log(0).batches, 7, "one, five that fill the connection, and the rest");
    assert_eq!(cluster.most_out, 5);
}

#[test]
fn what_is_too_large_or_nowhere_is_refused() {
    let settings = ProducerSettings { message_max_bytes: 1000, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 2, 6);
    let topic = cluster.topic();
    assert_eq!(refusal(cluster.producer.produce(&record(topic, None, &[0; 1000]))), 10);
    assert_eq!(refusal(cluster.produce(-1, 0)), code::UNKNOWN_PARTITION);
    // Not known yet: it waits, and fails when it is.
    cluster.produce(7, 0).unwrap();
    cluster.produce(1, 1).unwrap();
    cluster.settle();
    let [ProducerEvent::DeliveryFailed(failure)] = &cluster.events[..] else {
        panic!("{:?}", cluster.events)
    };
    assert_eq!((failure.partition, failure.count), (Some(7), 1));
    assert_eq!(failure.error.code, code::UNKNOWN_PARTITION);
    assert_eq!(cluster.log(1).numbers(), [1]);
    assert_eq!(refusal(cluster.produce(2, 0)), code::UNKNOWN_PARTITION);
    for name in ["", ".", "..", "a/b", &"x".repeat(250)] {
        assert!(matches!(cluster.producer.topic(name), Err(Error::Kafka { .. })), "{name}");
    }
}

#[test]
fn records_of_an_unknown_topic_wait_until_it_is_there_or_their_time_is_up() {
    let timeout = Some(Duration::from_secs(10));
    let settings = ProducerSettings { delivery_timeout: timeout, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 1, 7);
    let other = cluster.producer.topic("later").unwrap();
    cluster.producer.produce(&record(other, Some(b"k"), b"v")).unwrap();
    let flush = cluster.producer.begin_flush();
    cluster.run_for(Duration::from_secs(9));
    assert_eq!(cluster.producer.in_flight(), 1);
    cluster.run_for(Duration::from_secs(2));
    let [ProducerEvent::DeliveryFailed(failure), ProducerEvent::FlushDone { id, failed: 1 }] =
        &cluster.events[..]
    else {
        panic!("{:?}", cluster.events)
    };
    assert_eq!((&*failure.topic, failure.partition), ("later", None));
    assert_eq!((failure.error.code, *id), (code::UNKNOWN_TOPIC, flush));
    // The next ones find it.
    cluster.producer.produce(&record(other, Some(b"k"), b"1")).unwrap();
    cluster.producer.produce(&record(other, Some(b"k"), b"2")).unwrap();
    cluster.run_for(Duration::from_secs(2));
    cluster.add_topic("later", 3);
    cluster.settle();
    let written: Vec<_> =
        cluster.topics[1].partitions.iter().flat_map(|p| &p.log.records).collect();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].value.as_deref(), Some(&b"1"[..]));
}

/// As librdkafka, which tells after `topic.metadata.propagation.max.ms`, and not from the time that
/// nobody could say.
#[test]
fn records_of_a_topic_that_brokers_deny_wait_for_its_propagation_only() {
    let settings = ProducerSettings { delivery_timeout: None, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 1, 7);
    let other = cluster.producer.topic("later").unwrap();
    cluster.down = true;
    cluster.producer.produce(&record(other, Some(b"k"), b"early")).unwrap();
    cluster.run_for(Duration::from_secs(40));
    assert_eq!(cluster.producer.in_flight(), 1, "brokers have not said anything");
    cluster.down = false;
    cluster.run_for(Duration::from_secs(25));
    cluster.producer.produce(&record(other, Some(b"k"), b"late")).unwrap();
    cluster.run_for(Duration::from_secs(25));
    assert_eq!(cluster.producer.in_flight(), 1, "the later one waits for as long");
    let failures: Vec<_> = cluster
        .events
        .iter()
        .filter_map(|event| match event {
            ProducerEvent::DeliveryFailed(failure) => Some((failure.error.code, failure.count)),
            _ => None,
        })
        .collect();
    assert_eq!(failures, [(code::UNKNOWN_TOPIC, 1)]);
    cluster.add_topic("later", 1);
    cluster.settle();
    assert_eq!(cluster.topics[1].partitions[0].log.records.len(), 1);
}

#[test]
fn keys_go_where_the_partitioner_says_and_the_rest_sticks() {
    let settings = ProducerSettings {
        partitioner: Partitioner::Murmur2Random,
        batch_records: 10,
        ..Default::default()
    };
    let mut cluster = Cluster::new(&settings, 12, 8);
    let topic = cluster.topic();
    for _ in 0..3 {
        cluster.producer.produce(&record(topic, Some(b"21"), b"v")).unwrap();
    }
    cluster.settle();
    // Kafka's murmur2 of "21" is -973932308.
    let expected = ((-973_932_308i32 & 0x7fff_ffff) % 12) as usize;
    assert_eq!(cluster.log(expected).records.len(), 3);
    for _ in 0..200 {
        cluster.producer.produce(&record(topic, None, b"v")).unwrap();
    }
    cluster.settle();
    let counts: Vec<usize> = (0..12).map(|p| cluster.log(p).records.len()).collect();
    let used = counts.iter().filter(|count| **count >= 10).count();
    assert!(used >= 6, "{counts:?}");
    let tens = (0..12).all(|p| p == expected || counts[p].is_multiple_of(10));
    assert!(tens, "keyless records fill a batch before they move on: {counts:?}");
}

#[test]
fn keyless_records_avoid_partitions_without_a_leader() {
    let settings = ProducerSettings { sticky_linger: Duration::ZERO, ..Default::default() };
    let mut cluster = Cluster::new(&settings, 6, 9);
    for partition in [0, 2, 5] {
        cluster.topics[0].partitions[partition].leader = -1;
    }
    let topic = cluster.topic();
    for _ in 0..100 {
        cluster.producer.produce(&record(topic, None, b"v")).unwrap();
    }
    cluster.settle();
    let used: BTreeSet<usize> = (0..6).filter(|p| !cluster.log(*p).records.is_empty()).collect();
    assert_eq!(used, BTreeSet::from([1, 3, 4]));
}

#[test]
fn the_waker_is_called_once_per_news() {
    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 10);
    let count = Arc::new(Count::default());
    cluster.producer.set_waker(count.clone());
    cluster.produce(0, 0).unwrap();
    cluster.settle();
    let before = count.0.load(Ordering::SeqCst);
    cluster.producer.begin_flush();
    cluster.step();
    assert_eq!(count.0.load(Ordering::SeqCst), before + 1);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(count.0.load(Ordering::SeqCst), before + 1);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    use crate::settings::Acks;
    let good = ProducerSettings::default();
    let id = Some("t".to_owned());
    for (settings, name) in [
        (ProducerSettings { acks: Acks::Leader, ..good.clone() }, "acks"),
        (
            ProducerSettings { in_flight_max: 6, ..good.clone() },
            "max.in.flight.requests.per.connection",
        ),
        (
            ProducerSettings { idempotent: false, transactional_id: id, ..good.clone() },
            "transactional.id",
        ),
        (ProducerSettings { retries: 0, ..good }, "retries"),
    ] {
        let made =
            crate::producer::Producer::start(&super::cluster::connection_settings(), &settings);
        match made.map(drop) {
            Err(Error::Setting(error)) => assert_eq!(error.name, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tokens_are_asked_for_and_taken_where_there_is_a_use_for_them() {
    let token = || OAuthToken {
        token: Secret::new("abc.def.ghi"),
        expires_at_ms: 10_000_000,
        principal: "p".into(),
        extensions: Default::default(),
    };
    let config = Secret::new("principal=p");
    let connection = ConnectionSettings {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl: Some(SaslSettings::OAuthBearer { config: config.clone() }),
        ..super::cluster::connection_settings()
    };
    let mut cluster = Cluster::with(&connection, &ProducerSettings::default(), 1, 11);
    cluster.topic();
    cluster.run_for(Duration::from_secs(1));
    let needed = ProducerEvent::OAuthTokenNeeded { config };
    assert!(cluster.events.contains(&needed), "{:?}", cluster.events);
    // A token that has not come yet is no refusal: a program that ends itself for one would never
    // start.
    assert_eq!(cluster.events, std::slice::from_ref(&needed));
    assert!(!format!("{needed:?}").contains("principal"));
    cluster.producer.set_oauth_token(Err("the server of the tokens is away")).unwrap();
    cluster.producer.set_oauth_token(Ok(token())).unwrap();

    let mut cluster = Cluster::new(&ProducerSettings::default(), 1, 11);
    let Err(Error::Kafka { error, .. }) = cluster.producer.set_oauth_token(Ok(token())) else {
        panic!("there is no use for it")
    };
    assert_eq!(error.code, code::INVALID_ARGUMENT);
}
