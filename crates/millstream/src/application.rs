//! The application: settings, topics, and the run.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{
    InternalTopicKind, LogHooks, SourceSpec, TopologyBuilder, topics::TopicConfig,
};
use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Clients, ConsumerConfig, ConsumerSettings, NewTopic,
    OffsetReset, Properties, admin_properties, code, consumer_properties, producer_properties,
};
use millstream_runtime::{RunConfig, RunLimits, RunParams, RunReport, StopHandle};
use millstream_state::{
    CacheSettings, LockHolder, MemoryBudget, RocksMemory, RocksOptions, RocksStorage,
};
use millstream_types::{Clock, SystemClock};
use millstream_value::InlineHost;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::dataframe::Sinks;
use crate::{Dataframe, Error, Topic, embedded};

/// Block cache and write buffers of all stores of the process, unless set otherwise.
const STATE_MEMORY: usize = 512 << 20;

/// Entries that stores keep in native form.
const CACHE_MEMORY: usize = 256 << 20;

/// Differs from process to process, so that nobody can choose keys that collide.
fn hash_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// Settings of an application; defaults are those of the parity rows named.
#[derive(Clone, Debug)]
pub struct ApplicationBuilder {
    consumer_group: String,
    broker: Option<String>,
    data_dir: PathBuf,
    state_dir: PathBuf,
    offset_reset: OffsetReset,
    commit_interval: Duration,
    commit_every: u64,
    changelogs: bool,
    consumer_extra: Properties,
    producer_extra: Properties,
    request_timeout: Duration,
}

impl ApplicationBuilder {
    /// Address of a cluster, `host:port[,host:port]`; `embedded` asks for the embedded broker
    /// even where it would be refused. Default: the environment variable
    /// `Quix__Broker__Address`, else the embedded broker.
    #[must_use]
    pub fn broker(mut self, address: &str) -> Self {
        self.broker = Some(address.to_owned());
        self
    }

    /// Where the embedded broker keeps its data; default `.millstream`.
    #[must_use]
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data_dir = directory.into();
        self
    }

    /// Where local state is kept; default `state`.
    #[must_use]
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = directory.into();
        self
    }

    /// A group without a committed offset starts at the oldest record; default: behind the
    /// newest.
    #[must_use]
    pub fn earliest(mut self) -> Self {
        self.offset_reset = OffsetReset::Earliest;
        self
    }

    /// A checkpoint is due after that long; default 5 s.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// A checkpoint is due after that many records; default 0: never for that reason.
    #[must_use]
    pub fn commit_every(mut self, records: u64) -> Self {
        self.commit_every = records;
        self
    }

    /// Stores have no changelog topics: local state is the only copy.
    #[must_use]
    pub fn without_changelogs(mut self) -> Self {
        self.changelogs = false;
        self
    }

    /// A setting of the consumer by librdkafka's name.
    #[must_use]
    pub fn consumer_setting(mut self, name: &str, value: &str) -> Self {
        self.consumer_extra.set(name, value);
        self
    }

    /// A setting of the producer by librdkafka's name.
    #[must_use]
    pub fn producer_setting(mut self, name: &str, value: &str) -> Self {
        self.producer_extra.set(name, value);
        self
    }

    /// The Kafka client underneath: `millstream`, our own, or `librdkafka`. Default: the environment
    /// variable `MILLSTREAM_CLIENT`, else `millstream`. Another name is refused when a client is made.
    #[must_use]
    pub fn client(self, name: &str) -> Self {
        self.consumer_setting(millstream_kafka::CLIENT, name)
            .producer_setting(millstream_kafka::CLIENT, name)
    }

    /// The application. Finds or starts the embedded broker, if that is to be used; in the
    /// process that was started to be that broker, this does not return.
    ///
    /// # Errors
    /// [`Error::Embedded`], [`Error::NoBrokerUnderKubernetes`].
    pub fn build(self) -> Result<Application, Error> {
        let named = self.broker.clone().or_else(|| {
            std::env::var("Quix__Broker__Address").ok().filter(|address| !address.is_empty())
        });
        let address = match named.as_deref() {
            Some("embedded") => embedded::address(&self.data_dir)?,
            Some(address) => address.to_owned(),
            None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
                return Err(Error::NoBrokerUnderKubernetes);
            }
            None => embedded::address(&self.data_dir)?,
        };
        let builder = TopologyBuilder::new(self.consumer_group.as_str());
        let builder = if self.changelogs { builder } else { builder.without_changelogs() };
        Ok(Application {
            settings: self,
            address,
            topology: Rc::new(RefCell::new(builder)),
            sinks: Sinks::default(),
            stop: StopHandle::new(),
        })
    }
}

/// A program that reads topics, processes their records and writes topics. See the example at
/// the head of this crate.
pub struct Application {
    settings: ApplicationBuilder,
    address: String,
    topology: Rc<RefCell<TopologyBuilder>>,
    sinks: Sinks,
    stop: StopHandle,
}

impl Application {
    /// Settings for an application of that consumer group. The group's name is part of internal
    /// topics and of the state directory.
    ///
    /// In a process that was started to be the embedded broker, this does not return.
    pub fn builder(consumer_group: &str) -> ApplicationBuilder {
        embedded::become_the_broker_if_asked();
        ApplicationBuilder {
            consumer_group: consumer_group.to_owned(),
            broker: None,
            data_dir: ".millstream".into(),
            state_dir: "state".into(),
            offset_reset: OffsetReset::Latest,
            commit_interval: Duration::from_secs(5),
            commit_every: 0,
            changelogs: true,
            consumer_extra: Properties::new(),
            producer_extra: Properties::new(),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// The address of the broker in use.
    pub fn broker_address(&self) -> &str {
        &self.address
    }

    /// Declares a topic: values `json`, keys `bytes`.
    pub fn topic(&self, name: &str) -> Topic {
        Topic::new(name)
    }

    /// Starts a pipeline over a topic, which is created if it is not there (A-31, T-10).
    ///
    /// # Errors
    /// [`Error::Kafka`] if the cluster does not answer or refuses; [`Error::Topology`] for a
    /// second dataframe over the topic.
    pub fn dataframe(&self, topic: &Topic) -> Result<Dataframe, Error> {
        let config = self.ensure_topic(topic)?;
        let node = self.topology.borrow_mut().source(SourceSpec {
            topic: topic.name.clone(),
            config,
            key_deserializer: topic.key_deserializer.clone(),
            value_deserializer: topic.value_deserializer.clone(),
            timestamp_extractor: None,
        })?;
        let (topology, sinks) = (self.topology.clone(), self.sinks.clone());
        Ok(Dataframe { topology, sinks, node })
    }

    /// Makes the topic if it is missing, and reads its size and settings.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the cluster does not answer or refuses.
    pub fn ensure_topic(&self, topic: &Topic) -> Result<TopicConfig, Error> {
        let wanted = (topic.partitions, topic.replication_factor);
        self.ensure_topic_named(topic.name.as_str(), wanted)
    }

    fn ensure_topic_named(
        &self,
        name: &str,
        (partitions, replication_factor): (i32, i16),
    ) -> Result<TopicConfig, Error> {
        let timeout = self.settings.request_timeout;
        let mut admin = Clients.admin(&self.admin_config())?;
        match look_up(admin.as_mut(), name, timeout) {
            Err(Error::Kafka(error)) if error.is_topic_missing() => {}
            found => return found,
        }
        let mut wanted = NewTopic::new(name);
        wanted.partitions = Some(partitions);
        wanted.replication_factor = Some(i32::from(replication_factor));
        match admin.create_topics(&[wanted], timeout)?.remove(0) {
            Err(error) if error.code() != Some(code::TOPIC_ALREADY_EXISTS) => {
                return Err(error.into());
            }
            _ => {}
        }
        let end = SystemClock.monotonic() + timeout;
        loop {
            admin.await_topics(&[name], timeout)?;
            match look_up(admin.as_mut(), name, timeout) {
                // Brokers learn of a new topic one after the other.
                Err(Error::Kafka(error))
                    if error.is_topic_missing() && SystemClock.monotonic() < end =>
                {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a program's set-up, before it runs"
                    )]
                    std::thread::sleep(Duration::from_millis(100));
                }
                found => return found,
            }
        }
    }

    /// A handle by which any thread ends the run.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// From now on SIGINT (Ctrl-C) and SIGTERM end the run in order: the record at hand is
    /// finished, the checkpoint committed, the group left. A second signal ends the process at
    /// once. For the whole process, so it is the program's choice.
    ///
    /// # Errors
    /// If the system refuses to hand the signals over.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let stop = self.stop.clone();
        #[expect(clippy::disallowed_methods, reason = "the outermost layer starts the thread")]
        std::thread::spawn(move || {
            let mut signals = signals.forever();
            if signals.next().is_some() {
                stop.stop();
            }
            if signals.next().is_some() {
                std::process::exit(130);
            }
        });
        Ok(())
    }

    /// Runs until somebody stops it or it fails.
    ///
    /// # Errors
    /// [`Error::Run`]; nothing of the open checkpoint is committed then.
    pub fn run(&self) -> Result<RunReport, Error> {
        self.run_until(RunLimits::default())
    }

    /// Runs until a limit is reached, somebody stops it, or it fails.
    ///
    /// # Errors
    /// As [`Application::run`].
    pub fn run_until(&self, limits: RunLimits) -> Result<RunReport, Error> {
        self.stop.reset();
        self.look_up_repartition_topics()?;
        let topology = Arc::new(self.topology.borrow().build()?);
        for topic in topology.sink_topics() {
            let internal = topology.internal_topics().iter().any(|known| known.name == *topic);
            if !internal {
                let wanted = self.sinks.borrow().get(topic).copied().unwrap_or((1, 1));
                self.ensure_topic_named(topic, wanted)?;
            }
        }
        let settings = &self.settings;
        let connection = self.connection();
        let group = ConsumerSettings {
            group_id: Some(settings.consumer_group.clone()),
            auto_offset_reset: settings.offset_reset,
            ..ConsumerSettings::default()
        };
        let client = |settings: &ConsumerSettings| {
            let extra = &self.settings.consumer_extra;
            ConsumerConfig::new(ClientConfig::new(consumer_properties(
                extra,
                &connection,
                settings,
            )))
        };
        let restore = ConsumerSettings {
            auto_offset_reset: OffsetReset::Earliest,
            ..ConsumerSettings::default()
        };
        let producer = producer_properties(&settings.producer_extra, &connection);
        let mut config = RunConfig::new(
            client(&group),
            client(&restore),
            ClientConfig::new(producer),
            self.admin_config(),
            CacheSettings { budget: MemoryBudget::new(CACHE_MEMORY), hash_seed: hash_seed() },
        );
        config.checkpoints.interval = settings.commit_interval;
        config.checkpoints.every = settings.commit_every;
        config.request_timeout = settings.request_timeout;
        let holder = LockHolder { pid: Some(std::process::id()), host: None };
        let storage = RocksStorage::new(
            &settings.state_dir,
            &settings.consumer_group,
            RocksOptions::default(),
            RocksMemory::new(STATE_MEMORY),
            holder,
        );
        Ok(millstream_runtime::run(RunParams {
            topology,
            config,
            clients: &Clients,
            storage: Arc::new(storage),
            clock: Arc::new(SystemClock),
            host: Arc::new(InlineHost),
            hooks: &mut LogHooks,
            stop: self.stop.clone(),
            limits,
            leaves: None,
        })?)
    }

    /// Repartition topics that are there already keep their size, whatever became of the input.
    fn look_up_repartition_topics(&self) -> Result<(), Error> {
        let mut topology = self.topology.borrow_mut();
        let names: Vec<_> = topology
            .internal_topics()
            .iter()
            .filter(|topic| topic.kind == InternalTopicKind::Repartition)
            .map(|topic| topic.name.clone())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut admin = Clients.admin(&self.admin_config())?;
        let asked: Vec<&str> = names.iter().map(|name| &**name).collect();
        let found = admin.describe_topics(&asked, self.settings.request_timeout)?;
        for (name, found) in names.iter().zip(found) {
            match found {
                Ok(found) => {
                    let partitions = i32::try_from(found.partitions.len()).unwrap_or(i32::MAX);
                    topology.repartition_found(name, partitions);
                }
                Err(error) if error.is_topic_missing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn connection(&self) -> Properties {
        Properties::from([("bootstrap.servers", self.address.as_str())])
    }

    fn admin_config(&self) -> ClientConfig {
        let properties = admin_properties(&self.settings.consumer_extra, &self.connection());
        ClientConfig::new(properties)
    }
}

/// Size and settings of a topic that is there.
fn look_up(admin: &mut dyn Admin, name: &str, timeout: Duration) -> Result<TopicConfig, Error> {
    let found = admin.describe_topics(&[name], timeout)?.remove(0)?;
    let settings = admin.describe_configs(&[name], timeout)?.remove(0)?;
    Ok(TopicConfig {
        partitions: i32::try_from(found.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(found.replication_factor()).unwrap_or(1),
        settings: ["retention.ms", "retention.bytes", "cleanup.policy"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), settings.get(name)?.value.clone()?)))
            .collect(),
    })
}
