//! Builds a batch record by record.

use crate::header::{self, HEADER_LEN, LENGTH_BASE};
use crate::{
    Attributes, BatchError, BatchHeader, Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP, varint,
};

/// Builds one record batch. Records get consecutive offsets, unless the batch is one that is
/// written anew without some of its records: see [`rewriting`](Self::rewriting).
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

    /// Appends a record with a timestamp in milliseconds since the epoch.
    pub fn push<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>), IntoIter: ExactSizeIterator>,
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
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>), IntoIter: ExactSizeIterator>,
    ) {
        if self.count == 0 {
            let horizon = self.original.and_then(|header| header.delete_horizon_ms());
            self.base_timestamp = horizon.unwrap_or(timestamp);
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // The body is written behind a gap for the longest length, then moved up against it:
        // cheaper than a buffer of its own and exact for records of any size.
        let start = self.records.len();
        self.records.resize(start + LENGTH_GAP, 0);
        self.records.push(0);
        varint::write_i64(&mut self.records, timestamp.wrapping_sub(self.base_timestamp));
        varint::write_i64(&mut self.records, i64::from(offset_delta));
        write_bytes(&mut self.records, key);
        write_bytes(&mut self.records, value);
        let headers = headers.into_iter();
        varint::write_i64(&mut self.records, headers.len() as i64);
        for (name, value) in headers {
            write_bytes(&mut self.records, Some(name.as_bytes()));
            write_bytes(&mut self.records, value);
        }
        let body_len = self.records.len() - start - LENGTH_GAP;
        let length_len = varint::size_i64(body_len as i64);
        let mut rest = (body_len as u64) << 1;
        for at in start..start + length_len {
            let more = if at + 1 < start + length_len { 0x80 } else { 0 };
            self.records[at] = (rest as u8 & 0x7f) | more;
            rest >>= 7;
        }
        self.records.copy_within(start + LENGTH_GAP.., start + length_len);
        self.records.truncate(start + length_len + body_len);
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
        HEADER_LEN + self.records.len()
    }

    /// The finished batch, its first record at `base_offset` (a producer says 0).
    ///
    /// # Errors
    /// [`BatchError::Build`] if the batch is empty, larger than 2 GiB, or cannot be packed.
    pub fn finish(self, base_offset: i64) -> Result<Vec<u8>, BatchError> {
        if self.count == 0 {
            return Err(BatchError::Build("a batch needs a record".into()));
        }
        let attributes = Attributes::of(self.compression, self.transactional, self.control);
        let last_offset_delta = self.count - 1;
        self.write(base_offset, attributes, last_offset_delta)
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
        if self.count == 0 {
            self.compression = Compression::None;
            self.base_timestamp = NO_TIMESTAMP;
            self.max_timestamp = header.max_timestamp;
            let attributes = header.attributes.of_empty();
            return self.write(header.base_offset, attributes, header.last_offset_delta);
        }
        if header.attributes.is_log_append_time() {
            self.max_timestamp = header.max_timestamp;
        }
        self.write(header.base_offset, header.attributes, header.last_offset_delta)
    }

    fn write(
        self,
        base_offset: i64,
        attributes: Attributes,
        last_offset_delta: i32,
    ) -> Result<Vec<u8>, BatchError> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.records.len());
        out.extend_from_slice(&base_offset.to_be_bytes());
        out.extend_from_slice(&0i32.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.push(2);
        out.extend_from_slice(&0u32.to_be_bytes());
        out.extend_from_slice(&attributes.0.to_be_bytes());
        out.extend_from_slice(&last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        if self.count > 0 {
            self.compression.pack(&self.records, &mut out)?;
        }
        let length = i32::try_from(out.len() - LENGTH_BASE)
            .map_err(|_| BatchError::Build(format!("{} bytes are too many", out.len())))?;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        header::set_crc(&mut out);
        Ok(out)
    }
}

/// Longest length of a record that a batch of 2 GiB can hold.
const LENGTH_GAP: usize = 5;

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write_i64(out, -1),
        Some(bytes) => {
            varint::write_i64(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
