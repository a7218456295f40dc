//! One consumer group of the protocol of KIP-848, as a state machine without I/O: heartbeats and
//! the passing of time go in, answers and what is to be stored come out.
//!
//! Three epochs, each following the one before:
//!
//! ```text
//!   group epoch        raised when members, subscriptions or subscribed topics change
//!   assignment epoch   the group epoch for which the target assignment was computed
//!   member epoch       the assignment epoch to which a member has been brought
//! ```
//!
//! A member moves by its own heartbeats: it is told to give up what is not in its target, and only
//! when it says that it has may the next owner be told to take it ([`member`]). So a partition has
//! one owner at a time, and nobody waits for a member that has nothing to give up.
//!
//! The rules, their order and their errors are those of Kafka 4.3 (KIP-848, KIP-1082 for ids that
//! members make, KIP-1251 for commits with an older epoch), with these differences: a new target is
//! computed at once, in the heartbeat that finds the old one outdated, and so is what a regular
//! expression matches; a static member that comes back with its own id is taken for itself instead
//! of being refused, which Kafka's clients cannot survive.

mod assignor;
mod commits;
mod identity;
mod member;
mod stored;
mod subscription;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use uuid::Uuid;

use crate::topics::Refused;
pub(crate) use assignor::Assignor;
pub(crate) use member::{Member, MemberState};
pub(crate) use subscription::{Catalog, Subscription};

/// A partition of a topic, by the topic's id.
pub(crate) type Partition = (Uuid, i32);

/// Epoch in the heartbeat of a member that joins, or joins again.
pub(crate) const JOINS: i32 = 0;
/// Epoch in the heartbeat of a member that leaves.
pub(crate) const LEAVES: i32 = -1;
/// Epoch in the heartbeat of a static member that will be back before its session ends.
pub(crate) const LEAVES_FOR_A_WHILE: i32 = -2;

/// Where a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerGroupState {
    /// No members.
    Empty,
    /// The target assignment is outdated; the next heartbeat of any member brings a new one.
    Assigning,
    /// Members are on their way to the target.
    Reconciling,
    /// All have what they should have.
    Stable,
}

impl ConsumerGroupState {
    /// The name that clients show.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// What the broker's settings say about these groups.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerGroupSettings {
    /// `group.consumer.session.timeout.ms`.
    pub(crate) session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`.
    pub(crate) heartbeat_interval: Duration,
    /// `group.consumer.max.size`.
    pub(crate) max_size: usize,
    /// `group.consumer.assignors`; the first one is the default.
    pub(crate) assignors: Vec<Assignor>,
}

/// A heartbeat of a member that is in the group or wants to be. What is `None` has not changed
/// since the last one.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeartbeatRequest {
    pub(crate) member_id: String,
    /// [`JOINS`], or the epoch the member knows.
    pub(crate) epoch: i32,
    pub(crate) instance: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) rebalance_timeout: Option<Duration>,
    pub(crate) names: Option<BTreeSet<String>>,
    /// Empty for none any more.
    pub(crate) regex: Option<String>,
    pub(crate) assignor: Option<Assignor>,
    /// The partitions that it has at the moment.
    pub(crate) owned: Option<BTreeSet<Partition>>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeartbeatAnswer {
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    /// All partitions it may have; `None` if it has been told before.
    pub(crate) assignment: Option<BTreeSet<Partition>>,
}

/// A group.
pub(crate) struct ConsumerGroup {
    epoch: i32,
    assignment_epoch: i32,
    members: BTreeMap<String, Member>,
    /// Member ids by instance ids.
    instances: BTreeMap<String, String>,
    /// Who holds a partition, be it to be given up.
    owners: BTreeMap<Partition, String>,
    /// The topics that somebody subscribes to and that exist, with their sizes.
    topics: BTreeMap<String, (Uuid, i32)>,
    /// What the regular expressions of the members match.
    matches: BTreeMap<String, BTreeSet<String>>,
    /// The state of all topics when they were last looked at.
    seen: Option<u64>,
    /// Wall-clock time since when there are no members, in milliseconds.
    empty_since_ms: i64,
    /// What has changed since it was last stored.
    unstored: Unstored,
}

/// What of a group is to be stored.
#[derive(Clone, Debug, Default)]
struct Unstored {
    group: bool,
    members: BTreeSet<String>,
}

impl ConsumerGroup {
    /// A group without members.
    pub(crate) fn new(wall_ms: i64) -> Self {
        Self {
            epoch: 0,
            assignment_epoch: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            topics: BTreeMap::new(),
            matches: BTreeMap::new(),
            seen: None,
            empty_since_ms: wall_ms,
            unstored: Unstored::default(),
        }
    }

    /// Its state.
    pub(crate) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.is_at(self.assignment_epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// The epoch of its members, subscriptions and topics.
    pub(crate) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The epoch of its target assignment.
    pub(crate) fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// Its members, by id.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Since when it has no members, in wall-clock milliseconds; `None` while it has some.
    pub(crate) fn empty_since_ms(&self) -> Option<i64> {
        self.members.is_empty().then_some(self.empty_since_ms)
    }

    /// Whether a member subscribes to that topic, for OffsetDelete.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
            || self.members.values().any(|member| member.subscription.names.contains(topic))
    }

    /// The strategy that most members want; `default` if none wants any.
    pub(crate) fn assignor(&self, default: Assignor) -> Assignor {
        let wanted = |assignor| {
            self.members.values().filter(|member| member.assignor == Some(assignor)).count()
        };
        let (uniform, range) = (wanted(Assignor::Uniform), wanted(Assignor::Range));
        match uniform.cmp(&range) {
            std::cmp::Ordering::Greater => Assignor::Uniform,
            std::cmp::Ordering::Less => Assignor::Range,
            std::cmp::Ordering::Equal => default,
        }
    }

    /// A heartbeat of a member that joins or stays.
    ///
    /// # Errors
    /// `GroupMaxSizeReached`, `UnknownMemberId`, `FencedMemberEpoch`, `FencedInstanceId`,
    /// `UnreleasedInstanceId`, `InvalidRegularExpression`; nothing has changed then.
    pub(crate) fn heartbeat(
        &mut self,
        request: HeartbeatRequest,
        settings: &ConsumerGroupSettings,
        catalog: &dyn Catalog,
        now: Duration,
    ) -> Result<HeartbeatAnswer, Refused> {
        let is_full = self.members.len() >= settings.max_size;
        if is_full && !self.members.contains_key(&request.member_id) {
            let message = format!("the group has {} members, the most allowed", settings.max_size);
            return Err(Refused::new(ResponseError::GroupMaxSizeReached, message));
        }
        let replaced = self.admit(&request)?;
        let old = match &replaced {
            Some(id) => Some(self.members[id].with_new_id(&request.member_id)),
            None => self.members.get(&request.member_id).cloned(),
        };
        let is_new = replaced.is_some() || old.is_none();
        let before = old.unwrap_or_else(|| Member::new(&request.member_id));
        let mut member = before.clone();
        member.take(&request, settings, now);
        let subscribes_anew = member.subscription != before.subscription;
        if subscribes_anew && before.subscription.regex != member.subscription.regex {
            subscription::check_regex(&member.subscription.regex)?;
        }
        if let Some(id) = replaced {
            self.forget(&id);
        }
        if is_new || member.is_stored_differently(&before) {
            self.unstored.members.insert(member.id.clone());
        }
        let id = member.id.clone();
        self.put(member);

        let outdated = subscribes_anew || self.seen != Some(catalog.generation());
        let topics_changed = outdated && self.look_at_topics(catalog);
        // Epoch 0 means "joins": a new group must leave it, whatever is subscribed to.
        if subscribes_anew || topics_changed || self.epoch == 0 {
            self.raise_epoch();
        }
        if self.epoch > self.assignment_epoch {
            self.assign(settings.assignors[0]);
        }
        self.reconcile(&id, request.owned.as_ref(), now);

        let member = &self.members[&id];
        let is_full_request = request.epoch == JOINS
            || (request.rebalance_timeout.is_some()
                && (request.names.is_some() || request.regex.is_some())
                && request.owned.is_some());
        let tells = is_full_request || !member.assigned.keys().eq(before.assigned.keys());
        Ok(HeartbeatAnswer {
            epoch: member.epoch,
            assignment: tells.then(|| member.assigned.keys().copied().collect()),
            member_id: id,
        })
    }

    /// A member leaves: with [`LEAVES`] for good, with [`LEAVES_FOR_A_WHILE`] it keeps its place
    /// until its session ends.
    ///
    /// # Errors
    /// `UnknownMemberId`, `FencedInstanceId`.
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        epoch: i32,
        wall_ms: i64,
    ) -> Result<(), Refused> {
        match instance {
            None if self.members.contains_key(member_id) => {}
            None => return Err(unknown_member(member_id)),
            Some(instance) => {
                self.static_member(instance, member_id)?;
                if epoch == LEAVES_FOR_A_WHILE {
                    self.leave_for_a_while(member_id);
                    return Ok(());
                }
            }
        }
        self.fence(member_id, wall_ms);
        Ok(())
    }

    fn leave_for_a_while(&mut self, id: &str) {
        let member = self.members.get_mut(id).expect("the caller has looked");
        member.epoch = LEAVES_FOR_A_WHILE;
        member.rebalance_deadline = None;
        // It runs no more, so what it was to give up is free.
        for partition in std::mem::take(&mut member.revoking).into_keys() {
            self.owners.remove(&partition);
        }
        self.unstored.members.insert(id.to_owned());
    }

    /// Removes a member for good.
    fn fence(&mut self, id: &str, wall_ms: i64) {
        self.forget(id);
        self.forget_topics();
        self.raise_epoch();
        if self.members.is_empty() {
            self.assignment_epoch = self.epoch;
            self.empty_since_ms = wall_ms;
        }
    }

    /// Takes a member out of all tables.
    fn forget(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        for partition in member.assigned.keys().chain(member.revoking.keys()) {
            self.owners.remove(partition);
        }
        if let Some(instance) = &member.instance
            && self.instances.get(instance).is_some_and(|holder| holder == id)
        {
            self.instances.remove(instance);
        }
        self.unstored.members.insert(id.to_owned());
    }

    /// Puts a member, new or changed, into all tables.
    fn put(&mut self, member: Member) {
        if let Some(old) = self.members.get(&member.id) {
            for partition in old.assigned.keys().chain(old.revoking.keys()) {
                self.owners.remove(partition);
            }
            if let Some(instance) = &old.instance {
                self.instances.remove(instance);
            }
        }
        for partition in member.assigned.keys().chain(member.revoking.keys()) {
            self.owners.insert(*partition, member.id.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    fn raise_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.unstored.group = true;
    }

    /// Computes the target for the present epoch.
    fn assign(&mut self, default: Assignor) {
        let targets = assignor::assign(self.assignor(default), &self.members, |subscription| {
            let matched = self.matches.get(&subscription.regex).into_iter().flatten();
            let names = subscription.names.iter().chain(matched);
            names.filter_map(|name| self.topics.get(name).copied()).collect()
        });
        for (id, target) in targets {
            let member = self.members.get_mut(&id).expect("targets are for members");
            if member.target != target {
                member.target = target;
                self.unstored.members.insert(id);
            }
        }
        self.assignment_epoch = self.epoch;
        self.unstored.group = true;
    }

    /// Brings a member nearer to its target.
    fn reconcile(&mut self, id: &str, owned: Option<&BTreeSet<Partition>>, now: Duration) {
        let member = &self.members[id];
        if member.is_at(self.assignment_epoch) {
            return;
        }
        let is_free = |partition: &Partition| !self.owners.contains_key(partition);
        let Some(mut next) = member.reconciled(self.assignment_epoch, owned, is_free) else {
            return;
        };
        next.rebalance_deadline = match next.state {
            MemberState::Revoking => Some(now + next.rebalance_timeout),
            MemberState::Stable | MemberState::Waiting => None,
        };
        if next.is_stored_differently(member) {
            self.unstored.members.insert(id.to_owned());
        }
        self.put(next);
    }
}

fn unknown_member(id: &str) -> Refused {
    Refused::new(ResponseError::UnknownMemberId, format!("the group has no member `{id}`"))
}

#[cfg(test)]
mod tests;
