//! Fetched messages into record batches: one batch call empties the data queue, each message is
//! copied into the arena of its partition's batch and destroyed at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::CStr;
use std::ptr;

use millstream_types::{BatchBuilder, Offset, TimestampType, TopicPartition};

use super::client::Queue;
use super::errors::{kafka_error, text_of};
use super::sys;
use crate::{ConsumerConfig, ConsumerEvent, PartitionStart, StartOffset};

/// librdkafka's code of "no more for now".
const PARTITION_EOF: i32 = -191;

/// Marks a message whose partition is not ours (any more).
const NOBODY: u32 = u32::MAX;

/// A partition that is being read.
struct Slot {
    partition: TopicPartition,
    /// Asked back by the group: its records are dropped.
    revoking: bool,
    paused: bool,
    /// Whether something has arrived on the data queue since reading began or was resumed.
    flowing: bool,
    /// Where reading goes on, once known.
    position: Option<Offset>,
    /// Whether librdkafka believes to be one record further; see [`Slots::take_ahead`].
    ahead: bool,
    /// The position that was last stored for the client's own commits.
    stored: Option<Offset>,
    /// Records and bytes of the drain under way that are not copied yet.
    records: usize,
    bytes: usize,
    builder: Option<BatchBuilder>,
}

/// The partitions that are being read, found by librdkafka's topic object and number.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Filled as messages arrive. A topic object lives at least as long as one of its partitions
    /// is assigned, and any change of the assignment empties this, so no entry outlives its topic.
    by_topic: HashMap<(usize, i32), u32>,
    /// The last look-up; messages come in runs of one partition.
    last: Option<(usize, i32, u32)>,
}

impl Slots {
    pub(super) fn add(&mut self, start: &PartitionStart) {
        self.forget_topics();
        self.slots.push(Slot {
            partition: start.partition.clone(),
            revoking: false,
            paused: start.paused,
            flowing: false,
            position: known_position(start.offset),
            ahead: false,
            stored: None,
            records: 0,
            bytes: 0,
            builder: None,
        });
    }

    pub(super) fn clear(&mut self) {
        self.forget_topics();
        self.slots.clear();
    }

    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        self.forget_topics();
        self.slots.retain(|slot| !partitions.contains(&slot.partition));
    }

    /// From now on records of these partitions are dropped.
    pub(super) fn revoke(&mut self, partitions: &[TopicPartition]) {
        for slot in &mut self.slots {
            slot.revoking |= partitions.contains(&slot.partition);
        }
    }

    pub(super) fn contains(&self, partition: &TopicPartition) -> bool {
        self.slots.iter().any(|slot| !slot.revoking && slot.partition == *partition)
    }

    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.slots.iter().filter(|slot| !slot.revoking).map(|s| s.partition.clone()).collect()
    }

    pub(super) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.slots.iter().find(|slot| slot.partition == *partition)?.position
    }

    pub(super) fn sought(&mut self, partition: &TopicPartition, offset: StartOffset) {
        for slot in self.named(std::slice::from_ref(partition)) {
            slot.position = known_position(offset);
            slot.ahead = false;
        }
    }

    pub(super) fn pause(&mut self, partitions: &[TopicPartition], paused: bool) {
        for slot in self.named(partitions) {
            slot.paused = paused;
            slot.flowing = false;
        }
    }

    /// Partitions that should deliver and have not yet.
    pub(super) fn silent(&self) -> impl Iterator<Item = &TopicPartition> {
        let silent = |slot: &&Slot| !slot.flowing && !slot.paused && !slot.revoking;
        self.slots.iter().filter(silent).map(|slot| &slot.partition)
    }

    /// Takes the partitions whose position librdkafka has wrong, with the right one.
    ///
    /// Since version 2.2 a batch call that passes the end-of-partition mark counts it as a record
    /// (librdkafka issue 4844, repaired after 2.12). The wrong position shows when a partition is
    /// paused, by us or by librdkafka itself around a rebalance: then reading would go on behind a
    /// record that nobody has seen.
    pub(super) fn take_ahead(&mut self) -> Vec<(TopicPartition, Offset)> {
        let take = |slot: &mut Slot| {
            let position = slot.position.filter(|_| slot.ahead && !slot.revoking)?;
            slot.ahead = false;
            Some((slot.partition.clone(), position))
        };
        self.slots.iter_mut().filter_map(take).collect()
    }

    /// Positions that records have moved since this was last asked.
    pub(super) fn take_unstored(&mut self) -> Vec<(TopicPartition, Offset)> {
        let take = |slot: &mut Slot| {
            let position =
                slot.position.filter(|_| slot.flowing && slot.stored != slot.position)?;
            slot.stored = slot.position;
            Some((slot.partition.clone(), position))
        };
        self.slots.iter_mut().filter_map(take).collect()
    }

    fn named(&mut self, partitions: &[TopicPartition]) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().filter(|slot| partitions.contains(&slot.partition))
    }

    fn forget_topics(&mut self) {
        self.by_topic.clear();
        self.last = None;
    }

    /// The slot of a message, or [`NOBODY`].
    fn find(&mut self, topic: *mut sys::rd_kafka_topic_t, partition: i32) -> u32 {
        let address = topic.addr();
        if let Some((last_address, last_partition, slot)) = self.last
            && last_address == address
            && last_partition == partition
        {
            return slot;
        }
        let slots = &self.slots;
        let slot = *self.by_topic.entry((address, partition)).or_insert_with(|| {
            // SAFETY: the message that names the topic is alive, so the topic is.
            let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)) };
            slots
                .iter()
                .position(|slot| {
                    slot.partition.partition == partition
                        && slot.partition.topic.as_bytes() == name.to_bytes()
                })
                .map_or(NOBODY, |slot| slot as u32)
        });
        if slot == NOBODY {
            // The topic object may go at any time, and another take its address.
            self.by_topic.remove(&(address, partition));
        } else {
            self.last = Some((address, partition, slot));
        }
        slot
    }
}

fn known_position(offset: StartOffset) -> Option<Offset> {
    match offset {
        StartOffset::At(offset) => Some(offset),
        _ => None,
    }
}

/// Empties the data queue, a bounded number of messages at a time.
pub(super) struct Drain {
    messages: Vec<*mut sys::Message>,
    /// Per message its slot.
    slots: Vec<u32>,
    /// Messages to ask for next time, so that about `poll_bytes_max` come.
    limit: usize,
    poll_records_max: usize,
    poll_bytes_max: usize,
    batch_bytes_max: usize,
}

impl Drain {
    pub(super) fn new(config: &ConsumerConfig) -> Self {
        let poll_records_max = config.poll_records_max.max(1);
        Self {
            messages: vec![ptr::null_mut(); poll_records_max],
            slots: Vec::with_capacity(poll_records_max),
            // Nothing is known of the records' size yet.
            limit: poll_records_max.min(64),
            poll_records_max,
            poll_bytes_max: config.poll_bytes_max.max(1),
            batch_bytes_max: config.batch_bytes_max.max(1),
        }
    }

    /// Takes messages over without waiting and reports them, one batch per partition in the order
    /// of arrival. Returns whether any came.
    pub(super) fn run(
        &mut self,
        queue: &Queue,
        slots: &mut Slots,
        events: &mut Vec<ConsumerEvent>,
    ) -> bool {
        // SAFETY: the queue is alive and the array has room for `limit` pointers.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                queue.as_ptr(),
                0,
                self.messages.as_mut_ptr(),
                self.limit,
            )
        };
        // -1 means that the queue's owner is being destroyed.
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            return false;
        }
        let bytes = self.measure(count, slots);
        self.limit = (self.poll_bytes_max / (bytes / count).max(1)).clamp(1, self.poll_records_max);
        self.copy(count, slots, events);
        true
    }

    /// Reports one message that came by the event queue, whose owner destroys it.
    pub(super) fn one(
        &self,
        message: &sys::Message,
        slots: &mut Slots,
        events: &mut Vec<ConsumerEvent>,
    ) {
        let index = slots.find(message.rkt, message.partition);
        if let Some(slot) = slots.slots.get_mut(index as usize)
            && !slot.revoking
        {
            if message.err == 0 {
                slot.records = 1;
                slot.bytes = message.key_len + message.len;
                append(slot, message, self.batch_bytes_max, events);
                close(slot, events);
            } else {
                condition(slot, message, events);
            }
        }
    }

    /// First pass: whose message is it, and how much has each partition? The batches can then be
    /// allocated in their final size.
    fn measure(&mut self, count: usize, slots: &mut Slots) -> usize {
        self.slots.clear();
        let mut total = 0;
        for &message in &self.messages[..count] {
            // SAFETY: librdkafka filled the array up to `count` with messages that are now ours.
            let message = unsafe { &*message };
            let index = slots.find(message.rkt, message.partition);
            self.slots.push(index);
            if message.err == 0
                && let Some(slot) = slots.slots.get_mut(index as usize)
            {
                let bytes = message.key_len + message.len;
                slot.records += 1;
                slot.bytes += bytes;
                total += bytes;
            }
        }
        total
    }

    /// Second pass: copy, destroy, report.
    fn copy(&mut self, count: usize, slots: &mut Slots, events: &mut Vec<ConsumerEvent>) {
        // Slots with an open batch, by arrival.
        let mut open: Vec<u32> = Vec::new();
        for (&message, &index) in self.messages[..count].iter().zip(&self.slots) {
            if let Some(slot) = slots.slots.get_mut(index as usize)
                && !slot.revoking
            {
                // SAFETY: the message is ours until it is destroyed below.
                let message = unsafe { &*message };
                slot.flowing = true;
                if message.err == 0 {
                    if slot.builder.is_none() {
                        open.push(index);
                    }
                    append(slot, message, self.batch_bytes_max, events);
                } else {
                    // What came before it is reported before it.
                    close(slot, events);
                    open.retain(|&other| other != index);
                    condition(slot, message, events);
                }
            }
            // SAFETY: the message is ours and nothing refers to it any more.
            unsafe { sys::rd_kafka_message_destroy(message) }
        }
        for index in open {
            close(&mut slots.slots[index as usize], events);
        }
        for slot in &mut slots.slots {
            (slot.records, slot.bytes) = (0, 0);
        }
    }
}

/// Copies one record into its partition's batch, closing the batch first if it would grow too big.
fn append(
    slot: &mut Slot,
    message: &sys::Message,
    batch_bytes_max: usize,
    events: &mut Vec<ConsumerEvent>,
) {
    let bytes = message.key_len + message.len;
    if slot.builder.as_ref().is_some_and(|b| b.byte_size() + bytes > batch_bytes_max) {
        close(slot, events);
    }
    let (partition, records, left) = (&slot.partition, slot.records, slot.bytes);
    let builder = slot.builder.get_or_insert_with(|| {
        BatchBuilder::with_capacity(
            partition.clone(),
            records,
            left.min(batch_bytes_max.max(bytes)),
        )
    });
    slot.records -= 1;
    slot.bytes -= bytes;
    slot.position = Some(message.offset + 1);
    slot.ahead = false;
    // SAFETY: the message is alive while it is copied; a null key or payload is absent, any other
    // points to as many bytes as its length says.
    unsafe {
        let key = slice(message.key, message.key_len);
        let value = slice(message.payload, message.len);
        let mut kind = 0;
        let timestamp = sys::rd_kafka_message_timestamp(message, &raw mut kind);
        let kind = match kind {
            1 => TimestampType::CreateTime,
            2 => TimestampType::LogAppendTime,
            _ => TimestampType::NotAvailable,
        };
        let epoch = sys::rd_kafka_message_leader_epoch(message);
        let mut headers = ptr::null_mut();
        if !surely_without_headers(message)
            && sys::rd_kafka_message_headers(message, &raw mut headers) == 0
        {
            let headers: Vec<_> = (0..).map_while(|index| header(headers, index)).collect();
            let headers = headers.iter().map(|(name, value)| (&**name, *value));
            builder.push(message.offset, timestamp, kind, epoch, key, value, headers);
        } else {
            builder.push(message.offset, timestamp, kind, epoch, key, value, []);
        }
    }
}

/// Where librdkafka's private message keeps its unparsed headers: behind the public part, two list
/// pointers, flags and type and value of the timestamp, the parsed headers, status and broker
/// (`rd_kafka_msg_t` of 2.x).
const RAW_HEADERS_OFFSET: usize = size_of::<sys::Message>() + 2 * size_of::<*const u8>() + 32;

/// `rd_kafkap_bytes_t`: length and place of bytes of the fetched buffer.
#[repr(C)]
struct RawHeaders {
    len: i32,
    start: *const u8,
}

/// Whether a look is enough to see that a record has no headers. `rd_kafka_message_headers` sets up
/// a reader before it finds that out, a fifth of what a record costs.
///
/// # Safety
/// `message` is one of librdkafka's own consumer messages.
unsafe fn surely_without_headers(message: &sys::Message) -> bool {
    // SAFETY: the place lies within `rd_kafka_msg_t`, which goes on for another 40 bytes in every
    // 2.x. Its content is only believed if it points to where a record's headers are: right behind
    // the value. One byte there is the number of headers, and with so few bytes it is 0.
    unsafe {
        let raw = ptr::from_ref(message).byte_add(RAW_HEADERS_OFFSET).cast::<RawHeaders>();
        let value_end = message.payload.cast::<u8>().cast_const().wrapping_add(message.len);
        (*raw).len == 1 && (*raw).start == value_end
    }
}

fn close(slot: &mut Slot, events: &mut Vec<ConsumerEvent>) {
    if let Some(builder) = slot.builder.take() {
        events.push(ConsumerEvent::Records(builder.finish()));
    }
}

/// Reports what a message says that is not a record.
fn condition(slot: &mut Slot, message: &sys::Message, events: &mut Vec<ConsumerEvent>) {
    let partition = slot.partition.clone();
    if message.err == PARTITION_EOF {
        slot.position = Some(message.offset);
        slot.ahead = true;
        events.push(ConsumerEvent::PartitionEnd(partition, message.offset));
    } else {
        // SAFETY: the message is alive, and so is its text.
        let text = text_of(unsafe { sys::rd_kafka_message_errstr(message) });
        let error = kafka_error(message.err, Some(&text));
        events.push(ConsumerEvent::PartitionError(partition, error));
    }
}

/// # Safety
/// `start` is null or points to `len` bytes that outlive the result.
unsafe fn slice<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// The header at `index`; names that are not UTF-8 are repaired, since Kafka's protocol says they
/// are.
///
/// # Safety
/// `headers` is a list of a message that outlives the result.
unsafe fn header<'a>(
    headers: *const sys::rd_kafka_headers_t,
    index: usize,
) -> Option<(Cow<'a, str>, Option<&'a [u8]>)> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: by the caller; on success the name ends with NUL, and the value is null or points to
    // `size` bytes.
    unsafe {
        let code = sys::rd_kafka_header_get_all(
            headers,
            index,
            &raw mut name,
            &raw mut value,
            &raw mut size,
        );
        (code == 0).then(|| (CStr::from_ptr(name).to_string_lossy(), slice(value, size)))
    }
}
