//! One consumer group of the classic protocol, as a state machine without I/O: requests and the
//! passing of time go in, answers to waiting requests come out.
//!
//! ```text
//!            first member joins             all joined, or time is up
//!   Empty ───────────────────► PreparingRebalance ──────────────► CompletingRebalance
//!     ▲                          ▲   ▲                                │        │
//!     │ last member gone         │   └────── a member joins or leaves ┘        │ leader syncs
//!     └──────────────────────────┤                                             ▼
//!                                └──────── a member joins, leaves, dies ──── Stable
//!   any ──► Dead (the group was deleted)
//! ```
//!
//! The rules are Kafka's (KIP-62 rebalance time-out, KIP-345 static members, KIP-394 known
//! member ids, KIP-814 skipped assignments). "Cooperative" consumers need nothing of their own
//! here: they rejoin while they go on owning partitions, and the assignment is theirs to read.

mod join;
mod member;
mod stored;
mod sync;
mod timing;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;

pub(crate) use join::{JoinAnswer, JoinRequest};
pub(crate) use member::{Member, MemberKey};
pub(crate) use sync::{SyncAnswer, SyncRequest};

/// Names a request that waits for its answer.
pub type Ticket = u64;

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// No members; committed offsets may be there.
    Empty,
    /// Members are being gathered.
    PreparingRebalance,
    /// The generation is known, the leader's assignment is awaited.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// Deleted.
    Dead,
}

impl GroupState {
    /// Whether a group may go from this state to that one.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use GroupState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        match next {
            PreparingRebalance => matches!(self, Empty | CompletingRebalance | Stable),
            CompletingRebalance | Empty => self == PreparingRebalance,
            Stable => self == CompletingRebalance,
            Dead => self != Dead,
        }
    }

    /// The name that clients show.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// What a step of the machine asks its owner to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// Answer a waiting JoinGroup.
    Join(Ticket, JoinAnswer),
    /// Answer a waiting SyncGroup.
    Sync(Ticket, SyncAnswer),
    /// Store the group: its membership or generation has changed.
    Store,
}

/// Limits and delays that the broker's settings give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`.
    pub(crate) initial_delay: Duration,
    /// `group.min.session.timeout.ms` and `group.max.session.timeout.ms`.
    pub(crate) session_timeout: (Duration, Duration),
    /// `group.max.size`.
    pub(crate) max_size: usize,
}

/// The first gathering of members, which ends later when more and more come.
#[derive(Clone, Copy, Debug)]
struct InitialWait {
    /// How long the end may still be put off.
    left: Duration,
    /// By how much at a time.
    step: Duration,
    /// Whether somebody joined since it was last put off.
    somebody_joined: bool,
}

/// A group.
pub(crate) struct Group {
    state: GroupState,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    /// In the order they joined.
    members: Vec<Member>,
    /// Ids that were handed out (KIP-394) and have not come back yet, with their deadline.
    pending: Vec<(String, Duration)>,
    /// While preparing: when the waiting for members ends.
    join_deadline: Option<Duration>,
    /// While preparing for the first time.
    initial_wait: Option<InitialWait>,
    /// While completing: when members that did not sync are put out.
    sync_deadline: Option<Duration>,
    /// Wall-clock time since when there are no members, in milliseconds.
    empty_since_ms: i64,
    outputs: Vec<Output>,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(now_wall_ms: i64) -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Vec::new(),
            pending: Vec::new(),
            join_deadline: None,
            initial_wait: None,
            sync_deadline: None,
            empty_since_ms: now_wall_ms,
            outputs: Vec::new(),
        }
    }

    /// Its state.
    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    /// `consumer` for consumers; absent until somebody joined.
    pub(crate) fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The assignment strategy of the current generation.
    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Its members, in the order they joined.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Since when it has no members, in wall-clock milliseconds; `None` while it has some.
    pub(crate) fn empty_since_ms(&self) -> Option<i64> {
        (self.state == GroupState::Empty).then_some(self.empty_since_ms)
    }

    /// What the last steps ask for.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether a member subscribes to that topic (consumer protocol), for OffsetDelete.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        self.members.iter().any(|member| {
            let metadata = self.protocol().and_then(|name| member.metadata_of(name));
            metadata.is_some_and(|metadata| member::subscription_has(metadata, topic))
        })
    }

    /// A heartbeat.
    ///
    /// # Errors
    /// Kafka's code; `RebalanceInProgress` asks the member to join again.
    pub(crate) fn heartbeat(
        &mut self,
        key: &MemberKey<'_>,
        generation: i32,
        now: Duration,
    ) -> Result<(), ResponseError> {
        let at = self.find(key)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.members[at].is_alive_at(now);
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// A member says that it goes.
    ///
    /// # Errors
    /// Kafka's code if there is no such member.
    pub(crate) fn leave(
        &mut self,
        key: &MemberKey<'_>,
        now: Duration,
        wall_ms: i64,
    ) -> Result<(), ResponseError> {
        if key.instance.is_none()
            && let Some(at) = self.pending.iter().position(|(id, _)| id == key.id)
        {
            self.pending.remove(at);
            self.finish_join_if_ready(now, wall_ms);
            return Ok(());
        }
        // A static member may be removed by its instance id alone (an administrator's call).
        let at = match key.instance {
            Some(instance) if key.id.is_empty() => self
                .members
                .iter()
                .position(|member| member.instance.as_deref() == Some(instance))
                .ok_or(ResponseError::UnknownMemberId)?,
            _ => self.find(key)?,
        };
        self.remove(at, now, wall_ms);
        Ok(())
    }

    /// Whether offsets may be committed in that name.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn check_commit(
        &mut self,
        key: &MemberKey<'_>,
        generation: i32,
        now: Duration,
    ) -> Result<(), ResponseError> {
        if self.state == GroupState::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        // A consumer that assigns partitions to itself, or a tool.
        if generation < 0 && key.id.is_empty() && key.instance.is_none() {
            return match self.state {
                GroupState::Empty => Ok(()),
                _ => Err(ResponseError::UnknownMemberId),
            };
        }
        let at = self.find(key)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.members[at].is_alive_at(now);
        match self.state {
            GroupState::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether offsets may be added to a transaction in that name. Unlike a plain commit this may
    /// be done without a member's name whatever the group does, and while it rebalances: what
    /// fences a zombie then is the generation, or the producer's epoch (KIP-447).
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn check_transactional_commit(
        &mut self,
        key: &MemberKey<'_>,
        generation: i32,
        now: Duration,
    ) -> Result<(), ResponseError> {
        if self.state == GroupState::Dead {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        if generation < 0 && key.id.is_empty() && key.instance.is_none() {
            return Ok(());
        }
        if generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        let at = self.find(key)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.members[at].is_alive_at(now);
        Ok(())
    }

    /// Ends the group: whoever waits is told that the coordinator does not know it.
    pub(crate) fn kill(&mut self) {
        self.become_state(GroupState::Dead);
        for at in 0..self.members.len() {
            self.release(at, ResponseError::CoordinatorNotAvailable);
        }
        self.members.clear();
    }

    fn become_state(&mut self, next: GroupState) {
        assert!(self.state.may_become(next), "a group went from {:?} to {next:?}", self.state);
        self.state = next;
    }

    /// The member of that id, if its static identity fits.
    fn find(&self, key: &MemberKey<'_>) -> Result<usize, ResponseError> {
        if let Some(instance) = key.instance {
            let at = self
                .members
                .iter()
                .position(|member| member.instance.as_deref() == Some(instance))
                .ok_or(ResponseError::UnknownMemberId)?;
            return match self.members[at].id == key.id {
                true => Ok(at),
                false => Err(ResponseError::FencedInstanceId),
            };
        }
        self.members
            .iter()
            .position(|member| member.id == key.id)
            .ok_or(ResponseError::UnknownMemberId)
    }

    /// Answers what a member waits for with an error.
    fn release(&mut self, at: usize, code: ResponseError) {
        let member = &mut self.members[at];
        if let Some(ticket) = member.join_ticket.take() {
            self.outputs.push(Output::Join(ticket, Err((code, member.id.clone()))));
        }
        if let Some(ticket) = member.sync_ticket.take() {
            self.outputs.push(Output::Sync(ticket, Err(code)));
        }
    }

    fn remove(&mut self, at: usize, now: Duration, wall_ms: i64) {
        self.release(at, ResponseError::UnknownMemberId);
        let gone = self.members.remove(at);
        if self.leader.as_deref() == Some(gone.id.as_str()) {
            self.leader = self.members.first().map(|member| member.id.clone());
        }
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(now, Duration::ZERO);
                self.finish_join_if_ready(now, wall_ms);
            }
            GroupState::PreparingRebalance => self.finish_join_if_ready(now, wall_ms),
            GroupState::Empty | GroupState::Dead => {}
        }
    }
}

/// Bytes that clients exchange through the group; the broker passes them on unread.
pub(crate) type Opaque = Bytes;

#[cfg(test)]
mod tests;
