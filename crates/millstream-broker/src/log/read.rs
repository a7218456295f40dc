//! Reading from the log: by offset, by timestamp.

use std::io;

use bytes::{Bytes, BytesMut};
use millstream_protocol::{Batch, BatchError, BatchHeader, BatchIter, HEADER_LEN, Record};

use super::segment::Segment;
use super::{PartitionLog, UNPACKED_MAX};

/// An offset below the log's start or above its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
}

/// Where the last few reads ended: a reader that goes on from there needs no index. One slot per
/// reader that follows the log.
#[derive(Debug, Default)]
pub(crate) struct Places {
    slots: [Option<(i64, i64, u64)>; 8],
    next: usize,
}

impl Places {
    /// The place of exactly that offset in the segment with that first offset.
    fn take(&mut self, offset: i64, segment: i64) -> Option<u64> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| matches!(slot, Some((o, s, _)) if *o == offset && *s == segment))?;
        slot.take().map(|(_, _, place)| place)
    }

    fn put(&mut self, offset: i64, segment: i64, place: u64) {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.next);
        self.slots[slot] = Some((offset, segment, place));
        self.next = (slot + 1) % self.slots.len();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl PartitionLog {
    /// Reads whole batches from the one that holds `offset` on, at most `max_bytes` of them;
    /// with `at_least_one`, the first batch is returned even if it is larger. Empty at the end of
    /// the log. What lies before `offset` in the first batch the reader skips. Nothing is returned
    /// from `end` on, where a batch must begin: the last stable offset, for one.
    ///
    /// # Errors
    /// [`OutOfRange`] inside; what the disk says outside.
    pub(crate) fn read(
        &mut self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        end: i64,
    ) -> io::Result<Result<Bytes, OutOfRange>> {
        if offset < self.start_offset || offset > self.end_offset {
            return Ok(Err(OutOfRange));
        }
        if offset >= self.end_offset.min(end) || (max_bytes == 0 && !at_least_one) {
            return Ok(Ok(Bytes::new()));
        }
        let mut number = self.segment_of(offset);
        loop {
            let segment = &self.segments[number];
            let place = match self.places.take(offset, segment.base) {
                Some(place) => Some(place),
                None => find_batch(segment, offset)?.map(|(place, _)| place),
            };
            // Behind the last batch of a compacted segment there may be a gap before the next.
            if let Some(place) = place.filter(|place| *place < segment.size) {
                let bytes = read_batches(segment, place, max_bytes, at_least_one, end)?;
                if let Some(last) = BatchIter::new(&bytes).flatten().last() {
                    let end = place + bytes.len() as u64;
                    self.places.put(last.header().next_offset(), segment.base, end);
                }
                return Ok(Ok(bytes));
            }
            // The offset lies behind the last batch of this segment.
            number += 1;
            if number == self.segments.len() {
                return Ok(Ok(Bytes::new()));
            }
        }
    }

    /// The first record at or after the start of the log whose timestamp is `target` or later.
    pub(crate) fn find_timestamp(&self, target: i64) -> io::Result<Option<Position>> {
        let first = self.segment_of(self.start_offset);
        for segment in &self.segments[first..] {
            if segment.max_timestamp < target {
                continue;
            }
            let before = segment.times.last_where(|timestamp| timestamp < target)?;
            let from = before.map_or(segment.base, |entry| segment.base + i64::from(entry.offset));
            let Some((mut place, mut header)) = find_batch(segment, from)? else { continue };
            loop {
                if header.max_timestamp >= target && header.last_offset() >= self.start_offset {
                    let found = first_record(segment, place, &header, |record| {
                        record.timestamp >= target && record.offset >= self.start_offset
                    })?;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                place += header.size() as u64;
                if place >= segment.size {
                    break;
                }
                header = segment.header_at(place)?;
            }
        }
        Ok(None)
    }

    /// The first record with the highest timestamp of all.
    pub(crate) fn find_max_timestamp(&self) -> io::Result<Option<Position>> {
        let Some(segment) = self
            .segments
            .iter()
            .filter(|segment| segment.size > 0)
            .rev()
            .max_by_key(|segment| segment.max_timestamp)
        else {
            return Ok(None);
        };
        let timestamp = segment.max_timestamp;
        let Some((place, header)) = find_batch(segment, segment.max_timestamp_offset)? else {
            return Ok(None);
        };
        let found = first_record(segment, place, &header, |record| record.timestamp == timestamp)?;
        Ok(found.filter(|found| found.offset >= self.start_offset))
    }
}

/// The batch that holds `offset`, or the first one behind it in this segment.
pub(super) fn find_batch(segment: &Segment, offset: i64) -> io::Result<Option<(u64, BatchHeader)>> {
    let relative = u32::try_from(offset - segment.base).unwrap_or(0);
    let entry = segment.offsets.last_where(|entry| entry <= relative)?;
    let mut place = entry.map_or(0, |entry| u64::from(entry.place));
    while place < segment.size {
        let header = segment.header_at(place)?;
        if header.last_offset() >= offset {
            return Ok(Some((place, header)));
        }
        place += header.size() as u64;
    }
    Ok(None)
}

fn read_batches(
    segment: &Segment,
    place: u64,
    max_bytes: usize,
    at_least_one: bool,
    end: i64,
) -> io::Result<Bytes> {
    let left = usize::try_from(segment.size - place).unwrap_or(usize::MAX);
    let mut bytes = read_exactly(segment, place, left.min(max_bytes.max(HEADER_LEN)))?;
    let mut whole = 0;
    for batch in BatchIter::new(&bytes) {
        let batch = batch.map_err(io::Error::other)?;
        if batch.header().base_offset >= end {
            break;
        }
        whole += batch.bytes().len();
    }
    let first = BatchHeader::parse(&bytes).map_err(io::Error::other)?;
    if whole > 0 && whole <= max_bytes {
        bytes.truncate(whole);
    } else if at_least_one && first.base_offset < end {
        let size = first.size();
        bytes = read_exactly(segment, place, size)?;
    } else {
        bytes.clear();
    }
    Ok(bytes.freeze())
}

fn read_exactly(segment: &Segment, place: u64, length: usize) -> io::Result<BytesMut> {
    let mut bytes = BytesMut::zeroed(length);
    let read = segment.file.read_at(&mut bytes, place)?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn first_record(
    segment: &Segment,
    place: u64,
    header: &BatchHeader,
    wanted: impl Fn(&Record<'_>) -> bool,
) -> io::Result<Option<Position>> {
    let bytes = read_exactly(segment, place, header.size())?;
    let mut scratch = Vec::new();
    let mut search = || -> Result<Option<Position>, BatchError> {
        let batch = Batch::parse(&bytes)?;
        for record in batch.records(&mut scratch, UNPACKED_MAX)? {
            let record = record?;
            if wanted(&record) {
                let (offset, timestamp) = (record.offset, record.timestamp);
                return Ok(Some(Position { offset, timestamp }));
            }
        }
        Ok(None)
    };
    search().map_err(io::Error::other)
}
