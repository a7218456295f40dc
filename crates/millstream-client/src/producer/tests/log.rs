//! A slow, obvious twin of a partition's log with Kafka's checks of sequence numbers.

use std::collections::{HashMap, VecDeque};

use millstream_protocol::{Batch, BatchIter};

pub(super) const OUT_OF_ORDER: i16 = 45;
pub(super) const INVALID_EPOCH: i16 = 47;

/// A record as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) timestamp: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

#[derive(Clone, Debug, Default)]
struct Writer {
    epoch: i16,
    /// First and last sequence number and base offset of the last five batches.
    batches: VecDeque<(i32, i32, i64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<Written>,
    pub(super) batches: usize,
    writers: HashMap<i64, Writer>,
    has_forgotten: bool,
    /// Ids and epochs that have written, in order.
    pub(super) epochs: Vec<(i64, i16)>,
}

impl Log {
    /// Appends a produced batch. Returns its base offset, or an error code.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<i64, i16> {
        let mut iter = BatchIter::new(bytes);
        let batch = iter.next().expect("one batch").expect("a good batch");
        assert!(iter.next().is_none() && iter.rest().is_empty(), "one batch per partition");
        batch.check().expect("a good checksum");
        let header = *batch.header();
        let offset = self.records.len() as i64;
        if header.has_producer() {
            if let Some(earlier) = self.check(&batch)? {
                return Ok(earlier);
            }
            let writer = self.writers.entry(header.producer_id).or_default();
            if writer.epoch != header.producer_epoch {
                writer.batches.clear();
            }
            writer.epoch = header.producer_epoch;
            writer.batches.push_back((header.base_sequence, header.last_sequence(), offset));
            if writer.batches.len() > 5 {
                writer.batches.pop_front();
            }
            let who = (header.producer_id, header.producer_epoch);
            if self.epochs.last() != Some(&who) {
                self.epochs.push(who);
            }
        }
        let mut scratch = Vec::new();
        for record in batch.records(&mut scratch, 1 << 24).expect("records") {
            let record = record.expect("a good record");
            self.records.push(Written {
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                    .collect(),
            });
        }
        self.batches += 1;
        Ok(offset)
    }

    /// The offset of a batch that is there already, or nothing if it comes in turn.
    fn check(&self, batch: &Batch<'_>) -> Result<Option<i64>, i16> {
        let header = batch.header();
        let Some(writer) = self.writers.get(&header.producer_id) else {
            // Like Kafka, it takes any number of a producer that it does not know.
            let taken = !self.has_forgotten || header.base_sequence == 0;
            return if taken { Ok(None) } else { Err(OUT_OF_ORDER) };
        };
        if header.producer_epoch < writer.epoch {
            return Err(INVALID_EPOCH);
        }
        if header.producer_epoch > writer.epoch {
            return if header.base_sequence == 0 { Ok(None) } else { Err(OUT_OF_ORDER) };
        }
        let same = |(first, last, _): &&(i32, i32, i64)| {
            *first == header.base_sequence && *last == header.last_sequence()
        };
        if let Some((_, _, offset)) = writer.batches.iter().find(same) {
            return Ok(Some(*offset));
        }
        let (_, last, _) = *writer.batches.back().expect("a writer has written");
        let next = if last == i32::MAX { 0 } else { last + 1 };
        if header.base_sequence == next { Ok(None) } else { Err(OUT_OF_ORDER) }
    }

    /// Forgets all producers, as if the log had been lost behind a point, and from here on misses
    /// the numbers before the one that comes.
    pub(super) fn forget_writers(&mut self) {
        self.has_forgotten = true;
        self.writers.clear();
    }

    /// The values as numbers.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let number = |record: &Written| {
            let value = record.value.as_ref().expect("a value");
            u64::from_be_bytes(value[..8].try_into().expect("eight bytes"))
        };
        self.records.iter().map(number).collect()
    }
}
