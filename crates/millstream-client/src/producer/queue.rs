//! What is produced and not yet taken over by the machine: one open batch per partition, the
//! records of unknown topics, and the counts.
//!
//! One lock guards all of it. It is uncontended in practice: the producing thread holds it for the
//! time of a copy, and the driver takes it twice per step, to swap out what is closed and to give
//! back what is done; neither packs, sends or waits under it. A lock per partition would cost a
//! record the same one atomic exchange, and a second for the counts.

mod done;
mod topics;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_protocol::RecordBatchBuilder;
use millstream_types::{Clock, Offset, Timestamp};

use super::batch::Batch;
use super::tracked::{DeliveryReport, Tracked};
use super::transaction::{Command, Phase};
use super::waiting::Waiting;
use super::{Partition, ProduceRecord, ProducerEvent, partitioner};
use crate::driver::{Signal, Wake};
use crate::error::{KafkaError, code};
use crate::settings::ProducerSettings;

/// Code of a record that is too large, a broker's and ours.
const MESSAGE_TOO_LARGE: i32 = 10;

/// What front end and machine share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Wakes [`Producer::flush`](super::Producer::flush).
    pub(super) answered: Signal,
}

impl Shared {
    pub(super) fn new(settings: Arc<ProducerSettings>, seed: u64) -> Self {
        Self { queue: Mutex::new(Queue::new(settings, seed)), answered: Signal::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    Full,
    Refused(KafkaError),
}

/// A batch that still grows.
struct Open {
    builder: RecordBatchBuilder,
    size: usize,
    created: Duration,
    flush: u64,
    serial: u64,
    tracked: Vec<Tracked>,
}

impl Open {
    #[inline]
    fn push(
        &mut self,
        record: &ProduceRecord<'_>,
        timestamp: Timestamp,
        size: usize,
        tracked: Option<Tracked>,
    ) {
        if let Some(tracked) = tracked {
            self.tracked.push(Tracked { at: self.builder.len() as u32, ..tracked });
        }
        self.builder.push(timestamp, record.key, record.value, record.headers.iter());
        self.size += size;
    }
}

#[derive(Default)]
struct Slot {
    open: Option<Open>,
    last_delivered: Option<Offset>,
}

pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// By partition; empty while they are not known.
    slots: Vec<Slot>,
    /// Partitions that have a leader.
    available: Vec<u32>,
    sticky: Option<(u32, Duration)>,
    pub(super) waiting: Waiting,
    /// Why the brokers will not have the topic, if they said so for good.
    refusal: Option<KafkaError>,
}

/// Records between one flush and the next.
struct Flush {
    number: u64,
    open: u64,
    failed: u64,
}

/// A batch on its way to the machine.
pub(super) struct Closed {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) batch: Batch,
}

pub(super) struct Queue {
    settings: Arc<ProducerSettings>,
    batch_bytes: usize,
    pub(super) topics: Vec<Topic>,
    /// Topic, partition and serial number of open batches, the oldest first. A batch that was
    /// closed since then leaves its entry behind.
    opened: VecDeque<(u32, u32, u64)>,
    closed: Vec<Closed>,
    next_serial: u64,
    records: u64,
    bytes: usize,
    /// Someone was told that there is no room.
    full: bool,
    /// The driver wakes up by itself before any open batch has to be sent.
    armed: bool,
    pool: Vec<Vec<u8>>,
    pool_bytes: usize,
    flush: Flush,
    /// Flushes that are not done, the oldest first.
    flushes: VecDeque<Flush>,
    events: Vec<ProducerEvent>,
    /// Deliveries of single records that were not fetched yet.
    pub(super) reports: Vec<DeliveryReport>,
    /// The waker was called for what is in `events` and `reports`.
    told: bool,
    pub(super) commands: Vec<Command>,
    /// What the first record failed of since the machine asked: a transaction has to be aborted
    /// for it.
    lost: Option<KafkaError>,
    /// Why nothing can be produced now.
    pub(super) refusal: Option<KafkaError>,
    pub(super) phase: Phase,
    waker: Option<Arc<dyn Wake>>,
    random: u64,
}

impl Queue {
    fn new(settings: Arc<ProducerSettings>, seed: u64) -> Self {
        let phase = Phase::initial(settings.transactional_id.is_some());
        let mut queue = Self {
            batch_bytes: settings.batch_bytes.min(settings.message_max_bytes),
            settings,
            topics: Vec::new(),
            opened: VecDeque::new(),
            closed: Vec::new(),
            next_serial: 0,
            records: 0,
            bytes: 0,
            full: false,
            armed: false,
            pool: Vec::new(),
            pool_bytes: 0,
            flush: Flush { number: 1, open: 0, failed: 0 },
            flushes: VecDeque::new(),
            events: Vec::new(),
            reports: Vec::new(),
            told: false,
            commands: Vec::new(),
            lost: None,
            refusal: None,
            phase: Phase::Without,
            waker: None,
            random: seed,
        };
        queue.set_phase(phase);
        queue
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.refusal = phase.refusal();
        self.phase = phase;
    }

    /// Takes a record; with a token its delivery is reported. Returns whether the driver has to be
    /// woken for it.
    #[inline]
    pub(super) fn append(
        &mut self,
        record: &ProduceRecord<'_>,
        token: Option<u64>,
        clock: &dyn Clock,
    ) -> Result<bool, NotTaken> {
        if let Some(error) = &self.refusal {
            return Err(NotTaken::Refused(error.clone()));
        }
        let header_bytes = match record.headers.is_empty() {
            true => 0,
            false => record.headers.iter().map(|(n, v)| n.len() + v.map_or(0, <[u8]>::len)).sum(),
        };
        let size = RecordBatchBuilder::record_size_max(
            record.key.map_or(0, <[u8]>::len),
            record.value.map_or(0, <[u8]>::len),
            header_bytes,
            record.headers.len(),
        );
        if size > self.settings.message_max_bytes {
            return Err(NotTaken::Refused(KafkaError::with(
                MESSAGE_TOO_LARGE,
                Some("the record is larger than message.max.bytes"),
            )));
        }
        // What nobody has fetched counts, too: a report is no smaller than a record.
        if self.unreported() >= self.settings.queue_max_records as u64
            || (self.bytes + size > self.settings.queue_max_bytes && self.records > 0)
        {
            self.full = true;
            return Err(NotTaken::Full);
        }
        let index = record.topic.0;
        let topic = &mut self.topics[index as usize];
        if topic.slots.is_empty() {
            return self.wait(record, size, token, clock);
        }
        let partition = match record.partition {
            Partition::At(partition) if (partition as u32 as usize) < topic.slots.len() => {
                partition as u32
            }
            Partition::At(_) => return Err(no_such_partition()),
            Partition::ByKey => self.choose(index, record.key, size, clock),
        };
        let timestamp = record.timestamp.unwrap_or_else(|| clock.wall());
        let flush = self.flush.number;
        let tracked = token.map(|token| {
            let produced = clock.monotonic();
            Tracked { token, at: 0, timestamp, produced }
        });
        let wake = self.put(index, partition, record, timestamp, size, flush, None, tracked, clock);
        self.records += 1;
        self.bytes += size;
        self.flush.open += 1;
        Ok(wake)
    }

    /// The partition that the partitioner says.
    #[inline]
    fn choose(&mut self, index: u32, key: Option<&[u8]>, size: usize, clock: &dyn Clock) -> u32 {
        let topic = &self.topics[index as usize];
        let how = self.settings.partitioner;
        match partitioner::by_key(how, key, topic.slots.len() as u32) {
            Some(partition) => partition,
            None => self.choose_any(index, size, clock),
        }
    }

    /// A partition for a record that belongs to none: the last one while its batch has room, or
    /// for the sticky time; then any other that has a leader.
    fn choose_any(&mut self, index: u32, size: usize, clock: &dyn Clock) -> u32 {
        let linger = self.settings.sticky_linger;
        let topic = &self.topics[index as usize];
        if let Some((partition, chosen)) = topic.sticky {
            let open = topic.slots.get(partition as usize).and_then(|slot| slot.open.as_ref());
            let stays = match open {
                Some(open) if !linger.is_zero() => self.has_room(open, size),
                Some(_) => false,
                None => clock.monotonic() < chosen + linger && topic.available.contains(&partition),
            };
            if stays {
                return partition;
            }
        }
        let random = self.random();
        let topic = &mut self.topics[index as usize];
        let count = match topic.available.len() {
            0 => topic.slots.len(),
            count => count,
        };
        let any = |at: usize| topic.available.get(at % count).copied().unwrap_or(at as u32);
        let at = (random % count as u64) as usize;
        let mut partition = any(at);
        if topic.sticky.is_some_and(|(last, _)| last == partition) && !linger.is_zero() {
            partition = any((at + 1) % count);
        }
        topic.sticky = Some((partition, clock.monotonic()));
        partition
    }

    /// SplitMix64: where keyless records go needs no more than that.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn has_room(&self, open: &Open, size: usize) -> bool {
        open.builder.byte_size() + size <= self.batch_bytes
            && open.builder.len() < self.settings.batch_records
            && open.flush == self.flush.number
    }

    /// Appends to the open batch of a partition. Returns whether the driver has to be woken.
    #[expect(
        clippy::too_many_arguments,
        reason = "a record, taken apart so that nothing is copied"
    )]
    #[inline]
    fn put(
        &mut self,
        topic: u32,
        partition: u32,
        record: &ProduceRecord<'_>,
        timestamp: Timestamp,
        size: usize,
        flush: u64,
        created: Option<Duration>,
        tracked: Option<Tracked>,
        clock: &dyn Clock,
    ) -> bool {
        let (batch_bytes, batch_records) = (self.batch_bytes, self.settings.batch_records);
        let slot = &mut self.topics[topic as usize].slots[partition as usize];
        if let Some(open) = &mut slot.open
            && open.builder.byte_size() + size <= batch_bytes
            && open.builder.len() < batch_records
            && open.flush == flush
        {
            open.push(record, timestamp, size, tracked);
            return false;
        }
        let created = created.unwrap_or_else(|| clock.monotonic());
        let wake = self.open(topic, partition, flush, created);
        let slot = &mut self.topics[topic as usize].slots[partition as usize];
        if let Some(open) = &mut slot.open {
            open.push(record, timestamp, size, tracked);
        }
        wake
    }

    /// Closes the open batch of a partition and opens the next one.
    fn open(&mut self, topic: u32, partition: u32, flush: u64, created: Duration) -> bool {
        let full = self.close(topic, partition);
        let buffer = self.pool.pop().unwrap_or_default();
        self.pool_bytes -= buffer.capacity();
        let mut builder = RecordBatchBuilder::new(self.settings.compression).reuse(buffer);
        if self.settings.transactional_id.is_some() {
            builder = builder.transactional();
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.topics[topic as usize].slots[partition as usize].open =
            Some(Open { builder, size: 0, created, flush, serial, tracked: Vec::new() });
        self.opened.push_back((topic, partition, serial));
        // All linger for the same time, so the deadline that the driver knows comes before this
        // one's. Without one it must come and look.
        let unarmed = !std::mem::replace(&mut self.armed, true);
        (full && self.closed.len() == 1) || unarmed
    }

    fn close(&mut self, topic: u32, partition: u32) -> bool {
        let slot = &mut self.topics[topic as usize].slots[partition as usize];
        let Some(open) = slot.open.take() else { return false };
        let batch = Batch::new(open.builder, open.size, open.created, open.flush, open.tracked);
        self.closed.push(Closed { topic, partition, batch });
        true
    }

    fn close_all(&mut self) {
        for (topic, partition, serial) in std::mem::take(&mut self.opened) {
            if self.is_open(topic, partition, serial).is_some() {
                self.close(topic, partition);
            }
        }
    }

    fn is_open(&self, topic: u32, partition: u32, serial: u64) -> Option<&Open> {
        let open = self.topics[topic as usize].slots[partition as usize].open.as_ref();
        open.filter(|open| open.serial == serial)
    }

    /// What is closed, and what has lingered for long enough and `may` be sent now. Also when the
    /// next one will have.
    pub(super) fn collect(
        &mut self,
        now: Duration,
        expired: Option<Duration>,
        mut may: impl FnMut(u32, u32) -> bool,
    ) -> (Vec<Closed>, Option<Duration>) {
        let linger = self.settings.linger;
        let (mut next, mut lingering) = (None, false);
        for (topic, partition, serial) in std::mem::take(&mut self.opened) {
            let Some(open) = self.is_open(topic, partition, serial) else { continue };
            let due = open.created + linger;
            let late = expired.is_some_and(|timeout| open.created + timeout <= now);
            if late || (due <= now && may(topic, partition)) {
                self.close(topic, partition);
                continue;
            }
            if due > now {
                lingering = true;
                next = crate::time::earlier(next, Some(due));
            } else if let Some(timeout) = expired {
                next = crate::time::earlier(next, Some(open.created + timeout));
            }
            self.opened.push_back((topic, partition, serial));
        }
        self.armed = lingering;
        (std::mem::take(&mut self.closed), next)
    }
}

#[cold]
fn no_such_partition() -> NotTaken {
    NotTaken::Refused(KafkaError::of(code::UNKNOWN_PARTITION))
}
