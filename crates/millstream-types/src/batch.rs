//! A run of records of one partition: one arena of bytes and a table of small entries.

use std::ops::Range;

use bytes::Bytes;

use crate::{Offset, Timestamp, TopicPartition};

/// What a record's timestamp means (parity row T-08; the numbers are part of the API).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TimestampType {
    /// The record carries no timestamp.
    #[default]
    NotAvailable = 0,
    /// Set by the producer.
    CreateTime = 1,
    /// Set by the broker when it appended the record.
    LogAppendTime = 2,
}

/// Where one record lies in the arena of its [`RecordBatch`]. Fixed size, owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct RecordEntry {
    /// Offset in the partition.
    pub offset: Offset,
    /// Milliseconds since the epoch; -1 where the record has none.
    pub timestamp: Timestamp,
    /// What `timestamp` means.
    pub timestamp_type: TimestampType,
    /// Epoch of the leader that served the record, -1 if unknown.
    pub leader_epoch: i32,
    /// Start of the key; `NULL` where the record has no key.
    key_start: u32,
    key_len: u32,
    value_start: u32,
    value_len: u32,
    headers_start: u32,
    headers_len: u32,
    header_count: u32,
}

/// Start value that marks an absent key or value.
const NULL: u32 = u32::MAX;

/// Records of one partition in offset order: one arena of bytes plus a table of entries. No
/// record owns an allocation; handing a key or value on as [`Bytes`] counts a reference.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    topic_partition: TopicPartition,
    arena: Bytes,
    entries: Vec<RecordEntry>,
    size: usize,
}

impl RecordBatch {
    /// The partition all records come from.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn byte_size(&self) -> usize {
        self.size
    }

    /// The record at `index` (not: at an offset).
    ///
    /// # Panics
    /// If `index >= len()`.
    pub fn get(&self, index: usize) -> RecordView<'_> {
        RecordView { batch: self, entry: &self.entries[index] }
    }

    /// All records in offset order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RecordView<'_>> {
        self.entries.iter().map(|entry| RecordView { batch: self, entry })
    }
}

/// One record of a [`RecordBatch`], borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    batch: &'a RecordBatch,
    entry: &'a RecordEntry,
}

impl<'a> RecordView<'a> {
    /// Offset in the partition.
    pub fn offset(&self) -> Offset {
        self.entry.offset
    }

    /// Milliseconds since the epoch, -1 where the record has none.
    pub fn timestamp(&self) -> Timestamp {
        self.entry.timestamp
    }

    /// What the timestamp means.
    pub fn timestamp_type(&self) -> TimestampType {
        self.entry.timestamp_type
    }

    /// Leader epoch, if the client knows it.
    pub fn leader_epoch(&self) -> Option<i32> {
        (self.entry.leader_epoch >= 0).then_some(self.entry.leader_epoch)
    }

    /// The key's bytes.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.slice(self.entry.key_start, self.entry.key_len)
    }

    /// The value's bytes; `None` is a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.slice(self.entry.value_start, self.entry.value_len)
    }

    /// The key as a share of the arena.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.share(self.entry.key_start, self.entry.key_len)
    }

    /// The value as a share of the arena.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.share(self.entry.value_start, self.entry.value_len)
    }

    /// The headers, in their order, duplicates kept.
    pub fn headers(&self) -> HeadersView<'a> {
        HeadersView {
            bytes: &self.batch.arena[range(self.entry.headers_start, self.entry.headers_len)],
            count: self.entry.header_count as usize,
        }
    }

    /// The encoded headers as a share of the arena, for a [`HeadersView::new`] that outlives
    /// the batch.
    pub fn headers_bytes(&self) -> Bytes {
        self.batch.arena.slice(range(self.entry.headers_start, self.entry.headers_len))
    }

    /// Size of key and value in bytes.
    pub fn size(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len)
    }

    fn slice(&self, start: u32, len: u32) -> Option<&'a [u8]> {
        (start != NULL).then(|| &self.batch.arena[range(start, len)])
    }

    fn share(&self, start: u32, len: u32) -> Option<Bytes> {
        (start != NULL).then(|| self.batch.arena.slice(range(start, len)))
    }
}

fn range(start: u32, len: u32) -> Range<usize> {
    start as usize..start as usize + len as usize
}

/// One header: its name and its value, which may be null.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// Headers of a record in their encoded form, which is Kafka's own (KIP-82), so that a client can
/// hand over what it fetched as it is: per header the name's length (a zigzag-coded number of
/// variable length), the name, the value's length (-1 = null) and the value.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadersView<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> HeadersView<'a> {
    /// Views bytes written by [`encode_header`], `count` headers of them.
    pub fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { bytes, count }
    }

    /// Number of headers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All headers in order.
    pub fn iter(&self) -> HeadersIter<'a> {
        HeadersIter { rest: self.bytes, left: self.count }
    }

    /// The value of the last header of that name.
    pub fn last(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().filter(|(n, _)| *n == name).last().map(|(_, value)| value)
    }
}

/// Iterator over the headers of a record.
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = self.take_prefixed().expect("header names are not null");
        let value = self.take_prefixed();
        let name = std::str::from_utf8(name).expect("encode_header took a str");
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}

impl<'a> HeadersIter<'a> {
    fn take_prefixed(&mut self) -> Option<&'a [u8]> {
        let len = read_length(&mut self.rest);
        let (taken, rest) = self.rest.split_at(usize::try_from(len).ok()?);
        self.rest = rest;
        Some(taken)
    }
}

/// Reads a length from the front of bytes that [`encode_header`] wrote, or that were checked to
/// have that form.
fn read_length(bytes: &mut &[u8]) -> i32 {
    let mut coded = 0u32;
    let mut shift = 0;
    loop {
        let (byte, rest) = bytes.split_first().expect("headers are complete");
        *bytes = rest;
        coded |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        // Five bytes carry 32 bits.
        if byte & 0x80 == 0 || shift > 28 {
            return (coded >> 1) as i32 ^ -((coded & 1) as i32);
        }
    }
}

fn write_length(out: &mut Vec<u8>, length: i32) {
    let mut rest = ((length << 1) ^ (length >> 31)) as u32;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends one header in the form that [`HeadersView`] reads.
///
/// # Panics
/// If name or value are 2 GiB or longer; no Kafka record is.
pub fn encode_header(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let length = |bytes: &[u8]| i32::try_from(bytes.len()).expect("a header is under 2 GiB");
    write_length(out, length(name.as_bytes()));
    out.extend_from_slice(name.as_bytes());
    write_length(out, value.map_or(-1, length));
    out.extend_from_slice(value.unwrap_or_default());
}

/// Where the parts of a record lie in an arena, for [`RecordBatch::of_arena`].
#[derive(Clone, Debug, Default)]
pub struct RecordRanges {
    /// The key; `None` where the record has none.
    pub key: Option<Range<usize>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Range<usize>>,
    /// The encoded headers, as [`HeadersView::new`] reads them.
    pub headers: Range<usize>,
    /// How many headers there are.
    pub header_count: usize,
}

impl RecordEntry {
    /// An entry for a record that lies in an arena already.
    ///
    /// # Panics
    /// If a range ends beyond 4 GiB.
    #[inline]
    pub fn new(
        offset: Offset,
        timestamp: Timestamp,
        timestamp_type: TimestampType,
        leader_epoch: i32,
        ranges: &RecordRanges,
    ) -> Self {
        let narrow = |at: usize| {
            assert!(at < NULL as usize, "an arena is under 4 GiB");
            at as u32
        };
        let part = |range: &Option<Range<usize>>| match range {
            Some(range) => (narrow(range.start), narrow(range.end) - narrow(range.start)),
            None => (NULL, 0),
        };
        let (key_start, key_len) = part(&ranges.key);
        let (value_start, value_len) = part(&ranges.value);
        let headers_start = narrow(ranges.headers.start);
        Self {
            offset,
            timestamp,
            timestamp_type,
            leader_epoch,
            key_start,
            key_len,
            value_start,
            value_len,
            headers_start,
            headers_len: narrow(ranges.headers.end) - headers_start,
            header_count: narrow(ranges.header_count),
        }
    }
}

impl RecordBatch {
    /// A batch over bytes that are there already: a client hands over what it fetched.
    ///
    /// `size` is the number of bytes that keys, values and headers take, for what counts bytes:
    /// the arena may be larger.
    pub fn of_arena(
        topic_partition: TopicPartition,
        arena: Bytes,
        entries: Vec<RecordEntry>,
        size: usize,
    ) -> Self {
        Self { topic_partition, arena, entries, size }
    }
}

/// Builds a [`RecordBatch`] record by record.
///
/// ```
/// use millstream_types::{BatchBuilder, TimestampType, TopicPartition};
/// let mut builder = BatchBuilder::new(TopicPartition::new("orders", 0));
/// builder.push(7, 1_000, TimestampType::CreateTime, -1, Some(b"k"), Some(b"{}"), [("h", None)]);
/// let batch = builder.finish();
/// assert_eq!(batch.get(0).value(), Some(&b"{}"[..]));
/// assert_eq!(batch.get(0).headers().iter().next(), Some(("h", None)));
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    topic_partition: TopicPartition,
    arena: Vec<u8>,
    entries: Vec<RecordEntry>,
}

impl BatchBuilder {
    /// An empty batch of that partition.
    pub fn new(topic_partition: TopicPartition) -> Self {
        Self { topic_partition, arena: Vec::new(), entries: Vec::new() }
    }

    /// An empty batch with room for `records` records of `bytes` bytes together.
    pub fn with_capacity(topic_partition: TopicPartition, records: usize, bytes: usize) -> Self {
        Self {
            topic_partition,
            arena: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(records),
        }
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no record was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in the arena so far.
    pub fn byte_size(&self) -> usize {
        self.arena.len()
    }

    /// Whether a record of `bytes` bytes still fits (the arena is addressed with 32 bits).
    pub fn fits(&self, bytes: usize) -> bool {
        self.arena.len() + bytes < NULL as usize
    }

    /// Appends a record.
    #[expect(clippy::too_many_arguments, reason = "a record has that many parts")]
    pub fn push<'h>(
        &mut self,
        offset: Offset,
        timestamp: Timestamp,
        timestamp_type: TimestampType,
        leader_epoch: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'h>>,
    ) {
        let (key_start, key_len) = self.store(key);
        let (value_start, value_len) = self.store(value);
        let headers_start = self.arena.len();
        let mut header_count = 0;
        for (name, value) in headers {
            encode_header(&mut self.arena, name, value);
            header_count += 1;
        }
        assert!(self.arena.len() < NULL as usize, "a batch's arena is under 4 GiB; ask fits()");
        self.entries.push(RecordEntry {
            offset,
            timestamp,
            timestamp_type,
            leader_epoch,
            key_start,
            key_len,
            value_start,
            value_len,
            headers_start: headers_start as u32,
            headers_len: (self.arena.len() - headers_start) as u32,
            header_count,
        });
    }

    /// The finished batch.
    pub fn finish(self) -> RecordBatch {
        RecordBatch {
            topic_partition: self.topic_partition,
            size: self.arena.len(),
            arena: Bytes::from(self.arena),
            entries: self.entries,
        }
    }

    fn store(&mut self, bytes: Option<&[u8]>) -> (u32, u32) {
        let Some(bytes) = bytes else { return (NULL, 0) };
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        (start, bytes.len() as u32)
    }
}
