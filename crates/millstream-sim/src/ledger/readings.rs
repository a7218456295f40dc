//! What a client's consumer hands out: in order, nothing from before where it was to begin, and
//! nothing left out.

use std::collections::BTreeSet;

use super::{Audit, Ledger, Partition};

/// Names a reading.
pub type ReadingId = usize;

/// Where a reading begins, beyond which nothing may be left out.
#[derive(Clone, Copy, Debug)]
enum Start {
    Known(i64),
    /// Where the group's committed offset is; it is looked up with what is told first.
    Committed(&'static str),
}

/// A partition as one consumer reads it, from an assignment or a seek on.
#[derive(Debug)]
pub(super) struct Reading {
    reader: String,
    partition: Partition,
    committed: bool,
    /// Nothing from before may be handed out.
    floor: i64,
    start: Start,
    offsets: BTreeSet<i64>,
    /// All up to there was handed out.
    behind: i64,
    /// A power loss has cut the log below it: nothing of it is judged.
    is_broken: bool,
}

impl Ledger {
    /// A consumer begins to read a partition, at `floor` or behind it.
    pub fn begin_reading(
        &mut self,
        reader: &str,
        partition: Partition,
        committed: bool,
        floor: i64,
    ) -> ReadingId {
        self.readings.push(Reading {
            reader: reader.to_owned(),
            partition,
            committed,
            floor,
            start: Start::Known(i64::MAX),
            offsets: BTreeSet::new(),
            behind: i64::MIN,
            is_broken: false,
        });
        self.readings.len() - 1
    }

    /// A reading leaves nothing out from `offset` on.
    pub fn starts_at(&mut self, reading: ReadingId, offset: i64) {
        self.readings[reading].start = Start::Known(offset);
    }

    /// A reading leaves nothing out from the group's committed offset on.
    pub fn starts_where_committed(&mut self, reading: ReadingId, group: &'static str) {
        self.readings[reading].start = Start::Committed(group);
    }

    /// Whether logs may have been cut, so that readers go back.
    fn is_cut(&self) -> bool {
        !self.strict && self.era > 0
    }

    /// A reading that tells something: where it begins is known from now on. `None`: it is broken.
    fn resolve(&mut self, reading: ReadingId, is_certain: bool) -> Option<&mut Reading> {
        let is_cut = self.is_cut();
        let found = &mut self.readings[reading];
        found.is_broken |= is_cut || !is_certain;
        if let Start::Committed(group) = found.start {
            let asked = self.asked.get(&(group, found.partition));
            found.start = Start::Known(asked.copied().unwrap_or(0));
        }
        (!found.is_broken).then_some(found)
    }

    /// A record was handed out. `is_certain`: it was fetched in this era.
    pub fn handed(&mut self, reading: ReadingId, offset: i64, is_certain: bool) {
        self.counts.handed += 1;
        let Some(found) = self.resolve(reading, is_certain) else { return };
        let Reading { reader, partition, floor, behind, .. } = &*found;
        let problem = if offset < *floor {
            Some(format!("{reader} reads {partition:?} from {floor} on and is handed {offset}"))
        } else if offset < *behind {
            Some(format!("{reader} is handed {offset} of {partition:?} behind {behind}"))
        } else {
            None
        };
        found.behind = offset + 1;
        found.offsets.insert(offset);
        self.problems.extend(problem);
    }

    /// Everything before `offset` was handed out.
    pub fn handed_all(&mut self, reading: ReadingId, offset: i64) {
        let Some(found) = self.resolve(reading, true) else { return };
        let Reading { reader, partition, behind, .. } = &*found;
        let problem = (offset < *behind).then(|| {
            format!("{reader} is told that {partition:?} ends at {offset}, behind {behind}")
        });
        found.behind = offset;
        self.problems.extend(problem);
    }

    /// A group's member asks for an offset to be committed.
    pub fn commit_asked(&mut self, group: &'static str, partition: Partition, offset: i64) {
        let highest = self.asked.entry((group, partition)).or_insert(0);
        *highest = (*highest).max(offset);
    }

    /// Nothing was left out: what is shown still was shown then. Returns how many readings that is
    /// known of.
    pub(super) fn judge_readings(&self, audit: &Audit, problems: &mut Vec<String>) -> u64 {
        let mut judged = 0;
        if self.is_cut() {
            // Transactions of before may be torn, or be shown though they were aborted.
            return judged;
        }
        for reading in self.readings.iter().filter(|reading| !reading.is_broken) {
            let Reading { reader, partition, committed, offsets, behind, .. } = reading;
            let (Start::Known(start), Some(found)) =
                (reading.start, audit.partitions.get(partition))
            else {
                continue;
            };
            // A power loss may bring deleted segments back: nobody waits for their names to go.
            if start >= *behind || (self.era > 0 && self.is_retained(*partition)) {
                continue;
            }
            judged += 1;
            let shown: Vec<i64> = match committed {
                true => found.committed.range(start..*behind).copied().collect(),
                false => found.records.range(start..*behind).map(|(offset, _)| *offset).collect(),
            };
            let left_out: Vec<i64> =
                shown.into_iter().filter(|offset| !offsets.contains(offset)).collect();
            if !left_out.is_empty() {
                problems.push(format!(
                    "{reader} read {partition:?} from {start} to {behind} without {left_out:?}"
                ));
            }
        }
        judged
    }
}
