//! What compaction leaves of a batch, by Kafka's rules.
//!
//! * Of a key's records the newest stays; one without a key goes.
//! * A tombstone stays for `delete.retention.ms` after the first compaction that met it: that one
//!   writes the time at which it may go, the *delete horizon*, into the batch (KIP-534).
//! * Records of aborted transactions go. A transaction's marker stays while there is a batch of
//!   it, and then until a delete horizon of its own.
//! * The batch on which a producer's state rests stays, if need be without records: its header has
//!   the sequence numbers. So does the last batch of what is compacted: a reader that waits in the
//!   gap before the log's end would never get across it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use millstream_protocol::{Batch, BatchError, BatchHeader, Record, RecordBatchBuilder};

use super::offset_map::OffsetMap;
use crate::log::UNPACKED_MAX;
use crate::log::aborted::Aborted;
use crate::log::marker::Marker;
use crate::log::producers::Producers;

/// How the transactions have ended whose batches come by while a log is walked from its start.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Aborted ones that were not reached yet, by first offset and producer.
    ahead: BTreeMap<(i64, i64), Aborted>,
    /// Aborted ones by producer, and whether a batch of theirs was met.
    aborted: HashMap<i64, (Aborted, bool)>,
    /// Producers of which a batch was met that belongs to a committed one.
    committed: HashSet<i64>,
}

impl Decided {
    /// Adds aborted transactions that the walk will meet.
    pub(super) fn expect(&mut self, aborted: Vec<Aborted>) {
        let row = |entry: Aborted| ((entry.first_offset, entry.producer_id), entry);
        self.ahead.extend(aborted.into_iter().map(row));
    }

    fn reach(&mut self, offset: i64) {
        while let Some(entry) = self.ahead.first_entry() {
            if entry.key().0 > offset {
                break;
            }
            let next = entry.remove();
            let known = self.aborted.entry(next.producer_id).or_insert((next, false));
            if known.0.first_offset != next.first_offset {
                *known = (next, false);
            }
        }
    }

    /// Meets a batch that is no marker. Returns whether its transaction was aborted.
    pub(super) fn meet(&mut self, header: &BatchHeader) -> bool {
        self.reach(header.last_offset());
        if !header.attributes.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Meets a marker. Returns whether nothing is left of its transaction, and what must stay in
    /// the index of aborted transactions.
    pub(super) fn end(&mut self, header: &BatchHeader, commit: bool) -> (bool, Option<Aborted>) {
        self.reach(header.last_offset());
        if commit {
            return (!self.committed.remove(&header.producer_id), None);
        }
        let entry = self.aborted.remove(&header.producer_id);
        let entry = entry.and_then(|(entry, met)| met.then_some(entry));
        (entry.is_none(), entry)
    }
}

/// What stays of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Retained {
    Nothing,
    /// All, byte for byte.
    Whole,
    /// These bytes.
    Rewritten(Vec<u8>),
}

/// What decides beside the batch itself.
pub(super) struct Rules<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) producers: &'a Producers,
    /// The map knows the records below this offset.
    pub(super) mapped_to: i64,
    /// Where the part of the log ends that may be compacted.
    pub(super) limit: i64,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
}

impl Rules<'_> {
    /// Decides on the next batch, and says what must stay in the index of aborted transactions.
    /// `scratch` is reused from call to call.
    ///
    /// # Errors
    /// `InvalidData` for a batch that is broken: it is not written anew with a sound checksum.
    pub(super) fn apply(
        &self,
        batch: &Batch<'_>,
        decided: &mut Decided,
        scratch: &mut Vec<u8>,
    ) -> io::Result<(Retained, Option<Aborted>)> {
        let header = batch.header();
        let needed = self.producers.rest_on(header) || header.next_offset() == self.limit;
        let invalid = |error: BatchError| io::Error::new(io::ErrorKind::InvalidData, error);
        if header.attributes.is_control() {
            let Some(marker) = Marker::parse(batch.bytes()) else {
                return Ok((Retained::Whole, None));
            };
            let (unused, entry) = decided.end(header, marker.commit);
            let retained = self.marker(batch, unused, needed, scratch).map_err(invalid)?;
            return Ok((retained, entry));
        }
        let aborted = decided.meet(header);
        let retained = match (aborted || header.record_count == 0, needed) {
            (true, false) => Retained::Nothing,
            (true, true) if header.record_count == 0 => Retained::Whole,
            (true, true) => Retained::Rewritten(emptied(header).map_err(invalid)?),
            (false, _) => self.records(batch, needed, scratch).map_err(invalid)?,
        };
        Ok((retained, None))
    }

    /// A marker that something rests on stays whole: what Kafka keeps of it, the header alone,
    /// would lose the fence that it puts up.
    fn marker(
        &self,
        batch: &Batch<'_>,
        unused: bool,
        needed: bool,
        scratch: &mut Vec<u8>,
    ) -> Result<Retained, BatchError> {
        match batch.header().delete_horizon_ms() {
            _ if !unused => Ok(Retained::Whole),
            Some(horizon) if horizon <= self.now_ms && !needed => Ok(Retained::Nothing),
            Some(_) => Ok(Retained::Whole),
            None => rewrite(batch, Some(self.new_horizon()), scratch, |_| true),
        }
    }

    fn records(
        &self,
        batch: &Batch<'_>,
        needed: bool,
        scratch: &mut Vec<u8>,
    ) -> Result<Retained, BatchError> {
        let header = batch.header();
        let (mut kept, mut tombstones) = (0, false);
        for record in batch.records(scratch, UNPACKED_MAX)? {
            let record = record?;
            if self.keeps(header, &record) {
                kept += 1;
                // Older records of a key that is not in the map may be there still.
                tombstones |= record.value.is_none() && record.offset < self.mapped_to;
            }
        }
        let horizon =
            (tombstones && !header.attributes.has_delete_horizon()).then(|| self.new_horizon());
        if kept == header.record_count && horizon.is_none() {
            return Ok(Retained::Whole);
        }
        if kept == 0 {
            return match needed {
                true => emptied(header).map(Retained::Rewritten),
                false => Ok(Retained::Nothing),
            };
        }
        rewrite(batch, horizon, scratch, |record| self.keeps(header, record))
    }

    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        if record.offset >= self.mapped_to {
            return true;
        }
        let Some(key) = record.key else { return false };
        let newest = self.map.get(key).is_none_or(|newest| record.offset >= newest);
        let due = header.delete_horizon_ms().is_some_and(|horizon| horizon <= self.now_ms);
        newest && (record.value.is_some() || !due)
    }

    fn new_horizon(&self) -> i64 {
        self.now_ms.saturating_add(self.delete_retention_ms)
    }
}

fn emptied(header: &BatchHeader) -> Result<Vec<u8>, BatchError> {
    RecordBatchBuilder::rewriting(header)?.finish_rewritten()
}

fn rewrite(
    batch: &Batch<'_>,
    horizon: Option<i64>,
    scratch: &mut Vec<u8>,
    keeps: impl Fn(&Record<'_>) -> bool,
) -> Result<Retained, BatchError> {
    batch.check()?;
    let header = batch.header();
    let mut builder = RecordBatchBuilder::rewriting(header)?;
    if let Some(at_ms) = horizon {
        builder = builder.delete_horizon(at_ms);
    }
    for record in batch.records(scratch, UNPACKED_MAX)? {
        let record = record?;
        if keeps(&record) {
            let delta = (record.offset - header.base_offset) as i32;
            let headers = record.headers.iter();
            builder.push_at(delta, record.timestamp, record.key, record.value, headers);
        }
    }
    builder.finish_rewritten().map(Retained::Rewritten)
}
