//! Topics in memory: the source topics of a topology and the changelogs of its stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_types::HeadersView;
use millstream_types::{
    BatchBuilder, Offset, RecordBatch, Timestamp, TimestampType, TopicPartition, encode_header,
};

/// One record of a log.
#[derive(Clone, Debug)]
pub(crate) struct LogRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: Timestamp,
    /// As `encode_header` writes them.
    pub(crate) headers: Vec<u8>,
    pub(crate) header_count: usize,
}

impl LogRecord {
    pub(crate) fn new(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: HeadersView<'_>,
    ) -> Self {
        let mut encoded = Vec::new();
        for (name, value) in headers.iter() {
            encode_header(&mut encoded, name, value);
        }
        Self {
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            timestamp,
            headers: encoded,
            header_count: headers.len(),
        }
    }
}

/// Logs by partition. The offset of a record is its index.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    logs: BTreeMap<TopicPartition, Vec<LogRecord>>,
}

impl Logs {
    /// Appends a record; gives its offset.
    pub(crate) fn append(&mut self, partition: &TopicPartition, record: LogRecord) -> Offset {
        let log = self.logs.entry(partition.clone()).or_default();
        log.push(record);
        log.len() as Offset - 1
    }

    /// Offset after the last record.
    pub(crate) fn end(&self, partition: &TopicPartition) -> Offset {
        self.logs.get(partition).map_or(0, |log| log.len() as Offset)
    }

    /// Cuts a log off at an offset.
    pub(crate) fn truncate(&mut self, partition: &TopicPartition, end: Offset) {
        if let Some(log) = self.logs.get_mut(partition) {
            log.truncate(end as usize);
        }
    }

    /// Ends of all logs of a topic that passes.
    pub(crate) fn ends(&self, of: impl Fn(&str) -> bool) -> BTreeMap<TopicPartition, Offset> {
        let logs = self.logs.iter().filter(|(partition, _)| of(&partition.topic));
        logs.map(|(partition, log)| (partition.clone(), log.len() as Offset)).collect()
    }

    /// Records from an offset on, at most `limit`; `None` if there are none.
    pub(crate) fn read(
        &self,
        partition: &TopicPartition,
        from: Offset,
        limit: usize,
    ) -> Option<RecordBatch> {
        let log = self.logs.get(partition)?;
        let from = from as usize;
        let records = log.get(from..)?;
        if records.is_empty() {
            return None;
        }
        let topic = Arc::clone(&partition.topic);
        let mut batch = BatchBuilder::new(TopicPartition::new(topic, partition.partition));
        for (at, record) in records.iter().take(limit).enumerate() {
            batch.push(
                (from + at) as Offset,
                record.timestamp,
                TimestampType::CreateTime,
                -1,
                record.key.as_deref(),
                record.value.as_deref(),
                HeadersView::new(&record.headers, record.header_count).iter(),
            );
        }
        Some(batch.finish())
    }
}
