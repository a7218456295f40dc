//! Which part of a log can be compacted, whether it is worth it, and which segments become one.

use std::collections::VecDeque;

use super::{LogConfig, PartitionLog, RETRY_MS};
use crate::log::segment::Segment;

/// A part of a log that was never compacted, can be, and by the settings should.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dirty {
    /// Where it begins.
    pub(super) from: i64,
    /// First offset of the first segment behind it.
    pub(super) limit: i64,
    /// Its share of the bytes: the log with the highest goes first.
    pub(super) ratio: f64,
}

impl Dirty {
    /// Whether its share is larger.
    pub(crate) fn is_more_than(&self, other: &Self) -> bool {
        self.ratio > other.ratio
    }
}

impl PartitionLog {
    /// What there is to compact, if the settings ask for it now: more than
    /// `min.cleanable.dirty.ratio` of the bytes is new, or some of it has waited for
    /// `max.compaction.lag.ms`. What is younger than `min.compaction.lag.ms` stays out, and so do
    /// the segment that is written to and all from the last stable offset on.
    pub(crate) fn dirty(&self, config: &LogConfig, now_ms: i64) -> Option<Dirty> {
        let failed = self.cleaning_failed_ms;
        if !config.compact || failed.is_some_and(|at| now_ms.saturating_sub(at) < RETRY_MS) {
            return None;
        }
        let (active, complete) = self.segments.split_last()?;
        let from = self.compacted.clean_to.max(self.start_offset);
        let stable = self.last_stable_offset();
        let first_dirty = self.segment_of(from);
        let candidates = complete.get(first_dirty..).unwrap_or(&[]);
        let kept_out = |segment: &&Segment| {
            let young = config.min_compaction_lag_ms > 0
                && segment.newest_ms() > now_ms.saturating_sub(config.min_compaction_lag_ms);
            young || self.end_of_segment(segment.base) > stable
        };
        let limit = candidates.iter().find(kept_out).map_or(active.base, |segment| segment.base);
        let bytes = |of: &[Segment]| of.iter().map(|segment| segment.size).sum::<u64>();
        let dirty = &candidates[..candidates.partition_point(|segment| segment.base < limit)];
        let dirty_bytes = bytes(dirty);
        if dirty_bytes == 0 || limit <= from {
            return None;
        }
        let clean = &complete[..complete.partition_point(|segment| segment.base < from)];
        let ratio = dirty_bytes as f64 / (bytes(clean) + dirty_bytes) as f64;
        let oldest = dirty.iter().filter_map(|segment| segment.first_timestamp);
        let oldest = oldest.filter(|timestamp| *timestamp > 0).min();
        let waited = oldest
            .is_some_and(|oldest| oldest < now_ms.saturating_sub(config.max_compaction_lag_ms));
        (waited || ratio > config.min_cleanable_ratio).then_some(Dirty { from, limit, ratio })
    }

    /// Where the segment with that first offset ends.
    fn end_of_segment(&self, base: i64) -> i64 {
        let next = self.segments.partition_point(|segment| segment.base <= base);
        self.segments.get(next).map_or(self.end_offset, |segment| segment.base)
    }

    /// The segments that begin below `offset`, in groups whose logs and indexes are small enough
    /// to become one segment each. None of them reaches beyond `limit`.
    pub(super) fn groups_below(
        &self,
        offset: i64,
        limit: i64,
        config: &LogConfig,
    ) -> VecDeque<Vec<i64>> {
        let mut groups: VecDeque<Vec<i64>> = VecDeque::new();
        let (mut bytes, mut index_bytes) = (0, 0);
        for segment in self.segments.iter().take_while(|segment| segment.base < offset.min(limit)) {
            bytes += segment.size;
            index_bytes += segment.index_bytes();
            let last_offset = self.end_of_segment(segment.base) - 1;
            match groups.back_mut() {
                Some(group)
                    if bytes <= config.segment_bytes
                        && index_bytes <= config.segment_index_bytes
                        && last_offset - group[0] <= i64::from(i32::MAX) =>
                {
                    group.push(segment.base);
                }
                _ => {
                    groups.push_back(vec![segment.base]);
                    (bytes, index_bytes) = (segment.size, segment.index_bytes());
                }
            }
        }
        groups
    }
}
