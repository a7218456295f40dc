//! What a store needs at its start, as a decision over facts.

use std::fmt;

use millstream_types::{Offset, Timestamp};

use crate::{Result, SourceOffsets, StateError, StoreId, StoreMark};

/// The records that a changelog partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangelogRange {
    /// Offset of the first one.
    pub low: Offset,
    /// Offset after the last one.
    pub high: Offset,
}

/// What [`plan`] decides over.
#[derive(Clone, Copy, Debug)]
pub struct RestoreFacts<'a> {
    /// The store, for errors.
    pub store: &'a StoreId,
    /// What its backend says.
    pub local: &'a StoreMark,
    /// The changelog partition's watermarks, taken after the committed offsets; `None` if the
    /// store has no changelog (CK-36).
    pub changelog: Option<ChangelogRange>,
    /// The group's committed offsets of the task's source partitions.
    pub committed: &'a SourceOffsets,
    /// Wall-clock time, ms.
    pub now_ms: Timestamp,
    /// `delete.retention.ms` of the changelog topic.
    pub delete_retention_ms: i64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePlan {
    /// Nothing.
    UpToDate,
    /// Apply the changelog from `from` to what is there.
    Replay {
        /// First offset to read.
        from: Offset,
        /// Offset after the last one to read.
        to: Offset,
    },
    /// Apply the whole changelog to an empty store; one that has something in it is replaced.
    Rebuild {
        /// First offset to read.
        from: Offset,
        /// Offset after the last one to read.
        to: Offset,
        /// Why what is there does not do.
        reason: RebuildReason,
    },
}

/// Why a store is built from the whole changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildReason {
    /// There is no local state.
    New,
    /// The local state was kept without a changelog until now.
    NoPosition,
    /// It covers more than the committed offsets: they were set back, or are gone.
    AheadOfCommitted,
    /// The changelog no longer reaches back to it.
    ChangelogTrimmed,
    /// Its last checkpoint is so old that the changelog may have forgotten deletions after it.
    TooOld,
}

impl fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "there is no local state",
            Self::NoPosition => "the local state was kept without a changelog",
            Self::AheadOfCommitted => {
                "the local state covers more than the committed offsets (were they reset?)"
            }
            Self::ChangelogTrimmed => "the changelog no longer reaches back to the local state",
            Self::TooOld => {
                "the local state is older than half of the changelog's delete.retention.ms, so \
                 deletions may be missing from the changelog"
            }
        })
    }
}

/// Decides what a store needs (CK-30 to CK-36).
///
/// # Errors
/// [`StateError::InvalidChangelogOffset`] if the local state is ahead of the changelog (CK-30).
pub fn plan(facts: &RestoreFacts<'_>) -> Result<RestorePlan> {
    let Some(ChangelogRange { low, high }) = facts.changelog else {
        return Ok(RestorePlan::UpToDate);
    };
    let (position, mark) = match facts.local {
        StoreMark::Empty => (Some(low), None),
        StoreMark::Checkpoint(mark) => (mark.changelog_offset, Some(mark)),
        StoreMark::Restoring { position, target } => (Some(*position), Some(target)),
    };
    let rebuild = |reason| Ok(RestorePlan::Rebuild { from: low, to: high, reason });
    let Some(mark) = mark else {
        return if low == high { Ok(RestorePlan::UpToDate) } else { rebuild(RebuildReason::New) };
    };
    let Some(position) = position else {
        // As Quix does: an empty changelog takes nothing away from what is there.
        return if low == high {
            Ok(RestorePlan::UpToDate)
        } else {
            rebuild(RebuildReason::NoPosition)
        };
    };
    if position > high {
        let store = facts.store.clone();
        return Err(StateError::InvalidChangelogOffset { store, local: position, high });
    }
    if !mark.covered.not_beyond(facts.committed) {
        return rebuild(RebuildReason::AheadOfCommitted);
    }
    let restoring = matches!(facts.local, StoreMark::Restoring { .. });
    if position == high && !restoring {
        return Ok(RestorePlan::UpToDate);
    }
    if position < low {
        return rebuild(RebuildReason::ChangelogTrimmed);
    }
    // Compaction never removes the newest record of a partition. One missing record (the end of
    // a transaction, usually) can therefore not have been a deletion that is gone.
    let age_ms = facts.now_ms.saturating_sub(mark.written_ms);
    if high - position > 1 && age_ms > facts.delete_retention_ms / 2 {
        return rebuild(RebuildReason::TooOld);
    }
    Ok(RestorePlan::Replay { from: position, to: high })
}

#[cfg(test)]
mod tests {
    use millstream_types::TopicPartition;

    use super::*;
    use crate::CheckpointMark;

    const DAY: i64 = 86_400_000;

    fn sources(next: Offset) -> SourceOffsets {
        [(TopicPartition::new("orders", 0), next)].into_iter().collect()
    }

    fn mark(changelog_offset: Option<Offset>, covered: Offset) -> CheckpointMark {
        CheckpointMark { changelog_offset, covered: sources(covered), ..Default::default() }
    }

    fn decide(local: &StoreMark, changelog: (Offset, Offset), committed: Offset) -> RestorePlan {
        decide_at(local, changelog, committed, 0).expect("a plan")
    }

    fn decide_at(
        local: &StoreMark,
        (low, high): (Offset, Offset),
        committed: Offset,
        now_ms: Timestamp,
    ) -> Result<RestorePlan> {
        plan(&RestoreFacts {
            store: &StoreId::new("orders", "default", 0),
            local,
            changelog: Some(ChangelogRange { low, high }),
            committed: &sources(committed),
            now_ms,
            delete_retention_ms: DAY,
        })
    }

    fn rebuild(from: Offset, to: Offset, reason: RebuildReason) -> RestorePlan {
        RestorePlan::Rebuild { from, to, reason }
    }

    /// CK-30: needed if the changelog has more than the store has applied.
    #[test]
    fn ck_30_needed() {
        assert_eq!(decide(&StoreMark::Empty, (5, 5), 0), RestorePlan::UpToDate);
        assert_eq!(decide(&StoreMark::Empty, (5, 9), 0), rebuild(5, 9, RebuildReason::New));
        let local = StoreMark::Checkpoint(mark(Some(9), 3));
        assert_eq!(decide(&local, (0, 9), 3), RestorePlan::UpToDate);
        assert_eq!(decide(&local, (0, 10), 4), RestorePlan::Replay { from: 9, to: 10 });
        assert_eq!(decide(&local, (10, 12), 4), rebuild(10, 12, RebuildReason::ChangelogTrimmed));
        assert_eq!(decide(&local, (9, 12), 4), RestorePlan::Replay { from: 9, to: 12 });
    }

    /// CK-30: a changelog that ends before the local position was made anew.
    #[test]
    fn ck_30_local_beyond_the_changelog_is_refused_with_a_remedy() {
        let local = StoreMark::Checkpoint(mark(Some(10), 3));
        let error = decide_at(&local, (0, 9), 3, 0).expect_err("the topic was made anew");
        assert_eq!(error.exception_name(), "InvalidStoreChangelogOffset");
        let text = error.to_string();
        assert!(text.contains("offset 10") && text.contains("clear_state"), "{text}");
    }

    /// CK-32: state that covers more than what is committed would count twice.
    #[test]
    fn ck_32_ahead_of_committed() {
        let local = StoreMark::Checkpoint(mark(Some(9), 3));
        assert_eq!(decide(&local, (0, 9), 2), rebuild(0, 9, RebuildReason::AheadOfCommitted));
        let none = SourceOffsets::new();
        let store = StoreId::new("orders", "default", 0);
        let facts = RestoreFacts {
            store: &store,
            local: &local,
            changelog: Some(ChangelogRange { low: 0, high: 9 }),
            committed: &none,
            now_ms: 0,
            delete_retention_ms: DAY,
        };
        assert_eq!(plan(&facts).expect("a plan"), rebuild(0, 9, RebuildReason::AheadOfCommitted));
        // CK-36: without a changelog, local files are used as they are.
        let facts = RestoreFacts { changelog: None, ..facts };
        assert_eq!(plan(&facts).expect("a plan"), RestorePlan::UpToDate);
    }

    /// Beyond half of `delete.retention.ms` a deletion may have left no trace.
    #[test]
    fn old_local_state_is_rebuilt_unless_nothing_happened_since() {
        let local = StoreMark::Checkpoint(mark(Some(9), 3));
        let at = |high, now| decide_at(&local, (0, high), 3, now).expect("a plan");
        assert_eq!(at(11, DAY / 2), RestorePlan::Replay { from: 9, to: 11 });
        assert_eq!(at(11, DAY / 2 + 1), rebuild(0, 11, RebuildReason::TooOld));
        assert_eq!(at(10, 30 * DAY), RestorePlan::Replay { from: 9, to: 10 });
        assert_eq!(at(9, 30 * DAY), RestorePlan::UpToDate);
    }

    #[test]
    fn state_that_had_no_changelog() {
        let local = StoreMark::Checkpoint(mark(None, 3));
        assert_eq!(decide(&local, (0, 0), 3), RestorePlan::UpToDate);
        assert_eq!(decide(&local, (0, 4), 3), rebuild(0, 4, RebuildReason::NoPosition));
    }

    #[test]
    fn an_interrupted_restore_goes_on() {
        let local = StoreMark::Restoring { position: 5, target: mark(Some(8), 3) };
        assert_eq!(decide(&local, (0, 9), 3), RestorePlan::Replay { from: 5, to: 9 });
        assert_eq!(decide(&local, (0, 9), 2), rebuild(0, 9, RebuildReason::AheadOfCommitted));
        assert_eq!(decide(&local, (6, 9), 3), rebuild(6, 9, RebuildReason::ChangelogTrimmed));
        // Its target lies at the end, but it is not a checkpoint yet.
        let local = StoreMark::Restoring { position: 9, target: mark(Some(9), 3) };
        assert_eq!(decide(&local, (0, 9), 3), RestorePlan::Replay { from: 9, to: 9 });
    }
}
