//! Syncing: the leader hands in the assignment, everybody takes their part.

use std::time::Duration;

use kafka_protocol::ResponseError;

use super::member::MemberKey;
use super::{Group, GroupState, Opaque, Output, Ticket};

/// A SyncGroup request.
#[derive(Clone, Debug)]
pub(crate) struct SyncRequest {
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
    /// What the client believes the group does; absent from old clients.
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    /// Member id and assignment; from the leader only.
    pub(crate) assignments: Vec<(String, Opaque)>,
}

/// A successful answer to SyncGroup.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignment: Opaque,
}

/// An answer to SyncGroup.
pub(crate) type SyncAnswer = Result<Synced, ResponseError>;

impl Group {
    /// Takes a SyncGroup. The answer comes as an [`Output`], at once or when the leader has
    /// handed in the assignment.
    pub(crate) fn sync(&mut self, request: SyncRequest, ticket: Ticket, now: Duration) {
        if let Err(code) = self.try_sync(request, ticket, now) {
            self.outputs.push(Output::Sync(ticket, Err(code)));
        }
    }

    fn try_sync(
        &mut self,
        request: SyncRequest,
        ticket: Ticket,
        now: Duration,
    ) -> Result<(), ResponseError> {
        let key = MemberKey { id: &request.member_id, instance: request.instance.as_deref() };
        let at = self.find(&key)?;
        if request.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        self.members[at].is_alive_at(now);
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::Stable => {
                self.answer_sync(at, ticket);
                Ok(())
            }
            GroupState::CompletingRebalance => {
                // A request sent twice: the first one's connection is gone.
                let old = self.members[at].sync_ticket.replace(ticket);
                if let Some(old) = old {
                    self.outputs.push(Output::Sync(old, Err(ResponseError::RebalanceInProgress)));
                }
                if self.leader.as_deref() == Some(request.member_id.as_str()) {
                    self.assign(request.assignments, now);
                }
                Ok(())
            }
        }
    }

    fn assign(&mut self, assignments: Vec<(String, Opaque)>, now: Duration) {
        for (id, assignment) in assignments {
            if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
                member.assignment = assignment;
            }
        }
        self.become_state(GroupState::Stable);
        self.outputs.push(Output::Store);
        // Members that have not asked yet still must, before the deadline set at the join.
        for at in 0..self.members.len() {
            if let Some(ticket) = self.members[at].sync_ticket.take() {
                self.members[at].is_alive_at(now);
                self.answer_sync(at, ticket);
            }
        }
        self.sync_deadline = None;
    }

    fn answer_sync(&mut self, at: usize, ticket: Ticket) {
        let synced = Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members[at].assignment.clone(),
        };
        self.outputs.push(Output::Sync(ticket, Ok(synced)));
    }
}
