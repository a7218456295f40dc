//! Our own admin client behind the trait. The two have the same shape; what the trait does not ask
//! for is left out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use millstream_client::admin as own;
use millstream_types::{Offset, TopicPartition};

use super::errors::error;
use super::settings;
use crate::{
    Admin, Broker, ClientConfig, Cluster, ConfigEntries, ConfigEntry, Error, GroupDescription,
    GroupListing, GroupMember, KafkaError, NewTopic, OffsetSpec, PartitionDescription,
    TOPIC_NAME_MAX, TopicDescription, code,
};

/// An [`Admin`] on our own client.
pub struct NativeAdmin(own::Admin);

impl fmt::Debug for NativeAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeAdmin").finish_non_exhaustive()
    }
}

impl NativeAdmin {
    /// An admin client on real sockets. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is refused.
    pub fn new(config: &ClientConfig) -> Result<Self, Error> {
        let settings = settings::of_admin(&config.properties)?;
        let mut admin = own::Admin::start(&settings).map_err(error)?;
        if let Some(tokens) = config.token_source.clone() {
            let for_whom = settings::token_config(&config.properties);
            admin.set_token_source(Box::new(move || {
                let token = tokens.token(&for_whom)?;
                settings::token(Ok(&token)).map_err(str::to_owned)
            }));
        }
        Ok(Self(admin))
    }
}

impl From<own::Admin> for NativeAdmin {
    /// An admin client that exists already, such as one that a simulator drives.
    fn from(admin: own::Admin) -> Self {
        Self(admin)
    }
}

/// The answers of a call, in the trait's words.
fn answers<T, U>(
    outcome: Result<Vec<Result<T, millstream_client::Error>>, millstream_client::Error>,
    read: impl Fn(T) -> U,
) -> Result<Vec<Result<U, Error>>, Error> {
    let outcome = outcome.map_err(error)?;
    Ok(outcome.into_iter().map(|answer| answer.map(&read).map_err(error)).collect())
}

fn topic(topic: own::TopicDescription) -> TopicDescription {
    let partition = |partition: own::PartitionDescription| PartitionDescription {
        partition: partition.partition,
        leader: partition.leader,
        replicas: partition.replicas,
        in_sync: partition.in_sync,
    };
    TopicDescription {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        internal: topic.internal,
    }
}

fn config_entries(entries: own::ConfigEntries) -> ConfigEntries {
    let entry = |(name, entry): (String, own::ConfigEntry)| {
        // As librdkafka has it: a value from the broker's file is not Kafka's default.
        let is_default = entry.source == own::ConfigSource::Default;
        (name, ConfigEntry { value: entry.value, is_default })
    };
    entries.into_iter().map(entry).collect()
}

fn group(group: own::GroupDescription) -> GroupDescription {
    let member = |member: own::GroupMember| GroupMember {
        member_id: member.member_id,
        client_id: member.client_id,
        host: member.host,
        instance_id: member.instance_id,
        partitions: member.partitions,
    };
    GroupDescription {
        group: group.group,
        state: group.state,
        assignor: group.assignor,
        coordinator: Some(group.coordinator),
        members: group.members.into_iter().map(member).collect(),
    }
}

/// A topic to create, or why it cannot even be sent.
fn new_topic(topic: &NewTopic) -> Result<own::NewTopic, Error> {
    let length = topic.name.chars().count();
    if length > TOPIC_NAME_MAX {
        return Err(Error::TopicNameTooLong { length });
    }
    let replication_factor = topic.replication_factor.map(i16::try_from).transpose();
    let replication_factor = replication_factor.map_err(|_| Error::Kafka {
        action: format!("create topic {:?}", topic.name),
        error: KafkaError::of_code(code::INVALID_REPLICATION_FACTOR),
    })?;
    Ok(own::NewTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor,
        assignment: None,
        config: topic.config.clone(),
    })
}

impl Admin for NativeAdmin {
    fn cluster(&mut self, timeout: Duration) -> Result<Cluster, Error> {
        let cluster = self.0.cluster(timeout).map_err(error)?;
        let broker =
            |broker: own::Broker| Broker { id: broker.id, host: broker.host, port: broker.port };
        Ok(Cluster {
            id: cluster.id,
            controller: cluster.controller,
            brokers: cluster.brokers.into_iter().map(broker).collect(),
        })
    }

    fn list_topics(&mut self, timeout: Duration) -> Result<Vec<TopicDescription>, Error> {
        let topics = self.0.list_topics(timeout).map_err(error)?;
        Ok(topics.into_iter().map(topic).collect())
    }

    fn describe_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<TopicDescription, Error>>, Error> {
        answers(self.0.describe_topics(names, timeout), topic)
    }

    fn describe_configs(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<ConfigEntries, Error>>, Error> {
        let topics: Vec<_> =
            names.iter().map(|name| own::ConfigResource::Topic((*name).to_owned())).collect();
        answers(self.0.describe_configs(&topics, timeout), config_entries)
    }

    fn alter_configs(
        &mut self,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let change = |(name, value): (&String, &Option<String>)| {
            let change = match value {
                Some(value) => own::ConfigChange::Set(value.clone()),
                None => own::ConfigChange::Reset,
            };
            (name.clone(), change)
        };
        let changes = changes.iter().map(change).collect();
        let resource = own::ConfigResource::Topic(topic.to_owned());
        answers(self.0.alter_configs(&[(resource, changes)], timeout), |()| ())?
            .into_iter()
            .collect()
    }

    fn create_topics(
        &mut self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        // A topic that cannot even be sent is answered here.
        let mut prepared: Vec<_> = topics.iter().map(new_topic).collect();
        let sendable: Vec<_> =
            prepared.iter().filter_map(|new| new.as_ref().ok()).cloned().collect();
        let mut created = answers(self.0.create_topics(&sendable, timeout), |()| ())?.into_iter();
        let answer = |new: Result<own::NewTopic, Error>| {
            new.and_then(|_| created.next().expect("one answer per topic"))
        };
        Ok(prepared.drain(..).map(answer).collect())
    }

    fn await_topics(&mut self, names: &[&str], timeout: Duration) -> Result<(), Error> {
        self.0.await_topics(names, timeout).map_err(error)
    }

    fn delete_topics(
        &mut self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        answers(self.0.delete_topics(names, timeout), |()| ())
    }

    fn create_partitions(
        &mut self,
        topic: &str,
        total: i32,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.0.create_partitions(topic, total, timeout).map_err(error)
    }

    fn delete_records(
        &mut self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<Result<Offset, Error>>, Error> {
        answers(self.0.delete_records(before, timeout), |low| low)
    }

    fn list_offsets(
        &mut self,
        partitions: &[(TopicPartition, OffsetSpec)],
        timeout: Duration,
    ) -> Result<Vec<Result<Option<Offset>, Error>>, Error> {
        let spec = |spec: OffsetSpec| match spec {
            OffsetSpec::Earliest => own::OffsetSpec::Earliest,
            OffsetSpec::Latest => own::OffsetSpec::Latest,
            OffsetSpec::MaxTimestamp => own::OffsetSpec::MaxTimestamp,
            OffsetSpec::AtOrAfter(timestamp) => own::OffsetSpec::AtOrAfter(timestamp),
        };
        let asked: Vec<_> = partitions.iter().map(|(tp, of)| (tp.clone(), spec(*of))).collect();
        let found = self.0.list_offsets(&asked, false, timeout);
        answers(found, |found| found.map(|found| found.offset))
    }

    fn list_groups(&mut self, timeout: Duration) -> Result<Vec<GroupListing>, Error> {
        let groups = self.0.list_groups(timeout).map_err(error)?;
        // Groups of other programs than consumers, such as Kafka Connect's, are not meant.
        let of_consumers =
            |group: &own::GroupListing| group.protocol.is_empty() || group.protocol == "consumer";
        let listing =
            |group: own::GroupListing| GroupListing { group: group.group, state: group.state };
        Ok(groups.into_iter().filter(of_consumers).map(listing).collect())
    }

    fn describe_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
        answers(self.0.describe_groups(groups, timeout), group)
    }

    fn delete_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        answers(self.0.delete_groups(groups, timeout), |()| ())
    }

    fn group_offsets(
        &mut self,
        group: &str,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, Error> {
        self.0.group_offsets(group, timeout).map_err(error)
    }

    fn alter_group_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), Error> {
        self.0.alter_group_offsets(group, offsets, timeout).map_err(error)
    }

    fn delete_group_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<(), Error> {
        self.0.delete_group_offsets(group, partitions, timeout).map_err(error)
    }
}
