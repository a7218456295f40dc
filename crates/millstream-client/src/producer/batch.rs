//! A batch from the moment it is closed until it is delivered or given up.

use std::time::Duration;

use bytes::Bytes;
use millstream_protocol::{BatchError, RecordBatchBuilder, header};

use super::tracked::Tracked;
use crate::error::KafkaError;

/// Who writes: the id and its epoch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerId {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// Where the batch stands among those of its producer and partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) producer: ProducerId,
    pub(super) base: i32,
}

enum Contents {
    /// Records that are not packed yet.
    Records(RecordBatchBuilder),
    /// What goes to the broker, with the sequence that is written in it.
    Bytes(Bytes, Option<Sequence>),
}

pub(super) struct Batch {
    contents: Contents,
    pub(super) records: u32,
    /// What it counts for in the queue's bound.
    pub(super) size: usize,
    /// When its first record came.
    pub(super) created: Duration,
    pub(super) flush: u64,
    /// Records whose delivery is to be reported.
    pub(super) tracked: Vec<Tracked>,
    /// Place among the batches of its partition; the second number is for the parts of one that
    /// was split.
    pub(super) order: (u64, u32),
    pub(super) sequence: Option<Sequence>,
    pub(super) attempts: u32,
    /// An attempt ended without a word on whether it was written.
    pub(super) maybe_written: bool,
    /// What the last attempt failed of.
    pub(super) error: Option<KafkaError>,
}

impl Batch {
    pub(super) fn new(
        builder: RecordBatchBuilder,
        size: usize,
        created: Duration,
        flush: u64,
        tracked: Vec<Tracked>,
    ) -> Self {
        Self {
            records: builder.len() as u32,
            contents: Contents::Records(builder),
            size,
            created,
            flush,
            tracked,
            order: (0, 0),
            sequence: None,
            attempts: 0,
            maybe_written: false,
            error: None,
        }
    }

    /// Bytes that the batch takes in a request at most.
    pub(super) fn wire_size(&self) -> usize {
        match &self.contents {
            Contents::Records(builder) => builder.byte_size(),
            Contents::Bytes(bytes, _) => bytes.len(),
        }
    }

    /// Packs the batch into `spare`, writes its sequence into it, and returns the bytes with the
    /// buffer that is free now.
    ///
    /// # Errors
    /// [`BatchError`] if it cannot be packed; it can never be sent then.
    pub(super) fn encode(
        &mut self,
        spare: Vec<u8>,
        level: Option<i32>,
    ) -> Result<(Bytes, Vec<u8>), BatchError> {
        let placeholder = Contents::Bytes(Bytes::new(), None);
        let (bytes, spare) = match std::mem::replace(&mut self.contents, placeholder) {
            Contents::Records(mut builder) => {
                if let Some(Sequence { producer, base }) = self.sequence {
                    builder = builder.producer(producer.id, producer.epoch, base);
                }
                let (batch, spare) = builder.finish_into(0, spare, level)?;
                (Bytes::from(batch), spare)
            }
            Contents::Bytes(bytes, sequence) => match self.sequence {
                Some(Sequence { producer, base }) if self.sequence != sequence => {
                    // Nobody else holds the bytes any more, so this copies nothing.
                    let mut batch = Vec::from(bytes);
                    header::set_producer(&mut batch, producer.id, producer.epoch, base);
                    (Bytes::from(batch), spare)
                }
                _ => (bytes, spare),
            },
        };
        self.contents = Contents::Bytes(bytes.clone(), self.sequence);
        Ok((bytes, spare))
    }

    /// The batch in two halves, if it has more than one record and was encoded. Both keep their
    /// sequence numbers, so that what follows keeps its own.
    ///
    /// # Errors
    /// The batch as it was.
    pub(super) fn split(mut self) -> Result<(Self, Self), Box<Self>> {
        let Contents::Bytes(bytes, _) = &self.contents else { return Err(Box::new(self)) };
        if self.records < 2 {
            return Err(Box::new(self));
        }
        let Ok((first, second)) = halves(bytes, self.records / 2) else {
            return Err(Box::new(self));
        };
        let size = self.size / 2;
        let from = first.len() as u32;
        let (in_first, mut in_second): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.tracked).into_iter().partition(|record| record.at < from);
        in_second.iter_mut().for_each(|record| record.at -= from);
        let part = |builder: RecordBatchBuilder, size, from: u32, tracked| {
            let mut part = Self::new(builder, size, self.created, self.flush, tracked);
            part.order = (self.order.0, self.order.1 + from);
            part.sequence = self.sequence.map(|sequence| Sequence {
                producer: sequence.producer,
                base: header::add_sequence(sequence.base, from as i32),
            });
            // Neither overtakes the other, nor what was sent behind them.
            part.attempts = self.attempts.max(1);
            part
        };
        Ok((part(first, size, 0, in_first), part(second, self.size - size, from, in_second)))
    }

    /// The buffer, to be used again; empty if someone else still reads it.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        match self.contents {
            Contents::Records(builder) => builder.into_buffer(),
            Contents::Bytes(bytes, _) if bytes.is_unique() => Vec::from(bytes),
            Contents::Bytes(..) => Vec::new(),
        }
    }
}

/// The records of a batch of ours in two builders, the first `count` in the first.
fn halves(
    bytes: &[u8],
    count: u32,
) -> Result<(RecordBatchBuilder, RecordBatchBuilder), BatchError> {
    let batch = millstream_protocol::Batch::parse(bytes)?;
    let attributes = batch.header().attributes;
    let new = || -> Result<RecordBatchBuilder, BatchError> {
        let builder = RecordBatchBuilder::new(attributes.compression()?);
        Ok(if attributes.is_transactional() { builder.transactional() } else { builder })
    };
    let (mut first, mut second) = (new()?, new()?);
    let mut scratch = Vec::new();
    for record in batch.records(&mut scratch, i32::MAX as usize)? {
        let record = record?;
        let half = if first.len() < count as usize { &mut first } else { &mut second };
        half.push(record.timestamp, record.key, record.value, record.headers.iter());
    }
    Ok((first, second))
}
