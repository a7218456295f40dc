//! Reading from the log: by offset, by timestamp.

use std::io;

use bytes::{Bytes, BytesMut};
use millstream_protocol::{Batch, BatchError, BatchHeader, BatchIter, HEADER_LEN, Record};

use super::segment::Segment;
use super::window::Window;
use super::{PartitionLog, UNPACKED_MAX};
use crate::disk::Piece;

/// Up to so much is read at once, whatever it is: of more, only the headers are looked at, and the
/// file itself goes to the client.
const READ_MAX: usize = 64 << 10;

/// An offset below the log's start or above its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

/// Batches of a log, one behind the other.
#[derive(Debug)]
pub(crate) struct Batches {
    pub(crate) bytes: Piece,
    /// The offset behind them; the one that was asked for if there are none.
    pub(crate) next: i64,
}

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
    /// Finds whole batches from the one that holds `offset` on, at most `max_bytes` of them; with
    /// `at_least_one`, the first batch comes even if it is larger. Nothing at the end of the log.
    /// What lies before `offset` in the first batch the reader skips. Nothing comes from `end` on,
    /// where a batch must begin: the last stable offset, for one.
    ///
    /// # Errors
    /// [`OutOfRange`] inside; what the disk says outside.
    pub(crate) fn find(
        &mut self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        end: i64,
    ) -> io::Result<Result<Batches, OutOfRange>> {
        self.find_reading_up_to(offset, max_bytes, at_least_one, end, READ_MAX)
    }

    fn find_reading_up_to(
        &mut self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        end: i64,
        read_max: usize,
    ) -> io::Result<Result<Batches, OutOfRange>> {
        if offset < self.start_offset || offset > self.end_offset {
            return Ok(Err(OutOfRange));
        }
        let nothing = Batches { bytes: Bytes::new().into(), next: offset };
        if offset >= self.end_offset.min(end) || (max_bytes == 0 && !at_least_one) {
            return Ok(Ok(nothing));
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
                let left = usize::try_from(segment.size - place).unwrap_or(usize::MAX);
                let stretch = Stretch { place, max_bytes, at_least_one, end };
                let found = match left.min(max_bytes) <= read_max {
                    true => stretch.read(segment)?,
                    false => stretch.walk(segment)?,
                };
                let Some((next, bytes)) = found else { return Ok(Ok(nothing)) };
                self.places.put(next, segment.base, place + bytes.len() as u64);
                return Ok(Ok(Batches { bytes, next }));
            }
            // The offset lies behind the last batch of this segment.
            number += 1;
            if number == self.segments.len() {
                return Ok(Ok(nothing));
            }
        }
    }

    /// What [`find`](Self::find) finds, read; by either of its ways, which must agree.
    #[cfg(test)]
    pub(crate) fn read(
        &mut self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        end: i64,
    ) -> io::Result<Result<Bytes, OutOfRange>> {
        let mut by = |read_max| {
            let found = self.find_reading_up_to(offset, max_bytes, at_least_one, end, read_max)?;
            io::Result::Ok(match found {
                Ok(found) => Ok((found.next, found.bytes.into_bytes()?)),
                Err(out_of_range) => Err(out_of_range),
            })
        };
        let walked = by(0)?;
        let read = by(usize::MAX)?;
        assert_eq!(walked, read);
        Ok(read.map(|(_, bytes)| bytes))
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

/// Which batches are wanted of a segment.
struct Stretch {
    /// Of the first one.
    place: u64,
    max_bytes: usize,
    at_least_one: bool,
    end: i64,
}

impl Stretch {
    /// Reads them, and returns them with the offset behind them.
    fn read(&self, segment: &Segment) -> io::Result<Option<(i64, Piece)>> {
        let left = usize::try_from(segment.size - self.place).unwrap_or(usize::MAX);
        let mut bytes =
            read_exactly(segment, self.place, left.min(self.max_bytes.max(HEADER_LEN)))?;
        let (mut whole, mut next) = (0, None);
        for batch in BatchIter::new(&bytes) {
            let batch = batch.map_err(io::Error::other)?;
            if batch.header().base_offset >= self.end {
                break;
            }
            whole += batch.bytes().len();
            next = Some(batch.header().next_offset());
        }
        if let Some(next) = next.filter(|_| whole <= self.max_bytes) {
            bytes.truncate(whole);
            return Ok(Some((next, bytes.freeze().into())));
        }
        let first = BatchHeader::parse(&bytes).map_err(io::Error::other)?;
        if !self.at_least_one || first.base_offset >= self.end {
            return Ok(None);
        }
        Ok(Some((first.next_offset(), self.piece(segment, first.size())?)))
    }

    /// Looks at their headers only.
    fn walk(&self, segment: &Segment) -> io::Result<Option<(i64, Piece)>> {
        let mut window = Window::default();
        let (mut at, mut next) = (self.place, None);
        while at < segment.size {
            let header = window.header(segment, at, segment.size)?;
            let behind = at + header.size() as u64;
            let is_much = behind - self.place > self.max_bytes as u64;
            let is_needed = next.is_none() && self.at_least_one;
            if header.base_offset >= self.end || (is_much && !is_needed) {
                break;
            }
            next = Some(header.next_offset());
            at = behind;
        }
        let Some(next) = next else { return Ok(None) };
        Ok(Some((next, self.piece(segment, (at - self.place) as usize)?)))
    }

    /// The `length` bytes of it: a few are not worth an open file.
    fn piece(&self, segment: &Segment, length: usize) -> io::Result<Piece> {
        match length <= READ_MAX {
            true => Ok(read_exactly(segment, self.place, length)?.freeze().into()),
            false => segment.file.piece(self.place, length),
        }
    }
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
