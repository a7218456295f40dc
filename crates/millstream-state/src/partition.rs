//! A store partition: its families, its backend, and the checkpoint that keeps them one.
//!
//! ```text
//!            ┌─────────────── discard ◄──────────────┐
//!            ▼                                       │
//!  open ─► changes ── prepare ─► sealed ── commit ─► changes …
//!            │                     (changelog written, offsets committed)
//!            └── fail ─► every access and prepare fail, until discard
//! ```

use std::sync::Arc;

use millstream_types::{Offset, Timestamp};

use crate::cache::{AnyFamily, CacheSettings, FamilyContext, FamilyStats};
use crate::changelog::{ChangelogRecord, Marker};
use crate::mark::next_owner;
use crate::{
    Backend, Batch, CheckpointMark, Result, SourceOffsets, StateError, StoreId, StoreLayout,
    StoreMark,
};

/// The families of one kind of store.
///
/// ```
/// use millstream_state::{AnyFamily, Family, FamilyContext, FamilySet, StoreLayout, families};
///
/// struct Index {
///     by_time: Family<()>,
/// }
///
/// impl FamilySet for Index {
///     const LAYOUT: StoreLayout =
///         StoreLayout { kind: "index", families: &[families::WINDOW_TIMES] };
///
///     fn open(context: &FamilyContext) -> Self {
///         Self { by_time: context.family(families::WINDOW_TIMES) }
///     }
///
///     fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily)) {
///         visit(&mut self.by_time);
///     }
/// }
/// ```
pub trait FamilySet: Send + Sized {
    /// What the store consists of.
    const LAYOUT: StoreLayout;
    /// Opens the families. State that is derived from them (a smallest end, say) is read later,
    /// in [`FamilySet::rewind`].
    fn open(context: &FamilyContext) -> Self;
    /// Visits every family, always in the same order.
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily));
    /// Called when the store is opened and after every discard: forget whatever was derived
    /// from entries outside the families, or derive it anew.
    ///
    /// # Errors
    /// What reading the families gave.
    fn rewind(&mut self) -> Result<()> {
        Ok(())
    }
    /// Called before a checkpoint is encoded, with the greatest timestamp that the store has
    /// observed, if it has: remove what expired by then (ST-54).
    ///
    /// # Errors
    /// What reading the families gave.
    fn expire(&mut self, _now: Timestamp) -> Result<()> {
        Ok(())
    }
}

/// What the runtime knows at a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointFacts {
    /// Per source partition of the task, the offset that is committed with this checkpoint, or
    /// was before it.
    pub covered: SourceOffsets,
    /// Wall-clock time, ms.
    pub written_ms: Timestamp,
}

/// An encoded checkpoint on its way to the changelog.
#[derive(Debug)]
pub struct Prepared {
    batch: Batch,
    mark: CheckpointMark,
    marker: Marker,
}

impl Prepared {
    /// The records for the changelog partition in the order in which they must get there: one
    /// per changed entry, then the marker.
    pub fn records(&self) -> impl Iterator<Item = ChangelogRecord<'_>> {
        self.batch.records().chain(std::iter::once(self.marker.record()))
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.batch.records().count() + 1
    }

    /// Never: at least the marker is there.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of keys and values, those for the backend only included.
    pub fn byte_size(&self) -> usize {
        self.batch.byte_size()
    }
}

/// A store partition as the runtime sees it, whatever its families.
pub trait Store: Send {
    /// Its address.
    fn id(&self) -> &StoreId;
    /// What it consists of.
    fn layout(&self) -> &StoreLayout;
    /// Bytes that changed since the last checkpoint.
    fn dirty_bytes(&mut self) -> usize;
    /// The checkpoint it stands on; `None` if it is new.
    fn mark(&self) -> Option<&CheckpointMark>;
    /// Sizes of the caches, all families together.
    fn stats(&mut self) -> FamilyStats;
    /// The backend.
    fn backend(&self) -> &Arc<dyn Backend>;
    /// Encodes what changed. `None` if nothing did: then nothing is to be written or committed.
    /// Until [`Store::commit`] or [`Store::discard`] the store must not be changed (checked).
    ///
    /// # Errors
    /// [`StateError::TransactionFailed`] after [`Store::fail`] (ST-04), or what reading what is
    /// to expire gives.
    ///
    /// # Panics
    /// If a checkpoint is prepared already.
    fn prepare(&mut self, facts: CheckpointFacts) -> Result<Option<&Prepared>>;
    /// The prepared checkpoint.
    fn prepared(&self) -> Option<&Prepared>;
    /// Writes the prepared checkpoint to the backend; call it when its records are in the
    /// changelog and the offsets are committed. `changelog_offset` is the offset after the
    /// marker's, `None` without a changelog (CK-36). Without a prepared checkpoint it does
    /// nothing.
    ///
    /// # Errors
    /// If the backend fails. The store is failed then and must be opened again; what is missing
    /// on disk is in the changelog.
    fn commit(&mut self, changelog_offset: Option<Offset>) -> Result<()>;
    /// Forgets everything since the last checkpoint, a prepared one and a failure included.
    ///
    /// # Errors
    /// If reading the state back fails.
    fn discard(&mut self) -> Result<()>;
    /// Marks the transaction failed (ST-04). The first reason stays.
    fn fail(&mut self, reason: &str);
    /// Why it failed.
    fn failure(&self) -> Option<&str>;
}

/// A store partition of one kind.
#[derive(Debug)]
pub struct StorePartition<F> {
    id: StoreId,
    backend: Arc<dyn Backend>,
    families: F,
    mark: Option<CheckpointMark>,
    /// Checkpoints of this owner have higher numbers.
    sequence: u64,
    greatest_timestamp: Option<Timestamp>,
    failure: Option<String>,
    prepared: Option<Prepared>,
}

impl<F: FamilySet> StorePartition<F> {
    /// Opens a store over a backend that is not in the middle of a restore.
    ///
    /// # Errors
    /// [`StateError::Incompatible`] if a restore did not reach its end, or what reading gives.
    pub fn open(id: StoreId, backend: Arc<dyn Backend>, cache: &CacheSettings) -> Result<Self> {
        let mark = match backend.mark()? {
            StoreMark::Empty => None,
            StoreMark::Checkpoint(mark) => Some(mark),
            StoreMark::Restoring { position, target } => {
                return Err(StateError::Incompatible {
                    store: id,
                    detail: format!(
                        "its restore stands at changelog offset {position} and has to reach \
                         {:?} first",
                        target.changelog_offset
                    ),
                });
            }
        };
        let context = FamilyContext { backend: Arc::clone(&backend), settings: cache.clone() };
        let mut families = F::open(&context);
        families.rewind()?;
        let greatest_timestamp = mark.as_ref().and_then(|mark| mark.greatest_timestamp);
        let sequence = next_owner(mark.as_ref().map_or(0, |mark| mark.sequence));
        Ok(Self {
            id,
            backend,
            families,
            mark,
            sequence,
            greatest_timestamp,
            failure: None,
            prepared: None,
        })
    }

    /// The families.
    ///
    /// # Errors
    /// [`StateError::TransactionAccess`] after [`Store::fail`] (ST-04).
    #[inline]
    pub fn families(&mut self) -> Result<&mut F> {
        match &self.failure {
            None => Ok(&mut self.families),
            Some(reason) => Err(StateError::TransactionAccess {
                store: self.id.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// The greatest timestamp observed so far; `None` if none was, which is what stores without
    /// a time of their own have.
    pub fn greatest_timestamp(&self) -> Option<Timestamp> {
        self.greatest_timestamp
    }

    /// Takes note of a record's timestamp; gives the greatest so far (ST-50). It is part of the
    /// next checkpoint, which is due to it even if nothing else changed.
    pub fn observe(&mut self, timestamp: Timestamp) -> Timestamp {
        let greatest =
            self.greatest_timestamp.map_or(timestamp, |greatest| greatest.max(timestamp));
        self.greatest_timestamp = Some(greatest);
        greatest
    }

    fn each(&mut self, mut visit: impl FnMut(&mut dyn AnyFamily)) {
        self.families.each(&mut visit);
    }
}

impl<F: FamilySet> Store for StorePartition<F> {
    fn id(&self) -> &StoreId {
        &self.id
    }

    fn layout(&self) -> &StoreLayout {
        &F::LAYOUT
    }

    fn dirty_bytes(&mut self) -> usize {
        let mut bytes = 0;
        self.each(|family| bytes += family.dirty_bytes());
        bytes
    }

    fn mark(&self) -> Option<&CheckpointMark> {
        self.mark.as_ref()
    }

    fn stats(&mut self) -> FamilyStats {
        let mut sum = FamilyStats::default();
        self.each(|family| {
            let stats = family.stats();
            sum.cached += stats.cached;
            sum.dirty += stats.dirty;
            sum.bytes += stats.bytes;
            sum.misses += stats.misses;
        });
        sum
    }

    fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    fn prepare(&mut self, facts: CheckpointFacts) -> Result<Option<&Prepared>> {
        assert!(self.prepared.is_none(), "a checkpoint of {} is prepared already", self.id);
        if let Some(reason) = &self.failure {
            let (store, reason) = (self.id.clone(), reason.clone());
            return Err(StateError::TransactionFailed { store, reason });
        }
        if let Some(now) = self.greatest_timestamp
            && let Err(error) = self.families.expire(now)
        {
            // Half of it may be removed.
            self.fail(&format!("what expired could not be removed: {error}"));
            return Err(error);
        }
        let mut batch = Batch::new();
        self.each(|family| family.prepare(&mut batch));
        let known = self.mark.as_ref().and_then(|mark| mark.greatest_timestamp);
        if batch.is_empty() && self.greatest_timestamp == known {
            self.each(|family| family.committed());
            return Ok(None);
        }
        let mark = CheckpointMark {
            sequence: self.mark.as_ref().map_or(0, |mark| mark.sequence).max(self.sequence) + 1,
            changelog_offset: None,
            covered: facts.covered,
            greatest_timestamp: self.greatest_timestamp,
            written_ms: facts.written_ms,
        };
        let marker = Marker::new(&mark);
        Ok(Some(self.prepared.insert(Prepared { batch, mark, marker })))
    }

    fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }

    fn commit(&mut self, changelog_offset: Option<Offset>) -> Result<()> {
        let Some(Prepared { batch, mut mark, .. }) = self.prepared.take() else { return Ok(()) };
        mark.changelog_offset = changelog_offset;
        let mark = StoreMark::Checkpoint(mark);
        if let Err(error) = self.backend.write(&batch, &mark) {
            self.fail(&format!("its checkpoint could not be written: {error}"));
            return Err(error);
        }
        if let StoreMark::Checkpoint(mark) = mark {
            self.mark = Some(mark);
        }
        self.each(|family| family.committed());
        Ok(())
    }

    fn discard(&mut self) -> Result<()> {
        self.prepared = None;
        self.failure = None;
        self.each(|family| family.discard());
        self.greatest_timestamp = self.mark.as_ref().and_then(|mark| mark.greatest_timestamp);
        self.families.rewind()
    }

    fn fail(&mut self, reason: &str) {
        self.failure.get_or_insert_with(|| reason.to_owned());
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
