//! The consumer that a user holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_types::{Clock, Offset, Timestamp, TopicPartition};

use super::core::{Call, Change, ConsumerCore};
use super::open::OpenChunk;
use super::slot::Delivery;
use super::statistics::Received;
use super::{ConsumerEvent, PartitionStart, StartOffset, Watermarks};
use crate::admin::Await;
use crate::auth::{self, OAuthToken};
use crate::base::Machine;
use crate::driver::{self, Driven, Signal, SystemRandom, Wake};
use crate::error::{Error, KafkaError};
use crate::producer::GroupMetadata;
use crate::random::Random;
use crate::settings::{ConnectionSettings, ConsumerSettings};
use crate::time::Now;

/// Longest single wait, so that `max.poll.interval.ms` is kept whatever the caller asks for.
const WAIT_MAX: Duration = Duration::from_secs(5);
const CORRUPT_MESSAGE: i32 = 2;

/// How much one poll takes over.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most records of one poll. Default 1024.
    pub records_max: usize,
    /// About how many bytes. Default 1 MiB.
    pub bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { records_max: 1024, bytes_max: 1 << 20 }
    }
}

/// Reads partitions. Used from one thread; dropped without [`close`](Self::close), it leaves its
/// group to the session time-out.
pub struct Consumer {
    driven: Driven<ConsumerCore>,
    awaits: Arc<dyn Await>,
    settings: Arc<ConsumerSettings>,
    bounds: Bounds,
    /// Chunks that are half handed out, in the order of their turns.
    open: Vec<OpenChunk>,
    /// Behind what was handed out.
    positions: HashMap<TopicPartition, Offset>,
    held: bool,
    /// Partitions whose revocation was reported and waits for its answer. Before it is reported
    /// they are the caller's, whatever the group knows already.
    revoked: Vec<TopicPartition>,
    /// What was handed out, if there are statistics.
    received: Option<HashMap<TopicPartition, Received>>,
    taken: Vec<(TopicPartition, Delivery)>,
    used_up: Vec<(TopicPartition, u64, usize)>,
    auto_commit: Option<AutoCommit>,
}

/// `enable.auto.commit`.
struct AutoCommit {
    interval: Duration,
    due: Duration,
    committed: HashMap<TopicPartition, Offset>,
    requests: Vec<u64>,
}

impl Consumer {
    /// A consumer on real sockets. Does not wait for a connection.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings that cannot be; [`Error::Kafka`] if the operating system
    /// has no thread to give.
    pub fn new(
        connection: ConnectionSettings,
        settings: ConsumerSettings,
        bounds: Bounds,
    ) -> Result<Self, Error> {
        let signal = Arc::new(Signal::default());
        let connection = Arc::new(connection);
        let mut core = ConsumerCore::new(
            connection.clone(),
            Arc::new(settings.clone()),
            auth::authenticator(&connection),
            Box::<SystemRandom>::default(),
            signal.clone(),
        );
        core.base.number = driver::next_number();
        let driven =
            Driven::start(core, &connection, "millstream-consumer").map_err(driver::start_error)?;
        Ok(Self::over(driven, signal, &connection, settings, bounds))
    }

    /// A consumer that someone else drives, by that clock and those random numbers: for
    /// simulators. Returns the machine to drive with it.
    pub fn by_hand(
        connection: ConnectionSettings,
        settings: ConsumerSettings,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        random: Box<dyn Random>,
    ) -> (Self, Arc<std::sync::Mutex<dyn Machine>>) {
        let awaits = Arc::new(Signal::default());
        Self::by_hand_waiting(connection, settings, bounds, clock, random, awaits)
    }

    /// [`by_hand`](Self::by_hand), where waiting makes the driver take its steps.
    pub fn by_hand_waiting(
        connection: ConnectionSettings,
        settings: ConsumerSettings,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
        random: Box<dyn Random>,
        awaits: Arc<dyn Await>,
    ) -> (Self, Arc<std::sync::Mutex<dyn Machine>>) {
        let connection = Arc::new(connection);
        let core = ConsumerCore::new(
            connection.clone(),
            Arc::new(settings.clone()),
            auth::authenticator(&connection),
            random,
            awaits.clone(),
        );
        let driven = Driven::by_hand(core, clock);
        let machine = driven.share();
        (Self::over(driven, awaits, &connection, settings, bounds), machine)
    }

    fn over(
        driven: Driven<ConsumerCore>,
        awaits: Arc<dyn Await>,
        connection: &ConnectionSettings,
        settings: ConsumerSettings,
        bounds: Bounds,
    ) -> Self {
        let interval = settings.group.as_ref().and_then(|group| group.auto_commit_interval);
        let auto_commit = interval.map(|interval| AutoCommit {
            interval,
            due: driven.now().after(interval),
            committed: HashMap::new(),
            requests: Vec::new(),
        });
        Self {
            driven,
            awaits,
            settings: Arc::new(settings),
            bounds,
            open: Vec::new(),
            positions: HashMap::new(),
            held: false,
            revoked: Vec::new(),
            received: connection.statistics_interval.map(|_| HashMap::new()),
            taken: Vec::new(),
            used_up: Vec::new(),
            auto_commit,
        }
    }

    /// Joins the group for these topics; a name that starts with `^` is a regular expression.
    /// Replaces an earlier subscription.
    ///
    /// # Errors
    /// [`Error::Misuse`] without a group; [`Error::Kafka`] for names that cannot be.
    pub fn subscribe(&mut self, topics: &[String]) -> Result<(), Error> {
        let now = self.driven.now();
        self.driven.lock().subscribe(topics, now)?;
        self.driven.wake();
        Ok(())
    }

    /// Gives the subscription up; a `Revoked` event follows.
    pub fn unsubscribe(&mut self) {
        let now = self.driven.now();
        self.driven.lock().unsubscribe(now);
        self.driven.wake();
    }

    /// Appends what happened to `events`. If nothing has, waits up to `wait` for something, and may
    /// return earlier with nothing to report.
    pub fn poll(&mut self, wait: Duration, events: &mut Vec<ConsumerEvent>) {
        let before = events.len();
        let deadline = self.driven.now().after(wait.min(WAIT_MAX));
        self.collect(events);
        if events.len() > before {
            return;
        }
        let left = deadline.saturating_sub(self.driven.now().mono);
        if !left.is_zero() {
            self.awaits.wait(left);
            self.collect(events);
        }
        if events.len() == before
            && let Some(error) = self.driven.take_death()
        {
            events.push(ConsumerEvent::Error { error, fatal: true });
        }
    }

    fn collect(&mut self, events: &mut Vec<ConsumerEvent>) {
        let before = events.len();
        let now = self.driven.now();
        loop {
            self.take_over(events, now);
            if !self.held {
                self.hand_out(events, now);
            }
            // Chunks that turned out to be used up make room for what is ready behind them, which
            // nothing else would wake us for.
            if events.len() > before || self.used_up.is_empty() {
                return;
            }
        }
    }

    fn take_over(&mut self, events: &mut Vec<ConsumerEvent>, now: Now) {
        let mut wake = false;
        {
            let mut core = self.driven.lock();
            if let Some(group) = &mut core.group {
                group.polled(now);
            }
            for change in core.changes.drain(..) {
                match change {
                    Change::Anew(partition) => {
                        self.open.retain(|open| *open.partition() != partition);
                        self.positions.remove(&partition);
                    }
                    Change::Cut { partition, reading, at } => {
                        for open in &mut self.open {
                            if open.reading() == reading {
                                open.cut(at);
                            }
                        }
                        if let Some(position) = self.positions.get_mut(&partition) {
                            *position = at.min(*position);
                        }
                    }
                }
            }
            for (partition, reading, bytes) in self.used_up.drain(..) {
                wake |= core.used_up(&partition, reading, bytes);
            }
            if std::mem::take(&mut core.statistics_due)
                && let Some(received) = &self.received
            {
                let told = core.statistics(&self.positions, received, now);
                events.push(ConsumerEvent::Statistics(told));
            }
            let first = events.len();
            events.extend(core.events.drain(..));
            for event in &events[first..] {
                match event {
                    ConsumerEvent::Revoked(gone) | ConsumerEvent::Lost(gone) => {
                        self.open.retain(|open| !gone.contains(open.partition()));
                        self.revoked.clone_from(gone);
                    }
                    ConsumerEvent::Closed => self.open.clear(),
                    _ => {}
                }
            }
            if !self.held && self.open.is_empty() {
                core.take_deliveries(&mut self.taken);
            }
        }
        if wake {
            self.driven.wake();
        }
        self.auto_commit(now, events);
        let mut ends = Vec::new();
        for (partition, delivery) in self.taken.drain(..) {
            match delivery {
                Delivery::Chunk(chunk) => {
                    self.open.push(OpenChunk::new(chunk));
                }
                Delivery::Open(chunk) => self.open.push(*chunk),
                Delivery::End(offset) => ends.push((partition, offset)),
            }
        }
        for (partition, offset) in ends {
            self.positions.insert(partition.clone(), offset);
            events.push(ConsumerEvent::PartitionEnd(partition, offset));
        }
    }

    /// Hands out records of the open chunks, the bounds shared out evenly.
    fn hand_out(&mut self, events: &mut Vec<ConsumerEvent>, now: Now) {
        if self.open.is_empty() {
            return;
        }
        let share = self.bounds.records_max.div_ceil(self.open.len()).max(1);
        let share_bytes = self.bounds.bytes_max.div_ceil(self.open.len()).max(1);
        let mut unreadable = Vec::new();
        let (used_up, positions) = (&mut self.used_up, &mut self.positions);
        let received = &mut self.received;
        self.open.retain_mut(|open| {
            match open.next(share, share_bytes) {
                Ok(Some(batch)) => {
                    match positions.get_mut(batch.topic_partition()) {
                        Some(position) => *position = open.position(),
                        None => {
                            positions.insert(batch.topic_partition().clone(), open.position());
                        }
                    }
                    events.push(ConsumerEvent::Records(batch));
                    return true;
                }
                Ok(None) => {}
                Err(error) => unreadable.push((open.partition().clone(), open.reading(), error)),
            }
            // Once a chunk, not once a batch.
            if let Some(received) = received {
                let so_far = received.entry(open.partition().clone()).or_default();
                so_far.add(open.records(), open.size());
            }
            used_up.push((open.partition().clone(), open.reading(), open.size()));
            false
        });
        if !unreadable.is_empty() {
            let mut core = self.driven.lock();
            for (partition, reading, bad) in unreadable {
                let text =
                    format!("{partition}: the batch at offset {}: {}", bad.offset, bad.error);
                let error = KafkaError::with(CORRUPT_MESSAGE, Some(&text));
                core.unreadable(&partition, reading, bad.offset, error, now);
            }
            drop(core);
            self.driven.wake();
        }
    }

    fn auto_commit(&mut self, now: Now, events: &mut Vec<ConsumerEvent>) {
        let Some(auto) = &mut self.auto_commit else { return };
        events.retain(|event| match event {
            ConsumerEvent::CommitDone { id, partitions } if auto.requests.contains(id) => {
                auto.requests.retain(|request| request != id);
                for (partition, offset, result) in partitions {
                    if let Err(error) = result {
                        // It is tried again with the next.
                        if auto.committed.get(partition) == Some(offset) {
                            auto.committed.remove(partition);
                        }
                        tracing::warn!(target: "millstream::kafka", "commit of {partition} at {offset}: {error}");
                    }
                }
                false
            }
            _ => true,
        });
        let revoked = events.iter().any(|event| matches!(event, ConsumerEvent::Revoked(_)));
        if now.mono >= auto.due || revoked {
            self.commit_moved(now);
        }
    }

    /// Commits the positions that have moved since the last time, with `enable.auto.commit`.
    fn commit_moved(&mut self, now: Now) {
        let Some(auto) = &mut self.auto_commit else { return };
        auto.due = now.after(auto.interval);
        let mut moved: Vec<_> = self
            .positions
            .iter()
            .filter(|(partition, offset)| auto.committed.get(*partition) != Some(*offset))
            .map(|(partition, offset)| (partition.clone(), *offset))
            .collect();
        if moved.is_empty() {
            return;
        }
        moved.sort_unstable();
        auto.committed.extend(moved.iter().cloned());
        if let Ok(id) = self.commit(&moved)
            && let Some(auto) = &mut self.auto_commit
        {
            auto.requests.push(id);
        }
    }

    /// While held, [`poll`](Self::poll) reports everything but records and ends of partitions.
    pub fn hold_records(&mut self, hold: bool) {
        self.held = hold;
    }

    /// Interrupts [`poll`](Self::poll) from other threads.
    pub fn waker(&self) -> Arc<dyn Wake> {
        self.awaits.clone()
    }

    /// Answers `Assigned`: reading starts, each partition where `starts` says. A partition that
    /// `starts` leaves out begins at its committed offset.
    ///
    /// # Errors
    /// [`Error::Misuse`] without an open `Assigned`.
    pub fn ack_assigned(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        let added = self.driven.lock().ack_assigned(starts)?;
        for (partition, offset) in &added {
            self.started(partition, *offset);
        }
        self.driven.wake();
        Ok(())
    }

    /// Answers `Revoked` or `Lost`: the partitions are let go. Those of a `Revoked` that a loss has
    /// overtaken are with the answer to `Lost`.
    ///
    /// # Errors
    /// [`Error::Misuse`] without an open event.
    pub fn ack_revoked(&mut self) -> Result<(), Error> {
        let assigned = {
            let mut core = self.driven.lock();
            if !core.ack_revoked()? {
                return Ok(());
            }
            core.slots.iter().map(|slot| slot.partition.clone()).collect::<HashSet<_>>()
        };
        self.revoked.clear();
        self.positions.retain(|partition, _| assigned.contains(partition));
        if let Some(auto) = &mut self.auto_commit {
            auto.committed.retain(|partition, _| assigned.contains(partition));
        }
        self.driven.wake();
        Ok(())
    }

    /// Reads exactly these partitions, outside any group's rebalancing; an empty list ends it.
    ///
    /// # Errors
    /// [`Error::Misuse`] after [`subscribe`](Self::subscribe), or for a committed offset without a
    /// group.
    pub fn assign(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        self.driven.lock().assign(starts)?;
        self.open.clear();
        self.used_up.clear();
        self.positions.clear();
        for start in starts {
            self.started(&start.partition, start.offset);
        }
        self.driven.wake();
        Ok(())
    }

    fn started(&mut self, partition: &TopicPartition, offset: StartOffset) {
        match offset {
            StartOffset::At(offset) => self.positions.insert(partition.clone(), offset),
            _ => self.positions.remove(partition),
        };
    }

    /// Whether every rebalance of the group takes all partitions away first.
    pub fn is_eager(&self) -> bool {
        self.driven.lock().group.as_ref().is_none_or(crate::group::Group::is_eager)
    }

    /// The partitions that are being read, revoked ones not counted.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let core = self.driven.lock();
        let mine = core.slots.iter().map(|slot| &slot.partition);
        mine.filter(|partition| !self.revoked.contains(partition)).cloned().collect()
    }

    fn must_have(&self, partitions: &[TopicPartition], action: &str) -> Result<(), Error> {
        let core = self.driven.lock();
        let foreign = |partition: &&TopicPartition| {
            core.slot(partition).is_none() || self.revoked.contains(partition)
        };
        match partitions.iter().find(foreign) {
            Some(partition) => Err(Error::kafka(
                format!("{action} {partition}"),
                KafkaError::with(
                    crate::code::UNKNOWN_PARTITION,
                    Some("the partition is not assigned"),
                ),
            )),
            None => Ok(()),
        }
    }

    /// Stops fetching from these partitions; their positions stay.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a partition that is not assigned.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.must_have(partitions, "pause")?;
        let mut core = self.driven.lock();
        for partition in partitions {
            core.set_paused(partition, true);
        }
        // What is half handed out waits with the rest, in its place before it.
        for at in (0..self.open.len()).rev() {
            if partitions.contains(self.open[at].partition()) {
                let open = self.open.remove(at);
                core.put_back(open);
            }
        }
        Ok(())
    }

    /// Fetches from these partitions again.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a partition that is not assigned.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.must_have(partitions, "resume")?;
        {
            let mut core = self.driven.lock();
            for partition in partitions {
                core.set_paused(partition, false);
            }
        }
        // What was fetched before the pause is ready at once.
        self.awaits.wake();
        self.driven.wake();
        Ok(())
    }

    /// Goes on reading `partition` at `offset`; records fetched before are dropped.
    ///
    /// # Errors
    /// [`Error::Kafka`] for a partition that is not assigned.
    pub fn seek(&mut self, partition: &TopicPartition, offset: StartOffset) -> Result<(), Error> {
        self.must_have(std::slice::from_ref(partition), "seek in")?;
        if offset == StartOffset::Committed && self.settings.group.is_none() {
            return Err(Error::Misuse("a consumer without a group has no committed offsets"));
        }
        self.driven.lock().seek(partition, offset);
        self.open.retain(|open| open.partition() != partition);
        self.started(partition, offset);
        self.driven.wake();
        Ok(())
    }

    /// Asks the group to remember, per partition, the offset to go on at. Answered by
    /// `CommitDone`, also when it fails.
    ///
    /// # Errors
    /// [`Error::Misuse`] without a group.
    pub fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<u64, Error> {
        let id = {
            let mut core = self.driven.lock();
            let Some(group) = &mut core.group else {
                return Err(Error::Misuse("to commit, a consumer needs a group.id"));
            };
            let offsets =
                offsets.iter().map(|(partition, offset)| (partition.clone(), *offset, None));
            group.commit(offsets.collect())
        };
        self.driven.wake();
        Ok(id)
    }

    /// The group's committed offsets, in the order asked. Waits.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    pub fn committed(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        let action = || format!("ask for the committed offsets of {}", list(partitions));
        let call = self.driven.lock().ask_committed(partitions)?;
        let answer = self.wait(call, timeout, action, |call| match call {
            Call::Committed { answer } => answer.take(),
            Call::Offsets { .. } => None,
        })?;
        let found = answer.map_err(|error| Error::kafka(action(), error))?;
        let found: HashMap<_, _> = found.into_iter().collect();
        Ok(partitions.iter().map(|partition| found.get(partition).copied().flatten()).collect())
    }

    /// Start and end of a partition as the broker has them now. Waits.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn watermarks(
        &mut self,
        partition: &TopicPartition,
        timeout: Duration,
    ) -> Result<Watermarks, Error> {
        let items = [(partition.clone(), -2), (partition.clone(), -1)];
        let found = self.offsets(&items, timeout)?;
        match found[..] {
            [Some(low), Some(high)] => Ok(Watermarks { low, high }),
            _ => Err(Error::kafka(
                format!("ask for start and end of {partition}"),
                KafkaError::of(crate::code::NO_OFFSET),
            )),
        }
    }

    /// Start and end of a partition as the last fetch told them; `None` before the first.
    pub fn cached_watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        self.driven.lock().watermarks(partition)
    }

    /// Per partition the first offset whose record's timestamp is at least the given one; `None`
    /// if there is no such record. Waits.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first partition that failed.
    pub fn offsets_for_times(
        &mut self,
        times: &[(TopicPartition, Timestamp)],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        self.offsets(times, timeout)
    }

    fn offsets(
        &mut self,
        items: &[(TopicPartition, i64)],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        let partitions: Vec<_> = items.iter().map(|(partition, _)| partition.clone()).collect();
        let action = || format!("ask for offsets of {}", list(&partitions));
        let call = self.driven.lock().ask_offsets(items);
        let answers = self.wait(call, timeout, action, |call| match call {
            Call::Offsets { answers } if answers.iter().all(Option::is_some) => {
                Some(std::mem::take(answers))
            }
            _ => None,
        })?;
        answers
            .into_iter()
            .flatten()
            .map(|answer| answer.map_err(|error| Error::kafka(action(), error)))
            .collect()
    }

    /// Waits until `answer` finds one in the call, or the time is over.
    fn wait<T>(
        &mut self,
        call: u64,
        timeout: Duration,
        action: impl Fn() -> String,
        mut answer: impl FnMut(&mut Call) -> Option<T>,
    ) -> Result<T, Error> {
        self.driven.wake();
        let deadline = self.driven.now().after(timeout);
        let mut waited = false;
        loop {
            {
                let mut core = self.driven.lock();
                let found = core.calls.get_mut(&call).and_then(&mut answer);
                if found.is_some() || self.driven.now().mono >= deadline {
                    core.take_call(call);
                    // A wake-up may have been meant for the next poll.
                    if waited {
                        self.awaits.wake();
                    }
                    return found
                        .ok_or_else(|| Error::TimedOut { action: action(), after: timeout });
                }
            }
            self.awaits.wait(deadline.saturating_sub(self.driven.now().mono));
            waited = true;
        }
    }

    /// Where reading goes on: behind what [`poll`](Self::poll) handed out. At the end of a
    /// partition (`PartitionEnd`) control records count too. `None` while it is not known.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.positions.get(partition).copied()
    }

    /// The id that the group gave to this member, once it has.
    pub fn member_id(&self) -> Option<String> {
        let core = self.driven.lock();
        core.group.as_ref().and_then(|group| group.member_id().map(str::to_owned))
    }

    /// The generation (of the broker's protocol: the member's epoch) in which the group gave this
    /// member what it has; `None` without a place in one. While a rebalance is under way that of
    /// [`group_metadata`](Self::group_metadata) may be the next, of which Kafka's coordinator keeps
    /// nothing until it is shared out.
    pub fn owned_generation(&self) -> Option<i32> {
        self.driven.lock().group.as_ref().and_then(crate::group::Group::owned_generation)
    }

    /// The place in the group, for a producer that commits offsets with its transaction (KIP-447).
    ///
    /// # Errors
    /// [`Error::Misuse`] without a group.
    pub fn group_metadata(&self) -> Result<GroupMetadata, Error> {
        let core = self.driven.lock();
        let group = core.group.as_ref();
        group
            .map(crate::group::Group::metadata_for_transactions)
            .ok_or(Error::Misuse("a consumer without a group.id has no place in a group"))
    }

    /// Asks any broker for a sign of life; `BrokersUp` follows if one answers and `BrokersDown` was
    /// reported. Does not wait.
    pub fn probe(&mut self) {
        self.driven.lock().base.probe();
        self.driven.wake();
    }

    /// Answers `OAuthTokenNeeded`. An error text is reported, and the token is asked for again later.
    ///
    /// # Errors
    /// [`Error::Kafka`] if the token cannot be used.
    pub fn set_oauth_token(&mut self, token: Result<OAuthToken, &str>) -> Result<(), Error> {
        let now = self.driven.now();
        let done = {
            let mut core = self.driven.lock();
            match token {
                Ok(token) => auth::set_token(&mut core.base.net, token, now),
                Err(text) => {
                    let error = auth::no_token(text);
                    core.report(ConsumerEvent::Error { error, fatal: false });
                    self.awaits.wake();
                    Ok(())
                }
            }
        };
        self.driven.wake();
        done
    }

    /// Begins to leave the group. Polling goes on: a `Revoked` may come and wants its answer; at
    /// last comes `Closed`.
    pub fn begin_close(&mut self) {
        let now = self.driven.now();
        self.commit_moved(now);
        self.driven.lock().begin_close();
        self.awaits.wake();
        self.driven.wake();
    }

    /// Whether the group has been left.
    pub fn is_closed(&self) -> bool {
        self.driven.lock().is_closed()
    }

    /// Leaves the group, answering a last `Assigned` and `Revoked` by itself, and waits for the
    /// end. Returns whether it came within `timeout`; otherwise the group notices by its session
    /// time-out.
    pub fn close(&mut self, timeout: Duration) -> bool {
        self.begin_close();
        let deadline = self.driven.now().after(timeout);
        let mut events = Vec::new();
        while !self.is_closed() {
            let left = deadline.saturating_sub(self.driven.now().mono);
            if left.is_zero() {
                return false;
            }
            self.held = true;
            self.poll(left, &mut events);
            events.clear();
            // What is open is answered here: nobody else does on this thread.
            if self.driven.lock().has_open_assignment() {
                let _ = self.ack_assigned(&[]);
            }
            if self.driven.lock().has_open_revocation() {
                let _ = self.ack_revoked();
            }
        }
        true
    }
}

#[cfg(test)]
impl Consumer {
    /// Bytes that count as fetched and not handed out, once all that is known is told.
    pub(super) fn buffered(&mut self) -> usize {
        let mut core = self.driven.lock();
        for (partition, reading, bytes) in self.used_up.drain(..) {
            let _ = core.used_up(&partition, reading, bytes);
        }
        let slots: usize = core.slots.iter().map(|slot| slot.buffered).sum();
        assert_eq!(core.buffered, slots);
        slots
    }
}

/// Partitions for a message: all of a few, the first of many.
fn list(partitions: &[TopicPartition]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = partitions.iter().take(SHOWN).map(ToString::to_string).collect();
    if partitions.len() > SHOWN {
        text.push(format!("and {} more", partitions.len() - SHOWN));
    }
    text.join(", ")
}
