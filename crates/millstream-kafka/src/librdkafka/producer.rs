//! The producer on librdkafka. How deliveries are counted: [`super::delivery`].

use std::collections::{HashMap, VecDeque};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use millstream_types::{Clock, HeadersView, Offset, SystemClock};

use super::client::{Common, CommonEvent, Conf, Event, Instance, Queue};
use super::delivery::{Deliveries, EPOCHS, STAND_IN, TopicDeliveries, on_queue_event};
use super::errors::{c_string, check, failed, kafka_error};
use super::list::millis;
use super::sys::{self, rd_kafka_vtype_t as vtype};
use crate::{
    ClientConfig, DeliveryFailure, Error, FlushId, KafkaError, OAuthToken, Partition, ProduceError,
    ProduceRecord, Producer, ProducerEvent, TopicHandle, Wake, code,
};

/// How long a flush may hold the producing thread so that librdkafka's threads notice that they
/// shall not linger. Whoever does not notice sends after `linger.ms`.
const FLUSH_NUDGE_MS: c_int = 1;

/// Longest wait between two looks at a flush that a tool waits for.
const FLUSH_LOOK: Duration = Duration::from_millis(100);

struct Topic {
    name: Arc<str>,
    native: *mut sys::rd_kafka_topic_t,
    deliveries: Arc<TopicDeliveries>,
}

/// What the producing thread knows of an epoch's failures.
#[derive(Clone, Copy, Default)]
struct Failures {
    /// Taken from delivery reports.
    seen: u64,
    /// Told by a `FlushDone`.
    told: u64,
}

pub(super) struct RdProducer {
    // Dropped in this order, after `drop` has let go of the topics: what librdkafka's threads
    // count in must outlive the instance.
    events: Queue,
    instance: Instance,
    topics: Vec<Topic>,
    deliveries: Arc<Deliveries>,

    by_name: HashMap<Arc<str>, TopicHandle>,
    common: Common,
    /// The epoch that records are counted in now.
    epoch: usize,
    failures: [Failures; EPOCHS],
    /// Flushes under way, oldest first, with the epoch that each one ends.
    flushes: VecDeque<(FlushId, usize)>,
    next_flush: u64,
    /// Deliveries of epochs that are no longer counted.
    delivered_before: u64,
    /// All deliveries when the brokers went down.
    delivered_when_down: u64,
}

// SAFETY: librdkafka's objects may be used from any thread; `&mut self` keeps it to one at a time,
// and what its own threads touch (`Deliveries`, `TopicDeliveries`) is made of atomics and locks.
unsafe impl Send for RdProducer {}

impl RdProducer {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let deliveries = Arc::new(Deliveries::default());
        deliveries.reset(0);
        let conf = Conf::new(&config.properties, sys::RD_KAFKA_EVENT_DR)?;
        // SAFETY: the deliveries stay in their `Arc` until after the instance.
        let code = unsafe { deliveries.install(conf.as_ptr()) };
        check(code, || "set up the producer".to_owned())?;
        let instance = conf.start(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
        // SAFETY: the instance is alive, the queue is ours, the deliveries as above.
        let events = unsafe {
            let events = Queue::from_raw(sys::rd_kafka_queue_get_main(instance.as_ptr()));
            let opaque = Arc::as_ptr(&deliveries).cast_mut().cast::<c_void>();
            sys::rd_kafka_queue_cb_event_enable(events.as_ptr(), Some(on_queue_event), opaque);
            let code = sys::rd_kafka_set_log_queue(instance.as_ptr(), events.as_ptr());
            check(code, || "set up the log".to_owned())?;
            events
        };
        Ok(Self {
            events,
            topics: Vec::new(),
            deliveries,
            by_name: HashMap::new(),
            common: Common::new(config, &instance),
            instance,
            epoch: 0,
            failures: [Failures::default(); EPOCHS],
            flushes: VecDeque::new(),
            next_flush: 1,
            delivered_before: 0,
            delivered_when_down: 0,
        })
    }

    fn delivered(&self) -> u64 {
        self.delivered_before
            + (0..EPOCHS).map(|epoch| self.deliveries.delivered(epoch)).sum::<u64>()
    }

    /// Counts what comes from now on apart from what a flush waits for, if an epoch is free.
    fn next_epoch(&mut self) {
        let next = (self.epoch + 1) % EPOCHS;
        if self.flushes.iter().any(|&(_, epoch)| epoch == next) {
            return;
        }
        self.delivered_before += self.deliveries.delivered(next);
        self.deliveries.reset(next);
        self.failures[next] = Failures::default();
        self.epoch = next;
    }

    /// Whether every record of the epoch is answered, and every failure reported.
    fn is_done(&self, epoch: usize) -> bool {
        self.deliveries.open(epoch) == 0
            && self.failures[epoch].seen >= self.deliveries.failed(epoch)
    }

    fn finish_flushes(&mut self, events: &mut Vec<ProducerEvent>) {
        while let Some(&(id, epoch)) = self.flushes.front() {
            if !self.is_done(epoch) {
                // The epoch may have gone on since its flush began.
                if epoch == self.epoch {
                    self.deliveries.wake_when_answered(epoch);
                }
                return;
            }
            let failures = &mut self.failures[epoch];
            let failed = failures.seen - failures.told;
            failures.told = failures.seen;
            self.flushes.pop_front();
            events.push(ProducerEvent::FlushDone { id, failed });
        }
    }

    /// Adds the failures of a delivery report to those found in this poll.
    fn delivery_report(&mut self, event: &Event, found: &mut Vec<DeliveryFailure>) {
        while let Some(message) = event.next_message() {
            if message.err == 0 {
                continue;
            }
            self.failures[TopicDeliveries::epoch(message.opaque)].seen += 1;
            let address = TopicDeliveries::address(message.opaque);
            let Some(topic) =
                self.topics.iter().find(|topic| Arc::as_ptr(&topic.deliveries).addr() == address)
            else {
                continue;
            };
            let partition = (message.partition >= 0).then_some(message.partition);
            let same = |failure: &&mut DeliveryFailure| {
                failure.partition == partition
                    && failure.error.code == message.err
                    && *failure.topic == *topic.name
            };
            match found.iter_mut().rev().find(same) {
                Some(failure) => failure.count += 1,
                None => found.push(DeliveryFailure {
                    topic: Arc::clone(&topic.name),
                    partition,
                    count: 1,
                    error: self.error(message.err),
                }),
            }
        }
    }

    fn error(&self, code: c_int) -> KafkaError {
        match code {
            code::FATAL => self.instance.fatal_error().unwrap_or_else(|| kafka_error(code, None)),
            code => kafka_error(code, None),
        }
    }

    /// What to answer for a record that librdkafka did not take.
    #[cold]
    fn refused(&self, record: &ProduceRecord<'_>, code: c_int) -> ProduceError {
        if code == code::QUEUE_FULL {
            return ProduceError::QueueFull;
        }
        ProduceError::Refused {
            topic: Arc::clone(&self.topics[record.topic.0 as usize].name),
            partition: record.partition.named(),
            error: self.error(code),
        }
    }
}

impl Drop for RdProducer {
    fn drop(&mut self) {
        for topic in &self.topics {
            // SAFETY: the topic object is ours and the instance still there.
            unsafe { sys::rd_kafka_topic_destroy(topic.native) }
        }
    }
}

/// Copies headers into a list of librdkafka's.
pub(super) fn native_headers(headers: HeadersView<'_>) -> *mut sys::rd_kafka_headers_t {
    // SAFETY: the list is new and ours; name and value are copied, each as long as it says. Adding
    // fails only for read-only lists.
    unsafe {
        let list = sys::rd_kafka_headers_new(headers.len());
        for (name, value) in headers.iter() {
            let (start, size) =
                value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            sys::rd_kafka_header_add(
                list,
                name.as_ptr().cast(),
                name.len() as isize,
                start.cast(),
                size as isize,
            );
        }
        list
    }
}

/// Start and length of an optional byte string; null is absent.
pub(super) fn raw(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}

impl Producer for RdProducer {
    fn topic(&mut self, name: &str) -> Result<TopicHandle, Error> {
        if let Some(handle) = self.by_name.get(name) {
            return Ok(*handle);
        }
        let c_name = c_string(name, "topic name")?;
        // SAFETY: the instance is alive, the name is copied, the topic object is ours.
        let native = unsafe {
            sys::rd_kafka_topic_new(self.instance.as_ptr(), c_name.as_ptr(), ptr::null_mut())
        };
        if native.is_null() {
            // SAFETY: reads the calling thread's last error.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(failed(format!("open topic {name:?}"), code));
        }
        let handle = TopicHandle(self.topics.len() as u32);
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), handle);
        self.topics.push(Topic { name, native, deliveries: TopicDeliveries::new() });
        Ok(handle)
    }

    fn produce(&mut self, record: &ProduceRecord<'_>) -> Result<(), ProduceError> {
        let topic = &self.topics[record.topic.0 as usize];
        let partition = match record.partition {
            Partition::ByKey => -1,
            Partition::At(partition) if partition >= 0 => partition,
            Partition::At(_) => return Err(self.refused(record, code::UNKNOWN_PARTITION)),
        };
        let timestamp = match record.timestamp {
            // What librdkafka takes for "now".
            None => 0,
            Some(0) => {
                self.deliveries.zero_timestamp_next();
                STAND_IN
            }
            Some(timestamp) => timestamp,
        };
        let headers = match record.headers.is_empty() {
            true => ptr::null_mut(),
            false => native_headers(record.headers),
        };
        let (key, key_len) = raw(record.key);
        let (value, value_len) = raw(record.value);
        let opaque = topic.deliveries.opaque(self.epoch);
        let sent = self.deliveries.sent(self.epoch);
        // SAFETY: instance, topic object and headers are alive, and the bytes as long as they say;
        // key and value are copied. Each tag is followed by arguments of the types that
        // `rd_kafka_producev` reads for it.
        let code = unsafe {
            sys::rd_kafka_producev(
                self.instance.as_ptr(),
                vtype::RD_KAFKA_VTYPE_RKT,
                topic.native,
                vtype::RD_KAFKA_VTYPE_PARTITION,
                partition,
                vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                vtype::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                vtype::RD_KAFKA_VTYPE_VALUE,
                value,
                value_len,
                vtype::RD_KAFKA_VTYPE_TIMESTAMP,
                timestamp,
                vtype::RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                vtype::RD_KAFKA_VTYPE_HEADERS,
                headers,
                vtype::RD_KAFKA_VTYPE_END,
            )
        };
        if record.timestamp == Some(0) {
            self.deliveries.zero_timestamp_off();
        }
        if code == 0 {
            return Ok(());
        }
        if !headers.is_null() {
            // SAFETY: on failure the headers are still ours.
            unsafe { sys::rd_kafka_headers_destroy(headers) }
        }
        if self.deliveries.sent(self.epoch) != sent {
            self.deliveries.forget_failure(self.epoch);
        }
        Err(self.refused(record, code))
    }

    fn poll(&mut self, events: &mut Vec<ProducerEvent>) {
        let mut found = Vec::new();
        while let Some(event) = self.events.poll(0) {
            if event.kind() == sys::RD_KAFKA_EVENT_DR {
                self.delivery_report(&event, &mut found);
                continue;
            }
            match self.common.event(&event, &self.instance) {
                CommonEvent::Handled => {}
                CommonEvent::BrokersDown(error) => {
                    self.delivered_when_down = self.delivered();
                    events.push(ProducerEvent::BrokersDown(error));
                }
                CommonEvent::BrokersUp => events.push(ProducerEvent::BrokersUp),
                CommonEvent::Error(error) => events.push(ProducerEvent::Error(error)),
                CommonEvent::OAuthTokenNeeded(config) => {
                    events.push(ProducerEvent::OAuthTokenNeeded { config });
                }
                CommonEvent::Statistics(json) => events.push(ProducerEvent::Statistics(json)),
            }
        }
        events.extend(found.into_iter().map(ProducerEvent::DeliveryFailed));
        if self.common.brokers_down() && self.delivered() > self.delivered_when_down {
            self.common.alive();
            events.push(ProducerEvent::BrokersUp);
        }
        self.finish_flushes(events);
    }

    fn set_waker(&mut self, waker: Arc<dyn Wake>) {
        self.deliveries.set_waker(waker);
    }

    fn begin_flush(&mut self) -> FlushId {
        let id = FlushId(self.next_flush);
        self.next_flush += 1;
        self.flushes.push_back((id, self.epoch));
        if self.deliveries.open(self.epoch) > 0 {
            // SAFETY: the instance is alive.
            unsafe { sys::rd_kafka_flush(self.instance.as_ptr(), FLUSH_NUDGE_MS) };
        }
        self.deliveries.wake_when_answered(self.epoch);
        self.next_epoch();
        id
    }

    fn in_flight(&self) -> u64 {
        (0..EPOCHS).map(|epoch| self.deliveries.open(epoch)).sum()
    }

    fn last_delivered(&self, topic: TopicHandle, partition: i32) -> Option<Offset> {
        self.topics[topic.0 as usize].deliveries.last(partition)
    }

    fn purge(&mut self) {
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE
            | sys::RD_KAFKA_PURGE_F_INFLIGHT
            | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the instance is alive.
        unsafe { sys::rd_kafka_purge(self.instance.as_ptr(), flags) };
    }

    fn probe(&mut self) {
        self.common.probe(&self.instance, &self.events);
    }

    fn set_oauth_token(&mut self, token: Result<&OAuthToken, &str>) -> Result<(), Error> {
        self.instance.set_oauth_token(token)
    }

    fn flush(&mut self, timeout: Duration, events: &mut Vec<ProducerEvent>) -> u64 {
        let clock = SystemClock;
        let end = clock.monotonic() + timeout;
        loop {
            self.poll(events);
            let (in_flight, now) = (self.in_flight(), clock.monotonic());
            if in_flight == 0 || now >= end {
                // Failures are counted a moment before their report is queued.
                self.poll(events);
                return in_flight;
            }
            // Returns when nothing is in flight any more, failures not yet polled included.
            // SAFETY: the instance is alive.
            unsafe {
                sys::rd_kafka_flush(self.instance.as_ptr(), millis((end - now).min(FLUSH_LOOK)))
            };
        }
    }
}
