//! Compaction: of each key's records only the newest stays (`cleanup.policy=compact`).
//!
//! As Kafka does it, in two passes over whole segments, never the one that is written to, and
//! never beyond the last stable offset:
//!
//! 1. the *dirty* part, which was never compacted, is read into a map of each key's newest offset
//!    ([`offset_map`]), as far as the map's memory reaches;
//! 2. the log is written anew from its start up to there, batch by batch ([`retained`] says what
//!    stays), several small segments into one, which then takes their place ([`swap`](super::swap)).
//!
//! Offsets never change; what is gone leaves a gap. All of it is done in steps of bounded work, so
//! that a request never waits long. Readers and writers go on in between; whoever deletes a
//! segment ends the compaction first.

mod choice;
mod offset_map;
mod retained;

use std::collections::VecDeque;
use std::io;

use millstream_protocol::{Batch, BatchError};

use super::segment::Segment;
use super::swap::cleaned_paths;
use super::window::Window;
use super::{LogConfig, PartitionLog, UNPACKED_MAX};
pub(crate) use choice::Dirty;
use offset_map::OffsetMap;
use retained::{Decided, Retained, Rules};

/// About so much of the log is read in one step; a batch that was begun is done whole.
const STEP_BYTES: u64 = 256 << 10;
/// Written bytes that may wait for the medium: the wait at the end would be long otherwise.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
/// A log whose compaction has failed is left alone for so long.
const RETRY_MS: i64 = 60_000;

/// A compaction that is under way.
pub(super) struct Cleaning {
    now_ms: i64,
    /// First offset of the first segment that stays out of it.
    limit: i64,
    map: OffsetMap,
    /// The map knows the records below this offset.
    mapped_to: i64,
    decided: Decided,
    scratch: Vec<u8>,
    stage: Stage,
}

enum Stage {
    Mapping {
        /// First offset of the segment that is read.
        segment: i64,
        place: u64,
        window: Window,
        from: i64,
    },
    Copying {
        /// First offsets of the segments that become one.
        groups: VecDeque<Vec<i64>>,
        copy: Option<Box<Copy>>,
    },
}

/// A group of segments on their way into one.
struct Copy {
    /// Those that are not read yet, the current one first.
    left: VecDeque<i64>,
    place: u64,
    window: Window,
    cleaned: Segment,
    /// Where the group ends.
    end: i64,
    /// Batches that are not written yet.
    out: Vec<u8>,
    unsynced: u64,
}

impl PartitionLog {
    /// Begins a compaction of what [`dirty`](Self::dirty) found. The map of keys takes about
    /// `map_bytes`.
    ///
    /// # Errors
    /// What the disk says; for a while it is not tried again.
    pub(crate) fn begin_cleaning(
        &mut self,
        dirty: &Dirty,
        now_ms: i64,
        map_bytes: usize,
    ) -> io::Result<()> {
        self.abandon_cleaning();
        self.cleaning_failed_ms = Some(now_ms);
        self.finish_swap()?;
        let mut decided = Decided::default();
        decided.expect(self.aborted_in(dirty.from, dirty.limit)?);
        let number = self.segment_of(dirty.from);
        let found = super::read::find_batch(&self.segments[number], dirty.from)?;
        let segment = &self.segments[number];
        self.cleaning_failed_ms = None;
        self.cleaning = Some(Box::new(Cleaning {
            now_ms,
            limit: dirty.limit,
            map: OffsetMap::new(map_bytes),
            mapped_to: dirty.from,
            decided,
            scratch: Vec::new(),
            stage: Stage::Mapping {
                segment: segment.base,
                place: found.map_or(segment.size, |(place, _)| place),
                window: Window::default(),
                from: dirty.from,
            },
        }));
        Ok(())
    }

    /// Goes on with a compaction for a bounded time. Returns whether there is more to do.
    ///
    /// # Errors
    /// What the disk says, or `InvalidData` for a batch that is broken. The compaction is over
    /// then, the log is as it was or as far as it came, and for a while it is not tried again.
    pub(crate) fn clean_some(&mut self, config: &LogConfig) -> io::Result<bool> {
        let Some(mut cleaning) = self.cleaning.take() else { return Ok(false) };
        let outcome = cleaning.step(self, config);
        match outcome {
            Ok(true) => self.cleaning = Some(cleaning),
            Ok(false) => self.cleaning_failed_ms = None,
            Err(_) => {
                self.cleaning_failed_ms = Some(cleaning.now_ms);
                cleaning.remove_files(self);
            }
        }
        outcome
    }

    /// Ends a compaction without its result. What it has put in place stays.
    pub(crate) fn abandon_cleaning(&mut self) {
        if let Some(cleaning) = self.cleaning.take() {
            cleaning.remove_files(self);
        }
    }

    fn number_of(&self, base: i64) -> io::Result<usize> {
        self.segments
            .binary_search_by_key(&base, |segment| segment.base)
            .map_err(|_| io::Error::other("a segment that is being compacted is gone"))
    }
}

impl Cleaning {
    fn step(&mut self, log: &mut PartitionLog, config: &LogConfig) -> io::Result<bool> {
        match &mut self.stage {
            Stage::Mapping { .. } => {
                if self.map_some(log)? {
                    let groups = log.groups_below(self.mapped_to, self.limit, config);
                    // The second pass walks the log from its start.
                    self.decided = Decided::default();
                    self.stage = Stage::Copying { groups, copy: None };
                }
                Ok(true)
            }
            Stage::Copying { groups, copy: copy @ None } => {
                let Some(group) = groups.pop_front() else {
                    log.note_clean(self.mapped_to)?;
                    return Ok(false);
                };
                *copy = Some(Box::new(Copy::begin(log, group, &mut self.decided)?));
                Ok(true)
            }
            Stage::Copying { copy: Some(_), .. } => {
                if self.copy_some(log, config)? {
                    self.put_in_place(log)?;
                }
                Ok(true)
            }
        }
    }

    /// Reads on into the map. Returns whether that is all, or all that it has room for.
    fn map_some(&mut self, log: &PartitionLog) -> io::Result<bool> {
        let Stage::Mapping { segment: base, place, window, from } = &mut self.stage else {
            return Ok(true);
        };
        let mut left = STEP_BYTES;
        let mut number = log.number_of(*base)?;
        loop {
            let segment = &log.segments[number];
            while *place < segment.size {
                if self.map.is_full() {
                    return Ok(true);
                }
                if left == 0 {
                    return Ok(false);
                }
                let batch = window.batch(segment, *place, segment.size)?;
                let (size, next) = (batch.bytes().len() as u64, batch.header().next_offset());
                map_batch(&batch, *from, &mut self.map, &mut self.decided, &mut self.scratch)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                *place += size;
                left = left.saturating_sub(size);
                self.mapped_to = self.mapped_to.max(next);
            }
            number += 1;
            let next = log.segments.get(number).map_or(self.limit, |segment| segment.base);
            self.mapped_to = self.mapped_to.max(next.min(self.limit));
            if next >= self.limit {
                return Ok(true);
            }
            (*base, *place, *window) = (next, 0, Window::default());
        }
    }

    /// Copies on what stays of the current group. Returns whether that is all of it.
    fn copy_some(&mut self, log: &PartitionLog, config: &LogConfig) -> io::Result<bool> {
        let Stage::Copying { copy: Some(copy), .. } = &mut self.stage else { return Ok(true) };
        let rules = Rules {
            map: &self.map,
            producers: &log.producers,
            mapped_to: self.mapped_to,
            limit: self.limit,
            now_ms: self.now_ms,
            delete_retention_ms: config.delete_retention_ms,
        };
        let mut left = STEP_BYTES;
        while let Some(base) = copy.left.front() {
            let segment = &log.segments[log.number_of(*base)?];
            while copy.place < segment.size {
                if left == 0 {
                    copy.write()?;
                    return Ok(false);
                }
                let batch = copy.window.batch(segment, copy.place, segment.size)?;
                let size = batch.bytes().len() as u64;
                let (retained, aborted) =
                    rules.apply(&batch, &mut self.decided, &mut self.scratch)?;
                let bytes = match &retained {
                    Retained::Nothing => &[][..],
                    Retained::Whole => batch.bytes(),
                    Retained::Rewritten(bytes) => bytes,
                };
                if !bytes.is_empty() {
                    let header = *Batch::parse(bytes).map_err(io::Error::other)?.header();
                    copy.out.extend_from_slice(bytes);
                    copy.cleaned.note(
                        &header,
                        segment.last_append_ms,
                        config.index_interval_bytes,
                    )?;
                }
                if let Some(aborted) = aborted {
                    copy.cleaned.aborted.push(aborted)?;
                }
                copy.place += size;
                left = left.saturating_sub(size);
            }
            copy.cleaned.last_append_ms = segment.last_append_ms;
            copy.left.pop_front();
            (copy.place, copy.window) = (0, Window::default());
            if let Some(next) = copy.left.front() {
                expect_aborted(log, *next, &mut self.decided)?;
            }
        }
        copy.write()?;
        Ok(true)
    }

    fn put_in_place(&mut self, log: &mut PartitionLog) -> io::Result<()> {
        let Stage::Copying { copy, .. } = &mut self.stage else { return Ok(()) };
        if let Some(current) = copy {
            current.cleaned.complete()?;
            log.note_gaps(self.limit)?;
        }
        match copy.take() {
            Some(done) => log.swap_in(done.cleaned, done.end),
            None => Ok(()),
        }
    }

    /// Removes what was written and did not come into place.
    fn remove_files(&self, log: &PartitionLog) {
        let Stage::Copying { copy: Some(copy), .. } = &self.stage else { return };
        if let Err(error) = copy.cleaned.remove(&*log.disk) {
            // A start removes them as well.
            tracing::warn!(dir = %log.dir.display(), %error, "cannot remove a half-written segment");
        }
    }
}

impl Copy {
    fn begin(log: &PartitionLog, group: Vec<i64>, decided: &mut Decided) -> io::Result<Self> {
        let last = log.number_of(group[group.len() - 1])?;
        let end = log.segments[last + 1].base;
        let paths = cleaned_paths(&log.dir, group[0], end);
        let cleaned = Segment::create_at(&*log.disk, paths, group[0])?;
        // What an attempt before this one has left.
        if cleaned.file.size()? > 0 {
            cleaned.file.truncate(0)?;
        }
        expect_aborted(log, group[0], decided)?;
        Ok(Self {
            left: group.into(),
            place: 0,
            window: Window::default(),
            cleaned,
            end,
            out: Vec::new(),
            unsynced: 0,
        })
    }

    fn write(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let length = self.out.len() as u64;
        self.cleaned.file.write_at(&self.out, self.cleaned.size - length)?;
        self.out.clear();
        self.unsynced += length;
        if self.unsynced >= UNSYNCED_BYTES_MAX {
            self.cleaned.file.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// Tells the walk of the aborted transactions with records in a segment.
fn expect_aborted(log: &PartitionLog, base: i64, decided: &mut Decided) -> io::Result<()> {
    let number = log.number_of(base)?;
    let end = log.segments.get(number + 1).map_or(log.end_offset, |next| next.base);
    decided.expect(log.aborted_in(base, end)?);
    Ok(())
}

fn map_batch(
    batch: &Batch<'_>,
    from: i64,
    map: &mut OffsetMap,
    decided: &mut Decided,
    scratch: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let header = batch.header();
    if header.attributes.is_control() {
        if let Some(marker) = super::Marker::parse(batch.bytes()) {
            decided.end(header, marker.commit);
        }
        return Ok(());
    }
    if decided.meet(header) {
        return Ok(());
    }
    // A broken batch must not decide about sound ones.
    batch.check()?;
    for record in batch.records(scratch, UNPACKED_MAX)? {
        let record = record?;
        if let Some(key) = record.key.filter(|_| record.offset >= from) {
            map.put(key, record.offset);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
