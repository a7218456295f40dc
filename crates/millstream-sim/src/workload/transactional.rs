//! A transactional producer (KIP-98), by either version of the protocol (KIP-890): records to
//! several partitions and an offset, then a commit or an abort.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, GroupId,
    InitProducerIdRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::Request;
use millstream_protocol::{Compression, RecordBatchBuilder};

use super::idempotent::{fill, produce, trace_acked};
use super::{Shared, admin, code};
use crate::actor::Me;
use crate::ledger::{Partition, RecordId};
use crate::link::{Link, text};
use crate::nemesis::Mood;

/// `transaction.timeout.ms`.
const TIMEOUT_MS: i32 = 9_000;

/// How a transactional producer is.
#[derive(Clone, Copy)]
pub(crate) struct Nature {
    pub(crate) id: &'static str,
    pub(crate) newer: bool,
    pub(crate) has_rival: bool,
}

/// The session has come to its end: fenced, or its transaction was aborted for it.
struct Over(i16);

/// A producer from its InitProducerId on.
struct Session {
    me: Me,
    shared: Shared,
    nature: Nature,
    name: String,
    link: Link,
    producer_id: i64,
    epoch: i16,
    /// Per partition: the next number of a record, and the next sequence number of this epoch.
    numbers: BTreeMap<Partition, u64>,
    sequences: BTreeMap<Partition, i32>,
}

/// The group that the transactions of an id commit offsets of.
pub(crate) fn group_of(id: &str) -> String {
    format!("group-{id}")
}

/// Runs transactions until the run is closing.
pub(crate) async fn run(me: Me, shared: Shared, nature: Nature) {
    if !admin::ready(&me, &shared).await {
        return;
    }
    let session = async |name| {
        let era = shared.era();
        let mut session = match Session::begin(&me, &shared, nature, name).await {
            Ok(session) => session,
            Err(Over(code)) => {
                me.host().violation(format!("{} is refused: code {code}", nature.id));
                return;
            }
        };
        loop {
            if shared.is_closing() {
                return;
            }
            let begins = me.now();
            if let Err(Over(code)) = session.transaction().await {
                me.host().trace(format_args!("{} is over: code {code}", session.name));
                session.check_excuse(code, era, begins);
                break;
            }
            me.sleep_ms(1, 500).await;
        }
        if nature.has_rival {
            me.sleep_ms(200, 5_000).await;
        }
    };
    shared.sessions(&me, session).await;
}

impl Session {
    async fn begin(me: &Me, shared: &Shared, nature: Nature, name: String) -> Result<Self, Over> {
        let link = Link::reopen(me, shared.broker).await;
        let mut session = Self {
            me: me.clone(),
            shared: shared.clone(),
            nature,
            name,
            link,
            producer_id: -1,
            epoch: -1,
            numbers: BTreeMap::new(),
            sequences: BTreeMap::new(),
        };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(session.transactional_id()))
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let response = session.insist(4, &request, |response| response.error_code).await?;
        session.producer_id = response.producer_id.0;
        session.epoch = response.producer_epoch;
        let (name, id, epoch) = (&session.name, session.producer_id, session.epoch);
        me.host().trace(format_args!("{name} is producer {id}, epoch {epoch}"));
        Ok(session)
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(self.nature.id))
    }

    /// Asks until there is an answer that is no invitation to ask again.
    async fn insist<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Over> {
        loop {
            match self.link.ask(version, request).await {
                Ok(response) => match code_of(&response) {
                    0 => return Ok(response),
                    code if code::is_retriable(code) => {}
                    code => return Err(Over(code)),
                },
                Err(_) => self.link = Link::reopen(&self.me, self.shared.broker).await,
            }
            self.me.sleep_ms(10, 150).await;
        }
    }

    async fn transaction(&mut self) -> Result<(), Over> {
        let id = self.nature.id;
        let number = self.shared.ledger.borrow_mut().begin(id, &self.name);
        self.me.host().trace(format_args!("{} begins transaction {number}", self.name));
        let mut added: Vec<Partition> = Vec::new();
        for _ in 0..self.me.between(1, 4) {
            let partition = self.shared.any_source(&self.me);
            if !self.nature.newer && !added.contains(&partition) {
                self.add(partition).await?;
                added.push(partition);
            }
            self.write(number, partition).await?;
            if self.me.chance(100_000) {
                // Now and then longer than the transaction may take.
                self.me.sleep_ms(10, 4_000).await;
            }
        }
        if self.me.chance(500_000) {
            self.carry(number).await?;
        }
        let commit = self.me.chance(700_000);
        if commit {
            self.shared.ledger.borrow_mut().committing(id, number);
        }
        self.end(commit).await?;
        self.me.host().trace(format_args!(
            "{} has {} transaction {number}",
            self.name,
            if commit { "committed" } else { "aborted" }
        ));
        if commit {
            self.shared.ledger.borrow_mut().committed(id, number);
        }
        Ok(())
    }

    async fn add(&mut self, partition: Partition) -> Result<(), Over> {
        let row = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(partition.0)))
            .with_partitions(vec![partition.1]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![row]);
        self.insist(3, &request, |response| {
            response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        })
        .await?;
        Ok(())
    }

    async fn write(&mut self, number: u64, partition: Partition) -> Result<(), Over> {
        let count = self.me.between(1, 3);
        let next = self.numbers.entry(partition).or_default();
        let first = RecordId { session: self.name.clone(), number: *next };
        *next += count;
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            for step in 0..count {
                ledger.writes(self.nature.id, number, partition, first.number + step);
            }
        }
        let sequence = *self.sequences.entry(partition).or_default();
        let builder = RecordBatchBuilder::new(Compression::None)
            .producer(self.producer_id, self.epoch, sequence)
            .transactional();
        let compacted = self.shared.is_compacted(partition);
        let records = fill(&self.me, builder, compacted, &first, count);
        let request =
            produce(partition, records).with_transactional_id(Some(self.transactional_id()));
        let version = if self.nature.newer { 12 } else { 9 };
        // The era of the answer is that of the connection it came by, which may not be the first.
        let (response, era) = loop {
            let era = self.shared.era();
            let asked = self.link.ask::<ProduceRequest>(version, &request).await;
            match asked {
                Ok(response) => match response.responses[0].partition_responses[0].error_code {
                    0 => break (response, era),
                    code if code::is_retriable(code) => {}
                    code => return Err(Over(code)),
                },
                Err(_) => self.link = Link::reopen(&self.me, self.shared.broker).await,
            }
            self.me.sleep_ms(10, 150).await;
        };
        *self.sequences.entry(partition).or_default() += count as i32;
        let offset = response.responses[0].partition_responses[0].base_offset;
        trace_acked(&self.me, partition, &first, count, offset);
        self.shared.ledger.borrow_mut().acked(partition, &first, count, offset, era);
        Ok(())
    }

    /// Commits the transaction's number as an offset, as part of it.
    async fn carry(&mut self, number: u64) -> Result<(), Over> {
        let group = GroupId(text(group_of(self.nature.id)));
        let partition = self.shared.partitions[0];
        if !self.nature.newer {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.transactional_id())
                .with_producer_id(ProducerId(self.producer_id))
                .with_producer_epoch(self.epoch)
                .with_group_id(group.clone());
            self.insist(3, &request, |response| response.error_code).await?;
        }
        let row = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(partition.1)
            .with_committed_offset(number as i64 + 1);
        let row = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text(partition.0)))
            .with_partitions(vec![row]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_group_id(group)
            .with_generation_id(-1)
            .with_topics(vec![row]);
        self.shared.ledger.borrow_mut().carries_offset(self.nature.id, number);
        let version = if self.nature.newer { 5 } else { 3 };
        self.insist(version, &request, |response| response.topics[0].partitions[0].error_code)
            .await?;
        Ok(())
    }

    async fn end(&mut self, commit: bool) -> Result<(), Over> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let version = if self.nature.newer { 5 } else { 3 };
        let response = self.insist(version, &request, |response| response.error_code).await?;
        if self.nature.newer {
            self.producer_id = response.producer_id.0;
            self.epoch = response.producer_epoch;
            self.sequences.clear();
        }
        Ok(())
    }

    /// A session does not end without a reason: someone else has its id, a message of an earlier
    /// attempt may still be under way, the transaction took too long, or a power loss took some of
    /// it.
    fn check_excuse(&self, code: i16, era: u32, began: Duration) {
        let known = [
            code::OUT_OF_ORDER_SEQUENCE_NUMBER,
            code::INVALID_PRODUCER_EPOCH,
            code::INVALID_TXN_STATE,
            code::INVALID_PRODUCER_ID_MAPPING,
            code::UNKNOWN_PRODUCER_ID,
            code::PRODUCER_FENCED,
            code::TRANSACTION_ABORTABLE,
        ];
        let late = self.me.now() - began >= Duration::from_millis(TIMEOUT_MS as u64 / 2);
        let confusing = matches!(self.shared.mood, Mood::Network | Mood::Time | Mood::All);
        let excused = self.nature.has_rival
            || late
            || confusing
            || self.me.host().life() > 1
            || self.shared.ledger.borrow().may_be_lost(era);
        if !excused || !known.contains(&code) {
            let name = &self.name;
            self.me.host().violation(format!("{name} is put out without a reason: code {code}"));
        }
    }
}
