//! One partition as the machine sees it: the batches that wait, in order, and their sequence
//! numbers.
//!
//! *Order.* The first batch of a producer goes out alone, until the broker knows the producer. Then
//! up to five requests may be out with batches of one partition, all to the same broker. Once one
//! has failed, those behind it fail too (the broker takes no sequence number before its
//! turn) and come back to their places; from there they go out one at a time, and nothing new with
//! them, until the last of them is through. So no batch of unknown fate ever has more than four
//! behind it that the broker has taken: it remembers five, and would not know an older one again.
//!
//! Without idempotence the broker takes what comes: a batch that was refused is written behind
//! those that were out with it, unless `max.in.flight.requests.per.connection` is 1.
//!
//! *Sequences.* A batch keeps its numbers over all attempts, so a broker that has it already says
//! so. When a batch is given up although it may have been written, or was refused, the numbers
//! behind it may have a gap in front of them. What was sent already is tried under its old
//! numbers until its fate is known; nothing new is sent. Then, if there is a gap, the producer's
//! epoch is raised and numbers begin anew (KIP-360).

use std::collections::VecDeque;
use std::time::Duration;

use millstream_protocol::header::add_sequence;

use super::batch::{Batch, ProducerId, Sequence};
use crate::network::NodeId;
use crate::random::{Backoff, Random};

/// What a lane may do about its sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Batches can be sent.
    Ready,
    /// Something that is out must come back first.
    Wait,
    /// The broker misses numbers that will never come: the epoch must be raised.
    Gap,
}

pub(super) struct Lane {
    /// Node and leader epoch.
    pub(super) leader: Option<(NodeId, i32)>,
    pub(super) pending: VecDeque<Batch>,
    /// Batches in requests that are out, and to whom.
    pub(super) out: usize,
    out_to: Option<(NodeId, i32)>,
    /// What is out is another try.
    retrying: bool,
    next_order: u64,
    retry_at: Duration,
    backoff: Backoff,
    /// The leader that the last attempt failed at.
    failed_at: Option<(NodeId, i32)>,
    producer: Option<ProducerId>,
    /// The number of the next batch that gets one.
    next: i32,
    /// The number that the broker expects, as far as is known.
    expected: i32,
    unresolved: bool,
    /// Whether the broker has acknowledged a batch of this producer's id and epoch.
    known: bool,
    /// Offset of the last record that was acknowledged.
    pub(super) last_offset: i64,
    /// Records and bytes that were sent, each attempt by itself.
    pub(super) sent: (u64, u64),
}

impl Lane {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            leader: None,
            pending: VecDeque::new(),
            out: 0,
            out_to: None,
            retrying: false,
            next_order: 0,
            retry_at: Duration::ZERO,
            backoff,
            failed_at: None,
            producer: None,
            next: 0,
            expected: 0,
            unresolved: false,
            known: false,
            last_offset: super::NO_OFFSET,
            sent: (0, 0),
        }
    }

    /// Appends a new batch.
    pub(super) fn push(&mut self, mut batch: Batch) {
        batch.order = (self.next_order, 0);
        self.next_order += 1;
        self.pending.push_back(batch);
    }

    /// Puts a batch back to its place.
    pub(super) fn put_back(&mut self, batch: Batch) {
        let at = self.pending.partition_point(|other| other.order < batch.order);
        self.pending.insert(at, batch);
    }

    /// After a failed attempt: waits, unless there is another leader already.
    pub(super) fn back_off(&mut self, random: &mut dyn Random, now: Duration) {
        // Several batches that fail together count once.
        if self.retry_at <= now {
            self.retry_at = now + self.backoff.failed(random);
        }
        self.failed_at = self.out_to;
    }

    fn may_retry(&self, now: Duration) -> bool {
        self.retry_at <= now || self.failed_at != self.leader
    }

    /// When it may go on by the passing of time.
    pub(super) fn retry_at(&self, now: Duration) -> Option<Duration> {
        (!self.pending.is_empty() && self.leader.is_some() && !self.may_retry(now))
            .then_some(self.retry_at)
    }

    /// The node that the next batch can be sent to, sequences aside.
    pub(super) fn node(&self, now: Duration) -> Option<NodeId> {
        let (node, _) = self.leader?;
        let front = self.pending.front()?;
        let out_node = self.out_to.map(|(node, _)| node);
        let beside =
            out_node == Some(node) && front.attempts == 0 && !self.retrying && self.is_known();
        let in_order = self.out == 0 || beside;
        (in_order && self.may_retry(now)).then_some(node)
    }

    /// Whether the broker knows the producer and so takes no number before its turn. Of a producer
    /// that it does not know it takes any: if the first batch were refused for another reason, the
    /// second would be written in its place, and the first could never be.
    fn is_known(&self) -> bool {
        self.known || self.producer.is_none()
    }

    /// Whether a batch that has lingered is better closed now than left to grow. Also while a retry
    /// has to wait: only a lane with a closed batch is looked at again when that is over.
    pub(super) fn wants_more(&self) -> bool {
        self.pending.is_empty() && self.leader.is_some()
    }

    /// Looks after the sequences under the producer's `current` id.
    pub(super) fn settle(&mut self, current: ProducerId) -> Standing {
        let unknown = |batch: &Batch| batch.sequence.is_some() && batch.maybe_written;
        let settled = self.out == 0 && !self.pending.iter().any(unknown);
        if self.unresolved && settled {
            let next = match self.pending.front().and_then(|batch| batch.sequence) {
                Some(sequence) => sequence.base,
                None => self.next,
            };
            if next == self.expected {
                self.unresolved = false;
            } else if self.producer == Some(current) {
                return Standing::Gap;
            }
        }
        if self.producer != Some(current) && settled {
            self.producer = Some(current);
            self.next = 0;
            self.expected = 0;
            self.unresolved = false;
            self.known = false;
            for batch in &mut self.pending {
                batch.sequence = None;
            }
        }
        let new = self.pending.front().is_some_and(|batch| batch.sequence.is_none());
        match new && (self.unresolved || self.producer != Some(current)) {
            true => Standing::Wait,
            false => Standing::Ready,
        }
    }

    /// Takes the next batch out for sending. With `sequenced`, it gets its number.
    pub(super) fn take(&mut self, sequenced: bool) -> Option<Batch> {
        let mut batch = self.pending.pop_front()?;
        if sequenced && batch.sequence.is_none() {
            let producer = self.producer?;
            batch.sequence = Some(Sequence { producer, base: self.next });
            self.next = add_sequence(self.next, batch.records as i32);
        }
        self.retrying = batch.attempts > 0;
        self.out += 1;
        self.out_to = self.leader;
        Some(batch)
    }

    /// An answer has named a new leader.
    pub(super) fn learn_leader(&mut self, node: NodeId, epoch: i32) {
        self.leader = Some((node, epoch));
    }

    /// A request with a batch of this lane has ended.
    pub(super) fn came_back(&mut self) {
        self.out -= 1;
    }

    /// The broker has the batch.
    pub(super) fn acknowledged(&mut self, batch: &Batch) {
        self.backoff.succeeded();
        self.retry_at = Duration::ZERO;
        if let Some(sequence) = batch.sequence
            && Some(sequence.producer) == self.producer
        {
            self.known = true;
            let next = add_sequence(sequence.base, batch.records as i32);
            // An older one may be acknowledged behind a younger one, when it was written at an
            // attempt before.
            if self.expected < 0 || (next.wrapping_sub(self.expected) & i32::MAX) < i32::MAX / 2 {
                self.expected = next;
            }
        }
    }

    /// A batch is given up. If it had a number, the broker may wait for that in vain.
    pub(super) fn gave_up(&mut self, batch: &Batch) {
        self.unresolved |=
            batch.sequence.is_some() && batch.sequence.map(|s| s.producer) == self.producer;
    }

    /// Whether the batch is the one that the broker should have been waiting for.
    pub(super) fn is_expected(&self, batch: &Batch) -> bool {
        batch.sequence.is_some_and(|sequence| {
            Some(sequence.producer) == self.producer && sequence.base == self.expected
        })
    }

    /// The broker has refused this batch, which was alone, as out of order. What comes behind it
    /// cannot be there either.
    pub(super) fn misses(&mut self, batch: &Batch) {
        if self.out == 0 {
            for other in self.pending.iter_mut().filter(|other| other.order > batch.order) {
                other.maybe_written = false;
            }
        }
    }

    /// The broker does not know the numbers before this one.
    pub(super) fn lost_track(&mut self) {
        self.unresolved = true;
        // No number fits any more: the next look finds a gap.
        self.expected = -1;
    }

    /// The broker has forgotten the producer because the records before are gone: a transaction
    /// begins its numbers anew under the same epoch.
    pub(super) fn restart(&mut self) {
        self.producer = None;
    }

    /// Whether numbers are open.
    pub(super) fn is_unresolved(&self) -> bool {
        self.unresolved
    }
}
