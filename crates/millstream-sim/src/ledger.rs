//! What clients were told, and what must therefore hold: the oracles.
//!
//! Clients note here what they send, what is acknowledged and what they read; some of it is held
//! against what was known before at once, the rest by [`Ledger::judge`] against what an auditor
//! reads when all is over.
//!
//! *Power losses.* Without `flush.messages=1` an acknowledgement survives the death of the process,
//! not that of the machine (the broker's NOT_IMPLEMENTED.md, "What an acknowledgement means"). So
//! everything is noted with an *era*, the number of power losses before it. With the strict policy
//! eras make no difference, but for deleted segments, which may come back. Without it, what was
//! acknowledged in an earlier era may be gone, but only as the end of a log: nothing that is behind
//! something lost may still be there. Transactions of an earlier era may be torn, for each file has
//! lost a part of its own; they may even be shown though they were aborted, when a decision from
//! before them is carried out again. Of a compacted log a producer's earlier batches are not known
//! any more, and may come twice.

mod compaction;
mod judge;
mod readings;
mod retention;

use std::collections::{BTreeMap, BTreeSet};

use millstream_types::Timestamp;

pub use judge::{Audit, PartitionAudit};
use readings::Reading;
pub use readings::ReadingId;
pub use retention::Retention;

/// A partition.
pub type Partition = (&'static str, i32);

/// A record as its value names it: who wrote it, and its number among what that session wrote to
/// the partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// A producer from its start to its death or to its giving up.
    pub session: String,
    /// From 0 on, one sequence per partition.
    pub number: u64,
}

impl RecordId {
    /// The value of this record, filled up to some length.
    pub fn to_value(&self, filler: usize) -> Vec<u8> {
        let mut value = format!("{} {} ", self.session, self.number).into_bytes();
        value.resize(value.len() + filler, b'.');
        value
    }

    /// Reads a value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let (session, number) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Self { session, number })
    }

    /// What a value names behind itself: the record that it copies.
    pub fn source_of(value: &[u8]) -> Option<Self> {
        let behind = value.split(|byte| *byte == b' ').take(2).map(|word| word.len() + 1).sum();
        Self::parse(value.get(behind..)?)
    }

    /// Another record of its session.
    pub fn numbered(&self, number: u64) -> Self {
        Self { session: self.session.clone(), number }
    }

    /// Its key: a few of them have most records. Where its topic is compacted, one in five has one
    /// that only records of its number have, so that not everything is soon replaced.
    pub fn key(&self, compacted: bool) -> String {
        match self.number % 5 {
            1 if compacted => format!("s{}", self.number),
            _ => format!("k{}", self.number % 7),
        }
    }

    /// Whether it is a tombstone where its topic is compacted.
    pub fn is_tombstone(&self) -> bool {
        self.number % 11 == 10
    }
}

/// Offsets that a partition told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// High watermark.
    pub high: i64,
    /// Last stable offset.
    pub stable: i64,
    /// First offset there is.
    pub start: i64,
}

/// How a transaction stands, as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its commit was never asked for: it can only be aborted.
    NotCommitted,
    /// Its commit was asked for, and no answer came.
    Unknown,
    /// Its commit was acknowledged, in that era.
    Committed,
}

#[derive(Debug)]
struct Transaction {
    session: String,
    era: u32,
    writes: Vec<(Partition, u64)>,
    carries_offset: bool,
    outcome: Outcome,
}

#[derive(Debug)]
struct Acked {
    id: RecordId,
    era: u32,
}

#[derive(Debug)]
struct Seen {
    id: Option<RecordId>,
    era: u32,
    /// A reader of committed records saw it.
    committed: bool,
    /// The record's own.
    timestamp: Timestamp,
}

#[derive(Debug, Default)]
struct Trail {
    marks: Marks,
    acked: BTreeMap<i64, Acked>,
    seen: BTreeMap<i64, Seen>,
    /// Acknowledged, by a producer that does not say at which offset; with the era.
    delivered: BTreeMap<RecordId, u32>,
    /// Tombstones that were sent outside of transactions, where the topic is compacted.
    tombstones: BTreeSet<RecordId>,
}

/// Everything that was noted.
#[derive(Debug, Default)]
pub struct Ledger {
    strict: bool,
    era: u32,
    trails: BTreeMap<Partition, Trail>,
    /// Per transactional id the transactions, by a number that counts them over all sessions.
    transactions: BTreeMap<(&'static str, u64), Transaction>,
    owners: BTreeMap<(&'static str, u32, i32, Partition), String>,
    commits: BTreeMap<(&'static str, Partition), i64>,
    /// The lowest offset that may still be committed though higher ones are.
    late_commits: BTreeMap<(&'static str, Partition), i64>,
    /// The highest offset whose commit was asked for.
    asked: BTreeMap<(&'static str, Partition), i64>,
    /// Who has a partition of a group at present.
    claims: BTreeMap<(&'static str, Partition), String>,
    readings: Vec<Reading>,
    /// How many records sessions gave up: no more of their numbers may be missing in a partition.
    gave_up: BTreeMap<(Partition, String), u64>,
    /// The compacted topics; whether tombstones stay in them.
    compacted: BTreeMap<&'static str, bool>,
    retention: BTreeMap<&'static str, Retention>,
    problems: Vec<String>,
    /// The topics are there.
    pub ready: bool,
    /// Producers begin nothing new.
    pub closing: bool,
    /// What was done, to see that a run was worth it.
    pub counts: Counts,
}

/// What was done in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were acknowledged.
    pub acked: u64,
    /// Records that were acknowledged to machines of the client.
    pub delivered: u64,
    /// Transactions whose commit was acknowledged.
    pub committed: u64,
    /// Records that were read before the end.
    pub read: u64,
    /// Records that consumers of the client handed out.
    pub handed: u64,
    /// Transactions whose commit was acknowledged to machines of the client.
    pub client_committed: u64,
    /// Offsets whose commit was acknowledged to consumers of the client.
    pub client_offsets: u64,
    /// Readings of the client's consumers that were held against what is there.
    pub judged: u64,
    /// Records that were copied exactly once.
    pub copied: u64,
    /// Records that were there and have given way to later ones.
    pub compacted_away: u64,
    /// Generations that a member was in.
    pub generations: u64,
    /// Power losses.
    pub power_losses: u64,
}

impl Ledger {
    /// Nothing noted. `strict`: acknowledged is what is on the medium.
    pub fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// Whether what is acknowledged must survive a power loss.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The number of power losses so far. A connection lives within one era.
    pub fn era(&self) -> u32 {
        self.era
    }

    /// The broker's machine has lost its power.
    pub fn power_lost(&mut self) {
        self.era += 1;
        self.counts.power_losses += 1;
        if !self.strict {
            self.commits.clear();
            for trail in self.trails.values_mut() {
                trail.marks = Marks::default();
            }
        }
    }

    /// Whether what was acknowledged in `era` may be gone.
    pub fn may_be_lost(&self, era: u32) -> bool {
        !self.strict && era < self.era
    }

    /// What was found to be wrong.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// A batch was acknowledged: `count` records from `id` on, at `offset` and behind it.
    pub fn acked(
        &mut self,
        partition: Partition,
        id: &RecordId,
        count: u64,
        offset: i64,
        era: u32,
    ) {
        self.counts.acked += count;
        for step in 0..count {
            let id = id.numbered(id.number + step);
            let at = offset + step as i64;
            let trail = self.trails.entry(partition).or_default();
            let before = trail.acked.insert(at, Acked { id: id.clone(), era });
            if let Some(before) = before
                && before.id != id
                && (self.strict || before.era == era)
            {
                self.problem(format!(
                    "offset {at} of {partition:?} was given to {:?} and to {id:?}",
                    before.id
                ));
            }
        }
    }

    /// A record was acknowledged by a producer that does not tell where it is. `era`: when it was
    /// given to it.
    pub fn delivered(&mut self, partition: Partition, id: &RecordId, era: u32) {
        self.counts.delivered += 1;
        self.trails.entry(partition).or_default().delivered.insert(id.clone(), era);
    }

    /// A session gives up some of its records, which may be there or not.
    pub fn gives_up(&mut self, partition: Partition, session: &str, count: u64) {
        *self.gave_up.entry((partition, session.to_owned())).or_default() += count;
    }

    /// What is known of a partition now: to be asked when a request is sent, and held against the
    /// answer.
    pub fn marks(&self, partition: Partition) -> Marks {
        self.trails.get(&partition).map(|trail| trail.marks).unwrap_or_default()
    }

    /// An answer told where a partition stands, to a request that was sent in `era` when `before`
    /// was known.
    pub fn told(&mut self, partition: Partition, before: Marks, now: Marks, era: u32) {
        if now.start > now.stable || now.stable > now.high {
            self.problem(format!("{partition:?} tells {now:?}, which is no order"));
        }
        // A power loss may bring deleted segments back: nobody waits for their names to go. With
        // them comes a transaction that was open in them.
        let start_back = now.start < before.start;
        let may_be_back = start_back && self.era > 0;
        let stable_back =
            now.stable < before.stable && !(may_be_back && before.stable == before.start);
        let went_back = now.high < before.high || stable_back || (start_back && !may_be_back);
        let comparable = self.strict || era == self.era;
        if went_back && comparable {
            self.problem(format!("{partition:?} went back from {before:?} to {now:?}"));
        }
        if comparable {
            let marks = &mut self.trails.entry(partition).or_default().marks;
            marks.high = marks.high.max(now.high);
            marks.stable = marks.stable.max(now.stable);
            marks.start = marks.start.max(now.start);
        }
    }

    /// A reader saw a record (`None`: one that names nobody).
    pub fn saw(
        &mut self,
        partition: Partition,
        offset: i64,
        id: Option<RecordId>,
        committed: bool,
        timestamp: Timestamp,
        era: u32,
    ) {
        self.counts.read += 1;
        if id.is_none() {
            self.problem(format!("offset {offset} of {partition:?} holds what nobody wrote"));
        }
        let (strict, trail) = (self.strict, self.trails.entry(partition).or_default());
        if let Some(before) = trail.seen.get_mut(&offset)
            && (strict || before.era == era)
        {
            before.committed |= committed;
            if before.id != id {
                let what = format!(
                    "offset {offset} of {partition:?} was read as {:?} and then as {id:?}",
                    before.id
                );
                self.problem(what);
            }
            return;
        }
        trail.seen.insert(offset, Seen { id, era, committed, timestamp });
    }

    /// A transaction begins; its number among those of its transactional id.
    pub fn begin(&mut self, transactional_id: &'static str, session: &str) -> u64 {
        let after = self
            .transactions
            .range((transactional_id, 0)..=(transactional_id, u64::MAX))
            .next_back()
            .map_or(0, |((_, number), _)| number + 1);
        let transaction = Transaction {
            session: session.to_owned(),
            era: self.era,
            writes: Vec::new(),
            carries_offset: false,
            outcome: Outcome::NotCommitted,
        };
        self.transactions.insert((transactional_id, after), transaction);
        after
    }

    fn transaction(&mut self, transactional_id: &'static str, number: u64) -> &mut Transaction {
        self.transactions.get_mut(&(transactional_id, number)).expect("begun before")
    }

    /// A transaction writes a record.
    pub fn writes(
        &mut self,
        transactional_id: &'static str,
        number: u64,
        partition: Partition,
        record: u64,
    ) {
        self.transaction(transactional_id, number).writes.push((partition, record));
    }

    /// A transaction carries its number as an offset of its group.
    pub fn carries_offset(&mut self, transactional_id: &'static str, number: u64) {
        self.transaction(transactional_id, number).carries_offset = true;
    }

    /// The commit of a transaction is asked for.
    pub fn committing(&mut self, transactional_id: &'static str, number: u64) {
        self.transaction(transactional_id, number).outcome = Outcome::Unknown;
    }

    /// The commit was acknowledged.
    pub fn committed(&mut self, transactional_id: &'static str, number: u64) {
        self.counts.committed += 1;
        self.transaction(transactional_id, number).outcome = Outcome::Committed;
    }

    /// A transaction was aborted, and the coordinator said so.
    pub fn aborted(&mut self, transactional_id: &'static str, number: u64) {
        self.transaction(transactional_id, number).outcome = Outcome::NotCommitted;
    }

    /// A member was given partitions in a generation. `owner` is the member, or its
    /// `group.instance.id`: a static member that comes back goes on within the generation.
    pub fn owns(
        &mut self,
        group: &'static str,
        generation: i32,
        owner: &str,
        partitions: &[Partition],
        era: u32,
    ) {
        self.counts.generations += 1;
        // Without the strict policy a power loss may take the last generations: their numbers are
        // given anew.
        let era = if self.strict { 0 } else { era };
        for partition in partitions {
            let key = (group, era, generation, *partition);
            match self.owners.get(&key) {
                Some(other) if other != owner => {
                    let other = other.clone();
                    self.problem(format!(
                        "{partition:?} is {owner}'s and {other}'s in generation {generation} of {group}"
                    ));
                }
                _ => {
                    self.owners.insert(key, owner.to_owned());
                }
            }
        }
    }

    /// A member has a partition from now on. Only where nothing goes wrong: a member that was put
    /// out does not know it at once.
    pub fn claims(&mut self, group: &'static str, partition: Partition, member: &str) {
        let before = self.claims.insert((group, partition), member.to_owned());
        if let Some(before) = before.filter(|before| before != member) {
            self.problem(format!(
                "{partition:?} of {group} is given to {member}, and {before} has it"
            ));
        }
    }

    /// A member has a partition no longer.
    pub fn lets_go(&mut self, group: &'static str, partition: Partition, member: &str) {
        if self.claims.get(&(group, partition)).is_some_and(|has| has == member) {
            self.claims.remove(&(group, partition));
        }
    }

    /// The highest offset whose commit was acknowledged, or the lowest that may come late behind it:
    /// to be asked when a request is sent.
    pub fn commit_floor(&self, group: &'static str, partition: Partition) -> i64 {
        let key = (group, partition);
        let highest = self.commits.get(&key).copied().unwrap_or(-1);
        self.late_commits.get(&key).map_or(highest, |late| highest.min(*late))
    }

    /// A commit whose connection was given up may be carried out whenever its bytes arrive.
    pub fn commit_may_come_late(&mut self, group: &'static str, partition: Partition, offset: i64) {
        let lowest = self.late_commits.entry((group, partition)).or_insert(offset);
        *lowest = (*lowest).min(offset);
    }

    /// A commit was acknowledged.
    pub fn offset_committed(
        &mut self,
        group: &'static str,
        partition: Partition,
        offset: i64,
        era: u32,
    ) {
        if self.may_be_lost(era) {
            return;
        }
        let floor = self.commits.entry((group, partition)).or_insert(-1);
        *floor = (*floor).max(offset);
    }

    /// A group's offset was read, by a request that was sent in `era` when `floor` was known.
    pub fn offset_read(
        &mut self,
        group: &'static str,
        partition: Partition,
        floor: i64,
        offset: i64,
        era: u32,
    ) {
        // A log that was cut sends its readers back, and what they commit from then on is lower.
        let sent_back = !self.strict && self.era > 0;
        if offset < floor && !sent_back && !self.may_be_lost(era) {
            self.problem(format!(
                "the committed offset of {group} in {partition:?} went back from {floor} to {offset}"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
