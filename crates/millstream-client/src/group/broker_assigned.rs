//! The protocol of KIP-848 (`group.protocol=consumer`): the coordinator shares the partitions out
//! and tells each member by the answers to its heartbeats.
//!
//! A member brings what it has into line with what it was told: it gives up first, then takes
//! over, and reports what it has after each. Whoever is fenced has lost everything and joins anew.
//! There is no local session time-out: the coordinator has it and does not tell it; the member
//! epoch fences late commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId,
};
use kafka_protocol::protocol::StrBytes;
use millstream_types::TopicPartition;
use uuid::Uuid;

use super::codes::*;
use super::offsets::{Standing, Verdict};
use super::{GroupTag, Membership, Shared, millis};
use crate::base::Base;
use crate::error::KafkaError;
use crate::network::Completion;
use crate::random::Backoff;
use crate::tag::Tag;
use crate::time::{Now, earlier};

/// Member epochs with a meaning of their own.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Out,
    /// To be joined as soon as what was lost is given up.
    Joining,
    Member,
    Leaving {
        asked: bool,
        out: bool,
        by: Option<Duration>,
    },
    /// `max.poll.interval.ms` has passed; until the next poll.
    Parked,
    Failed,
}

/// What the coordinator was told of us. What it knows is not told again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    names: BTreeSet<Arc<str>>,
    pattern: Option<String>,
    owned: BTreeMap<Uuid, Vec<i32>>,
}

pub(super) struct BrokerAssigned {
    state: State,
    member_id: String,
    epoch: i32,
    interval: Duration,
    heartbeat_at: Duration,
    /// Names the heartbeat that is out.
    out: Option<u64>,
    serial: u64,
    told: Option<Told>,
    /// What the heartbeat that is out tells.
    telling: Option<Told>,
    target: Option<BTreeMap<Uuid, BTreeSet<i32>>>,
    /// Ids of the topics that we have partitions of.
    ids: BTreeMap<Arc<str>, Uuid>,
    /// Whether an assignment was reported since we joined.
    reported: bool,
    refreshed: Option<u64>,
    joined_once: bool,
    backoff: Option<Backoff>,
}

impl BrokerAssigned {
    pub(super) fn new() -> Self {
        Self {
            state: State::Out,
            member_id: String::new(),
            epoch: JOIN,
            interval: Duration::ZERO,
            heartbeat_at: Duration::ZERO,
            out: None,
            serial: 0,
            told: None,
            telling: None,
            target: None,
            ids: BTreeMap::new(),
            reported: false,
            refreshed: None,
            joined_once: false,
            backoff: None,
        }
    }

    fn drop_membership(&mut self, shared: &mut Shared) {
        shared.lose(self.identity());
        self.epoch = JOIN;
        self.told = None;
        self.telling = None;
        self.target = None;
        self.reported = false;
        self.out = None;
    }

    fn fail(&mut self, shared: &mut Shared, error: KafkaError) {
        self.drop_membership(shared);
        self.state = State::Failed;
        shared.fail(error);
    }

    fn fenced(&mut self, shared: &mut Shared, now: Now) {
        self.drop_membership(shared);
        if !matches!(self.state, State::Leaving { .. }) {
            self.state = State::Joining;
        }
        self.heartbeat_at = now.mono;
    }

    /// What the coordinator should know of us now.
    fn to_tell(&self, shared: &Shared, base: &Base, regex: bool) -> Told {
        let (names, pattern) = match &shared.subscription {
            // A broker that knows no patterns gets the names that they mean at the moment.
            Some(subscription) if !regex => (subscription.resolve(&base.metadata), None),
            Some(subscription) => (subscription.topics.clone(), subscription.broker_pattern()),
            // Whoever is leaving does not say anything new.
            None => self.told.clone().map(|told| (told.names, told.pattern)).unwrap_or_default(),
        };
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for partition in shared.talk.owned() {
            if let Some(id) = self.ids.get(&partition.topic) {
                owned.entry(*id).or_default().push(partition.partition);
            }
        }
        // What the owner has not answered yet is no news.
        if let (false, Some(told)) = (shared.talk.is_settled(), &self.told) {
            owned.clone_from(&told.owned);
        }
        Told { names, pattern, owned }
    }

    fn heartbeat(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if self.out.is_some() || self.heartbeat_at > now.mono && self.told.is_none() {
            return;
        }
        let Some(node) = shared.link.node(base, now) else { return };
        let Some(version) = base.net.version::<ConsumerGroupHeartbeatRequest>(node, (0, 1)) else {
            let text = "the brokers do not offer group.protocol=consumer (KIP-848)";
            self.fail(shared, KafkaError::with(UNSUPPORTED_VERSION, Some(text)));
            return;
        };
        let tell = self.to_tell(shared, base, version >= 1);
        let news = self.told.as_ref() != Some(&tell);
        if self.heartbeat_at > now.mono && !news {
            return;
        }
        if self.epoch == JOIN && self.member_id.is_empty() && version >= 1 {
            let random = base.net.random();
            let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
            self.member_id =
                uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string();
        }
        let mut request = self.request(shared, self.epoch);
        let told = self.told.as_ref();
        if told.is_none() {
            request = request
                .with_rack_id((!shared.rack.is_empty()).then(|| text(&shared.rack)))
                .with_rebalance_timeout_ms(millis(shared.settings.max_poll_interval))
                .with_server_assignor(shared.settings.remote_assignor.as_deref().map(text));
        }
        if told.is_none_or(|told| told.names != tell.names) {
            let names = tell.names.iter().map(|name| text(name).into()).collect();
            request = request.with_subscribed_topic_names(Some(names));
        }
        let pattern = told.and_then(|told| told.pattern.as_ref());
        if version >= 1 && pattern != tell.pattern.as_ref() {
            // An empty one takes an earlier one back.
            let pattern = tell.pattern.as_deref().unwrap_or_default();
            request = request.with_subscribed_topic_regex(Some(text(pattern)));
        }
        if told.is_none_or(|told| told.owned != tell.owned) {
            let owned = tell.owned.iter().map(|(id, partitions)| {
                TopicPartitions::default().with_topic_id(*id).with_partitions(partitions.clone())
            });
            request = request.with_topic_partitions(Some(owned.collect()));
        }
        self.telling = Some(tell);
        self.serial += 1;
        self.out = Some(self.serial);
        // The coordinator says how often; until it has, the setting does.
        self.heartbeat_at = now.after(match self.interval {
            Duration::ZERO => shared.settings.heartbeat_interval,
            interval => interval,
        });
        let timeout = base.settings.request_timeout;
        let timeout = match self.interval * 3 {
            Duration::ZERO => timeout,
            patience => timeout.min(patience),
        };
        let tag = Tag::Group(GroupTag::ConsumerHeartbeat { serial: self.serial });
        base.net.send(node, &request, version, timeout, tag, now);
    }

    fn request(&self, shared: &Shared, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&shared.settings.group_id)))
            .with_member_id(text(&self.member_id))
            .with_member_epoch(epoch)
            .with_instance_id(shared.settings.instance_id.as_deref().map(text))
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None)
    }

    /// Returns whether it could be sent.
    fn send_leave(&mut self, shared: &mut Shared, base: &mut Base, now: Now) -> bool {
        let Some(node) = shared.link.node(base, now) else { return false };
        let Some(version) = base.net.version::<ConsumerGroupHeartbeatRequest>(node, (0, 1)) else {
            return false;
        };
        let epoch = if shared.settings.instance_id.is_some() { LEAVE_FOR_NOW } else { LEAVE };
        let request = self.request(shared, epoch);
        let timeout = base.settings.request_timeout;
        base.net.send(node, &request, version, timeout, Tag::Group(GroupTag::Leave), now);
        true
    }

    /// Brings what is ours into line with what we were told.
    fn reconcile(&mut self, shared: &mut Shared, base: &mut Base) {
        let Some(target) = &self.target else { return };
        if !shared.talk.is_settled() {
            return;
        }
        let (mut names, mut wanted, mut unknown) = (BTreeMap::new(), BTreeSet::new(), false);
        for (id, numbers) in target {
            let known = self.ids.iter().find(|(_, known)| *known == id).map(|(name, _)| name);
            let Some(name) = base.metadata.name_of(id).or(known).cloned() else {
                unknown = true;
                continue;
            };
            wanted.extend(numbers.iter().map(|number| TopicPartition::new(name.clone(), *number)));
            names.insert(name, *id);
        }
        if unknown && self.refreshed != Some(base.metadata.rounds()) {
            self.refreshed = Some(base.metadata.rounds());
            base.metadata.refresh();
        }
        let owned = shared.talk.owned_set();
        // A topic that was made anew under the same name is another topic.
        let revoked: BTreeSet<TopicPartition> = owned
            .iter()
            .filter(|p| !wanted.contains(*p) || self.ids.get(&p.topic) != names.get(&p.topic))
            .cloned()
            .collect();
        if !revoked.is_empty() {
            shared.talk.revoke(revoked);
            return;
        }
        // A report of what we have lets the coordinator give away what is not in it. Until it is
        // answered nothing more is taken over.
        let reported = self.told.as_ref().map(|told| &told.owned);
        let reporting = self.telling.as_ref().map(|telling| &telling.owned);
        if reported.is_none() || (self.out.is_some() && reporting != reported) {
            return;
        }
        let added: BTreeSet<TopicPartition> = wanted.difference(&owned).cloned().collect();
        self.ids = names;
        if !added.is_empty() || (!self.reported && !unknown) {
            self.reported = true;
            shared.talk.assign(added);
        }
    }

    fn heard(&mut self, response: ConsumerGroupHeartbeatResponse, shared: &mut Shared) {
        if let Some(member_id) = response.member_id {
            self.member_id = member_id.to_string();
        }
        self.told = self.telling.take();
        if let Ok(interval @ 1..) = u64::try_from(response.heartbeat_interval_ms) {
            self.interval = Duration::from_millis(interval);
        }
        if response.member_epoch != self.epoch {
            self.epoch = response.member_epoch;
            shared.offsets.rejoined();
        }
        if self.state == State::Joining {
            self.state = State::Member;
            self.joined_once = true;
        }
        if let Some(assignment) = response.assignment {
            let mut target: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
            for topic in assignment.topic_partitions {
                target.entry(topic.topic_id).or_default().extend(topic.partitions);
            }
            self.target = Some(target);
        }
        shared.is_well();
    }

    fn step_leaving(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        let State::Leaving { asked, out, by } = self.state else { return };
        if !shared.talk.is_settled() {
            self.heartbeat_if_member(shared, base, now);
            return;
        }
        let owned = shared.talk.owned_set();
        if !asked && !owned.is_empty() {
            self.state = State::Leaving { asked: true, out, by };
            shared.talk.revoke(owned);
            return;
        }
        let patience = base.settings.request_timeout.min(shared.settings.session_timeout);
        let by = by.unwrap_or_else(|| now.after(patience));
        self.state = State::Leaving { asked: true, out, by: Some(by) };
        if by <= now.mono || self.epoch <= 0 && !out && self.out.is_none() {
            self.be_out(shared);
        } else if !out && !shared.offsets.must_go_first() && self.send_leave(shared, base, now) {
            self.state = State::Leaving { asked: true, out: true, by: Some(by) };
        }
    }

    fn heartbeat_if_member(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if self.epoch > 0 {
            self.heartbeat(shared, base, now);
        }
    }

    fn be_out(&mut self, shared: &mut Shared) {
        self.drop_membership(shared);
        self.member_id.clear();
        self.ids.clear();
        self.state = State::Out;
    }
}

impl Membership for BrokerAssigned {
    fn advance(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if self.state == State::Failed {
            return;
        }
        if !shared.wants_membership() {
            match self.state {
                State::Out | State::Leaving { .. } => {}
                State::Parked => self.be_out(shared),
                _ => {
                    self.target = None;
                    self.state = State::Leaving { asked: false, out: false, by: None };
                }
            }
        } else if self.state == State::Out {
            self.state = State::Joining;
            self.heartbeat_at = now.mono;
        }
        match self.state {
            State::Joining if shared.talk.is_settled() && shared.knows_topics(base) => {
                self.heartbeat(shared, base, now);
            }
            State::Member => {
                // First: what was given up is told before more is taken over.
                self.heartbeat(shared, base, now);
                self.reconcile(shared, base);
            }
            State::Leaving { .. } => self.step_leaving(shared, base, now),
            _ => {}
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
        let serial = match tag {
            GroupTag::ConsumerHeartbeat { serial } => serial,
            GroupTag::Leave if matches!(self.state, State::Leaving { out: true, .. }) => {
                return self.be_out(shared);
            }
            _ => return,
        };
        if self.out != Some(serial) {
            return;
        }
        self.out = None;
        let node = completion.node;
        let answer = completion.result.map_err(KafkaError::from).and_then(|body| {
            let response =
                body.decode_from::<ConsumerGroupHeartbeatRequest>(node, &mut base.net, now)?;
            base.net.throttle(node, response.throttle_time_ms, now);
            match response.error_code {
                0 => Ok(response),
                code => Err(KafkaError::with(code, response.error_message.as_deref())),
            }
        });
        let error = match answer {
            Ok(response) => {
                if let Some(backoff) = &mut self.backoff {
                    backoff.succeeded();
                }
                return self.heard(response, shared);
            }
            Err(error) => error,
        };
        // Whether it has heard is not known, so it is told everything again.
        self.told = None;
        self.telling = None;
        match error.code {
            UNKNOWN_MEMBER_ID | FENCED_MEMBER_EPOCH => return self.fenced(shared, now),
            GROUP_ID_NOT_FOUND if self.epoch > 0 => return self.fenced(shared, now),
            FENCED_INSTANCE_ID
            | UNRELEASED_INSTANCE_ID
            | GROUP_MAX_SIZE_REACHED
            | UNSUPPORTED_ASSIGNOR
            | UNSUPPORTED_VERSION
            | INVALID_REQUEST
            | GROUP_AUTHORIZATION_FAILED
            | INVALID_REGULAR_EXPRESSION => return self.fail(shared, error),
            COORDINATOR_LOAD_IN_PROGRESS => {}
            TOPIC_AUTHORIZATION_FAILED => shared.report(error),
            code if coordinator_has_moved(code) => shared.link.lost(node, base),
            _ => return self.fail(shared, error),
        }
        let (first, max) = (base.settings.retry_backoff, base.settings.retry_backoff_max);
        let backoff = self.backoff.get_or_insert_with(|| Backoff::new(first, max));
        self.heartbeat_at = now.after(backoff.failed(base.net.random()));
    }

    fn standing(&self, shared: &Shared) -> Standing {
        if self.epoch <= 0 {
            return Standing::Outside;
        }
        Standing::Sender {
            generation: self.epoch,
            member_id: self.member_id.clone(),
            instance_id: shared.settings.instance_id.clone(),
            by_broker: true,
            joining: false,
        }
    }

    fn judged(&mut self, verdict: Verdict, shared: &mut Shared, now: Now) {
        match verdict {
            Verdict::Fine => {}
            // The answer to a heartbeat has the epoch.
            Verdict::Rebalancing => self.heartbeat_at = now.mono,
            Verdict::Fenced(_) => self.fenced(shared, now),
            Verdict::Replaced(error) => self.fail(shared, error),
        }
    }

    fn subscribed(&mut self) {}

    fn poll_exceeded(&mut self, shared: &mut Shared, base: &mut Base, now: Now) {
        if self.epoch > 0 {
            self.send_leave(shared, base, now);
        }
        self.drop_membership(shared);
        if !matches!(self.state, State::Leaving { .. }) {
            self.state = State::Parked;
        }
    }

    fn polled(&mut self, now: Now) {
        if self.state == State::Parked {
            self.state = State::Joining;
            self.heartbeat_at = now.mono;
        }
    }

    fn is_member(&self) -> bool {
        !matches!(self.state, State::Out | State::Parked | State::Failed)
    }

    fn is_out(&self) -> bool {
        matches!(self.state, State::Out | State::Failed)
    }

    fn is_eager(&self, _: &Shared) -> bool {
        !self.joined_once
    }

    fn identity(&self) -> (i32, &str) {
        (if self.epoch > 0 { self.epoch } else { -1 }, &self.member_id)
    }

    fn owned_generation(&self) -> i32 {
        // An epoch comes with what is ours in it.
        self.identity().0
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        let beats = match self.state {
            State::Joining | State::Member => true,
            State::Leaving { .. } => self.epoch > 0,
            _ => false,
        };
        let heartbeat = (beats && self.out.is_none()).then_some(self.heartbeat_at);
        let by = match self.state {
            State::Leaving { by, .. } => by,
            _ => None,
        };
        earlier(heartbeat.filter(|at| *at > now.mono), by.filter(|at| *at > now.mono))
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
