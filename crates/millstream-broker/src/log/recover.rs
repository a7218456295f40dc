//! Opening a log: what the files say after a clean stop, a crash or a power loss.

use std::io;
use std::path::Path;
use std::sync::Arc;

use millstream_protocol::{Batch, BatchError, BatchHeader, HEADER_LEN};

use super::marker::Marker;
use super::producers::Producers;
use super::segment::Segment;
use super::{LogConfig, PartitionLog, read, snapshot_path};
use crate::disk::Disk;

/// How the last run ended, and so what must be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It closed its logs: nothing is scanned.
    Clean,
    /// The process died: the last segment is scanned and cut at the first broken batch. The
    /// others were complete before it was begun.
    ProcessCrash,
    /// The machine died: any page may be missing, so everything is scanned.
    MachineCrash,
}

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
        for name in disk.list(dir)? {
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
            unflushed: 0,
            last_flush_ms: 0,
            names_unsynced: false,
            loose_snapshot: None,
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
        // Readers will see it: with `flush.messages=1` nothing is shown that a power loss can take.
        log.flush_if_due(config, 0)?;
        Ok(log)
    }

    /// Opens the segments and returns the first offsets of those that were read anew.
    fn open_segments(
        &mut self,
        bases: &[i64],
        config: &LogConfig,
        recovery: Recovery,
    ) -> io::Result<Vec<i64>> {
        let mut rebuilt = Vec::new();
        for (number, base) in bases.iter().enumerate() {
            let is_last = number + 1 == bases.len();
            let scan = match recovery {
                Recovery::Clean => false,
                Recovery::ProcessCrash => is_last,
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
            let (segment, end_offset, whole) = scan_segment(&*self.disk, &self.dir, *base, config)?;
            self.end_offset = end_offset;
            rebuilt.push(*base);
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
            let end = if is_last && segment.has_index() { end_of(&segment)? } else { base };
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

    /// Takes the newest snapshot that is not beyond the end and replays the headers behind it.
    /// The index of aborted transactions of a segment in `rebuilt` is empty and is filled by the
    /// replay, which must not begin behind that segment's start then. Of the other snapshots those
    /// at the beginning of a segment stay: a later cut may need them.
    fn load_producers(&mut self, snapshots: &[i64], rebuilt: &[i64]) -> io::Result<()> {
        let first = self.segments[0].base;
        let latest = rebuilt.first().copied().unwrap_or(self.end_offset);
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
            let index = rebuilt.contains(&segment.base);
            let Some((mut place, mut header)) = read::find_batch(segment, from)? else { continue };
            loop {
                let segment = &self.segments[number];
                let at_ms = header.max_timestamp.max(segment.last_append_ms);
                let marker = match header.attributes.is_control() {
                    true => Marker::parse(&segment.batch_at(place, &header)?),
                    false => None,
                };
                self.note_producer(number, &header, marker, at_ms, index);
                let segment = &self.segments[number];
                place += header.size() as u64;
                if place >= segment.size {
                    break;
                }
                header = segment.header_at(place)?;
            }
        }
        Ok(())
    }
}

/// The offset behind a believed segment, from its last index entry on.
fn end_of(segment: &Segment) -> io::Result<i64> {
    let last = segment.offsets.last();
    let mut place = last.map_or(0, |entry| u64::from(entry.place));
    let mut end = segment.base + last.map_or(0, |entry| i64::from(entry.offset));
    while place < segment.size {
        let header = segment.header_at(place)?;
        if header.base_offset != end {
            let message = format!("offset {} where {end} must be", header.base_offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        end = header.next_offset();
        place += header.size() as u64;
    }
    Ok(end)
}

/// Reads a segment up to the first batch that is broken, and builds its indexes anew. Returns the
/// segment, the offset behind it, and whether that was all; if not, the caller cuts the file.
fn scan_segment(
    disk: &dyn Disk,
    dir: &Path,
    base: i64,
    config: &LogConfig,
) -> io::Result<(Segment, i64, bool)> {
    let mut segment = Segment::create(disk, dir, base)?;
    let length = segment.file.size()?;
    let modified = segment.file.modified_ms().unwrap_or(0);
    let mut end_offset = base;
    let mut buffer = Vec::new();
    let mut broken = None;
    while segment.size < length {
        let left = length - segment.size;
        match check_batch(&segment, left, end_offset, &mut buffer) {
            Ok(header) => {
                end_offset = header.next_offset();
                segment.note(&header, modified, config.index_interval_bytes)?;
            }
            Err(Broken::Disk(error)) => return Err(error),
            Err(Broken::Batch(reason)) => {
                broken = Some(reason);
                break;
            }
        }
    }
    if let Some(reason) = &broken {
        tracing::warn!(
            dir = %dir.display(),
            segment = base,
            cut_bytes = length - segment.size,
            end_offset,
            reason,
            "cuts the log at a broken batch"
        );
    }
    Ok((segment, end_offset, broken.is_none()))
}

enum Broken {
    Disk(io::Error),
    Batch(String),
}

fn check_batch(
    segment: &Segment,
    left: u64,
    expected: i64,
    buffer: &mut Vec<u8>,
) -> Result<BatchHeader, Broken> {
    let broken = |error: BatchError| Broken::Batch(error.to_string());
    buffer.resize(HEADER_LEN, 0);
    let read = segment.file.read_at(buffer, segment.size).map_err(Broken::Disk)?;
    let header = BatchHeader::parse(&buffer[..read]).map_err(broken)?;
    if header.size() as u64 > left {
        return Err(Broken::Batch("the file ends inside the batch".into()));
    }
    // The checksum does not cover the offset. Nothing leaves gaps, so it is known.
    if header.base_offset != expected || header.last_offset_delta < 0 {
        return Err(Broken::Batch(format!(
            "offset {} where {expected} must be",
            header.base_offset
        )));
    }
    buffer.resize(header.size(), 0);
    segment.file.read_at(buffer, segment.size).map_err(Broken::Disk)?;
    Batch::parse(buffer).and_then(|batch| batch.check()).map_err(broken)?;
    Ok(header)
}
