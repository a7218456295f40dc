//! All transactional ids: finds the one a request is for, watches the time of open transactions,
//! and stores every step in the *transactions* journal before it counts.
//!
//! Kafka keeps this in a topic, `__transaction_state`, because coordinators move between nodes;
//! a single node needs a durable map and no more. What the end of a transaction does to logs and
//! groups is in [`broker::ending`](crate::broker).

mod stored;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;

pub(crate) use transaction::{
    Caller, End, Ended, Init, NEVER, NO_EPOCH, NO_ID, Partition, Transaction, TransactionState,
};

use crate::journal::Journal;

/// After a disk error the end of a transaction is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// All transactional ids.
pub(crate) struct Transactions {
    journal: Journal,
    by_id: BTreeMap<String, Transaction>,
    /// When an open transaction times out, or a decided one is carried out again.
    deadline_of: BTreeMap<String, Duration>,
    deadlines: BTreeSet<(Duration, String)>,
}

/// The current time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) monotonic: Duration,
    pub(crate) wall_ms: i64,
}

impl Transactions {
    /// Loads the ids of a journal.
    ///
    /// # Errors
    /// That an entry is of a newer version.
    pub(crate) fn open(journal: Journal, now: Now) -> io::Result<Self> {
        let loaded = stored::load(&journal).map_err(|id| {
            let problem = "is of a newer version of this broker";
            io::Error::other(format!("the entry of the transactional id `{id}` {problem}"))
        })?;
        let mut transactions = Self {
            journal,
            by_id: BTreeMap::new(),
            deadline_of: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        };
        for (id, transaction) in loaded {
            transactions.by_id.insert(id.clone(), transaction);
            transactions.watch(&id, now);
        }
        Ok(transactions)
    }

    /// All ids in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Transaction)> {
        self.by_id.iter().map(|(id, transaction)| (id.as_str(), transaction))
    }

    /// The state of an id.
    pub(crate) fn get(&self, id: &str) -> Option<&Transaction> {
        self.by_id.get(id)
    }

    /// Whether InitProducerId, or the end of a transaction, will need a new producer id.
    pub(crate) fn needs_producer_id(&self, id: &str) -> bool {
        self.by_id.get(id).is_none_or(Transaction::is_exhausted)
    }

    /// A producer starts. If a transaction is open, its abort is decided now; the caller carries
    /// it out and asks again.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn init(
        &mut self,
        id: &str,
        timeout_ms: i32,
        expected: Option<Caller>,
        fresh_id: i64,
        now: Now,
    ) -> Result<Init, ResponseError> {
        let new = Transaction::new(fresh_id, timeout_ms, now.wall_ms);
        let current = self.by_id.get(id).unwrap_or(&new);
        let init = current.init(timeout_ms, expected, fresh_id, now.wall_ms)?;
        let (Init::Ready(next) | Init::Abort(next)) = &init;
        self.store(id, next.clone(), now)?;
        Ok(init)
    }

    /// Adds partitions to the caller's transaction, which begins with the first.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn add(
        &mut self,
        id: &str,
        caller: Caller,
        partitions: &[Partition],
        now: Now,
    ) -> Result<(), ResponseError> {
        match self.known(id)?.add(caller, partitions, now.wall_ms)? {
            Some(next) => self.store(id, next, now),
            None => Ok(()),
        }
    }

    /// Whether the caller's open transaction has that partition.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn verify(
        &self,
        id: &str,
        caller: Caller,
        partition: &Partition,
    ) -> Result<(), ResponseError> {
        self.known(id)?.verify(caller, partition)
    }

    /// Decides how the caller's transaction ends. The caller of this carries it out.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn end(
        &mut self,
        id: &str,
        caller: Caller,
        end: End,
        fresh_id: i64,
        now: Now,
    ) -> Result<Ended, ResponseError> {
        let ended = self.known(id)?.end(caller, end, fresh_id, now.wall_ms)?;
        if let Ended::Prepared(next) = &ended {
            self.store(id, next.clone(), now)?;
        }
        Ok(ended)
    }

    /// The end of a transaction was carried out.
    ///
    /// # Errors
    /// Kafka's code; it will be carried out again.
    pub(crate) fn complete(&mut self, id: &str, now: Now) -> Result<(), ResponseError> {
        let next = self.known(id)?.complete(now.wall_ms);
        self.store(id, next, now)
    }

    /// Ids whose outcome is decided and was not carried out.
    pub(crate) fn prepared(&self) -> Vec<String> {
        let prepared = self.iter().filter(|(_, transaction)| transaction.state.is_prepared());
        prepared.map(|(id, _)| id.to_owned()).collect()
    }

    /// Whether a transaction of that producer is open, or being ended, in that partition.
    pub(crate) fn has_open(&self, producer_id: i64, topic: &str, partition: i32) -> bool {
        let partition = (topic.to_owned(), partition);
        self.by_id.values().any(|transaction| {
            transaction.producer_id == producer_id && transaction.partitions.contains(&partition)
        })
    }

    /// The logs have seen these epochs of producers. Where the journal knows an older one only, a
    /// power loss took its last writes; the markers of that epoch would be refused, and so would be
    /// the producer that is given the next.
    ///
    /// # Errors
    /// Kafka's code, if the disk fails.
    pub(crate) fn raise_epochs(
        &mut self,
        seen: &BTreeMap<i64, i16>,
        now: Now,
    ) -> Result<(), ResponseError> {
        let behind = |(id, transaction): (&String, &Transaction)| {
            let epoch = *seen.get(&transaction.producer_id)?;
            let raised = || Transaction { epoch, last_epoch: NO_EPOCH, ..transaction.clone() };
            (transaction.epoch < epoch).then(|| (id.clone(), raised()))
        };
        let behind: Vec<_> = self.by_id.iter().filter_map(behind).collect();
        for (id, raised) in behind {
            let epoch = raised.epoch;
            tracing::warn!(
                transactional_id = id,
                epoch,
                "the logs know a newer epoch of a producer"
            );
            self.store(&id, raised, now)?;
        }
        Ok(())
    }

    /// The highest producer id among all.
    pub(crate) fn highest_producer_id(&self) -> Option<i64> {
        self.by_id
            .values()
            .map(|transaction| transaction.producer_id.max(transaction.next_id))
            .max()
    }

    /// Lets every step from now on wait for the medium, or not.
    pub(crate) fn set_sync(&mut self, sync: bool) {
        self.journal.set_sync(sync);
    }

    /// Waits until all steps are on the medium.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn make_durable(&mut self) -> io::Result<()> {
        self.journal.sync()
    }

    /// When [`take_due`](Self::take_due) has something.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ids whose end must be carried out now. For an open transaction that has run out of time
    /// the abort is decided here, with a raised epoch: its producer is fenced.
    pub(crate) fn take_due(&mut self, now: Now) -> Vec<String> {
        let due = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.monotonic);
        let due: Vec<String> = due.map(|(_, id)| id.clone()).collect();
        for id in &due {
            let Some(transaction) = self.by_id.get(id) else { continue };
            if transaction.state == TransactionState::Ongoing {
                let timeout_ms = transaction.timeout_ms;
                tracing::info!(transactional_id = id, timeout_ms, "aborts a transaction: time-out");
                let next = transaction.fence(now.wall_ms);
                // What cannot be stored is tried again; the deadline moves in any case.
                let _ = self.store(id, next, now);
            }
            self.set_deadline(id, Some(now.monotonic + RETRY));
        }
        due
    }

    /// Forgets ids that nobody has used for longer than `expiration_ms` (Kafka's
    /// `transactional.id.expiration.ms`).
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn expire(&mut self, wall_ms: i64, expiration_ms: i64) -> io::Result<()> {
        let old: Vec<String> = self
            .iter()
            .filter(|(_, transaction)| {
                transaction.state != TransactionState::Ongoing
                    && !transaction.state.is_prepared()
                    && wall_ms.saturating_sub(transaction.updated_ms) >= expiration_ms
            })
            .map(|(id, _)| id.to_owned())
            .collect();
        let changes = old.iter().flat_map(|id| stored::changes(id, self.by_id.get(id), None));
        self.journal.commit(changes.collect())?;
        for id in old {
            self.by_id.remove(&id);
            self.set_deadline(&id, None);
        }
        Ok(())
    }

    fn known(&self, id: &str) -> Result<&Transaction, ResponseError> {
        self.by_id.get(id).ok_or(ResponseError::InvalidProducerIdMapping)
    }

    /// Stores a state, then makes it the current one. A disk that fails gives the code that all
    /// clients answer by asking again.
    fn store(&mut self, id: &str, next: Transaction, now: Now) -> Result<(), ResponseError> {
        let old = self.by_id.get(id);
        self.journal.commit(stored::changes(id, old, Some(&next))).map_err(|error| {
            tracing::error!(transactional_id = id, %error, "cannot store a transaction's state");
            ResponseError::CoordinatorNotAvailable
        })?;
        let was = old.map(|old| old.state);
        let is = next.state;
        self.by_id.insert(id.to_owned(), next);
        if was != Some(is) {
            self.watch(id, now);
        }
        Ok(())
    }

    /// Sets the deadline that belongs to the state of an id.
    fn watch(&mut self, id: &str, now: Now) {
        let deadline = self.by_id.get(id).and_then(|transaction| match transaction.state {
            TransactionState::Ongoing => {
                let whole = i64::from(transaction.timeout_ms);
                let passed = now.wall_ms.saturating_sub(transaction.started_ms);
                // A clock that was set back must not give it more than its time.
                let left = whole.saturating_sub(passed).clamp(0, whole.max(0));
                Some(now.monotonic + Duration::from_millis(left as u64))
            }
            state if state.is_prepared() => Some(now.monotonic + RETRY),
            _ => None,
        });
        self.set_deadline(id, deadline);
    }

    fn set_deadline(&mut self, id: &str, deadline: Option<Duration>) {
        if let Some(old) = self.deadline_of.remove(id) {
            self.deadlines.remove(&(old, id.to_owned()));
        }
        if let Some(deadline) = deadline {
            self.deadline_of.insert(id.to_owned(), deadline);
            self.deadlines.insert((deadline, id.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
