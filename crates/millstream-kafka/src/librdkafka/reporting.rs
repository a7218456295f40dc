//! A producer that reports every record's delivery, for programs that ask what became of each one.
//!
//! [`super::producer`] counts deliveries, because a pipeline needs to know only that all of a
//! checkpoint's records arrived; here each record carries a token of the caller's, which comes back with
//! partition and offset, or with the error.

use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::client::{Common, CommonEvent, Conf, Event, Instance, Queue};
use super::delivery::{STAND_IN, write_zero_timestamp};
use super::errors::{c_string, check, kafka_error};
use super::list::millis;
use super::producer::{native_headers, raw};
use super::sys::{self, Message, rd_kafka_vtype_t as vtype};
use crate::{
    ClientConfig, DeliveryReport, Error, Partition, ProduceError, ReportedRecord, ReportingProducer,
};

/// How long a flush lets librdkafka's threads notice that they shall not linger.
const NUDGE_MS: c_int = 1;

pub(super) struct RdReportingProducer {
    // Dropped in this order: librdkafka's threads read the flag.
    events: Queue,
    instance: Instance,
    zero_timestamp: Arc<AtomicBool>,
    common: Common,
}

// SAFETY: librdkafka's objects may be used from any thread; `&mut self` keeps it to one at a time, and
// the flag is atomic.
unsafe impl Send for RdReportingProducer {}

impl RdReportingProducer {
    /// A producer. Does not wait for a connection. `delivery.report.only.error` is switched off.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is refused.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let mut properties = config.properties.clone();
        properties.set("delivery.report.only.error", "false");
        let conf = Conf::new(&properties, sys::RD_KAFKA_EVENT_DR)?;
        let zero_timestamp = Arc::new(AtomicBool::new(false));
        let opaque = Arc::as_ptr(&zero_timestamp).cast_mut().cast::<c_void>();
        // SAFETY: the configuration is alive, the name static, and the flag outlives the instance by the
        // order of fields.
        let code = unsafe {
            sys::rd_kafka_conf_interceptor_add_on_new(conf.as_ptr(), NAME, on_new, opaque)
        };
        check(code, || "set up the producer".to_owned())?;
        let instance = conf.start(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER)?;
        // SAFETY: the instance is alive, the queue is ours.
        let events = unsafe {
            let events = Queue::from_raw(sys::rd_kafka_queue_get_main(instance.as_ptr()));
            let code = sys::rd_kafka_set_log_queue(instance.as_ptr(), events.as_ptr());
            check(code, || "set up the log".to_owned())?;
            events
        };
        Ok(Self { events, zero_timestamp, common: Common::new(config, &instance), instance })
    }
}

impl ReportingProducer for RdReportingProducer {
    fn produce(&mut self, record: &ReportedRecord<'_>) -> Result<(), ProduceError> {
        let refused = |code: c_int| ProduceError::Refused {
            topic: record.topic.into(),
            partition: record.partition.named(),
            error: kafka_error(code, None),
        };
        let topic = c_string(record.topic, "topic name")
            .map_err(|_| refused(crate::code::INVALID_TOPIC))?;
        let partition = match record.partition {
            Partition::ByKey => -1,
            Partition::At(partition) if partition >= 0 => partition,
            Partition::At(_) => return Err(refused(crate::code::UNKNOWN_PARTITION)),
        };
        let timestamp = match record.timestamp {
            // What librdkafka takes for "now".
            None => 0,
            Some(0) => {
                self.zero_timestamp.store(true, Ordering::Relaxed);
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
        // SAFETY: instance, topic name and headers are alive, and the bytes as long as they say; names,
        // key and value are copied. Each tag is followed by arguments of the types that
        // `rd_kafka_producev` reads for it. The opaque value is a number that nobody dereferences.
        let code = unsafe {
            sys::rd_kafka_producev(
                self.instance.as_ptr(),
                vtype::RD_KAFKA_VTYPE_TOPIC,
                topic.as_ptr(),
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
                ptr::without_provenance_mut::<c_void>(record.token as usize),
                vtype::RD_KAFKA_VTYPE_HEADERS,
                headers,
                vtype::RD_KAFKA_VTYPE_END,
            )
        };
        self.zero_timestamp.store(false, Ordering::Relaxed);
        if code == 0 {
            return Ok(());
        }
        if !headers.is_null() {
            // SAFETY: on failure the headers are still ours.
            unsafe { sys::rd_kafka_headers_destroy(headers) }
        }
        Err(match code {
            crate::code::QUEUE_FULL => ProduceError::QueueFull,
            code => refused(code),
        })
    }

    fn poll(
        &mut self,
        wait: Duration,
        reports: &mut Vec<DeliveryReport>,
    ) -> Result<Vec<String>, Error> {
        let mut statistics = Vec::new();
        let mut wait_ms = millis(wait);
        while let Some(event) = self.events.poll(wait_ms) {
            wait_ms = 0;
            if event.kind() == sys::RD_KAFKA_EVENT_DR {
                read_reports(&event, reports);
                continue;
            }
            // Errors are in the log.
            if let CommonEvent::Statistics(json) = self.common.event(&event, &self.instance) {
                statistics.push(json);
            }
        }
        Ok(statistics)
    }

    fn hurry(&mut self) {
        // SAFETY: the instance is alive. Reports are events here, so that this calls nothing back.
        unsafe { sys::rd_kafka_flush(self.instance.as_ptr(), NUDGE_MS) };
    }

    fn in_flight(&self) -> usize {
        // SAFETY: the instance is alive.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.instance.as_ptr()) }).unwrap_or(0)
    }

    fn purge(&mut self) {
        let flags = sys::RD_KAFKA_PURGE_F_QUEUE
            | sys::RD_KAFKA_PURGE_F_INFLIGHT
            | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the instance is alive.
        unsafe { sys::rd_kafka_purge(self.instance.as_ptr(), flags) };
    }
}

fn read_reports(event: &Event, reports: &mut Vec<DeliveryReport>) {
    // SAFETY: the event is alive, and its messages as long.
    while let Some(message) = unsafe { sys::rd_kafka_event_message_next(event.as_ptr()).as_ref() } {
        // SAFETY: the message is alive; a null pointer asks for no kind.
        let (timestamp, latency_us) = unsafe {
            (
                sys::rd_kafka_message_timestamp(message, ptr::null_mut()),
                sys::rd_kafka_message_latency(ptr::from_ref(message).cast()),
            )
        };
        reports.push(DeliveryReport {
            token: message.opaque.addr() as u64,
            partition: (message.partition >= 0).then_some(message.partition),
            result: match message.err {
                0 => Ok((message.offset >= 0).then_some(message.offset)),
                code => Err(kafka_error(code, None)),
            },
            timestamp,
            latency: match message.err {
                0 => u64::try_from(latency_us).ok().map(Duration::from_micros),
                _ => None,
            },
        });
    }
}

const NAME: *const c_char = c"millstream".as_ptr();
const _: () = assert!(mem::size_of::<usize>() == mem::size_of::<u64>(), "tokens are 64 bits");

/// # Safety
/// Called by librdkafka while it makes the instance, with the flag of [`RdReportingProducer::new`].
unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _text: *mut c_char,
    _size: usize,
) -> c_int {
    // SAFETY: `rk` is the instance being made; name and function are static.
    unsafe { sys::rd_kafka_interceptor_add_on_send(rk, NAME, on_send, opaque) }
}

/// # Safety
/// Called by librdkafka inside `rd_kafka_producev`, with a message that it has just made.
unsafe extern "C" fn on_send(
    _rk: *mut sys::rd_kafka_t,
    message: *mut Message,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: the flag outlives the instance, and the message is librdkafka's, alive.
    unsafe {
        if (*opaque.cast::<AtomicBool>()).load(Ordering::Relaxed) {
            write_zero_timestamp(message);
        }
    }
    0
}
