//! The consumer on librdkafka.
//!
//! Two queues. The **event queue** is the group's own: rebalances, commit results, errors, log
//! lines, read with `rd_kafka_queue_poll`. The **data queue** is private: each partition's queue is
//! forwarded to it *before* the partition is assigned, so that no record ever goes to the event
//! queue, and it is read with `rd_kafka_consume_batch_queue` at a time-out of 0 after one of the
//! two has signalled. Reading both kinds from one queue would lose rebalances (a batch call that
//! meets one without a callback drops it) or wait for arrays to fill.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use millstream_types::{Clock, Offset, SystemClock, Timestamp, TopicPartition};

use super::batches::{Drain, Slots};
use super::client::{Common, CommonEvent, Conf, Event, Instance, Queue};
use super::errors::{c_string, check, check_in_time, check_object, failed, kafka_error, text_of};
use super::list::{PartitionList, elements, millis, native_offset, partition_of};
use super::sys;
use super::wake::Signal;
use crate::{
    Consumer, ConsumerConfig, ConsumerEvent, Error, OAuthToken, PartitionStart, RequestId,
    StartOffset, Wake, Watermarks,
};

const ASSIGN_PARTITIONS: i32 = -175;
const REVOKE_PARTITIONS: i32 = -174;

/// Longest single wait, so that `max.poll.interval.ms` is kept whatever the caller asks for.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How long librdkafka's own threads may take to act on a seek.
const SEEK_LIMIT: Duration = Duration::from_secs(2);

/// A rebalance that waits for its answer.
enum Rebalance {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
}

/// A topic of an instance, for reading without a group.
struct Topic(*mut sys::rd_kafka_topic_t);

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the topic is ours.
        unsafe { sys::rd_kafka_topic_destroy(self.0) }
    }
}

pub(super) struct RdConsumer {
    // Dropped in this order: queues and topics before their instance, and that before what its
    // threads signal to.
    data: Queue,
    events: Queue,
    close_queue: Option<Queue>,
    topics: HashMap<Arc<str>, Topic>,
    instance: Instance,
    signal: Arc<Signal>,

    common: Common,
    drain: Drain,
    slots: Slots,
    /// Whether there is a `group.id`.
    grouped: bool,
    /// Whether what is handed out counts as done for the client's own commits.
    auto_store: bool,
    subscribed: bool,
    rebalance: Option<Rebalance>,
    next_request: u64,
    /// Requests under way; the key is the opaque value that librdkafka hands back.
    commits: HashMap<u64, Vec<(TopicPartition, Offset)>>,
    /// Events that calls have caused, to be reported by the next poll.
    ready: Vec<ConsumerEvent>,
    /// Whether records are left where they are for now.
    held: bool,
    closing: bool,
    closed: bool,
}

// SAFETY: librdkafka's objects may be used from any thread; `&mut self` keeps it to one at a time.
unsafe impl Send for RdConsumer {}

impl RdConsumer {
    pub(super) fn new(config: &ConsumerConfig) -> Result<Self, Error> {
        let grouped = config.client.properties.get("group.id").is_some_and(|id| !id.is_empty());
        let events = sys::RD_KAFKA_EVENT_REBALANCE | sys::RD_KAFKA_EVENT_OFFSET_COMMIT;
        let mut properties = config.client.properties.clone();
        let auto_store = grouped
            && properties
                .get("enable.auto.offset.store")
                .is_some_and(|v| v.eq_ignore_ascii_case("true"));
        properties.set("enable.auto.offset.store", "false");
        let conf = Conf::new(&properties, events)?;
        let instance = conf.start(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER)?;
        let rk = instance.as_ptr();
        let signal = Arc::new(Signal::default());
        // SAFETY: the instance is alive; the queues are ours; the signal outlives the instance by
        // the order of fields.
        let (data, events) = unsafe {
            if grouped {
                check(sys::rd_kafka_poll_set_consumer(rk), || "set up the consumer".to_owned())?;
            }
            let events = match grouped {
                true => Queue::from_raw(sys::rd_kafka_queue_get_consumer(rk)),
                false => Queue::from_raw(sys::rd_kafka_queue_get_main(rk)),
            };
            let data = Queue::new(&instance);
            data.signal_to(&signal);
            events.signal_to(&signal);
            check(sys::rd_kafka_set_log_queue(rk, events.as_ptr()), || {
                "set up the log".to_owned()
            })?;
            (data, events)
        };
        Ok(Self {
            data,
            events,
            close_queue: None,
            topics: HashMap::new(),
            common: Common::new(&config.client, &instance),
            instance,
            signal,
            drain: Drain::new(config),
            slots: Slots::default(),
            grouped,
            auto_store,
            subscribed: false,
            rebalance: None,
            next_request: 1,
            commits: HashMap::new(),
            ready: Vec::new(),
            held: false,
            closing: false,
            closed: false,
        })
    }

    /// Everything there is to report now.
    fn collect(&mut self, events: &mut Vec<ConsumerEvent>) {
        events.append(&mut self.ready);
        while let Some(event) = self.events.poll(0) {
            self.event(&event, events);
        }
        if self.closed {
            return;
        }
        // A partition that was stopped a moment before it was started again has lost its forwarding.
        for partition in self.slots.silent() {
            if self.grouped {
                drop(self.forward(partition));
            }
        }
        let first = events.len();
        let came = !self.held && self.drain.run(&self.data, &mut self.slots, events);
        if came && self.common.alive() {
            events.insert(first, ConsumerEvent::BrokersUp);
        }
        if self.auto_store {
            self.store_offsets();
        }
        // SAFETY: the instance is alive.
        let left = self.closing
            && (!self.grouped
                || unsafe { sys::rd_kafka_consumer_closed(self.instance.as_ptr()) } != 0);
        if left {
            self.now_closed();
            events.append(&mut self.ready);
        }
    }

    fn event(&mut self, event: &Event, events: &mut Vec<ConsumerEvent>) {
        match event.kind() {
            sys::RD_KAFKA_EVENT_FETCH => self.strayed(event, events),
            sys::RD_KAFKA_EVENT_REBALANCE => self.rebalanced(event, events),
            sys::RD_KAFKA_EVENT_OFFSET_COMMIT => self.committed_or_not(event, events),
            _ => match self.common.event(event, &self.instance) {
                CommonEvent::Handled => {}
                CommonEvent::BrokersDown(error) => events.push(ConsumerEvent::BrokersDown(error)),
                CommonEvent::BrokersUp => events.push(ConsumerEvent::BrokersUp),
                CommonEvent::Error(error) => events.push(match partition_of_event(event) {
                    Some(partition) => ConsumerEvent::PartitionError(partition, error),
                    None => ConsumerEvent::Error(error),
                }),
                CommonEvent::OAuthTokenNeeded(config) => {
                    events.push(ConsumerEvent::OAuthTokenNeeded { config });
                }
                CommonEvent::Statistics(json) => events.push(ConsumerEvent::Statistics(json)),
            },
        }
    }

    /// Records that were not forwarded, because librdkafka replaced its object of the partition (a
    /// topic was deleted and made again). They are older than what the data queue holds.
    fn strayed(&mut self, event: &Event, events: &mut Vec<ConsumerEvent>) {
        while let Some(message) = event.next_message() {
            self.drain.one(message, &mut self.slots, events);
        }
        self.forward_all();
    }

    fn forward_all(&self) {
        for partition in self.slots.partitions() {
            drop(self.forward(&partition));
        }
    }

    /// Puts positions right that librdkafka has wrong; see [`Slots::take_ahead`].
    fn repair_positions(&mut self) {
        let ahead = self.slots.take_ahead();
        if ahead.is_empty() {
            return;
        }
        let list = PartitionList::with_offsets(&ahead).expect("names that were assigned");
        // SAFETY: instance and list are alive; the error object is ours.
        let repaired = unsafe {
            let rk = self.instance.as_ptr();
            let error = sys::rd_kafka_seek_partitions(rk, list.as_ptr(), millis(SEEK_LIMIT));
            check_object(error, || "go back to the end of partitions".to_owned())
        };
        let failed = list.elements().iter().filter(|element| element.err != 0);
        for element in failed {
            // Refused while the partition is being stopped, when it does not matter any more.
            let error = kafka_error(element.err, None);
            let partition = partition_of(element);
            tracing::debug!(target: "millstream::kafka", "position of {partition}: {error}");
        }
        if let Err(error) = repaired {
            tracing::warn!(target: "millstream::kafka", "{error}");
        }
    }

    /// What `enable.auto.offset.store` asks for, done here because librdkafka's own would store the
    /// wrong positions of [`Slots::take_ahead`].
    fn store_offsets(&mut self) {
        let positions = self.slots.take_unstored();
        if positions.is_empty() {
            return;
        }
        let list = PartitionList::with_offsets(&positions).expect("names that were assigned");
        // SAFETY: instance and list are alive.
        let code = unsafe { sys::rd_kafka_offsets_store(self.instance.as_ptr(), list.as_ptr()) };
        if code != 0 {
            let error = kafka_error(code, None);
            tracing::warn!(target: "millstream::kafka", "store offsets: {error}");
        }
    }

    fn rebalanced(&mut self, event: &Event, events: &mut Vec<ConsumerEvent>) {
        // SAFETY: the event, and with it its list, is alive and unchanged.
        let list = unsafe { elements(sys::rd_kafka_event_topic_partition_list(event.as_ptr())) };
        let partitions: Vec<_> = list.iter().map(partition_of).collect();
        match event.code() {
            ASSIGN_PARTITIONS => {
                self.rebalance = Some(Rebalance::Assign(partitions.clone()));
                events.push(ConsumerEvent::Assigned(partitions));
            }
            REVOKE_PARTITIONS => {
                self.slots.revoke(&partitions);
                self.rebalance = Some(Rebalance::Revoke(partitions.clone()));
                // SAFETY: the instance is alive.
                let lost = unsafe { sys::rd_kafka_assignment_lost(self.instance.as_ptr()) } != 0;
                events.push(match lost {
                    true => ConsumerEvent::Lost(partitions),
                    false => ConsumerEvent::Revoked(partitions),
                });
            }
            _ => {
                // librdkafka waits for an answer here too; no assignment is the only sane one.
                // SAFETY: the instance is alive; null is the empty assignment.
                unsafe { sys::rd_kafka_assign(self.instance.as_ptr(), ptr::null()) };
                self.slots.clear();
                events.push(ConsumerEvent::Error(event.error()));
            }
        }
    }

    fn committed_or_not(&mut self, event: &Event, events: &mut Vec<ConsumerEvent>) {
        // SAFETY: the event, and with it its list, is alive and unchanged.
        let (opaque, list) = unsafe {
            (
                sys::rd_kafka_event_opaque(event.as_ptr()).addr() as u64,
                elements(sys::rd_kafka_event_topic_partition_list(event.as_ptr())),
            )
        };
        let whole = event.code();
        let result = |code: i32| match if code != 0 { code } else { whole } {
            0 => Ok(()),
            code => Err(kafka_error(code, None)),
        };
        let told: Vec<_> =
            list.iter().map(|e| (partition_of(e), e.offset, result(e.err))).collect();
        if told.iter().any(|(_, _, result)| result.is_ok()) && self.common.alive() {
            events.push(ConsumerEvent::BrokersUp);
        }
        let Some(asked) = self.commits.remove(&opaque) else {
            // The client's own commits at intervals; parity row C-14.
            for (partition, offset, result) in told {
                if let Err(error) = result {
                    tracing::warn!(target: "millstream::kafka", "commit of {partition} at {offset}: {error}");
                }
            }
            return;
        };
        let partitions = match told.is_empty() {
            true => asked.into_iter().map(|(tp, offset)| (tp, offset, result(0))).collect(),
            false => told,
        };
        events.push(ConsumerEvent::CommitDone { id: RequestId(opaque), partitions });
    }

    fn now_closed(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.slots.clear();
            self.ready.push(ConsumerEvent::Closed);
        }
    }

    /// Sends a partition's records to the data queue, from before it is assigned.
    fn forward(&self, partition: &TopicPartition) -> Result<(), Error> {
        let topic = c_string(&partition.topic, "topic name")?;
        // SAFETY: the instance is alive; the handle is ours and freed at the end of the block.
        unsafe {
            let queue = sys::rd_kafka_queue_get_partition(
                self.instance.as_ptr(),
                topic.as_ptr(),
                partition.partition,
            );
            if queue.is_null() {
                return Err(failed(format!("read {partition}"), crate::code::UNKNOWN_PARTITION));
            }
            let queue = Queue::from_raw(queue);
            sys::rd_kafka_queue_forward(queue.as_ptr(), self.data.as_ptr());
        }
        Ok(())
    }

    fn pause_some(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        let paused: Vec<_> =
            starts.iter().filter(|s| s.paused).map(|s| s.partition.clone()).collect();
        if paused.is_empty() { Ok(()) } else { self.pause(&paused) }
    }

    /// librdkafka itself takes some calls for partitions that are not assigned, to no effect.
    fn must_have(&self, partitions: &[TopicPartition], action: &str) -> Result<(), Error> {
        match partitions.iter().find(|tp| !self.slots.contains(tp)) {
            Some(tp) => Err(failed(format!("{action} {tp}"), crate::code::UNKNOWN_PARTITION)),
            None => Ok(()),
        }
    }

    fn is_cooperative(&self) -> bool {
        // SAFETY: the instance is alive; the string is static.
        text_of(unsafe { sys::rd_kafka_rebalance_protocol(self.instance.as_ptr()) })
            == "COOPERATIVE"
    }

    /// `assign` without a group: partition by partition, through the interface that asks for none.
    fn assign_alone(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        if starts.iter().any(|start| start.offset == StartOffset::Committed) {
            return Err(Error::Misuse("a consumer without a group has no committed offsets"));
        }
        self.stop_alone();
        for start in starts {
            let tp = &start.partition;
            let topic = self.topic_alone(&tp.topic)?;
            // SAFETY: topic and queue are alive.
            let result = unsafe {
                sys::rd_kafka_consume_start_queue(
                    topic,
                    tp.partition,
                    native_offset(start.offset),
                    self.data.as_ptr(),
                )
            };
            if result != 0 {
                // SAFETY: reads the calling thread's last error.
                let code = unsafe { sys::rd_kafka_last_error() };
                return Err(failed(format!("read {tp}"), code));
            }
            self.slots.add(start);
        }
        self.pause_some(starts)
    }

    fn stop_alone(&mut self) {
        for tp in self.slots.partitions() {
            if let Some(topic) = self.topics.get(&tp.topic) {
                // SAFETY: the topic is alive.
                unsafe { sys::rd_kafka_consume_stop(topic.0, tp.partition) };
            }
        }
        self.slots.clear();
    }

    fn topic_alone(&mut self, name: &Arc<str>) -> Result<*mut sys::rd_kafka_topic_t, Error> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.0);
        }
        let c_name = c_string(name, "topic name")?;
        // SAFETY: the instance is alive, the name is copied, the topic is ours.
        let topic = unsafe {
            sys::rd_kafka_topic_new(self.instance.as_ptr(), c_name.as_ptr(), ptr::null_mut())
        };
        if topic.is_null() {
            // SAFETY: reads the calling thread's last error.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(failed(format!("open topic {name:?}"), code));
        }
        self.topics.insert(Arc::clone(name), Topic(topic));
        Ok(topic)
    }
}

fn partition_of_event(event: &Event) -> Option<TopicPartition> {
    // SAFETY: the event is alive; what it returns is ours to free.
    unsafe {
        let element = sys::rd_kafka_event_topic_partition(event.as_ptr());
        let partition = element.as_ref().map(partition_of);
        if !element.is_null() {
            sys::rd_kafka_topic_partition_destroy(element);
        }
        partition
    }
}

/// One partition of a list failed, or the call as a whole.
fn first_failure(
    code: i32,
    list: &PartitionList,
    after: Duration,
    action: &str,
) -> Result<(), Error> {
    check_in_time(code, after, || action.to_owned())?;
    match list.first_error() {
        Some(error) => Err(Error::Kafka { action: action.to_owned(), error }),
        None => Ok(()),
    }
}

impl Consumer for RdConsumer {
    fn subscribe(&mut self, topics: &[String]) -> Result<(), Error> {
        if !self.grouped {
            return Err(Error::Misuse("to subscribe, a consumer needs a group.id"));
        }
        let mut list = PartitionList::new();
        for topic in topics {
            list.add_named(topic, -1, 0)?;
        }
        // SAFETY: instance and list are alive; the list is copied.
        let code = unsafe { sys::rd_kafka_subscribe(self.instance.as_ptr(), list.as_ptr()) };
        check(code, || format!("subscribe to {}", topics.join(", ")))?;
        self.subscribed = true;
        Ok(())
    }

    fn unsubscribe(&mut self) -> Result<(), Error> {
        // SAFETY: the instance is alive.
        let code = unsafe { sys::rd_kafka_unsubscribe(self.instance.as_ptr()) };
        check(code, || "unsubscribe".to_owned())?;
        self.subscribed = false;
        Ok(())
    }

    fn poll(&mut self, wait: Duration, events: &mut Vec<ConsumerEvent>) {
        let before = events.len();
        self.signal.poll_begins();
        let woken = self.signal.take_woken();
        self.collect(events);
        if events.len() > before || woken || wait.is_zero() || self.closed {
            return;
        }
        self.signal.wait(wait.min(WAIT_MAX));
        self.signal.poll_begins();
        self.collect(events);
    }

    fn hold_records(&mut self, hold: bool) {
        self.held = hold;
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.signal) as Arc<dyn Wake>
    }

    fn ack_assigned(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        let Some(Rebalance::Assign(partitions)) = &self.rebalance else {
            return Err(Error::Misuse("ack_assigned without an open Assigned"));
        };
        let starts: Vec<_> = partitions
            .iter()
            .map(|tp| match starts.iter().find(|start| start.partition == *tp) {
                Some(start) => start.clone(),
                None => PartitionStart::new(tp.clone(), StartOffset::Committed),
            })
            .collect();
        for start in &starts {
            self.forward(&start.partition)?;
        }
        let list = PartitionList::of_starts(&starts)?;
        let action = || "take the assigned partitions".to_owned();
        // SAFETY: instance and list are alive; the list is copied.
        unsafe {
            if self.is_cooperative() {
                let rk = self.instance.as_ptr();
                check_object(sys::rd_kafka_incremental_assign(rk, list.as_ptr()), action)?;
            } else {
                check(sys::rd_kafka_assign(self.instance.as_ptr(), list.as_ptr()), action)?;
                self.slots.clear();
            }
        }
        self.rebalance = None;
        self.repair_positions();
        for start in &starts {
            self.slots.add(start);
        }
        self.pause_some(&starts)
    }

    fn ack_revoked(&mut self) -> Result<(), Error> {
        let Some(Rebalance::Revoke(partitions)) = &self.rebalance else {
            return Err(Error::Misuse("ack_revoked without an open Revoked or Lost"));
        };
        let list = PartitionList::of(partitions)?;
        let action = || "give the revoked partitions back".to_owned();
        // SAFETY: instance and list are alive; the list is copied; null is the empty assignment.
        unsafe {
            let rk = self.instance.as_ptr();
            if self.is_cooperative() {
                check_object(sys::rd_kafka_incremental_unassign(rk, list.as_ptr()), action)?;
                self.slots.remove(partitions);
                self.repair_positions();
            } else {
                check(sys::rd_kafka_assign(rk, ptr::null()), action)?;
                self.slots.clear();
            }
        }
        self.rebalance = None;
        Ok(())
    }

    fn assign(&mut self, starts: &[PartitionStart]) -> Result<(), Error> {
        if self.subscribed {
            return Err(Error::Misuse("assign after subscribe"));
        }
        if !self.grouped {
            return self.assign_alone(starts);
        }
        for start in starts {
            self.forward(&start.partition)?;
        }
        let list = PartitionList::of_starts(starts)?;
        // SAFETY: instance and list are alive; the list is copied.
        let code = unsafe { sys::rd_kafka_assign(self.instance.as_ptr(), list.as_ptr()) };
        check(code, || "take partitions".to_owned())?;
        self.slots.clear();
        for start in starts {
            self.slots.add(start);
        }
        self.pause_some(starts)
    }

    fn is_eager(&self) -> bool {
        !self.is_cooperative()
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.slots.partitions()
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.must_have(partitions, "pause")?;
        let list = PartitionList::of(partitions)?;
        // SAFETY: instance and list are alive.
        let code = unsafe { sys::rd_kafka_pause_partitions(self.instance.as_ptr(), list.as_ptr()) };
        first_failure(code, &list, Duration::ZERO, "pause partitions")?;
        self.slots.pause(partitions, true);
        self.repair_positions();
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.must_have(partitions, "resume")?;
        let list = PartitionList::of(partitions)?;
        // SAFETY: instance and list are alive.
        let code =
            unsafe { sys::rd_kafka_resume_partitions(self.instance.as_ptr(), list.as_ptr()) };
        first_failure(code, &list, Duration::ZERO, "resume partitions")?;
        self.slots.pause(partitions, false);
        Ok(())
    }

    fn seek(&mut self, partition: &TopicPartition, offset: StartOffset) -> Result<(), Error> {
        let action = || format!("seek {partition} to {offset:?}");
        self.must_have(std::slice::from_ref(partition), "seek")?;
        let start = PartitionStart::new(partition.clone(), offset);
        let list = PartitionList::of_starts(&[start])?;
        // With a time limit of 0 a refusal (such as: not started yet) would go unnoticed. It is
        // librdkafka's own thread that is waited for, not a broker.
        // SAFETY: instance and list are alive; the error object is ours.
        unsafe {
            let rk = self.instance.as_ptr();
            let error = sys::rd_kafka_seek_partitions(rk, list.as_ptr(), millis(SEEK_LIMIT));
            check_object(error, action)?;
        }
        first_failure(0, &list, SEEK_LIMIT, &action())?;
        self.slots.sought(partition, offset);
        Ok(())
    }

    fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<RequestId, Error> {
        if !self.grouped {
            return Err(Error::Misuse("to commit, a consumer needs a group.id"));
        }
        let id = self.next_request;
        self.next_request += 1;
        if offsets.is_empty() {
            let id = RequestId(id);
            self.ready.push(ConsumerEvent::CommitDone { id, partitions: Vec::new() });
            self.signal.wake();
            return Ok(id);
        }
        let list = PartitionList::with_offsets(offsets)?;
        // SAFETY: instance, queue and list are alive, the list is copied; the opaque value is a
        // number that only we read.
        let code = unsafe {
            sys::rd_kafka_commit_queue(
                self.instance.as_ptr(),
                list.as_ptr(),
                self.events.as_ptr(),
                ptr::null(),
                ptr::without_provenance_mut::<c_void>(id as usize),
            )
        };
        check(code, || "commit offsets".to_owned())?;
        self.commits.insert(id, offsets.to_vec());
        Ok(RequestId(id))
    }

    fn committed(
        &mut self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        if !self.grouped {
            return Err(Error::Misuse("a consumer without a group has no committed offsets"));
        }
        let list = PartitionList::of(partitions)?;
        // SAFETY: instance and list are alive.
        let code = unsafe {
            sys::rd_kafka_committed(self.instance.as_ptr(), list.as_ptr(), millis(timeout))
        };
        first_failure(code, &list, timeout, "look up committed offsets")?;
        Ok(list.elements().iter().map(|e| (e.offset >= 0).then_some(e.offset)).collect())
    }

    fn watermarks(
        &mut self,
        partition: &TopicPartition,
        timeout: Duration,
    ) -> Result<Watermarks, Error> {
        let topic = c_string(&partition.topic, "topic name")?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the instance and the name are alive.
        let code = unsafe {
            sys::rd_kafka_query_watermark_offsets(
                self.instance.as_ptr(),
                topic.as_ptr(),
                partition.partition,
                &raw mut low,
                &raw mut high,
                millis(timeout),
            )
        };
        check_in_time(code, timeout, || format!("look up start and end of {partition}"))?;
        Ok(Watermarks { low, high })
    }

    fn cached_watermarks(&self, partition: &TopicPartition) -> Option<Watermarks> {
        let topic = c_string(&partition.topic, "topic name").ok()?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: the instance and the name are alive.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.instance.as_ptr(),
                topic.as_ptr(),
                partition.partition,
                &raw mut low,
                &raw mut high,
            )
        };
        // The start is learnt later than the end; until then it is said to be 0.
        (code == 0 && high >= 0).then_some(Watermarks { low: low.max(0), high })
    }

    fn offsets_for_times(
        &mut self,
        times: &[(TopicPartition, Timestamp)],
        timeout: Duration,
    ) -> Result<Vec<Option<Offset>>, Error> {
        let list = PartitionList::with_offsets(times)?;
        // SAFETY: instance and list are alive.
        let code = unsafe {
            sys::rd_kafka_offsets_for_times(self.instance.as_ptr(), list.as_ptr(), millis(timeout))
        };
        first_failure(code, &list, timeout, "look up offsets by time")?;
        Ok(list.elements().iter().map(|e| (e.offset >= 0).then_some(e.offset)).collect())
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.slots.position(partition)
    }

    fn member_id(&self) -> Option<String> {
        // SAFETY: the instance is alive; the string is ours to free.
        unsafe {
            let id = sys::rd_kafka_memberid(self.instance.as_ptr());
            if id.is_null() {
                return None;
            }
            let text = text_of(id);
            sys::rd_kafka_mem_free(self.instance.as_ptr(), id.cast());
            (!text.is_empty()).then_some(text)
        }
    }

    fn probe(&mut self) {
        self.common.probe(&self.instance, &self.events);
    }

    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        self.instance.set_oauth_token(token)
    }

    fn begin_close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        if !self.grouped {
            self.stop_alone();
            return self.now_closed();
        }
        // An assignment that nobody took yet must be answered before the group can be left.
        if matches!(self.rebalance, Some(Rebalance::Assign(_))) {
            self.rebalance = None;
            // SAFETY: the instance is alive; null is the empty assignment.
            unsafe { sys::rd_kafka_assign(self.instance.as_ptr(), ptr::null()) };
        }
        let queue = Queue::new(&self.instance);
        // SAFETY: the signal outlives the instance; the event queue is forwarded to the new one, so
        // that reading it goes on; the error object is ours.
        let begun = unsafe {
            queue.signal_to(&self.signal);
            let error = sys::rd_kafka_consumer_close_queue(self.instance.as_ptr(), queue.as_ptr());
            check_object(error, || "leave the group".to_owned())
        };
        self.close_queue = Some(queue);
        if let Err(error) = begun {
            // Closed already, or failed for good: the group learns by its session timeout.
            tracing::warn!(target: "millstream::kafka", "{error}");
            self.now_closed();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn close(&mut self, timeout: Duration) -> bool {
        let clock = SystemClock;
        let end = clock.monotonic() + timeout;
        self.begin_close();
        let mut events = Vec::new();
        while !self.closed {
            match &self.rebalance {
                Some(Rebalance::Revoke(_)) => {
                    if let Err(error) = self.ack_revoked() {
                        tracing::warn!(target: "millstream::kafka", "{error}");
                        return false;
                    }
                }
                // An assignment that came in on the way out: left unanswered, it would keep the
                // group waiting until the session times out.
                Some(Rebalance::Assign(_)) => {
                    self.rebalance = None;
                    // SAFETY: the instance is alive; null is the empty assignment.
                    unsafe { sys::rd_kafka_assign(self.instance.as_ptr(), ptr::null()) };
                }
                None => {}
            }
            let now = clock.monotonic();
            if now >= end {
                return false;
            }
            // Leaving is not signalled on a queue in every state; look from time to time.
            self.poll((end - now).min(Duration::from_millis(50)), &mut events);
            events.clear();
        }
        true
    }
}
