//! The classic protocol: members join, the coordinator picks one as the leader, the leader shares
//! the partitions out, all get their share by SyncGroup (KIP-62, KIP-345, KIP-394, KIP-429).
//!
//! ```text
//!  Out ─► Preparing ─► Joining ─► Assigning ─► Syncing ─► Stable
//!   ▲        ▲  (gives up)          (leader)                │
//!   └ Leaving└───────── rejoin, fenced, lost ───────────────┘
//! ```
//!
//! Heartbeats go out in `Stable` and, while the owner is still giving partitions up, in
//! `Preparing` and `Leaving`. Whoever has not heard from the coordinator for `session.timeout.ms`
//! takes its partitions for lost, as the coordinator does.

mod answers;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_types::TopicPartition;

use super::assignors::{self, Assignments, MemberSubscription, PartitionCounts, PartitionRacks};
use super::offsets::{Standing, Verdict};
use super::{GroupTag, Membership, Shared};
use crate::base::Base;
use crate::error::{KafkaError, code};
use crate::metadata::{Metadata, PartitionInfo};
use crate::network::{Completion, NodeId};
use crate::random::Backoff;
use crate::settings::Assignor;
use crate::time::{Now, earlier};

#[derive(Debug)]
enum State {
    /// No member, and nothing to do.
    Out,
    /// Gives up what has to be given up, then joins.
    Preparing {
        /// Whether what has to be given up was asked for.
        asked: bool,
    },
    /// JoinGroup is out.
    Joining,
    /// The leader waits for what it must know of the group's topics.
    Assigning {
        assignor: Assignor,
        members: Vec<MemberSubscription>,
        rounds: u64,
        skip: bool,
    },
    /// SyncGroup is to be sent, or is out.
    Syncing {
        shares: Assignments,
        out: bool,
    },
    Stable,
    Leaving {
        /// Whether the partitions were asked for.
        asked: bool,
        /// Whether LeaveGroup is out.
        out: bool,
        /// When the coordinator is not waited for any more.
        by: Option<Duration>,
    },
    /// `max.poll.interval.ms` has passed; until the next poll.
    Parked,
    /// For good.
    Failed,
}

pub(super) struct Classic {
    state: State,
    member_id: String,
    generation: i32,
    /// The generation in which we were given what is ours. Behind `generation` after a round
    /// whose SyncGroup has failed.
    owned_generation: i32,
    assignor: Option<Assignor>,
    /// What we last said we subscribe to.
    joined_topics: BTreeSet<Arc<str>>,
    /// As the leader: what the assignment was made from.
    snapshot: Option<(PartitionCounts, PartitionRacks)>,
    /// What is to be reported as assigned when the owner has given the rest up.
    added: Option<BTreeSet<TopicPartition>>,
    /// What the last assignment was, for stickiness after eager rounds.
    previous: BTreeSet<TopicPartition>,
    /// Why to join again.
    rejoin: Option<&'static str>,
    reason: &'static str,
    joined_once: bool,
    seen_revision: Option<u64>,
    join_at: Duration,
    backoff: Option<Backoff>,
    heartbeat_at: Duration,
    heartbeat_sent: Option<Duration>,
    session_end: Duration,
    /// Names the requests of this round; answers of others are too late.
    serial: u64,
    /// Where a request is held back.
    held_on: Option<NodeId>,
}

impl Classic {
    pub(super) fn new() -> Self {
        Self {
            state: State::Out,
            member_id: String::new(),
            generation: -1,
            owned_generation: -1,
            assignor: None,
            joined_topics: BTreeSet::new(),
            snapshot: None,
            added: None,
            previous: BTreeSet::new(),
            rejoin: None,
            reason: "",
            joined_once: false,
            seen_revision: None,
            join_at: Duration::ZERO,
            backoff: None,
            heartbeat_at: Duration::ZERO,
            heartbeat_sent: None,
            session_end: Duration::ZERO,
            serial: 0,
            held_on: None,
        }
    }

    fn prepare(&mut self, reason: &'static str, at: Duration) {
        tracing::debug!(target: "millstream::kafka", reason, "joins the group (again)");
        self.reason = reason;
        self.rejoin = None;
        self.join_at = at;
        self.state = State::Preparing { asked: false };
    }

    /// The membership has ended without our doing: what is ours may be someone else's.
    fn drop_membership(&mut self, shared: &mut Shared, forget_id: bool) {
        shared.lose(self.identity());
        if forget_id {
            self.member_id.clear();
        }
        self.generation = -1;
        self.owned_generation = -1;
        self.added = None;
        self.snapshot = None;
        self.heartbeat_sent = None;
    }

    fn fail(&mut self, shared: &mut Shared, error: KafkaError) {
        self.drop_membership(shared, true);
        self.state = State::Failed;
        shared.fail(error);
    }

    /// Gives up waiting for what the coordinator holds back.
    fn release_held(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        self.serial += 1;
        shared.link.is_held = false;
        if let Some(node) = self.held_on.take() {
            base.net.disconnect(node, "the rebalance is waited for no more", now);
        }
    }

    fn rebalance_behaviour_is_eager(shared: &Shared) -> bool {
        shared.settings.assignors.iter().any(|assignor| assignor.is_eager())
    }

    fn has_heartbeat(&self) -> bool {
        self.generation >= 0
            && matches!(
                self.state,
                State::Stable | State::Preparing { .. } | State::Leaving { out: false, .. }
            )
    }

    /// What of the owner's and of the cluster's changes asks for another round.
    fn look_around(&mut self, shared: &mut Shared, base: &Base) {
        let revision = base.metadata.revision();
        let Some(subscription) = &shared.subscription else { return };
        if self.rejoin.is_some() || self.seen_revision == Some(revision) {
            return;
        }
        self.seen_revision = Some(revision);
        if subscription.resolve(&base.metadata) != self.joined_topics {
            self.rejoin = Some("the topics that are subscribed to have changed");
        } else if let Some(snapshot) = &self.snapshot
            && *snapshot != seen(snapshot.0.keys(), shared, &base.metadata)
        {
            self.rejoin = Some("partitions of the group's topics have changed");
        }
    }

    fn give_up(&self, shared: &mut Shared, base: &Base) {
        let owned = shared.talk.owned_set();
        let wanted = match &shared.subscription {
            Some(subscription) if !Self::rebalance_behaviour_is_eager(shared) => {
                let topics = subscription.resolve(&base.metadata);
                owned.into_iter().filter(|p| !topics.contains(&p.topic)).collect()
            }
            _ => owned,
        };
        if !wanted.is_empty() {
            shared.talk.revoke(wanted);
        }
    }

    fn step_preparing(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if !shared.talk.is_settled() {
            return;
        }
        if let State::Preparing { asked: asked @ false } = &mut self.state {
            *asked = true;
            self.give_up(shared, base);
        }
        if !shared.talk.is_settled()
            || shared.offsets.must_go_first()
            || self.join_at > now.mono
            || !shared.knows_topics(base)
        {
            return;
        }
        self.send_join(shared, base, now);
    }

    fn step_assigning(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        let State::Assigning { assignor, members, rounds, skip } = &self.state else { return };
        let topics: BTreeSet<Arc<str>> =
            members.iter().flat_map(|member| member.topics.iter().cloned()).collect();
        for topic in &topics {
            base.metadata.want(topic);
        }
        let known = topics.iter().all(|topic| {
            base.metadata.topic(topic).is_some() || base.metadata.error(topic).is_some()
        });
        // The second answer from here on was asked for after these topics were wanted.
        if !known && base.metadata.rounds() < rounds + 2 {
            return;
        }
        let counts = count(topics.iter(), &base.metadata);
        let racks = racks(topics.iter(), &base.metadata);
        // A leader that may not assign (KIP-814) watches the topics all the same.
        let shares = match skip {
            true => Assignments::new(),
            false => assignors::assign(*assignor, members, &counts, &racks),
        };
        // As `seen` has it: racks are watched by members that have one.
        let watched = if shared.rack.is_empty() { PartitionRacks::new() } else { racks };
        self.snapshot = Some((counts, watched));
        self.state = State::Syncing { shares, out: false };
        self.send_sync(shared, base, now);
    }

    fn step_stable(&mut self, shared: &mut Shared, base: &Base, now: Now) {
        self.look_around(shared, base);
        if shared.talk.is_settled()
            && self.added.is_none()
            && let Some(reason) = self.rejoin
        {
            self.prepare(reason, now.mono);
        }
    }

    fn step_leaving(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if !shared.talk.is_settled() {
            return;
        }
        let State::Leaving { asked, out, by } = &mut self.state else { return };
        if !*asked {
            *asked = true;
            let owned = shared.talk.owned_set();
            if !owned.is_empty() {
                shared.talk.revoke(owned);
                return;
            }
        }
        let patience = base.settings.request_timeout.min(shared.settings.session_timeout);
        let by = *by.get_or_insert_with(|| now.after(patience));
        if by <= now.mono {
            // By now the session is about to end by itself.
            self.be_out(shared);
            return;
        }
        if *out || shared.offsets.must_go_first() {
            return;
        }
        // A static member comes back, or its session ends (KIP-345).
        if shared.settings.instance_id.is_some() || self.member_id.is_empty() {
            self.be_out(shared);
        } else if self.send_leave(shared, base, "the consumer unsubscribed", now) {
            self.state = State::Leaving { asked: true, out: true, by: Some(by) };
        }
    }

    fn be_out(&mut self, shared: &mut Shared) {
        self.drop_membership(shared, true);
        self.state = State::Out;
        self.rejoin = None;
        self.joined_topics.clear();
        self.previous.clear();
    }
}

impl Membership for Classic {
    fn advance(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if matches!(self.state, State::Failed) {
            return;
        }
        if self.has_heartbeat() && self.session_end <= now.mono {
            self.drop_membership(shared, false);
            if !matches!(self.state, State::Leaving { .. }) {
                self.prepare("no heartbeat was answered within the session time-out", now.mono);
            }
        }
        if !shared.wants_membership() {
            match self.state {
                State::Out | State::Leaving { .. } => {}
                State::Parked => self.be_out(shared),
                _ => {
                    self.release_held(shared, base, now);
                    self.added = None;
                    self.state = State::Leaving { asked: false, out: false, by: None };
                }
            }
        } else if matches!(self.state, State::Out) {
            self.prepare("the consumer subscribed", now.mono);
        }
        if shared.talk.is_settled()
            && let Some(added) = self.added.take()
        {
            shared.talk.assign(added);
        }
        match self.state {
            State::Stable => {
                self.step_stable(shared, base, now);
                if matches!(self.state, State::Preparing { .. }) {
                    self.step_preparing(shared, base, now);
                }
            }
            State::Preparing { .. } => self.step_preparing(shared, base, now),
            State::Assigning { .. } => self.step_assigning(shared, base, now),
            State::Syncing { .. } => self.send_sync(shared, base, now),
            State::Leaving { .. } => self.step_leaving(shared, base, now),
            State::Out | State::Joining | State::Parked | State::Failed => {}
        }
        if self.has_heartbeat() && self.heartbeat_at <= now.mono && self.heartbeat_sent.is_none() {
            self.send_heartbeat(shared, base, now);
        }
    }

    fn completed(
        &mut self,
        tag: GroupTag,
        completion: Completion,
        shared: &mut Shared,
        base: &mut Base,
        now: Now,
    ) {
        match tag {
            GroupTag::Join { serial } if serial == self.serial => {
                self.joined(completion, shared, base, now);
            }
            GroupTag::Sync { serial } if serial == self.serial => {
                self.synced(completion, shared, base, now);
            }
            GroupTag::Heartbeat { generation } => {
                self.heard(generation, completion, shared, base, now);
            }
            // Whatever it says, we are out.
            GroupTag::Leave if matches!(self.state, State::Leaving { out: true, .. }) => {
                self.be_out(shared);
            }
            _ => {}
        }
    }

    fn standing(&self, shared: &Shared) -> Standing {
        match self.state {
            State::Assigning { .. } | State::Syncing { .. } => Standing::Between,
            _ if self.generation >= 0 => Standing::Sender {
                generation: self.generation,
                member_id: self.member_id.clone(),
                instance_id: shared.settings.instance_id.clone(),
                by_broker: false,
                joining: matches!(self.state, State::Joining),
            },
            _ => Standing::Outside,
        }
    }

    fn judged(&mut self, verdict: Verdict, shared: &mut Shared, now: Now) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Rebalancing => {
                self.rejoin.get_or_insert("a commit was told of a rebalance");
            }
            Verdict::Fenced(error) => {
                let forget_id = error.code != super::codes::ILLEGAL_GENERATION;
                self.drop_membership(shared, forget_id);
                if !matches!(self.state, State::Leaving { .. }) {
                    self.prepare("a commit was refused", now.mono);
                }
            }
            Verdict::Replaced(error) => self.fail(shared, error),
        }
    }

    fn subscribed(&mut self) {
        self.seen_revision = None;
    }

    fn poll_exceeded(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if shared.settings.instance_id.is_none() && !self.member_id.is_empty() {
            // If there is nobody to tell, the session ends by itself.
            self.send_leave(shared, base, "max.poll.interval.ms has passed without a poll", now);
        }
        self.release_held(shared, base, now);
        self.drop_membership(shared, shared.settings.instance_id.is_none());
        if !matches!(self.state, State::Leaving { .. }) {
            self.state = State::Parked;
        }
    }

    fn polled(&mut self, now: Now) {
        if matches!(self.state, State::Parked) {
            self.prepare("the consumer polls again", now.mono);
        }
    }

    fn is_member(&self) -> bool {
        !matches!(self.state, State::Out | State::Parked | State::Failed)
    }

    fn is_out(&self) -> bool {
        matches!(self.state, State::Out | State::Failed)
    }

    fn is_eager(&self, shared: &Shared) -> bool {
        !self.joined_once || Self::rebalance_behaviour_is_eager(shared)
    }

    fn identity(&self) -> (i32, &str) {
        (self.generation, &self.member_id)
    }

    fn owned_generation(&self) -> i32 {
        self.owned_generation
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        let heartbeat = self.has_heartbeat().then(|| {
            let next = self.heartbeat_sent.is_none().then_some(self.heartbeat_at);
            earlier(Some(self.session_end), next.filter(|at| *at > now.mono))
        });
        let heartbeat = heartbeat.flatten();
        let own = match self.state {
            State::Preparing { .. } => Some(self.join_at),
            State::Leaving { by, .. } => by,
            _ => None,
        };
        earlier(heartbeat, own.filter(|at| *at > now.mono))
    }
}

/// The partition counts of those topics that exist.
fn count<'a>(topics: impl Iterator<Item = &'a Arc<str>>, metadata: &Metadata) -> PartitionCounts {
    topics
        .filter_map(|topic| {
            let partitions = metadata.topic(topic)?.partitions.len();
            Some((topic.clone(), i32::try_from(partitions).ok()?))
        })
        .collect::<BTreeMap<_, _>>()
}

/// The racks of the partitions' replicas.
fn racks<'a>(topics: impl Iterator<Item = &'a Arc<str>>, metadata: &Metadata) -> PartitionRacks {
    let by_broker: BTreeMap<_, Arc<str>> = metadata
        .brokers()
        .iter()
        .filter_map(|broker| Some((broker.id, broker.rack.as_deref()?.into())))
        .collect();
    let of = |partition: &PartitionInfo| {
        partition.replicas.iter().filter_map(|id| by_broker.get(id).cloned()).collect()
    };
    topics
        .filter_map(|topic| {
            let partitions = &metadata.topic(topic)?.partitions;
            Some((topic.clone(), partitions.iter().map(of).collect()))
        })
        .collect()
}

/// What an assignment is made from. The racks of replicas are watched by members that have a rack
/// themselves, as in the Java client.
fn seen<'a>(
    topics: impl Iterator<Item = &'a Arc<str>> + Clone,
    shared: &Shared,
    metadata: &Metadata,
) -> (PartitionCounts, PartitionRacks) {
    let racks = match shared.rack.is_empty() {
        true => PartitionRacks::new(),
        false => racks(topics.clone(), metadata),
    };
    (count(topics, metadata), racks)
}

/// What to do about a response that contradicts what was asked.
fn contradiction(text: &str) -> KafkaError {
    KafkaError::with(code::BAD_MESSAGE, Some(text))
}
