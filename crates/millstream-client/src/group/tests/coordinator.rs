//! The coordinator of classic groups, after Kafka's: its states, its order of checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use millstream_types::TopicPartition;

use super::cluster::{Answer, Ticket, text};
use crate::group::codes::*;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Preparing {
        deadline: Duration,
    },
    Completing,
    Stable,
}

#[derive(Debug, Default)]
struct Member {
    instance_id: Option<String>,
    protocols: Vec<(String, Bytes)>,
    session: Duration,
    rebalance: Duration,
    expires: Duration,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    assignment: Bytes,
}

/// An offset and who committed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) epoch: i32,
    pub(super) by: usize,
}

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    state: State,
    pub(super) generation: i32,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    pending: BTreeSet<String>,
    next_id: u32,
    pub(super) offsets: BTreeMap<TopicPartition, Entry>,
    /// Which program took a partition over last, as a member: who may commit it.
    pub(super) readers: BTreeMap<TopicPartition, usize>,
    /// Commits that were answered with "the group is rebalancing" and the like.
    pub(super) refused: usize,
    pub(super) accepted: usize,
    pub(super) answers: Vec<Answer>,
}

impl Coordinator {
    pub(super) fn knows(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    /// Throws a member out, as an expired session does.
    pub(super) fn evict(&mut self, member_id: &str, now: Duration) {
        if self.members.remove(member_id).is_some() {
            self.rebalance(now);
        }
    }

    pub(super) fn handle(&mut self, ticket: Ticket, away: bool, now: Duration) {
        match ticket.request.key {
            key if key == JoinGroupRequest::KEY => self.join(ticket, away, now),
            key if key == SyncGroupRequest::KEY => self.sync(ticket, away, now),
            key if key == HeartbeatRequest::KEY => self.heartbeat(&ticket, away, now),
            key if key == LeaveGroupRequest::KEY => self.leave(&ticket, away, now),
            key if key == OffsetCommitRequest::KEY => self.commit(ticket, away, now),
            key if key == OffsetFetchRequest::KEY => self.fetch(&ticket, away),
            key => panic!("nobody asks {key}"),
        }
    }

    fn answer<R: Request>(&mut self, ticket: &Ticket, response: &R::Response) {
        self.answers.push((ticket.connection, ticket.request.answer::<R>(response)));
    }

    fn refuse_join(&mut self, ticket: &Ticket, code: i32, member_id: &str) {
        let response = JoinGroupResponse::default()
            .with_error_code(code as i16)
            .with_protocol_name(Some(text("")))
            .with_member_id(text(member_id));
        self.answer::<JoinGroupRequest>(ticket, &response);
    }

    fn refuse_sync(&mut self, ticket: &Ticket, code: i32) {
        let response = SyncGroupResponse::default().with_error_code(code as i16);
        self.answer::<SyncGroupRequest>(ticket, &response);
    }

    fn join(&mut self, ticket: Ticket, away: bool, now: Duration) {
        let request: JoinGroupRequest = ticket.request.decode();
        let mut id = request.member_id.to_string();
        if away {
            return self.refuse_join(&ticket, NOT_COORDINATOR, &id);
        }
        let instance_id = request.group_instance_id.map(|id| id.to_string());
        let of_instance = self
            .members
            .iter()
            .find(|(_, m)| instance_id.is_some() && m.instance_id == instance_id)
            .map(|(id, _)| id.clone());
        if id.is_empty() {
            self.next_id += 1;
            id = format!("member-{:04}", self.next_id);
            if instance_id.is_none() {
                self.pending.insert(id.clone());
                return self.refuse_join(&ticket, MEMBER_ID_REQUIRED, &id);
            }
            if let Some(old) = of_instance {
                let old = self.members.remove(&old).unwrap();
                for waiting in [old.joining, old.syncing].into_iter().flatten() {
                    if waiting.request.key == JoinGroupRequest::KEY {
                        self.refuse_join(&waiting, FENCED_INSTANCE_ID, "");
                    } else {
                        self.refuse_sync(&waiting, FENCED_INSTANCE_ID);
                    }
                }
            }
        } else if of_instance.is_some_and(|other| other != id) {
            return self.refuse_join(&ticket, FENCED_INSTANCE_ID, &id);
        } else if !self.members.contains_key(&id) && !self.pending.remove(&id) {
            return self.refuse_join(&ticket, UNKNOWN_MEMBER_ID, &id);
        }
        let protocols: Vec<_> =
            request.protocols.into_iter().map(|p| (p.name.to_string(), p.metadata)).collect();
        let known = self.members.contains_key(&id);
        let member = self.members.entry(id.clone()).or_default();
        let changed = member.protocols != protocols;
        member.instance_id = instance_id;
        member.protocols = protocols;
        member.session = Duration::from_millis(request.session_timeout_ms as u64);
        member.rebalance = Duration::from_millis(request.rebalance_timeout_ms as u64);
        member.expires = now + member.session;
        if self.state == State::Stable && known && !changed && id != self.leader {
            // Nothing new; it has only missed the answer.
            let member = self.members.get_mut(&id).unwrap();
            member.joining = Some(ticket);
            self.answer_join(&id, now);
            return;
        }
        self.members.get_mut(&id).unwrap().joining = Some(ticket);
        self.rebalance(now);
        self.complete_join(now);
    }

    fn rebalance(&mut self, now: Duration) {
        if matches!(self.state, State::Preparing { .. }) {
            return self.complete_join(now);
        }
        let waiting: Vec<Ticket> =
            self.members.values_mut().filter_map(|member| member.syncing.take()).collect();
        for ticket in waiting {
            self.refuse_sync(&ticket, REBALANCE_IN_PROGRESS);
        }
        let longest = self.members.values().map(|member| member.rebalance).max();
        self.state = State::Preparing { deadline: now + longest.unwrap_or_default() };
        self.complete_join(now);
    }

    fn complete_join(&mut self, now: Duration) {
        let State::Preparing { deadline } = self.state else { return };
        if deadline <= now {
            self.members.retain(|_, member| member.joining.is_some());
        }
        if self.members.values().any(|member| member.joining.is_none()) {
            return;
        }
        self.generation += 1;
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        self.state = State::Completing;
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().unwrap().clone();
        }
        let common = self.members[&self.leader].protocols.iter().find(|(name, _)| {
            self.members.values().all(|m| m.protocols.iter().any(|(other, _)| other == name))
        });
        self.protocol = common.expect("the members have a protocol in common").0.clone();
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.answer_join(&id, now);
        }
    }

    fn answer_join(&mut self, id: &str, now: Duration) {
        let member = self.members.get_mut(id).unwrap();
        member.expires = now + member.session;
        member.assignment =
            if self.state == State::Completing { Bytes::new() } else { member.assignment.clone() };
        let Some(ticket) = member.joining.take() else { return };
        let mut response = JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_name(Some(text(&self.protocol)))
            .with_leader(text(&self.leader))
            .with_member_id(text(id));
        if ticket.request.version >= 7 {
            response = response.with_protocol_type(Some(text("consumer")));
        }
        if id == self.leader {
            let members = self.members.iter().map(|(id, member)| {
                let (_, metadata) =
                    member.protocols.iter().find(|(name, _)| *name == self.protocol).unwrap();
                JoinGroupResponseMember::default()
                    .with_member_id(text(id))
                    .with_group_instance_id(member.instance_id.as_deref().map(text))
                    .with_metadata(metadata.clone())
            });
            response = response.with_members(members.collect());
        }
        self.answer::<JoinGroupRequest>(&ticket, &response);
    }

    /// What is wrong with a member's generation.
    fn check(&self, id: &str, instance_id: Option<&str>, generation: i32) -> i32 {
        let of_instance = self
            .members
            .iter()
            .find(|(_, m)| instance_id.is_some() && m.instance_id.as_deref() == instance_id);
        match of_instance {
            Some((other, _)) if other != id => FENCED_INSTANCE_ID,
            None if instance_id.is_some() => UNKNOWN_MEMBER_ID,
            _ if !self.members.contains_key(id) => UNKNOWN_MEMBER_ID,
            _ if generation != self.generation => ILLEGAL_GENERATION,
            _ => 0,
        }
    }

    fn sync(&mut self, ticket: Ticket, away: bool, now: Duration) {
        let request: SyncGroupRequest = ticket.request.decode();
        let id = request.member_id.to_string();
        let instance_id = request.group_instance_id.as_deref();
        let code = match (away, self.check(&id, instance_id, request.generation_id)) {
            (true, _) => NOT_COORDINATOR,
            (_, 0) if matches!(self.state, State::Preparing { .. }) => REBALANCE_IN_PROGRESS,
            (_, code) => code,
        };
        if code != 0 {
            return self.refuse_sync(&ticket, code);
        }
        self.members.get_mut(&id).unwrap().syncing = Some(ticket);
        if self.state == State::Completing {
            if id != self.leader {
                return;
            }
            for share in request.assignments {
                if let Some(member) = self.members.get_mut(share.member_id.as_str()) {
                    member.assignment = share.assignment;
                }
            }
            self.state = State::Stable;
        }
        let waiting: Vec<(Ticket, Bytes)> = self
            .members
            .values_mut()
            .filter_map(|member| {
                let ticket = member.syncing.take()?;
                member.expires = now + member.session;
                Some((ticket, member.assignment.clone()))
            })
            .collect();
        for (ticket, assignment) in waiting {
            let mut response = SyncGroupResponse::default().with_assignment(assignment);
            if ticket.request.version >= 5 {
                response = response
                    .with_protocol_type(Some(text("consumer")))
                    .with_protocol_name(Some(text(&self.protocol)));
            }
            self.answer::<SyncGroupRequest>(&ticket, &response);
        }
    }

    fn heartbeat(&mut self, ticket: &Ticket, away: bool, now: Duration) {
        let request: HeartbeatRequest = ticket.request.decode();
        let instance_id = request.group_instance_id.as_deref();
        let mut code = self.check(&request.member_id, instance_id, request.generation_id);
        if away {
            code = NOT_COORDINATOR;
        } else if code == 0 {
            let member = self.members.get_mut(request.member_id.as_str()).unwrap();
            member.expires = now + member.session;
            if matches!(self.state, State::Preparing { .. }) {
                code = REBALANCE_IN_PROGRESS;
            }
        }
        let response = HeartbeatResponse::default().with_error_code(code as i16);
        self.answer::<HeartbeatRequest>(ticket, &response);
    }

    fn leave(&mut self, ticket: &Ticket, away: bool, now: Duration) {
        let request: LeaveGroupRequest = ticket.request.decode();
        let mut response = LeaveGroupResponse::default();
        if away {
            response = response.with_error_code(NOT_COORDINATOR as i16);
        }
        for leaver in request.members.iter().filter(|_| !away) {
            self.pending.remove(leaver.member_id.as_str());
            let member = self.members.remove(leaver.member_id.as_str());
            let code = if member.is_some() { 0 } else { UNKNOWN_MEMBER_ID };
            response.members.push(
                MemberResponse::default()
                    .with_member_id(leaver.member_id.clone())
                    .with_error_code(code as i16),
            );
            if let Some(waiting) = member.and_then(|member| member.joining) {
                self.refuse_join(&waiting, UNKNOWN_MEMBER_ID, "");
            }
            self.rebalance(now);
        }
        self.answer::<LeaveGroupRequest>(ticket, &response);
    }

    fn commit(&mut self, ticket: Ticket, away: bool, now: Duration) {
        let request: OffsetCommitRequest = ticket.request.decode();
        let generation = request.generation_id_or_member_epoch;
        let code = if away {
            NOT_COORDINATOR
        } else if generation < 0 && self.members.is_empty() {
            0
        } else {
            let instance_id = request.group_instance_id.as_deref();
            match self.check(&request.member_id, instance_id, generation) {
                0 if self.state == State::Completing => REBALANCE_IN_PROGRESS,
                code => code,
            }
        };
        if code == 0
            && let Some(member) = self.members.get_mut(request.member_id.as_str())
        {
            member.expires = now + member.session;
        }
        self.store(&ticket, request, code);
    }

    pub(super) fn commit_with_epochs(
        &mut self,
        ticket: Ticket,
        epochs: &BTreeMap<String, i32>,
        away: bool,
    ) {
        let request: OffsetCommitRequest = ticket.request.decode();
        let code = match epochs.get(request.member_id.as_str()) {
            _ if away => NOT_COORDINATOR,
            None => UNKNOWN_MEMBER_ID,
            Some(epoch) if *epoch != request.generation_id_or_member_epoch => STALE_MEMBER_EPOCH,
            Some(_) => 0,
        };
        self.store(&ticket, request, code);
    }

    fn store(&mut self, ticket: &Ticket, request: OffsetCommitRequest, code: i32) {
        *(if code == 0 { &mut self.accepted } else { &mut self.refused }) += 1;
        let mut response = OffsetCommitResponse::default();
        for topic in request.topics {
            let mut answers = Vec::new();
            for partition in topic.partitions {
                let key = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                if code == 0 {
                    let by = ticket.connection.0;
                    let reader = self.readers.get(&key);
                    assert!(
                        reader.is_none_or(|reader| *reader == by),
                        "{key}: program {by} commits what {reader:?} has taken over"
                    );
                    let offset = partition.committed_offset;
                    let before = self.offsets.get(&key).map_or(0, |entry| entry.offset);
                    assert!(before <= offset, "{key}: {offset} is committed after {before}");
                    let epoch = partition.committed_leader_epoch;
                    self.offsets.insert(key, Entry { offset, epoch, by });
                }
                answers.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code as i16),
                );
            }
            let topic = OffsetCommitResponseTopic::default().with_name(topic.name);
            response.topics.push(topic.with_partitions(answers));
        }
        self.answer::<OffsetCommitRequest>(ticket, &response);
    }

    fn fetch(&mut self, ticket: &Ticket, away: bool) {
        let request: OffsetFetchRequest = ticket.request.decode();
        let code = if away { NOT_COORDINATOR } else { 0 };
        let mut response = OffsetFetchResponse::default();
        let batched = ticket.request.version >= 8;
        let asked: Vec<(TopicName, Vec<i32>)> = if batched {
            let topics = request.groups.into_iter().flat_map(|group| group.topics.unwrap());
            topics.map(|topic| (topic.name, topic.partition_indexes)).collect()
        } else {
            let topics = request.topics.unwrap().into_iter();
            topics.map(|topic| (topic.name, topic.partition_indexes)).collect()
        };
        let mut group = OffsetFetchResponseGroup::default().with_error_code(code as i16);
        for (name, indexes) in asked.into_iter().filter(|_| !away) {
            let (mut one, mut many) = (Vec::new(), Vec::new());
            for index in indexes {
                let key = TopicPartition::new(name.as_str(), index);
                let (offset, epoch) =
                    self.offsets.get(&key).map_or((-1, -1), |entry| (entry.offset, entry.epoch));
                one.push(
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset)
                        .with_committed_leader_epoch(epoch)
                        .with_metadata(Some(text(""))),
                );
                many.push(
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset)
                        .with_committed_leader_epoch(epoch)
                        .with_metadata(Some(text(""))),
                );
            }
            let topic = OffsetFetchResponseTopic::default().with_name(name.clone());
            response.topics.push(topic.with_partitions(one));
            let topic = OffsetFetchResponseTopics::default().with_name(name);
            group.topics.push(topic.with_partitions(many));
        }
        if batched {
            response.topics.clear();
            response.groups.push(group);
        } else {
            response.error_code = code as i16;
        }
        self.answer::<OffsetFetchRequest>(ticket, &response);
    }

    pub(super) fn tick(&mut self, now: Duration) {
        self.complete_join(now);
        let expired: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.joining.is_none() && m.syncing.is_none() && m.expires <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in expired {
            self.evict(&id, now);
        }
    }
}
