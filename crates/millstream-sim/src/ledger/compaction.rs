//! What must hold where a log is compacted: each key's last record stays, and nothing comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Audit, Ledger, Outcome, Partition, PartitionAudit, RecordId, Transaction};

impl Ledger {
    /// Names the compacted topics. `tombstones_stay`: within a run none of them is old enough to
    /// go.
    pub fn set_compacted(&mut self, topics: impl IntoIterator<Item = (&'static str, bool)>) {
        self.compacted = topics.into_iter().collect();
    }

    pub(super) fn is_compacted(&self, (topic, _): Partition) -> bool {
        self.compacted.contains_key(topic)
    }

    /// A session is about to write a record, outside of any transaction.
    pub fn sends(&mut self, partition: Partition, id: &RecordId) {
        if id.is_tombstone() && self.is_compacted(partition) {
            self.trails.entry(partition).or_default().tombstones.insert(id.clone());
        }
    }

    /// Whether a record that is not there any more has given way: a later committed one of its key
    /// is there, or there may have been a later tombstone that was old enough to go.
    pub(super) fn gave_way(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        id: &RecordId,
    ) -> bool {
        let Some(tombstones_stay) = self.compacted.get(partition.0) else { return false };
        let key = id.key(true);
        let may_be_later = |other: &RecordId| {
            other.key(true) == key && (other.session != id.session || other.number > id.number)
        };
        // Where it was is not always told: behind all that its session wrote before it.
        let known = || self.known(partition).chain(found.records.iter().map(|(at, id)| (*at, id)));
        let is_before = |other: &RecordId| other.session == id.session && other.number <= id.number;
        let behind = known().filter(|(_, other)| is_before(other)).map(|(at, _)| at + 1).max();
        let behind = behind.unwrap_or(0);
        let mut later = found.committed.range(behind..);
        if later.any(|at| found.records.get(at).is_some_and(may_be_later)) {
            return true;
        }
        let mut tombstones = self.tombstones(partition);
        known().filter(|(at, _)| *at < behind).for_each(|(_, other)| {
            tombstones.remove(other);
        });
        !tombstones_stay && (id.is_tombstone() || tombstones.iter().any(may_be_later))
    }

    /// How many records were known in compacted partitions and are not there any more.
    pub(super) fn count_compacted_away(&self, audit: &Audit) -> u64 {
        let compacted = audit.partitions.iter().filter(|(at, _)| self.is_compacted(**at));
        let gone = compacted.map(|(partition, found)| {
            let known: BTreeMap<i64, &RecordId> = self.known(*partition).collect();
            known.keys().filter(|at| !found.records.contains_key(at)).count() as u64
        });
        gone.sum()
    }

    /// What was told or shown of where records are, and cannot be lost.
    fn known(&self, partition: Partition) -> impl Iterator<Item = (i64, &RecordId)> {
        self.trails.get(&partition).into_iter().flat_map(|trail| {
            let acked = trail.acked.iter().filter(|(_, acked)| !self.may_be_lost(acked.era));
            let seen = trail.seen.iter().filter(|(_, seen)| !self.may_be_lost(seen.era));
            let seen = seen.filter_map(|(at, seen)| Some((*at, seen.id.as_ref()?)));
            acked.map(|(at, acked)| (*at, &acked.id)).chain(seen)
        })
    }

    /// Tombstones that may be, or have been, committed.
    fn tombstones(&self, partition: Partition) -> BTreeSet<RecordId> {
        let sent = self.trails.get(&partition).map(|trail| trail.tombstones.clone());
        let counts =
            |one: &&Transaction| one.outcome != Outcome::NotCommitted || self.may_be_lost(one.era);
        let mut tombstones = sent.unwrap_or_default();
        tombstones.extend(written(self.transactions.values().filter(counts), partition));
        tombstones.retain(RecordId::is_tombstone);
        tombstones
    }

    /// Records of transactions that were not committed, as far as their producers know.
    pub(super) fn not_committed(&self, partition: Partition) -> BTreeSet<RecordId> {
        let open = self.transactions.values().filter(|one| one.outcome != Outcome::Committed);
        written(open, partition).collect()
    }

    pub(super) fn judge_compacted(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        problems: &mut Vec<String>,
    ) {
        let Some(trail) = self.trails.get(&partition) else { return };
        // Every record that somebody was told of or shown, and that counts.
        let hidden = self.not_committed(partition);
        let mut known: BTreeMap<i64, &RecordId> = BTreeMap::new();
        for (offset, acked) in &trail.acked {
            if !self.may_be_lost(acked.era) && !hidden.contains(&acked.id) {
                known.insert(*offset, &acked.id);
            }
        }
        for (offset, seen) in &trail.seen {
            if let Some(id) = &seen.id
                && seen.committed
                && !self.may_be_lost(seen.era)
            {
                known.insert(*offset, id);
            }
        }
        for (offset, id) in &found.records {
            let other = known.get(offset).filter(|known| **known != id);
            if let Some(known) = other {
                problems
                    .push(format!("{known:?} was at {offset} of {partition:?}, where {id:?} is"));
            }
            if found.committed.contains(offset) {
                known.insert(*offset, id);
            }
        }
        let mut last: BTreeMap<String, (i64, &RecordId)> = BTreeMap::new();
        for (offset, id) in known {
            last.insert(id.key(true), (offset, id));
        }
        for (key, (offset, id)) in last {
            if found.committed.contains(&offset) {
                continue;
            }
            if !self.gave_way(partition, found, id) {
                problems.push(format!(
                    "{id:?} at {offset} of {partition:?} is the last of its key {key}, and is gone"
                ));
                continue;
            }
            if !id.is_tombstone() {
                continue;
            }
            let earlier = found
                .records
                .range(..offset)
                .find(|(at, other)| other.key(true) == key && found.committed.contains(at));
            if let Some((at, other)) = earlier {
                problems.push(format!(
                    "{other:?} at {at} of {partition:?} is there, and the tombstone of its key at \
                     {offset} is gone"
                ));
            }
        }
    }
}

/// What transactions write to a partition.
fn written<'a>(
    transactions: impl Iterator<Item = &'a Transaction>,
    partition: Partition,
) -> impl Iterator<Item = RecordId> {
    transactions.flat_map(move |one| {
        let here = one.writes.iter().filter(move |(other, _)| *other == partition);
        here.map(|(_, number)| RecordId { session: one.session.clone(), number: *number })
    })
}
