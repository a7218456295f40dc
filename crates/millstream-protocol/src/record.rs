//! The records inside a batch: borrowed, walked one after the other.

use crate::{BatchError, BatchHeader, varint};

/// One record, borrowed from the (unpacked) bytes of its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch; the batch's append time where the broker set it.
    pub timestamp: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, already checked.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// What a control record says; `None` if the key is not one of a known kind. Only records
    /// of a batch with the control attribute are control records.
    pub fn control_type(&self) -> Option<ControlType> {
        match self.key? {
            [_, _, 0, 0, ..] => Some(ControlType::Abort),
            [_, _, 0, 1, ..] => Some(ControlType::Commit),
            _ => None,
        }
    }
}

/// How a transaction ended (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// Its records do not count.
    Abort,
    /// Its records count.
    Commit,
}

/// The headers of a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Headers<'a> {
    /// Number of headers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers as they lie in the record, behind their count.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Name and value of each header, in order.
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter { bytes: self.bytes, left: self.count }
    }
}

/// Iterator over name and value of headers.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // RecordIter has walked these bytes once; a failure here would be a bug, not bad input.
        let name = read_bytes(&mut self.bytes)??;
        let value = read_bytes(&mut self.bytes)?;
        Some((std::str::from_utf8(name).ok()?, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeaderIter<'_> {}

/// Walks the records of a batch. After an error the walk is over.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    bytes: &'a [u8],
    header: BatchHeader,
    index: i32,
}

impl<'a> RecordIter<'a> {
    /// Walks `bytes`, the unpacked records behind `header`.
    pub(crate) fn new(header: BatchHeader, bytes: &'a [u8]) -> Self {
        Self { bytes, header, index: 0 }
    }

    /// Walks on where another walk of the same batch stopped: `bytes` is what that walk's
    /// [`rest`](Self::rest) was, `index` its [`index`](Self::index).
    pub fn resume(header: BatchHeader, bytes: &'a [u8], index: i32) -> Self {
        Self { bytes, header, index }
    }

    /// The bytes of the records that were not walked yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many records were walked; `i32::MAX` after an error.
    pub fn index(&self) -> i32 {
        self.index
    }

    // In its callers' loops, where most of a record stays in registers and what nobody looks at is
    // never put together: a record's walk is what consuming and checking cost most.
    #[inline(always)]
    fn read(&mut self) -> Result<Record<'a>, BatchError> {
        let index = self.index;
        let bad_number = BatchError::Varint { index };
        let length = varint::read_i32(&mut self.bytes).ok_or(BatchError::Varint { index })?;
        let Some((mut body, rest)) =
            usize::try_from(length).ok().and_then(|length| self.bytes.split_at_checked(length))
        else {
            return Err(BatchError::RecordLength { index });
        };
        self.bytes = rest;
        let [_attributes, after @ ..] = body else {
            return Err(BatchError::RecordLength { index });
        };
        body = after;
        let timestamp_delta = varint::read_i64(&mut body).ok_or(BatchError::Varint { index })?;
        let offset_delta = varint::read_i32(&mut body).ok_or(bad_number)?;
        let bad_length = || BatchError::RecordLength { index };
        let key = read_bytes(&mut body).ok_or_else(bad_length)?;
        let value = read_bytes(&mut body).ok_or_else(bad_length)?;
        // Most records have none.
        let headers = match body {
            [0] => Headers { bytes: &[], count: 0 },
            _ => read_headers(body, index)?,
        };
        let timestamp = if self.header.attributes.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp.wrapping_add(timestamp_delta)
        };
        let offset = self.header.base_offset.wrapping_add(i64::from(offset_delta));
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let stated = self.header.record_count;
        if self.index >= stated {
            if self.bytes.is_empty() || self.index == i32::MAX {
                return None;
            }
            self.index = i32::MAX;
            return Some(Err(BatchError::Count { stated }));
        }
        let mut record = self.read();
        if self.bytes.is_empty() && self.index + 1 < stated && record.is_ok() {
            record = Err(BatchError::Count { stated });
        }
        self.index = if record.is_ok() { self.index + 1 } else { i32::MAX };
        Some(record)
    }
}

// Rare, and would make every caller's loop larger.
#[inline(never)]
fn read_headers(mut bytes: &[u8], index: i32) -> Result<Headers<'_>, BatchError> {
    let count = varint::read_i32(&mut bytes).ok_or(BatchError::Varint { index })?;
    let headers = Headers {
        bytes,
        // A header takes two bytes at least, so a larger count is a lie.
        count: usize::try_from(count)
            .ok()
            .filter(|count| *count <= bytes.len() / 2)
            .ok_or(BatchError::RecordLength { index })?,
    };
    for _ in 0..headers.count {
        let name = read_bytes(&mut bytes).flatten().ok_or(BatchError::RecordLength { index })?;
        std::str::from_utf8(name).map_err(|_| BatchError::HeaderName { index })?;
        read_bytes(&mut bytes).ok_or(BatchError::RecordLength { index })?;
    }
    if bytes.is_empty() { Ok(headers) } else { Err(BatchError::RecordLength { index }) }
}

/// Length-prefixed bytes; -1 is null. `None` if the length lies.
#[inline]
fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(taken))
}
