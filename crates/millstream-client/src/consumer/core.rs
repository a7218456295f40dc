//! The consumer as a state machine: group membership, places to read at, fetches, and the calls
//! that wait for an answer.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

use super::fetch::Nodes;
use super::lookup::{Lookups, Purpose};
use super::open::{Chunk, OpenChunk};
use super::slot::{Delivery, Phase, Slot};
use super::{ConsumerEvent, PartitionStart, StartOffset, Watermarks};
use crate::auth::Authenticator;
use crate::base::{Base, Machine, Reachability};
use crate::driver::Wake;
use crate::error::{Error, KafkaError, code};
use crate::group::{Committed, Group, GroupEvent, Subscription};
use crate::network::{Action, Completion, Input};
use crate::random::{Backoff, Random};
use crate::settings::{ConnectionSettings, ConsumerSettings, OffsetReset};
use crate::tag::Tag;
use crate::time::{Now, earlier};

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum ConsumerTag {
    /// A fetch; the context is with the node.
    Fetch,
    /// A look-up of offsets, by its number.
    Offsets(u64),
    /// A question to a new leader about an epoch, by its number.
    Epochs(u64),
}

type CommittedOffsets = Vec<(TopicPartition, Option<Offset>)>;

/// A call that waits for its answer.
pub(super) enum Call {
    /// Offsets of partitions by time, as they come in.
    Offsets { answers: Vec<Option<Result<Option<Offset>, KafkaError>>> },
    /// Committed offsets.
    Committed { answer: Option<Result<CommittedOffsets, KafkaError>> },
}

/// What changed under records that the front end has taken over already.
pub(super) enum Change {
    /// The topic is another one of the same name: nothing of before is handed out.
    Anew(TopicPartition),
    /// Nothing of this reading is handed out from this offset on.
    Cut { partition: TopicPartition, reading: u64, at: Offset },
}

pub(crate) struct ConsumerCore {
    pub(super) base: Base,
    pub(super) settings: Arc<ConsumerSettings>,
    pub(super) group: Option<Group>,
    pub(super) slots: Vec<Slot>,
    pub(super) index: HashMap<TopicPartition, usize>,
    /// For the front end, at its next look.
    pub(super) changes: Vec<Change>,
    /// Counts the partitions that responses told of.
    pub(super) responses: u64,
    /// Counts the chunks that were used up.
    pub(super) drained: u64,
    next_reading: u64,
    pub(super) nodes: Nodes,
    pub(super) lookups: Lookups,
    pub(super) calls: BTreeMap<u64, Call>,
    next_call: u64,
    /// Questions to the group, with the slots' readings they are for.
    committed_asked: HashMap<u64, Vec<(TopicPartition, u64)>>,
    committed_calls: HashMap<u64, u64>,
    pub(super) events: VecDeque<ConsumerEvent>,
    /// Statistics are due: the front end, which knows what was handed out, makes them.
    pub(super) statistics_due: bool,
    /// Rebalances so far, and when the last one was.
    pub(super) rebalances: (u64, Option<Duration>),
    /// Where the next round of handing out begins.
    turn: usize,
    /// Bytes that are fetched and not handed out, of all partitions.
    pub(super) buffered: usize,
    waker: Arc<dyn Wake>,
    /// Whether there is something new for the front end.
    news: bool,
    subscribed: bool,
    /// Partitions are read that no group gave.
    by_hand: bool,
    /// Partitions of the rebalance that waits for its answer.
    pub(super) assigned: Option<Vec<TopicPartition>>,
    /// One was lost before it was answered.
    assignment_lost: bool,
    revoked: Option<Vec<TopicPartition>>,
    /// A revocation was lost before it was answered.
    revocation_lost: bool,
    seen_revision: u64,
    closing: bool,
    closed: bool,
    /// Topics whose absence was reported, and when absence of others will be.
    missing: BTreeMap<Arc<str>, Duration>,
    subscription: Vec<Arc<str>>,
}

/// How long a topic may be missing before it is reported: its creation takes a while to reach
/// every broker.
const PROPAGATION: Duration = Duration::from_secs(10);

impl ConsumerCore {
    pub(crate) fn new(
        connection: Arc<ConnectionSettings>,
        settings: Arc<ConsumerSettings>,
        authenticator: Option<Box<dyn Authenticator>>,
        random: Box<dyn Random>,
        waker: Arc<dyn Wake>,
    ) -> Self {
        let group = settings
            .group
            .as_ref()
            .map(|group| Group::new(group.clone(), &connection.rack, settings.read_committed));
        Self {
            base: Base::new(connection, authenticator, random),
            settings,
            group,
            slots: Vec::new(),
            index: HashMap::new(),
            changes: Vec::new(),
            responses: 0,
            drained: 0,
            next_reading: 0,
            nodes: Nodes::default(),
            lookups: Lookups::default(),
            calls: BTreeMap::new(),
            next_call: 0,
            committed_asked: HashMap::new(),
            committed_calls: HashMap::new(),
            events: VecDeque::new(),
            statistics_due: false,
            rebalances: (0, None),
            turn: 0,
            buffered: 0,
            waker,
            news: false,
            subscribed: false,
            by_hand: false,
            assigned: None,
            assignment_lost: false,
            revoked: None,
            revocation_lost: false,
            seen_revision: 0,
            closing: false,
            closed: false,
            missing: BTreeMap::new(),
            subscription: Vec::new(),
        }
    }

    // ---- what the front end asks -------------------------------------------------------------

    pub(super) fn subscribe(&mut self, topics: &[String], now: Now) -> Result<(), Error> {
        let Some(group) = &mut self.group else {
            return Err(Error::Misuse("to subscribe, a consumer needs a group.id"));
        };
        if self.closing {
            return Err(Error::Misuse("subscribe after close"));
        }
        if self.by_hand {
            return Err(Error::Misuse("subscribe after assign"));
        }
        let subscription = Subscription::parse(topics)
            .map_err(|error| Error::kafka(format!("subscribe to {}", topics.join(", ")), error))?;
        self.subscription =
            topics.iter().filter(|t| !t.starts_with('^')).map(|t| t.as_str().into()).collect();
        self.subscribed = true;
        self.missing.clear();
        group.subscribe(Some(subscription), &mut self.base, now);
        self.want_topics_of_slots();
        Ok(())
    }

    /// The group says which topics it wants; those that are read are wanted until they are let go.
    fn want_topics_of_slots(&mut self) {
        for slot in &self.slots {
            self.base.metadata.want(&slot.partition.topic);
        }
    }

    pub(super) fn unsubscribe(&mut self, now: Now) {
        if let Some(group) = &mut self.group {
            group.subscribe(None, &mut self.base, now);
        }
        self.want_topics_of_slots();
        self.subscription.clear();
        self.missing.clear();
        self.subscribed = false;
    }

    /// Takes the partitions of a rebalance over.
    pub(super) fn ack_assigned(
        &mut self,
        starts: &[PartitionStart],
    ) -> Result<Vec<(TopicPartition, StartOffset)>, Error> {
        let Some(partitions) = self.assigned.take() else {
            // Lost before it was answered, which the owner learns from the event behind it.
            if std::mem::take(&mut self.assignment_lost) {
                return Ok(Vec::new());
            }
            return Err(Error::Misuse("ack_assigned without an open Assigned"));
        };
        let starts: HashMap<_, _> =
            starts.iter().map(|start| (&start.partition, (start.offset, start.paused))).collect();
        let mut added = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let start = starts.get(&partition).copied();
            let (offset, paused) = start.unwrap_or((StartOffset::Committed, false));
            self.add(partition.clone(), offset, paused);
            added.push((partition, offset));
        }
        if let Some(group) = &mut self.group {
            group.ack_assigned();
        }
        Ok(added)
    }

    /// Whether that was the answer to what is open. To a revocation whose place a loss has taken it
    /// is not, as long as the owner does not know of the loss: until then it acts as a member.
    pub(super) fn ack_revoked(&mut self) -> Result<bool, Error> {
        let is_lost = |event: &ConsumerEvent| matches!(event, ConsumerEvent::Lost(_));
        if self.revocation_lost && self.events.iter().any(is_lost) {
            self.revocation_lost = false;
            return Ok(false);
        }
        let Some(partitions) = self.revoked.take() else {
            // The answer to the revocation was taken for one to the loss that took its place.
            if std::mem::take(&mut self.revocation_lost) {
                return Ok(false);
            }
            return Err(Error::Misuse("ack_revoked without an open Revoked or Lost"));
        };
        self.assignment_lost = false;
        let partitions: HashSet<_> = partitions.into_iter().collect();
        self.remove(|slot| slot.revoking && partitions.contains(&slot.partition));
        if let Some(group) = &mut self.group {
            group.ack_revoked();
        }
        Ok(true)
    }

    /// Whether a rebalance waits for [`ack_assigned`](Self::ack_assigned).
    pub(super) fn has_open_assignment(&self) -> bool {
        self.assigned.is_some()
    }

    /// Whether a rebalance waits for [`ack_revoked`](Self::ack_revoked).
    pub(super) fn has_open_revocation(&self) -> bool {
        self.revoked.is_some()
    }

    pub(super) fn assign(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        if self.subscribed {
            return Err(Error::Misuse("assign after subscribe"));
        }
        if self.group.is_none() && starts.iter().any(|s| s.offset == StartOffset::Committed) {
            return Err(Error::Misuse("a consumer without a group has no committed offsets"));
        }
        self.remove(|_| true);
        self.by_hand = !starts.is_empty();
        let topics = starts.iter().map(|start| start.partition.topic.clone()).collect();
        self.base.metadata.want_exactly(topics, false);
        for start in starts {
            self.add(start.partition.clone(), start.offset, start.paused);
        }
        Ok(())
    }

    fn add(&mut self, partition: TopicPartition, start: StartOffset, paused: bool) {
        self.base.metadata.want(&partition.topic);
        self.next_reading += 1;
        let connection = &self.base.settings;
        let backoff = Backoff::new(connection.retry_backoff, connection.retry_backoff_max);
        let slot = Slot::new(partition.clone(), self.next_reading, start, paused, backoff);
        match self.index.get(&partition) {
            Some(at) => {
                self.buffered -= self.slots[*at].buffered;
                self.slots[*at] = slot;
            }
            None => {
                self.index.insert(partition, self.slots.len());
                self.slots.push(slot);
            }
        }
    }

    fn remove(&mut self, mut gone: impl FnMut(&Slot) -> bool) {
        self.slots.retain(|slot| !gone(slot));
        self.buffered = self.slots.iter().map(|slot| slot.buffered).sum();
        self.index =
            self.slots.iter().enumerate().map(|(at, s)| (s.partition.clone(), at)).collect();
    }

    pub(super) fn slot(&self, partition: &TopicPartition) -> Option<&Slot> {
        self.index.get(partition).map(|at| &self.slots[*at])
    }

    pub(super) fn slot_mut(&mut self, partition: &TopicPartition) -> Option<&mut Slot> {
        self.index.get(partition).map(|at| &mut self.slots[*at])
    }

    pub(super) fn set_paused(&mut self, partition: &TopicPartition, paused: bool) {
        if let Some(slot) = self.slot_mut(partition) {
            slot.paused = paused;
        }
    }

    pub(super) fn seek(&mut self, partition: &TopicPartition, start: StartOffset) {
        self.next_reading += 1;
        let reading = self.next_reading;
        let Some(slot) = self.slot_mut(partition) else { return };
        let buffered = slot.buffered;
        slot.start(reading, start);
        self.buffered -= buffered;
    }

    /// A partition was paused while a chunk of it was half handed out.
    pub(super) fn put_back(&mut self, mut chunk: OpenChunk) {
        let reading = chunk.reading();
        // A cut that the front end has not heard of yet would not find it there any more.
        for change in &self.changes {
            if let Change::Cut { reading: of, at, .. } = change
                && *of == reading
            {
                chunk.cut(*at);
            }
        }
        let partition = chunk.partition().clone();
        if let Some(slot) = self.slot_mut(&partition).filter(|slot| slot.reading == reading) {
            slot.deliveries.push_front(Delivery::Open(Box::new(chunk)));
        }
    }

    /// A chunk of this reading is used up, or was dropped. Returns whether that may let something
    /// be fetched that could not be before.
    #[must_use]
    pub(super) fn used_up(
        &mut self,
        partition: &TopicPartition,
        reading: u64,
        bytes: usize,
    ) -> bool {
        let limit = self.partition_limit();
        let was_full = self.buffered >= self.settings.queued_max_bytes;
        let Some(slot) = self.slot_mut(partition).filter(|slot| slot.reading == reading) else {
            return false;
        };
        let mut may_fetch = was_full || slot.buffered >= limit;
        // What could not be read before has been read.
        if slot.unreadable.take().is_some() {
            slot.backoff.succeeded();
            slot.reported_error = None;
            may_fetch = true;
        }
        slot.buffered -= bytes;
        self.buffered -= bytes;
        self.drained += 1;
        may_fetch
    }

    /// What was fetched of a reading cannot be read: it is fetched again from `offset`, for the
    /// damage may have been done on its way.
    pub(super) fn unreadable(
        &mut self,
        partition: &TopicPartition,
        reading: u64,
        offset: Offset,
        error: KafkaError,
        now: Now,
    ) {
        let Some(slot) = self.slot(partition).filter(|slot| slot.reading == reading) else {
            return;
        };
        let again = (slot.unreadable == Some(offset)).then_some(error.code);
        self.seek(partition, StartOffset::At(offset));
        if let Some(slot) = self.slot_mut(partition) {
            slot.unreadable = Some(offset);
            slot.reported_error = again;
        }
        self.partition_failed(partition, error, now);
    }

    /// Partitions that are handed out from, in turn, each with what it has ready.
    pub(super) fn take_deliveries(&mut self, taken: &mut Vec<(TopicPartition, Delivery)>) {
        let count = self.slots.len();
        for step in 0..count {
            let slot = &mut self.slots[(self.turn + step) % count];
            if slot.paused || slot.revoking {
                continue;
            }
            if let Some(delivery) = slot.deliveries.pop_front() {
                taken.push((slot.partition.clone(), delivery));
            }
        }
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
    }

    pub(super) fn watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        let slot = self.slot(partition)?;
        let high = slot.end(self.settings.read_committed);
        (high >= 0).then_some(Watermarks { low: slot.log_start.max(0), high })
    }

    /// Asks for offsets by timestamp (-1: end, -2: beginning, -3: highest timestamp).
    pub(super) fn ask_offsets(&mut self, items: &[(TopicPartition, i64)]) -> u64 {
        let call = self.new_call(Call::Offsets { answers: vec![None; items.len()] });
        for (index, (partition, timestamp)) in items.iter().enumerate() {
            self.base.metadata.want(&partition.topic);
            self.lookups.ask(partition.clone(), *timestamp, Purpose::Call { call, index });
        }
        call
    }

    pub(super) fn ask_committed(&mut self, partitions: &[TopicPartition]) -> Result<u64, Error> {
        let call = self.new_call(Call::Committed { answer: None });
        let Some(group) = &mut self.group else {
            self.calls.remove(&call);
            return Err(Error::Misuse("a consumer without a group has no committed offsets"));
        };
        let id = group.fetch_committed(partitions.to_vec());
        self.committed_calls.insert(id, call);
        Ok(call)
    }

    fn new_call(&mut self, call: Call) -> u64 {
        self.next_call += 1;
        self.calls.insert(self.next_call, call);
        self.next_call
    }

    /// Forgets a call, answered or not.
    pub(super) fn take_call(&mut self, call: u64) -> Option<Call> {
        self.lookups.forget_call(call);
        self.calls.remove(&call)
    }

    pub(super) fn begin_close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        match &mut self.group {
            Some(group) => group.close(),
            None => self.now_closed(),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    fn now_closed(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.remove(|_| true);
            self.report(ConsumerEvent::Closed);
        }
    }

    /// The error that a metadata answer has about a topic, or about the way there.
    pub(super) fn why_unknown(&self, topic: &str) -> Option<KafkaError> {
        self.base.metadata.error(topic).cloned()
    }

    // ---- a step ------------------------------------------------------------------------------

    pub(super) fn report(&mut self, event: ConsumerEvent) {
        self.events.push_back(event);
        self.news = true;
    }

    /// There is something for the front end that is not an event.
    pub(super) fn has_news(&mut self) {
        self.news = true;
    }

    /// Reports an error of a partition once as long as it lasts, and has it tried again later.
    pub(super) fn partition_failed(
        &mut self,
        partition: &TopicPartition,
        error: KafkaError,
        now: Now,
    ) {
        let random = self.base.net.random();
        let Some(slot) = self.index.get(partition).map(|at| &mut self.slots[*at]) else { return };
        slot.retry_at = now.after(slot.backoff.failed(random));
        if slot.reported_error.replace(error.code) != Some(error.code) {
            self.report(ConsumerEvent::PartitionError(partition.clone(), error));
        }
    }

    /// The place to read at is gone: the setting decides. Records may be passed over by it, so
    /// whoever looks for them later finds a line in the log.
    pub(super) fn reset_from_lost(&mut self, partition: &TopicPartition, why: &str) {
        let reset = self.settings.offset_reset;
        tracing::warn!(target: "millstream::kafka", %partition, why, ?reset, "reading starts anew");
        self.reset(partition, why);
    }

    /// A partition has no place to read at: the setting decides.
    pub(super) fn reset(&mut self, partition: &TopicPartition, why: &str) {
        let reset = self.settings.offset_reset;
        let Some(slot) = self.slot_mut(partition) else { return };
        slot.phase = match reset {
            OffsetReset::Earliest => Phase::WantsOffset(-2),
            OffsetReset::Latest => Phase::WantsOffset(-1),
            OffsetReset::Error => Phase::Nowhere,
        };
        if reset == OffsetReset::Error {
            let text = format!("{why}, and auto.offset.reset=error");
            let error = KafkaError::with(code::AUTO_OFFSET_RESET, Some(&text));
            self.report(ConsumerEvent::PartitionError(partition.clone(), error));
        }
    }

    fn completed(&mut self, completion: Completion, now: Now) {
        match completion.tag.clone() {
            Tag::Consumer(ConsumerTag::Fetch) => self.fetched(completion, now),
            Tag::Consumer(ConsumerTag::Offsets(id)) => self.offsets_answered(id, completion, now),
            Tag::Consumer(ConsumerTag::Epochs(id)) => self.epochs_answered(id, completion, now),
            Tag::Group(tag) => {
                if let Some(group) = &mut self.group {
                    group.completed(tag, completion, &mut self.base, now);
                }
            }
            _ => {}
        }
    }

    fn group_event(&mut self, event: GroupEvent, now: Now) {
        if matches!(event, GroupEvent::Assigned(_) | GroupEvent::Revoked(_) | GroupEvent::Lost(_)) {
            self.rebalances = (self.rebalances.0 + 1, Some(now.mono));
        }
        match event {
            GroupEvent::Assigned(partitions) => {
                self.assignment_lost = false;
                self.assigned = Some(partitions.clone());
                self.report(ConsumerEvent::Assigned(partitions));
            }
            GroupEvent::Revoked(partitions) => {
                self.revocation_lost = false;
                self.revoking(&partitions);
                self.report(ConsumerEvent::Revoked(partitions));
            }
            GroupEvent::Lost(partitions) => {
                // The group is beyond waiting for the answer to an assignment that is lost.
                self.assignment_lost = self.assigned.take().is_some();
                self.revocation_lost |= self.revoked.is_some();
                self.revoking(&partitions);
                self.report(ConsumerEvent::Lost(partitions));
            }
            GroupEvent::Committed { id, partitions } => {
                for (partition, offset, _) in partitions.iter().filter(|(.., done)| done.is_ok()) {
                    if let Some(slot) = self.slot_mut(partition) {
                        slot.committed = Some(*offset);
                    }
                }
                self.report(ConsumerEvent::CommitDone { id, partitions });
            }
            GroupEvent::Fetched { id, result } => self.committed_fetched(id, result, now),
            GroupEvent::Error(error, fatal) => self.report(ConsumerEvent::Error { error, fatal }),
            GroupEvent::Left => {
                if self.closing {
                    self.now_closed();
                }
            }
        }
    }

    fn revoking(&mut self, partitions: &[TopicPartition]) {
        self.revoked = Some(partitions.to_vec());
        for partition in partitions {
            self.next_reading += 1;
            let reading = self.next_reading;
            if let Some(slot) = self.slot_mut(partition) {
                // Another reading, so that what the front end still has of it does not count.
                slot.reading = reading;
                slot.revoking = true;
                let buffered = std::mem::take(&mut slot.buffered);
                slot.deliveries.clear();
                self.buffered -= buffered;
            }
        }
    }

    fn committed_fetched(
        &mut self,
        id: u64,
        result: Result<Vec<(TopicPartition, Option<Committed>)>, KafkaError>,
        now: Now,
    ) {
        if let Some(call) = self.committed_calls.remove(&id) {
            if let Some(Call::Committed { answer }) = self.calls.get_mut(&call) {
                *answer = Some(result.map(|found| {
                    let offset = |(tp, c): (_, Option<Committed>)| (tp, c.map(|c| c.offset));
                    found.into_iter().map(offset).collect()
                }));
                self.news = true;
            }
            return;
        }
        let asked = self.committed_asked.remove(&id).unwrap_or_default();
        for (partition, reading) in asked {
            let Some(slot) = self.slot_mut(&partition) else { continue };
            if slot.reading != reading || slot.phase != Phase::AsksCommitted {
                continue;
            }
            match &result {
                Err(error) => {
                    slot.phase = Phase::WantsCommitted;
                    let error = error.clone();
                    self.partition_failed(&partition, error, now);
                }
                Ok(found) => {
                    let committed =
                        found.iter().find(|(tp, _)| *tp == partition).and_then(|(_, c)| c.as_ref());
                    match committed {
                        Some(committed) => {
                            slot.committed = Some(committed.offset);
                            slot.found(committed.offset, committed.leader_epoch.unwrap_or(-1));
                        }
                        None => self.reset(&partition, "the group has no committed offset"),
                    }
                }
            }
        }
    }

    /// Asks the group for the offsets that partitions wait for. Returns whether there are such.
    fn ask_group(&mut self, now: Now) -> bool {
        let wanting: Vec<_> = self
            .slots
            .iter_mut()
            .filter(|slot| {
                slot.phase == Phase::WantsCommitted && slot.retry_at <= now.mono && !slot.revoking
            })
            .map(|slot| {
                slot.phase = Phase::AsksCommitted;
                (slot.partition.clone(), slot.reading)
            })
            .collect();
        if wanting.is_empty() {
            return false;
        }
        let Some(group) = &mut self.group else { return false };
        let partitions = wanting.iter().map(|(partition, _)| partition.clone()).collect();
        let id = group.fetch_committed(partitions);
        self.committed_asked.insert(id, wanting);
        true
    }

    /// Reacts to changes of what is known: new leaders must agree with what was read (KIP-320).
    fn metadata_changed(&mut self, now: Now) {
        let revision = self.base.metadata.revision();
        if revision != self.seen_revision {
            self.seen_revision = revision;
            let mut anew = Vec::new();
            for slot in &mut self.slots {
                let topic = self.base.metadata.topic(&slot.partition.topic);
                if let Some(topic) = topic.filter(|topic| topic.id != slot.topic_id)
                    && !topic.id.is_nil()
                {
                    let before = std::mem::replace(&mut slot.topic_id, topic.id);
                    if !before.is_nil() && !slot.revoking {
                        anew.push(slot.partition.clone());
                        continue;
                    }
                }
                let Some((_, epoch)) = self.base.metadata.leader(&slot.partition) else { continue };
                if epoch > slot.agreed_epoch {
                    slot.preferred = None;
                    match slot.phase {
                        Phase::Fetching if slot.offset_epoch >= 0 => {
                            slot.phase = Phase::WantsEpoch;
                        }
                        Phase::WantsEpoch | Phase::AsksEpoch(_) => {}
                        _ => slot.agreed_epoch = epoch,
                    }
                }
            }
            for partition in anew {
                self.topic_made_anew(&partition);
            }
            self.find_absent(now);
        }
        self.report_absent(now);
        self.report_missing(now);
    }

    /// A topic was deleted and made again under the same name, which topic ids tell (KIP-516).
    /// Offsets of the old one say nothing in the new one: the setting decides.
    fn topic_made_anew(&mut self, partition: &TopicPartition) {
        self.next_reading += 1;
        let reading = self.next_reading;
        let Some(slot) = self.slot_mut(partition) else { return };
        let buffered = slot.buffered;
        slot.topic_made_anew(reading);
        let fetches = slot.phase == Phase::Fetching;
        self.buffered -= buffered;
        self.changes.push(Change::Anew(partition.clone()));
        self.news = true;
        if fetches {
            self.reset_from_lost(partition, "the topic was deleted and created again");
        }
    }

    /// Notes which partitions that were assigned by hand metadata does not know.
    fn find_absent(&mut self, now: Now) {
        for slot in self.slots.iter_mut().filter(|_| self.by_hand) {
            if self.base.metadata.partition(&slot.partition).is_some() {
                if slot.absent_at.take() == Some(Duration::MAX) {
                    slot.reported_error = None;
                }
                continue;
            }
            let error = self.base.metadata.error(&slot.partition.topic);
            let known = self.base.metadata.topic(&slot.partition.topic).is_some();
            let patience = match error {
                Some(error) if !error.is_retriable() => Duration::ZERO,
                Some(_) => PROPAGATION,
                None if known => PROPAGATION,
                // Not asked for yet.
                None => continue,
            };
            slot.absent_at.get_or_insert(now.after(patience));
        }
    }

    fn report_absent(&mut self, now: Now) {
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if slot.absent_at.is_none_or(|at| at > now.mono) {
                continue;
            }
            slot.absent_at = Some(Duration::MAX);
            let partition = slot.partition.clone();
            let error = self.why_unknown(&partition.topic);
            let error = error.unwrap_or_else(|| KafkaError::of(code::UNKNOWN_PARTITION));
            let text = format!("{partition}: {}", error.text);
            self.slots[at].reported_error = Some(error.code);
            let error = KafkaError::with(error.code, Some(&text));
            self.report(ConsumerEvent::PartitionError(partition, error));
        }
    }

    fn report_missing(&mut self, now: Now) {
        let mut due = Vec::new();
        for topic in &self.subscription {
            match self.base.metadata.error(topic) {
                None => {
                    self.missing.remove(topic);
                }
                Some(error) => {
                    let patience = if error.is_retriable() { PROPAGATION } else { Duration::ZERO };
                    let at = self.missing.entry(topic.clone()).or_insert(now.after(patience));
                    if *at <= now.mono {
                        *at = Duration::MAX;
                        due.push((topic.clone(), error.clone()));
                    }
                }
            }
        }
        for (topic, error) in due {
            let error =
                KafkaError::with(error.code, Some(&format!("topic {topic}: {}", error.text)));
            self.report(ConsumerEvent::Error { error, fatal: false });
        }
    }

    fn report_health(&mut self, now: Now) {
        while let Some(change) = self.base.reachability(now) {
            self.report(match change {
                Reachability::Down(error) => ConsumerEvent::BrokersDown(error),
                Reachability::Refused(error) => ConsumerEvent::Error { error, fatal: false },
                Reachability::Up => ConsumerEvent::BrokersUp,
            });
        }
        if self.base.net.take_token_needed() {
            self.report(ConsumerEvent::OAuthTokenNeeded);
        }
    }
}

impl Machine for ConsumerCore {
    fn input(&mut self, input: Input, now: Now) {
        self.base.net.input(input, now);
    }

    fn advance(&mut self, now: Now) {
        self.base.begin(now);
        while let Some(completion) = self.base.completion(now) {
            self.completed(completion, now);
        }
        loop {
            if let Some(group) = &mut self.group {
                group.advance(&mut self.base, now);
            }
            let mut more = false;
            while let Some(event) = self.group.as_mut().and_then(Group::event) {
                self.group_event(event, now);
                more = true;
            }
            self.metadata_changed(now);
            if !self.closed {
                // What is asked of the group goes out in this step.
                more |= self.ask_group(now);
                self.ask_offsets_of_slots(now);
                self.send_lookups(now);
                self.send_epochs(now);
                self.send_fetches(now);
            }
            if !more {
                break;
            }
        }
        self.base.finish(now);
        self.report_health(now);
        if self.base.statistics_due(now) {
            self.statistics_due = true;
            self.news = true;
        }
    }

    fn take_wake(&mut self) -> Option<Arc<dyn Wake>> {
        std::mem::take(&mut self.news).then(|| self.waker.clone())
    }

    fn action(&mut self) -> Option<Action> {
        self.base.net.action()
    }

    fn next_deadline(&self, now: Now) -> Option<Duration> {
        let group = self.group.as_ref().and_then(|group| group.next_deadline(now));
        let slots = self
            .slots
            .iter()
            .flat_map(|slot| [Some(slot.retry_at), slot.absent_at])
            .flatten()
            .chain(self.missing.values().copied())
            .filter(|at| *at > now.mono && *at < Duration::MAX)
            .min();
        let own = earlier(earlier(group, slots), self.lookups.next_deadline(now));
        earlier(self.base.next_deadline(now), own)
    }
}

impl Chunk {
    /// Bytes that it counts for.
    pub(super) fn size(&self) -> usize {
        self.records.len()
    }
}
