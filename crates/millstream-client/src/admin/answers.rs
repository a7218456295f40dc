//! Puts what a response says into the order of what was asked.

use std::collections::BTreeMap;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use millstream_types::TopicPartition;

use crate::error::{KafkaError, code};

/// What a response says about each thing, by its key.
pub(super) struct Found<K, T>(BTreeMap<K, Result<T, KafkaError>>);

impl<K: Ord, T> FromIterator<(K, Result<T, KafkaError>)> for Found<K, T> {
    fn from_iter<I: IntoIterator<Item = (K, Result<T, KafkaError>)>>(found: I) -> Self {
        Self(found.into_iter().collect())
    }
}

impl<K: Ord, T: Clone> Found<K, T> {
    /// An answer for each key, in this order. What the response leaves out is an error.
    pub(super) fn in_order(&self, keys: impl IntoIterator<Item = K>) -> Vec<Result<T, KafkaError>> {
        keys.into_iter()
            .map(|key| self.0.get(&key).cloned().unwrap_or_else(|| Err(left_out())))
            .collect()
    }
}

fn left_out() -> KafkaError {
    KafkaError::with(code::BAD_MESSAGE, Some("the broker's answer says nothing about it"))
}

/// `Ok` of what a code of 0 comes with.
pub(super) fn checked<T>(code: i16, text: Option<&str>, answer: T) -> Result<T, KafkaError> {
    if code == 0 { Ok(answer) } else { Err(KafkaError::with(code, text)) }
}

/// A text of the protocol.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name in the protocol.
pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A partition as a response names it.
pub(super) fn partition(topic: &TopicName, partition: i32) -> TopicPartition {
    TopicPartition::new(topic.0.as_str(), partition)
}

/// Puts partitions together by topic, the topics in the order of their first partition.
pub(super) fn by_topic<'a, T>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> Vec<(TopicName, Vec<T>)> {
    let mut topics: Vec<(&str, Vec<T>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (partition, item) in partitions {
        let topic: &str = &partition.topic;
        let place = *places.entry(topic).or_insert_with(|| {
            topics.push((topic, Vec::new()));
            topics.len() - 1
        });
        topics[place].1.push(item);
    }
    topics.into_iter().map(|(topic, items)| (topic_name(topic), items)).collect()
}
