//! Repartition and changelog topics: made before the first record (parity rows T-10, T-20, T-23,
//! T-24).

use std::time::Duration;

use millstream_engine::{InternalTopic, Topology};
use millstream_kafka::{Admin, NewTopic, code};

use crate::RuntimeError;

/// Makes what is missing and checks what is there. Topics that another process makes at the same
/// moment count as made (T-14).
pub(crate) fn ensure(
    admin: &mut dyn Admin,
    topology: &Topology,
    request_timeout: Duration,
    create_timeout: Duration,
) -> Result<(), RuntimeError> {
    let wanted = topology.internal_topics();
    if wanted.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = wanted.iter().map(|topic| &*topic.name).collect();
    let found = admin.describe_topics(&names, request_timeout)?;
    let mut missing = Vec::new();
    for (topic, found) in wanted.iter().zip(found) {
        match found {
            Ok(found) => check(topic, found.partitions.len())?,
            Err(error) if error.is_topic_missing() => missing.push(new_topic(topic)),
            Err(error) => return Err(error.into()),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    tracing::info!(
        "creating internal topics: {}",
        missing.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    for answer in admin.create_topics(&missing, create_timeout)? {
        match answer {
            Err(error) if error.code() != Some(code::TOPIC_ALREADY_EXISTS) => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    let names: Vec<&str> = missing.iter().map(|topic| topic.name.as_str()).collect();
    admin.await_topics(&names, create_timeout)?;
    Ok(())
}

fn check(topic: &InternalTopic, found: usize) -> Result<(), RuntimeError> {
    if found == topic.config.partitions as usize {
        return Ok(());
    }
    Err(RuntimeError::TopicConfigurationMismatch {
        topic: topic.name.to_string(),
        found,
        wanted: topic.config.partitions,
    })
}

fn new_topic(topic: &InternalTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        partitions: Some(topic.config.partitions),
        replication_factor: Some(i32::from(topic.config.replication_factor)),
        config: topic.config.settings.clone(),
    }
}
