//! Bringing a store to the state that belongs to the committed offsets.
//!
//! **What is restored.** The state of a changelog at a marker is what its entries below the
//! marker say, the last one of each key. The store is brought to the last marker whose source
//! offsets are not beyond the committed ones (parity rows CK-08, CK-32): checkpoints that were
//! written but whose offsets were never committed are left out, because their records will be
//! processed again. With no committed offsets that leaves nothing, and the state is empty.
//!
//! **What is written.** Entries behind that marker (*the tail*) are in the changelog, though
//! they never counted. For each key in the tail the committed value goes to the changelog again,
//! and then a marker: otherwise compaction would keep the wrong one of the two values, and a
//! later restore, to which the tail's markers look acceptable, would build on it. This holds
//! for the whole life of a changelog: *before anything new is appended, a tail has been
//! overwritten*, and therefore everything below an acceptable marker may simply be applied.
//!
//! **Two passes.** Which entries count is known only when the last acceptable marker is; and
//! what lies before it has no bound, for compaction removes old markers and leaves one long run
//! of entries. Nothing is therefore held back: the first pass looks for the marker, in windows
//! from the end of the changelog backwards, and most often finds it in the last few records.
//! The second pass reads forward, applies entries in batches up to the marker and rewrites
//! behind it. A changelog that fits one small window is kept and not read twice.
//!
//! **Crashes.** Batches on the way carry [`StoreMark::Restoring`], so an interrupted restore is
//! taken up where it was. A store that must not be used any more is rebuilt beside itself
//! ([`Backend::rebuild`]).
//!
//! [`StoreMark::Restoring`]: crate::StoreMark::Restoring
//! [`Backend::rebuild`]: crate::Backend::rebuild

mod plan;
mod restorer;

pub use plan::{ChangelogRange, RebuildReason, RestoreFacts, RestorePlan, plan};
pub use restorer::{RestoreLimits, RestorePhase, RestoreProgress, RestoreStep, Restorer};
