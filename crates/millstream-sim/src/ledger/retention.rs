//! What retention may take: from the front, and no more than the settings say.

use super::{Ledger, Partition, PartitionAudit};

/// `retention.ms` and `retention.bytes` of a topic; `None`: without limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Records younger than this stay.
    pub ms: Option<i64>,
    /// The log does not become smaller than this.
    pub bytes: Option<u64>,
}

impl Ledger {
    /// Says what a topic's retention is. It is judged where clocks go right.
    pub fn set_retention(&mut self, topic: &'static str, retention: Retention) {
        self.retention.insert(topic, retention);
    }

    /// Whether retention takes something of a partition.
    pub(super) fn is_retained(&self, (topic, _): Partition) -> bool {
        let limited = |one: &Retention| one.ms.is_some() || one.bytes.is_some();
        self.retention.get(topic).is_some_and(limited)
    }

    /// A partition begins at `start` at that time of the wall clocks: what was before is gone.
    pub fn begins_at(&mut self, partition: Partition, start: i64, wall: i64) {
        let Some(retention) = self.retention.get(partition.0).copied() else { return };
        let Some(trail) = self.trails.get(&partition) else { return };
        let from = trail.marks.start;
        if from >= start {
            return;
        }
        let mut gone = trail.seen.range(from..start);
        let problem = match retention {
            Retention { ms: None, bytes: None } => Some("nothing is to be deleted".to_owned()),
            Retention { ms: Some(ms), bytes: None } => {
                gone.find(|(_, seen)| seen.timestamp + ms > wall).map(|(offset, seen)| {
                    format!("the record at {offset} is {} ms old", wall - seen.timestamp)
                })
            }
            _ => None,
        };
        if let Some(what) = problem {
            self.problem(format!("{partition:?} begins at {start} instead of {from}: {what}"));
        }
    }

    /// What is left is at least what the settings say.
    pub(super) fn judge_size(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        problems: &mut Vec<String>,
    ) {
        let Some(Retention { ms: None, bytes: Some(bytes) }) = self.retention.get(partition.0)
        else {
            return;
        };
        if found.start > 0 && found.bytes < *bytes && !self.may_be_lost(0) {
            problems.push(format!(
                "{partition:?} begins at {}, and only {} bytes are left of {bytes}",
                found.start, found.bytes
            ));
        }
    }
}
