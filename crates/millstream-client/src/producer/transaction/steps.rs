//! The requests of a transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, GroupId,
    InitProducerIdRequest, ProducerId as WireId, TopicName, TransactionalId,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::{Phase, Stage, Step, Transaction};
use crate::coordinators::CoordinatorKey;
use crate::network::{Line, NodeId};
use crate::producer::batch::ProducerId;
use crate::producer::machine::{ProducerCore, ProducerTag};
use crate::tag::Tag;
use crate::time::Now;
use crate::wire::Checked;

/// The feature that KIP-890 is switched on by.
const TRANSACTION_VERSION: &str = "transaction.version";

impl Transaction {
    /// What the coordinator is to be asked next. `idle`: nothing of the transaction is on its way
    /// to a partition.
    fn next_step(&self, idle: bool) -> Option<Step> {
        match self.stage {
            Stage::Starting | Stage::Renewing => Some(Step::Init),
            Stage::Open | Stage::Committing if !self.pending.is_empty() => {
                Some(Step::AddPartitions)
            }
            Stage::Open | Stage::Committing if !self.offsets.is_empty() => {
                let announced = self.v2 || self.offsets.front().is_some_and(|o| o.announced);
                Some(if announced { Step::CommitOffsets } else { Step::AddOffsets })
            }
            Stage::Committing if idle => Some(Step::Commit),
            Stage::Aborting if idle => Some(Step::Abort),
            _ => None,
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl ProducerCore {
    /// Asks the coordinator for the next step of the transaction.
    pub(in crate::producer) fn advance_transaction(&mut self, now: Now) {
        let idle = self.records == 0 && self.requests.is_empty();
        let Some(transaction) = &mut self.transaction else { return };
        if transaction.busy || transaction.retry_at > now.mono || self.fatal.is_some() {
            return;
        }
        let Some(step) = transaction.next_step(idle) else { return };
        // A transaction that nobody but us knows of needs no end.
        if matches!(step, Step::Commit | Step::Abort) && !transaction.started {
            self.ended(now);
            return;
        }
        let key = match (step, transaction.offsets.front()) {
            (Step::CommitOffsets, Some(offsets)) => {
                CoordinatorKey::Group(offsets.group.group_id.clone())
            }
            _ => transaction.key.clone(),
        };
        let Some(node) = self.base.coordinator(&key, Line::Coordinator, now) else {
            if let Some(error) = self.base.coordinators.take_refusal(&key) {
                self.transaction_refused(step, error, now);
            }
            return;
        };
        self.ask(step, node, now);
    }

    fn ask(&mut self, step: Step, node: NodeId, now: Now) {
        let Some(transaction) = &mut self.transaction else { return };
        let net = &mut self.base.net;
        if step == Step::Init {
            transaction.v2 = net.feature(node, TRANSACTION_VERSION) >= 2;
        }
        let v2 = transaction.v2;
        let id = TransactionalId(text(&transaction.id));
        let current = self.ids.current.unwrap_or(ProducerId { id: -1, epoch: -1 });
        let (producer, epoch) = (WireId(current.id), current.epoch);
        let timeout = self.base.settings.request_timeout;
        let mut send = Sender { net, node, timeout, step, now };
        let asked = match step {
            Step::Init => send.request(
                |version| {
                    let ms = i32::try_from(self.settings.transaction_timeout.as_millis());
                    let request = InitProducerIdRequest::default()
                        .with_transactional_id(Some(id.clone()))
                        .with_transaction_timeout_ms(ms.unwrap_or(i32::MAX));
                    // Without them the coordinator raises the epoch as well, only without noticing
                    // that someone else has done so.
                    if version < 3 {
                        return request;
                    }
                    request.with_producer_id(producer).with_producer_epoch(epoch)
                },
                5,
            ),
            Step::AddPartitions => {
                transaction.started = true;
                transaction.announcing = std::mem::take(&mut transaction.pending);
                let mut topics: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
                for (topic, partition) in &transaction.announcing {
                    topics.entry(*topic).or_default().push(*partition as i32);
                }
                let names = &self.topics;
                let topics = topics.into_iter().map(|(topic, partitions)| {
                    AddPartitionsToTxnTopic::default()
                        .with_name(TopicName(text(&names[topic as usize].name)))
                        .with_partitions(partitions)
                });
                let request = AddPartitionsToTxnRequest::default()
                    .with_v3_and_below_transactional_id(id)
                    .with_v3_and_below_producer_id(producer)
                    .with_v3_and_below_producer_epoch(epoch)
                    .with_v3_and_below_topics(topics.collect());
                // From version 4 on it is a request between brokers.
                let asked = send.request(|_| request.clone(), 3);
                if !asked {
                    transaction.pending.append(&mut transaction.announcing);
                }
                asked
            }
            Step::AddOffsets => {
                transaction.started = true;
                let Some(offsets) = transaction.offsets.front() else { return };
                let request = AddOffsetsToTxnRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_group_id(GroupId(text(&offsets.group.group_id)));
                send.request(|_| request.clone(), 4)
            }
            Step::CommitOffsets => {
                transaction.started = true;
                let Some(offsets) = transaction.offsets.front() else { return };
                let request = TxnOffsetCommitRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_group_id(GroupId(text(&offsets.group.group_id)))
                    .with_topics(offset_topics(offsets));
                let group = &offsets.group;
                let build = |version| {
                    let request = request.clone();
                    // Who it is, is told from KIP-447 on.
                    if version < 3 {
                        return request;
                    }
                    request
                        .with_generation_id(group.generation_id)
                        .with_member_id(text(&group.member_id))
                        .with_group_instance_id(group.group_instance_id.as_deref().map(text))
                };
                send.request(build, if v2 { 5 } else { 4 })
            }
            Step::Commit | Step::Abort => {
                let request = EndTxnRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_committed(step == Step::Commit);
                send.request(|_| request.clone(), if v2 { 5 } else { 4 })
            }
        };
        match asked {
            true => transaction.busy = true,
            // The broker at hand does not take it: perhaps another one will.
            false => transaction.retry_at = now.after(self.base.settings.retry_backoff),
        }
    }

    /// A transaction is over, for the coordinator as well.
    pub(super) fn ended(&mut self, now: Now) {
        let gap = self.topics.iter().flat_map(|topic| &topic.lanes).any(|l| l.is_unresolved());
        let Some(transaction) = &mut self.transaction else { return };
        transaction.clear();
        transaction.backoff.succeeded();
        if transaction.stage == Stage::Aborting && (transaction.renew || gap) {
            transaction.stage = Stage::Renewing;
            self.advance_transaction(now);
            return;
        }
        transaction.renew = false;
        transaction.stage = Stage::Ready;
        self.reports.phase(Phase::Ready);
        if let Some(request) = transaction.request.take() {
            self.done(request, Ok(()));
        }
    }
}

/// Sends one step.
struct Sender<'a> {
    net: &'a mut crate::network::Network,
    node: NodeId,
    timeout: Duration,
    step: Step,
    now: Now,
}

impl Sender<'_> {
    /// Sends a request in the highest version up to `max`, if the node takes any.
    fn request<R: Checked>(&mut self, build: impl Fn(i16) -> R, max: i16) -> bool {
        let Some(version) = self.net.version::<R>(self.node, (0, max)) else { return false };
        let tag = Tag::Producer(ProducerTag::Transaction(self.step));
        self.net.send(self.node, &build(version), version, self.timeout, tag, self.now);
        true
    }
}

fn offset_topics(offsets: &super::Offsets) -> Vec<TxnOffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in &offsets.offsets {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(offset.partition.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
            .with_committed_metadata(Some(text(offset.metadata.as_deref().unwrap_or_default())));
        topics.entry(&offset.partition.topic).or_default().push(partition);
    }
    topics
        .into_iter()
        .map(|(name, partitions)| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(TopicName(text(name)))
                .with_partitions(partitions)
        })
        .collect()
}
