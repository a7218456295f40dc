//! Transactions: which are open, who writes, ending what hangs (KIP-664, KIP-588).

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, InitProducerIdRequest, InitProducerIdResponse,
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use millstream_types::{Offset, Timestamp, TopicPartition};

use super::Admin;
use super::answers::{Found, by_topic, checked, partition, text, topic_name};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use super::topics::owned;
use crate::coordinators::CoordinatorKey;
use crate::error::{Error, KafkaError, code};

/// A producer that a partition remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// Sequence number of its last record.
    pub last_sequence: i32,
    /// Timestamp of its last batch.
    pub last_timestamp: Timestamp,
    /// Epoch of the coordinator that ended its last transaction here; `None` before the first.
    pub coordinator_epoch: Option<i32>,
    /// First offset of its open transaction, if there is one.
    pub open_since: Option<Offset>,
}

/// A transactional id in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    /// The id.
    pub transactional_id: String,
    /// The producer that has it now.
    pub producer_id: i64,
    /// The state as Kafka names it: `Ongoing`, `CompleteCommit`, …
    pub state: String,
}

/// A transactional id with its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The id.
    pub transactional_id: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// The state as Kafka names it: `Ongoing`, `CompleteCommit`, …
    pub state: String,
    /// The producer that has it now.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// `transaction.timeout.ms` of the producer, in milliseconds.
    pub timeout_ms: i32,
    /// When the transaction began; `None` if none is open.
    pub started: Option<Timestamp>,
    /// The partitions in the open transaction, sorted.
    pub partitions: Vec<TopicPartition>,
}

/// A transaction that hangs in a partition, as [`Admin::describe_producers`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The partition.
    pub partition: TopicPartition,
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The coordinator's epoch; 0 if the partition does not know one.
    pub coordinator_epoch: i32,
}

/// A transactional id that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencedProducer {
    /// The producer id that has it from here on.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
}

fn coordinator(id: &str) -> Route {
    Route::Coordinator(CoordinatorKey::Transaction(id.to_owned()))
}

struct DescribeProducers;

impl Operation for DescribeProducers {
    type Request = DescribeProducersRequest;
    type Item = TopicPartition;
    type Answer = Vec<ActiveProducer>;
    const VERSIONS: (i16, i16) = (0, 0);

    fn route(&self, partition: &TopicPartition) -> Route {
        Route::Leader(partition.clone())
    }

    fn action(&self, partition: &TopicPartition) -> String {
        format!("describe the producers of {partition}")
    }

    fn request(&self, partitions: &[&TopicPartition], _: i16, _: i32) -> DescribeProducersRequest {
        let partitions = partitions.iter().map(|partition| (*partition, partition.partition));
        let topics = by_topic(partitions).into_iter().map(|(name, indexes)| {
            TopicRequest::default().with_name(name).with_partition_indexes(indexes)
        });
        DescribeProducersRequest::default().with_topics(topics.collect())
    }

    fn throttle_ms(response: &DescribeProducersResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        partitions: &[&TopicPartition],
        response: DescribeProducersResponse,
        _: Reply,
    ) -> Answers<Vec<ActiveProducer>> {
        let mut found = BTreeMap::new();
        for topic in response.topics {
            for answer in topic.partitions {
                let producers = answer.active_producers.into_iter().map(|producer| {
                    let open = producer.current_txn_start_offset;
                    ActiveProducer {
                        producer_id: producer.producer_id.0,
                        producer_epoch: producer.producer_epoch,
                        last_sequence: producer.last_sequence,
                        last_timestamp: producer.last_timestamp,
                        coordinator_epoch: (producer.coordinator_epoch >= 0)
                            .then_some(producer.coordinator_epoch),
                        open_since: (open >= 0).then_some(open),
                    }
                });
                let producers = producers.collect();
                let text = answer.error_message.as_deref();
                found.insert(
                    partition(&topic.name, answer.partition_index),
                    checked(answer.error_code, text, producers),
                );
            }
        }
        let found: Found<_, _> = found.into_iter().collect();
        Ok(found.in_order(partitions.iter().map(|partition| (*partition).clone())))
    }
}

struct ListTransactions;

impl Operation for ListTransactions {
    type Request = ListTransactionsRequest;
    type Item = i32;
    type Answer = Vec<TransactionListing>;
    const VERSIONS: (i16, i16) = (0, 1);

    fn route(&self, broker: &i32) -> Route {
        Route::Node(*broker)
    }

    fn action(&self, broker: &i32) -> String {
        format!("list transactions of broker {broker}")
    }

    fn request(&self, _: &[&i32], _: i16, _: i32) -> ListTransactionsRequest {
        ListTransactionsRequest::default()
    }

    fn throttle_ms(response: &ListTransactionsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        brokers: &[&i32],
        response: ListTransactionsResponse,
        _: Reply,
    ) -> Answers<Vec<TransactionListing>> {
        let listed: Vec<TransactionListing> = response
            .transaction_states
            .into_iter()
            .map(|transaction| TransactionListing {
                transactional_id: transaction.transactional_id.to_string(),
                producer_id: transaction.producer_id.0,
                state: transaction.transaction_state.to_string(),
            })
            .collect();
        checked(response.error_code, None, listed)
            .map(|listed| brokers.iter().map(|_| Ok(listed.clone())).collect())
    }
}

struct DescribeTransactions;

impl Operation for DescribeTransactions {
    type Request = DescribeTransactionsRequest;
    type Item = String;
    type Answer = TransactionDescription;
    const VERSIONS: (i16, i16) = (0, 0);

    fn route(&self, id: &String) -> Route {
        coordinator(id)
    }

    fn action(&self, id: &String) -> String {
        format!("describe the transaction of {id:?}")
    }

    fn request(&self, ids: &[&String], _: i16, _: i32) -> DescribeTransactionsRequest {
        let ids = ids.iter().map(|id| TransactionalId(text(id)));
        DescribeTransactionsRequest::default().with_transactional_ids(ids.collect())
    }

    fn throttle_ms(response: &DescribeTransactionsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        ids: &[&String],
        response: DescribeTransactionsResponse,
        reply: Reply,
    ) -> Answers<TransactionDescription> {
        let found: Found<String, _> = response
            .transaction_states
            .into_iter()
            .map(|state| {
                let partitions = state.topics.iter().flat_map(|topic| {
                    topic.partitions.iter().map(|index| partition(&topic.topic, *index))
                });
                let mut partitions: Vec<TopicPartition> = partitions.collect();
                partitions.sort();
                let started = state.transaction_start_time_ms;
                let description = TransactionDescription {
                    transactional_id: state.transactional_id.to_string(),
                    coordinator: reply.node,
                    state: state.transaction_state.to_string(),
                    producer_id: state.producer_id.0,
                    producer_epoch: state.producer_epoch,
                    timeout_ms: state.transaction_timeout_ms,
                    started: (started >= 0).then_some(started),
                    partitions,
                };
                let id = description.transactional_id.clone();
                (id, checked(state.error_code, None, description))
            })
            .collect();
        Ok(found.in_order(ids.iter().map(|id| (*id).clone())))
    }
}

struct AbortTransaction;

impl Operation for AbortTransaction {
    type Request = WriteTxnMarkersRequest;
    type Item = OpenTransaction;
    type Answer = ();
    const VERSIONS: (i16, i16) = (1, 1);
    const MANY: bool = false;

    fn route(&self, open: &OpenTransaction) -> Route {
        Route::Leader(open.partition.clone())
    }

    fn action(&self, open: &OpenTransaction) -> String {
        format!("abort the transaction of producer {} in {}", open.producer_id, open.partition)
    }

    fn request(&self, items: &[&OpenTransaction], _: i16, _: i32) -> WriteTxnMarkersRequest {
        let open = items[0];
        let topic = WritableTxnMarkerTopic::default()
            .with_name(topic_name(&open.partition.topic))
            .with_partition_indexes(vec![open.partition.partition]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(open.producer_id))
            .with_producer_epoch(open.producer_epoch)
            .with_coordinator_epoch(open.coordinator_epoch)
            .with_transaction_result(false)
            .with_topics(vec![topic]);
        WriteTxnMarkersRequest::default().with_markers(vec![marker])
    }

    fn throttle_ms(_: &WriteTxnMarkersResponse) -> i32 {
        // Brokers are not throttled, and it is theirs.
        0
    }

    fn answers(
        &self,
        items: &[&OpenTransaction],
        response: WriteTxnMarkersResponse,
        _: Reply,
    ) -> Answers<()> {
        let open = items[0];
        let code = response
            .markers
            .iter()
            .filter(|marker| marker.producer_id.0 == open.producer_id)
            .flat_map(|marker| &marker.topics)
            .filter(|topic| topic.name.as_str() == &*open.partition.topic)
            .flat_map(|topic| &topic.partitions)
            .find(|answer| answer.partition_index == open.partition.partition)
            .map(|answer| answer.error_code);
        match code {
            Some(code) => Ok(vec![checked(code, None, ())]),
            None => Err(KafkaError::of(code::BAD_MESSAGE)),
        }
    }
}

struct FenceProducer;

impl Operation for FenceProducer {
    type Request = InitProducerIdRequest;
    type Item = String;
    type Answer = FencedProducer;
    const VERSIONS: (i16, i16) = (0, 5);
    const MANY: bool = false;

    fn route(&self, id: &String) -> Route {
        coordinator(id)
    }

    fn action(&self, id: &String) -> String {
        format!("fence the producers of {id:?}")
    }

    fn request(&self, ids: &[&String], version: i16, limit_ms: i32) -> InitProducerIdRequest {
        // The time-out becomes that of the id's next transaction, which no producer will begin
        // with this epoch. It must not be too short: aborting an open one is given as long.
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(ids[0]))))
            .with_transaction_timeout_ms(limit_ms.max(1));
        if version >= 3 {
            request.with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
        } else {
            request
        }
    }

    fn throttle_ms(response: &InitProducerIdResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        _: &[&String],
        response: InitProducerIdResponse,
        _: Reply,
    ) -> Answers<FencedProducer> {
        let fenced = FencedProducer {
            producer_id: response.producer_id.0,
            producer_epoch: response.producer_epoch,
        };
        Ok(vec![checked(response.error_code, None, fenced)])
    }
}

impl Admin {
    /// The producers that each partition remembers, with their open transactions.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_producers(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Result<Vec<ActiveProducer>, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DescribeProducers, partitions.to_vec(), deadline)
    }

    /// All transactional ids of all brokers, sorted.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first broker that failed.
    pub fn list_transactions(
        &mut self,
        timeout: Duration,
    ) -> Result<Vec<TransactionListing>, Error> {
        let deadline = self.within(timeout);
        let brokers = self.broker_ids(deadline)?;
        let mut all = BTreeMap::new();
        for listed in self.call(ListTransactions, brokers, deadline)? {
            all.extend(listed?.into_iter().map(|one| (one.transactional_id.clone(), one)));
        }
        Ok(all.into_values().collect())
    }

    /// The transactions of these transactional ids; one that nobody uses is code 105,
    /// `TRANSACTIONAL_ID_NOT_FOUND`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_transactions(
        &mut self,
        transactional_ids: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<TransactionDescription, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DescribeTransactions, owned(transactional_ids), deadline)
    }

    /// Aborts a transaction that hangs in a partition because its coordinator has forgotten it.
    /// Needs the right of a broker (`ClusterAction`, or `Alter` on the cluster). Done to one that
    /// does not hang, it breaks its atomicity.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn abort_transaction(
        &mut self,
        open: &OpenTransaction,
        timeout: Duration,
    ) -> Result<(), Error> {
        let deadline = self.within(timeout);
        self.call_one(AbortTransaction, open.clone(), deadline)
    }

    /// Takes these transactional ids over: an open transaction is aborted, and whoever used the id
    /// is fenced.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn fence_producers(
        &mut self,
        transactional_ids: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<FencedProducer, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(FenceProducer, owned(transactional_ids), deadline)
    }
}
