//! Offsets that transactions carry (KIP-98, KIP-447): stored when TxnOffsetCommit brings them,
//! committed or dropped when the transaction ends.
//!
//! They lie in the *groups* journal under `x`, producer id, group, topic, partition, so that the
//! end of a transaction is one commit of that journal, whatever the number of partitions and
//! groups: a reader sees all of a transaction's offsets or none.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;

use super::{Committed, Coordinator, decode_offset, encode_offset, offset_key};
use crate::group::{Group, MemberKey};
use crate::journal::{Change, Fields, put_bytes};

const PENDING_KEY: u8 = b'x';

/// Whose offsets are pending where: group, topic, partition, producer id.
pub(super) type Pending = BTreeSet<(String, String, i32, i64)>;

impl Coordinator {
    /// Reads which offsets are pending, and makes the groups that nothing else makes.
    pub(super) fn load_pending(&mut self, wall_ms: i64) {
        for (key, _) in self.journal.scan(&[PENDING_KEY]) {
            let Some((producer_id, group, topic, partition)) = decode_pending_key(key) else {
                continue;
            };
            if !self.consumers.contains_key(&group) {
                self.groups.entry(group.clone()).or_insert_with(|| Group::new(wall_ms));
            }
            self.pending.insert((group, topic, partition, producer_id));
        }
    }

    /// Whether a member may add offsets to a transaction. A group is made for a producer that
    /// names none of its members.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn check_transactional_commit(
        &mut self,
        name: &str,
        key: &MemberKey<'_>,
        generation: i32,
        now: Duration,
        wall_ms: i64,
    ) -> Result<(), ResponseError> {
        if let Some(answer) = self.check_consumer_commit(name, key, generation) {
            return answer;
        }
        if !self.groups.contains_key(name) {
            if generation >= 0 {
                return Err(ResponseError::IllegalGeneration);
            }
            self.groups.insert(name.to_owned(), Group::new(wall_ms));
        }
        let group = self.groups.get_mut(name).expect("made above");
        let answer = group.check_transactional_commit(key, generation, now);
        self.settle(name);
        answer
    }

    /// Stores offsets that will count when the producer's transaction is committed.
    ///
    /// # Errors
    /// What the disk says; nothing has changed then.
    pub(crate) fn commit_in_transaction(
        &mut self,
        producer_id: i64,
        name: &str,
        offsets: Vec<(String, i32, Committed)>,
    ) -> io::Result<()> {
        let change = |(topic, partition, committed): &(String, i32, Committed)| {
            let key = pending_key(producer_id, name, topic, *partition);
            (key, Some(encode_offset(committed)))
        };
        self.journal.commit(offsets.iter().map(change).collect())?;
        for (topic, partition, _) in offsets {
            self.pending.insert((name.to_owned(), topic, partition, producer_id));
        }
        Ok(())
    }

    /// Whether an open transaction may yet change the offset of a partition.
    pub(crate) fn is_unstable(&self, name: &str, topic: &str, partition: i32) -> bool {
        let from = (name.to_owned(), topic.to_owned(), partition, i64::MIN);
        let next = self.pending.range(from..).next();
        next.is_some_and(|(group, of, number, _)| {
            group == name && of == topic && *number == partition
        })
    }

    /// Ends the offsets of a producer's transaction, all at once: they become the committed ones,
    /// or vanish. Nothing happens if there are none (any more).
    ///
    /// # Errors
    /// What the disk says; nothing has changed then.
    pub(crate) fn end_transaction(&mut self, producer_id: i64, commit: bool) -> io::Result<()> {
        let prefix = producer_prefix(producer_id);
        let mut changes: Vec<Change> = Vec::new();
        let mut ended = Vec::new();
        for (key, value) in self.journal.scan(&prefix) {
            changes.push((key.to_vec(), None));
            let Some((_, group, topic, partition)) = decode_pending_key(key) else { continue };
            if commit && decode_offset(value).is_some() {
                changes.push((offset_key(&group, &topic, partition), Some(value.to_vec())));
            }
            ended.push((group, topic, partition, producer_id));
        }
        self.journal.commit(changes)?;
        for entry in ended {
            self.pending.remove(&entry);
        }
        Ok(())
    }

    /// Producers with offsets that are pending, each once.
    pub(crate) fn pending_producers(&self) -> BTreeSet<i64> {
        self.pending.iter().map(|(_, _, _, producer_id)| *producer_id).collect()
    }

    /// The changes that drop what is pending for a group.
    pub(super) fn drop_pending_of_group(&self, name: &str) -> Vec<Change> {
        self.drop_pending(self.pending_of(name))
    }

    /// The changes that drop what is pending for a topic.
    pub(super) fn drop_pending_of_topic(&self, topic: &str) -> Vec<Change> {
        self.drop_pending(self.pending.iter().filter(|(_, of, _, _)| of == topic))
    }

    /// Whether any transaction carries offsets of that group.
    pub(super) fn has_pending(&self, name: &str) -> bool {
        self.pending_of(name).next().is_some()
    }

    /// Forgets what the journal does not have any more.
    pub(super) fn prune_pending(&mut self) {
        let journal = &self.journal;
        self.pending.retain(|(group, topic, partition, producer_id)| {
            journal.get(&pending_key(*producer_id, group, topic, *partition)).is_some()
        });
    }

    fn pending_of<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a (String, String, i32, i64)> + 'a {
        let from = (name.to_owned(), String::new(), i32::MIN, i64::MIN);
        self.pending.range(from..).take_while(move |(group, ..)| group == name)
    }

    fn drop_pending<'a>(
        &self,
        entries: impl Iterator<Item = &'a (String, String, i32, i64)>,
    ) -> Vec<Change> {
        let key = |(group, topic, partition, producer_id): &(String, String, i32, i64)| {
            (pending_key(*producer_id, group, topic, *partition), None)
        };
        entries.map(key).collect()
    }
}

fn producer_prefix(producer_id: i64) -> Vec<u8> {
    [&[PENDING_KEY], &producer_id.to_be_bytes()[..]].concat()
}

fn pending_key(producer_id: i64, group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut key = producer_prefix(producer_id);
    put_bytes(&mut key, group.as_bytes());
    put_bytes(&mut key, topic.as_bytes());
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

fn decode_pending_key(key: &[u8]) -> Option<(i64, String, String, i32)> {
    let mut fields = Fields(key.get(1..)?);
    Some((fields.i64()?, fields.string()?, fields.string()?, fields.i32()?))
}
