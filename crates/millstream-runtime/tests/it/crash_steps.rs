//! A crash after each step of a checkpoint (CK-03, CK-08): the next process counts on exactly.
//!
//! A crash is an error that the run cannot get past: nothing is committed behind it, and what a
//! dead process would have left on disk and on Kafka is what is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_kafka::{
    Admin, ClientConfig, ClientFactory, Clients, Consumer, ConsumerConfig, ConsumerEvent,
    DeliveryFailure, Error, FlushId, KafkaError, OAuthToken, PartitionStart, ProduceError,
    ProduceRecord, Producer, ProducerEvent, ReportingProducer, RequestId, StartOffset, TopicHandle,
    Wake, Watermarks,
};
use millstream_state::{
    Backend, BackendStats, Batch, FamilyId, KeyRange, StateError, Storage, StoreId, StoreLayout,
    StoreMark, VisitPair,
};
use millstream_types::{Offset, Timestamp, TopicPartition};

use crate::cluster::{Cluster, Place, check_counts, on_both_brokers};

const RECORDS: i64 = 400;
const KEYS: i64 = 7;

/// Where the process dies, counted over the checkpoints of its life.
#[derive(Clone, Copy, Debug)]
enum Dies {
    /// With the changelog handed to the producer and nothing delivered.
    Delivering,
    /// With everything delivered and no offset committed.
    Committing,
    /// With the offsets committed and the local state not written.
    WritingLocalState,
}

/// Lets that many checkpoints pass first.
struct Fuse {
    dies: Dies,
    left: AtomicU64,
}

impl Fuse {
    /// Whether it is now.
    fn burns(&self, place: fn(&Dies) -> bool) -> bool {
        place(&self.dies)
            && self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_err()
    }
}

fn crash() -> KafkaError {
    KafkaError {
        code: -150,
        name: "_FATAL".into(),
        description: "the process dies here".into(),
        retriable: false,
        fatal: true,
    }
}

on_both_brokers!(counts_are_exact_after_a_crash_at_each_step, state_is_restored_from_the_changelog);

fn counts_are_exact_after_a_crash_at_each_step(place: &Place) {
    for dies in [Dies::Delivering, Dies::Committing, Dies::WritingLocalState] {
        for passed in 0..3 {
            let cluster = Cluster::start(place);
            cluster.feed(0, RECORDS, KEYS);
            let fuse = Arc::new(Fuse { dies, left: AtomicU64::new(passed) });
            let storage =
                Arc::new(DyingStorage { inner: cluster.storage("state"), fuse: fuse.clone() });
            let mut config = cluster.config();
            config.checkpoints.every = 60;
            config.flush_timeout = Duration::from_millis(500);
            let outcome = cluster.run_with(
                config,
                &DyingClients(fuse),
                storage,
                millstream_runtime::StopHandle::new(),
                Duration::from_secs(2),
            );
            outcome.expect_err("the process died");
            // The same machine: local state and changelog together.
            cluster.run(&Clients, cluster.storage("state")).expect("a run to the end");
            check_counts(&cluster.outputs(), RECORDS, KEYS);
            // And another one, from the changelog alone.
            cluster.feed(RECORDS, RECORDS + KEYS, KEYS);
            cluster.run(&Clients, cluster.storage("elsewhere")).expect("a run to the end");
            check_counts(&cluster.outputs(), RECORDS + KEYS, KEYS);
        }
    }
}

/// Local state that is deleted between two runs comes back from the changelog.
fn state_is_restored_from_the_changelog(place: &Place) {
    let cluster = Cluster::start(place);
    for round in 0..3 {
        cluster.feed(round * RECORDS, (round + 1) * RECORDS, KEYS);
        let storage = cluster.storage(&format!("state-{round}"));
        let report = cluster.run(&Clients, storage).expect("a run to the end");
        assert_eq!(report.records as i64, RECORDS);
        check_counts(&cluster.outputs(), (round + 1) * RECORDS, KEYS);
    }
}

struct DyingClients(Arc<Fuse>);

impl ClientFactory for DyingClients {
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>, Error> {
        let inner = Clients.consumer(config)?;
        Ok(Box::new(DyingConsumer { inner, fuse: self.0.clone() }))
    }

    fn producer(&self, config: &ClientConfig) -> Result<Box<dyn Producer>, Error> {
        let inner = Clients.producer(config)?;
        Ok(Box::new(DyingProducer { inner, fuse: self.0.clone(), dead: false }))
    }

    fn reporting_producer(
        &self,
        config: &ClientConfig,
    ) -> Result<Box<dyn ReportingProducer>, Error> {
        Clients.reporting_producer(config)
    }

    fn admin(&self, config: &ClientConfig) -> Result<Box<dyn Admin>, Error> {
        Clients.admin(config)
    }
}

struct DyingConsumer {
    inner: Box<dyn Consumer>,
    fuse: Arc<Fuse>,
}

impl Consumer for DyingConsumer {
    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<RequestId, Error> {
        if self.fuse.burns(|dies| matches!(dies, Dies::Committing)) {
            return Err(Error::Kafka { action: "commit".into(), error: crash() });
        }
        self.inner.commit(offsets)
    }

    fn subscribe(&mut self, topics: &[String]) -> Result<(), Error> {
        self.inner.subscribe(topics)
    }
    fn unsubscribe(&mut self) -> Result<(), Error> {
        self.inner.unsubscribe()
    }
    fn poll(&mut self, wait: Duration, events: &mut Vec<ConsumerEvent>) {
        self.inner.poll(wait, events);
    }
    fn hold_records(&mut self, hold: bool) {
        self.inner.hold_records(hold);
    }
    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
    fn ack_assigned(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        self.inner.ack_assigned(starts)
    }
    fn ack_revoked(&mut self) -> Result<(), Error> {
        self.inner.ack_revoked()
    }
    fn assign(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        self.inner.assign(starts)
    }
    fn is_eager(&self) -> bool {
        self.inner.is_eager()
    }
    fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment()
    }
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.inner.pause(partitions)
    }
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.inner.resume(partitions)
    }
    fn seek(&mut self, partition: &TopicPartition, offset: StartOffset) -> Result<(), Error> {
        self.inner.seek(partition, offset)
    }
    fn committed(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        self.inner.committed(partitions, timeout)
    }
    fn watermarks(
        &mut self,
        partition: &TopicPartition,
        timeout: Duration,
    ) -> Result<Watermarks, Error> {
        self.inner.watermarks(partition, timeout)
    }
    fn cached_watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        self.inner.cached_watermarks(partition)
    }
    fn offsets_for_times(
        &mut self,
        times: &[(TopicPartition, Timestamp)],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        self.inner.offsets_for_times(times, timeout)
    }
    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.inner.position(partition)
    }
    fn member_id(&self) -> Option<String> {
        self.inner.member_id()
    }
    fn probe(&mut self) {
        self.inner.probe();
    }
    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        self.inner.set_oauth_token(token)
    }
    fn begin_close(&mut self) {
        self.inner.begin_close();
    }
    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
    fn close(&mut self, timeout: Duration) -> bool {
        self.inner.close(timeout)
    }
}

/// Once dead, nothing that was handed to it gets anywhere.
struct DyingProducer {
    inner: Box<dyn Producer>,
    fuse: Arc<Fuse>,
    dead: bool,
}

impl Producer for DyingProducer {
    fn begin_flush(&mut self) -> FlushId {
        if self.fuse.burns(|dies| matches!(dies, Dies::Delivering)) {
            self.dead = true;
            self.inner.purge();
        }
        self.inner.begin_flush()
    }
    fn poll(&mut self, events: &mut Vec<ProducerEvent>) {
        self.inner.poll(events);
        if self.dead {
            events.push(ProducerEvent::DeliveryFailed(DeliveryFailure {
                topic: "changelog".into(),
                partition: None,
                count: 1,
                error: crash(),
            }));
        }
    }
    fn topic(&mut self, name: &str) -> Result<TopicHandle, Error> {
        self.inner.topic(name)
    }
    fn produce(&mut self, record: &ProduceRecord<'_>) -> Result<(), ProduceError> {
        self.inner.produce(record)
    }
    fn set_waker(&mut self, waker: Arc<dyn Wake>) {
        self.inner.set_waker(waker);
    }
    fn in_flight(&self) -> u64 {
        self.inner.in_flight()
    }
    fn last_delivered(&self, topic: TopicHandle, partition: i32) -> Option<Offset> {
        self.inner.last_delivered(topic, partition)
    }
    fn purge(&mut self) {
        self.inner.purge();
    }
    fn probe(&mut self) {
        self.inner.probe();
    }
    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        self.inner.set_oauth_token(token)
    }
    fn flush(&mut self, timeout: Duration, events: &mut Vec<ProducerEvent>) -> u64 {
        self.inner.flush(timeout, events)
    }
}

#[derive(Debug)]
struct DyingStorage {
    inner: Arc<dyn Storage>,
    fuse: Arc<Fuse>,
}

impl std::fmt::Debug for Fuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dies.fmt(f)
    }
}

impl Storage for DyingStorage {
    fn open(&self, store: &StoreId, layout: &StoreLayout) -> Result<Arc<dyn Backend>, StateError> {
        let inner = self.inner.open(store, layout)?;
        Ok(Arc::new(DyingBackend { inner, fuse: self.fuse.clone() }))
    }
    fn destroy(&self, store: &StoreId) -> Result<(), StateError> {
        self.inner.destroy(store)
    }
    fn clear(&self) -> Result<(), StateError> {
        self.inner.clear()
    }
}

#[derive(Debug)]
struct DyingBackend {
    inner: Arc<dyn Backend>,
    fuse: Arc<Fuse>,
}

impl Backend for DyingBackend {
    fn write(&self, batch: &Batch, mark: &StoreMark) -> Result<(), StateError> {
        if self.fuse.burns(|dies| matches!(dies, Dies::WritingLocalState)) {
            let detail = crash().to_string();
            return Err(StateError::Backend { action: "writing a checkpoint", detail });
        }
        self.inner.write(batch, mark)
    }
    fn get(&self, family: FamilyId, key: &[u8], out: &mut Vec<u8>) -> Result<bool, StateError> {
        self.inner.get(family, key, out)
    }
    fn scan(
        &self,
        family: FamilyId,
        range: &KeyRange,
        visit: &mut VisitPair<'_>,
    ) -> Result<(), StateError> {
        self.inner.scan(family, range, visit)
    }
    fn mark(&self) -> Result<StoreMark, StateError> {
        self.inner.mark()
    }
    fn rebuild(&self) -> Result<Arc<dyn Backend>, StateError> {
        self.inner.rebuild()
    }
    fn promote(&self) -> Result<(), StateError> {
        self.inner.promote()
    }
    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}
