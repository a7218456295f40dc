//! As much of librdkafka as the measurements need, with the settings of Millstream's clients on it.

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::time::Duration;

use rdkafka_sys as rd;
use rdkafka_sys::{rd_kafka_vtype_t as Kind, rd_kafka_vu_s__bindgen_ty_1 as Content};

use crate::client::{self, Client, Start};

const BATCH: usize = 10_000;

pub(crate) struct Librdkafka;

impl Client for Librdkafka {
    type Reader = Reader;
    type Writer = Writer;
}

/// Makes a client; ends the program if a setting is wrong, for then it is this program that is wrong.
fn client(kind: rd::rd_kafka_type_t, settings: &[(&str, &str)]) -> *mut rd::rd_kafka_t {
    let mut why = [0_i8; 512];
    // SAFETY: the configuration is made here, given only live C strings, and handed to `rd_kafka_new`, which owns it
    // from then on; on a failure the program ends.
    unsafe {
        let config = rd::rd_kafka_conf_new();
        for (name, value) in settings {
            let (name, value) = (c_string(name), c_string(value));
            let done = rd::rd_kafka_conf_set(
                config,
                name.as_ptr(),
                value.as_ptr(),
                why.as_mut_ptr().cast(),
                why.len(),
            );
            assert!(done == rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK, "{}", text(&why));
        }
        let made = rd::rd_kafka_new(kind, config, why.as_mut_ptr().cast(), why.len());
        assert!(!made.is_null(), "{}", text(&why));
        made
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("no zero byte in a setting")
}

fn text(buffer: &[i8; 512]) -> String {
    // SAFETY: librdkafka ends what it writes into the buffer with a zero byte, and the buffer began as zeros.
    unsafe { CStr::from_ptr(buffer.as_ptr().cast()) }.to_string_lossy().into_owned()
}

/// Reads by the batch call on the consumer's queue, to which the partitions' queues lead.
pub(crate) struct Reader {
    client: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
    batch: Vec<*mut rd::rd_kafka_message_t>,
}

impl client::Reader for Reader {
    fn open(address: &str, topic: &str, partitions: i32, start: Start) -> Self {
        let client = client(
            rd::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            &[
                ("bootstrap.servers", address),
                // It is joined by nobody, but there is no assignment without one.
                ("group.id", "bench-raw"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                // As Millstream's consumer has it: librdkafka's own second is a pause at full speed.
                ("fetch.queue.backoff.ms", "100"),
                // Ours and the Java client verify what they read unless told otherwise.
                ("check.crcs", "true"),
            ],
        );
        let name = c_string(topic);
        // SAFETY: the client lives as long as the queue, which `drop` destroys first; the list is made, filled and
        // destroyed here, and the call copies it.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(partitions);
            for partition in 0..partitions {
                let entry = rd::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition);
                (*entry).offset = match start {
                    Start::Beginning => i64::from(rd::RD_KAFKA_OFFSET_BEGINNING),
                    Start::End => end_offset(client, &name, partition),
                };
            }
            let failed = rd::rd_kafka_assign(client, list);
            rd::rd_kafka_topic_partition_list_destroy(list);
            must(failed, "reading could not begin");
            let queue = rd::rd_kafka_queue_get_consumer(client);
            Reader { client, queue, batch: vec![ptr::null_mut(); BATCH] }
        }
    }

    fn read(&mut self, wait: Duration, mut take: impl FnMut(&[u8], &[u8], i64)) {
        // The batch call waits its whole time for a full array. One message is waited for, the rest is taken as it is.
        let milliseconds = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client lives as long as `self`.
        let first = unsafe { rd::rd_kafka_consumer_poll(self.client, milliseconds) };
        if first.is_null() {
            return;
        }
        hand_over(first, &mut take);
        // SAFETY: the array has room for as many pointers as the call is told.
        let count = unsafe {
            rd::rd_kafka_consume_batch_queue(self.queue, 0, self.batch.as_mut_ptr(), BATCH)
        };
        for &message in &self.batch[..usize::try_from(count).unwrap_or(0)] {
            hand_over(message, &mut take);
        }
    }
}

fn must(failed: rd::rd_kafka_resp_err_t, what: &str) {
    let fine = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    assert!(failed == fine, "{what}: {failed:?}");
}

/// The partition's end now.
fn end_offset(client: *mut rd::rd_kafka_t, topic: &CStr, partition: i32) -> i64 {
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client is alive, the name a C string, and both results point to numbers of this frame.
    let failed = unsafe {
        rd::rd_kafka_query_watermark_offsets(
            client,
            topic.as_ptr(),
            partition,
            &mut low,
            &mut high,
            30_000,
        )
    };
    must(failed, "the topic's end is not known");
    high
}

fn hand_over(message: *mut rd::rd_kafka_message_t, take: &mut impl FnMut(&[u8], &[u8], i64)) {
    // SAFETY: librdkafka gave this message to us and to nobody else; key and payload live until it is destroyed, which
    // is after the last use.
    unsafe {
        let found = &*message;
        if found.err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            let timestamp = rd::rd_kafka_message_timestamp(message, &mut kind);
            take(bytes(found.key, found.key_len), bytes(found.payload, found.len), timestamp);
        } else {
            eprintln!("bench-raw: {:?}", found.err);
        }
        rd::rd_kafka_message_destroy(message);
    }
}

/// # Safety
///
/// `start` is null, or points to `length` bytes that live as long as the slice is used.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: by the promise of the caller.
    unsafe { std::slice::from_raw_parts(start.cast(), length) }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: each is destroyed once, the queue before the client it belongs to.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_destroy(self.client);
        }
    }
}

fn argument(vtype: Kind, u: Content) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

fn memory(bytes: &[u8]) -> rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: bytes.as_ptr().cast_mut().cast(),
        size: bytes.len(),
    }
}

pub(crate) struct Writer {
    client: *mut rd::rd_kafka_t,
    topic: *mut rd::rd_kafka_topic_t,
    topic_name: CString,
    unserved: u32,
}

impl client::Writer for Writer {
    fn open(address: &str, topic: &str, extra: &[(&str, &str)]) -> Self {
        let mut settings = vec![("bootstrap.servers", address), ("enable.idempotence", "true")];
        settings.extend_from_slice(extra);
        let client = client(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, &settings);
        let topic_name = c_string(topic);
        // SAFETY: the client lives as long as the topic, which `drop` destroys first.
        let topic = unsafe { rd::rd_kafka_topic_new(client, topic_name.as_ptr(), ptr::null_mut()) };
        Writer { client, topic, topic_name, unserved: 0 }
    }

    fn write(&mut self, partition: i32, key: &[u8], value: &[u8], timestamp_ms: i64) {
        loop {
            let arguments = [
                argument(Kind::RD_KAFKA_VTYPE_RKT, Content { rkt: self.topic }),
                argument(Kind::RD_KAFKA_VTYPE_PARTITION, Content { i32_: partition }),
                argument(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Content { i: rd::RD_KAFKA_MSG_F_COPY }),
                argument(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Content { i64_: timestamp_ms }),
                argument(Kind::RD_KAFKA_VTYPE_KEY, Content { mem: memory(key) }),
                argument(Kind::RD_KAFKA_VTYPE_VALUE, Content { mem: memory(value) }),
            ];
            // SAFETY: the array is read during the call only, and the flag makes librdkafka copy key and value.
            let error =
                unsafe { rd::rd_kafka_produceva(self.client, arguments.as_ptr(), arguments.len()) };
            if error.is_null() {
                break;
            }
            // SAFETY: the error is ours to read and then to destroy.
            let code = unsafe {
                let code = rd::rd_kafka_error_code(error);
                rd::rd_kafka_error_destroy(error);
                code
            };
            assert!(
                code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__QUEUE_FULL,
                "writing to {:?} failed: {code:?}",
                self.topic_name
            );
            // SAFETY: the client is alive.
            unsafe { rd::rd_kafka_poll(self.client, 10) };
        }
        self.unserved += 1;
        if self.unserved >= 1000 {
            self.serve();
        }
    }

    fn serve(&mut self) {
        self.unserved = 0;
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_poll(self.client, 0) };
    }

    fn finish(self) {
        // SAFETY: the client is alive.
        let left = unsafe {
            rd::rd_kafka_flush(self.client, 120_000);
            rd::rd_kafka_outq_len(self.client)
        };
        assert!(left == 0, "{left} records were not acknowledged");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: each is destroyed once, the topic before the client it belongs to.
        unsafe {
            rd::rd_kafka_topic_destroy(self.topic);
            rd::rd_kafka_destroy(self.client);
        }
    }
}
