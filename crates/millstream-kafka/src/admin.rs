//! The admin client: topics, their settings, groups and offsets.
//!
//! Calls block up to their `timeout`. A call about several things answers for each one, in the
//! order asked; the outer error is for the request as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::{Offset, Timestamp, TopicPartition};

use crate::{Error, Watermarks};

/// Longest topic name that is sent to a broker at all (parity row T-12; Kafka's own limit is 249).
pub const TOPIC_NAME_MAX: usize = 255;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
}

/// The cluster as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's id.
    pub id: String,
    /// The controller's broker id.
    pub controller: Option<i32>,
    /// Its brokers.
    pub brokers: Vec<Broker>,
}

/// A partition as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// Broker that leads it; `None` while there is none.
    pub leader: Option<i32>,
    /// Brokers that hold a copy.
    pub replicas: Vec<i32>,
    /// Those that are up to date.
    pub in_sync: Vec<i32>,
}

/// A topic as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its partitions by number.
    pub partitions: Vec<PartitionDescription>,
    /// Whether it is Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
}

impl TopicDescription {
    /// Copies of each partition (parity row T-13).
    pub fn replication_factor(&self) -> usize {
        self.partitions.first().map_or(0, |partition| partition.replicas.len())
    }
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; `None` leaves it to the broker.
    pub partitions: Option<i32>,
    /// Copies of each; `None` leaves it to the broker.
    pub replication_factor: Option<i32>,
    /// Settings such as `retention.ms`.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// One partition, one replica, no settings (parity row T-11).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: Some(1),
            replication_factor: Some(1),
            config: BTreeMap::new(),
        }
    }
}

/// A setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its value; `None` if it is secret.
    pub value: Option<String>,
    /// Whether nobody set it for this topic.
    pub is_default: bool,
}

/// A topic's settings by name.
pub type ConfigEntries = BTreeMap<String, ConfigEntry>;

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// Of the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// Of the record with the highest timestamp.
    MaxTimestamp,
    /// Of the first record whose timestamp is at least this.
    AtOrAfter(Timestamp),
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// Its state as Kafka names it: `Stable`, `Empty`, …
    pub state: String,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the group gave it.
    pub member_id: String,
    /// Its `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Its state as Kafka names it: `Stable`, `Empty`, `Dead` (also: no such group), …
    pub state: String,
    /// The assignor in use.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: Option<i32>,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// Manages a cluster. Used from one thread at a time.
pub trait Admin: Send {
    /// Brokers and controller.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn cluster(&mut self, timeout: Duration) -> Result<Cluster, Error>;

    /// All topics that may be seen, sorted by name.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn list_topics(&mut self, timeout: Duration) -> Result<Vec<TopicDescription>, Error>;

    /// These topics; a missing one is an error that [`Error::is_topic_missing`] knows. Never
    /// creates one.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn describe_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<TopicDescription, Error>>, Error>;

    /// All settings of these topics, defaults included.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn describe_configs(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<ConfigEntries, Error>>, Error>;

    /// Changes settings of a topic; `None` puts one back to its default.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn alter_configs(
        &mut self,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
        timeout: Duration,
    ) -> Result<(), Error>;

    /// Creates topics. One that exists is [`crate::code::TOPIC_ALREADY_EXISTS`], which callers that
    /// race take as success (parity row T-14).
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn create_topics(
        &mut self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error>;

    /// Waits until all these topics are visible with a leader for each partition (parity rows A-17,
    /// T-12).
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn await_topics(&mut self, names: &[&str], timeout: Duration) -> Result<(), Error>;

    /// Deletes topics.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn delete_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error>;

    /// Raises a topic's number of partitions to `total`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn create_partitions(
        &mut self,
        topic: &str,
        total: i32,
        timeout: Duration,
    ) -> Result<(), Error>;

    /// Deletes the records before the given offsets (-1: all) and returns each partition's new
    /// first offset.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn delete_records(
        &mut self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<Result<Offset, Error>>, Error>;

    /// Offsets by position or time; `None` where no record fits.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn list_offsets(
        &mut self,
        partitions: &[(TopicPartition, OffsetSpec)],
        timeout: Duration,
    ) -> Result<Vec<Result<Option<Offset>, Error>>, Error>;

    /// First offset and end of partitions.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    fn watermarks(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Watermarks>, Error> {
        let ask = |spec| partitions.iter().map(|tp| (tp.clone(), spec)).collect::<Vec<_>>();
        let low = self.list_offsets(&ask(OffsetSpec::Earliest), timeout)?;
        let high = self.list_offsets(&ask(OffsetSpec::Latest), timeout)?;
        let known = "every partition has a start and an end";
        low.into_iter()
            .zip(high)
            .map(|(low, high)| {
                Ok(Watermarks { low: low?.expect(known), high: high?.expect(known) })
            })
            .collect()
    }

    /// All groups, sorted by id.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn list_groups(&mut self, timeout: Duration) -> Result<Vec<GroupListing>, Error>;

    /// These groups with their members.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn describe_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<GroupDescription, Error>>, Error>;

    /// Deletes groups that have no members.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    fn delete_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error>;

    /// All offsets that a group has committed, sorted by partition.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    fn group_offsets(
        &mut self,
        group: &str,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, Error>;

    /// Sets offsets of a group that has no members.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    fn alter_group_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), Error>;

    /// Forgets offsets of a group that does not read these topics.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    fn delete_group_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<(), Error>;
}
