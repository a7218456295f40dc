//! Offsets of partitions: looking them up, and moving a log's start.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use millstream_types::{Offset, Timestamp, TopicPartition};

use super::Admin;
use super::answers::{Found, by_topic, checked, partition};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use crate::error::{Error, KafkaError, code};

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// Of the first record.
    Earliest,
    /// After the last record.
    Latest,
    /// Of the record with the highest timestamp (KIP-734, Kafka 3.0).
    MaxTimestamp,
    /// Of the first record whose timestamp is at least this.
    AtOrAfter(Timestamp),
    /// Of the first record on the broker's own disk (KIP-405, Kafka 3.6).
    EarliestLocal,
    /// Of the last record in remote storage (KIP-1005, Kafka 3.9).
    LatestTiered,
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            // Below 0 the numbers mean something else.
            Self::AtOrAfter(timestamp) => timestamp.max(0),
        }
    }
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp; `None` where it is not that of a record.
    pub timestamp: Option<Timestamp>,
    /// Epoch of the leader that wrote the record (KIP-320), if the broker knows it.
    pub leader_epoch: Option<i32>,
}

struct ListOffsets {
    read_committed: bool,
}

impl Operation for ListOffsets {
    type Request = ListOffsetsRequest;
    type Item = (TopicPartition, OffsetSpec);
    type Answer = Option<FoundOffset>;
    const VERSIONS: (i16, i16) = (1, 10);

    fn needs(&self, (_, spec): &Self::Item) -> i16 {
        match spec {
            OffsetSpec::LatestTiered => 9,
            OffsetSpec::EarliestLocal => 8,
            OffsetSpec::MaxTimestamp => 7,
            _ if self.read_committed => 2,
            _ => 1,
        }
    }

    fn route(&self, (partition, _): &Self::Item) -> Route {
        Route::Leader(partition.clone())
    }

    fn action(&self, (partition, _): &Self::Item) -> String {
        format!("look up an offset of {partition}")
    }

    fn request(&self, items: &[&Self::Item], version: i16, limit_ms: i32) -> ListOffsetsRequest {
        let partitions = items.iter().map(|(partition, spec)| {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(spec.timestamp());
            (partition, asked)
        });
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default().with_name(name).with_partitions(partitions)
        });
        let mut request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(topics.collect());
        if version >= 2 {
            request = request.with_isolation_level(i8::from(self.read_committed));
        }
        if version >= 10 {
            request = request.with_timeout_ms(limit_ms);
        }
        request
    }

    fn throttle_ms(response: &ListOffsetsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        items: &[&Self::Item],
        response: ListOffsetsResponse,
        _: Reply,
    ) -> Answers<Option<FoundOffset>> {
        let mut found = BTreeMap::new();
        for topic in response.topics {
            for answer in topic.partitions {
                let key = partition(&topic.name, answer.partition_index);
                let offset = FoundOffset {
                    offset: answer.offset,
                    timestamp: (answer.timestamp >= 0).then_some(answer.timestamp),
                    leader_epoch: (answer.leader_epoch >= 0).then_some(answer.leader_epoch),
                };
                found.insert(key, checked(answer.error_code, None, offset));
            }
        }
        let found: Found<_, _> = found.into_iter().collect();
        let answers = found.in_order(items.iter().map(|(partition, _)| partition.clone()));
        let there = |((_, spec), answer): (&&Self::Item, Result<FoundOffset, KafkaError>)| {
            let answer = answer?;
            // Every partition has a start and an end. Taken for "empty", a broker that does not
            // name one would lose what is there.
            let always = matches!(spec, OffsetSpec::Earliest | OffsetSpec::Latest);
            if always && answer.offset < 0 {
                let text = "the broker names no offset where there is always one";
                return Err(KafkaError::with(code::BAD_MESSAGE, Some(text)));
            }
            Ok((answer.offset >= 0).then_some(answer))
        };
        Ok(items.iter().zip(answers).map(there).collect())
    }
}

struct DeleteRecords;

impl Operation for DeleteRecords {
    type Request = DeleteRecordsRequest;
    type Item = (TopicPartition, Offset);
    type Answer = Offset;
    const VERSIONS: (i16, i16) = (0, 2);

    fn route(&self, (partition, _): &Self::Item) -> Route {
        Route::Leader(partition.clone())
    }

    fn action(&self, (partition, _): &Self::Item) -> String {
        format!("delete records of {partition}")
    }

    fn request(&self, items: &[&Self::Item], _: i16, limit_ms: i32) -> DeleteRecordsRequest {
        let partitions = items.iter().map(|(partition, before)| {
            let asked = DeleteRecordsPartition::default()
                .with_partition_index(partition.partition)
                .with_offset(*before);
            (partition, asked)
        });
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
            DeleteRecordsTopic::default().with_name(name).with_partitions(partitions)
        });
        DeleteRecordsRequest::default().with_topics(topics.collect()).with_timeout_ms(limit_ms)
    }

    fn throttle_ms(response: &DeleteRecordsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        items: &[&Self::Item],
        response: DeleteRecordsResponse,
        _: Reply,
    ) -> Answers<Offset> {
        let mut found = BTreeMap::new();
        for topic in response.topics {
            for answer in topic.partitions {
                let key = partition(&topic.name, answer.partition_index);
                found.insert(key, checked(answer.error_code, None, answer.low_watermark));
            }
        }
        let found: Found<_, _> = found.into_iter().collect();
        Ok(found.in_order(items.iter().map(|(partition, _)| partition.clone())))
    }
}

impl Admin {
    /// Offsets by position or time; `None` where no record fits. With `read_committed`, the latest
    /// offset is the last stable one, before the first transaction that is open (KIP-98).
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn list_offsets(
        &mut self,
        partitions: &[(TopicPartition, OffsetSpec)],
        read_committed: bool,
        timeout: Duration,
    ) -> Result<Vec<Result<Option<FoundOffset>, Error>>, Error> {
        let deadline = self.within(timeout);
        let mut answers: Vec<Option<Result<Option<FoundOffset>, Error>>> =
            vec![None; partitions.len()];
        // A broker refuses a request that names a partition twice: what is asked for the second
        // time goes into a request of its own, and so on.
        let mut seen: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        let mut turns: Vec<Vec<usize>> = Vec::new();
        for (index, (partition, _)) in partitions.iter().enumerate() {
            let times = seen.entry(partition).or_default();
            if turns.len() == *times {
                turns.push(Vec::new());
            }
            turns[*times].push(index);
            *times += 1;
        }
        for turn in turns {
            let asked = turn.iter().map(|index| partitions[*index].clone()).collect();
            let found = self.call(ListOffsets { read_committed }, asked, deadline)?;
            for (index, answer) in turn.into_iter().zip(found) {
                answers[index] = Some(answer);
            }
        }
        Ok(answers.into_iter().map(|answer| answer.expect("each had its turn")).collect())
    }

    /// Deletes the records before the given offsets (-1: all) and returns each partition's new
    /// first offset.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn delete_records(
        &mut self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<Result<Offset, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DeleteRecords, before.to_vec(), deadline)
    }
}
