//! Batches in a run of bytes, as a fetch answer or a segment file holds them.

use crate::header::CRC_START;
use crate::{BatchError, BatchHeader, Compression, HEADER_LEN, Record, RecordIter};

/// One batch: its header, decoded, and its bytes, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch at the front of `bytes`, without looking at its records.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Length`] or [`BatchError::Magic`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let size = header.size();
        match bytes.get(..size) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(BatchError::Truncated { missing: size - bytes.len() }),
        }
    }

    /// The decoded header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Header and records as they came.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Compares the checksum.
    ///
    /// # Errors
    /// [`BatchError::Checksum`].
    pub fn check(&self) -> Result<(), BatchError> {
        let found = ::crc32c::crc32c(&self.bytes[CRC_START..]);
        let stated = self.header.crc;
        if found == stated { Ok(()) } else { Err(BatchError::Checksum { found, stated }) }
    }

    /// Walks the records. A compressed batch is unpacked into `scratch` first, to at most
    /// `limit` bytes; an uncompressed one is walked where it lies.
    ///
    /// # Errors
    /// [`BatchError::Codec`], [`BatchError::Unpack`] or [`BatchError::TooLarge`]; what is wrong
    /// with a record comes out of the iterator.
    pub fn records<'s>(
        &self,
        scratch: &'s mut Vec<u8>,
        limit: usize,
    ) -> Result<RecordIter<'s>, BatchError>
    where
        'a: 's,
    {
        let packed = &self.bytes[HEADER_LEN..];
        let records = match self.header.attributes.compression()? {
            Compression::None => packed,
            codec => {
                scratch.clear();
                codec.unpack(packed, scratch, limit)?;
                &scratch[..]
            }
        };
        Ok(RecordIter::new(self.header, records))
    }

    /// Checks everything a broker must know before it stores a producer's batch: the records
    /// fill the bytes exactly and their offsets count up from 0 to the header's last one.
    /// `on_record` sees each record. The checksum is not part of it, see [`check`](Self::check).
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(
        &self,
        scratch: &mut Vec<u8>,
        limit: usize,
        mut on_record: impl FnMut(&Record<'_>),
    ) -> Result<(), BatchError> {
        let header = self.header;
        let stated = header.record_count;
        if stated < 1 {
            return Err(BatchError::Count { stated });
        }
        if header.last_offset_delta != stated - 1 {
            return Err(BatchError::Offsets);
        }
        let mut expected = header.base_offset;
        for record in self.records(scratch, limit)? {
            let record = record?;
            if record.offset != expected {
                return Err(BatchError::Offsets);
            }
            expected = expected.wrapping_add(1);
            on_record(&record);
        }
        Ok(())
    }
}

/// Splits bytes into batches. Bytes that end inside a batch (a fetch answer may be cut off) end
/// the iteration without an error; [`rest`](Self::rest) then is not empty.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    bytes: &'a [u8],
    failed: bool,
}

impl<'a> BatchIter<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, failed: false }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.bytes.is_empty() {
            return None;
        }
        match Batch::parse(self.bytes) {
            Ok(batch) => {
                self.bytes = &self.bytes[batch.bytes.len()..];
                Some(Ok(batch))
            }
            Err(BatchError::Truncated { .. }) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
