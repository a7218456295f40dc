//! Opening a log: what the files say after a clean stop, a crash or a power loss.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millstream_protocol::{BatchError, BatchHeader};

use super::marker::Marker;
use super::producers::Producers;
use super::segment::Segment;
use super::swap::{self, Compacted};
use super::window::{Unreadable, Window};
use super::{LogConfig, PartitionLog, read, snapshot_path};
use crate::disk::Disk;

/// How the last run ended, and so what must be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It closed its logs: nothing is scanned.
    Clean,
    /// The process died: what its writes have done is there, and only the last one may be torn.
    /// The last segment is scanned from its last index entry on and cut at the first broken
    /// batch. The others were complete before it was begun.
    ProcessCrash,
    /// It closed its logs and the machine was started anew: all batches are on the medium, the
    /// newest indexes may not be. The last segment is scanned whole.
    Reboot,
    /// The machine died: any page may be missing, so everything is scanned.
    MachineCrash,
}

/// A segment that was read anew.
struct Scanned {
    base: i64,
    /// From this offset on.
    from: i64,
}

/// A segment that was read, the offset from which on, the one behind it, and whether that was all.
type Read = (Segment, i64, i64, bool);

impl PartitionLog {
    /// Opens the log in `dir`, or starts one if there is none. `start_offset` is where deleted
    /// records end (0 if none were deleted).
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &LogConfig,
        start_offset: i64,
        recovery: Recovery,
    ) -> io::Result<Self> {
        let mut bases = Vec::new();
        let mut snapshots = Vec::new();
        let mut names = disk.list(dir)?;
        if swap::recover(&*disk, dir, &names)? {
            names = disk.list(dir)?;
        }
        let compacted = Compacted::of(&names);
        for name in &names {
            let Some((stem, kind)) = name.split_once('.') else { continue };
            let Ok(offset) = stem.parse::<i64>() else { continue };
            match kind {
                "log" => bases.push(offset),
                "snapshot" => snapshots.push(offset),
                _ => {}
            }
        }
        bases.sort_unstable();
        snapshots.sort_unstable();
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            segments: Vec::new(),
            start_offset: 0,
            end_offset: 0,
            producers: Producers::default(),
            places: read::Places::default(),
            unsynced_markers: Vec::new(),
            unflushed: 0,
            last_flush_ms: 0,
            names_unsynced: false,
            loose_snapshot: None,
            since_snapshot: 0,
            compacted,
            cleaning: None,
            swap: None,
            cleaning_failed_ms: None,
        };
        let rebuilt = log.open_segments(&bases, config, recovery)?;
        if log.segments.is_empty() {
            log.segments.push(Segment::create(&*log.disk, dir, start_offset)?);
            log.end_offset = start_offset;
        }
        // What a dead process has left may still be in the system's cache only.
        let scanned = recovery != Recovery::Clean && log.last().size > 0;
        log.unflushed = u64::from(scanned);
        log.names_unsynced = scanned;
        let first = log.segments[0].base;
        log.start_offset = start_offset.max(first).min(log.end_offset);
        log.load_producers(&snapshots, &rebuilt)?;
        let last = log.segments.len() - 1;
        for scanned in &rebuilt {
            let number = log.segment_of(scanned.base);
            log.segments[number].release_index(number < last)?;
        }
        if log.compacted.clean_to > log.end_offset {
            // The end was lost; what comes in its place is not compacted.
            log.forget_clean()?;
        }
        // Readers will see it: with `flush.messages=1` nothing is shown that a power loss can take.
        log.flush_if_due(config, 0)?;
        Ok(log)
    }

    /// Opens the segments and returns those that were read anew.
    fn open_segments(
        &mut self,
        bases: &[i64],
        config: &LogConfig,
        recovery: Recovery,
    ) -> io::Result<Vec<Scanned>> {
        let mut rebuilt = Vec::new();
        for (number, base) in bases.iter().enumerate() {
            let is_last = number + 1 == bases.len();
            let scan = match recovery {
                Recovery::Clean => false,
                Recovery::ProcessCrash | Recovery::Reboot => is_last,
                Recovery::MachineCrash => true,
            };
            let believed = match scan {
                true => None,
                false => self.believe(*base, is_last)?,
            };
            if let Some(segment) = believed {
                self.segments.push(segment);
                continue;
            }
            let resumed = match recovery {
                Recovery::ProcessCrash if is_last => self.resume_segment(*base, config)?,
                _ => None,
            };
            let (segment, from, end_offset, whole) = match resumed {
                Some(resumed) => resumed,
                None => self.scan_segment(*base, config)?,
            };
            self.end_offset = end_offset;
            rebuilt.push(Scanned { base: *base, from });
            if !whole {
                // What follows a hole has no place in the log any more. The last one goes first
                // and the hole itself last: an interruption must leave it to be found again.
                for later in bases[number + 1..].iter().rev() {
                    tracing::warn!(dir = %self.dir.display(), segment = later, "dropped behind a broken batch");
                    Segment::create(&*self.disk, &self.dir, *later)?.remove(&*self.disk)?;
                }
                segment.file.truncate(segment.size)?;
                // What was cut off must not come back behind what is written from now on.
                segment.file.sync()?;
                if !is_last {
                    self.disk.sync_dir(&self.dir)?;
                }
                self.segments.push(segment);
                break;
            }
            self.segments.push(segment);
        }
        Ok(rebuilt)
    }

    /// Opens a segment as its files say; the last one tells the end offset. `None` if that cannot
    /// be, and the segment must be scanned. Damage in an earlier one is an error: a cut there would
    /// cost all that is behind it.
    fn believe(&mut self, base: i64, is_last: bool) -> io::Result<Option<Segment>> {
        let opened = Segment::open(&*self.disk, &self.dir, base).and_then(|segment| {
            let gaps_to = self.compacted.gaps_to;
            let end =
                if is_last && segment.has_index() { end_of(&segment, gaps_to)? } else { base };
            Ok((segment, end))
        });
        match opened {
            Ok((segment, end)) if segment.has_index() => {
                self.end_offset = end;
                Ok(Some(segment))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData && is_last => {
                tracing::warn!(dir = %self.dir.display(), segment = base, %error, "is damaged and will be read");
                Ok(None)
            }
            Err(error) => {
                let message = format!("{}, segment {base}: {error}", self.dir.display());
                Err(io::Error::new(error.kind(), message))
            }
        }
    }

    /// Goes on with the segment that a dead process has written to, from its last index entry on:
    /// the batches before it were complete, and the other indexes reach as far. `None` if the
    /// index cannot be believed.
    fn resume_segment(&self, base: i64, config: &LogConfig) -> io::Result<Option<Read>> {
        let mut segment = match Segment::open(&*self.disk, &self.dir, base) {
            Ok(segment) => segment,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(entry) = segment.offsets.last() else { return Ok(None) };
        let (from, place) = (base + i64::from(entry.offset), u64::from(entry.place));
        let found = Window::default().header(&segment, place, segment.size);
        if !found.is_ok_and(|header| header.base_offset == from) {
            return Ok(None);
        }
        segment.size = place;
        let (segment, _, end_offset, whole) = self.scan_on(segment, from, config)?;
        // An entry of what is cut off must not stay.
        let ahead =
            segment.times.last().is_some_and(|last| base + i64::from(last.offset) >= end_offset);
        Ok((!ahead).then_some((segment, from, end_offset, whole)))
    }

    /// Reads a whole segment and builds its indexes anew.
    fn scan_segment(&self, base: i64, config: &LogConfig) -> io::Result<Read> {
        self.scan_on(Segment::create(&*self.disk, &self.dir, base)?, base, config)
    }

    /// Reads a segment from what is known of it on, up to the first batch that is broken, where
    /// the caller cuts the file. Its indexes are held.
    fn scan_on(&self, mut segment: Segment, from: i64, config: &LogConfig) -> io::Result<Read> {
        segment.hold_index();
        let length = segment.file.size()?;
        let modified = segment.file.modified_ms().unwrap_or(0);
        let gaps_to = self.compacted.gaps_to;
        let mut end_offset = from;
        let mut window = Window::default();
        while segment.size < length {
            match check_batch(&segment, &mut window, length, end_offset, gaps_to) {
                Ok(header) => {
                    end_offset = header.next_offset();
                    segment.note(&header, modified, config.index_interval_bytes)?;
                }
                Err(Broken::Disk(error)) => return Err(error),
                Err(Broken::Batch(reason)) => {
                    tracing::warn!(
                        dir = %self.dir.display(),
                        segment = segment.base,
                        cut_bytes = length - segment.size,
                        end_offset,
                        reason,
                        "cuts the log at a broken batch"
                    );
                    return Ok((segment, from, end_offset, false));
                }
            }
        }
        Ok((segment, from, end_offset, true))
    }

    /// Takes the newest snapshot that is not beyond the end and replays the headers behind it.
    /// The index of aborted transactions of a segment in `rebuilt` lacks what was read anew and is
    /// filled by the replay, which must not begin behind that. Of the other snapshots those
    /// at the beginning of a segment stay: a later cut may need them.
    fn load_producers(&mut self, snapshots: &[i64], rebuilt: &[Scanned]) -> io::Result<()> {
        let first = self.segments[0].base;
        let latest = rebuilt.first().map_or(self.end_offset, |scanned| scanned.from);
        let mut from = first;
        let mut found = false;
        for offset in snapshots.iter().rev() {
            let begins_segment =
                self.segments.binary_search_by_key(offset, |segment| segment.base).is_ok();
            if found && begins_segment {
                continue;
            }
            if (latest + 1..=self.end_offset).contains(offset) {
                // The next one replaces it.
                let loose = (!begins_segment).then_some(*offset);
                self.loose_snapshot = self.loose_snapshot.or(loose);
                continue;
            }
            let path = snapshot_path(&self.dir, *offset);
            let file = self.disk.file(&path);
            let mut bytes = vec![0; file.size()? as usize];
            let read = file.read_at(&mut bytes, 0)?;
            // One from before the first segment may know of a transaction whose marker has been
            // deleted with its records.
            if !found
                && (first..=self.end_offset).contains(offset)
                && let Some(producers) = Producers::decode(&bytes[..read])
            {
                self.producers = producers;
                let loose = (!begins_segment).then_some(*offset);
                self.loose_snapshot = self.loose_snapshot.or(loose);
                from = *offset;
                found = true;
                continue;
            }
            self.disk.remove_file(&path)?;
        }
        if from >= self.end_offset {
            return Ok(());
        }
        for number in self.segment_of(from)..self.segments.len() {
            let segment = &self.segments[number];
            let scanned = rebuilt.iter().find(|scanned| scanned.base == segment.base);
            let index_from = scanned.map_or(i64::MAX, |scanned| scanned.from);
            let Some((mut place, mut header)) = read::find_batch(segment, from)? else { continue };
            let mut window = Window::default();
            loop {
                let segment = &self.segments[number];
                let at_ms = header.max_timestamp.max(segment.last_append_ms);
                let marker = match header.attributes.is_control() {
                    true => Marker::parse(&segment.batch_at(place, &header)?),
                    false => None,
                };
                let index = header.base_offset >= index_from;
                self.note_producer(number, &header, marker, at_ms, index);
                let segment = &self.segments[number];
                place += header.size() as u64;
                if place >= segment.size {
                    break;
                }
                header = window.header(segment, place, segment.size)?;
            }
        }
        Ok(())
    }
}

/// The offset behind a believed segment, from its last index entry on.
fn end_of(segment: &Segment, gaps_to: i64) -> io::Result<i64> {
    let last = segment.offsets.last();
    let mut place = last.map_or(0, |entry| u64::from(entry.place));
    let mut end = segment.base + last.map_or(0, |entry| i64::from(entry.offset));
    let mut window = Window::default();
    while place < segment.size {
        let header = window.header(segment, place, segment.size)?;
        check_offsets(&header, end, gaps_to)
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        end = header.next_offset();
        place += header.size() as u64;
    }
    Ok(end)
}

/// The checksum does not cover the offset. Only compaction leaves gaps, and none that reaches
/// beyond `gaps_to`; elsewhere the offset is known.
fn check_offsets(header: &BatchHeader, expected: i64, gaps_to: i64) -> Result<(), String> {
    let offset = header.base_offset;
    let fits = offset == expected || (expected < offset && offset <= gaps_to);
    if fits && header.last_offset_delta >= 0 {
        return Ok(());
    }
    Err(format!("offset {offset} where {expected} must be"))
}

/// Checks the batch at the end of what was read of a segment.
fn check_batch(
    segment: &Segment,
    window: &mut Window,
    length: u64,
    expected: i64,
    gaps_to: i64,
) -> Result<BatchHeader, Broken> {
    let broken = |error: BatchError| Broken::Batch(error.to_string());
    let batch = window.batch(segment, segment.size, length).map_err(|why| match why {
        Unreadable::Disk(error) => Broken::Disk(error),
        Unreadable::Batch(BatchError::Truncated { .. }) => {
            Broken::Batch("the file ends inside the batch".into())
        }
        Unreadable::Batch(error) => broken(error),
    })?;
    check_offsets(batch.header(), expected, gaps_to).map_err(Broken::Batch)?;
    batch.check().map_err(broken)?;
    Ok(*batch.header())
}

enum Broken {
    Disk(io::Error),
    Batch(String),
}
