//! The coordinator of groups of KIP-848: epochs, targets, and what members still hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::*;
use millstream_types::TopicPartition;
use uuid::Uuid;

use super::cluster::{text, topic_id};
use crate::group::assignors::{self, MemberSubscription};
use crate::group::codes::*;
use crate::settings::Assignor;
use crate::testing::frames::Arrived;

const SESSION: Duration = Duration::from_secs(6);

#[derive(Debug, Default)]
struct Member {
    instance_id: Option<String>,
    epoch: i32,
    before: i32,
    topics: BTreeSet<String>,
    pattern: Option<String>,
    target: BTreeSet<TopicPartition>,
    /// What it may have: what it was given, until it says that it has given it up.
    given: BTreeSet<TopicPartition>,
    told: Option<BTreeSet<TopicPartition>>,
    expires: Duration,
    revoke_by: Option<Duration>,
    rebalance: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    members: BTreeMap<String, Member>,
    epoch: i32,
    topics: BTreeMap<String, i32>,
    used: bool,
    next_id: u32,
    /// Requests as they came.
    pub(super) log: Vec<ConsumerGroupHeartbeatRequest>,
    /// Answers the next heartbeat with this.
    pub(super) refuse_next: Option<i32>,
}

impl Server {
    pub(super) fn is_in_use(&self) -> bool {
        self.used
    }

    pub(super) fn knows(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    pub(super) fn epochs(&self) -> BTreeMap<String, i32> {
        self.members.iter().map(|(id, member)| (id.clone(), member.epoch)).collect()
    }

    pub(super) fn heartbeat(
        &mut self,
        request: &Arrived,
        topics: &BTreeMap<String, i32>,
        away: bool,
        now: Duration,
    ) -> Bytes {
        self.used = true;
        if self.topics != *topics {
            self.topics.clone_from(topics);
            self.retarget();
        }
        let asked: ConsumerGroupHeartbeatRequest = request.decode();
        self.log.push(asked.clone());
        let answer = match self.refuse_next.take() {
            Some(code) => Err(code),
            None if away => Err(NOT_COORDINATOR),
            None => self.take(asked, now),
        };
        let response = answer.unwrap_or_else(|code| {
            ConsumerGroupHeartbeatResponse::default().with_error_code(code as i16)
        });
        request.answer::<ConsumerGroupHeartbeatRequest>(&response)
    }

    fn take(
        &mut self,
        asked: ConsumerGroupHeartbeatRequest,
        now: Duration,
    ) -> Result<ConsumerGroupHeartbeatResponse, i32> {
        let mut id = asked.member_id.to_string();
        if asked.member_epoch < 0 {
            self.members.remove(&id).ok_or(UNKNOWN_MEMBER_ID)?;
            self.retarget();
            return Ok(ConsumerGroupHeartbeatResponse::default()
                .with_member_id(Some(text(&id)))
                .with_member_epoch(asked.member_epoch));
        }
        if asked.member_epoch == 0 {
            if id.is_empty() {
                self.next_id += 1;
                id = format!("member-{:04}", self.next_id);
            }
            let owned = asked.topic_partitions.as_ref().expect("who joins says what it has");
            assert!(owned.is_empty(), "who joins has nothing");
            let instance_id = asked.instance_id.as_ref().map(|id| id.to_string());
            if instance_id.is_some()
                && self
                    .members
                    .iter()
                    .any(|(other, m)| *other != id && m.instance_id == instance_id)
            {
                return Err(UNRELEASED_INSTANCE_ID);
            }
            assert!(asked.rebalance_timeout_ms > 0);
            let rebalance = Duration::from_millis(asked.rebalance_timeout_ms as u64);
            self.members.insert(id.clone(), Member { instance_id, rebalance, ..Member::default() });
        }
        let ids: BTreeMap<Uuid, String> =
            self.topics.keys().map(|name| (topic_id(name), name.clone())).collect();
        let member = self.members.get_mut(&id).ok_or(UNKNOWN_MEMBER_ID)?;
        let owned: Option<BTreeSet<TopicPartition>> = asked.topic_partitions.map(|topics| {
            let all = topics.into_iter().flat_map(|topic| {
                let name = ids[&topic.topic_id].clone();
                topic.partitions.into_iter().map(move |n| TopicPartition::new(name.as_str(), n))
            });
            all.collect()
        });
        let missed = asked.member_epoch == member.before
            && owned.as_ref().is_some_and(|owned| owned.is_subset(&member.given));
        if asked.member_epoch != member.epoch && !missed {
            return Err(FENCED_MEMBER_EPOCH);
        }
        member.expires = now + SESSION;
        let mut changed = false;
        if let Some(names) = asked.subscribed_topic_names {
            let names = names.iter().map(|name| name.to_string()).collect();
            changed |= member.topics != names;
            member.topics = names;
        }
        if let Some(pattern) = asked.subscribed_topic_regex {
            member.pattern = (!pattern.is_empty()).then(|| pattern.to_string());
            changed = true;
        }
        if let Some(owned) = &owned {
            // What it does not have of what it was told is given up, or not yet taken over.
            let target = &member.target;
            member.given.retain(|p| owned.contains(p) || target.contains(p));
        }
        if changed || asked.member_epoch == 0 {
            self.retarget();
        }
        let assignment = self.reconcile(&id, now, asked.member_epoch == 0 || missed);
        let member = &self.members[&id];
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(&id)))
            .with_member_epoch(member.epoch)
            .with_heartbeat_interval_ms(1000)
            .with_assignment(assignment))
    }

    /// What the member is told, if it is news.
    fn reconcile(&mut self, id: &str, now: Duration, all: bool) -> Option<Assignment> {
        let held: BTreeSet<TopicPartition> = self
            .members
            .iter()
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, member)| member.given.iter().cloned())
            .collect();
        let epoch = self.epoch;
        let member = self.members.get_mut(id).unwrap();
        let tell: BTreeSet<TopicPartition> = if member.given.is_subset(&member.target) {
            member.revoke_by = None;
            if member.epoch != epoch {
                member.before = member.epoch;
                member.epoch = epoch;
            }
            member.target.difference(&held).cloned().collect()
        } else {
            member.revoke_by.get_or_insert(now + member.rebalance);
            member.given.intersection(&member.target).cloned().collect()
        };
        member.given.extend(tell.iter().cloned());
        if !all && member.told.as_ref() == Some(&tell) {
            return None;
        }
        member.told = Some(tell.clone());
        let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for partition in tell {
            topics.entry(topic_id(&partition.topic)).or_default().push(partition.partition);
        }
        let topics = topics.into_iter().map(|(id, partitions)| {
            TopicPartitions::default().with_topic_id(id).with_partitions(partitions)
        });
        Some(Assignment::default().with_topic_partitions(topics.collect()))
    }

    fn retarget(&mut self) {
        self.epoch += 1;
        let members: Vec<MemberSubscription> = self
            .members
            .iter()
            .map(|(id, member)| {
                let pattern = member.pattern.as_ref();
                let pattern =
                    pattern.map(|p| regex_lite::Regex::new(&format!("^(?:{p})$")).unwrap());
                let topics = self.topics.keys().filter(|name| {
                    member.topics.contains(*name)
                        || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
                });
                MemberSubscription {
                    member_id: id.clone(),
                    topics: topics.map(|name| name.as_str().into()).collect(),
                    owned: BTreeSet::new(),
                    previous: member.target.clone(),
                    generation: 0,
                    ..MemberSubscription::default()
                }
            })
            .collect();
        let counts = self.topics.iter().map(|(name, n)| (name.as_str().into(), *n)).collect();
        for (id, target) in
            assignors::assign(Assignor::CooperativeSticky, &members, &counts, &Default::default())
        {
            self.members.get_mut(&id).unwrap().target = target;
        }
    }

    /// Throws a member out.
    pub(super) fn evict(&mut self, id: &str) {
        if self.members.remove(id).is_some() {
            self.retarget();
        }
    }

    pub(super) fn tick(&mut self, now: Duration) {
        let late: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| m.expires <= now || m.revoke_by.is_some_and(|by| by <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.evict(&id);
        }
    }
}
