//! The client's consumer in a group, by either protocol: reads what it was given from the committed
//! offsets on, commits, takes its time over rebalances, and leaves now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_client::consumer::ConsumerEvent;
use millstream_client::settings::{Assignor, ConsumerSettings, GroupSettings};
use millstream_types::{Offset, TopicPartition};

use super::reader::{Reader, named};
use crate::actor::Me;
use crate::ledger::Partition;
use crate::nemesis::Mood;
use crate::workload::{COPIERS, Shared, admin};

const FENCED_INSTANCE_ID: i32 = 82;
const UNRELEASED_INSTANCE_ID: i32 = 111;
/// `max.poll.interval.ms`.
const POLL_INTERVAL: Duration = Duration::from_secs(6);

/// How a member is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    pub(crate) group: &'static str,
    /// `None`: the broker assigns (KIP-848).
    pub(crate) assignor: Option<Assignor>,
    pub(crate) is_static: bool,
}

/// Is a member until the run is closing.
pub(crate) async fn run(me: Me, shared: Shared, nature: Nature) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    me.sleep_ms(0, 3_000).await;
    while !shared.is_closing() {
        Member::join(&me, &shared, nature).work().await;
        me.sleep_ms(100, 4_000).await;
    }
}

/// A member from its joining to its leaving.
pub(super) struct Member {
    me: Me,
    shared: Shared,
    group: &'static str,
    owner: Option<String>,
    pub(super) reader: Reader,
    /// The generation whose ownership was noted last.
    noted: i32,
    /// Commits that wait for their answer, each with its era and its offsets.
    commits: BTreeMap<u64, (u32, Vec<(Partition, Offset)>)>,
    /// The era in which it began to join.
    joined_in: u32,
    /// How many connections the consumer had closed when that was looked at last.
    hung_up: u64,
    committed: BTreeMap<Partition, Offset>,
}

impl Member {
    pub(super) fn join(me: &Me, shared: &Shared, nature: Nature) -> Self {
        let Nature { group, assignor, is_static } = nature;
        let owner = is_static.then(|| me.host().name());
        let membership = GroupSettings {
            group_id: group.to_owned(),
            instance_id: owner.clone(),
            assignors: assignor.into_iter().collect(),
            session_timeout: Duration::from_secs(3),
            heartbeat_interval: Duration::from_millis(900),
            max_poll_interval: POLL_INTERVAL,
            broker_assigns: assignor.is_none(),
            remote_assignor: None,
            auto_commit_interval: None,
        };
        let settings = ConsumerSettings { group: Some(membership), ..Reader::settings(me, true) };
        let mut reader = Reader::open(me, shared, settings);
        let topics = shared.source_topics();
        reader.consumer.subscribe(&topics).expect("it has a group");
        Self {
            me: me.clone(),
            shared: shared.clone(),
            group,
            owner,
            reader,
            noted: -1,
            commits: BTreeMap::new(),
            joined_in: shared.era(),
            hung_up: 0,
            committed: BTreeMap::new(),
        }
    }

    async fn work(mut self) {
        let mut leaving = false;
        loop {
            let events = self.reader.wait(&self.me, &self.shared, 5, 400).await;
            self.reader.records.clear();
            if self.take(events).await {
                return;
            }
            if leaving {
                continue;
            }
            if self.shared.is_closing() || self.me.chance(8_000) {
                leaving = true;
                self.reader.consumer.begin_close();
            } else if self.me.chance(400_000) {
                self.commit();
            } else if self.shared.mood != Mood::Calm && self.me.chance(3_000) {
                // So long that it is put out of the group.
                self.me.sleep(POLL_INTERVAL + Duration::from_secs(1)).await;
            }
        }
    }

    /// Takes what was reported, and answers. Whether the group has been left.
    pub(super) async fn take(&mut self, events: Vec<ConsumerEvent>) -> bool {
        self.look_for_late_commits();
        for event in events {
            match event {
                ConsumerEvent::Assigned(given) => self.assigned(&given).await,
                ConsumerEvent::Revoked(gone) => {
                    self.me.host().trace(format_args!("is asked for {gone:?}"));
                    if self.group != COPIERS && self.me.chance(500_000) {
                        self.commit();
                    }
                    if self.me.chance(300_000) {
                        self.me.sleep_ms(1, 1_000).await;
                    }
                    self.let_go(&gone);
                }
                ConsumerEvent::Lost(gone) => {
                    self.me.host().trace(format_args!("has lost {gone:?}"));
                    self.let_go(&gone);
                }
                ConsumerEvent::CommitDone { id, partitions } => self.commit_done(id, partitions),
                ConsumerEvent::Closed => return true,
                ConsumerEvent::Error { error, fatal: true } if self.is_excused(error.code) => {
                    self.me.host().trace(format_args!("{error}"));
                    return true;
                }
                ConsumerEvent::Error { error, fatal: true } => {
                    let name = self.me.host().name();
                    self.me.host().violation(format!("{name} is of no more use: {error}"));
                    return true;
                }
                ConsumerEvent::PartitionEnd(..) => {}
                event => self.me.host().trace(format_args!("{event:?}")),
            }
        }
        self.note_owned(false);
        false
    }

    /// Whether a static member may be refused for good: the group does not know yet that the one
    /// before is gone, and takes nobody else by its name; or a power loss has taken from it
    /// that this one has come in its place.
    fn is_excused(&self, code: i32) -> bool {
        let lost = || self.shared.ledger.borrow().may_be_lost(self.joined_in);
        (code == UNRELEASED_INSTANCE_ID && self.shared.mood != Mood::Calm)
            || (code == FENCED_INSTANCE_ID && lost())
    }

    async fn assigned(&mut self, given: &[TopicPartition]) {
        self.me.host().trace(format_args!("is given {given:?}"));
        if self.me.chance(300_000) {
            self.me.sleep_ms(1, 1_000).await;
        }
        let name = self.me.host().name();
        let mut floors = Vec::new();
        for partition in given {
            let Some(partition) = self.shared.find(partition) else { continue };
            let mut ledger = self.shared.ledger.borrow_mut();
            let floor = ledger.commit_floor(self.group, partition);
            let reading = ledger.begin_reading(&name, partition, true, floor);
            ledger.starts_where_committed(reading, self.group);
            floors.push((partition, reading));
        }
        if let Err(error) = self.reader.consumer.ack_assigned(&[]) {
            self.me.host().violation(format!("{name} cannot take {given:?}: {error}"));
        }
        // It may have been lost before the answer: what it has now counts.
        let has = self.reader.consumer.assignment();
        for (partition, reading) in floors {
            if has.contains(&named(partition)) {
                self.reader.readings.insert(partition, reading);
                self.committed.remove(&partition);
                if self.shared.mood == Mood::Calm {
                    let mut ledger = self.shared.ledger.borrow_mut();
                    ledger.claims(self.group, partition, &name);
                }
            }
        }
        self.note_owned(true);
    }

    /// A partition is read from its committed offset again.
    pub(super) fn read_anew(&mut self, shared: &Shared, partition: Partition) {
        let mut ledger = shared.ledger.borrow_mut();
        let floor = ledger.commit_floor(self.group, partition);
        let reading = ledger.begin_reading(&self.me.host().name(), partition, true, floor);
        ledger.starts_where_committed(reading, self.group);
        self.reader.readings.insert(partition, reading);
    }

    fn let_go(&mut self, gone: &[TopicPartition]) {
        for partition in gone.iter().filter_map(|partition| self.shared.find(partition)) {
            self.reader.readings.remove(&partition);
            self.shared.ledger.borrow_mut().lets_go(self.group, partition, &self.me.host().name());
        }
        if let Err(error) = self.reader.consumer.ack_revoked() {
            let name = self.me.host().name();
            self.me.host().violation(format!("{name} cannot let {gone:?} go: {error}"));
        }
    }

    /// Notes what it owns in a generation, once nothing of an earlier one is open.
    fn note_owned(&mut self, anew: bool) {
        let consumer = &self.reader.consumer;
        let Some(generation) = consumer.owned_generation() else { return };
        if generation == self.noted && !anew {
            return;
        }
        self.noted = generation;
        // After a power loss numbers of generations may be given anew, and of what it has nobody
        // knows whether it was given before that.
        if self.shared.ledger.borrow().may_be_lost(self.joined_in) {
            return;
        }
        let owner = self.owner.clone().or_else(|| consumer.member_id()).unwrap_or_default();
        let owned = consumer.assignment();
        let owned: Vec<_> = owned.iter().filter_map(|owned| self.shared.find(owned)).collect();
        let (group, era) = (self.group, self.shared.era());
        self.me.host().trace(format_args!("owns {owned:?} in generation {generation}"));
        self.shared.ledger.borrow_mut().owns(group, generation, &owner, &owned, era);
    }

    /// A commit is sent again on another connection if its own was given up, and may then be
    /// carried out twice: the second time when a later one is through already.
    fn look_for_late_commits(&mut self) {
        let hung_up = self.reader.hung_up();
        if std::mem::replace(&mut self.hung_up, hung_up) != hung_up {
            let mut ledger = self.shared.ledger.borrow_mut();
            for (partition, offset) in self.commits.values().flat_map(|(_, offsets)| offsets) {
                ledger.commit_may_come_late(self.group, *partition, *offset);
            }
        }
    }

    fn commit(&mut self) {
        let (mut ahead, mut noted) = (Vec::new(), Vec::new());
        for partition in self.reader.consumer.assignment() {
            if let (Some(position), Some(key)) =
                (self.reader.consumer.position(&partition), self.shared.find(&partition))
                && self.committed.get(&key) != Some(&position)
            {
                self.committed.insert(key, position);
                let mut ledger = self.shared.ledger.borrow_mut();
                // It vouches for all that is before.
                if let Some(reading) = self.reader.readings.get(&key) {
                    ledger.handed_all(*reading, position);
                }
                ledger.commit_asked(self.group, key, position);
                noted.push((key, position));
                ahead.push((partition, position));
            }
        }
        if ahead.is_empty() {
            return;
        }
        ahead.sort_unstable();
        let id = self.reader.consumer.commit(&ahead).expect("it has a group");
        self.commits.insert(id, (self.shared.era(), noted));
    }

    fn commit_done(
        &mut self,
        id: u64,
        partitions: Vec<(TopicPartition, Offset, Result<(), millstream_client::KafkaError>)>,
    ) {
        let Some((era, _)) = self.commits.remove(&id) else {
            self.me.host().violation(format!("commit {id} is answered and was not asked for"));
            return;
        };
        for (partition, offset, outcome) in partitions {
            let Some(partition) = self.shared.find(&partition) else { continue };
            match outcome {
                Ok(()) => {
                    let mut ledger = self.shared.ledger.borrow_mut();
                    ledger.offset_committed(self.group, partition, offset, era);
                    ledger.counts.client_offsets += 1;
                }
                Err(error) => {
                    self.me.host().trace(format_args!("{offset} of {partition:?}: {error}"));
                    self.committed.remove(&partition);
                }
            }
        }
    }
}
