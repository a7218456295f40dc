//! What a partition remembers of idempotent producers (KIP-98): which sequence numbers came
//! last, so that a batch that was sent twice is stored once, and one that is missing is noticed.
//!
//! Per producer id: its epoch and its last five batches (a producer may have five requests in
//! flight). The field for an open transaction is kept and stored, but nothing sets it yet.

use std::collections::{BTreeMap, VecDeque};

use millstream_protocol::BatchHeader;
use millstream_protocol::header::add_sequence;

use crate::journal::Fields;

/// Batches remembered per producer; what Kafka's `max.in.flight.requests.per.connection` allows.
const BATCHES_MAX: usize = 5;
/// First byte of a snapshot.
const SNAPSHOT_VERSION: u8 = 1;

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A batch is missing in between.
    OutOfOrder,
    /// A newer instance of the producer has taken over.
    Fenced,
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
    /// Time of the last batch, for expiry.
    last_ms: i64,
    /// First offset of a transaction that is neither committed nor aborted.
    transaction_start: Option<i64>,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: BTreeMap<i64, Producer>,
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
        match producer.batches.back() {
            Some(last) if add_sequence(last.last_sequence, 1) != header.base_sequence => {
                Err(Refusal::OutOfOrder)
            }
            _ => Ok(Verdict::New),
        }
    }

    /// Notes a batch that is in the log now.
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
        self.by_id.values().filter_map(|producer| producer.transaction_start).min()
    }

    /// The highest id among them that is below `limit`.
    pub(crate) fn highest_id(&self, limit: i64) -> Option<i64> {
        self.by_id.range(..limit).next_back().map(|(id, _)| *id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Id, epoch, last sequence number and time of the last batch of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, i16, i32, i64)> + '_ {
        self.by_id.iter().map(|(id, producer)| {
            let last = producer.batches.back().map_or(-1, |batch| batch.last_sequence);
            (*id, producer.epoch, last, producer.last_ms)
        })
    }

    /// Encodes all: a version byte, a CRC-32C of what follows, then per producer id, epoch, time,
    /// transaction start (-1 for none) and its batches.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![SNAPSHOT_VERSION, 0, 0, 0, 0];
        for (id, producer) in &self.by_id {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&i32::from(producer.epoch).to_be_bytes());
            out.extend_from_slice(&producer.last_ms.to_be_bytes());
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
        if version != SNAPSHOT_VERSION || u32::from_be_bytes(crc) != crc_of(fields.0) {
            return None;
        }
        let mut by_id = BTreeMap::new();
        while !fields.0.is_empty() {
            let id = fields.i64()?;
            let epoch = i16::try_from(fields.i32()?).ok()?;
            let last_ms = fields.i64()?;
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
            by_id.insert(id, Producer { epoch, batches, last_ms, transaction_start });
        }
        Some(Self { by_id })
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    millstream_protocol::crc32c(bytes)
}
