//! Names and settings of topics and streams, as pure functions.

use std::collections::BTreeMap;

/// Size and settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Number of partitions.
    pub partitions: i32,
    /// Number of replicas of each partition.
    pub replication_factor: i16,
    /// Kafka's settings by name (`retention.ms`, `cleanup.policy`, ...).
    pub settings: BTreeMap<String, String>,
}

impl TopicConfig {
    /// A topic of that many partitions, one replica, Kafka's own settings (parity row T-11).
    pub fn new(partitions: i32) -> Self {
        Self { partitions, replication_factor: 1, settings: BTreeMap::new() }
    }
}

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const CLEANUP_POLICY: &str = "cleanup.policy";
/// Kafka's default of `retention.ms`.
const SEVEN_DAYS_MS: i64 = 7 * 24 * 3_600_000;

/// What an internal topic takes over from the topics that feed it (parity row T-22): the largest
/// of each, `-1` (no limit) above all. A topic without `retention.ms` counts as seven days, one
/// without `retention.bytes` as no limit.
///
/// # Panics
/// If `topics` is empty: every stream has a topic.
pub fn derive_config<'a>(topics: impl IntoIterator<Item = &'a TopicConfig>) -> TopicConfig {
    let mut topics = topics.into_iter();
    let first = topics.next().expect("a stream has at least one topic");
    let mut partitions = first.partitions;
    let mut replication_factor = first.replication_factor;
    let mut retention_ms = setting(first, RETENTION_MS, SEVEN_DAYS_MS);
    let mut retention_bytes = setting(first, RETENTION_BYTES, -1);
    for topic in topics {
        partitions = partitions.max(topic.partitions);
        replication_factor = replication_factor.max(topic.replication_factor);
        retention_ms = longer(retention_ms, setting(topic, RETENTION_MS, SEVEN_DAYS_MS));
        retention_bytes = longer(retention_bytes, setting(topic, RETENTION_BYTES, -1));
    }
    TopicConfig {
        partitions,
        replication_factor,
        settings: BTreeMap::from([
            (RETENTION_MS.to_owned(), retention_ms.to_string()),
            (RETENTION_BYTES.to_owned(), retention_bytes.to_string()),
        ]),
    }
}

fn setting(topic: &TopicConfig, name: &str, default: i64) -> i64 {
    topic.settings.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn longer(a: i64, b: i64) -> i64 {
    if a < 0 || b < 0 { -1 } else { a.max(b) }
}

/// Settings of a repartition topic (parity row T-23): nothing is deleted by age, because a replay
/// of old data would lose records unread; what was read is purged behind the committed offsets.
pub fn repartition_config(derived: &TopicConfig) -> TopicConfig {
    let mut config = derived.clone();
    config.settings.insert(RETENTION_MS.to_owned(), "-1".to_owned());
    config.settings.insert(CLEANUP_POLICY.to_owned(), "delete".to_owned());
    config
}

/// Settings of a changelog topic (parity row T-23).
pub fn changelog_config(derived: &TopicConfig) -> TopicConfig {
    TopicConfig {
        partitions: derived.partitions,
        replication_factor: derived.replication_factor,
        settings: BTreeMap::from([(CLEANUP_POLICY.to_owned(), "compact".to_owned())]),
    }
}

/// Id of a stream made of these topics (parity row T-21): sorted, each once, joined by `--`.
pub fn stream_id_of_topics<'a>(topics: impl IntoIterator<Item = &'a str>) -> String {
    let mut topics: Vec<&str> = topics.into_iter().collect();
    topics.sort_unstable();
    topics.dedup();
    topics.join("--")
}

/// Id of a stream re-keyed in place (parity row D-42).
pub fn stream_id_of_group_by(stream_id: &str, operation: &str) -> String {
    format!("{stream_id}--groupby--{operation}")
}

/// Name of a repartition topic (parity row T-20).
///
/// ```
/// use millstream_engine::topics::repartition_topic;
/// assert_eq!(repartition_topic("g", "orders", "user"), "repartition__g--orders--user");
/// ```
pub fn repartition_topic(group: &str, stream_id: &str, operation: &str) -> String {
    format!("repartition__{group}--{}--{operation}", nested(group, stream_id))
}

/// Name of a changelog topic (parity row T-20).
pub fn changelog_topic(group: &str, stream_id: &str, store_name: &str) -> String {
    format!("changelog__{group}--{}--{store_name}", nested(group, stream_id))
}

/// A stream id inside another name: an internal topic's own name loses the group and its dashes.
fn nested(group: &str, stream_id: &str) -> String {
    let is_internal = ["repartition", "changelog"]
        .iter()
        .any(|kind| stream_id.contains(&format!("{kind}__{group}--")));
    if !is_internal {
        return stream_id.to_owned();
    }
    stream_id.replace(&format!("__{group}--"), "--").replace("--", ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(partitions: i32, settings: &[(&str, &str)]) -> TopicConfig {
        TopicConfig {
            settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..TopicConfig::new(partitions)
        }
    }

    /// T-20: the names are a contract with existing consumer groups.
    #[test]
    fn t_20_names() {
        assert_eq!(repartition_topic("g", "orders", "user"), "repartition__g--orders--user");
        assert_eq!(changelog_topic("g", "orders", "default"), "changelog__g--orders--default");
        assert_eq!(
            changelog_topic("g", "repartition__g--orders--user", "tumbling_window_60000_sum"),
            "changelog__g--repartition.orders.user--tumbling_window_60000_sum"
        );
        assert_eq!(
            changelog_topic("g", "orders--groupby--user", "default"),
            "changelog__g--orders--groupby--user--default"
        );
        // Another group's internal topic is a topic like any other.
        assert_eq!(
            changelog_topic("g", "repartition__other--orders--user", "default"),
            "changelog__g--repartition__other--orders--user--default"
        );
    }

    /// T-21
    #[test]
    fn t_21_stream_ids() {
        assert_eq!(stream_id_of_topics(["orders"]), "orders");
        assert_eq!(stream_id_of_topics(["b", "a", "b"]), "a--b");
        assert_eq!(stream_id_of_group_by("orders", "user"), "orders--groupby--user");
    }

    /// T-22: maxima, `-1` wins; a missing `retention.ms` is seven days and no error.
    #[test]
    fn t_22_derived_config() {
        let derived = derive_config([
            &config(2, &[("retention.ms", "1000"), ("retention.bytes", "10")]),
            &config(5, &[("retention.bytes", "70"), ("cleanup.policy", "compact")]),
        ]);
        assert_eq!(derived, config(5, &[("retention.ms", "604800000"), ("retention.bytes", "70")]));
        let unlimited = derive_config([
            &config(1, &[("retention.ms", "-1")]),
            &config(1, &[("retention.ms", "5"), ("retention.bytes", "70")]),
        ]);
        assert_eq!(unlimited, config(1, &[("retention.ms", "-1"), ("retention.bytes", "-1")]));
    }

    /// T-23
    #[test]
    fn t_23_internal_topics() {
        let derived = derive_config([&config(3, &[("retention.ms", "1000")])]);
        assert_eq!(changelog_config(&derived), config(3, &[("cleanup.policy", "compact")]));
        assert_eq!(
            repartition_config(&derived),
            config(
                3,
                &[("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")]
            )
        );
    }
}
