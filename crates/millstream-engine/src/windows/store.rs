//! What a window operator keeps, and its form on disk.
//!
//! | family | key | entry |
//! |---|---|---|
//! | keys (closing by key) | message key | watermark, starts of the open windows |
//! | windows | message key, start | accumulators |
//! | times (closing by partition) | end, message key, start | none: an index |
//! | values (collectors) | message key, timestamp, sequence number | one collected value |
//! | held (behind a group-by, closing by key) | end, message key, start | none: an index |
//! | partition | name | `meta`: watermark, sequence number; `upstream`: stream times; `columns` + number: names of the accumulators of an entry |
//!
//! The partition's watermark, the sequence number and the upstream times change with nearly
//! every record. They live beside the families and are written to theirs when a checkpoint is
//! made ([`WindowStorePartition::save`]).

use std::ops::ControlFlow;

use millstream_state::{
    AnyFamily, Entry, EntryError, Family, FamilyContext, FamilySet, KeyBuf, KeyRange, KeyWriter,
    StateError, StoreLayout, StorePartition, families,
};
use millstream_types::Timestamp;
use millstream_value::Value;

use super::aggregations::{Accumulator, heap_size};
use super::encoding::{Reader, write_bytes, write_i64, write_u64, write_value};
use crate::upstream::UpstreamTimes;

/// A partition of a window store.
pub(crate) type WindowStorePartition = StorePartition<WindowFamilies>;

const VERSION: u8 = 1;

fn version(reader: &mut Reader<'_>) -> Result<(), EntryError> {
    match reader.byte()? {
        VERSION => Ok(()),
        _ => Err(EntryError("it was written by a newer version of Millstream".to_owned())),
    }
}

/// What is known of a message key, where keys close by their own time (W-46).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    /// Greatest timestamp of the key.
    pub(crate) watermark: Timestamp,
    /// Starts of its windows that are not closed, ascending. A tumbling window has one, and one
    /// more per duration of grace or of upstream delay.
    pub(crate) open: Vec<Timestamp>,
}

impl Entry for KeyEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_i64(self.watermark, out);
        write_u64(self.open.len() as u64, out);
        // As distances: neighbours in time make small numbers.
        let mut previous = 0;
        for start in &self.open {
            write_i64(start.wrapping_sub(previous), out);
            previous = *start;
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let watermark = reader.i64()?;
        let mut previous: Timestamp = 0;
        let mut open = Vec::with_capacity(reader.count()?);
        for _ in 0..open.capacity() {
            previous = previous.wrapping_add(reader.i64()?);
            open.push(previous);
        }
        reader.finish()?;
        Ok(Self { watermark, open })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.open.capacity() * size_of::<Timestamp>()
    }
}

/// One window: an accumulator per aggregation.
#[derive(Debug)]
pub(crate) struct WindowEntry {
    /// Number of the list of names that says what each accumulator is (W-31).
    pub(crate) columns: u32,
    pub(crate) accumulators: Vec<Accumulator>,
    /// What accumulators were before the update that is under way; empty otherwise. It is here
    /// so that its memory is kept: an update allocates nothing.
    pub(crate) undo: Vec<Accumulator>,
}

impl WindowEntry {
    pub(crate) fn new(columns: u32, accumulators: Vec<Accumulator>) -> Self {
        Self { columns, accumulators, undo: Vec::new() }
    }

    pub(crate) fn share(&self) -> Self {
        Self::new(self.columns, self.accumulators.iter().map(Accumulator::share).collect())
    }
}

impl Entry for WindowEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_u64(self.columns.into(), out);
        write_u64(self.accumulators.len() as u64, out);
        self.accumulators.iter().for_each(|accumulator| accumulator.encode(out));
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let columns = u32::try_from(reader.u64()?)
            .map_err(|_| EntryError("its list of columns has no such number".to_owned()))?;
        let count = reader.count()?;
        let accumulators =
            (0..count).map(|_| Accumulator::decode(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self::new(columns, accumulators))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + (self.accumulators.len() + self.undo.capacity()) * size_of::<Accumulator>()
            + self.accumulators.iter().map(Accumulator::heap_size).sum::<usize>()
    }
}

/// One collected value.
#[derive(Debug)]
pub(crate) struct CollectedValue(pub(crate) Value);

impl Entry for CollectedValue {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        write_value(&self.0, out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let value = reader.value()?;
        reader.finish()?;
        Ok(Self(value))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + heap_size(&self.0)
    }
}

/// What is known of the partition, each under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PartitionEntry {
    Meta { watermark: Option<Timestamp>, sequence: u64 },
    Upstream { reached: Timestamp, times: Vec<(Timestamp, bool)> },
    Columns(Vec<String>),
}

const META: u8 = 1;
const UPSTREAM: u8 = 2;
const COLUMNS: u8 = 3;

impl Entry for PartitionEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match self {
            PartitionEntry::Meta { watermark, sequence } => {
                out.push(META);
                write_u64(*sequence, out);
                if let Some(watermark) = watermark {
                    write_i64(*watermark, out);
                }
            }
            PartitionEntry::Upstream { reached, times } => {
                out.push(UPSTREAM);
                write_i64(*reached, out);
                write_u64(times.len() as u64, out);
                for (time, idle) in times {
                    out.push((*idle).into());
                    write_i64(*time, out);
                }
            }
            PartitionEntry::Columns(names) => {
                out.push(COLUMNS);
                write_u64(names.len() as u64, out);
                names.iter().for_each(|name| write_bytes(name.as_bytes(), out));
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let entry = match reader.byte()? {
            META => {
                let sequence = reader.u64()?;
                let watermark = if reader.is_empty() { None } else { Some(reader.i64()?) };
                PartitionEntry::Meta { watermark, sequence }
            }
            UPSTREAM => {
                let reached = reader.i64()?;
                let count = reader.count()?;
                let times = (0..count).map(|_| {
                    let idle = reader.byte()? != 0;
                    Ok((reader.i64()?, idle))
                });
                let times = times.collect::<Result<_, EntryError>>()?;
                PartitionEntry::Upstream { reached, times }
            }
            COLUMNS => {
                let count = reader.count()?;
                let names = (0..count).map(|_| reader.text().map(str::to_owned));
                PartitionEntry::Columns(names.collect::<Result<_, _>>()?)
            }
            kind => return Err(EntryError(format!("entries of kind {kind} are not known"))),
        };
        reader.finish()?;
        Ok(entry)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                PartitionEntry::Meta { .. } => 0,
                PartitionEntry::Upstream { times, .. } => times.len() * 16,
                PartitionEntry::Columns(names) => names.iter().map(|name| 24 + name.len()).sum(),
            }
    }
}

const META_NAME: &[u8] = b"meta";
const UPSTREAM_NAME: &[u8] = b"upstream";
const COLUMNS_NAME: &[u8] = b"columns";

/// The families of a window store, and what is derived from them.
pub(crate) struct WindowFamilies {
    pub(crate) keys: Family<KeyEntry>,
    pub(crate) windows: Family<WindowEntry>,
    pub(crate) times: Family<()>,
    pub(crate) values: Family<CollectedValue>,
    pub(crate) held: Family<()>,
    partition: Family<PartitionEntry>,
    /// Greatest timestamp of the partition, where it closes windows (W-51).
    pub(crate) watermark: Option<Timestamp>,
    /// Number of the next collected value: keeps arrival order within equal timestamps.
    pub(crate) sequence: u64,
    /// What the upstream partitions were known to have reached at the last checkpoint; the
    /// task has what is true now.
    upstream: Option<(Timestamp, Vec<(Timestamp, bool)>)>,
    /// As [`PartitionEntry::Meta`] is in its family.
    saved_meta: (Option<Timestamp>, u64),
    /// Smallest end in `times`; `None` if it is empty.
    pub(crate) next_end: Option<Timestamp>,
    /// Smallest end in `held`.
    pub(crate) next_held: Option<Timestamp>,
    /// Lists of accumulator names by number, as stored.
    lists: Vec<(u32, Vec<String>)>,
    /// Number of the list that the operator's own names make; set by the first look-up.
    own_list: Option<u32>,
    /// A buffer for keys.
    key: Vec<u8>,
}

impl FamilySet for WindowFamilies {
    const LAYOUT: StoreLayout = StoreLayout {
        kind: "time window",
        families: &[
            families::WINDOW_KEYS,
            families::WINDOWS,
            families::WINDOW_TIMES,
            families::WINDOW_VALUES,
            families::WINDOW_PARTITION,
            families::WINDOW_HELD,
        ],
    };

    fn open(context: &FamilyContext) -> Self {
        Self {
            keys: context.family(families::WINDOW_KEYS),
            windows: context.family(families::WINDOWS),
            times: context.family(families::WINDOW_TIMES),
            values: context.family(families::WINDOW_VALUES),
            held: context.family(families::WINDOW_HELD),
            partition: context.family(families::WINDOW_PARTITION),
            watermark: None,
            sequence: 0,
            upstream: None,
            saved_meta: (None, 0),
            next_end: None,
            next_held: None,
            lists: Vec::new(),
            own_list: None,
            key: Vec::new(),
        }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily)) {
        visit(&mut self.keys);
        visit(&mut self.windows);
        visit(&mut self.times);
        visit(&mut self.values);
        visit(&mut self.partition);
        visit(&mut self.held);
    }

    fn rewind(&mut self) -> millstream_state::Result<()> {
        let (watermark, sequence) = match self.partition.get(META_NAME)? {
            Some(PartitionEntry::Meta { watermark, sequence }) => (*watermark, *sequence),
            _ => (None, 0),
        };
        (self.watermark, self.sequence) = (watermark, sequence);
        self.saved_meta = (watermark, sequence);
        self.upstream = match self.partition.get(UPSTREAM_NAME)? {
            Some(PartitionEntry::Upstream { reached, times }) => Some((*reached, times.clone())),
            _ => None,
        };
        self.next_end = first_end(&mut self.times)?;
        self.next_held = first_end(&mut self.held)?;
        self.own_list = None;
        self.lists.clear();
        let lists = &mut self.lists;
        self.partition.scan(&KeyRange::prefix(COLUMNS_NAME), |key, entry| {
            let number = key[COLUMNS_NAME.len()..].try_into().map(u32::from_be_bytes);
            if let (Ok(number), PartitionEntry::Columns(names)) = (number, entry) {
                lists.push((number, names.clone()));
            }
            ControlFlow::Continue(())
        })
    }
}

/// The smallest end in an index.
fn first_end(index: &mut Family<()>) -> millstream_state::Result<Option<Timestamp>> {
    let first = index.first_key(&KeyRange::all())?;
    Ok(first.and_then(|key| millstream_state::keys::KeyReader::new(&key).timestamp()))
}

/// Removes everything up to an end (included) from an index; gives the message key as it is in
/// keys and the start of each, in order of end, key, start. `next` is the smallest end left.
pub(crate) fn drain_index(
    index: &mut Family<()>,
    next: &mut Option<Timestamp>,
    up_to: Timestamp,
) -> Result<Vec<(KeyBuf, Timestamp)>, StateError> {
    let Some(from) = next.filter(|end| *end <= up_to) else { return Ok(Vec::new()) };
    // From the smallest end on, so that the backend does not walk over what was removed before.
    let mut buffer = Vec::new();
    let start = KeyBuf::new(KeyWriter::new(&mut buffer).timestamp(from).key());
    let range = match up_to.checked_add(1) {
        Some(end) => KeyRange::between(&start, KeyWriter::new(&mut buffer).timestamp(end).key()),
        None => KeyRange::from(&start),
    };
    let drained = index.drain(&range, usize::MAX)?;
    *next = match up_to.checked_add(1) {
        Some(end) => {
            let rest = KeyRange::from(KeyWriter::new(&mut buffer).timestamp(end).key());
            let first = index.first_key(&rest)?;
            first.and_then(|key| millstream_state::keys::KeyReader::new(&key).timestamp())
        }
        None => None,
    };
    let mut due = Vec::with_capacity(drained.len());
    for (key, ()) in drained {
        let mut reader = millstream_state::keys::KeyReader::new(&key);
        let parts = reader.timestamp().and_then(|_| {
            let message_key = KeyBuf::new(reader.raw_message_key()?);
            Some((message_key, reader.timestamp()?))
        });
        due.push(parts.ok_or_else(|| StateError::Decode {
            family: AnyFamily::id(index),
            key: format!("{key:?}"),
            detail: "it is not an end, a message key and a start".to_owned(),
        })?);
    }
    Ok(due)
}

impl WindowFamilies {
    /// Adds a window to the index of ends (closing by partition).
    pub(crate) fn index_end(&mut self, end: Timestamp, message_key: &[u8], start: Timestamp) {
        let key = KeyWriter::new(&mut self.key).timestamp(end).rest(message_key);
        self.times.insert(key.timestamp(start).key(), ());
        self.next_end = Some(self.next_end.map_or(end, |next| next.min(end)));
    }

    /// Removes a window from it. The smallest end may then be too small, which costs one scan.
    pub(crate) fn unindex_end(&mut self, end: Timestamp, message_key: &[u8], start: Timestamp) {
        let key = KeyWriter::new(&mut self.key).timestamp(end).rest(message_key);
        self.times.remove(key.timestamp(start).key());
    }

    /// Adds a window to the index of those held back (behind a group-by).
    pub(crate) fn hold(&mut self, end: Timestamp, message_key: &[u8], start: Timestamp) {
        let key = KeyWriter::new(&mut self.key).timestamp(end).rest(message_key);
        self.held.insert(key.timestamp(start).key(), ());
        self.next_held = Some(self.next_held.map_or(end, |next| next.min(end)));
    }

    /// Removes a window from it.
    pub(crate) fn unhold(&mut self, end: Timestamp, message_key: &[u8], start: Timestamp) {
        let key = KeyWriter::new(&mut self.key).timestamp(end).rest(message_key);
        self.held.remove(key.timestamp(start).key());
    }

    /// Keeps a collected value.
    pub(crate) fn collect(&mut self, message_key: &[u8], timestamp: Timestamp, value: Value) {
        let key = KeyWriter::new(&mut self.key).rest(message_key).timestamp(timestamp);
        let key = key.number(self.sequence).key();
        self.values.insert_new(key, CollectedValue(value));
        self.sequence += 1;
    }

    /// Takes back the value that was collected last.
    pub(crate) fn uncollect_last(&mut self, message_key: &[u8], timestamp: Timestamp) {
        self.sequence -= 1;
        let key = KeyWriter::new(&mut self.key).rest(message_key).timestamp(timestamp);
        self.values.remove(key.number(self.sequence).key());
    }

    /// The collected values of a window, in order.
    pub(crate) fn collected(
        &mut self,
        message_key: &[u8],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Value>, StateError> {
        let range = values_range(message_key, start, end);
        let mut values = Vec::new();
        self.values.scan(&range, |_, value| {
            values.push(value.0.share());
            ControlFlow::Continue(())
        })?;
        Ok(values)
    }

    /// Deletes the collected values of a window.
    pub(crate) fn forget_collected(
        &mut self,
        message_key: &[u8],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<(), StateError> {
        self.values.drain(&values_range(message_key, start, end), usize::MAX).map(drop)
    }

    /// Number of the list that `names` make. An unknown one is stored with the next number.
    pub(crate) fn list_number(&mut self, names: &[String]) -> u32 {
        if let Some(number) = self.own_list {
            return number;
        }
        let known = self.lists.iter().find(|(_, list)| list == names).map(|(number, _)| *number);
        let number = known.unwrap_or_else(|| {
            let number = self.lists.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
            let mut key = COLUMNS_NAME.to_vec();
            key.extend_from_slice(&number.to_be_bytes());
            self.partition.insert(&key, PartitionEntry::Columns(names.to_vec()));
            self.lists.push((number, names.to_vec()));
            number
        });
        self.own_list = Some(number);
        number
    }

    /// The names of a list.
    pub(crate) fn list(&self, number: u32) -> Option<&[String]> {
        self.lists.iter().find(|(at, _)| *at == number).map(|(_, names)| &**names)
    }

    /// How far all upstream partitions, and each of them, had come at the last checkpoint.
    pub(crate) fn upstream(&self) -> Option<&(Timestamp, Vec<(Timestamp, bool)>)> {
        self.upstream.as_ref()
    }

    /// Puts what lives beside the families into theirs. Called before a checkpoint is made;
    /// without a change it changes nothing.
    pub(crate) fn save(&mut self, upstream: Option<&UpstreamTimes>) {
        let meta = (self.watermark, self.sequence);
        if meta != self.saved_meta {
            let entry = PartitionEntry::Meta { watermark: meta.0, sequence: meta.1 };
            self.partition.insert(META_NAME, entry);
            self.saved_meta = meta;
        }
        if let Some(upstream) = upstream
            && let Some(reached) = upstream.reached
            && self
                .upstream
                .as_ref()
                .is_none_or(|(saved, times)| *saved != reached || *times != upstream.partitions)
        {
            let times = upstream.partitions.clone();
            let entry = PartitionEntry::Upstream { reached, times: times.clone() };
            self.partition.insert(UPSTREAM_NAME, entry);
            self.upstream = Some((reached, times));
        }
    }
}

fn values_range(message_key: &[u8], start: Timestamp, end: Timestamp) -> KeyRange {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    KeyWriter::new(&mut from).rest(message_key).timestamp(start);
    KeyWriter::new(&mut to).rest(message_key).timestamp(end);
    KeyRange::between(&from, &to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(entry: &impl Entry) -> Vec<u8> {
        let mut out = Vec::new();
        entry.encode(&mut out);
        out
    }

    /// The bytes are on disk and in changelogs: a change is a new version.
    #[test]
    fn golden_bytes() {
        let key = KeyEntry { watermark: 75_000, open: vec![60_000, 65_000] };
        assert_eq!(encoded(&key), b"\x01\xf0\x93\x09\x02\xc0\xa9\x07\x90\x4e");
        assert_eq!(KeyEntry::decode(&encoded(&key)), Ok(key));

        let accumulators = vec![
            Accumulator::Count(2),
            Accumulator::Value(Value::Int(5)),
            Accumulator::Mean { sum: Value::Float(0.5), count: 1 },
            Accumulator::Timed(Some((-1, Value::Null))),
            Accumulator::Timed(None),
        ];
        let window = WindowEntry::new(3, accumulators);
        let bytes = b"\x01\x03\x05\0\x04\x01\x03\x0a\x02\x02\x05\0\0\0\0\0\0\xe0\x3f\x03\x01\0\x04";
        assert_eq!(encoded(&window), bytes);
        let back = WindowEntry::decode(bytes).expect("it was just written");
        assert_eq!(encoded(&back), bytes);

        assert_eq!(encoded(&CollectedValue(Value::from("a"))), b"\x01\x06\x01a");
        for (entry, bytes) in [
            (PartitionEntry::Meta { watermark: Some(5), sequence: 9 }, &b"\x01\x01\x09\x0a"[..]),
            (PartitionEntry::Meta { watermark: None, sequence: 0 }, b"\x01\x01\0"),
            (
                PartitionEntry::Upstream { reached: 4, times: vec![(5, true), (-1, false)] },
                b"\x01\x02\x08\x02\x01\x0a\0\x01",
            ),
            (PartitionEntry::Columns(vec!["a/Sum".to_owned()]), b"\x01\x03\x01\x05a/Sum"),
        ] {
            assert_eq!(encoded(&entry), bytes);
            assert_eq!(PartitionEntry::decode(bytes), Ok(entry));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bytes in [&b""[..], b"\x02", b"\x01", b"\x01\x00\x05"] {
            assert!(KeyEntry::decode(bytes).is_err(), "{bytes:?}");
        }
        assert!(WindowEntry::decode(b"\x01\0\x01\x09").is_err());
        assert!(PartitionEntry::decode(b"\x01\x09").is_err());
        assert!(CollectedValue::decode(b"\x01\0\0").is_err());
    }
}
