//! Builds a batch record by record.

use crate::header::{self, HEADER_LEN, LENGTH_BASE};
use crate::{
    Attributes, BatchError, BatchHeader, Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, varint,
};

/// Builds one record batch. Records get consecutive offsets.
///
/// ```
/// use millstream_protocol::{Batch, Compression, RecordBatchBuilder};
/// let mut builder = RecordBatchBuilder::new(Compression::Zstd).producer(9, 0, 100);
/// for n in 0..10 {
///     builder.push(1_000 + n, None, Some(b"value"), []);
/// }
/// let bytes = builder.finish(0)?;
/// let header = *Batch::parse(&bytes)?.header();
/// assert_eq!((header.record_count, header.last_sequence()), (10, 109));
/// assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 1_009));
/// # Ok::<(), millstream_protocol::BatchError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecordBatchBuilder {
    compression: Compression,
    transactional: bool,
    control: bool,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    leader_epoch: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
    /// What stays of the batch that is written anew.
    original: Option<BatchHeader>,
}

impl RecordBatchBuilder {
    /// An empty batch.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            transactional: false,
            control: false,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            leader_epoch: -1,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            records: Vec::new(),
            original: None,
        }
    }

    /// Writes a batch anew without some of its records, as compaction does: packing, flags,
    /// producer, epochs, first and last offset are those of `header`, and so is a delete horizon.
    /// Records are added with [`push_at`](Self::push_at) and keep their offsets.
    ///
    /// # Errors
    /// [`BatchError::Codec`] if the header names an unknown packing.
    ///
    /// ```
    /// use millstream_protocol::{Batch, Compression, RecordBatchBuilder};
    /// let mut builder = RecordBatchBuilder::new(Compression::Lz4).producer(9, 0, 100);
    /// for n in 0..10 {
    ///     builder.push(1_000 + n, Some(b"key"), Some(b"value"), []);
    /// }
    /// let all = builder.finish(50)?;
    /// let header = *Batch::parse(&all)?.header();
    ///
    /// let mut rewritten = RecordBatchBuilder::rewriting(&header)?;
    /// rewritten.push_at(7, 1_007, Some(b"key"), Some(b"value"), []);
    /// let one = rewritten.finish_rewritten()?;
    /// let header = *Batch::parse(&one)?.header();
    /// assert_eq!((header.base_offset, header.last_offset(), header.record_count), (50, 59, 1));
    /// assert_eq!(header.last_sequence(), 109);
    /// # Ok::<(), millstream_protocol::BatchError>(())
    /// ```
    pub fn rewriting(header: &BatchHeader) -> Result<Self, BatchError> {
        let mut builder =
            Self::new(header.attributes.compression()?).leader_epoch(header.leader_epoch);
        builder.producer_id = header.producer_id;
        builder.producer_epoch = header.producer_epoch;
        builder.base_sequence = header.base_sequence;
        builder.original = Some(*header);
        Ok(builder)
    }

    /// Notes in a batch that is written anew when compaction may drop its tombstones or its
    /// marker: milliseconds since the epoch (KIP-534). Only before the first record, for their
    /// timestamps are counted from it.
    #[must_use]
    pub fn delete_horizon(mut self, at_ms: i64) -> Self {
        debug_assert!(self.count == 0, "the records' timestamps are counted from the horizon");
        if let Some(header) = &mut self.original {
            header.attributes = header.attributes.with_delete_horizon();
            header.base_timestamp = at_ms;
        }
        self
    }

    /// Marks the batch as written by an idempotent producer.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Makes it a control batch: its records are markers of a broker, not a user's.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Sets the leader epoch in the header; -1 (unknown) without.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Writes into `buffer`, whose content is dropped and whose capacity is kept. Before the
    /// first record.
    #[must_use]
    pub fn reuse(mut self, buffer: Vec<u8>) -> Self {
        debug_assert_eq!(self.count, 0, "the buffer holds the records already");
        self.records = buffer;
        self
    }

    /// Most bytes that a record of these sizes adds to a batch. `headers` are the bytes of names
    /// and values, `header_count` their number.
    pub fn record_size_max(key: usize, value: usize, headers: usize, header_count: usize) -> usize {
        RECORD_OVERHEAD_MAX + key + value + headers + header_count * (2 * LENGTH_MAX)
    }

    /// Appends a record with a timestamp in milliseconds since the epoch.
    #[inline]
    pub fn push<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<
            Item = (&'h str, Option<&'h [u8]>),
            IntoIter: ExactSizeIterator + Clone,
        >,
    ) {
        self.push_at(self.count, timestamp, key, value, headers);
    }

    /// Appends a record at an offset of its own, counted from the batch's first. For batches that
    /// are [written anew](Self::rewriting); offsets must grow and stay within the batch's last one.
    pub fn push_at<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<
            Item = (&'h str, Option<&'h [u8]>),
            IntoIter: ExactSizeIterator + Clone,
        >,
    ) {
        if self.count == 0 {
            let horizon = self.original.and_then(|header| header.delete_horizon_ms());
            self.base_timestamp = horizon.unwrap_or(timestamp);
            self.max_timestamp = timestamp;
            self.records.clear();
            self.records.resize(HEADER_LEN, 0);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let index = i64::from(offset_delta);
        let headers = headers.into_iter();
        let header_count = headers.len() as i64;
        // The length comes first, so it is computed first: nothing has to be moved afterwards.
        let mut length = 1
            + varint::size_i64(delta)
            + varint::size_i64(index)
            + size_of_bytes(key)
            + size_of_bytes(value)
            + varint::size_i64(header_count);
        for (name, value) in headers.clone() {
            length += size_of_bytes(Some(name.as_bytes())) + size_of_bytes(value);
        }
        self.records.reserve(LENGTH_MAX + length);
        // The short numbers in front go in as one piece.
        let mut front = Front::default();
        front.put(length as i64);
        front.attributes();
        front.put(delta);
        front.put(index);
        front.put(key.map_or(-1, |key| key.len() as i64));
        self.records.extend_from_slice(front.bytes());
        self.records.extend_from_slice(key.unwrap_or_default());
        write_bytes(&mut self.records, value);
        varint::write_i64(&mut self.records, header_count);
        for (name, value) in headers {
            write_bytes(&mut self.records, Some(name.as_bytes()));
            write_bytes(&mut self.records, value);
        }
        self.count += 1;
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the batch so far, before compression.
    pub fn byte_size(&self) -> usize {
        if self.count == 0 { HEADER_LEN } else { self.records.len() }
    }

    /// The buffer alone; what was in it is of no more use.
    pub fn into_buffer(self) -> Vec<u8> {
        self.records
    }

    /// The finished batch, its first record at `base_offset` (a producer says 0).
    ///
    /// # Errors
    /// [`BatchError::Build`] if the batch is empty, larger than 2 GiB, or cannot be packed.
    pub fn finish(self, base_offset: i64) -> Result<Vec<u8>, BatchError> {
        let (batch, _) = self.finish_into(base_offset, Vec::new(), None)?;
        Ok(batch)
    }

    /// [`finish`](Self::finish) without an allocation: packs into `spare` at that level (`None`:
    /// the codec's own; those without levels ignore it). Returns the batch and the buffer that is
    /// free now.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_into(
        mut self,
        base_offset: i64,
        mut spare: Vec<u8>,
        level: Option<i32>,
    ) -> Result<(Vec<u8>, Vec<u8>), BatchError> {
        if self.count == 0 {
            return Err(BatchError::Build("a batch needs a record".into()));
        }
        let records = std::mem::take(&mut self.records);
        let (mut out, spare) = match self.compression {
            // The records were written behind room for the header.
            Compression::None => (records, spare),
            codec => {
                spare.clear();
                spare.resize(HEADER_LEN, 0);
                codec.pack_at(level, &records[HEADER_LEN..], &mut spare)?;
                (spare, records)
            }
        };
        let attributes = Attributes::of(self.compression, self.transactional, self.control);
        self.write_header(&mut out, base_offset, attributes, self.count - 1)?;
        Ok((out, spare))
    }

    /// The finished batch that was [written anew](Self::rewriting). Without a record it is an
    /// empty batch: nothing but the header, which keeps the offsets and the producer's sequence
    /// numbers.
    ///
    /// # Errors
    /// [`BatchError::Build`] if the builder was not made for that, or as [`finish`](Self::finish).
    pub fn finish_rewritten(mut self) -> Result<Vec<u8>, BatchError> {
        let Some(header) = self.original else {
            return Err(BatchError::Build("the batch is a new one".into()));
        };
        let mut out = vec![0; HEADER_LEN];
        let attributes = if self.count == 0 {
            self.base_timestamp = NO_TIMESTAMP;
            self.max_timestamp = header.max_timestamp;
            header.attributes.of_empty()
        } else {
            self.compression.pack(&self.records[HEADER_LEN..], &mut out)?;
            if header.attributes.is_log_append_time() {
                self.max_timestamp = header.max_timestamp;
            }
            header.attributes
        };
        self.write_header(&mut out, header.base_offset, attributes, header.last_offset_delta)?;
        Ok(out)
    }

    /// Fills in the header that `out` has room for in front.
    fn write_header(
        &self,
        out: &mut [u8],
        base_offset: i64,
        attributes: Attributes,
        last_offset_delta: i32,
    ) -> Result<(), BatchError> {
        let length = i32::try_from(out.len() - LENGTH_BASE)
            .map_err(|_| BatchError::Build(format!("{} bytes are too many", out.len())))?;
        let mut header = &mut out[..HEADER_LEN];
        put(&mut header, base_offset.to_be_bytes());
        put(&mut header, length.to_be_bytes());
        put(&mut header, self.leader_epoch.to_be_bytes());
        put(&mut header, [2]);
        put(&mut header, 0u32.to_be_bytes());
        put(&mut header, attributes.0.to_be_bytes());
        put(&mut header, last_offset_delta.to_be_bytes());
        put(&mut header, self.base_timestamp.to_be_bytes());
        put(&mut header, self.max_timestamp.to_be_bytes());
        put(&mut header, self.producer_id.to_be_bytes());
        put(&mut header, self.producer_epoch.to_be_bytes());
        put(&mut header, self.base_sequence.to_be_bytes());
        put(&mut header, self.count.to_be_bytes());
        header::set_crc(out);
        Ok(())
    }
}

/// Writes to the front of `header` and moves on.
fn put<const N: usize>(header: &mut &mut [u8], bytes: [u8; N]) {
    let (front, rest) = std::mem::take(header).split_at_mut(N);
    front.copy_from_slice(&bytes);
    *header = rest;
}

/// Longest coding of a length of 32 bits.
const LENGTH_MAX: usize = 5;
/// Length, attributes, two deltas, two lengths and the number of headers.
const RECORD_OVERHEAD_MAX: usize = LENGTH_MAX + 1 + 10 + 5 + 3 * LENGTH_MAX;

/// What stands in front of a record's key.
#[derive(Default)]
struct Front {
    bytes: [u8; 32],
    len: usize,
}

impl Front {
    #[inline]
    fn put(&mut self, value: i64) {
        let mut rest = varint::zigzag(value);
        while rest >= 0x80 {
            self.bytes[self.len] = rest as u8 | 0x80;
            self.len += 1;
            rest >>= 7;
        }
        self.bytes[self.len] = rest as u8;
        self.len += 1;
    }

    /// No attribute of a record is in use.
    #[inline]
    fn attributes(&mut self) {
        self.bytes[self.len] = 0;
        self.len += 1;
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn size_of_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size_i64(bytes.len() as i64) + bytes.len())
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i64(out, -1),
        Some(bytes) => {
            varint::write_i64(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
