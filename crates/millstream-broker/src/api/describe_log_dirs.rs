//! DescribeLogDirs (35), versions 1 to 4: bytes on disk by partition (KIP-113). The size of the
//! disk itself is not looked up: -1, "unknown" (KIP-827).

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{text, topic_name};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DescribeLogDirsRequest,
) -> Reply {
    let asked = |topic: &str, partition: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|row| {
            row.topic.as_str() == topic
                && (row.partitions.is_empty() || row.partitions.contains(&partition))
        }),
    };
    let topics = broker
        .topics
        .iter()
        .filter_map(|topic| {
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .enumerate()
                .filter(|(partition, _)| asked(&topic.name, *partition as i32))
                .map(|(partition, log)| {
                    DescribeLogDirsPartition::default()
                        .with_partition_index(partition as i32)
                        .with_partition_size(log.size() as i64)
                })
                .collect();
            let row = DescribeLogDirsTopic::default().with_name(topic_name(&topic.name));
            (!partitions.is_empty()).then(|| row.with_partitions(partitions))
        })
        .collect();
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(text(broker.data_dir.join("topics").display().to_string()))
        .with_topics(topics);
    if context.version >= 4 {
        result = result.with_total_bytes(-1).with_usable_bytes(-1);
    }
    context.reply(&DescribeLogDirsResponse::default().with_results(vec![result]))
}
