//! Carrying a [`RestorePlan`] out. It reads nothing itself: it says which records it wants next.

use std::collections::HashSet;
use std::sync::Arc;

use millstream_types::{Offset, RecordBatch, RecordView, Timestamp};

use super::RestorePlan;
use crate::changelog::{Change, ChangelogRecord, Marker, read};
use crate::mark::next_owner;
use crate::{
    Backend, Batch, CheckpointMark, FamilyId, Result, SourceOffsets, StoreId, StoreLayout,
    StoreMark, families, slot,
};

/// What a [`Restorer`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreStep {
    /// The changelog's records from `from` to below `to`. `from` moves with what is handed in;
    /// where it is not the reader's position, the reader must seek, and hand in nothing of what
    /// it fetched before.
    Read {
        /// Next offset.
        from: Offset,
        /// Offset after the last one.
        to: Offset,
    },
    /// Everything was read: [`Restorer::take_rewrites`] one last time, then
    /// [`Restorer::marker`], then [`Restorer::complete`].
    Finish,
}

/// What a [`Restorer`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePhase {
    /// Looking for the last marker that is not beyond the committed offsets.
    Searching,
    /// Applying entries up to it.
    Applying,
    /// Writing committed values of keys behind it to the changelog again.
    Rewriting,
    /// Done with reading.
    Finished,
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreProgress {
    /// What it is doing.
    pub phase: RestorePhase,
    /// First offset to be applied.
    pub from: Offset,
    /// Next offset to be applied.
    pub position: Offset,
    /// Offset after the last one.
    pub to: Offset,
    /// Entries applied.
    pub records: u64,
    /// Bytes of keys and values applied.
    pub bytes: u64,
}

/// Bounds on what a [`Restorer`] holds in memory and asks for at once.
#[derive(Clone, Copy, Debug)]
pub struct RestoreLimits {
    /// Records in the first window of the search; each further window is eight times the last.
    pub window: Offset,
    /// Bytes of a first window that are kept, so that a short changelog is read once.
    pub keep_bytes: usize,
    /// Bytes of entries per write to the backend.
    pub batch_bytes: usize,
    /// Bytes of rewritten keys that are remembered; beyond that a key may be rewritten twice.
    pub remembered_bytes: usize,
}

impl Default for RestoreLimits {
    fn default() -> Self {
        Self { window: 1024, keep_bytes: 8 << 20, batch_bytes: 4 << 20, remembered_bytes: 32 << 20 }
    }
}

/// A restore on its way. See the head of `restore.rs`.
#[derive(Debug)]
pub struct Restorer {
    store: StoreId,
    layout: StoreLayout,
    backend: Arc<dyn Backend>,
    /// The backend is a new one that takes the place of another.
    replaces: bool,
    committed: SourceOffsets,
    now_ms: Timestamp,
    limits: RestoreLimits,
    from: Offset,
    to: Offset,
    /// The state to reach: the mark, and the position after its marker.
    target: Target,
    phase: Phase,
    batch: Batch,
    index_key: Vec<u8>,
    rewrites: Batch,
    rewritten: u64,
    seen: HashSet<Box<[u8]>>,
    seen_bytes: usize,
    /// The best marker of the windows searched so far, and the number of markers in them.
    candidate: Option<Target>,
    seen_markers: u32,
    /// The highest sequence number met, of markers beyond the committed offsets as well: whoever
    /// comes next is numbered above it.
    sequence: u64,
    records: u64,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Target {
    end: Offset,
    mark: CheckpointMark,
}

#[derive(Debug)]
enum Phase {
    Search {
        /// The window's start and end, and the next offset in it.
        start: Offset,
        end: Offset,
        position: Offset,
        /// The last marker so far, and how many there were.
        found: Option<Target>,
        seen: u32,
        /// Its records, if the window is the whole changelog and small so far.
        kept: Option<Vec<RecordBatch>>,
        kept_bytes: usize,
    },
    Apply {
        position: Offset,
    },
    Tail {
        position: Offset,
    },
    Done,
}

impl Restorer {
    /// Begins to carry out a plan; `None` if there is nothing to do. `backend` is the store's;
    /// a rebuild of one that has something in it goes to a new one beside it.
    ///
    /// # Errors
    /// If the backend fails.
    pub fn new(
        store: StoreId,
        layout: StoreLayout,
        backend: Arc<dyn Backend>,
        plan: &RestorePlan,
        committed: SourceOffsets,
        now_ms: Timestamp,
    ) -> Result<Option<Self>> {
        let local = backend.mark()?;
        let (from, to, rebuild) = match *plan {
            RestorePlan::UpToDate => return Ok(None),
            RestorePlan::Replay { from, to } => (from, to, false),
            RestorePlan::Rebuild { from, to, .. } => (from, to, true),
        };
        let replaces = rebuild && local != StoreMark::Empty;
        let backend = if replaces { backend.rebuild()? } else { backend };
        let sequence = match &local {
            StoreMark::Empty => 0,
            StoreMark::Checkpoint(mark) | StoreMark::Restoring { target: mark, .. } => {
                mark.sequence
            }
        };
        // Where no marker of the range will do: what is there, or nothing.
        let target = match local {
            StoreMark::Checkpoint(mark) if !rebuild => Target { end: from, mark },
            StoreMark::Restoring { target, .. } if !rebuild => {
                Target { end: target.changelog_offset.unwrap_or(from), mark: target }
            }
            _ => Target { end: from, mark: CheckpointMark::default() },
        };
        let mut restorer = Self {
            store,
            layout,
            backend,
            replaces,
            committed,
            now_ms,
            limits: RestoreLimits::default(),
            from,
            to,
            target,
            phase: Phase::Done,
            batch: Batch::new(),
            index_key: Vec::new(),
            rewrites: Batch::new(),
            rewritten: 0,
            seen: HashSet::new(),
            seen_bytes: 0,
            candidate: None,
            seen_markers: 0,
            sequence,
            records: 0,
            bytes: 0,
        };
        restorer.search(to, restorer.limits.window)?;
        Ok(Some(restorer))
    }

    /// Begins anew with other limits. Only before the first [`Restorer::feed`].
    ///
    /// # Errors
    /// If the backend fails.
    pub fn with_limits(mut self, limits: RestoreLimits) -> Result<Self> {
        self.limits = limits;
        if matches!(self.phase, Phase::Search { .. }) {
            self.search(self.to, limits.window)?;
        }
        Ok(self)
    }

    /// What it wants next.
    pub fn step(&self) -> RestoreStep {
        match &self.phase {
            Phase::Search { position, end, .. } => RestoreStep::Read { from: *position, to: *end },
            Phase::Apply { position } | Phase::Tail { position } => {
                RestoreStep::Read { from: *position, to: self.to }
            }
            Phase::Done => RestoreStep::Finish,
        }
    }

    /// Takes what one read gave: records of the changelog partition in the order of their
    /// offsets, if there were any, and the reader's position after it. Everything below that
    /// position was handed in or does not exist: gaps of compaction and the ends of transactions
    /// count (CK-34). Records outside of what [`Restorer::step`] asked for are left alone.
    ///
    /// # Errors
    /// [`crate::StateError::ForeignChangelog`], or what the backend says. The restore is of no
    /// further use then.
    pub fn feed(&mut self, records: Option<&RecordBatch>, position: Offset) -> Result<()> {
        let last = match records {
            Some(batch) => self.read(batch)?,
            None => position,
        };
        self.reached(position.max(last))
    }

    /// Looks at records; gives the offset after the last one.
    fn read(&mut self, batch: &RecordBatch) -> Result<Offset> {
        let RestoreStep::Read { from, to } = self.step() else { return Ok(self.to) };
        let mut position = from;
        for record in batch.iter().filter(|record| (from..to).contains(&record.offset())) {
            position = record.offset() + 1;
            match &mut self.phase {
                Phase::Search { found, seen, .. } => {
                    if let Change::Marker(mark) = read(&record, &self.store, &self.layout)? {
                        self.sequence = self.sequence.max(mark.sequence);
                        if mark.covered.not_beyond(&self.committed) {
                            *seen += 1;
                            if found.as_ref().is_none_or(|found| mark.outdates(&found.mark)) {
                                *found = Some(Target { end: position, mark });
                            }
                        }
                    }
                }
                _ => self.take(&record)?,
            }
        }
        if let Phase::Search { kept: Some(kept), kept_bytes, .. } = &mut self.phase {
            *kept_bytes += batch.byte_size();
            kept.push(batch.clone());
        }
        if let Phase::Search { kept, kept_bytes, .. } = &mut self.phase
            && *kept_bytes > self.limits.keep_bytes
        {
            *kept = None;
        }
        Ok(position)
    }

    /// There is nothing below `position` that was not looked at.
    fn reached(&mut self, position: Offset) -> Result<()> {
        match &mut self.phase {
            Phase::Search { position: at, end, .. } => {
                *at = position.clamp(*at, *end);
                if *at == *end { self.searched() } else { Ok(()) }
            }
            Phase::Apply { position: at } => {
                let at = position.max(*at);
                self.phase = Phase::Apply { position: at.min(self.to) };
                self.applied(at)
            }
            Phase::Tail { position: at } => {
                let at = position.max(*at);
                self.phase = if at < self.to { Phase::Tail { position: at } } else { Phase::Done };
                Ok(())
            }
            Phase::Done => Ok(()),
        }
    }

    /// Records that must be written to the changelog, after those that were taken before. They
    /// are what the committed state says about keys that changed behind it. Take them after each
    /// [`Restorer::feed`]; they take up memory.
    pub fn take_rewrites(&mut self) -> Batch {
        std::mem::take(&mut self.rewrites)
    }

    /// The marker to be written to the changelog after all rewrites; `None` if there were none.
    ///
    /// # Panics
    /// Before [`RestoreStep::Finish`].
    pub fn marker(&self) -> Option<Marker> {
        assert!(matches!(self.phase, Phase::Done), "the restore of {} is not done", self.store);
        (self.rewritten > 0)
            .then(|| Marker::new(&CheckpointMark { sequence: self.own_sequence(), ..self.mark() }))
    }

    /// Sets the mark, puts a rebuilt store in its place, and gives the backend to open the store
    /// with. `changelog_offset` is the offset after that of [`Restorer::marker`], once it and
    /// everything before it is delivered; `None` if there was none, or where the broker did not
    /// say: the store then replays what it wrote itself, which changes nothing.
    ///
    /// # Errors
    /// If the backend fails.
    ///
    /// # Panics
    /// Before [`RestoreStep::Finish`], or if there is an offset and no marker.
    pub fn complete(mut self, changelog_offset: Option<Offset>) -> Result<Arc<dyn Backend>> {
        let marked = self.marker().is_some();
        assert!(marked || changelog_offset.is_none(), "a position without a marker");
        // Also without a marker of its own: markers that do not count any more, because offsets
        // were set back, must not outrank those to come.
        self.target.mark.sequence = self.own_sequence();
        let mut mark = self.mark();
        mark.changelog_offset = Some(changelog_offset.unwrap_or(self.to));
        self.backend.write(&Batch::new(), &StoreMark::Checkpoint(mark))?;
        if self.replaces {
            self.backend.promote()?;
        }
        Ok(self.backend)
    }

    /// Whether something was given out by [`Restorer::take_rewrites`].
    pub fn has_rewritten(&self) -> bool {
        self.rewritten > 0
    }

    /// Numbers the marker as that of a new owner.
    fn own_sequence(&self) -> u64 {
        next_owner(self.sequence) + 1
    }

    /// How far it is.
    pub fn progress(&self) -> RestoreProgress {
        let (phase, position) = match self.phase {
            Phase::Search { .. } => (RestorePhase::Searching, self.from),
            Phase::Apply { position } => (RestorePhase::Applying, position),
            Phase::Tail { position } => (RestorePhase::Rewriting, position),
            Phase::Done => (RestorePhase::Finished, self.to),
        };
        let (from, to) = (self.from, self.to);
        RestoreProgress { phase, from, position, to, records: self.records, bytes: self.bytes }
    }

    /// The target's mark, as of now: everything the changelog says so far has been looked at.
    fn mark(&self) -> CheckpointMark {
        CheckpointMark {
            changelog_offset: Some(self.target.end),
            written_ms: self.now_ms,
            ..self.target.mark.clone()
        }
    }

    /// Looks at the `size` offsets before `end`.
    fn search(&mut self, end: Offset, size: Offset) -> Result<()> {
        let start = end.saturating_sub(size).max(self.from);
        let whole = start == self.from && end == self.to;
        self.phase = Phase::Search {
            start,
            end,
            position: start,
            found: None,
            seen: 0,
            kept: whole.then(Vec::new),
            kept_bytes: 0,
        };
        if start == end { self.searched() } else { Ok(()) }
    }

    /// A window was looked at to its end.
    fn searched(&mut self) -> Result<()> {
        let Phase::Search { start, end, found, seen, kept, .. } =
            std::mem::replace(&mut self.phase, Phase::Done)
        else {
            unreachable!("called at the end of a window");
        };
        self.seen_markers += seen;
        if let Some(target) = found {
            // That of a later window, or the fallback, may be the later one nevertheless: written
            // by a later owner, or the target of an interrupted restore whose marker compaction
            // has removed since.
            let later = match &self.candidate {
                Some(known) => !known.mark.outdates(&target.mark),
                None => true,
            };
            if later {
                self.candidate = Some(target);
            }
        }
        // The last marker alone does not tell whether it is a successor's or that of a process
        // which was taken for dead and wrote behind its successor; the one before it does.
        if self.seen_markers < 2 && start > self.from {
            return self.search(start, (end - start) * 8);
        }
        if let Some(target) = self.candidate.take()
            && target.end > self.target.end
            && target.mark.outdates(&self.target.mark)
        {
            self.target = target;
        }
        self.phase = Phase::Apply { position: self.from };
        self.applied(self.from)?;
        if let Some(kept) = kept {
            for batch in kept {
                let position = self.read(&batch)?;
                self.reached(position)?;
            }
            // The window was read to its end, where there may be offsets without a record.
            self.reached(self.to)?;
        }
        Ok(())
    }

    fn take(&mut self, record: &RecordView<'_>) -> Result<()> {
        let Change::Entry { family, key, value } = read(record, &self.store, &self.layout)? else {
            return Ok(());
        };
        if matches!(self.phase, Phase::Tail { .. }) || record.offset() >= self.target.end {
            // The records of one fetch may lie on both sides of the target.
            if matches!(self.phase, Phase::Apply { .. }) {
                self.applied(record.offset())?;
            }
            return self.rewrite(family, key);
        }
        self.records += 1;
        self.bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        match value {
            Some(value) => {
                self.batch.put(family, key, value);
                self.index_expiry(family, key, value);
            }
            None => self.batch.delete(family, key),
        }
        if self.batch.byte_size() >= self.limits.batch_bytes {
            let position = record.offset() + 1;
            self.write(&StoreMark::Restoring { position, target: self.mark() })?;
        }
        Ok(())
    }

    /// What expires goes into the index by time, which changelogs do not have (ST-56).
    fn index_expiry(&mut self, family: FamilyId, key: &[u8], value: &[u8]) {
        let index = families::expiry_index(family).filter(|at| self.layout.families.contains(at));
        if let Some(index) = index
            && let Ok((_, Some(stamp))) = slot::open(value)
        {
            let key = families::expiry_key(&mut self.index_key, stamp, key);
            self.batch.put_with(index, key, |out| slot::begin(out, None));
        }
    }

    /// The position in `Apply` is `position`: ends the phase behind the target.
    fn applied(&mut self, position: Offset) -> Result<()> {
        if position >= self.target.end {
            let mark = self.mark();
            self.write(&StoreMark::Checkpoint(mark))?;
            let tail = position < self.to;
            self.phase = if tail { Phase::Tail { position } } else { Phase::Done };
        }
        Ok(())
    }

    fn write(&mut self, mark: &StoreMark) -> Result<()> {
        self.batch.sort();
        self.backend.write(&self.batch, mark)?;
        self.batch.clear();
        Ok(())
    }

    /// A key changed behind the target: its committed value goes to the changelog again.
    fn rewrite(&mut self, family: FamilyId, key: &[u8]) -> Result<()> {
        let mut seen = vec![family.0];
        seen.extend_from_slice(key);
        let bytes = seen.len() + 32;
        if !self.seen.insert(seen.into()) {
            return Ok(());
        }
        self.seen_bytes += bytes;
        if self.seen_bytes > self.limits.remembered_bytes {
            self.seen.clear();
            self.seen_bytes = 0;
        }
        let mut value = Vec::new();
        if self.backend.get(family, key, &mut value)? {
            self.rewrites.put(family, key, &value);
        } else {
            self.rewrites.delete(family, key);
        }
        self.rewritten += 1;
        Ok(())
    }
}

impl Batch {
    /// The changes as changelog records, local ones left out.
    pub fn records(&self) -> impl Iterator<Item = ChangelogRecord<'_>> {
        let shared = self.iter().filter(|op| !op.local);
        shared.map(|op| ChangelogRecord { key: op.record_key, value: op.value })
    }
}
