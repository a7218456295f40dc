//! The client's transactional producer: records to several partitions and an offset, then a commit
//! or an abort.

use std::time::Duration;

use millstream_client::producer::{GroupMetadata, TransactionError, TransactionOffset};
use millstream_client::settings::ProducerSettings;
use millstream_client::{KafkaError, Remedy, code};
use millstream_types::TopicPartition;

use super::writer::Writer;
use crate::actor::Me;
use crate::ledger::{Partition, RecordId};
use crate::workload::code::{
    ILLEGAL_GENERATION, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, PRODUCER_FENCED,
    REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID,
};
use crate::workload::transactional::group_of;
use crate::workload::{Shared, admin};

/// `transaction.timeout.ms`.
const TIMEOUT: Duration = Duration::from_secs(9);

/// A producer from its start to its end for good.
pub(super) struct Session {
    me: Me,
    shared: Shared,
    id: &'static str,
    has_rival: bool,
    /// Its positions are those of a member, whom a rebalance may put out.
    is_member: bool,
    era: u32,
    pub(super) writer: Writer,
}

/// Why a transaction was not committed.
pub(super) enum Over {
    /// It was aborted; the session goes on.
    Aborted,
    /// The session is of no more use.
    Fatal,
}

/// Runs transactions until the run is closing.
pub(crate) async fn run(me: Me, shared: Shared, id: &'static str, has_rival: bool) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    let session = async |name| {
        let Some(mut session) = Session::begin(&me, &shared, id, has_rival, name).await else {
            return;
        };
        while !shared.is_closing() {
            if let Err(Over::Fatal) = session.transaction().await {
                break;
            }
            me.sleep_ms(1, 500).await;
        }
        if has_rival {
            me.sleep_ms(200, 5_000).await;
        }
    };
    shared.sessions(&me, session).await;
}

impl Session {
    /// Registers the transactional id. `None`: it was refused.
    pub(super) async fn begin(
        me: &Me,
        shared: &Shared,
        id: &'static str,
        has_rival: bool,
        name: String,
    ) -> Option<Self> {
        let settings = ProducerSettings {
            transactional_id: Some(id.to_owned()),
            transaction_timeout: TIMEOUT,
            delivery_timeout: Some(TIMEOUT),
            request_timeout: Duration::from_secs(4),
            linger: Duration::from_millis(me.between(0, 30)),
            batch_records: me.between(1, 8) as usize,
            ..ProducerSettings::default()
        };
        let (me, shared, era) = (me.clone(), shared.clone(), shared.era());
        let writer = Writer::open(&me, &shared, &settings, name);
        let mut session = Self { me, shared, id, has_rival, is_member: false, era, writer };
        let began = session.now_there();
        let answer = match session.writer.producer.init_transactions() {
            Ok(request) => session.writer.answer(&session.me, request).await,
            Err(error) => Err(fatal(&error)),
        };
        match answer {
            Ok(()) => Some(session),
            Err(error) => {
                session.check_excuse(&error, began);
                None
            }
        }
    }

    async fn transaction(&mut self) -> Result<(), Over> {
        let commit = self.me.chance(700_000);
        let number = self.open();
        let began = self.now_there();
        let done = self.fill(number, commit).await;
        self.conclude(number, began, commit, done).await
    }

    /// Begins a transaction in the ledger. Returns its number.
    pub(super) fn open(&self) -> u64 {
        let number = self.shared.ledger.borrow_mut().begin(self.id, &self.writer.session);
        self.me.host().trace(format_args!("{} begins transaction {number}", self.writer.session));
        number
    }

    /// Ends a transaction: what `done` says of its commit, and else an abort.
    pub(super) async fn conclude(
        &mut self,
        number: u64,
        began: Duration,
        committed: bool,
        done: Result<(), TransactionError>,
    ) -> Result<(), Over> {
        let name = self.writer.session.clone();
        match &done {
            Ok(()) if committed => {
                self.me.host().trace(format_args!("{name} has committed transaction {number}"));
                let mut ledger = self.shared.ledger.borrow_mut();
                ledger.committed(self.id, number);
                ledger.counts.client_committed += 1;
                return Ok(());
            }
            Ok(()) => {}
            Err(error) => {
                self.me.host().trace(format_args!("{name}, transaction {number}: {error}"));
                self.check_excuse(error, began);
                if error.remedy == Remedy::Fatal {
                    return Err(Over::Fatal);
                }
            }
        }
        let aborted = match self.writer.producer.abort_transaction() {
            Ok(request) => self.writer.answer(&self.me, request).await,
            Err(error) => Err(fatal(&error)),
        };
        match aborted {
            Ok(()) => {
                self.me.host().trace(format_args!("{name} has aborted transaction {number}"));
                self.shared.ledger.borrow_mut().aborted(self.id, number);
                done.map_err(|_| Over::Aborted)
            }
            Err(error) => {
                self.check_excuse(&error, began);
                Err(Over::Fatal)
            }
        }
    }

    pub(super) fn begin_transaction(&mut self) -> Result<(), TransactionError> {
        self.writer.producer.begin_transaction().map_err(|error| fatal(&error))
    }

    async fn fill(&mut self, number: u64, commit: bool) -> Result<(), TransactionError> {
        self.begin_transaction()?;
        for _ in 0..self.me.between(1, 8) {
            let partition = self.shared.any_source(&self.me);
            self.write(number, partition, None)?;
            if self.me.chance(80_000) {
                // Now and then longer than the transaction may take.
                self.me.sleep_ms(10, 4_000).await;
            }
        }
        if self.me.chance(500_000) {
            self.shared.ledger.borrow_mut().carries_offset(self.id, number);
            let (topic, partition) = self.shared.partitions[0];
            let offsets = vec![offset(topic, partition, number as i64 + 1)];
            let nobody = GroupMetadata {
                group_id: group_of(self.id),
                generation_id: -1,
                member_id: String::new(),
                group_instance_id: None,
            };
            self.carry(offsets, nobody).await?;
        }
        match commit {
            true => self.commit(number).await,
            false => Ok(()),
        }
    }

    /// Produces a record as part of a transaction.
    pub(super) fn write(
        &mut self,
        number: u64,
        partition: Partition,
        source: Option<&RecordId>,
    ) -> Result<(), TransactionError> {
        let written = self.writer.produce_to(&self.me, &self.shared, partition, source);
        let given = written.map_err(|error| abortable(&error))?;
        self.shared.ledger.borrow_mut().writes(self.id, number, partition, given.id.number);
        Ok(())
    }

    /// Sends offsets to the transaction.
    pub(super) async fn carry(
        &mut self,
        offsets: Vec<TransactionOffset>,
        group: GroupMetadata,
    ) -> Result<(), TransactionError> {
        self.is_member |= group.generation_id >= 0;
        let sent = self.writer.producer.send_offsets(offsets, group);
        let request = sent.map_err(|error| abortable(&error))?;
        // A commit need not wait for it.
        match self.me.chance(500_000) {
            true => self.writer.answer(&self.me, request).await,
            false => Ok(()),
        }
    }

    pub(super) async fn commit(&mut self, number: u64) -> Result<(), TransactionError> {
        let request = self.writer.producer.commit_transaction().map_err(|e| abortable(&e))?;
        self.shared.ledger.borrow_mut().committing(self.id, number);
        self.writer.answer(&self.me, request).await
    }

    /// Time as the coordinator may count it: over a restart of its own by its wall clock.
    pub(super) fn now_there(&self) -> Duration {
        self.me.now() + self.me.host().set_forward(self.shared.broker)
    }

    /// A transaction does not fail without a reason, and each reason has its errors: whom someone
    /// else puts out, or the coordinator because it took too long, is fenced; a member whom a
    /// rebalance put out commits no offsets; a power loss may take what was known of the producer.
    /// A message of an earlier attempt that comes late is none: its epoch is an older one.
    fn check_excuse(&self, error: &TransactionError, began: Duration) {
        let told = error.error.code;
        let is = |codes: &[i16]| codes.iter().any(|code| i32::from(*code) == told);
        let fenced = is(&[PRODUCER_FENCED, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE]);
        let put_out = is(&[ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS]);
        let failed_before = told == code::STATE;
        let late = self.now_there() - began >= TIMEOUT;
        let excused = self.shared.ledger.borrow().may_be_lost(self.era)
            || (self.has_rival || late) && (fenced || failed_before || told == code::FATAL)
            || self.is_member && (put_out || failed_before)
            || late && told == code::MESSAGE_TIMED_OUT;
        if !excused {
            let name = &self.writer.session;
            self.me.host().violation(format!("{name} fails without a reason: {error}"));
        }
    }
}

/// A position to send to a transaction.
pub(super) fn offset(topic: &str, partition: i32, offset: i64) -> TransactionOffset {
    let partition = TopicPartition::new(topic, partition);
    TransactionOffset { partition, offset, leader_epoch: None, metadata: None }
}

/// The transaction has failed before the call: the abort tells whether for good.
fn abortable(error: &dyn std::error::Error) -> TransactionError {
    let error = KafkaError::with(code::STATE, Some(&error.to_string()));
    TransactionError { error, remedy: Remedy::Abort }
}

fn fatal(error: &dyn std::error::Error) -> TransactionError {
    let error = KafkaError::with(code::FATAL, Some(&error.to_string()));
    TransactionError { error, remedy: Remedy::Fatal }
}
