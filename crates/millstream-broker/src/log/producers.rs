//! What a partition remembers of idempotent producers (KIP-98): which sequence numbers came
//! last, so that a batch that was sent twice is stored once, and one that is missing is noticed;
//! and which transactions are open.
//!
//! Per producer id: its epoch, its last five batches (a producer may have five requests in
//! flight), and where its open transaction began. Open transactions are also kept in the order
//! of their first offsets: the lowest is the last stable offset, which every fetch asks for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millstream_protocol::BatchHeader;
use millstream_protocol::header::add_sequence;

use super::marker::Marker;
use crate::journal::Fields;

/// Batches remembered per producer; what Kafka's `max.in.flight.requests.per.connection` allows.
const BATCHES_MAX: usize = 5;
/// First byte of a snapshot.
///
/// Version 1 had no coordinator epochs; it is read still.
const SNAPSHOT_VERSION: u8 = 2;
/// Coordinator epoch of a producer for whom no marker was written.
pub(crate) const NO_COORDINATOR_EPOCH: i32 = -1;

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A batch is missing in between.
    OutOfOrder,
    /// A newer instance of the producer has taken over.
    Fenced,
    /// A batch outside of the transaction that is open.
    OutsideTransaction,
}

/// What to do with a producer's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    New,
    /// It is in the log already, at these offsets.
    Duplicate { base_offset: i64, timestamp: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
    /// Time of the last batch, for expiry.
    last_ms: i64,
    /// Epoch of the coordinator that wrote its last marker, -1 if none did.
    coordinator_epoch: i32,
    /// First offset of a transaction that is neither committed nor aborted.
    transaction_start: Option<i64>,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            epoch: 0,
            batches: VecDeque::new(),
            last_ms: 0,
            coordinator_epoch: NO_COORDINATOR_EPOCH,
            transaction_start: None,
        }
    }
}

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActiveProducer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    /// -1 if it has written nothing in this epoch.
    pub(crate) last_sequence: i32,
    /// Time of its last batch or marker.
    pub(crate) last_ms: i64,
    /// -1 if there was no marker yet.
    pub(crate) coordinator_epoch: i32,
    pub(crate) transaction_start: Option<i64>,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// Open transactions: first offset, producer id.
    open: BTreeSet<(i64, i64)>,
}

impl Producers {
    /// Decides on a batch. A producer that is not known (expired, or its records are gone) may
    /// begin with any number, as in Kafka.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, Refusal> {
        let Some(producer) = self.by_id.get(&header.producer_id) else { return Ok(Verdict::New) };
        if header.producer_epoch < producer.epoch {
            return Err(Refusal::Fenced);
        }
        if header.producer_epoch > producer.epoch {
            let fresh = header.base_sequence == 0;
            return if fresh { Ok(Verdict::New) } else { Err(Refusal::OutOfOrder) };
        }
        let same = |batch: &&Written| {
            batch.first_sequence == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        };
        if let Some(batch) = producer.batches.iter().find(same) {
            let (base_offset, timestamp) = (batch.base_offset, batch.timestamp);
            return Ok(Verdict::Duplicate { base_offset, timestamp });
        }
        if producer.transaction_start.is_some() && !header.attributes.is_transactional() {
            return Err(Refusal::OutsideTransaction);
        }
        // An epoch that a marker has begun has no batch yet: it must start with the first.
        let last = producer.batches.back();
        let expected = last.map_or(0, |last| add_sequence(last.last_sequence, 1));
        if header.base_sequence == expected { Ok(Verdict::New) } else { Err(Refusal::OutOfOrder) }
    }

    /// Whether a batch is what its producer's state rests on: its last one, or the marker that
    /// has begun its epoch. A start that has lost the snapshots reads the state from there.
    pub(crate) fn rest_on(&self, header: &BatchHeader) -> bool {
        let known = self.by_id.get(&header.producer_id).filter(|_| header.has_producer());
        let Some(producer) = known else { return false };
        let control = header.attributes.is_control();
        match producer.batches.back() {
            Some(last) => !control && last.base_offset == header.base_offset,
            None => control && header.producer_epoch == producer.epoch,
        }
    }

    /// Notes a producer's batch that is in the log now.
    pub(crate) fn note(&mut self, header: &BatchHeader, now_ms: i64) {
        if !header.has_producer() || header.attributes.is_control() {
            return;
        }
        let producer = self.by_id.entry(header.producer_id).or_default();
        if header.producer_epoch > producer.epoch {
            producer.batches.clear();
        }
        producer.epoch = header.producer_epoch;
        producer.last_ms = now_ms;
        if producer.batches.len() == BATCHES_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            timestamp: header.max_timestamp,
        });
        if header.attributes.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(header.base_offset);
            self.open.insert((header.base_offset, header.producer_id));
        }
    }

    /// Notes a marker that is in the log now. Returns where the transaction began that it ended,
    /// if one was open.
    pub(crate) fn end(&mut self, marker: &Marker, now_ms: i64) -> Option<i64> {
        let producer = self.by_id.entry(marker.producer_id).or_default();
        if marker.epoch > producer.epoch {
            producer.batches.clear();
            producer.epoch = marker.epoch;
        }
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_ms = now_ms;
        let start = producer.transaction_start.take()?;
        self.open.remove(&(start, marker.producer_id));
        Some(start)
    }

    /// Forgets producers that have been silent for longer than `expiration_ms`.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.transaction_start.is_some()
                || now_ms.saturating_sub(producer.last_ms) < expiration_ms
        });
    }

    /// First offset of the oldest open transaction.
    pub(crate) fn first_open_transaction(&self) -> Option<i64> {
        self.open.first().map(|(start, _)| *start)
    }

    /// First offset of a producer's open transaction.
    pub(crate) fn transaction_of(&self, id: i64) -> Option<i64> {
        self.by_id.get(&id)?.transaction_start
    }

    /// Id and epoch of each producer with an open transaction.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = (i64, i16)> + '_ {
        self.open.iter().filter_map(|(_, id)| Some((*id, self.by_id.get(id)?.epoch)))
    }

    /// A producer's epoch, and that of the coordinator which wrote its last marker.
    pub(crate) fn epochs_of(&self, id: i64) -> Option<(i16, i32)> {
        self.by_id.get(&id).map(|producer| (producer.epoch, producer.coordinator_epoch))
    }

    /// The highest id among them that is below `limit`.
    pub(crate) fn highest_id(&self, limit: i64) -> Option<i64> {
        self.by_id.range(..limit).next_back().map(|(id, _)| *id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All producers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.by_id.iter().map(|(id, producer)| ActiveProducer {
            id: *id,
            epoch: producer.epoch,
            last_sequence: producer.batches.back().map_or(-1, |batch| batch.last_sequence),
            last_ms: producer.last_ms,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: producer.transaction_start,
        })
    }

    /// Encodes all: a version byte, a CRC-32C of what follows, then per producer id, epoch, time,
    /// coordinator epoch, transaction start (-1 for none) and its batches.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![SNAPSHOT_VERSION, 0, 0, 0, 0];
        for (id, producer) in &self.by_id {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&i32::from(producer.epoch).to_be_bytes());
            out.extend_from_slice(&producer.last_ms.to_be_bytes());
            out.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
            out.extend_from_slice(&producer.transaction_start.unwrap_or(-1).to_be_bytes());
            out.extend_from_slice(&(producer.batches.len() as i32).to_be_bytes());
            for batch in &producer.batches {
                out.extend_from_slice(&batch.first_sequence.to_be_bytes());
                out.extend_from_slice(&batch.last_sequence.to_be_bytes());
                out.extend_from_slice(&batch.base_offset.to_be_bytes());
                out.extend_from_slice(&batch.timestamp.to_be_bytes());
            }
        }
        let crc = crc_of(&out[5..]);
        out[1..5].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is not that.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let ([version], crc) = (fields.fixed()?, fields.fixed()?);
        if !(1..=SNAPSHOT_VERSION).contains(&version) || u32::from_be_bytes(crc) != crc_of(fields.0)
        {
            return None;
        }
        let mut producers = Self::default();
        while !fields.0.is_empty() {
            let id = fields.i64()?;
            let epoch = i16::try_from(fields.i32()?).ok()?;
            let last_ms = fields.i64()?;
            let coordinator_epoch = if version >= 2 { fields.i32()? } else { NO_COORDINATOR_EPOCH };
            let start = fields.i64()?;
            let mut batches = VecDeque::new();
            for _ in 0..fields.i32()? {
                batches.push_back(Written {
                    first_sequence: fields.i32()?,
                    last_sequence: fields.i32()?,
                    base_offset: fields.i64()?,
                    timestamp: fields.i64()?,
                });
            }
            let transaction_start = (start >= 0).then_some(start);
            producers.open.extend(transaction_start.map(|start| (start, id)));
            let producer =
                Producer { epoch, batches, last_ms, coordinator_epoch, transaction_start };
            producers.by_id.insert(id, producer);
        }
        Some(producers)
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    millstream_protocol::crc32c(bytes)
}
