//! A group's form on disk: an entry for the group and one for each member, so that a heartbeat
//! that changes one member writes that one.
//!
//! Both begin with a version. The group: its epoch, that of its assignment, the time since when it
//! is empty, its topics with ids and sizes. A member: everything but its deadlines, which begin
//! anew after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::{Assignor, ConsumerGroup, Member, MemberState, Partition, Subscription};
use crate::journal::{Fields, put_bytes, put_option};

const VERSION: u8 = 1;

/// A member's id and its entry; `None` if it is gone.
type MemberEntry<'a> = (&'a str, Option<Vec<u8>>);

impl ConsumerGroup {
    /// What is to be stored: the group if it has changed; members that have, `None` for those that
    /// are gone.
    pub(crate) fn unstored(&self) -> (Option<Vec<u8>>, Vec<MemberEntry<'_>>) {
        let group = self.unstored.group.then(|| self.encode());
        let member = |id: &'_ String| self.members.get(id).map(encode_member);
        let members = self.unstored.members.iter().map(|id| (id.as_str(), member(id))).collect();
        (group, members)
    }

    /// It was stored.
    pub(crate) fn is_stored(&mut self) {
        self.unstored = super::Unstored::default();
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.assignment_epoch.to_be_bytes());
        out.extend_from_slice(&self.empty_since_ms.to_be_bytes());
        put_count(&mut out, self.topics.len());
        for (name, (id, partitions)) in &self.topics {
            put_bytes(&mut out, name.as_bytes());
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(&partitions.to_be_bytes());
        }
        out
    }

    /// Reads a group that was stored, without its members. `None` if the bytes are not that.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.fixed()? != [VERSION] {
            return None;
        }
        let mut group = Self::new(0);
        group.epoch = fields.i32()?;
        group.assignment_epoch = fields.i32()?;
        group.empty_since_ms = fields.i64()?;
        for _ in 0..fields.i32()? {
            let name = fields.string()?;
            let id = Uuid::from_bytes(fields.fixed()?);
            group.topics.insert(name, (id, fields.i32()?));
        }
        Some(group)
    }

    /// Adds a member that was stored; its times begin at `now`. `None` if the bytes are not that.
    pub(crate) fn restore_member(&mut self, id: &str, bytes: &[u8], now: Duration) -> Option<()> {
        let mut member = decode_member(id, bytes)?;
        member.session_deadline = now + member.session_timeout;
        member.rebalance_deadline =
            (member.state == MemberState::Revoking).then(|| now + member.rebalance_timeout);
        self.put(member);
        Some(())
    }
}

fn encode_member(member: &Member) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_option(&mut out, member.instance.as_deref());
    put_option(&mut out, member.rack.as_deref());
    put_bytes(&mut out, member.client_id.as_bytes());
    put_bytes(&mut out, member.client_host.as_bytes());
    put_count(&mut out, member.subscription.names.len());
    for name in &member.subscription.names {
        put_bytes(&mut out, name.as_bytes());
    }
    put_bytes(&mut out, member.subscription.regex.as_bytes());
    put_option(&mut out, member.assignor.map(Assignor::name));
    for timeout in [member.rebalance_timeout, member.session_timeout] {
        out.extend_from_slice(&(timeout.as_millis() as i64).to_be_bytes());
    }
    out.extend_from_slice(&member.epoch.to_be_bytes());
    out.extend_from_slice(&member.previous_epoch.to_be_bytes());
    out.push(match member.state {
        MemberState::Stable => 0,
        MemberState::Revoking => 1,
        MemberState::Waiting => 2,
    });
    for held in [&member.assigned, &member.revoking] {
        put_count(&mut out, held.len());
        for (partition, since) in held {
            put_partition(&mut out, partition);
            out.extend_from_slice(&since.to_be_bytes());
        }
    }
    put_count(&mut out, member.target.len());
    for partition in &member.target {
        put_partition(&mut out, partition);
    }
    out
}

fn decode_member(id: &str, bytes: &[u8]) -> Option<Member> {
    let mut fields = Fields(bytes);
    if fields.fixed()? != [VERSION] {
        return None;
    }
    let mut member = Member::new(id);
    member.instance = fields.option()?;
    member.rack = fields.option()?;
    member.client_id = fields.string()?;
    member.client_host = fields.string()?;
    let mut names = BTreeSet::new();
    for _ in 0..fields.i32()? {
        names.insert(fields.string()?);
    }
    member.subscription = Subscription { names, regex: fields.string()? };
    member.assignor = fields.option()?.and_then(|name| Assignor::from_name(&name));
    member.rebalance_timeout = Duration::from_millis(fields.i64()?.try_into().ok()?);
    member.session_timeout = Duration::from_millis(fields.i64()?.try_into().ok()?);
    member.epoch = fields.i32()?;
    member.previous_epoch = fields.i32()?;
    member.state = match fields.fixed()? {
        [0] => MemberState::Stable,
        [1] => MemberState::Revoking,
        [2] => MemberState::Waiting,
        _ => return None,
    };
    for held in [&mut member.assigned, &mut member.revoking] {
        *held = decode_held(&mut fields)?;
    }
    for _ in 0..fields.i32()? {
        member.target.insert(decode_partition(&mut fields)?);
    }
    Some(member)
}

fn decode_held(fields: &mut Fields<'_>) -> Option<BTreeMap<Partition, i32>> {
    let mut held = BTreeMap::new();
    for _ in 0..fields.i32()? {
        held.insert(decode_partition(fields)?, fields.i32()?);
    }
    Some(held)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as i32).to_be_bytes());
}

fn put_partition(out: &mut Vec<u8>, (topic, partition): &Partition) {
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(&partition.to_be_bytes());
}

fn decode_partition(fields: &mut Fields<'_>) -> Option<Partition> {
    Some((Uuid::from_bytes(fields.fixed()?), fields.i32()?))
}
