//! How transactions end: what the coordinator decides is carried out in groups and logs.
//!
//! The order is what makes a transaction whole after a crash at any moment:
//!
//! 1. the decision is stored (`PrepareCommit` or `PrepareAbort`): from here on it will be so;
//! 2. the offsets that the transaction carries become the groups' committed ones, or vanish, in
//!    one commit of the groups' journal;
//! 3. each partition gets its marker;
//! 4. the state is stored as complete.
//!
//! Steps 2 to 4 may be repeated: offsets that are not pending any more are not touched, and a
//! marker that is there is not written again. A start carries out what was left, and so does a
//! later tick if the disk has failed. All of it happens inside one request, so clients hardly
//! ever see `CONCURRENT_TRANSACTIONS`.

use std::collections::BTreeMap;
use std::io;

use kafka_protocol::ResponseError;

use super::Broker;
use crate::log::{Marker, MarkerError};
use crate::transactions::{Caller, End, Ended, Init, NO_ID, Now};

/// Epoch of this coordinator: there is no other that could take over.
pub(crate) const COORDINATOR_EPOCH: i32 = 0;
/// The topic that stands for committed offsets in a transaction, as in Kafka.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

impl Broker {
    pub(crate) fn now(&self) -> Now {
        Now { monotonic: self.clock.monotonic(), wall_ms: self.clock.wall() }
    }

    /// Gives a transactional producer its id and epoch. A transaction that is open, of itself or
    /// of the producer before it, is aborted first.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn init_transactions(
        &mut self,
        id: &str,
        timeout_ms: i32,
        expected: Option<Caller>,
    ) -> Result<Caller, ResponseError> {
        loop {
            let fresh_id = self.fresh_id_for(id)?;
            let now = self.now();
            match self.transactions.init(id, timeout_ms, expected, fresh_id, now)? {
                Init::Ready(ready) => {
                    return Ok(Caller { producer_id: ready.producer_id, epoch: ready.epoch });
                }
                Init::Abort(_) => self.carry_out(id, false)?,
            }
        }
    }

    /// Commits or aborts a producer's transaction. Returns what the producer is from now on.
    ///
    /// # Errors
    /// Kafka's code.
    pub(crate) fn end_transaction(
        &mut self,
        id: &str,
        caller: Caller,
        end: End,
    ) -> Result<Caller, ResponseError> {
        let fresh_id = if end.raise_epoch { self.fresh_id_for(id)? } else { NO_ID };
        let now = self.now();
        if let Ended::Prepared(_) = self.transactions.end(id, caller, end, fresh_id, now)?
            && self.carry_out(id, false).is_err()
        {
            // It is decided and will be done: a tick goes on with it.
            tracing::warn!(transactional_id = id, "the end of a transaction is not done yet");
        }
        let state = self.transactions.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        Ok(match state.next_id {
            NO_ID => Caller { producer_id: state.producer_id, epoch: state.epoch },
            next_id => Caller { producer_id: next_id, epoch: 0 },
        })
    }

    /// Carries out what the last run has decided, and aborts what it has left in the logs and
    /// among the groups' offsets without a trace in the journal: after a power loss that took the
    /// journal's last writes, such a transaction would hold the last stable offset for ever, and
    /// its groups' offsets would be unstable for ever.
    pub(super) fn recover_transactions(&mut self) {
        for id in self.transactions.prepared() {
            // A disk that fails has been reported; a tick tries again.
            let _ = self.carry_out(&id, true);
        }
        // Behind what was decided: its markers must not end anything that is newer.
        let mut epochs: BTreeMap<i64, i16> = BTreeMap::new();
        for log in self.topics.iter().flat_map(|topic| &topic.partitions) {
            for producer in log.active_producers() {
                let epoch = epochs.entry(producer.id).or_insert(producer.epoch);
                *epoch = producer.epoch.max(*epoch);
            }
        }
        let now = self.now();
        // A disk that fails has been reported.
        let _ = self.transactions.raise_epochs(&epochs, now);
        for producer_id in self.coordinator.pending_producers() {
            if !self.transactions.has_open(producer_id, OFFSETS_TOPIC, 0) {
                tracing::warn!(producer_id, "drops offsets of a transaction nobody knows of");
                if let Err(error) = self.coordinator.end_transaction(producer_id, false) {
                    tracing::error!(producer_id, %error, "cannot drop offsets of a transaction");
                }
            }
        }
        let mut lost = Vec::new();
        for topic in self.topics.iter() {
            for (partition, log) in topic.partitions.iter().enumerate() {
                for (producer_id, epoch) in log.open_transactions() {
                    let partition = partition as i32;
                    if !self.transactions.has_open(producer_id, &topic.name, partition) {
                        lost.push((topic.name.to_string(), partition, producer_id, epoch));
                    }
                }
            }
        }
        for (topic, partition, producer_id, epoch) in lost {
            tracing::warn!(topic, partition, producer_id, "aborts a transaction nobody knows of");
            let marker =
                Marker { producer_id, epoch, commit: false, coordinator_epoch: COORDINATOR_EPOCH };
            if let Err(error) = self.write_marker(&topic, partition, &marker) {
                tracing::error!(topic, partition, %error, "cannot abort a transaction");
            }
        }
    }

    /// Aborts what has run out of time and goes on with what a failing disk has stopped.
    pub(super) fn tick_transactions(&mut self) {
        let now = self.now();
        for id in self.transactions.take_due(now) {
            let _ = self.carry_out(&id, true);
        }
    }

    /// Forgets transactional ids that nobody uses.
    pub(super) fn expire_transactional_ids(&mut self) {
        let expiration_ms = self.settings.number("transactional.id.expiration.ms");
        if let Err(error) = self.transactions.expire(self.clock.wall(), expiration_ms) {
            tracing::error!(%error, "cannot forget old transactional ids");
        }
    }

    /// Writes a marker and wakes who waits for it. `None` if there is no such partition.
    ///
    /// # Errors
    /// See [`MarkerError`].
    pub(crate) fn write_marker(
        &mut self,
        topic: &str,
        partition: i32,
        marker: &Marker,
    ) -> Result<Option<()>, MarkerError> {
        let now_ms = self.clock.wall();
        let Some(topic) = self.topics.get_mut(topic) else { return Ok(None) };
        let id = topic.id;
        let Some((log, config)) = topic.log_mut(partition) else { return Ok(None) };
        let stable = log.last_stable_offset();
        let written = log.write_marker(config, now_ms, marker);
        if log.last_stable_offset() > stable {
            self.fetches.stable_moved(id, partition);
        }
        if let Ok(bytes) | Err(MarkerError::NotSynced { bytes, .. }) = &written {
            self.fetches.appended_open(id, partition, *bytes);
        }
        written.map(|_| Some(()))
    }

    fn fresh_id_for(&mut self, id: &str) -> Result<i64, ResponseError> {
        if !self.transactions.needs_producer_id(id) {
            return Ok(NO_ID);
        }
        self.new_producer_id().map_err(|error| {
            tracing::error!(%error, "cannot reserve producer ids");
            ResponseError::CoordinatorNotAvailable
        })
    }

    /// Does what a decided transaction asks for. `again` skips the partitions that have their
    /// marker from an attempt before; it may have been the wait for the medium that failed then, so
    /// that is made up for.
    fn carry_out(&mut self, id: &str, again: bool) -> Result<(), ResponseError> {
        let Some(transaction) = self.transactions.get(id) else { return Ok(()) };
        let Some(commit) = transaction.commits().filter(|_| transaction.state.is_prepared()) else {
            return Ok(());
        };
        let marker = Marker {
            producer_id: transaction.producer_id,
            epoch: transaction.epoch,
            commit,
            coordinator_epoch: COORDINATOR_EPOCH,
        };
        let partitions: Vec<_> = transaction.partitions.iter().cloned().collect();
        let failed = |error: io::Error| {
            tracing::error!(transactional_id = id, %error, "cannot end a transaction");
            ResponseError::ConcurrentTransactions
        };
        self.coordinator.end_transaction(marker.producer_id, commit).map_err(failed)?;
        for (topic, partition) in partitions {
            let now_ms = self.clock.wall();
            let log = self.topics.get_mut(&topic).and_then(|topic| topic.log_mut(partition));
            if let Some((log, config)) = log
                && again
                && !log.lacks_marker(marker.producer_id, marker.epoch)
            {
                log.flush_if_due(config, now_ms).map_err(failed)?;
                continue;
            }
            match self.write_marker(&topic, partition, &marker) {
                Ok(_) => {}
                Err(MarkerError::Disk(error) | MarkerError::NotSynced { source: error, .. }) => {
                    return Err(failed(error));
                }
                Err(error) => {
                    // An administrator has ended it by hand, with a newer epoch.
                    tracing::warn!(transactional_id = id, topic, partition, %error, "no marker");
                }
            }
        }
        let now = self.now();
        self.transactions.complete(id, now)
    }
}
