//! A broker, names that nobody else uses, and the means to write and read topics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream::{Application, ApplicationBuilder, RunLimits, RunReport};
use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Clients, ConsumerConfig, ConsumerEvent, ConsumerSettings,
    NewTopic, OffsetReset, Partition, PartitionStart, ProduceRecord, Properties, StartOffset,
    TopicDescription, admin_properties, consumer_properties, producer_properties,
};
use millstream_types::{Clock, HeadersView, SystemClock, TopicPartition};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Which broker a test runs on.
pub(crate) enum Place {
    /// One of its own, in this process.
    Embedded,
    /// The cluster at that address, which others use as well.
    Given(String),
}

impl Place {
    /// The cluster that `MILLSTREAM_TEST_BROKERS` names; without one the calling test is skipped,
    /// loudly.
    pub(crate) fn given() -> Option<Self> {
        let brokers = std::env::var("MILLSTREAM_TEST_BROKERS").ok().filter(|name| !name.is_empty());
        if brokers.is_none() {
            eprintln!("SKIPPED: MILLSTREAM_TEST_BROKERS is not set, so this test did NOT run");
        }
        brokers.map(Self::Given)
    }
}

/// Makes two tests of each function that takes a [`Place`].
macro_rules! on_both_brokers {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[test]
                fn $test() {
                    super::$test(&crate::broker::Place::Embedded);
                }
            )+
        }
        mod given {
            $(
                #[test]
                fn $test() {
                    let Some(place) = crate::broker::Place::given() else { return };
                    super::$test(&place);
                }
            )+
        }
    };
}
pub(crate) use on_both_brokers;

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) timestamp: i64,
}

/// A broker, and a suffix by which topics and groups are this test's own.
pub(crate) struct Broker {
    pub(crate) address: String,
    suffix: String,
    _process: Option<BrokerHandle>,
    pub(crate) dir: tempfile::TempDir,
}

impl Broker {
    pub(crate) fn start(place: &Place) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (address, process) = match place {
            Place::Given(address) => (address.clone(), None),
            Place::Embedded => {
                let config = BrokerConfig::new(dir.path().join("broker"))
                    .listen("127.0.0.1:0".parse().expect("an address"))
                    .setting("group.initial.rebalance.delay.ms", "0");
                let broker = BrokerHandle::start(config, Arc::new(SystemClock)).expect("a broker");
                (broker.address().to_string(), Some(broker))
            }
        };
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let suffix = format!("{}-{}-{number}", SystemClock.wall(), std::process::id());
        Self { address, suffix, _process: process, dir }
    }

    /// That name, as this test's own.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }

    /// Settings of an application on this broker, with state of its own.
    pub(crate) fn application(&self) -> ApplicationBuilder {
        Application::builder(&self.name("group"))
            .broker(&self.address)
            .state_dir(self.dir.path().join("state"))
            .commit_interval(Duration::from_millis(200))
            .earliest()
    }

    fn connection(&self) -> Properties {
        Properties::from([("bootstrap.servers", self.address.as_str())])
    }

    pub(crate) fn admin(&self) -> Box<dyn Admin> {
        let properties = admin_properties(&Properties::new(), &self.connection());
        Clients.admin(&ClientConfig::new(properties)).expect("an admin client")
    }

    /// A topic that keeps records of any age: the tests' are from 1970.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        let name = self.name(name);
        let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
        let new = NewTopic { partitions: Some(partitions), config, ..NewTopic::new(&name) };
        let mut admin = self.admin();
        admin.create_topics(&[new], TIMEOUT).expect("an answer").remove(0).expect("a new topic");
        admin.await_topics(&[&name], TIMEOUT).expect("a visible topic");
        name
    }

    pub(crate) fn describe(&self, topic: &str) -> TopicDescription {
        self.admin()
            .describe_topics(&[topic], TIMEOUT)
            .expect("an answer")
            .remove(0)
            .expect("a topic that is there")
    }

    /// Writes (partition, key, value, timestamp) in this order.
    pub(crate) fn produce(&self, topic: &str, records: &[(i32, &str, &str, i64)]) {
        let properties = producer_properties(&Properties::new(), &self.connection());
        let mut producer = Clients.producer(&ClientConfig::new(properties)).expect("a producer");
        let topic = producer.topic(topic).expect("a topic");
        for (partition, key, value, timestamp) in records {
            let record = ProduceRecord {
                topic,
                partition: Partition::At(*partition),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: HeadersView::default(),
                timestamp: Some(*timestamp),
            };
            producer.produce(&record).expect("room for a record");
        }
        let mut events = Vec::new();
        assert_eq!(producer.flush(TIMEOUT, &mut events), 0, "{events:?}");
    }

    /// Everything in a topic, partition by partition.
    pub(crate) fn read(&self, topic: &str) -> Vec<Found> {
        let partitions: Vec<TopicPartition> = (0..self.describe(topic).partitions.len())
            .map(|p| TopicPartition::new(topic, i32::try_from(p).expect("a few")))
            .collect();
        let marks = self.admin().watermarks(&partitions, TIMEOUT).expect("watermarks");
        let mut left: i64 = marks.iter().map(|mark| mark.high - mark.low).sum();
        let settings = ConsumerSettings {
            auto_offset_reset: OffsetReset::Earliest,
            ..ConsumerSettings::default()
        };
        let properties = consumer_properties(&Properties::new(), &self.connection(), &settings);
        let mut consumer = Clients
            .consumer(&ConsumerConfig::new(ClientConfig::new(properties)))
            .expect("a consumer");
        let starts: Vec<PartitionStart> = partitions
            .iter()
            .map(|p| PartitionStart::new(p.clone(), StartOffset::Beginning))
            .collect();
        consumer.assign(&starts).expect("an assignment");
        let mut found: HashMap<i32, Vec<Found>> = HashMap::new();
        let until = SystemClock.monotonic() + TIMEOUT;
        let mut events = Vec::new();
        let text = |bytes: Option<&[u8]>| {
            String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text")
        };
        while left > 0 {
            assert!(
                SystemClock.monotonic() < until,
                "waited in vain for {left} records of {topic}"
            );
            consumer.poll(Duration::from_millis(100), &mut events);
            for event in events.drain(..) {
                let ConsumerEvent::Records(batch) = event else { continue };
                let partition = batch.topic_partition().partition;
                for record in batch.iter() {
                    found.entry(partition).or_default().push(Found {
                        partition,
                        key: text(record.key()),
                        value: text(record.value()),
                        timestamp: record.timestamp(),
                    });
                    left -= 1;
                }
            }
        }
        let mut partitions: Vec<_> = found.into_iter().collect();
        partitions.sort_by_key(|(partition, _)| *partition);
        partitions.into_iter().flat_map(|(_, records)| records).collect()
    }

    /// Their values alone.
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        self.read(topic).into_iter().map(|record| record.value).collect()
    }
}

/// Runs until nothing came for a moment.
pub(crate) fn run_until_quiet(app: &Application) -> RunReport {
    let limits = RunLimits { count: 0, timeout: Duration::from_secs(2) };
    app.run_until(limits).expect("a run without errors")
}
