//! A broker, a program that counts, and the means to look at what it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_engine::{
    FunctionSpec, LogHooks, SinkSpec, SinkTarget, SinkTopic, SourceSpec, Topology, TopologyBuilder,
    topics::TopicConfig,
};
use millstream_formats::{deserializer_by_name, serializer_by_name};
use millstream_kafka::{
    ClientConfig, ClientFactory, Clients, ConsumerConfig, ConsumerEvent, ConsumerSettings,
    NewTopic, OffsetReset, Partition, PartitionStart, ProduceRecord, Properties, StartOffset,
    admin_properties, consumer_properties, producer_properties,
};
use millstream_runtime::{RunConfig, RunLimits, RunParams, RunReport, RuntimeError, StopHandle};
use millstream_state::{
    CacheSettings, LockHolder, MemoryBudget, RocksMemory, RocksOptions, RocksStorage, Storage,
};
use millstream_types::{Clock, HeadersView, SystemClock, TopicPartition};
use millstream_value::{Call, Failure, Function, InlineHost, Value};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const PARTITIONS: i32 = 2;

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

/// Makes two tests of each function that takes a [`Place`]: a crash looks the same to a program
/// whatever broker it runs on, and what the broker has of it must not differ either.
macro_rules! on_both_brokers {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[test]
                fn $test() {
                    super::$test(&crate::cluster::Place::Embedded);
                }
            )+
        }
        mod given {
            $(
                #[test]
                fn $test() {
                    let Some(place) = crate::cluster::Place::given() else { return };
                    super::$test(&place);
                }
            )+
        }
    };
}
pub(crate) use on_both_brokers;

/// A broker with a topic to read and one to write, and a group of which nobody else knows.
pub(crate) struct Cluster {
    address: String,
    input: String,
    output: String,
    pub(crate) group: String,
    _broker: Option<BrokerHandle>,
    dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn start(place: &Place) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (address, broker) = match place {
            Place::Given(address) => (address.clone(), None),
            Place::Embedded => {
                let config = BrokerConfig::new(dir.path().join("broker"))
                    .listen("127.0.0.1:0".parse().expect("an address"))
                    .setting("group.initial.rebalance.delay.ms", "0");
                let broker = BrokerHandle::start(config, Arc::new(SystemClock)).expect("a broker");
                (broker.address().to_string(), Some(broker))
            }
        };
        let cluster = Self {
            address,
            input: unique("in"),
            output: unique("out"),
            group: unique("counters"),
            _broker: broker,
            dir,
        };
        let names = [cluster.input.as_str(), cluster.output.as_str()];
        // The tests' timestamps are older than what a broker keeps by default.
        let config = [("retention.ms".to_owned(), "-1".to_owned())];
        let topics = names.map(|name| NewTopic {
            partitions: Some(PARTITIONS),
            config: config.clone().into(),
            ..NewTopic::new(name)
        });
        let mut admin = Clients.admin(&cluster.admin()).expect("an admin client");
        for answer in admin.create_topics(&topics, TIMEOUT).expect("an answer") {
            answer.expect("a new topic");
        }
        admin.await_topics(&names, TIMEOUT).expect("visible topics");
        cluster
    }

    fn connection(&self) -> Properties {
        Properties::from([("bootstrap.servers", self.address.as_str())])
    }

    pub(crate) fn admin(&self) -> ClientConfig {
        ClientConfig::new(admin_properties(&Properties::new(), &self.connection()))
    }

    fn consumer(&self, group: Option<&str>) -> ConsumerConfig {
        let settings = ConsumerSettings {
            group_id: group.map(str::to_owned),
            auto_offset_reset: OffsetReset::Earliest,
            ..ConsumerSettings::default()
        };
        let extra =
            Properties::from([("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")]);
        let properties = consumer_properties(&extra, &self.connection(), &settings);
        ConsumerConfig::new(ClientConfig::new(properties))
    }

    fn producer(&self) -> ClientConfig {
        ClientConfig::new(producer_properties(&Properties::new(), &self.connection()))
    }

    /// Writes `keys` keys with values `from..to` in turn, to partitions by key.
    pub(crate) fn feed(&self, from: i64, to: i64, keys: i64) {
        let mut producer = Clients.producer(&self.producer()).expect("a producer");
        let topic = producer.topic(&self.input).expect("a topic");
        for n in from..to {
            let (key, value) = (format!("k{}", n % keys), n.to_string());
            let record = ProduceRecord {
                topic,
                partition: Partition::At((n % keys) as i32 % PARTITIONS),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: HeadersView::default(),
                timestamp: Some(n),
            };
            producer.produce(&record).expect("room for a record");
        }
        let mut events = Vec::new();
        assert_eq!(producer.flush(TIMEOUT, &mut events), 0, "{events:?}");
    }

    /// Everything that was written: per key the values in order of each partition.
    pub(crate) fn outputs(&self) -> BTreeMap<String, Vec<i64>> {
        let mut admin = Clients.admin(&self.admin()).expect("an admin client");
        let partitions: Vec<TopicPartition> =
            (0..PARTITIONS).map(|p| TopicPartition::new(self.output.as_str(), p)).collect();
        let marks = admin.watermarks(&partitions, TIMEOUT).expect("watermarks");
        let mut left: i64 = marks.iter().map(|mark| mark.high - mark.low).sum();
        let mut consumer = Clients.consumer(&self.consumer(None)).expect("a consumer");
        let starts: Vec<PartitionStart> = partitions
            .iter()
            .map(|p| PartitionStart::new(p.clone(), StartOffset::Beginning))
            .collect();
        consumer.assign(&starts).expect("an assignment");
        let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut events = Vec::new();
        let clock = SystemClock;
        let until = clock.monotonic() + TIMEOUT;
        while left > 0 {
            assert!(clock.monotonic() < until, "{left} outputs are missing");
            consumer.poll(Duration::from_millis(200), &mut events);
            for event in events.drain(..) {
                let ConsumerEvent::Records(batch) = event else { continue };
                for record in batch.iter() {
                    let text = |bytes: Option<&[u8]>| {
                        String::from_utf8(bytes.expect("bytes").to_vec()).expect("text")
                    };
                    let count = text(record.value()).parse().expect("a count");
                    found.entry(text(record.key())).or_default().push(count);
                    left -= 1;
                }
            }
        }
        found
    }

    pub(crate) fn storage(&self, process: &str) -> Arc<dyn Storage> {
        Arc::new(RocksStorage::new(
            self.dir.path().join(process),
            &self.group,
            RocksOptions::default(),
            RocksMemory::new(32 << 20),
            LockHolder::default(),
        ))
    }

    pub(crate) fn config(&self) -> RunConfig {
        let cache = CacheSettings { budget: MemoryBudget::new(64 << 20), hash_seed: 1 };
        let mut config = RunConfig::new(
            self.consumer(Some(&self.group)),
            self.consumer(None),
            self.producer(),
            self.admin(),
            cache,
        );
        config.checkpoints.interval = Duration::from_millis(200);
        config.poll_timeout = Duration::from_millis(100);
        config.flush_timeout = Duration::from_secs(10);
        config
    }

    /// Runs the counting program until it has seen nothing new for a moment.
    pub(crate) fn run(
        &self,
        clients: &dyn ClientFactory,
        storage: Arc<dyn Storage>,
    ) -> Result<RunReport, RuntimeError> {
        self.run_with(self.config(), clients, storage, StopHandle::new(), Duration::from_secs(2))
    }

    pub(crate) fn run_with(
        &self,
        config: RunConfig,
        clients: &dyn ClientFactory,
        storage: Arc<dyn Storage>,
        stop: StopHandle,
        timeout: Duration,
    ) -> Result<RunReport, RuntimeError> {
        millstream_runtime::run(RunParams {
            topology: Arc::new(self.counting_topology()),
            config,
            clients,
            storage,
            clock: Arc::new(SystemClock),
            host: Arc::new(InlineHost),
            hooks: &mut LogHooks,
            stop,
            limits: RunLimits { count: 0, timeout },
            leaves: None,
        })
    }

    /// Counts the records of each key in state and writes the count.
    fn counting_topology(&self) -> Topology {
        let mut builder = TopologyBuilder::new(self.group.as_str());
        let json = "json and bytes are built in";
        let source = builder
            .source(SourceSpec {
                topic: self.input.clone(),
                config: TopicConfig::new(PARTITIONS),
                key_deserializer: deserializer_by_name("bytes").expect(json),
                value_deserializer: deserializer_by_name("json").expect(json),
                timestamp_extractor: None,
            })
            .expect("a source");
        let counted = builder
            .apply(source, FunctionSpec::stateful(Arc::new(CountPerKey)))
            .expect("a stateful function");
        let target = SinkTarget::Topic(Arc::new(SinkTopic {
            name: self.output.as_str().into(),
            key_serializer: serializer_by_name("bytes").expect(json),
            value_serializer: serializer_by_name("json").expect(json),
        }));
        builder.to_topic(counted, SinkSpec { target, key: None }).expect("an output");
        builder.build().expect("a topology")
    }
}

/// A name that no other test or run uses.
fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{number}", SystemClock.wall(), std::process::id())
}

struct CountPerKey;

impl Function for CountPerKey {
    fn name(&self) -> &str {
        "count_per_key"
    }

    fn needs_host(&self) -> bool {
        false
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        let state = call.state.as_deref().expect("declared as stateful");
        let before = state
            .get(b"count")?
            .map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes were set")));
        state.set(b"count", &(before + 1).to_le_bytes())?;
        Ok(Value::Int(before + 1))
    }

    fn call_expand(
        &self,
        _: &mut Call<'_>,
        _: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        unreachable!("declared with apply")
    }

    fn call_values(&self, _: Vec<Value>) -> Result<Value, Failure> {
        unreachable!("declared with apply")
    }
}

/// What the outputs must be once `total` records of `keys` keys were counted: the last count of
/// each key is exact, and every count came out at least once, in order but for repetitions.
pub(crate) fn check_counts(outputs: &BTreeMap<String, Vec<i64>>, total: i64, keys: i64) {
    assert_eq!(outputs.len() as i64, keys, "{outputs:?}");
    for (key, counts) in outputs {
        let number: i64 = key[1..].parse().expect("a key's number");
        let expected = total / keys + i64::from(number < total % keys);
        assert_eq!(counts.iter().max(), Some(&expected), "{key}: {counts:?}");
        assert_eq!(counts.last(), Some(&expected), "{key}: {counts:?}");
        for pair in counts.windows(2) {
            assert!(pair[1] <= pair[0] + 1, "{key} skips a count: {counts:?}");
        }
    }
}
