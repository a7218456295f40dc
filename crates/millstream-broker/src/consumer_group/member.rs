//! A member, and how it gets from what it has to what it should have.
//!
//! ```text
//!             nothing to give up                    all of its target is free
//!   Stable ─────────────────────────► Waiting ──────────────────────────────► Stable
//!      │                                 ▲
//!      │ must give up partitions         │ has said that it has given them up
//!      └────────────► Revoking ──────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;

use super::{Assignor, ConsumerGroupSettings, HeartbeatRequest, JOINS, Partition, Subscription};
use crate::topics::Refused;

/// Where a member is on its way to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has what it should have.
    Stable,
    /// It was told to give up partitions, and has not said yet that it has.
    Revoking,
    /// Others have not given up yet what it should have.
    Waiting,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// Set for a static member: it keeps its place over a restart.
    pub(crate) instance: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) subscription: Subscription,
    pub(crate) assignor: Option<Assignor>,
    /// How long it may take to give up partitions.
    pub(crate) rebalance_timeout: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) epoch: i32,
    /// A heartbeat with this epoch is taken as well: the answer with the newer one may be lost.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    /// What it may have, with the epoch since which it has.
    pub(crate) assigned: BTreeMap<Partition, i32>,
    /// What it was told to give up, with the epoch since which it has it.
    pub(crate) revoking: BTreeMap<Partition, i32>,
    /// What it should have.
    pub(crate) target: BTreeSet<Partition>,
    pub(crate) session_deadline: Duration,
    pub(crate) rebalance_deadline: Option<Duration>,
}

impl Member {
    /// A member that has nothing yet.
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            instance: None,
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            subscription: Subscription::default(),
            assignor: None,
            rebalance_timeout: Duration::ZERO,
            session_timeout: Duration::ZERO,
            epoch: JOINS,
            previous_epoch: JOINS,
            state: MemberState::Stable,
            assigned: BTreeMap::new(),
            revoking: BTreeMap::new(),
            target: BTreeSet::new(),
            session_deadline: Duration::ZERO,
            rebalance_deadline: None,
        }
    }

    /// The same static member in its next life. What it had counts from its beginning: its first
    /// epoch may be lower than the one in which its predecessor got it.
    pub(super) fn with_new_id(&self, id: &str) -> Self {
        let mut member = self.clone();
        member.id = id.to_owned();
        member.epoch = JOINS;
        member.previous_epoch = JOINS;
        member.assigned.values_mut().for_each(|since| *since = JOINS);
        member
    }

    /// Takes over what a heartbeat says, and lives on.
    pub(super) fn take(
        &mut self,
        request: &HeartbeatRequest,
        settings: &ConsumerGroupSettings,
        now: Duration,
    ) {
        fn replace<T: Clone>(old: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                old.clone_from(new);
            }
        }
        if request.instance.is_some() {
            self.instance.clone_from(&request.instance);
        }
        if request.rack.is_some() {
            self.rack.clone_from(&request.rack);
        }
        if request.assignor.is_some() {
            self.assignor = request.assignor;
        }
        replace(&mut self.rebalance_timeout, request.rebalance_timeout.as_ref());
        replace(&mut self.subscription.names, request.names.as_ref());
        replace(&mut self.subscription.regex, request.regex.as_ref());
        self.client_id.clone_from(&request.client_id);
        self.client_host.clone_from(&request.client_host);
        self.session_timeout = settings.session_timeout;
        self.session_deadline = now + settings.session_timeout;
    }

    /// Whether it has arrived at the target of that epoch.
    pub(super) fn is_at(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    /// Since which epoch it has a partition, be it to be given up.
    pub(super) fn holds(&self, partition: &Partition) -> Option<i32> {
        self.assigned.get(partition).or_else(|| self.revoking.get(partition)).copied()
    }

    /// Whether more than its deadlines differs.
    pub(super) fn is_stored_differently(&self, other: &Self) -> bool {
        let same = self.instance == other.instance
            && self.rack == other.rack
            && self.client_id == other.client_id
            && self.client_host == other.client_host
            && self.subscription == other.subscription
            && self.assignor == other.assignor
            && self.rebalance_timeout == other.rebalance_timeout
            && self.session_timeout == other.session_timeout
            && self.epoch == other.epoch
            && self.previous_epoch == other.previous_epoch
            && self.state == other.state
            && self.assigned == other.assigned
            && self.revoking == other.revoking
            && self.target == other.target;
        !same
    }

    /// Checks the epoch of a heartbeat. One that joins again has given up all it had.
    pub(super) fn check_epoch(&self, request: &HeartbeatRequest) -> Result<(), Refused> {
        let lost_the_answer = || {
            request.epoch < self.epoch
                && request.epoch == self.previous_epoch
                && request.owned.as_ref().is_some_and(|owned| {
                    owned.iter().all(|partition| self.assigned.contains_key(partition))
                })
        };
        if request.epoch == JOINS || request.epoch == self.epoch || lost_the_answer() {
            return Ok(());
        }
        let message = format!(
            "the member's epoch is {}, not {}; it must give up its partitions and join again",
            self.epoch, request.epoch
        );
        Err(Refused::new(ResponseError::FencedMemberEpoch, message))
    }

    /// The member after the next step towards its target of `assignment_epoch`; `None` if it can
    /// make none. `is_free` tells whether nobody holds a partition.
    pub(super) fn reconciled(
        &self,
        assignment_epoch: i32,
        owned: Option<&BTreeSet<Partition>>,
        is_free: impl Fn(&Partition) -> bool,
    ) -> Option<Self> {
        // A member that does not say what it has, has it all.
        let has_any_of = |partitions: &BTreeMap<Partition, i32>| {
            owned.is_none_or(|owned| partitions.keys().any(|partition| owned.contains(partition)))
        };
        let mut next = self.clone();
        let epoch = match self.state {
            MemberState::Revoking if has_any_of(&self.revoking) => return None,
            MemberState::Revoking => self.epoch + 1,
            MemberState::Stable | MemberState::Waiting => self.epoch,
        };
        let (kept, given_up): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.assigned.iter().partition(|(partition, _)| self.target.contains(partition));
        next.assigned = kept;
        next.revoking = BTreeMap::new();
        if !given_up.is_empty() && has_any_of(&given_up) {
            next.revoking = given_up;
            next.state = MemberState::Revoking;
            next.reach(epoch);
            return Some(next);
        }
        let mut is_complete = true;
        for partition in &self.target {
            // What this very step gives up is not in the target; what the last one did is free.
            if next.assigned.contains_key(partition) {
                continue;
            }
            if is_free(partition) || self.revoking.contains_key(partition) {
                next.assigned.insert(*partition, assignment_epoch);
            } else {
                is_complete = false;
            }
        }
        next.state = if is_complete { MemberState::Stable } else { MemberState::Waiting };
        next.reach(assignment_epoch);
        Some(next)
    }

    fn reach(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }
}
