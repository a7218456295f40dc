//! Counting deliveries without a report per record.
//!
//! librdkafka is told to report failures only, and two interceptors count the rest where it
//! happens: `on_send` on the producing thread, `on_acknowledgement` on librdkafka's, which holds
//! the record in its hands at that moment anyway. A record's opaque value says what to count it
//! under: the address of its topic's [`TopicDeliveries`], with the number of an **epoch** in the
//! low bits. A flush ends an epoch; when as many of an epoch's records are answered as were sent,
//! its flush is done.
//!
//! `on_send` also writes timestamp 0. librdkafka takes a 0 that it is given for "now", so a record
//! at 0 is produced with [`STAND_IN`], and the interceptor changes that before anybody reads it.

use std::ffi::{c_char, c_int, c_void};
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::sys::{self, Message};
use crate::Wake;

/// Epochs that can be open at once. More flushes than that at a time share the last one.
pub(super) const EPOCHS: usize = 16;

/// Alignment of [`TopicDeliveries`], hence bits of its address that are free for the epoch.
const ADDRESS_ALIGN: usize = 64;
const EPOCH_MASK: usize = ADDRESS_ALIGN - 1;
const _: () = assert!(EPOCHS <= ADDRESS_ALIGN && align_of::<TopicDeliveries>() == ADDRESS_ALIGN);

/// Timestamp of a record that shall have 0. Where the trick fails, the record is a millisecond off.
pub(super) const STAND_IN: i64 = 1;

/// What one epoch counts. Sender and librdkafka's threads have a cache line each.
#[derive(Default)]
struct Epoch {
    /// Records that librdkafka has taken. Written by the producing thread only.
    sent: Padded<AtomicU64>,
    answers: Padded<Answers>,
}

#[derive(Default)]
struct Answers {
    /// Records that were delivered or given up.
    answered: AtomicU64,
    /// Those that were given up.
    failed: AtomicU64,
    /// Wake the producing thread when `answered` gets here.
    mark: AtomicU64,
}

#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// What interceptors and producer share. Lives as long as the librdkafka instance.
#[derive(Default)]
pub(super) struct Deliveries {
    epochs: [Epoch; EPOCHS],
    /// The record being sent shall have timestamp 0. Used by the producing thread only.
    zero_timestamp: AtomicBool,
    waker: Mutex<Option<Arc<dyn Wake>>>,
}

impl Deliveries {
    pub(super) fn set_waker(&self, waker: Arc<dyn Wake>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake();
        }
    }

    pub(super) fn sent(&self, epoch: usize) -> u64 {
        self.epochs[epoch].sent.0.load(Ordering::Relaxed)
    }

    /// Records of the epoch that wait for an answer.
    pub(super) fn open(&self, epoch: usize) -> u64 {
        let answered = self.epochs[epoch].answers.0.answered.load(Ordering::SeqCst);
        self.sent(epoch) - answered
    }

    pub(super) fn failed(&self, epoch: usize) -> u64 {
        self.epochs[epoch].answers.0.failed.load(Ordering::SeqCst)
    }

    /// Records of the epoch that were delivered.
    pub(super) fn delivered(&self, epoch: usize) -> u64 {
        // A failure is counted before its answer, so this order of loads may count one failure too
        // few as such, which the saturation forgives.
        let answers = &self.epochs[epoch].answers.0;
        let failed = answers.failed.load(Ordering::SeqCst);
        answers.answered.load(Ordering::SeqCst).saturating_sub(failed)
    }

    /// Wakes the producing thread when all records sent in the epoch so far are answered, at once if
    /// they are.
    pub(super) fn wake_when_answered(&self, epoch: usize) {
        let mark = self.sent(epoch);
        self.epochs[epoch].answers.0.mark.store(mark, Ordering::SeqCst);
        if self.open(epoch) == 0 {
            self.wake();
        }
    }

    /// The record that `sent` counted was refused after all, and the caller is told by the return
    /// value; the interceptor has counted it as failed.
    pub(super) fn forget_failure(&self, epoch: usize) {
        self.epochs[epoch].answers.0.failed.fetch_sub(1, Ordering::SeqCst);
    }

    /// Makes a finished epoch a new one.
    pub(super) fn reset(&self, epoch: usize) {
        let Epoch { sent, answers } = &self.epochs[epoch];
        sent.0.store(0, Ordering::SeqCst);
        answers.0.mark.store(u64::MAX, Ordering::SeqCst);
        answers.0.failed.store(0, Ordering::SeqCst);
        answers.0.answered.store(0, Ordering::SeqCst);
    }

    pub(super) fn zero_timestamp_next(&self) {
        self.zero_timestamp.store(true, Ordering::Relaxed);
    }

    pub(super) fn zero_timestamp_off(&self) {
        self.zero_timestamp.store(false, Ordering::Relaxed);
    }

    /// Makes the interceptors of `conf`'s instance count here.
    ///
    /// # Safety
    /// `self` must stay where it is until the instance is gone.
    pub(super) unsafe fn install(&self, conf: *mut sys::rd_kafka_conf_t) -> c_int {
        let opaque = std::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: `conf` is the caller's; the name is static.
        unsafe { sys::rd_kafka_conf_interceptor_add_on_new(conf, NAME, on_new, opaque) }
    }
}

const NAME: *const c_char = c"millstream".as_ptr();

/// Highest acknowledged offset per partition of one topic.
#[repr(align(64))]
pub(super) struct TopicDeliveries {
    /// Groups of partitions, made when one of them is first acknowledged.
    groups: [OnceLock<Box<[AtomicI64; GROUP]>>; GROUPS],
}

const GROUP: usize = 64;
const GROUPS: usize = 256;

impl TopicDeliveries {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { groups: [const { OnceLock::new() }; GROUPS] })
    }

    /// What a record of this topic carries through librdkafka.
    pub(super) fn opaque(&self, epoch: usize) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast::<c_void>().map_addr(|address| address | epoch)
    }

    /// The epoch in a record's opaque value.
    pub(super) fn epoch(opaque: *mut c_void) -> usize {
        opaque.addr() & EPOCH_MASK
    }

    /// Where the `TopicDeliveries` in a record's opaque value are.
    pub(super) fn address(opaque: *mut c_void) -> usize {
        opaque.addr() & !EPOCH_MASK
    }

    pub(super) fn last(&self, partition: i32) -> Option<i64> {
        let (group, index) = Self::place(partition)?;
        let offset = self.groups[group].get()?[index].load(Ordering::Acquire);
        (offset >= 0).then_some(offset)
    }

    fn acknowledged(&self, partition: i32, offset: i64) {
        let Some((group, index)) = Self::place(partition) else { return };
        let group =
            self.groups[group].get_or_init(|| Box::new([const { AtomicI64::new(-1) }; GROUP]));
        // A compare-and-swap per record only where the offset is news, which after a retry it need
        // not be.
        if offset > group[index].load(Ordering::Relaxed) {
            group[index].fetch_max(offset, Ordering::Release);
        }
    }

    fn place(partition: i32) -> Option<(usize, usize)> {
        let partition = usize::try_from(partition).ok()?;
        (partition < GROUP * GROUPS).then_some((partition / GROUP, partition % GROUP))
    }
}

/// For `rd_kafka_queue_cb_event_enable` on the producer's queue.
///
/// # Safety
/// `opaque` is the deliveries that the producer keeps until the instance is gone.
pub(super) unsafe extern "C" fn on_queue_event(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: by the caller.
    unsafe { &*opaque.cast::<Deliveries>() }.wake();
}

/// # Safety
/// Called by librdkafka while it makes the instance, with what [`Deliveries::install`] gave it.
unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _text: *mut c_char,
    _size: usize,
) -> c_int {
    // SAFETY: `rk` is the instance being made; name and functions are static.
    unsafe {
        match sys::rd_kafka_interceptor_add_on_send(rk, NAME, on_send, opaque) {
            0 => sys::rd_kafka_interceptor_add_on_acknowledgement(
                rk,
                NAME,
                on_acknowledgement,
                opaque,
            ),
            code => code,
        }
    }
}

/// # Safety
/// Called by librdkafka inside `rd_kafka_producev`, with a message that it has just made.
unsafe extern "C" fn on_send(
    _rk: *mut sys::rd_kafka_t,
    message: *mut Message,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: the deliveries outlive the instance, and the message is librdkafka's, alive.
    unsafe {
        let deliveries = &*opaque.cast::<Deliveries>();
        let epoch = TopicDeliveries::epoch((*message).opaque);
        // One thread writes this, so it needs no atomic addition.
        let sent = &deliveries.epochs[epoch].sent.0;
        sent.store(sent.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if deliveries.zero_timestamp.load(Ordering::Relaxed) {
            write_zero_timestamp(message);
        }
    }
    0
}

/// Where librdkafka's private message keeps its timestamp: behind the public part, two list
/// pointers, the flags and the timestamp's type (`rd_kafka_msg_t` of 2.x).
const TIMESTAMP_OFFSET: usize =
    (size_of::<Message>() + 2 * size_of::<*mut c_void>() + 2 * size_of::<c_int>())
        .next_multiple_of(align_of::<i64>());

/// Turns [`STAND_IN`] into 0.
///
/// # Safety
/// `message` is the head of one of librdkafka's own producer messages, which only this thread
/// knows yet.
pub(super) unsafe fn write_zero_timestamp(message: *mut Message) {
    // SAFETY: the place lies within `rd_kafka_msg_t`, which has more than 64 bytes behind it in
    // every 2.x. Should the layout differ nevertheless, then either the value there is not the
    // stand-in, or librdkafka does not see the change; in that case it is taken back.
    unsafe {
        let place = message.byte_add(TIMESTAMP_OFFSET).cast::<i64>();
        let seen = || sys::rd_kafka_message_timestamp(message, std::ptr::null_mut());
        if seen() == STAND_IN && place.read() == STAND_IN {
            place.write(0);
            if seen() != 0 {
                place.write(STAND_IN);
            }
        }
    }
}

/// # Safety
/// Called by librdkafka when a record was delivered or given up, on whichever of its threads.
unsafe extern "C" fn on_acknowledgement(
    _rk: *mut sys::rd_kafka_t,
    message: *mut Message,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: the deliveries outlive the instance, as do the topics' that opaque values point to;
    // the message is librdkafka's, alive.
    unsafe {
        let deliveries = &*opaque.cast::<Deliveries>();
        let message = &*message;
        let answers = &deliveries.epochs[TopicDeliveries::epoch(message.opaque)].answers.0;
        if message.err == 0 {
            let topic = message.opaque.map_addr(|address| address & !EPOCH_MASK);
            (*topic.cast::<TopicDeliveries>()).acknowledged(message.partition, message.offset);
        } else {
            answers.failed.fetch_add(1, Ordering::SeqCst);
        }
        let answered = answers.answered.fetch_add(1, Ordering::SeqCst) + 1;
        if answered == answers.mark.load(Ordering::SeqCst) {
            deliveries.wake();
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_only_rise() {
        let topic = TopicDeliveries::new();
        assert_eq!(topic.last(3), None);
        topic.acknowledged(3, 7);
        topic.acknowledged(3, 5);
        topic.acknowledged(70, 0);
        topic.acknowledged(4, -1001);
        assert_eq!((topic.last(3), topic.last(70), topic.last(4)), (Some(7), Some(0), None));
        // Beyond what is tracked, and not a partition.
        topic.acknowledged(GROUP as i32 * GROUPS as i32, 1);
        assert_eq!(topic.last(-1), None);
    }

    #[test]
    fn opaque_values_carry_topic_and_epoch() {
        let topic = TopicDeliveries::new();
        let opaque = topic.opaque(EPOCHS - 1);
        assert_eq!(opaque.addr() & EPOCH_MASK, EPOCHS - 1);
        assert_eq!(opaque.addr() & !EPOCH_MASK, Arc::as_ptr(&topic).addr());
        assert_eq!(TopicDeliveries::address(opaque), Arc::as_ptr(&topic).addr());
    }
}
