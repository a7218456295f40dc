//! Letting go of old segments, and the periodic chores of a log.

use std::io;

use super::{LogConfig, PartitionLog};

impl PartitionLog {
    /// Deletes what the settings say is too old or too much, expires producers, and flushes by
    /// time. Returns whether the start offset moved.
    pub(crate) fn tick(&mut self, config: &LogConfig, now_ms: i64) -> io::Result<bool> {
        self.producers.expire(now_ms, config.producer_expiration_ms);
        if self.unflushed > 0 && now_ms.saturating_sub(self.last_flush_ms) >= config.flush_ms {
            self.flush(now_ms)?;
        }
        let before = self.start_offset;
        if config.delete {
            self.delete_by_time(config, now_ms)?;
            self.delete_by_size(config)?;
        }
        self.delete_below_start()?;
        Ok(self.start_offset != before)
    }

    /// Makes all records below `offset` unreadable and deletes the segments that hold nothing
    /// else. The caller makes the new start durable first.
    pub(crate) fn delete_below(&mut self, offset: i64) -> io::Result<()> {
        self.start_offset = self.start_offset.max(offset.min(self.end_offset));
        self.delete_below_start()
    }

    fn delete_by_time(&mut self, config: &LogConfig, now_ms: i64) -> io::Result<()> {
        if config.retention_ms < 0 {
            return Ok(());
        }
        let limit = now_ms.saturating_sub(config.retention_ms);
        let expired = |log: &Self| {
            let segment = &log.segments[0];
            // Compaction may leave nothing of a segment.
            let there = segment.size > 0 || log.segments.len() > 1;
            there && segment.newest_ms() < limit
        };
        while expired(self) {
            self.delete_first()?;
        }
        Ok(())
    }

    fn delete_by_size(&mut self, config: &LogConfig) -> io::Result<()> {
        let Ok(limit) = u64::try_from(config.retention_bytes) else { return Ok(()) };
        let mut size = self.size();
        while self.segments.len() > 1 && size - self.segments[0].size >= limit {
            size -= self.segments[0].size;
            self.delete_first()?;
        }
        Ok(())
    }

    fn delete_below_start(&mut self) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments[1].base <= self.start_offset {
            self.delete_first()?;
        }
        let start = self.start_offset;
        if start == self.end_offset && self.segments[0].size > 0 {
            self.delete_first()?;
        }
        Ok(())
    }

    /// Deletes the first segment; if it is the one that is written to, an empty one at the end
    /// offset takes its place first.
    fn delete_first(&mut self) -> io::Result<()> {
        // What is being compacted is about to go.
        self.abandon_cleaning();
        self.finish_swap()?;
        if self.segments.len() == 1 {
            self.roll()?;
        }
        let segment = self.segments.remove(0);
        self.start_offset = self.start_offset.max(self.segments[0].base);
        self.places.clear();
        segment.remove(&*self.disk)?;
        self.disk.remove_file(&super::snapshot_path(&self.dir, segment.base))
    }
}
