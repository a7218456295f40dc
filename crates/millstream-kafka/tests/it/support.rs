//! What the tests share: clients, unique names, waiting for events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Consumer, ConsumerConfig, ConsumerEvent, ConsumerSettings,
    NewTopic, OffsetReset, Partition, ProduceRecord, Producer, ProducerEvent, Properties,
    TopicHandle, admin_properties, consumer_properties, producer_properties,
};
use millstream_types::{Clock, HeadersView, Offset, SystemClock, TopicPartition};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The variable's value; without one the calling test is skipped, loudly.
pub(crate) fn env(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        eprintln!("SKIPPED: {name} is not set, so this test did NOT run");
    }
    value
}

/// The clients under test: those that `MILLSTREAM_TEST_CLIENT` names, `millstream` or `librdkafka`.
pub(crate) fn clients() -> &'static dyn ClientFactory {
    match std::env::var("MILLSTREAM_TEST_CLIENT").as_deref() {
        #[cfg(feature = "librdkafka")]
        Ok("librdkafka") => &millstream_kafka::Librdkafka,
        Ok("millstream") | Err(_) => &millstream_kafka::Native,
        Ok(other) => {
            panic!("MILLSTREAM_TEST_CLIENT={other}: there is no such client in this build")
        }
    }
}

/// Whether librdkafka is under test.
pub(crate) fn is_librdkafka() -> bool {
    std::env::var("MILLSTREAM_TEST_CLIENT").as_deref() == Ok("librdkafka")
}

/// The test broker, or a skipped test.
macro_rules! brokers {
    () => {
        match crate::support::env("MILLSTREAM_TEST_BROKERS") {
            Some(brokers) => brokers,
            None => return,
        }
    };
}
pub(crate) use brokers;

/// A name that no other test or run uses.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{number}", SystemClock.wall(), std::process::id())
}

pub(crate) fn connection(brokers: &str) -> Properties {
    Properties::from([("bootstrap.servers", brokers)])
}

pub(crate) fn admin(brokers: &str) -> Box<dyn Admin> {
    let properties = admin_properties(&Properties::new(), &connection(brokers));
    clients().admin(&ClientConfig::new(properties)).unwrap()
}

pub(crate) fn producer(brokers: &str, extra: Properties) -> Box<dyn Producer> {
    let properties = producer_properties(&extra, &connection(brokers));
    clients().producer(&ClientConfig::new(properties)).unwrap()
}

pub(crate) fn consumer_config(
    brokers: &str,
    group: Option<&str>,
    extra: &Properties,
) -> ConsumerConfig {
    let settings = ConsumerSettings {
        group_id: group.map(str::to_owned),
        auto_offset_reset: OffsetReset::Earliest,
        ..ConsumerSettings::default()
    };
    ConsumerConfig::new(ClientConfig::new(consumer_properties(
        extra,
        &connection(brokers),
        &settings,
    )))
}

pub(crate) fn consumer(brokers: &str, group: Option<&str>) -> Box<dyn Consumer> {
    clients().consumer(&consumer_config(brokers, group, &Properties::new())).unwrap()
}

/// A new topic, visible.
pub(crate) fn topic(brokers: &str, name: &str, partitions: i32) -> String {
    let name = unique(name);
    let mut admin = admin(brokers);
    // The tests' timestamps are older than what a broker keeps by default.
    let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
    // As many copies as the cluster makes: three where there are three brokers.
    let new = NewTopic {
        partitions: Some(partitions),
        replication_factor: None,
        config,
        name: name.clone(),
    };
    admin.create_topics(&[new], LIMIT).unwrap().remove(0).unwrap();
    admin.await_topics(&[&name], LIMIT).unwrap();
    name
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub(crate) fn record<'a>(
    topic: TopicHandle,
    partition: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> ProduceRecord<'a> {
    ProduceRecord {
        topic,
        partition: Partition::At(partition),
        key,
        value,
        headers: HeadersView::default(),
        timestamp: Some(1_700_000_000_000),
    }
}

/// Produces and waits until all is delivered.
pub(crate) fn produce_numbers(
    brokers: &str,
    topic: &str,
    partition: i32,
    numbers: std::ops::Range<u32>,
) {
    let mut producer = producer(brokers, Properties::new());
    let handle = producer.topic(topic).unwrap();
    for number in numbers {
        let text = number.to_string();
        producer.produce(&record(handle, partition, Some(b"k"), Some(text.as_bytes()))).unwrap();
    }
    flush(&mut *producer);
}

pub(crate) fn flush(producer: &mut dyn Producer) {
    let mut events = Vec::new();
    assert_eq!(producer.flush(LIMIT, &mut events), 0);
    assert_delivered(&events);
}

/// No record was given up.
pub(crate) fn assert_delivered(events: &[ProducerEvent]) {
    let failed = events.iter().any(|event| matches!(event, ProducerEvent::DeliveryFailed(_)));
    assert!(!failed, "{events:?}");
}

/// Calls `step` until it has a result; panics after [`LIMIT`], and as much longer as faults are
/// repeated more often than `make test` does: up to 24 of them in one wait.
pub(crate) fn until<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let end = SystemClock.monotonic() + LIMIT * repeats(1).div_ceil(24);
    while SystemClock.monotonic() < end {
        if let Some(found) = step() {
            return found;
        }
    }
    panic!("waited in vain for: {what}");
}

/// Polls until an event is what `wanted` takes; others are kept in `seen`.
pub(crate) fn wait_for<T>(
    consumer: &mut dyn Consumer,
    seen: &mut Vec<ConsumerEvent>,
    what: &str,
    mut wanted: impl FnMut(&ConsumerEvent) -> Option<T>,
) -> T {
    until(what, || {
        let from = seen.len();
        consumer.poll(Duration::from_millis(100), seen);
        seen[from..].iter().find_map(&mut wanted)
    })
}

/// Collects `count` values per partition as text.
#[derive(Default)]
pub(crate) struct Values(pub(crate) HashMap<TopicPartition, Vec<(Offset, String)>>);

impl Values {
    pub(crate) fn take(&mut self, events: &[ConsumerEvent]) {
        for event in events {
            if let ConsumerEvent::Records(batch) = event {
                assert!(!batch.is_empty());
                let values = self.0.entry(batch.topic_partition().clone()).or_default();
                for record in batch.iter() {
                    let text = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
                    values.push((record.offset(), text));
                }
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub(crate) fn texts(&self, partition: &TopicPartition) -> Vec<&str> {
        self.0.get(partition).into_iter().flatten().map(|(_, text)| text.as_str()).collect()
    }
}

/// Reads until `count` records came, answering nothing.
pub(crate) fn read(consumer: &mut dyn Consumer, count: usize) -> Values {
    let mut values = Values::default();
    until("records", || {
        let mut events = Vec::new();
        consumer.poll(Duration::from_millis(100), &mut events);
        values.take(&events);
        (values.count() >= count).then_some(())
    });
    values
}

/// How often a fault is repeated: `MILLSTREAM_TEST_REPEATS`, or so often.
pub(crate) fn repeats(few: u32) -> u32 {
    std::env::var("MILLSTREAM_TEST_REPEATS").map_or(few, |text| text.parse().unwrap())
}

/// For a test that makes no sense here, though nothing is missing.
pub(crate) fn not_applicable(why: &str) {
    eprintln!("NOT APPLICABLE: {why}");
}

pub(crate) fn shell(command: &str) {
    let done = std::process::Command::new("sh").arg("-c").arg(command).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Commits one offset and returns its answer; other events are dropped.
pub(crate) fn commit(
    consumer: &mut dyn Consumer,
    partition: &TopicPartition,
    offset: Offset,
) -> Result<(), millstream_kafka::KafkaError> {
    let asked = consumer.commit(&[(partition.clone(), offset)]).unwrap();
    wait_for(consumer, &mut Vec::new(), "the commit", |event| match event {
        ConsumerEvent::CommitDone { id, partitions } if *id == asked => {
            Some(partitions[0].2.clone())
        }
        _ => None,
    })
}
