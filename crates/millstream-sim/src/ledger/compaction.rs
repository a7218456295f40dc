//! What must hold where a log is compacted: each key's last record stays, and nothing comes back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, Outcome, Partition, PartitionAudit, RecordId};

impl Ledger {
    /// Names the compacted topics. `tombstones_stay`: within a run none of them is old enough to go.
    pub fn set_compacted(&mut self, topics: impl IntoIterator<Item = (&'static str, bool)>) {
        self.compacted = topics.into_iter().collect();
    }

    pub(super) fn is_compacted(&self, (topic, _): Partition) -> bool {
        self.compacted.contains_key(topic)
    }

    /// Whether a record that is not there any more has given way to a later one of its key.
    pub(super) fn gave_way(&self, partition: Partition, id: &RecordId) -> bool {
        // Where it was is not always known: any other of its key will do, and `judge_compacted`
        // looks closer at those that are known.
        self.is_compacted(partition)
            && self.trails.get(&partition).is_some_and(|trail| {
                let acked = trail.acked.values().map(|acked| &acked.id);
                let seen = trail.seen.values().filter_map(|seen| seen.id.as_ref());
                let delivered = trail.delivered.keys();
                acked.chain(seen).chain(delivered).any(|other| {
                    let later = other.session != id.session || other.number > id.number;
                    later && other.key() == id.key()
                }) || id.is_tombstone()
            })
    }

    /// Records of transactions that were not committed, as far as their producers know.
    pub(super) fn not_committed(&self, partition: Partition) -> BTreeSet<RecordId> {
        let open = self.transactions.values().filter(|one| one.outcome != Outcome::Committed);
        open.flat_map(|one| {
            let here = one.writes.iter().filter(move |(other, _)| *other == partition);
            here.map(|(_, number)| RecordId { session: one.session.clone(), number: *number })
        })
        .collect()
    }

    pub(super) fn judge_compacted(
        &self,
        partition: Partition,
        found: &PartitionAudit,
        problems: &mut Vec<String>,
    ) {
        let Some(trail) = self.trails.get(&partition) else { return };
        let Some(tombstones_stay) = self.compacted.get(partition.0).copied() else { return };
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
            last.insert(id.key(), (offset, id));
        }
        for (key, (offset, id)) in last {
            if found.committed.contains(&offset) {
                continue;
            }
            if !id.is_tombstone() || tombstones_stay {
                problems.push(format!(
                    "{id:?} at {offset} of {partition:?} is the last of its key {key}, and is gone"
                ));
                continue;
            }
            let earlier = found
                .records
                .range(..offset)
                .find(|(at, other)| other.key() == key && found.committed.contains(at));
            if let Some((at, other)) = earlier {
                problems.push(format!(
                    "{other:?} at {at} of {partition:?} is there, and the tombstone of its key at \
                     {offset} is gone"
                ));
            }
        }
    }
}
