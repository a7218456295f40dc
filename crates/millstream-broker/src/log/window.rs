//! Reading a segment batch by batch through one buffer: a system call per batch would cost more
//! than the batch.

use std::io;

use millstream_protocol::{Batch, BatchError, BatchHeader, HEADER_LEN};

use super::segment::Segment;

/// Read at once; a batch that is larger makes the buffer as large as it needs to be.
const WINDOW_BYTES: usize = 64 << 10;
/// Headers that are farther apart are read one by one.
const STRIDE_MAX: u64 = 2 << 10;

/// A stretch of one segment's file.
#[derive(Debug, Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Place of the first of them in the file.
    from: u64,
    /// Place of the last header that was asked for.
    last: u64,
}

/// Why there is no batch at a place.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// What the disk says.
    Disk(io::Error),
    /// What lies there is no batch.
    Batch(BatchError),
}

impl From<Unreadable> for io::Error {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::Disk(error) => error,
            Unreadable::Batch(error) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl Window {
    /// The batch header at `place` of a segment whose batches end at `end`. One window reads one
    /// segment.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(super) fn header(
        &mut self,
        segment: &Segment,
        place: u64,
        end: u64,
    ) -> Result<BatchHeader, Unreadable> {
        let far = place.saturating_sub(self.last) > STRIDE_MAX;
        self.last = place;
        let ahead = if far { HEADER_LEN } else { WINDOW_BYTES };
        let bytes = self.fill(segment, place, HEADER_LEN, ahead, end).map_err(Unreadable::Disk)?;
        let header = BatchHeader::parse(bytes).map_err(Unreadable::Batch)?;
        let missing = (header.size() as u64).saturating_sub(end - place);
        if missing > 0 {
            return Err(Unreadable::Batch(BatchError::Truncated { missing: missing as usize }));
        }
        Ok(header)
    }

    /// The whole batch at `place`.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(super) fn batch(
        &mut self,
        segment: &Segment,
        place: u64,
        end: u64,
    ) -> Result<Batch<'_>, Unreadable> {
        self.last = place;
        let header = self.header(segment, place, end)?;
        let bytes = self
            .fill(segment, place, header.size(), WINDOW_BYTES, end)
            .map_err(Unreadable::Disk)?;
        Batch::parse(bytes).map_err(Unreadable::Batch)
    }

    /// At least `wanted` bytes from `place` on, or as many as there are; what must be read for
    /// it is read up to `ahead`.
    fn fill(
        &mut self,
        segment: &Segment,
        place: u64,
        wanted: usize,
        ahead: usize,
        end: u64,
    ) -> io::Result<&[u8]> {
        let left = usize::try_from(end.saturating_sub(place)).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let skip = place.checked_sub(self.from).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = skip.filter(|skip| skip + wanted <= self.bytes.len()) {
            return Ok(&self.bytes[skip..]);
        }
        self.from = place;
        self.bytes.resize(wanted.max(ahead).min(left), 0);
        let read = segment.file.read_at(&mut self.bytes, place)?;
        self.bytes.truncate(read);
        Ok(&self.bytes)
    }
}
