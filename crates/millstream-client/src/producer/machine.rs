//! The producer without sockets: takes over what was produced, sends it, learns what became of it.

mod giving_up;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_types::Clock;
use uuid::Uuid;

use super::batch::Batch;
use super::codes::{INVALID_TOPIC, UNKNOWN_TOPIC_OR_PARTITION};
use super::ids::Ids;
use super::lane::Lane;
use super::queue::{Closed, Shared};
use super::reports::Reports;
use super::transaction::{Command, Step, Transaction};
use super::{ProducerEvent, TransactionRequest};
use crate::auth::{self, Authenticator, OAuthToken};
use crate::base::{Base, Machine, Reachability};
use crate::driver::Wake;
use crate::error::{Error, KafkaError, code};
use crate::network::{Action, Completion, Input, NodeId};
use crate::random::{Backoff, Random};
use crate::settings::{ConnectionSettings, ProducerSettings, SaslSettings};
use crate::statistics::Window;
use crate::tag::Tag;
use crate::time::{Now, earlier};

const TOPIC_AUTHORIZATION_FAILED: i32 = 29;

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum ProducerTag {
    /// A Produce request, or what follows an unanswered one, by its number.
    Produce(u64),
    /// InitProducerId without a transactional id.
    Id,
    /// A step of the transaction.
    Transaction(Step),
}

/// A batch in a request that is out.
pub(super) struct InFlight {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) batch: Batch,
    /// It was reported as failed meanwhile; only its sequence number still counts.
    pub(super) abandoned: bool,
}

/// A request that is out.
pub(super) struct Sent {
    pub(super) batches: Vec<InFlight>,
    /// When the first of its batches has taken too long.
    pub(super) expires: Option<Duration>,
}

pub(super) struct TopicLanes {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
    pub(super) lanes: Vec<Lane>,
    /// Since when brokers say that there is no such topic, as long as they do.
    absent: Option<Duration>,
    /// Bytes and records of the batches sent.
    pub(super) batches: (Window, Window),
}

pub(crate) struct ProducerCore {
    pub(super) base: Base,
    pub(super) settings: Arc<ProducerSettings>,
    pub(super) shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    pub(super) topics: Vec<TopicLanes>,
    /// Partitions that have batches waiting.
    pub(super) busy: BTreeSet<(u32, u32)>,
    /// Where the next round over `busy` begins, so that all have their turn.
    pub(super) cursor: (u32, u32),
    /// In the order sent, in which failures are told.
    pub(super) requests: BTreeMap<u64, Sent>,
    pub(super) next_request: u64,
    /// Requests that are out, by node.
    pub(super) out: BTreeMap<NodeId, usize>,
    /// Nodes that batches wait for, and since when.
    pub(super) unready: BTreeMap<NodeId, Duration>,
    /// Buffer for the next batch to pack.
    pub(super) spare: Vec<u8>,
    pub(super) ids: Ids,
    pub(super) transaction: Option<Transaction>,
    pub(super) reports: Reports,
    pub(super) fatal: Option<KafkaError>,
    /// Records that are not done, as of the last report.
    pub(super) records: u64,
    metadata_seen: Option<u64>,
    linger_until: Option<Duration>,
    /// Who has to be woken.
    wake: Option<Arc<dyn Wake>>,
}

impl ProducerCore {
    pub(super) fn new(
        connection: Arc<ConnectionSettings>,
        settings: Arc<ProducerSettings>,
        authenticator: Option<Box<dyn Authenticator>>,
        mut random: Box<dyn Random>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = Arc::new(Shared::new(settings.clone(), random.next_u64()));
        let transaction =
            settings.transactional_id.as_ref().map(|id| Transaction::new(id.clone(), &connection));
        Self {
            ids: Ids::new(&connection),
            base: Base::new(connection, authenticator, random),
            settings,
            shared,
            clock,
            topics: Vec::new(),
            busy: BTreeSet::new(),
            cursor: (0, 0),
            requests: BTreeMap::new(),
            next_request: 0,
            out: BTreeMap::new(),
            unready: BTreeMap::new(),
            spare: Vec::new(),
            transaction,
            reports: Reports::default(),
            fatal: None,
            records: 0,
            metadata_seen: None,
            linger_until: None,
            wake: None,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Takes the answer to a need for a token over: a token, or why there is none.
    pub(super) fn set_token(
        &mut self,
        token: Result<OAuthToken, &str>,
        now: Now,
    ) -> Result<(), Error> {
        match token {
            Ok(token) => auth::set_token(&mut self.base.net, token, now),
            Err(text) => {
                self.reports.event(ProducerEvent::Error(auth::no_token(text)));
                Ok(())
            }
        }
    }

    /// Requests that may be out to one node at a time.
    pub(super) fn in_flight_max(&self) -> usize {
        // A broker remembers five batches per producer and partition.
        let max = if self.settings.idempotent { 5 } else { usize::MAX };
        self.settings.in_flight_max.clamp(1, max)
    }

    pub(super) fn lane(&mut self, topic: u32, partition: u32) -> &mut Lane {
        &mut self.topics[topic as usize].lanes[partition as usize]
    }

    /// Takes over what the front end has left, and gives it what metadata says.
    fn collect(&mut self, now: Now) {
        let shared = self.shared.clone();
        let mut queue = shared.lock();
        for topic in &queue.topics[self.topics.len()..] {
            self.base.metadata.want(&topic.name);
            let name = topic.name.clone();
            let (id, lanes, batches) = (Uuid::nil(), Vec::new(), Default::default());
            self.topics.push(TopicLanes { name, id, lanes, absent: None, batches });
            self.metadata_seen = None;
        }
        if self.metadata_seen != Some(self.base.metadata.revision()) {
            self.metadata_seen = Some(self.base.metadata.revision());
            for index in 0..self.topics.len() {
                let available = self.take_topic(index);
                let index = index as u32;
                let topic = &mut self.topics[index as usize];
                queue.set_partitions(index, topic.lanes.len(), available, &*self.clock);
                let error = self.base.metadata.error(&topic.name);
                topic.absent = error
                    .filter(|error| error.code == UNKNOWN_TOPIC_OR_PARTITION)
                    .map(|_| topic.absent.unwrap_or(now.mono));
                match error {
                    Some(error)
                        if matches!(error.code, INVALID_TOPIC | TOPIC_AUTHORIZATION_FAILED)
                            && topic.lanes.is_empty() =>
                    {
                        queue.refuse_topic(index, error);
                    }
                    _ => {}
                }
            }
        }
        let timeout = self.settings.delivery_timeout;
        let waiting = queue.expire_waiting(now.mono, |index| self.topics[index].absent);
        if let Some(error) = &self.fatal {
            queue.fail_all_waiting(error);
        }
        let commands = std::mem::take(&mut queue.commands);
        let max = self.in_flight_max();
        let (topics, out) = (&self.topics, &self.out);
        let (closed, linger) = queue.collect(now.mono, timeout, |topic, partition| {
            let lane = &topics[topic as usize].lanes[partition as usize];
            lane.wants_more()
                && lane.leader.is_some_and(|(node, _)| out.get(&node).is_none_or(|out| *out < max))
        });
        self.linger_until = earlier(waiting, linger);
        queue.finish_flushes();
        drop(queue);
        for command in commands {
            self.obey(command, now);
        }
        for Closed { topic, partition, batch } in closed {
            self.lane(topic, partition).push(batch);
            self.busy.insert((topic, partition));
            if let Some(transaction) = &mut self.transaction {
                transaction.note(topic, partition);
            }
        }
        if !self.busy.is_empty()
            && let Some(error) = self.hopeless()
        {
            self.give_up_pending(&error);
        }
    }

    /// Takes over what metadata says about a topic. Returns the partitions that have a leader.
    fn take_topic(&mut self, index: usize) -> Vec<u32> {
        let topic = &mut self.topics[index];
        let Some(info) = self.base.metadata.topic(&topic.name) else {
            for lane in &mut topic.lanes {
                lane.leader = None;
            }
            return Vec::new();
        };
        topic.id = info.id;
        let settings = &self.base.settings;
        if info.partitions.len() > topic.lanes.len() {
            topic.lanes.resize_with(info.partitions.len(), || {
                Lane::new(Backoff::new(settings.retry_backoff, settings.retry_backoff_max))
            });
        }
        let mut available = Vec::new();
        for (partition, lane) in topic.lanes.iter_mut().enumerate() {
            let leader = info
                .partitions
                .get(partition)
                .and_then(|info| Some((info.leader?, info.leader_epoch)));
            lane.leader = leader;
            if leader.is_some() {
                available.push(partition as u32);
            }
        }
        available
    }

    fn obey(&mut self, command: Command, now: Now) {
        match command {
            Command::Probe => self.base.probe(),
            Command::Purge => {
                self.give_up_pending(&KafkaError::of(code::PURGED_FROM_QUEUE));
                self.abandon(&KafkaError::of(code::PURGED_IN_FLIGHT), |_| true);
            }
            command => self.obey_transaction(command, now),
        }
    }

    /// Tells that a request about the transaction is done.
    pub(super) fn done(
        &mut self,
        request: TransactionRequest,
        result: Result<(), super::TransactionError>,
    ) {
        self.reports.event(ProducerEvent::TransactionDone { request, result });
    }

    /// Hands the reports over. Returns who has to be woken.
    fn report(&mut self) -> Option<Arc<dyn Wake>> {
        let shared = self.shared.clone();
        let mut queue = shared.lock();
        if !self.reports.is_empty() {
            self.reports.apply(&mut queue);
        }
        self.records = queue.records();
        let lost = queue.take_lost();
        let (news, wake) = queue.take_wake();
        let idle = self.records == 0;
        drop(queue);
        if let Some(error) = lost {
            self.must_abort(error, false);
        }
        if news || idle {
            shared.answered.wake();
        }
        wake
    }

    fn watch_health(&mut self, now: Now) {
        while let Some(change) = self.base.reachability(now) {
            self.reports.event(match change {
                Reachability::Down(error) => ProducerEvent::BrokersDown(error),
                Reachability::Refused(error) => ProducerEvent::Error(error),
                Reachability::Up => ProducerEvent::BrokersUp,
            });
        }
        if self.base.net.take_token_needed()
            && let Some(SaslSettings::OAuthBearer { config }) = &self.base.settings.sasl
        {
            let config = config.clone();
            self.reports.event(ProducerEvent::OAuthTokenNeeded { config });
        }
    }

    fn completed(&mut self, completion: Completion, now: Now) {
        let Tag::Producer(tag) = completion.tag.clone() else { return };
        match tag {
            ProducerTag::Produce(number) => self.produce_answered(number, completion, now),
            ProducerTag::Id => self.id_answered(completion, now),
            ProducerTag::Transaction(step) => self.transaction_answered(step, completion, now),
        }
    }
}

impl Machine for ProducerCore {
    fn input(&mut self, input: Input, now: Now) {
        self.base.net.input(input, now);
    }

    fn advance(&mut self, now: Now) {
        self.base.begin(now);
        while let Some(completion) = self.base.completion(now) {
            self.completed(completion, now);
        }
        self.collect(now);
        self.expire(now);
        self.watch_health(now);
        let mut wake = self.report();
        self.advance_ids(now);
        self.advance_transaction(now);
        self.send(now);
        if !self.reports.is_empty() {
            wake = self.report().or(wake);
        }
        self.base.finish(now);
        if self.base.statistics_due(now) {
            let told = self.statistics(now);
            self.reports.event(ProducerEvent::Statistics(told));
            wake = self.report().or(wake);
        }
        self.wake = wake.or(self.wake.take());
    }

    fn take_wake(&mut self) -> Option<Arc<dyn Wake>> {
        self.wake.take()
    }

    fn action(&mut self) -> Option<Action> {
        self.base.net.action()
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        let mut deadline = earlier(self.base.next_deadline(now), self.linger_until);
        deadline = earlier(deadline, self.ids.next_deadline(now));
        if let Some(transaction) = &self.transaction {
            deadline = earlier(deadline, transaction.next_deadline(now));
        }
        let timeout = self.settings.delivery_timeout;
        for &(topic, partition) in &self.busy {
            let lane = &self.topics[topic as usize].lanes[partition as usize];
            deadline = earlier(deadline, lane.retry_at(now.mono));
            let oldest = lane.pending.front().map(|batch| batch.created);
            deadline = earlier(deadline, oldest.and_then(|at| timeout.map(|after| at + after)));
        }
        self.requests.values().fold(deadline, |at, sent| earlier(at, sent.expires))
    }
}
