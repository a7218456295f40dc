//! All consumer groups: finds the group a request is for, watches the clock for all of them, and
//! keeps committed offsets and memberships in the *groups* [`Journal`].
//!
//! Keys: `o`, group, topic, partition for an offset; `g`, group for a group. Offsets are read
//! from the journal's map; there is no second copy. Offsets that open transactions carry are in
//! [`pending`], groups of KIP-848 in [`consumers`].

mod consumers;
mod pending;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;

use crate::consumer_group::ConsumerGroup;
use crate::group::{
    Group, GroupSettings, GroupState, JoinRequest, MemberKey, Output, SyncRequest, Ticket,
};
use crate::journal::{Change, Fields, Journal, put_bytes, put_option};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    /// Epoch of the leader the consumer read from, -1 if it did not say.
    pub(crate) leader_epoch: i32,
    /// When, in wall-clock milliseconds.
    pub(crate) at_ms: i64,
    pub(crate) metadata: Option<String>,
}

/// An answer that has become due: whose request, and what.
pub(crate) type Due = Output;

/// All groups.
pub(crate) struct Coordinator {
    journal: Journal,
    /// Groups of the classic protocol.
    groups: BTreeMap<String, Group>,
    /// Groups of KIP-848. A name is in one of both maps at most.
    consumers: BTreeMap<String, ConsumerGroup>,
    /// Each group's next deadline, and all of them in order.
    deadline_of: BTreeMap<String, Duration>,
    deadlines: BTreeSet<(Duration, String)>,
    due: Vec<Due>,
    pending: pending::Pending,
}

impl Coordinator {
    /// Loads the groups of a journal. Members are given a session's time to show up.
    pub(crate) fn open(journal: Journal, now: Duration, wall_ms: i64) -> Self {
        let mut coordinator = Self {
            journal,
            groups: BTreeMap::new(),
            consumers: BTreeMap::new(),
            deadline_of: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: Vec::new(),
            pending: pending::Pending::new(),
        };
        let mut names = Vec::new();
        for (key, value) in coordinator.journal.scan(b"g") {
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            let group = Group::decode(value, now).unwrap_or_else(|| Group::new(wall_ms));
            coordinator.groups.insert(name.clone(), group);
            names.push(name);
        }
        coordinator.load_consumers(now);
        names.extend(coordinator.consumers.keys().cloned());
        for (key, _) in coordinator.journal.scan(b"o") {
            if let Some((group, _, _)) = decode_offset_key(key)
                && !coordinator.consumers.contains_key(&group)
            {
                coordinator.groups.entry(group).or_insert_with(|| Group::new(wall_ms));
            }
        }
        coordinator.load_pending(wall_ms);
        for name in names {
            coordinator.watch(&name);
        }
        coordinator
    }

    /// The classic group of that name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Takes a JoinGroup; the answer comes with [`take_due`](Self::take_due).
    pub(crate) fn join(
        &mut self,
        name: &str,
        request: JoinRequest,
        ticket: Ticket,
        settings: &GroupSettings,
        now: Duration,
        wall_ms: i64,
    ) {
        if !self.groups.contains_key(name) && !request.member_id.is_empty() {
            let refusal = Err((ResponseError::UnknownMemberId, request.member_id));
            self.due.push(Output::Join(ticket, refusal));
            return;
        }
        if let Err(code) = self.make_way_for_classic(name) {
            self.due.push(Output::Join(ticket, Err((code, request.member_id))));
            return;
        }
        let group = self.groups.entry(name.to_owned()).or_insert_with(|| Group::new(wall_ms));
        group.join(request, ticket, settings, now, wall_ms);
        self.settle(name);
    }

    /// Takes a SyncGroup; the answer comes with [`take_due`](Self::take_due).
    pub(crate) fn sync(&mut self, name: &str, request: SyncRequest, ticket: Ticket, now: Duration) {
        match self.groups.get_mut(name) {
            Some(group) => group.sync(request, ticket, now),
            None => {
                self.due.push(Output::Sync(ticket, Err(ResponseError::UnknownMemberId)));
                return;
            }
        }
        self.settle(name);
    }

    /// A heartbeat.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn heartbeat(
        &mut self,
        name: &str,
        key: &MemberKey<'_>,
        generation: i32,
        now: Duration,
    ) -> Result<(), ResponseError> {
        let group = self.groups.get_mut(name).ok_or(ResponseError::UnknownMemberId)?;
        let answer = group.heartbeat(key, generation, now);
        self.settle(name);
        answer
    }

    /// A member leaves.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn leave(
        &mut self,
        name: &str,
        key: &MemberKey<'_>,
        now: Duration,
        wall_ms: i64,
    ) -> Result<(), ResponseError> {
        let group = self.groups.get_mut(name).ok_or(ResponseError::UnknownMemberId)?;
        let answer = group.leave(key, now, wall_ms);
        self.settle(name);
        answer
    }

    /// Whether a member may commit. A group is made for a consumer that assigns itself.
    ///
    /// # Errors
    /// Kafka's code; `GroupIdNotFound` for a member of a group that is not there.
    pub(crate) fn check_commit(
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
                return Err(ResponseError::GroupIdNotFound);
            }
            self.groups.insert(name.to_owned(), Group::new(wall_ms));
        }
        let group = self.groups.get_mut(name).expect("made above");
        let answer = group.check_commit(key, generation, now);
        self.settle(name);
        answer
    }

    /// Stores offsets: (topic, partition, offset).
    ///
    /// # Errors
    /// What the disk says; no offset has changed then.
    pub(crate) fn commit(
        &mut self,
        name: &str,
        offsets: Vec<(String, i32, Committed)>,
    ) -> io::Result<()> {
        let changes = offsets
            .into_iter()
            .map(|(topic, partition, committed)| {
                (offset_key(name, &topic, partition), Some(encode_offset(&committed)))
            })
            .collect();
        self.journal.commit(changes)
    }

    /// The committed offset of a partition.
    pub(crate) fn committed(&self, name: &str, topic: &str, partition: i32) -> Option<Committed> {
        decode_offset(self.journal.get(&offset_key(name, topic, partition))?)
    }

    /// All committed offsets of a group: (topic, partition, offset), in that order.
    pub(crate) fn all_committed(&self, name: &str) -> Vec<(String, i32, Committed)> {
        self.journal
            .scan(&group_prefix(name))
            .filter_map(|(key, value)| {
                let (_, topic, partition) = decode_offset_key(key)?;
                Some((topic, partition, decode_offset(value)?))
            })
            .collect()
    }

    /// Removes committed offsets.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn delete_offsets(
        &mut self,
        name: &str,
        partitions: &[(String, i32)],
    ) -> io::Result<()> {
        let changes = partitions
            .iter()
            .map(|(topic, partition)| (offset_key(name, topic, *partition), None))
            .filter(|(key, _)| self.journal.get(key).is_some())
            .collect();
        self.journal.commit(changes)
    }

    /// Removes a group that has no members.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn delete_group(&mut self, name: &str) -> Result<(), ResponseError> {
        let group = self.any_group(name).ok_or(ResponseError::GroupIdNotFound)?;
        if group.empty_since_ms().is_none() {
            return Err(ResponseError::NonEmptyGroup);
        }
        let mut changes: Vec<Change> =
            self.journal.scan(&group_prefix(name)).map(|(key, _)| (key.to_vec(), None)).collect();
        changes.extend(self.drop_pending_of_group(name));
        changes.push((group_key(name), None));
        changes.extend(self.removal_of_consumer(name));
        self.journal.commit(changes).map_err(|_| ResponseError::KafkaStorageError)?;
        self.prune_pending();
        self.drop_consumer(name);
        if let Some(group) = self.groups.get_mut(name) {
            group.kill();
            self.settle(name);
            self.groups.remove(name);
        }
        Ok(())
    }

    /// Forgets what groups have committed for a topic that was deleted.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn topic_deleted(&mut self, topic: &str) -> io::Result<()> {
        let committed = self
            .journal
            .scan(b"o")
            .filter(|(key, _)| decode_offset_key(key).is_some_and(|(_, name, _)| name == topic))
            .map(|(key, _)| (key.to_vec(), None));
        let changes = committed.chain(self.drop_pending_of_topic(topic)).collect();
        self.journal.commit(changes)?;
        self.prune_pending();
        Ok(())
    }

    /// Forgets groups that have had no members for longer than `retention_ms` (KIP-211).
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn expire(&mut self, wall_ms: i64, retention_ms: i64) -> io::Result<()> {
        let names: Vec<String> = self
            .all_groups()
            .filter(|(_, group)| {
                group.empty_since_ms().is_some_and(|since| wall_ms - since > retention_ms)
            })
            .map(|(name, _)| name.to_owned())
            .filter(|name| !self.has_pending(name))
            .collect();
        for name in names {
            let offsets = self.all_committed(&name);
            let old: Vec<(String, i32)> = offsets
                .iter()
                .filter(|(_, _, committed)| wall_ms - committed.at_ms > retention_ms)
                .map(|(topic, partition, _)| (topic.clone(), *partition))
                .collect();
            if old.len() < offsets.len() {
                self.delete_offsets(&name, &old)?;
            } else if let Err(code) = self.delete_group(&name) {
                return Err(io::Error::other(format!("cannot forget the group `{name}`: {code}")));
            }
        }
        Ok(())
    }

    /// Lets every commit from now on wait for the medium, or not.
    pub(crate) fn set_sync(&mut self, sync: bool) {
        self.journal.set_sync(sync);
    }

    /// Waits until all groups and offsets are on the medium.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn make_durable(&mut self) -> io::Result<()> {
        self.journal.sync()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Moves every deadline of every group away.
    pub(crate) fn put_off(&mut self, by: Duration) {
        let mut names = Vec::with_capacity(self.groups.len());
        for (name, group) in &mut self.groups {
            group.put_off(by);
            names.push(name.clone());
        }
        for (name, group) in &mut self.consumers {
            group.put_off(by);
            names.push(name.clone());
        }
        for name in names {
            self.watch(&name);
        }
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now: Duration, wall_ms: i64) {
        while let Some((deadline, name)) = self.deadlines.first().cloned()
            && deadline <= now
        {
            if let Some(group) = self.groups.get_mut(&name) {
                group.tick(now, wall_ms);
            }
            self.settle(&name);
            self.tick_consumer(&name, now, wall_ms);
            // A group that has nothing to do at its own deadline would spin here.
            if self.deadlines.first() == Some(&(deadline, name)) {
                break;
            }
        }
    }

    /// Answers that have become due.
    pub(crate) fn take_due(&mut self) -> Vec<Due> {
        std::mem::take(&mut self.due)
    }

    /// Carries out what a group asks for and notes its next deadline.
    fn settle(&mut self, name: &str) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let outputs = group.take_outputs();
        if outputs.contains(&Output::Store) {
            // A dead group is not stored. A disk that fails costs a rebalance after a restart.
            let value = (group.state() != GroupState::Dead).then(|| group.encode());
            if let Err(error) = self.journal.commit(vec![(group_key(name), value)]) {
                tracing::warn!(group = name, %error, "cannot store a group");
            }
        }
        self.due.extend(outputs.into_iter().filter(|output| *output != Output::Store));
        self.watch(name);
    }

    fn watch(&mut self, name: &str) {
        let deadline = match self.consumers.get(name) {
            Some(group) => group.deadline(),
            None => self.groups.get(name).and_then(Group::deadline),
        };
        if self.deadline_of.get(name).copied() == deadline {
            return;
        }
        if let Some(old) = self.deadline_of.remove(name) {
            self.deadlines.remove(&(old, name.to_owned()));
        }
        if let Some(deadline) = deadline {
            self.deadline_of.insert(name.to_owned(), deadline);
            self.deadlines.insert((deadline, name.to_owned()));
        }
    }
}

fn group_key(name: &str) -> Vec<u8> {
    [b"g", name.as_bytes()].concat()
}

fn group_prefix(name: &str) -> Vec<u8> {
    let mut key = vec![b'o'];
    put_bytes(&mut key, name.as_bytes());
    key
}

fn offset_key(name: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut key = group_prefix(name);
    put_bytes(&mut key, topic.as_bytes());
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

fn decode_offset_key(key: &[u8]) -> Option<(String, String, i32)> {
    let mut fields = Fields(key.get(1..)?);
    Some((fields.string()?, fields.string()?, fields.i32()?))
}

fn encode_offset(committed: &Committed) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&committed.offset.to_be_bytes());
    out.extend_from_slice(&committed.leader_epoch.to_be_bytes());
    out.extend_from_slice(&committed.at_ms.to_be_bytes());
    put_option(&mut out, committed.metadata.as_deref());
    out
}

fn decode_offset(value: &[u8]) -> Option<Committed> {
    let mut fields = Fields(value);
    if fields.fixed()? != [1] {
        return None;
    }
    Some(Committed {
        offset: fields.i64()?,
        leader_epoch: fields.i32()?,
        at_ms: fields.i64()?,
        metadata: fields.option()?,
    })
}
