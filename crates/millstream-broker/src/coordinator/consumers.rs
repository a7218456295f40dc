//! The groups of KIP-848 beside the classic ones. A name belongs to one kind at a time; a group
//! without members goes over to the kind that the next member wants, and keeps its offsets.
//!
//! Keys: `k`, group for a group; `m`, group, member for a member. A heartbeat is answered when what
//! it has changed is stored; if that fails, the member asks again and the next attempt stores it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;

use super::{Coordinator, group_key};
use crate::consumer_group::{
    Catalog, ConsumerGroup, ConsumerGroupSettings, ConsumerGroupState, HeartbeatAnswer,
    HeartbeatRequest, JOINS, Partition,
};
use crate::group::{Group, GroupState, MemberKey};
use crate::journal::{Change, Fields, put_bytes};
use crate::topics::Refused;

const GROUP_KEY: u8 = b'k';
const MEMBER_KEY: u8 = b'm';

/// A group of either kind.
#[derive(Clone, Copy)]
pub(crate) enum AnyGroup<'a> {
    Classic(&'a Group),
    Consumer(&'a ConsumerGroup),
}

impl<'a> AnyGroup<'a> {
    /// The kind, as ListGroups calls it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    pub(crate) fn state_name(self) -> &'static str {
        match self {
            Self::Classic(group) => group.state().name(),
            Self::Consumer(group) => group.state().name(),
        }
    }

    /// `consumer` for consumers; absent until somebody joined.
    pub(crate) fn protocol_type(self) -> Option<&'a str> {
        match self {
            Self::Classic(group) => group.protocol_type(),
            Self::Consumer(_) => Some("consumer"),
        }
    }

    /// Whether a member subscribes to that topic, for OffsetDelete.
    pub(crate) fn subscribes_to(self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.subscribes_to(topic),
            Self::Consumer(group) => group.subscribes_to(topic),
        }
    }

    /// Since when it has no members, in wall-clock milliseconds; `None` while it has some.
    pub(crate) fn empty_since_ms(self) -> Option<i64> {
        match self {
            Self::Classic(group) => group.empty_since_ms(),
            Self::Consumer(group) => group.empty_since_ms(),
        }
    }
}

impl Coordinator {
    /// Loads the groups and their members.
    pub(super) fn load_consumers(&mut self, now: Duration) {
        let mut consumers = BTreeMap::new();
        for (key, value) in self.journal.scan(&[GROUP_KEY]) {
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            match ConsumerGroup::decode(value) {
                Some(group) => drop(consumers.insert(name, group)),
                None => tracing::error!(group = name, "a group cannot be read; it begins anew"),
            }
        }
        for (key, value) in self.journal.scan(&[MEMBER_KEY]) {
            let Some((name, id)) = decode_member_key(key) else { continue };
            let Some(group) = consumers.get_mut(&name) else { continue };
            if group.restore_member(&id, value, now).is_none() {
                tracing::error!(
                    group = name,
                    member = id,
                    "a member cannot be read; it must rejoin"
                );
            }
        }
        self.consumers = consumers;
    }

    /// The group of KIP-848 of that name.
    pub(crate) fn consumer_group(&self, name: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(name)
    }

    /// The group of that name, whatever its kind.
    pub(crate) fn any_group(&self, name: &str) -> Option<AnyGroup<'_>> {
        let consumer = self.consumers.get(name).map(AnyGroup::Consumer);
        consumer.or_else(|| self.groups.get(name).map(AnyGroup::Classic))
    }

    /// All groups of both kinds.
    pub(crate) fn all_groups(&self) -> impl Iterator<Item = (&str, AnyGroup<'_>)> {
        let classic = self.groups.iter().map(|(name, group)| (name, AnyGroup::Classic(group)));
        let consumers =
            self.consumers.iter().map(|(name, group)| (name, AnyGroup::Consumer(group)));
        classic.chain(consumers).map(|(name, group)| (name.as_str(), group))
    }

    /// A heartbeat of a member that joins or stays. A group is made for the first one; a classic
    /// group without members becomes one of this kind.
    ///
    /// # Errors
    /// See [`ConsumerGroup::heartbeat`]; `GroupIdNotFound` if there is no such group, or one of
    /// the other kind; `CoordinatorNotAvailable` if the disk fails.
    pub(crate) fn consumer_heartbeat(
        &mut self,
        name: &str,
        request: HeartbeatRequest,
        settings: &ConsumerGroupSettings,
        catalog: &dyn Catalog,
        now: Duration,
        wall_ms: i64,
    ) -> Result<HeartbeatAnswer, Refused> {
        let answer = if let Some(group) = self.consumers.get_mut(name) {
            group.heartbeat(request, settings, catalog, now)
        } else if request.epoch == JOINS && self.may_become_consumer(name) {
            let mut group = ConsumerGroup::new(wall_ms);
            let answer = group.heartbeat(request, settings, catalog, now)?;
            self.replace_classic(name, group);
            Ok(answer)
        } else {
            Err(no_consumer_group(name))
        }?;
        self.store_consumer(name)?;
        Ok(answer)
    }

    /// A member leaves; see [`ConsumerGroup::leave`].
    ///
    /// # Errors
    /// Kafka's code and a text.
    pub(crate) fn consumer_leave(
        &mut self,
        name: &str,
        member_id: &str,
        instance: Option<&str>,
        epoch: i32,
        wall_ms: i64,
    ) -> Result<(), Refused> {
        let group = self.consumers.get_mut(name).ok_or_else(|| no_consumer_group(name))?;
        group.leave(member_id, instance, epoch, wall_ms)?;
        self.store_consumer(name)
    }

    /// Whether a member of a group of KIP-848 may commit an offset of that partition with that
    /// epoch; groups of the other kind have no such rule.
    ///
    /// # Errors
    /// `StaleMemberEpoch`.
    pub(crate) fn check_commit_of(
        &self,
        name: &str,
        member_id: &str,
        epoch: i32,
        partition: Partition,
    ) -> Result<(), ResponseError> {
        match self.consumers.get(name) {
            Some(group) => group.check_commit_of(member_id, epoch, partition),
            None => Ok(()),
        }
    }

    /// Whether a member may read committed offsets.
    ///
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch`.
    pub(crate) fn check_offset_fetch(
        &self,
        name: &str,
        member_id: Option<&str>,
        epoch: i32,
    ) -> Result<(), ResponseError> {
        match self.consumers.get(name) {
            Some(group) => group.check_offset_fetch(member_id, epoch),
            None => Ok(()),
        }
    }

    /// Lets time pass for the group of that name, if it is of this kind.
    pub(super) fn tick_consumer(&mut self, name: &str, now: Duration, wall_ms: i64) {
        let Some(group) = self.consumers.get_mut(name) else { return };
        group.tick(now, wall_ms);
        // A disk that fails has been reported; the next change stores this one as well.
        let _ = self.store_consumer(name);
    }

    /// Makes room for a classic group of that name.
    ///
    /// # Errors
    /// `InconsistentGroupProtocol` if the group has members: online migration is not there.
    pub(super) fn make_way_for_classic(&mut self, name: &str) -> Result<(), ResponseError> {
        let Some(group) = self.consumers.get(name) else { return Ok(()) };
        if group.state() != ConsumerGroupState::Empty {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        self.journal.commit(self.removal_of_consumer(name)).map_err(|error| {
            tracing::error!(group = name, %error, "cannot convert a group");
            ResponseError::CoordinatorNotAvailable
        })?;
        self.drop_consumer(name);
        Ok(())
    }

    /// The changes that remove a group of this kind from the journal.
    pub(super) fn removal_of_consumer(&self, name: &str) -> Vec<Change> {
        let members = member_prefix(name);
        let mut changes: Vec<Change> =
            self.journal.scan(&members).map(|(key, _)| (key.to_vec(), None)).collect();
        changes.push((consumer_key(name), None));
        changes
    }

    /// Forgets a group whose entries are gone.
    pub(super) fn drop_consumer(&mut self, name: &str) {
        self.consumers.remove(name);
        self.watch(name);
    }

    fn may_become_consumer(&self, name: &str) -> bool {
        self.groups.get(name).is_none_or(|group| group.state() == GroupState::Empty)
    }

    fn replace_classic(&mut self, name: &str, group: ConsumerGroup) {
        if let Some(mut classic) = self.groups.remove(name) {
            // Nobody waits in a group without members.
            classic.kill();
            self.due
                .extend(classic.take_outputs().into_iter().filter(|o| *o != super::Output::Store));
        }
        self.consumers.insert(name.to_owned(), group);
    }

    fn store_consumer(&mut self, name: &str) -> Result<(), Refused> {
        let stored = self.try_store_consumer(name);
        self.watch(name);
        stored.map_err(|error| {
            tracing::error!(group = name, %error, "cannot store a group");
            let message = format!("the broker's disk fails: {error}");
            Refused::new(ResponseError::CoordinatorNotAvailable, message)
        })
    }

    fn try_store_consumer(&mut self, name: &str) -> io::Result<()> {
        let Some(group) = self.consumers.get_mut(name) else { return Ok(()) };
        let (own, members) = group.unstored();
        let mut changes: Vec<Change> = Vec::new();
        if let Some(own) = own {
            changes.push((consumer_key(name), Some(own)));
            if self.journal.get(&group_key(name)).is_some() {
                changes.push((group_key(name), None));
            }
        }
        for (id, member) in members {
            changes.push((member_key(name, id), member));
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.journal.commit(changes)?;
        group.is_stored();
        Ok(())
    }

    /// Whether a member may commit in a group of this kind; `None` if there is none of that name.
    pub(super) fn check_consumer_commit(
        &self,
        name: &str,
        key: &MemberKey<'_>,
        epoch: i32,
    ) -> Option<Result<(), ResponseError>> {
        Some(self.consumers.get(name)?.check_commit(key.id, epoch))
    }
}

fn no_consumer_group(name: &str) -> Refused {
    Refused::new(ResponseError::GroupIdNotFound, format!("`{name}` is not a consumer group"))
}

fn consumer_key(name: &str) -> Vec<u8> {
    [&[GROUP_KEY], name.as_bytes()].concat()
}

fn member_prefix(name: &str) -> Vec<u8> {
    let mut key = vec![MEMBER_KEY];
    put_bytes(&mut key, name.as_bytes());
    key
}

fn member_key(name: &str, id: &str) -> Vec<u8> {
    [member_prefix(name), id.as_bytes().to_vec()].concat()
}

fn decode_member_key(key: &[u8]) -> Option<(String, String)> {
    let mut fields = Fields(key.get(1..)?);
    Some((fields.string()?, String::from_utf8_lossy(fields.0).into_owned()))
}
