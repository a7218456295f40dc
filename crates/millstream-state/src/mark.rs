//! Positions: which source offsets a checkpoint covers, and where in its changelog a store is.
//!
//! The text form (compact JSON, so that `kcat` shows something readable) is on disk and in
//! changelog markers; its version is the field `v`.

use std::collections::BTreeMap;
use std::fmt::Write;

use millstream_types::{Offset, Timestamp, TopicPartition};
use serde_json::Value;

/// Next offset to read per source partition: what is committed to Kafka. A partition of which
/// nothing is committed is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOffsets(BTreeMap<TopicPartition, Offset>);

impl SourceOffsets {
    /// No offsets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the next offset of a partition.
    pub fn set(&mut self, partition: TopicPartition, next: Offset) {
        self.0.insert(partition, next);
    }

    /// The next offset of a partition.
    pub fn get(&self, partition: &TopicPartition) -> Option<Offset> {
        self.0.get(partition).copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.0.iter().map(|(partition, next)| (partition, *next))
    }

    /// Whether none of these is beyond `committed` (parity row CK-32). A partition without a
    /// committed offset has everything before it.
    pub fn not_beyond(&self, committed: &SourceOffsets) -> bool {
        self.iter().all(|(partition, next)| committed.get(partition).is_some_and(|c| next <= c))
    }
}

impl FromIterator<(TopicPartition, Offset)> for SourceOffsets {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, Offset)>>(offsets: I) -> Self {
        Self(offsets.into_iter().collect())
    }
}

/// A checkpoint as one store partition sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointMark {
    /// Number of the store's checkpoints that changed something; its upper half counts how often
    /// the store was opened for writing. See [`CheckpointMark::outdates`].
    pub sequence: u64,
    /// Position in the changelog after the checkpoint's marker: the next offset to read. `None`
    /// for a store without a changelog (CK-36).
    pub changelog_offset: Option<Offset>,
    /// The source offsets that the state covers.
    pub covered: SourceOffsets,
    /// Greatest record timestamp that the store has observed, ms (ST-50).
    pub greatest_timestamp: Option<Timestamp>,
    /// Wall-clock time at which it was written, ms.
    pub written_ms: Timestamp,
}

/// What a backend holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreMark {
    /// Nothing: the store is new.
    #[default]
    Empty,
    /// The state of this checkpoint, whole.
    Checkpoint(CheckpointMark),
    /// A restore on its way: everything of the changelog below `position`. It can be taken up
    /// again, but is not a state to run on before it has reached `target`.
    Restoring {
        /// Next changelog offset to apply.
        position: Offset,
        /// The checkpoint it was to reach.
        target: CheckpointMark,
    },
}

/// The first sequence number of the next owner of a store whose last checkpoint has `sequence`.
pub(crate) fn next_owner(sequence: u64) -> u64 {
    ((sequence >> OWNER_SHIFT) + 1) << OWNER_SHIFT
}

const OWNER_SHIFT: u32 = 32;

impl CheckpointMark {
    /// Whether this checkpoint is the later one of the two, wherever their markers lie in the
    /// changelog. A process that was taken for dead may still write behind its successor; its
    /// marker is that of an earlier owner, or of the same number but with less covered.
    pub fn outdates(&self, other: &CheckpointMark) -> bool {
        let (owner, others) = (self.sequence >> OWNER_SHIFT, other.sequence >> OWNER_SHIFT);
        let behind = self.covered != other.covered && self.covered.not_beyond(&other.covered);
        owner > others || (owner == others && !behind)
    }

    /// The marker's value: everything but the position, which the marker cannot know.
    pub(crate) fn marker_text(&self) -> String {
        let mut text = self.open_text();
        text.push('}');
        text
    }

    /// Reads what [`Self::marker_text`] wrote.
    pub(crate) fn from_marker(text: &[u8]) -> Result<Self, &'static str> {
        Self::from_json(&parse(text)?)
    }

    fn open_text(&self) -> String {
        let mut text = String::from("{\"v\":1,\"sources\":{");
        let mut topic: Option<&str> = None;
        for (partition, next) in self.covered.iter() {
            if topic == Some(&*partition.topic) {
                text.push(',');
            } else {
                if topic.is_some() {
                    text.push_str("},");
                }
                topic = Some(&partition.topic);
                text.push_str(&Value::from(&*partition.topic).to_string());
                text.push_str(":{");
            }
            write!(text, "\"{}\":{next}", partition.partition).expect("writing to a string");
        }
        text.push_str(if topic.is_some() { "}}" } else { "}" });
        write!(text, ",\"sequence\":{}", self.sequence).expect("writing to a string");
        if let Some(greatest) = self.greatest_timestamp {
            write!(text, ",\"greatest_ms\":{greatest}").expect("writing to a string");
        }
        write!(text, ",\"written_ms\":{}", self.written_ms).expect("writing to a string");
        text
    }

    fn from_json(json: &Value) -> Result<Self, &'static str> {
        const BAD: &str = "it is not a checkpoint mark";
        let mut covered = SourceOffsets::new();
        for (topic, partitions) in json["sources"].as_object().ok_or(BAD)? {
            for (partition, next) in partitions.as_object().ok_or(BAD)? {
                let partition = partition.parse().map_err(|_| BAD)?;
                let next = next.as_i64().ok_or(BAD)?;
                covered.set(TopicPartition::new(topic.as_str(), partition), next);
            }
        }
        let optional = |name: &str| match json.get(name) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or(BAD),
        };
        Ok(Self {
            sequence: json["sequence"].as_u64().ok_or(BAD)?,
            changelog_offset: optional("changelog")?,
            covered,
            greatest_timestamp: optional("greatest_ms")?,
            written_ms: json["written_ms"].as_i64().ok_or(BAD)?,
        })
    }
}

impl StoreMark {
    /// The form in which a backend stores it.
    pub(crate) fn to_text(&self) -> String {
        let (mark, position) = match self {
            StoreMark::Empty => return String::new(),
            StoreMark::Checkpoint(mark) => (mark, None),
            StoreMark::Restoring { position, target } => (target, Some(position)),
        };
        let mut text = mark.open_text();
        if let Some(offset) = mark.changelog_offset {
            write!(text, ",\"changelog\":{offset}").expect("writing to a string");
        }
        if let Some(position) = position {
            write!(text, ",\"restoring\":{position}").expect("writing to a string");
        }
        text.push('}');
        text
    }

    /// Reads what [`Self::to_text`] wrote.
    pub(crate) fn from_text(text: &[u8]) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Ok(StoreMark::Empty);
        }
        let json = parse(text)?;
        let mark = CheckpointMark::from_json(&json)?;
        Ok(match json.get("restoring") {
            None => StoreMark::Checkpoint(mark),
            Some(position) => StoreMark::Restoring {
                position: position.as_i64().ok_or("its restore position is no number")?,
                target: mark,
            },
        })
    }
}

fn parse(text: &[u8]) -> Result<Value, &'static str> {
    let json: Value = serde_json::from_slice(text).map_err(|_| "it is not JSON")?;
    match json["v"].as_u64() {
        Some(1) => Ok(json),
        Some(_) => Err("it was written by a newer version of Millstream"),
        None => Err("it has no version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(list: &[(&str, i32, Offset)]) -> SourceOffsets {
        list.iter()
            .map(|(topic, partition, next)| (TopicPartition::new(*topic, *partition), *next))
            .collect()
    }

    fn mark() -> CheckpointMark {
        CheckpointMark {
            sequence: 7,
            changelog_offset: Some(40),
            covered: offsets(&[("a\"b", 1, 5), ("orders", 0, 12), ("orders", 2, 9)]),
            greatest_timestamp: Some(-3),
            written_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn golden_text() {
        let marker = r#"{"v":1,"sources":{"a\"b":{"1":5},"orders":{"0":12,"2":9}},"sequence":7,"greatest_ms":-3,"written_ms":1700000000000}"#;
        assert_eq!(mark().marker_text(), marker);
        let local = format!("{},\"changelog\":40}}", &marker[..marker.len() - 1]);
        assert_eq!(StoreMark::Checkpoint(mark()).to_text(), local);
        let restoring = StoreMark::Restoring { position: 38, target: mark() };
        let text = format!("{},\"restoring\":38}}", &local[..local.len() - 1]);
        assert_eq!(restoring.to_text(), text);
        assert_eq!(
            CheckpointMark::default().marker_text(),
            r#"{"v":1,"sources":{},"sequence":0,"written_ms":0}"#
        );
    }

    #[test]
    fn round_trip() {
        let without_position = CheckpointMark { changelog_offset: None, ..mark() };
        assert_eq!(
            CheckpointMark::from_marker(mark().marker_text().as_bytes()),
            Ok(without_position)
        );
        for mark in [
            StoreMark::Empty,
            StoreMark::Checkpoint(mark()),
            StoreMark::Checkpoint(CheckpointMark::default()),
            StoreMark::Restoring { position: 1, target: mark() },
        ] {
            assert_eq!(StoreMark::from_text(mark.to_text().as_bytes()), Ok(mark));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "{",
            "{}",
            "7",
            r#"{"v":2}"#,
            r#"{"v":1}"#,
            r#"{"v":1,"sources":{"a":{"x":1}},"sequence":0,"written_ms":0}"#,
        ] {
            assert!(StoreMark::from_text(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// CK-32: without a committed offset everything is beyond it.
    #[test]
    fn ck_32_not_beyond() {
        let covered = offsets(&[("a", 0, 10), ("b", 0, 3)]);
        assert!(covered.not_beyond(&covered));
        assert!(covered.not_beyond(&offsets(&[("a", 0, 11), ("b", 0, 3), ("c", 0, 0)])));
        assert!(!covered.not_beyond(&offsets(&[("a", 0, 9), ("b", 0, 3)])));
        assert!(!covered.not_beyond(&offsets(&[("a", 0, 10)])));
        assert!(!covered.not_beyond(&SourceOffsets::new()));
        assert!(SourceOffsets::new().not_beyond(&SourceOffsets::new()));
    }
}
