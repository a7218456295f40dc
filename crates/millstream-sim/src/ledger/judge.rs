//! The last judgement: what is there when all is over, against what was noted.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, Outcome, Partition, RecordId};

/// A partition as the auditor found it.
#[derive(Clone, Debug, Default)]
pub struct PartitionAudit {
    /// First offset.
    pub start: i64,
    /// Offset behind the last record.
    pub end: i64,
    /// Every record of a producer, by offset, whatever became of its transaction.
    pub records: BTreeMap<i64, RecordId>,
    /// Offsets of what a reader of committed records is shown.
    pub committed: BTreeSet<i64>,
    /// The same by the auditor's own reading of the markers.
    pub committed_by_markers: BTreeSet<i64>,
    /// By offset, what records copy.
    pub sources: BTreeMap<i64, RecordId>,
    /// Length of its batches.
    pub bytes: u64,
}

/// What the auditor found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Every partition.
    pub partitions: BTreeMap<Partition, PartitionAudit>,
    /// What is committed in the group of each transactional id; -1 for nothing.
    pub carried: BTreeMap<&'static str, i64>,
    /// Per partition that is copied, its copy, and how far the group of the copiers has come.
    pub copied: BTreeMap<Partition, (Partition, i64)>,
}

/// Whether and where a record of a transaction is.
enum Place {
    Shown,
    Hidden,
    /// It was at an offset that retention has deleted.
    Deleted,
    Absent,
}

impl Ledger {
    /// Holds what is there against what was noted; what is wrong goes to the problems.
    pub fn judge(&mut self, audit: &Audit) {
        let mut problems = Vec::new();
        for (partition, found) in &audit.partitions {
            self.judge_partition(*partition, found, &mut problems);
            self.judge_delivered(*partition, found, &mut problems);
            self.judge_size(*partition, found, &mut problems);
            if self.is_compacted(*partition) {
                self.judge_compacted(*partition, found, &mut problems);
                continue;
            }
            self.judge_acked(*partition, found, &mut problems);
            self.judge_seen(*partition, found, &mut problems);
        }
        self.judge_transactions(audit, &mut problems);
        self.counts.judged = self.judge_readings(audit, &mut problems);
        self.counts.copied = self.judge_copies(audit, &mut problems);
        self.counts.compacted_away = self.count_compacted_away(audit);
        self.problems.append(&mut problems);
    }

    /// Each record once, each session's in order and, if nothing could be lost, without a gap: only
    /// what was given up may be missing, or what belongs to a transaction that was not committed.
    fn judge_partition(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        problems: &mut Vec<String>,
    ) {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut missing: BTreeMap<&str, u64> = BTreeMap::new();
        let excused = self.not_committed(partition);
        for (offset, id) in &found.records {
            let before = last.insert(&id.session, id.number);
            let in_order = before.is_none_or(|before| before < id.number);
            let first = if found.start > 0 { id.number } else { 0 };
            let skipped = before.map_or(first, |before| before + 1)..id.number;
            let missing = missing.entry(&id.session).or_default();
            *missing +=
                skipped.filter(|number| !excused.contains(&id.numbered(*number))).count() as u64;
            let given_up = self.gave_up.get(&(partition, id.session.clone()));
            let without_gap = *missing <= given_up.copied().unwrap_or(0);
            let (lost, compacted) = (self.may_be_lost(0), self.is_compacted(partition));
            // What a power loss has taken of the producers' state is read from the log again, where
            // compaction has left of a session its last batch only: an earlier one that is sent
            // again is not known for one, as with Kafka.
            let may_repeat = lost && compacted;
            if (!in_order && !may_repeat) || (!without_gap && !lost && !compacted) {
                problems.push(format!(
                    "{partition:?} has at {offset} number {} of {} behind number {before:?}",
                    id.number, id.session
                ));
            }
        }
        if found.committed != found.committed_by_markers {
            let differ: Vec<_> =
                found.committed.symmetric_difference(&found.committed_by_markers).collect();
            problems.push(format!(
                "readers of committed records of {partition:?} are shown other records than the \
                 markers say: {differ:?}"
            ));
        }
    }

    /// What was acknowledged is where it was said to be; or lost with all that was behind it.
    fn judge_acked(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        problems: &mut Vec<String>,
    ) {
        let Some(trail) = self.trails.get(&partition) else { return };
        // The lowest era of what was lost so far, in the order of offsets.
        let mut lost: Option<(i64, u32)> = None;
        for (offset, acked) in trail.acked.range(found.start..) {
            let there = found.records.get(offset) == Some(&acked.id);
            match there {
                false if !self.may_be_lost(acked.era) => problems.push(format!(
                    "{:?} was acknowledged at {offset} of {partition:?}, where {:?} is",
                    acked.id,
                    found.records.get(offset)
                )),
                false => {
                    let era = lost.map_or(acked.era, |(_, era)| era.max(acked.era));
                    lost = Some((*offset, era));
                }
                true => {
                    if let Some((hole, era)) = lost
                        && acked.era <= era
                    {
                        problems.push(format!(
                            "{:?} is at {offset} of {partition:?}, and what was acknowledged \
                             before it at {hole} is lost",
                            acked.id
                        ));
                    }
                }
            }
        }
    }

    /// What was acknowledged without an offset is there; or retention has deleted it with all that
    /// its session wrote before.
    fn judge_delivered(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        problems: &mut Vec<String>,
    ) {
        let Some(trail) = self.trails.get(&partition) else { return };
        let there: BTreeSet<&RecordId> = found.records.values().collect();
        for (id, era) in &trail.delivered {
            if there.contains(id) || self.may_be_lost(*era) || self.gave_way(partition, found, id) {
                continue;
            }
            let first = RecordId { session: id.session.clone(), number: 0 };
            let before = there.range::<&RecordId, _>(&first..id).next().is_some();
            if found.start == 0 || before {
                problems.push(format!("{id:?} was acknowledged in {partition:?} and is not there"));
            }
        }
    }

    /// What is copied exactly once, and in order: as far as the group of the copiers has come.
    /// Returns how many records that are.
    fn judge_copies(&self, audit: &Audit, problems: &mut Vec<String>) -> u64 {
        let mut copied = 0;
        if self.may_be_lost(0) {
            return copied;
        }
        for (partition, (copy, upto)) in &audit.copied {
            let (Some(original), Some(copy)) =
                (audit.partitions.get(partition), audit.partitions.get(copy))
            else {
                continue;
            };
            let wanted = original.committed.range(..*upto).map(|offset| &original.records[offset]);
            let copies = copy.committed.iter().map(|offset| copy.sources.get(offset));
            let (wanted, copies): (Vec<_>, Vec<_>) = (wanted.map(Some).collect(), copies.collect());
            copied += copies.len() as u64;
            if wanted != copies {
                let at = wanted.iter().zip(&copies).take_while(|(one, other)| one == other).count();
                problems.push(format!(
                    "of {partition:?} {} records were copied up to {upto}, and there are {} copies; \
                     the first that differs is {:?}, copied as {:?}",
                    wanted.len(),
                    copies.len(),
                    wanted.get(at),
                    copies.get(at)
                ));
            }
        }
        copied
    }

    /// What was read is still there, and what was shown as committed is shown so still.
    fn judge_seen(&self, partition: Partition, found: &PartitionAudit, problems: &mut Vec<String>) {
        let Some(trail) = self.trails.get(&partition) else { return };
        for (offset, seen) in trail.seen.range(found.start..) {
            if self.may_be_lost(seen.era) {
                continue;
            }
            if found.records.get(offset) != seen.id.as_ref() {
                problems.push(format!(
                    "{:?} was read at {offset} of {partition:?}, where now {:?} is",
                    seen.id,
                    found.records.get(offset)
                ));
            } else if seen.committed && !found.committed.contains(offset) {
                problems.push(format!(
                    "{:?} at {offset} of {partition:?} was shown as committed and is not any more",
                    seen.id
                ));
            }
        }
    }

    /// Whether retention may have taken a record whose place was never told: nothing that its
    /// session wrote before is there.
    fn may_be_deleted(&self, audit: &Audit, partition: Partition, id: &RecordId) -> bool {
        audit.partitions.get(&partition).is_some_and(|found| {
            let before =
                |other: &&RecordId| other.session == id.session && other.number < id.number;
            found.start > 0 && !found.records.values().any(|other| before(&other))
        })
    }

    /// Transactions are whole, and their offsets go with their records.
    fn judge_transactions(&self, audit: &Audit, problems: &mut Vec<String>) {
        let mut places: BTreeMap<(Partition, &RecordId), bool> = BTreeMap::new();
        for (partition, found) in &audit.partitions {
            for (offset, id) in &found.records {
                places.insert((*partition, id), found.committed.contains(offset));
            }
        }
        let mut deleted: BTreeSet<(Partition, &RecordId)> = BTreeSet::new();
        for (partition, trail) in &self.trails {
            let start = audit.partitions.get(partition).map_or(0, |found| found.start);
            let gone = trail.acked.range(..start);
            deleted.extend(gone.map(|(_, acked)| (*partition, &acked.id)));
        }
        let gave_way = |partition, id: &RecordId| {
            let found = audit.partitions.get(&partition);
            found.is_some_and(|found| self.gave_way(partition, found, id))
        };
        // The greatest number of each transactional id whose offset must be there, and those that
        // may be.
        let mut must: BTreeMap<&str, i64> = BTreeMap::new();
        let mut may: BTreeSet<(&str, i64)> = BTreeSet::new();
        for ((transactional_id, number), transaction) in &self.transactions {
            let what = format!("transaction {number} of {transactional_id}");
            let (mut shown, mut not_shown) = (0, 0);
            for (partition, record) in &transaction.writes {
                let id = RecordId { session: transaction.session.clone(), number: *record };
                let place = match places.get(&(*partition, &id)) {
                    Some(true) => Place::Shown,
                    Some(false) => Place::Hidden,
                    None if deleted.contains(&(*partition, &id)) => Place::Deleted,
                    None if gave_way(*partition, &id) => Place::Deleted,
                    // Where a machine's records were, it does not tell.
                    None if self.may_be_deleted(audit, *partition, &id) => Place::Deleted,
                    None => Place::Absent,
                };
                match place {
                    Place::Shown => shown += 1,
                    Place::Hidden | Place::Absent => not_shown += 1,
                    Place::Deleted => {}
                }
            }
            let outcome = transaction.outcome;
            let whole = !self.may_be_lost(transaction.era);
            if outcome == Outcome::NotCommitted && shown > 0 && whole {
                problems.push(format!("{what} was never committed, and {shown} records are shown"));
            } else if outcome == Outcome::Committed && not_shown > 0 && whole {
                problems.push(format!(
                    "{what} was committed: {shown} records are shown and {not_shown} are not"
                ));
            } else if shown > 0 && not_shown > 0 && whole {
                problems.push(format!("{what} is torn: {shown} records shown, {not_shown} not"));
            }
            let offset = *number as i64 + 1;
            // An offset is no safer from a decision that is carried out again than records are.
            if transaction.carries_offset && (outcome != Outcome::NotCommitted || !whole) {
                may.insert((*transactional_id, offset));
                if whole && (outcome == Outcome::Committed || shown > 0) {
                    must.insert(*transactional_id, offset);
                }
                if whole && not_shown > 0 {
                    may.remove(&(*transactional_id, offset));
                }
            }
        }
        for (transactional_id, offset) in &audit.carried {
            let least = must.get(transactional_id).copied().unwrap_or(-1);
            let known = *offset == -1 || may.contains(&(*transactional_id, *offset));
            if *offset < least || !known {
                problems.push(format!(
                    "the offset that transactions of {transactional_id} carry is {offset}: at least \
                     {least} was committed, and it must be of one that was"
                ));
            }
        }
    }
}
