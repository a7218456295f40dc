//! DescribeLogDirs (35), versions 1 to 4: bytes on disk by partition (KIP-113). The size of the
//! disk itself is not looked up: -1, "unknown" (KIP-827).

use std::collections::{HashMap, HashSet};

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{text, topic_name};
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, Reply};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DescribeLogDirsRequest,
) -> Reply {
    if let Err(code) = broker.allow(context, AclOperation::Describe, Resource::Cluster) {
        let response = DescribeLogDirsResponse::default();
        return context.reply(&match context.version {
            3.. => response.with_error_code(code.code()),
            _ => response,
        });
    }
    // By topic its partitions; an empty set stands for all of them.
    let wanted: Option<HashMap<&str, HashSet<i32>>> = request.topics.as_ref().map(|topics| {
        let mut wanted: HashMap<&str, HashSet<i32>> = HashMap::new();
        for row in topics {
            wanted.entry(row.topic.as_str()).or_default().extend(&row.partitions);
        }
        wanted
    });
    let asked = |topic: &str, partition: i32| match &wanted {
        None => true,
        Some(wanted) => wanted
            .get(topic)
            .is_some_and(|partitions| partitions.is_empty() || partitions.contains(&partition)),
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
