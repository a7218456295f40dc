//! Offsets that a group has committed.

use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};
use millstream_types::{Offset, TopicPartition};

use super::Admin;
use super::answers::{by_topic, checked, partition, text};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use crate::coordinators::CoordinatorKey;
use crate::error::{Error, KafkaError};

/// What a coordinator says about partitions of one group.
type PartitionCodes = Vec<(TopicPartition, i16)>;

fn coordinator(group: &str) -> Route {
    Route::Coordinator(CoordinatorKey::Group(group.to_owned()))
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// The codes of all partitions, unless one says that the whole request has to be made again.
fn settled(group: &str, codes: PartitionCodes) -> Result<PartitionCodes, KafkaError> {
    let route = coordinator(group);
    match codes.iter().find(|(_, code)| route.tries_again(i32::from(*code))) {
        Some((_, code)) => Err(KafkaError::of(*code)),
        None => Ok(codes),
    }
}

/// The first partition that was refused.
fn all_taken(action: &str, codes: PartitionCodes) -> Result<(), Error> {
    match codes.into_iter().find(|(_, code)| *code != 0) {
        Some((partition, code)) => {
            Err(Error::kafka(format!("{action}, {partition}"), KafkaError::of(code)))
        }
        None => Ok(()),
    }
}

struct FetchOffsets;

impl Operation for FetchOffsets {
    type Request = OffsetFetchRequest;
    type Item = String;
    type Answer = Vec<(TopicPartition, Offset, i16)>;
    // Version 2 was the first that knows "all partitions"; 10 names topics by id (KIP-848).
    const VERSIONS: (i16, i16) = (2, 9);
    const MANY: bool = false;

    fn route(&self, group: &String) -> Route {
        coordinator(group)
    }

    fn action(&self, group: &String) -> String {
        format!("read the offsets of group {group:?}")
    }

    fn request(&self, groups: &[&String], version: i16, _: i32) -> OffsetFetchRequest {
        if version >= 8 {
            let group = |group: &&String| {
                OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None)
            };
            OffsetFetchRequest::default().with_groups(groups.iter().map(group).collect())
        } else {
            OffsetFetchRequest::default().with_group_id(group_id(groups[0])).with_topics(None)
        }
    }

    fn throttle_ms(response: &OffsetFetchResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        groups: &[&String],
        response: OffsetFetchResponse,
        reply: Reply,
    ) -> Answers<Self::Answer> {
        let mut offsets = Vec::new();
        let code = if reply.version >= 8 {
            let group = response
                .groups
                .into_iter()
                .find(|group| group.group_id.as_str() == groups[0].as_str())
                .ok_or_else(|| KafkaError::of(crate::error::code::BAD_MESSAGE))?;
            for topic in group.topics {
                offsets.extend(topic.partitions.iter().map(|found| {
                    let key = partition(&topic.name, found.partition_index);
                    (key, found.committed_offset, found.error_code)
                }));
            }
            group.error_code
        } else {
            for topic in response.topics {
                offsets.extend(topic.partitions.iter().map(|found| {
                    let key = partition(&topic.name, found.partition_index);
                    (key, found.committed_offset, found.error_code)
                }));
            }
            response.error_code
        };
        checked(code, None, offsets).map(|offsets| vec![Ok(offsets)])
    }
}

/// A group with offsets to set.
type NewOffsets = (String, Vec<(TopicPartition, Offset)>);

struct CommitOffsets;

impl Operation for CommitOffsets {
    type Request = OffsetCommitRequest;
    type Item = NewOffsets;
    type Answer = PartitionCodes;
    // Version 10 names topics by id (KIP-848).
    const VERSIONS: (i16, i16) = (2, 9);
    const MANY: bool = false;

    fn route(&self, (group, _): &NewOffsets) -> Route {
        coordinator(group)
    }

    fn action(&self, (group, _): &NewOffsets) -> String {
        format!("set offsets of group {group:?}")
    }

    fn request(&self, items: &[&NewOffsets], _: i16, _: i32) -> OffsetCommitRequest {
        let (group, offsets) = items[0];
        let partitions = offsets.iter().map(|(partition, offset)| {
            let commit = OffsetCommitRequestPartition::default()
                .with_partition_index(partition.partition)
                .with_committed_offset(*offset)
                .with_committed_metadata(Some(text("")));
            (partition, commit)
        });
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
            OffsetCommitRequestTopic::default().with_name(name).with_partitions(partitions)
        });
        // As nobody of the group: that is only taken while it has no members.
        OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect())
    }

    fn throttle_ms(response: &OffsetCommitResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        items: &[&NewOffsets],
        response: OffsetCommitResponse,
        _: Reply,
    ) -> Answers<PartitionCodes> {
        let mut codes = Vec::new();
        for topic in response.topics {
            codes.extend(
                topic.partitions.iter().map(|answer| {
                    (partition(&topic.name, answer.partition_index), answer.error_code)
                }),
            );
        }
        Ok(vec![settled(&items[0].0, codes)])
    }
}

/// A group with offsets to forget.
type OldOffsets = (String, Vec<TopicPartition>);

struct DeleteOffsets;

impl Operation for DeleteOffsets {
    type Request = OffsetDeleteRequest;
    type Item = OldOffsets;
    type Answer = PartitionCodes;
    const VERSIONS: (i16, i16) = (0, 0);
    const MANY: bool = false;

    fn route(&self, (group, _): &OldOffsets) -> Route {
        coordinator(group)
    }

    fn action(&self, (group, _): &OldOffsets) -> String {
        format!("forget offsets of group {group:?}")
    }

    fn request(&self, items: &[&OldOffsets], _: i16, _: i32) -> OffsetDeleteRequest {
        let (group, partitions) = items[0];
        let partitions = partitions.iter().map(|partition| {
            let index = partition.partition;
            (partition, OffsetDeleteRequestPartition::default().with_partition_index(index))
        });
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
            OffsetDeleteRequestTopic::default().with_name(name).with_partitions(partitions)
        });
        OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(topics.collect())
    }

    fn throttle_ms(response: &OffsetDeleteResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        items: &[&OldOffsets],
        response: OffsetDeleteResponse,
        _: Reply,
    ) -> Answers<PartitionCodes> {
        let mut codes = Vec::new();
        for topic in response.topics {
            codes.extend(
                topic.partitions.iter().map(|answer| {
                    (partition(&topic.name, answer.partition_index), answer.error_code)
                }),
            );
        }
        let codes = checked(response.error_code, None, codes)?;
        Ok(vec![settled(&items[0].0, codes)])
    }
}

impl Admin {
    /// All offsets that a group has committed, sorted by partition. None for a group that does
    /// not exist, as Kafka has it.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    pub fn group_offsets(
        &mut self,
        group: &str,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, Error> {
        let deadline = self.within(timeout);
        let found = self.call_one(FetchOffsets, group.to_owned(), deadline)?;
        let action = FetchOffsets.action(&group.to_owned());
        let codes = found.iter().map(|(partition, _, code)| (partition.clone(), *code)).collect();
        all_taken(&action, codes)?;
        let mut offsets: Vec<_> = found
            .into_iter()
            .filter(|(_, offset, _)| *offset >= 0)
            .map(|(partition, offset, _)| (partition, offset))
            .collect();
        offsets.sort();
        Ok(offsets)
    }

    /// Sets offsets of a group that has no members.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    pub fn alter_group_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<(), Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let deadline = self.within(timeout);
        let item = (group.to_owned(), offsets.to_vec());
        let action = CommitOffsets.action(&item);
        all_taken(&action, self.call_one(CommitOffsets, item, deadline)?)
    }

    /// Forgets offsets of a group that does not read these topics.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    pub fn delete_group_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<(), Error> {
        if partitions.is_empty() {
            return Ok(());
        }
        let deadline = self.within(timeout);
        let item = (group.to_owned(), partitions.to_vec());
        let action = DeleteOffsets.action(&item);
        all_taken(&action, self.call_one(DeleteOffsets, item, deadline)?)
    }
}
