//! What a run is given.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{Hooks, Leaf, Topology};
use millstream_kafka::{ClientConfig, ClientFactory, ConsumerConfig, DeliveryFailure, KafkaError};
use millstream_state::{CacheSettings, Storage};
use millstream_types::{Clock, TopicPartition};
use millstream_value::{Failure, Host};

use crate::checkpoint::CheckpointPolicy;
use crate::{RunLimits, StopHandle};

/// Where an application goes on whose committed offset was deleted by retention (rows A-21,
/// CK-42).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceGap {
    /// It does not: the run ends with an error (CK-41).
    Fail,
    /// At the oldest record there is; the state is rebuilt from its changelog.
    #[default]
    Earliest,
    /// Behind the newest record, with empty state.
    Latest,
}

/// Settings of a run. Times are durations; defaults are those of the parity rows named.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// When a checkpoint is due.
    pub checkpoints: CheckpointPolicy,
    /// Longest wait for records in one turn of the loop; default 1 s.
    pub poll_timeout: Duration,
    /// Time for one request to the cluster; default 30 s.
    pub request_timeout: Duration,
    /// Time for new topics to become visible; default 60 s.
    pub topic_create_timeout: Duration,
    /// How long all brokers may be away; default 120 s, zero: for ever.
    pub availability_timeout: Duration,
    /// Time a checkpoint has to be delivered and committed; default `max.poll.interval.ms`.
    pub flush_timeout: Duration,
    /// Time of the worker between two looks at timers, rebalances and commands; default 50 ms.
    pub slice: Duration,
    /// What to do about a committed offset that is gone.
    pub source_gap: SourceGap,
    /// Records that may wait at tasks before the worker stops taking more; default 8 MiB.
    pub queue_bytes_max: usize,
    /// Caches of the stores.
    pub cache: CacheSettings,
    /// The group's consumer.
    pub consumer: ConsumerConfig,
    /// The consumer of no group that reads changelogs.
    pub restore_consumer: ConsumerConfig,
    /// The producer.
    pub producer: ClientConfig,
    /// The admin client.
    pub admin: ClientConfig,
}

impl RunConfig {
    /// The default settings with these clients and caches.
    pub fn new(
        consumer: ConsumerConfig,
        restore_consumer: ConsumerConfig,
        producer: ClientConfig,
        admin: ClientConfig,
        cache: CacheSettings,
    ) -> Self {
        Self {
            checkpoints: CheckpointPolicy {
                interval: Duration::from_secs(5),
                every: 0,
                dirty_bytes_max: 64 << 20,
            },
            poll_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(30),
            topic_create_timeout: Duration::from_secs(60),
            availability_timeout: Duration::from_secs(120),
            flush_timeout: Duration::from_secs(300),
            slice: Duration::from_millis(50),
            source_gap: SourceGap::default(),
            queue_bytes_max: 8 << 20,
            cache,
            consumer,
            restore_consumer,
            producer,
            admin,
        }
    }
}

/// What the embedding program is told and asked, beyond [`Hooks`].
pub trait RunHooks: Hooks {
    /// The consumer reported an error that is of no single record (E-01, message None). Whether
    /// it is suppressed.
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_poll_error(
        &mut self,
        partition: Option<&TopicPartition>,
        error: &KafkaError,
    ) -> Result<bool, Failure> {
        match partition {
            Some(partition) => tracing::error!("{partition}: {error}"),
            None => tracing::error!("{error}"),
        }
        Ok(false)
    }

    /// Records were not delivered (E-03, row None). Whether that is suppressed: then they are
    /// forgotten.
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_delivery_failure(&mut self, failure: &DeliveryFailure) -> Result<bool, Failure> {
        tracing::error!("{failure}");
        Ok(false)
    }

    /// Statistics of the consumer that feeds the pipeline, as JSON.
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_consumer_statistics(&mut self, json: &str) -> Result<(), Failure> {
        tracing::trace!("consumer statistics: {json}");
        Ok(())
    }

    /// Statistics of the producer, as JSON.
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_producer_statistics(&mut self, json: &str) -> Result<(), Failure> {
        tracing::trace!("producer statistics: {json}");
        Ok(())
    }

    /// The engine's part of these hooks.
    fn as_engine_hooks(&mut self) -> &mut dyn Hooks;
}

impl RunHooks for millstream_engine::LogHooks {
    fn as_engine_hooks(&mut self) -> &mut dyn Hooks {
        self
    }
}

/// Collects outputs for a caller who wants them back.
pub trait Leaves: Send {
    /// A record reached the end of a branch. What it takes of value and key it may replace.
    fn collect(&mut self, leaf: Leaf<'_>);
}

/// All that a run is given.
pub struct RunParams<'a> {
    /// What to run.
    pub topology: Arc<Topology>,
    /// Settings.
    pub config: RunConfig,
    /// Makes the Kafka clients.
    pub clients: &'a dyn ClientFactory,
    /// Where local state is kept.
    pub storage: Arc<dyn Storage>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The host language.
    pub host: Arc<dyn Host>,
    /// Callbacks.
    pub hooks: &'a mut dyn RunHooks,
    /// Who may end it.
    pub stop: StopHandle,
    /// When it ends by itself.
    pub limits: RunLimits,
    /// Who wants the outputs.
    pub leaves: Option<Box<dyn Leaves>>,
}
