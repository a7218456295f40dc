//! Joining: gathering members, choosing a strategy, starting a generation.

use std::time::Duration;

use kafka_protocol::ResponseError;

use super::member::MemberKey;
use super::{Group, GroupSettings, GroupState, InitialWait, Member, Opaque, Output, Ticket};

/// A group that waits for its static members is not looked at more often than this, whatever
/// rebalance time-out they ask for: with none, the broker would do nothing else.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// A JoinGroup request.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    /// Empty for a new member.
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Opaque)>,
    /// The id to give a new member.
    pub(crate) new_id: String,
    /// Whether the client knows KIP-394: a new member is first told its id, so that a client
    /// that gave up waiting leaves no ghost.
    pub(crate) needs_known_id: bool,
    /// Whether the client knows KIP-814: a returning static leader may skip the assignment.
    pub(crate) may_skip_assignment: bool,
}

/// A successful answer to JoinGroup.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    pub(crate) skip_assignment: bool,
    /// Id, instance id and metadata of every member; for the leader only.
    pub(crate) members: Vec<(String, Option<String>, Opaque)>,
}

/// An answer to JoinGroup; a refusal comes with the member id to use.
pub(crate) type JoinAnswer = Result<Joined, (ResponseError, String)>;

impl Group {
    /// Takes a JoinGroup. The answer comes as an [`Output`], at once or when the group is ready.
    pub(crate) fn join(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        settings: &GroupSettings,
        now: Duration,
        wall_ms: i64,
    ) {
        let id = request.member_id.clone();
        if let Err(refusal) = self.try_join(request, ticket, settings, now, wall_ms) {
            self.outputs.push(Output::Join(ticket, Err((refusal.0, refusal.1.unwrap_or(id)))));
        }
    }

    fn try_join(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        settings: &GroupSettings,
        now: Duration,
        wall_ms: i64,
    ) -> Result<(), (ResponseError, Option<String>)> {
        let refuse = |code| Err((code, None));
        if self.state == GroupState::Dead {
            return refuse(ResponseError::CoordinatorNotAvailable);
        }
        let (shortest, longest) = settings.session_timeout;
        if request.session_timeout < shortest || request.session_timeout > longest {
            return refuse(ResponseError::InvalidSessionTimeout);
        }
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return refuse(ResponseError::InconsistentGroupProtocol);
        }
        let is_known = self.members.iter().any(|member| member.id == request.member_id);
        let was_told = self.pending.iter().any(|(id, _)| *id == request.member_id);
        if !is_known && self.members.len() + self.pending.len() >= settings.max_size && !was_told {
            return refuse(ResponseError::GroupMaxSizeReached);
        }
        if !self.fits(&request) {
            return refuse(ResponseError::InconsistentGroupProtocol);
        }
        if request.member_id.is_empty() {
            return self.join_new(request, ticket, settings, now, wall_ms);
        }
        if was_told {
            self.pending.retain(|(id, _)| *id != request.member_id);
            let id = request.member_id.clone();
            self.add(request, id, ticket, settings, now, wall_ms);
            return Ok(());
        }
        let key = MemberKey { id: &request.member_id, instance: request.instance.as_deref() };
        let at = self.find(&key).map_err(|code| (code, None))?;
        self.rejoin(at, request, ticket, now, wall_ms);
        Ok(())
    }

    fn join_new(
        &mut self,
        request: JoinRequest,
        ticket: Ticket,
        settings: &GroupSettings,
        now: Duration,
        wall_ms: i64,
    ) -> Result<(), (ResponseError, Option<String>)> {
        let id = request.new_id.clone();
        if let Some(instance) = &request.instance {
            let old =
                self.members.iter().position(|m| m.instance.as_deref() == Some(instance.as_str()));
            match old {
                Some(at) => self.replace_static(at, request, ticket, now, wall_ms),
                None => self.add(request, id, ticket, settings, now, wall_ms),
            }
            return Ok(());
        }
        if request.needs_known_id {
            self.pending.push((id.clone(), now + request.session_timeout));
            return Err((ResponseError::MemberIdRequired, Some(id)));
        }
        self.add(request, id, ticket, settings, now, wall_ms);
        Ok(())
    }

    /// Whether a request agrees with the group on the protocol type and on one strategy at least.
    fn fits(&self, request: &JoinRequest) -> bool {
        let others = || self.members.iter().filter(|member| member.id != request.member_id);
        if others().next().is_none() {
            return true;
        }
        self.protocol_type.as_deref() == Some(request.protocol_type.as_str())
            && request
                .protocols
                .iter()
                .any(|(name, _)| others().all(|member| member.metadata_of(name).is_some()))
    }

    fn add(
        &mut self,
        request: JoinRequest,
        id: String,
        ticket: Ticket,
        settings: &GroupSettings,
        now: Duration,
        wall_ms: i64,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.push(Member {
            id,
            instance: request.instance,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols,
            assignment: Opaque::new(),
            join_ticket: Some(ticket),
            sync_ticket: None,
            session_deadline: now + request.session_timeout,
        });
        if let Some(wait) = &mut self.initial_wait {
            wait.somebody_joined = true;
        }
        if self.state != GroupState::PreparingRebalance {
            self.prepare_rebalance(now, settings.initial_delay);
        }
        self.finish_join_if_ready(now, wall_ms);
    }

    /// A known member joins again.
    fn rejoin(
        &mut self,
        at: usize,
        request: JoinRequest,
        ticket: Ticket,
        now: Duration,
        wall_ms: i64,
    ) {
        let member = &self.members[at];
        let unchanged = member.protocols == request.protocols;
        let is_leader = self.leader.as_deref() == Some(member.id.as_str());
        let answer_at_once = match self.state {
            // It did not get its first answer, and asks for it again.
            GroupState::CompletingRebalance => unchanged,
            // A leader that joins again wants to assign anew.
            GroupState::Stable => unchanged && !is_leader,
            _ => false,
        };
        self.release(at, ResponseError::UnknownMemberId);
        let member = &mut self.members[at];
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = request.rebalance_timeout;
        member.protocols = request.protocols;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.is_alive_at(now);
        if answer_at_once {
            let joined = self.joined_answer(at);
            self.outputs.push(Output::Join(ticket, Ok(joined)));
            return;
        }
        self.members[at].join_ticket = Some(ticket);
        if self.state != GroupState::PreparingRebalance {
            self.prepare_rebalance(now, Duration::ZERO);
        }
        self.finish_join_if_ready(now, wall_ms);
    }

    /// A static member comes back after a restart: same place, new id. Unless it changes which
    /// protocol the group chooses, it gets its old assignment and nobody has to move. What it says
    /// within the protocol is not compared, as in Kafka: a client puts its generation in there.
    fn replace_static(
        &mut self,
        at: usize,
        request: JoinRequest,
        ticket: Ticket,
        now: Duration,
        wall_ms: i64,
    ) {
        self.release(at, ResponseError::FencedInstanceId);
        let old_leader = self.leader.clone();
        let was_leader = old_leader.as_deref() == Some(self.members[at].id.as_str());
        if was_leader {
            self.leader = Some(request.new_id.clone());
        }
        let old_protocol = self.protocol.clone();
        let member = &mut self.members[at];
        member.id = request.new_id;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = request.rebalance_timeout;
        member.protocols = request.protocols;
        member.is_alive_at(now);
        if self.state == GroupState::Stable && self.choose_protocol() == old_protocol {
            let mut joined = self.joined_answer(at);
            if was_leader {
                // It must not assign again: told so, or, if it is too old to understand, made
                // believe that another one leads.
                joined.skip_assignment = request.may_skip_assignment;
                if !request.may_skip_assignment {
                    joined.leader = old_leader.expect("the member that was replaced led");
                    joined.members.clear();
                }
            }
            self.outputs.push(Output::Join(ticket, Ok(joined)));
            self.outputs.push(Output::Store);
            return;
        }
        self.members[at].join_ticket = Some(ticket);
        if self.state != GroupState::PreparingRebalance {
            self.prepare_rebalance(now, Duration::ZERO);
        }
        self.finish_join_if_ready(now, wall_ms);
    }

    /// Begins to gather members. Whoever waits for an assignment is sent to join again.
    pub(super) fn prepare_rebalance(&mut self, now: Duration, initial_delay: Duration) {
        if self.state == GroupState::CompletingRebalance {
            for at in 0..self.members.len() {
                if let Some(ticket) = self.members[at].sync_ticket.take() {
                    let refusal = Err(ResponseError::RebalanceInProgress);
                    self.outputs.push(Output::Sync(ticket, refusal));
                    self.members[at].is_alive_at(now);
                }
            }
        }
        self.sync_deadline = None;
        let longest = self.longest_rebalance_timeout();
        if self.state == GroupState::Empty {
            let wait = initial_delay.min(longest);
            let left = longest - wait;
            self.initial_wait = Some(InitialWait { left, step: wait, somebody_joined: false });
            self.join_deadline = Some(now + wait);
        } else {
            self.initial_wait = None;
            self.join_deadline = Some(now + longest);
        }
        self.become_state(GroupState::PreparingRebalance);
    }

    pub(super) fn longest_rebalance_timeout(&self) -> Duration {
        self.members.iter().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Ends the gathering when everybody is here, or, the first time, when the delay is over.
    pub(super) fn finish_join_if_ready(&mut self, now: Duration, wall_ms: i64) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        let everybody = self.pending.is_empty()
            && self.members.iter().all(|member| member.join_ticket.is_some());
        let due = self.join_deadline.is_some_and(|deadline| deadline <= now);
        if (everybody && self.initial_wait.is_none()) || due || self.members.is_empty() {
            self.finish_join(now, wall_ms);
        }
    }

    /// Starts the next generation with those who came.
    pub(super) fn finish_join(&mut self, now: Duration, wall_ms: i64) {
        let stays = |member: &Member| member.join_ticket.is_some() || member.instance.is_some();
        self.members.retain(stays);
        let leader_came = self.members.iter().any(|member| {
            member.join_ticket.is_some() && self.leader.as_deref() == Some(member.id.as_str())
        });
        if !leader_came {
            let next = self.members.iter().find(|member| member.join_ticket.is_some());
            if next.is_none() && !self.members.is_empty() {
                // Only static members, and none of them has come yet: their sessions decide.
                let wait = self.longest_rebalance_timeout().max(LOOK_AGAIN_MIN);
                self.join_deadline = Some(now + wait);
                return;
            }
            self.leader = next.map(|member| member.id.clone());
        }
        self.join_deadline = None;
        self.initial_wait = None;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.empty_since_ms = wall_ms;
            self.become_state(GroupState::Empty);
            self.outputs.push(Output::Store);
            return;
        }
        self.protocol = self.choose_protocol();
        self.become_state(GroupState::CompletingRebalance);
        self.outputs.push(Output::Store);
        self.sync_deadline = Some(now + self.longest_rebalance_timeout());
        for at in 0..self.members.len() {
            self.members[at].assignment = Opaque::new();
            self.members[at].is_alive_at(now);
            if let Some(ticket) = self.members[at].join_ticket.take() {
                let joined = self.joined_answer(at);
                self.outputs.push(Output::Join(ticket, Ok(joined)));
            }
        }
    }

    /// The strategy that all support and most prefer; the leader's order breaks a tie.
    fn choose_protocol(&self) -> Option<String> {
        let first = self.members.first()?;
        let common = |name: &str| self.members.iter().all(|m| m.metadata_of(name).is_some());
        let votes = |name: &str| {
            let favourite = |member: &Member| {
                member.protocols.iter().map(|(name, _)| name.as_str()).find(|name| common(name))
                    == Some(name)
            };
            self.members.iter().filter(|member| favourite(member)).count()
        };
        first
            .protocols
            .iter()
            .map(|(name, _)| name)
            .filter(|name| common(name))
            .rev()
            .max_by_key(|name| votes(name))
            .cloned()
    }

    fn joined_answer(&self, at: usize) -> Joined {
        let member = &self.members[at];
        let protocol = self.protocol.clone().unwrap_or_default();
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == member.id {
            self.members
                .iter()
                .map(|m| {
                    let metadata = m.metadata_of(&protocol).cloned().unwrap_or_default();
                    (m.id.clone(), m.instance.clone(), metadata)
                })
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            leader,
            member_id: member.id.clone(),
            skip_assignment: false,
            members,
        }
    }
}
