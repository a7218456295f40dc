//! Records of a topic whose partitions are not known yet, in the order of their coming.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use millstream_types::{HeadersView, Timestamp, encode_header};

use super::tracked::Tracked;
use super::{Partition, ProduceRecord};

/// Sizes and whereabouts of a record that waits; its bytes are in [`Waiting::bytes`].
struct Entry {
    partition: Partition,
    timestamp: Timestamp,
    key: Option<usize>,
    value: Option<usize>,
    headers: usize,
    header_count: usize,
    created: Duration,
    flush: u64,
    size: usize,
    token: Option<u64>,
}

/// A record that has waited.
pub(super) struct Waited<'a> {
    pub(super) record: ProduceRecord<'a>,
    pub(super) timestamp: Timestamp,
    pub(super) created: Duration,
    pub(super) flush: u64,
    /// What it counts for in the queue's bound.
    pub(super) size: usize,
    /// What is to be reported of it.
    pub(super) tracked: Option<Tracked>,
}

#[derive(Default)]
pub(super) struct Waiting {
    entries: VecDeque<Entry>,
    /// Key, value and headers of each entry, one after the other.
    bytes: BytesMut,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(
        &mut self,
        record: &ProduceRecord<'_>,
        timestamp: Timestamp,
        created: Duration,
        flush: u64,
        size: usize,
        token: Option<u64>,
    ) {
        self.bytes.extend_from_slice(record.key.unwrap_or_default());
        self.bytes.extend_from_slice(record.value.unwrap_or_default());
        let mut headers = Vec::new();
        for (name, value) in record.headers.iter() {
            encode_header(&mut headers, name, value);
        }
        self.bytes.extend_from_slice(&headers);
        self.entries.push_back(Entry {
            partition: record.partition,
            timestamp,
            key: record.key.map(<[u8]>::len),
            value: record.value.map(<[u8]>::len),
            headers: headers.len(),
            header_count: record.headers.len(),
            created,
            flush,
            size,
            token,
        });
    }

    /// When the oldest came.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.entries.front().map(|entry| entry.created)
    }

    /// Takes the oldest out and shows it to `then`.
    pub(super) fn pop<R>(&mut self, then: impl FnOnce(Waited<'_>) -> R) -> Option<R> {
        let entry = self.entries.pop_front()?;
        let (key, rest) = self.bytes.split_at(entry.key.unwrap_or(0));
        let (value, rest) = rest.split_at(entry.value.unwrap_or(0));
        let headers = &rest[..entry.headers];
        let (timestamp, produced) = (entry.timestamp, entry.created);
        let done = then(Waited {
            record: ProduceRecord {
                // Whoever waited here knows the topic.
                topic: super::TopicHandle(u32::MAX),
                partition: entry.partition,
                key: entry.key.is_some().then_some(key),
                value: entry.value.is_some().then_some(value),
                headers: HeadersView::new(headers, entry.header_count),
                timestamp: Some(entry.timestamp),
            },
            timestamp: entry.timestamp,
            created: entry.created,
            flush: entry.flush,
            size: entry.size,
            tracked: entry.token.map(|token| Tracked { token, at: 0, timestamp, produced }),
        });
        self.bytes.advance(entry.key.unwrap_or(0) + entry.value.unwrap_or(0) + entry.headers);
        Some(done)
    }
}
