//! One transactional id: its producer, and the transaction that is open or was the last
//! (KIP-98, KIP-360, KIP-890). A state machine without a clock, a disk or partitions: a step
//! gives the next state, which the caller stores before it counts.
//!
//! ```text
//!            add partitions              end                      markers written
//!  Empty ────────────────► Ongoing ────────────► PrepareCommit ──────────────────► CompleteCommit
//!  Complete* ────────────►         ──────┬─────► PrepareAbort  ──────────────────► CompleteAbort
//!                                        │ time-out, or another producer takes over:
//!                                        ▼ the epoch is raised first
//! ```
//!
//! Once a state says `Prepare`, the outcome is decided and nothing can change it.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;

/// Epoch of a transactional id that no producer has taken yet.
pub(crate) const NO_EPOCH: i16 = -1;
/// No producer id.
pub(crate) const NO_ID: i64 = -1;
/// No transaction was begun.
pub(crate) const NEVER: i64 = -1;
/// The last epoch a producer gets; the one behind it is for the marker that fences it.
const EPOCH_LAST: i16 = i16::MAX - 1;

/// A partition of a topic.
pub(crate) type Partition = (String, i32);

/// Where a transaction stands; the names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl TransactionState {
    pub(crate) const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// The name that admin tools show.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether the outcome is decided and not yet carried out.
    pub(crate) fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// Who asks: the producer id and epoch that a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// How a transaction is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) commit: bool,
    /// Version 2 of the protocol (KIP-890): every end raises the epoch, so that nothing that the
    /// producer sent before can slip into its next transaction.
    pub(crate) raise_epoch: bool,
}

/// What InitProducerId leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// The producer may begin; this is the state to store, if it has changed.
    Ready(Transaction),
    /// A transaction is open and must be aborted first; this is the state to store.
    Abort(Transaction),
}

/// What EndTxn leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It has ended that way already: the request is a repetition.
    Before,
    /// The state to store; then the end must be carried out.
    Prepared(Transaction),
}

/// A transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// The id before the epochs of that one were used up; -1 if there was none. With
    /// `last_epoch` it recognizes a request that is repeated because its answer was lost.
    pub(crate) previous_id: i64,
    /// The id that follows when this transaction has ended, if the epochs are used up; or -1.
    pub(crate) next_id: i64,
    pub(crate) last_epoch: i16,
    pub(crate) timeout_ms: i32,
    pub(crate) state: TransactionState,
    /// Partitions that the open transaction writes to.
    pub(crate) partitions: BTreeSet<Partition>,
    /// When the transaction began, in wall-clock milliseconds; [`NEVER`] if there was none.
    pub(crate) started_ms: i64,
    /// When anything changed last.
    pub(crate) updated_ms: i64,
}

impl Transaction {
    /// A transactional id that is seen for the first time.
    pub(crate) fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            epoch: NO_EPOCH,
            previous_id: NO_ID,
            next_id: NO_ID,
            last_epoch: NO_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            started_ms: NEVER,
            updated_ms: now_ms,
        }
    }

    /// Whether the next epoch needs a new producer id.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.epoch >= EPOCH_LAST
    }

    /// A producer starts, or starts anew. `expected` is what it believes to be (KIP-360), absent
    /// for a new one, which fences all before it. `fresh_id` is used if the epochs are used up.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn init(
        &self,
        timeout_ms: i32,
        expected: Option<Caller>,
        fresh_id: i64,
        now_ms: i64,
    ) -> Result<Init, ResponseError> {
        if expected.is_some_and(|expected| !self.could_be(expected)) {
            return Err(ResponseError::ProducerFenced);
        }
        if self.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let known = expected.filter(|_| self.epoch != NO_EPOCH).map(|expected| expected.epoch);
        if known.is_some_and(|epoch| epoch != self.epoch && epoch != self.last_epoch) {
            return Err(ResponseError::ProducerFenced);
        }
        if self.state == TransactionState::Ongoing {
            let mut aborting = self.fence(now_ms);
            if known.is_some() {
                // The producer itself: it gets the raised epoch, as if it had asked twice.
                aborting.last_epoch = self.epoch;
            }
            return Ok(Init::Abort(aborting));
        }
        let mut next = self.clone();
        next.state = TransactionState::Empty;
        next.timeout_ms = timeout_ms;
        next.started_ms = NEVER;
        next.updated_ms = now_ms;
        // A repetition of a call whose answer was lost gets the same answer. No other producer
        // can have come in between: it would have cleared `last_epoch`.
        let repeated = known.is_some_and(|epoch| epoch != self.epoch);
        if !repeated {
            next.last_epoch = if expected.is_some() { self.epoch } else { NO_EPOCH };
            if self.is_exhausted() {
                next.previous_id = self.producer_id;
                next.producer_id = fresh_id;
                next.epoch = 0;
            } else {
                next.previous_id = NO_ID;
                next.epoch = self.epoch + 1;
            }
        }
        Ok(Init::Ready(next))
    }

    /// Whether a producer that believes to be `expected` may be the one of this id.
    fn could_be(&self, expected: Caller) -> bool {
        self.epoch == NO_EPOCH
            || expected.producer_id == self.producer_id
            || (expected.producer_id == self.previous_id && expected.epoch >= EPOCH_LAST)
    }

    /// Whether the caller is this id's current producer.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn check(&self, caller: Caller) -> Result<(), ResponseError> {
        if caller.producer_id != self.producer_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if caller.epoch != self.epoch {
            return Err(ResponseError::ProducerFenced);
        }
        if self.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        Ok(())
    }

    /// Adds partitions, and begins a transaction if none is open. `None` if all are there.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn add(
        &self,
        caller: Caller,
        partitions: &[Partition],
        now_ms: i64,
    ) -> Result<Option<Self>, ResponseError> {
        self.check(caller)?;
        let ongoing = self.state == TransactionState::Ongoing;
        if ongoing && partitions.iter().all(|partition| self.partitions.contains(partition)) {
            return Ok(None);
        }
        let mut next = self.clone();
        next.partitions.extend(partitions.iter().cloned());
        next.updated_ms = now_ms;
        if !ongoing {
            next.state = TransactionState::Ongoing;
            next.started_ms = now_ms;
        }
        Ok(Some(next))
    }

    /// Whether the caller's open transaction has that partition.
    ///
    /// # Errors
    /// Kafka's code; `TransactionAbortable` if the partition was not added (KIP-890).
    pub(crate) fn verify(
        &self,
        caller: Caller,
        partition: &Partition,
    ) -> Result<(), ResponseError> {
        self.check(caller)?;
        if self.state == TransactionState::Ongoing && self.partitions.contains(partition) {
            return Ok(());
        }
        Err(ResponseError::TransactionAbortable)
    }

    /// Decides the end that the producer asks for. `fresh_id` is used if the epochs are used up.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn end(
        &self,
        caller: Caller,
        end: End,
        fresh_id: i64,
        now_ms: i64,
    ) -> Result<Ended, ResponseError> {
        use TransactionState::{CompleteAbort, CompleteCommit, Empty, Ongoing};
        // With version 2 an answer that was lost has raised the epoch already.
        let raised = end.raise_epoch
            && caller.producer_id == self.producer_id
            && i32::from(caller.epoch) + 1 == i32::from(self.epoch);
        let rotated = end.raise_epoch
            && caller.producer_id == self.previous_id
            && caller.epoch == EPOCH_LAST
            && self.epoch == 0;
        if caller.producer_id != self.producer_id && !rotated {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        let repeated = raised || rotated;
        let current = match self.state {
            Empty | Ongoing => caller.epoch == self.epoch,
            _ if self.state.is_prepared() && end.raise_epoch => repeated,
            _ => caller.epoch == self.epoch || repeated,
        };
        if !current {
            return Err(ResponseError::ProducerFenced);
        }
        let same = self.commits() == Some(end.commit);
        match self.state {
            Ongoing => Ok(Ended::Prepared(self.prepare(end, fresh_id, now_ms))),
            _ if self.state.is_prepared() => match same {
                true => Err(ResponseError::ConcurrentTransactions),
                false => Err(ResponseError::InvalidTxnState),
            },
            CompleteCommit | CompleteAbort if same && (repeated || !end.raise_epoch) => {
                Ok(Ended::Before)
            }
            // With version 2 a producer does not know whether anything it sent began a
            // transaction; so it may abort one that is not there, and gets its new epoch.
            Empty | CompleteCommit | CompleteAbort
                if end.raise_epoch && !end.commit && !repeated =>
            {
                Ok(Ended::Prepared(self.prepare(end, fresh_id, now_ms)))
            }
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    /// How the transaction that is ending or was the last ended.
    pub(crate) fn commits(&self) -> Option<bool> {
        match self.state {
            TransactionState::PrepareCommit | TransactionState::CompleteCommit => Some(true),
            TransactionState::PrepareAbort | TransactionState::CompleteAbort => Some(false),
            TransactionState::Empty | TransactionState::Ongoing => None,
        }
    }

    fn prepare(&self, end: End, fresh_id: i64, now_ms: i64) -> Self {
        let mut next = self.clone();
        next.state = match end.commit {
            true => TransactionState::PrepareCommit,
            false => TransactionState::PrepareAbort,
        };
        next.updated_ms = now_ms;
        if end.raise_epoch {
            if self.is_exhausted() {
                next.next_id = fresh_id;
            }
            next.last_epoch = self.epoch;
            next.epoch = self.epoch.saturating_add(1);
        }
        next
    }

    /// Aborts the open transaction against its producer: the epoch is raised, so that whatever
    /// it sends from now on is refused.
    pub(crate) fn fence(&self, now_ms: i64) -> Self {
        let mut next = self.clone();
        next.state = TransactionState::PrepareAbort;
        next.epoch = self.epoch.saturating_add(1);
        next.last_epoch = NO_EPOCH;
        next.updated_ms = now_ms;
        next
    }

    /// The end was carried out in all partitions.
    pub(crate) fn complete(&self, now_ms: i64) -> Self {
        let mut next = self.clone();
        next.state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        next.partitions.clear();
        next.updated_ms = now_ms;
        if self.next_id != NO_ID {
            next.previous_id = self.producer_id;
            next.producer_id = self.next_id;
            next.next_id = NO_ID;
            next.epoch = 0;
        }
        next
    }
}
