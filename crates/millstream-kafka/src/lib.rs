//! Kafka's consumer, producer and admin client behind traits of ours. This is the only crate that
//! knows which client is underneath.
//!
//! The traits are shaped for a client that can be simulated: nothing calls back. A
//! [`Consumer::poll`] and a [`Producer::poll`] return **events**, and the caller answers them when
//! it has done its part. What takes as long as a broker pleases (flush, commit, leaving a group) is
//! a request, answered by an event later, so that an outage never stops the polling.
//!
//! * [`Consumer`]: group membership, records as batches of one partition each, positions, commits.
//! * [`Producer`]: borrowed bytes in, back-pressure as a return value, delivery counted per flush.
//! * [`ReportingProducer`]: the same with a report for each record, for tools.
//! * [`Admin`]: topics, their settings, groups, offsets. Blocking calls with time limits.
//! * [`ClientFactory`]: makes them. The runtime is handed one; a simulator brings its own.
//! * [`config`]: how settings are merged, and what of them must not be printed.
//!
//! [`Native`] is the implementation on `millstream-client`, which is ours; `Librdkafka` the one on
//! librdkafka, in builds with the feature `librdkafka`. [`Clients`] chooses by a setting.
//!
//! *Invariants.* librdkafka's types do not leave the `librdkafka` module. No thread of a client
//! ever runs code of a caller, except [`Wake::wake`]. Whatever librdkafka logs goes to the tracing
//! target `millstream::kafka`, on the thread that polls.

mod admin;
mod clients;
pub mod config;
mod consumer;
mod error;
#[cfg(feature = "librdkafka")]
mod librdkafka;
mod native;
mod partitioner;
mod producer;
mod reporting;

use std::sync::Arc;

pub use admin::{
    Admin, Broker, Cluster, ConfigEntries, ConfigEntry, GroupDescription, GroupListing,
    GroupMember, NewTopic, OffsetSpec, PartitionDescription, TOPIC_NAME_MAX, TopicDescription,
};
pub use clients::{CLIENT, Clients};
pub use config::{
    Assignor, ClientConfig, ConsumerSettings, OAuthToken, OffsetReset, Properties, TokenSource,
    admin_properties, consumer_properties, is_secret, producer_properties,
};
pub use consumer::{
    Consumer, ConsumerConfig, ConsumerEvent, PartitionStart, RequestId, StartOffset, Watermarks,
};
pub use error::{Error, KafkaError, code};
#[cfg(feature = "librdkafka")]
pub use librdkafka::Librdkafka;
pub use native::{Native, NativeAdmin};
pub use partitioner::{murmur2, partition_of};
pub use producer::{
    DeliveryFailure, FlushId, Partition, ProduceError, ProduceRecord, Producer, ProducerEvent,
    TopicHandle,
};
pub use reporting::{DeliveryReport, ReportedRecord, ReportingProducer};

/// Interrupts a wait from another thread.
pub trait Wake: Send + Sync {
    /// Makes the poll that is under way return, or the next one not wait. Does not block.
    fn wake(&self);
}

/// Makes clients. The runtime is handed one, so that a simulator or another client can stand in.
pub trait ClientFactory: Send + Sync {
    /// A consumer that has not subscribed to anything yet. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is refused.
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>, Error>;

    /// A producer. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is refused.
    fn producer(&self, config: &ClientConfig) -> Result<Box<dyn Producer>, Error>;

    /// A producer that reports each record. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is refused.
    fn reporting_producer(
        &self,
        config: &ClientConfig,
    ) -> Result<Box<dyn ReportingProducer>, Error>;

    /// An admin client. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is refused.
    fn admin(&self, config: &ClientConfig) -> Result<Box<dyn Admin>, Error>;
}

impl<F: ClientFactory + ?Sized> ClientFactory for Arc<F> {
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>, Error> {
        (**self).consumer(config)
    }

    fn producer(&self, config: &ClientConfig) -> Result<Box<dyn Producer>, Error> {
        (**self).producer(config)
    }

    fn reporting_producer(
        &self,
        config: &ClientConfig,
    ) -> Result<Box<dyn ReportingProducer>, Error> {
        (**self).reporting_producer(config)
    }

    fn admin(&self, config: &ClientConfig) -> Result<Box<dyn Admin>, Error> {
        (**self).admin(config)
    }
}
