//! Where brokers keep their logs, and how large those are (KIP-113).

use std::time::Duration;

use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use millstream_types::TopicPartition;

use super::Admin;
use super::answers::{checked, partition};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use crate::error::{Error, KafkaError};

/// A copy of a partition in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSize {
    /// The partition.
    pub partition: TopicPartition,
    /// Its log in bytes.
    pub bytes: i64,
    /// Records that this copy is behind.
    pub lag: i64,
    /// Whether the copy is being made to take the place of one in another folder.
    pub future: bool,
}

/// A folder of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// What is wrong with it, such as `KAFKA_STORAGE_ERROR`.
    pub error: Option<KafkaError>,
    /// What is in it, sorted by partition.
    pub replicas: Vec<ReplicaSize>,
    /// Size of its volume in bytes (KIP-827, Kafka 3.3).
    pub total_bytes: Option<i64>,
    /// What is free of it.
    pub usable_bytes: Option<i64>,
}

struct DescribeLogDirs;

impl Operation for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;
    type Item = i32;
    type Answer = Vec<LogDir>;
    const VERSIONS: (i16, i16) = (1, 4);

    fn route(&self, broker: &i32) -> Route {
        Route::Node(*broker)
    }

    fn action(&self, broker: &i32) -> String {
        format!("describe the log folders of broker {broker}")
    }

    fn request(&self, _: &[&i32], _: i16, _: i32) -> DescribeLogDirsRequest {
        DescribeLogDirsRequest::default().with_topics(None)
    }

    fn throttle_ms(response: &DescribeLogDirsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        brokers: &[&i32],
        response: DescribeLogDirsResponse,
        reply: Reply,
    ) -> Answers<Vec<LogDir>> {
        let known = |bytes: i64| (reply.version >= 4 && bytes >= 0).then_some(bytes);
        let dirs = response.results.into_iter().map(|dir| {
            let replicas = dir.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|found| ReplicaSize {
                    partition: partition(&topic.name, found.partition_index),
                    bytes: found.partition_size,
                    lag: found.offset_lag,
                    future: found.is_future_key,
                })
            });
            let mut replicas: Vec<ReplicaSize> = replicas.collect();
            replicas.sort_by(|a, b| a.partition.cmp(&b.partition));
            LogDir {
                path: dir.log_dir.to_string(),
                error: checked(dir.error_code, None, ()).err(),
                replicas,
                total_bytes: known(dir.total_bytes),
                usable_bytes: known(dir.usable_bytes),
            }
        });
        let dirs: Vec<LogDir> = dirs.collect();
        checked(response.error_code, None, dirs)
            .map(|dirs| brokers.iter().map(|_| Ok(dirs.clone())).collect())
    }
}

impl Admin {
    /// The folders of these brokers with all that is in them.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_log_dirs(
        &mut self,
        brokers: &[i32],
        timeout: Duration,
    ) -> Result<Vec<Result<Vec<LogDir>, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DescribeLogDirs, brokers.to_vec(), deadline)
    }
}
