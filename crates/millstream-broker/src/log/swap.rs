//! Putting a compacted segment in the place of those that it was made from, so that a crash at
//! any moment leaves either those or it.
//!
//! ```text
//! BASE-END.{log,index,timeindex,txnindex}.cleaned   being written: a start removes them
//! BASE-END.log.swap                                 complete: a start goes on from here
//! ```
//!
//! The names say which segments are replaced, those from BASE to below END. Once all four files
//! are on the medium, the log's new name decides. Then the old segments go, the indexes take
//! their final names and the log last, each step on the medium before the next. What is done
//! already is done again without harm.
//!
//! Two empty files whose names are offsets stay: below `OFFSET.gaps` batches may be missing, and
//! the log is compacted up to `OFFSET.clean`.

use std::io;
use std::path::{Path, PathBuf};

use super::PartitionLog;
use super::segment::{FILE_KINDS, LOG, Segment, path_of};
use crate::disk::Disk;

/// A replacement that has been decided, but whose files do not all have their final names yet.
#[derive(Debug)]
pub(super) struct UnfinishedSwap {
    base: i64,
    /// First offsets of the segments that it replaces.
    old: Vec<i64>,
}

/// What the names in a folder say about compaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    /// Where the first record is that was never compacted, 0 if none was.
    pub(super) clean_to: i64,
    /// Below this offset batches may be missing.
    pub(super) gaps_to: i64,
}

impl Compacted {
    /// Reads the names; where there are two, a crash came between the new one and the removal.
    pub(super) fn of(names: &[String]) -> Self {
        let highest = |kind: &str| {
            let offsets = names.iter().filter_map(|name| name.strip_suffix(kind)?.parse().ok());
            offsets.max().unwrap_or(0)
        };
        Self { clean_to: highest(".clean"), gaps_to: highest(".gaps") }
    }
}

/// Where the files of a segment are written that is to replace those in `base..end`.
pub(super) fn cleaned_paths(dir: &Path, base: i64, end: i64) -> [PathBuf; 4] {
    FILE_KINDS.map(|kind| dir.join(format!("{base:020}-{end:020}.{kind}.cleaned")))
}

fn swap_path(dir: &Path, base: i64, end: i64) -> PathBuf {
    dir.join(format!("{base:020}-{end:020}.log.swap"))
}

/// Ends the replacements that were decided and removes what was not. Returns whether anything was
/// there to do.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, names: &[String]) -> io::Result<bool> {
    let mut found = false;
    for name in names {
        let Some((base, end)) = name.strip_suffix(".log.swap").and_then(range_of) else { continue };
        found = true;
        disk.sync_dir(dir)?;
        for other in names {
            let Some((stem, kind)) = other.split_once('.') else { continue };
            let replaced = stem.parse().is_ok_and(|offset: i64| base < offset && offset < end);
            if replaced && (FILE_KINDS.contains(&kind) || kind == "snapshot") {
                disk.remove_file(&dir.join(other))?;
            }
        }
        for (kind, written) in cleaned_paths(dir, base, end).iter().enumerate().skip(1) {
            if names.iter().any(|name| written.ends_with(name)) {
                disk.rename(written, &path_of(dir, base, kind))?;
            }
        }
        disk.sync_dir(dir)?;
        disk.rename(&dir.join(name), &path_of(dir, base, LOG))?;
        disk.sync_dir(dir)?;
        tracing::info!(dir = %dir.display(), base, end, "ended a replacement of compacted segments");
    }
    for name in names {
        // An index of a replacement that was ended above has its final name by now.
        if name.ends_with(".cleaned") {
            found = true;
            disk.remove_file(&dir.join(name))?;
        }
    }
    Ok(found)
}

fn range_of(stem: &str) -> Option<(i64, i64)> {
    let (base, end) = stem.split_once('-')?;
    Some((base.parse().ok()?, end.parse().ok()?))
}

impl PartitionLog {
    /// Puts `cleaned`, whose files are complete and on the medium, in the place of the segments
    /// from its first offset to below `end`.
    ///
    /// # Errors
    /// What the disk says. Readers see the old segments or the new one all the same; in the second
    /// case [`finish_swap`](Self::finish_swap) goes on.
    pub(super) fn swap_in(&mut self, mut cleaned: Segment, end: i64) -> io::Result<()> {
        let base = cleaned.base;
        let decide = |cleaned: &mut Segment| {
            self.disk.sync_dir(&self.dir)?;
            cleaned.rename(&*self.disk, LOG, swap_path(&self.dir, base, end))
        };
        if let Err(error) = decide(&mut cleaned) {
            // The next start must not go on with what readers never saw.
            let _ = self.disk.remove_file(&swap_path(&self.dir, base, end));
            let _ = cleaned.remove(&*self.disk);
            return Err(error);
        }
        let from = self.segments.partition_point(|segment| segment.base < base);
        let to = self.segments.partition_point(|segment| segment.base < end);
        let old = self.segments.splice(from..to, [cleaned]).map(|segment| segment.base).collect();
        self.places.clear();
        self.swap = Some(UnfinishedSwap { base, old });
        self.finish_swap()
    }

    /// Goes on with a replacement that has been decided.
    ///
    /// # Errors
    /// What the disk says; a repetition goes on.
    pub(super) fn finish_swap(&mut self) -> io::Result<()> {
        let Some(swap) = &self.swap else { return Ok(()) };
        self.disk.sync_dir(&self.dir)?;
        for old in swap.old.iter().filter(|old| **old != swap.base) {
            for kind in 0..FILE_KINDS.len() {
                self.disk.remove_file(&path_of(&self.dir, *old, kind))?;
            }
            self.disk.remove_file(&super::snapshot_path(&self.dir, *old))?;
        }
        let number = self.segments.partition_point(|segment| segment.base < swap.base);
        let segment = &mut self.segments[number];
        for kind in 1..FILE_KINDS.len() {
            segment.rename(&*self.disk, kind, path_of(&self.dir, swap.base, kind))?;
        }
        self.disk.sync_dir(&self.dir)?;
        segment.rename(&*self.disk, LOG, path_of(&self.dir, swap.base, LOG))?;
        self.disk.sync_dir(&self.dir)?;
        self.swap = None;
        Ok(())
    }

    /// Notes that batches below `offset` may be missing from now on. A start holds every other
    /// offset against the one before it.
    ///
    /// # Errors
    /// What the disk says; nothing may be replaced then.
    pub(super) fn note_gaps(&mut self, offset: i64) -> io::Result<()> {
        if offset > self.compacted.gaps_to {
            self.note_offset("gaps", self.compacted.gaps_to, offset)?;
            self.compacted.gaps_to = offset;
        }
        Ok(())
    }

    /// Notes that the log is compacted up to `offset`.
    ///
    /// # Errors
    /// What the disk says; the same part is compacted once more then.
    pub(super) fn note_clean(&mut self, offset: i64) -> io::Result<()> {
        if offset != self.compacted.clean_to {
            self.note_offset("clean", self.compacted.clean_to, offset)?;
            self.compacted.clean_to = offset;
        }
        Ok(())
    }

    /// Forgets how far the log is compacted.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn forget_clean(&mut self) -> io::Result<()> {
        for name in self.disk.list(&self.dir)? {
            if name.ends_with(".clean") {
                self.disk.remove_file(&self.dir.join(name))?;
            }
        }
        self.compacted.clean_to = 0;
        Ok(())
    }

    fn note_offset(&self, kind: &str, old: i64, new: i64) -> io::Result<()> {
        let path = |offset: i64| self.dir.join(format!("{offset:020}.{kind}"));
        let file = self.disk.file(&path(new));
        file.truncate(0)?;
        file.sync()?;
        self.disk.sync_dir(&self.dir)?;
        if old > 0 { self.disk.remove_file(&path(old)) } else { Ok(()) }
    }
}
