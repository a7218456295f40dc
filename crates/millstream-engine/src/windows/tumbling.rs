//! Tumbling windows by duration: `[k·d, (k+1)·d)`, half-open, from the epoch (W-01, W-45).
//!
//! * **Which window.** The one that holds the record's timestamp. A negative timestamp has none,
//!   silently (W-45). A record without a key is left out with a warning (W-10).
//! * **Stream time.** Closing by key: the greatest timestamp of the key (W-46); by partition:
//!   that of the partition (W-51). Behind a group-by it is held back to what all upstream
//!   partitions have reached (`upstream.rs`); so are lateness and closing. A record whose update
//!   fails moves nothing.
//! * **Late.** A window is closed iff `end + grace <= stream time`, the record's own timestamp
//!   included. A late record changes no state; `on_late` is asked (W-47, W-53).
//! * **Equal timestamps** are in the same window and go in as they arrive.
//! * **Stored.** One entry per open window; per key its watermark and the starts of its open
//!   windows, or an index of ends where the partition closes; collected values one by one.
//! * **Emitted.** `current`: the updated window, at once (W-37). `final`: after the update all due
//!   windows of the key, ascending (W-48), or of the partition by key and start (W-50), then one
//!   fired by a trigger (W-39). Windows that a slower upstream partition held back come when that
//!   one catches up, by end, key and start. Key = message key, timestamp = window start, no
//!   headers (W-36).
//! * **Triggers** (W-54 to W-58). Fired: the window's result is emitted and the window deleted,
//!   with `current` too; collected values stay until time expires them (W-56). The watermark
//!   moves on all the same.

use millstream_state::keys::KeyReader;
use millstream_state::{KeyBuf, KeyWriter, MessageKey};
use millstream_types::Timestamp;
use millstream_value::{Call, Failure, FailureKind, Headers, Host, RecordContext, Value};

use super::Window;
use super::columns::UpdateScratch;
use super::store::{KeyEntry, WindowEntry, WindowFamilies, drain_index};
use crate::functions::Late;
use crate::keys::{self, OwnedKey};
use crate::record::Record;
use crate::run::Run;
use crate::spec::{ClosingStrategy, Emission};
use crate::state::failure;
use crate::topology::Node;

/// The lengths of a tumbling window, ms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tumbling {
    pub(crate) duration: i64,
    pub(crate) grace: i64,
}

impl Tumbling {
    fn start_of(self, timestamp: Timestamp) -> Timestamp {
        timestamp - timestamp % self.duration
    }

    fn end_of(self, start: Timestamp) -> Timestamp {
        start.saturating_add(self.duration)
    }

    /// From this stream time on the window is closed.
    fn closes_at(self, start: Timestamp) -> Timestamp {
        self.end_of(start).saturating_add(self.grace)
    }

    /// The greatest end that is closed at `time`.
    fn closed_end(self, time: Timestamp) -> Timestamp {
        time.saturating_sub(self.grace)
    }
}

/// A result on its way out.
pub(crate) struct Emitted {
    /// The message key as it is in state keys; `None`: that of the record at hand.
    key: Option<KeyBuf>,
    start: Timestamp,
    /// What comes out, or why this window has no result: the others must come out all the same.
    value: Result<Value, Failure>,
}

/// Buffers that a task keeps for its windows, so that a record allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Message key, window start: the key of the record's window.
    key: Vec<u8>,
    /// The same of a window that closes.
    due_key: Vec<u8>,
    /// Starts of windows that close.
    due: Vec<Timestamp>,
    emitted: Vec<Emitted>,
    update: UpdateScratch,
}

/// What an update left behind.
struct Updated {
    /// The window, or at least values collected for it, is in state.
    present: bool,
    /// The window was in state before.
    existed: bool,
    /// What comes out: the current result, or that of a fired window.
    result: Option<Value>,
}

/// A record at its window.
struct Place<'k> {
    /// Message key, window start.
    key: &'k [u8],
    /// Length of the message key in it.
    prefix: usize,
    start: Timestamp,
    end: Timestamp,
}

impl<'k> Place<'k> {
    fn message_key(&self) -> &'k [u8] {
        &self.key[..self.prefix]
    }
}

/// Takes in a record.
pub(super) fn process(
    window: &Window,
    node: &Node,
    record: &mut Record,
    run: &mut Run<'_>,
) -> Result<(), Failure> {
    if record.key.is_null() {
        run.hooks.null_key(run.context, &window.store_name);
        return Ok(());
    }
    if record.timestamp < 0 {
        return Ok(());
    }
    let mut scratch = std::mem::take(&mut run.state.windows);
    scratch.emitted.clear();
    let outcome = take_in(window, record, run, &mut scratch);
    let emitted = emit(node, Some(record), run, &mut scratch.emitted);
    run.state.windows = scratch;
    outcome.and(emitted)
}

/// Emits windows that were held back until all upstream partitions had come as far as they have
/// now.
pub(super) fn release(window: &Window, node: &Node, run: &mut Run<'_>) -> Result<(), Failure> {
    let mut scratch = std::mem::take(&mut run.state.windows);
    scratch.emitted.clear();
    let outcome = close_held(window, run, &mut scratch);
    let emitted = emit(node, None, run, &mut scratch.emitted);
    run.state.windows = scratch;
    outcome.and(emitted)
}

/// Hands on what came out, each result by itself: the windows are gone from state, so one that
/// fails behind here, and is skipped by on_processing_error, must not take the rest along.
fn emit(
    node: &Node,
    record: Option<&mut Record>,
    run: &mut Run<'_>,
    emitted: &mut Vec<Emitted>,
) -> Result<(), Failure> {
    for Emitted { key, start, value } in emitted.drain(..) {
        let key = match (&key, &record) {
            (Some(key), _) => decode_key(key)?,
            (None, Some(record)) => record.key.share(),
            (None, None) => unreachable!("without a record every result has its key"),
        };
        let handed_on = value.and_then(|value| {
            let mut out = Record { value, key, timestamp: start, headers: Headers::none() };
            run.forward(node, &mut out)
        });
        if let Err(failure) = handed_on {
            run.processing_failure(node, failure)?;
        }
    }
    Ok(())
}

fn decode_key(key: &[u8]) -> Result<Value, Failure> {
    let mut buffer = Vec::new();
    KeyReader::new(key).message_key(&mut buffer).map(keys::to_value).ok_or_else(|| {
        Failure::new(FailureKind::State, format!("a stored message key cannot be read: {key:02x?}"))
    })
}

fn take_in(
    window: &Window,
    record: &mut Record,
    run: &mut Run<'_>,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let start = window.kind.start_of(record.timestamp);
    let mut key = std::mem::take(&mut scratch.key);
    let writer = KeyWriter::new(&mut key);
    match &record.key {
        // The usual type goes without a detour.
        Value::Bytes(bytes) => writer.message_key(MessageKey::Bytes(bytes)),
        other => writer.message_key(OwnedKey::of(other)?.as_message_key()),
    };
    let prefix = key.len();
    KeyWriter::append(&mut key).timestamp(start);
    let place = Place { key: &key, prefix, start, end: window.kind.end_of(start) };
    let outcome = match window.closing {
        ClosingStrategy::Key => by_key(window, record, run, scratch, &place),
        ClosingStrategy::Partition => by_partition(window, record, run, scratch, &place),
    };
    scratch.key = key;
    outcome
}

/// Closing by key: a record closes windows of its own key.
fn by_key(
    window: &Window,
    record: &mut Record,
    run: &mut Run<'_>,
    scratch: &mut Scratch,
    place: &Place<'_>,
) -> Result<(), Failure> {
    let kind = window.kind;
    let low = window.low(run);
    let families = run.state.stores.window(window.store)?;
    if in_place(window, families, record, run.host, scratch, place, low)? {
        return Ok(());
    }
    let known = families.keys.get(place.message_key()).map_err(failure)?;
    let (before, listed) = known.map_or((Timestamp::MIN, false), |known| {
        (known.watermark, known.open.contains(&place.start))
    });
    let watermark = before.max(record.timestamp);
    let time = watermark.min(low);
    if kind.closes_at(place.start) <= time {
        return late(window, record, run, place, time);
    }
    let updated = update(window, families, record, run.host, run.context, scratch, place, listed)?;

    let fresh_key = || KeyEntry { watermark: Timestamp::MIN, open: Vec::new() };
    let (known, _) =
        families.keys.get_or_insert_with(place.message_key(), fresh_key).map_err(failure)?;
    known.watermark = watermark;
    let late_but_admitted = kind.closes_at(place.start) <= before;
    if updated.present && !listed {
        let at = known.open.partition_point(|start| *start < place.start);
        known.open.insert(at, place.start);
    } else if !updated.present && listed {
        known.open.retain(|start| *start != place.start);
    }
    // What the key's own time has passed is due, or held back by a slower upstream partition.
    let passed = known.due(kind, watermark);
    let due = known.due(kind, time);
    scratch.due.clear();
    scratch.due.extend(known.open.drain(..due));
    if late_but_admitted && updated.present != listed {
        match updated.present {
            true => families.hold(place.end, place.message_key(), place.start),
            false => families.unhold(place.end, place.message_key(), place.start),
        }
    }
    if passed > due {
        hold_passed(window.kind, families, place, before, watermark)?;
    }
    close_due(window, families, run.host, scratch, place, before)?;
    let result = updated.result;
    scratch.emitted.extend(result.map(|value| Emitted {
        key: None,
        start: place.start,
        value: Ok(value),
    }));
    Ok(())
}

/// The usual case, with two look-ups: a record for an open window of a known key that closes
/// nothing and puts nothing out. False, and nothing has changed, if it is another case.
fn in_place(
    window: &Window,
    families: &mut WindowFamilies,
    record: &Record,
    host: &dyn Host,
    scratch: &mut Scratch,
    place: &Place<'_>,
    low: Timestamp,
) -> Result<bool, Failure> {
    if !window.is_plain {
        return Ok(false);
    }
    let kind = window.kind;
    let number = window.columns.list_number(families);
    let WindowFamilies { keys, windows, .. } = families;
    let Some(known) = keys.get_mut(place.message_key()).map_err(failure)? else {
        return Ok(false);
    };
    let watermark = known.watermark.max(record.timestamp);
    if !known.open.contains(&place.start)
        || kind.closes_at(place.start) <= watermark.min(low)
        || known.due(kind, watermark) > 0
    {
        return Ok(false);
    }
    let Some(entry) = windows.get_mut(place.key).map_err(failure)? else { return Ok(false) };
    if entry.columns != number {
        return Ok(false);
    }
    let columns = &window.columns;
    columns.update(entry, &record.value, record.timestamp, host, &mut scratch.update)?;
    known.watermark = watermark;
    Ok(true)
}

impl KeyEntry {
    /// How many of the open windows are closed at `time`.
    fn due(&self, kind: Tumbling, time: Timestamp) -> usize {
        self.open.partition_point(|start| kind.closes_at(*start) <= time)
    }
}

/// Lists those open windows of the key that its time has just passed, but not that of all
/// upstream partitions (those that are due in both were taken off the list before).
fn hold_passed(
    kind: Tumbling,
    families: &mut WindowFamilies,
    place: &Place<'_>,
    before: Timestamp,
    watermark: Timestamp,
) -> Result<(), Failure> {
    let known = families.keys.get(place.message_key()).map_err(failure)?;
    let open = known.map_or(&[][..], |known| &known.open);
    let passed: Vec<Timestamp> = open
        .iter()
        .copied()
        .skip_while(|start| kind.closes_at(*start) <= before)
        .take_while(|start| kind.closes_at(*start) <= watermark)
        .collect();
    for start in passed {
        families.hold(kind.end_of(start), place.message_key(), start);
    }
    Ok(())
}

/// Closes the windows of the record's key that were found due.
fn close_due(
    window: &Window,
    families: &mut WindowFamilies,
    host: &dyn Host,
    scratch: &mut Scratch,
    place: &Place<'_>,
    before: Timestamp,
) -> Result<(), Failure> {
    let Scratch { due, due_key, emitted, .. } = scratch;
    for start in due.drain(..) {
        if window.grouped && window.kind.closes_at(start) <= before {
            families.unhold(window.kind.end_of(start), place.message_key(), start);
        }
        let value = close(window, families, host, due_key, place.message_key(), start)?;
        emitted.extend(value.map(|value| Emitted { key: None, start, value }));
    }
    Ok(())
}

/// Removes a window with everything collected for it, and gives its result if it is to come out.
///
/// The outer error is the store's and ends everything; the inner one is this window's alone.
fn close(
    window: &Window,
    families: &mut WindowFamilies,
    host: &dyn Host,
    buffer: &mut Vec<u8>,
    message_key: &[u8],
    start: Timestamp,
) -> Result<Option<Result<Value, Failure>>, Failure> {
    let end = window.kind.end_of(start);
    let key = KeyWriter::new(buffer).rest(message_key).timestamp(start).key();
    let entry = families.windows.take(key).map_err(failure)?;
    let collected = if window.columns.has_collectors() {
        let collected = families.collected(message_key, start, end).map_err(failure)?;
        families.forget_collected(message_key, start, end).map_err(failure)?;
        collected
    } else {
        Vec::new()
    };
    match entry {
        // `None`: a trigger fired it, and only its collected values were left.
        Some(entry) if window.emission == Emission::Final => {
            let entry = window.columns.adapt(entry, families)?;
            let columns = &window.columns;
            let result = columns.result(&entry, &mut Vec::new(), &collected, (start, end), host);
            Ok(Some(result))
        }
        _ => Ok(None),
    }
}

/// Closing by partition: a record closes windows of all keys.
fn by_partition(
    window: &Window,
    record: &mut Record,
    run: &mut Run<'_>,
    scratch: &mut Scratch,
    place: &Place<'_>,
) -> Result<(), Failure> {
    let low = window.low(run);
    let families = run.state.stores.window(window.store)?;
    let before = families.watermark.unwrap_or(Timestamp::MIN);
    let watermark = before.max(record.timestamp);
    let time = watermark.min(low);
    if window.kind.closes_at(place.start) <= time {
        return late(window, record, run, place, time);
    }
    let updated = update(window, families, record, run.host, run.context, scratch, place, true)?;
    families.watermark = Some(watermark);
    if updated.present && !updated.existed {
        families.index_end(place.end, place.message_key(), place.start);
    } else if updated.existed && !updated.present {
        families.unindex_end(place.end, place.message_key(), place.start);
    }
    close_up_to(window, families, run.host, scratch, time)?;
    let result = updated.result;
    scratch.emitted.extend(result.map(|value| Emitted {
        key: None,
        start: place.start,
        value: Ok(value),
    }));
    Ok(())
}

/// Closes the windows of all keys that are due at `time`, in order of key and start (W-50).
fn close_up_to(
    window: &Window,
    families: &mut WindowFamilies,
    host: &dyn Host,
    scratch: &mut Scratch,
    time: Timestamp,
) -> Result<(), Failure> {
    let up_to = window.kind.closed_end(time);
    let WindowFamilies { times, next_end, .. } = families;
    let mut due = drain_index(times, next_end, up_to).map_err(failure)?;
    due.sort_unstable();
    for (key, start) in due {
        let value = close(window, families, host, &mut scratch.due_key, &key, start)?;
        scratch.emitted.extend(value.map(|value| Emitted { key: Some(key), start, value }));
    }
    Ok(())
}

fn close_held(window: &Window, run: &mut Run<'_>, scratch: &mut Scratch) -> Result<(), Failure> {
    let low = window.low(run);
    let families = run.state.stores.window(window.store)?;
    if window.closing == ClosingStrategy::Partition {
        let watermark = families.watermark.unwrap_or(Timestamp::MIN);
        return close_up_to(window, families, run.host, scratch, watermark.min(low));
    }
    let up_to = window.kind.closed_end(low);
    let WindowFamilies { held, next_held, .. } = families;
    for (key, start) in drain_index(held, next_held, up_to).map_err(failure)? {
        if let Some(known) = families.keys.get_mut(&key).map_err(failure)? {
            known.open.retain(|open| *open != start);
        }
        let value = close(window, families, run.host, &mut scratch.due_key, &key, start)?;
        scratch.emitted.extend(value.map(|value| Emitted { key: Some(key), start, value }));
    }
    Ok(())
}

/// A record whose window is closed at `time` (W-47, W-53).
fn late(
    window: &Window,
    record: &mut Record,
    run: &mut Run<'_>,
    place: &Place<'_>,
    time: Timestamp,
) -> Result<(), Failure> {
    let source = &run.context.topic_partition;
    let late = Late {
        timestamp: record.timestamp,
        late_by_ms: window.kind.closed_end(time).saturating_sub(record.timestamp),
        start: place.start,
        end: place.end,
        store_name: &window.store_name,
        topic: &source.topic,
        partition: source.partition,
        offset: run.context.offset,
    };
    let warn = match &window.on_late {
        Some(callback) => callback.late(&mut record.value, &mut record.key, &late)?,
        None => true,
    };
    if warn {
        run.hooks.late(&late);
    }
    Ok(())
}

/// Takes a record's value into its window. On an error everything is as it was.
///
/// `may_exist`: whether the window can be in state; if not, the backend need not be asked.
#[expect(clippy::too_many_arguments, reason = "parts of the run that must be borrowed apart")]
fn update(
    window: &Window,
    families: &mut WindowFamilies,
    record: &mut Record,
    host: &dyn Host,
    context: &RecordContext,
    scratch: &mut Scratch,
    place: &Place<'_>,
    may_exist: bool,
) -> Result<Updated, Failure> {
    let columns = &window.columns;
    let bounds = (place.start, place.end);
    let scratch = &mut scratch.update;
    let to_collect = columns.to_collect(&record.value, host)?;
    let number = columns.list_number(families);
    let no_triggers = window.before_update.is_none() && window.after_update.is_none();
    if no_triggers
        && may_exist
        && let Some(entry) = families.windows.get_mut(place.key).map_err(failure)?
        && entry.columns == number
    {
        // The usual case: in place, nothing is copied, encoded or allocated.
        columns.update(entry, &record.value, record.timestamp, host, scratch)?;
        let result = match window.emission {
            Emission::Final => None,
            Emission::Current => {
                Some(columns.result(entry, &mut scratch.fresh, &[], bounds, host)?)
            }
        };
        if let Some(value) = to_collect {
            families.collect(place.message_key(), record.timestamp, value);
        }
        return Ok(Updated { present: true, existed: true, result });
    }

    // A new window, one of an earlier program, or one that triggers look at: on a copy.
    let stored = match may_exist {
        true => families.windows.get(place.key).map_err(failure)?.map(WindowEntry::share),
        false => None,
    };
    let existed = stored.is_some();
    let mut entry = match stored {
        Some(entry) => columns.adapt(entry, families)?,
        None => columns.empty(families)?,
    };
    let mut call = Call {
        value: &mut record.value,
        key: &mut record.key,
        timestamp: record.timestamp,
        headers: &mut record.headers,
        state: None,
        context,
    };
    if let Some(trigger) = &window.before_update {
        let collected = collected(window, families, place)?;
        if trigger.fires(columns.aggregated(&entry, &[], &collected, host)?, &mut call)? {
            let result = columns.result(&entry, &mut Vec::new(), &collected, bounds, host)?;
            let present = to_collect.is_some();
            if let Some(value) = to_collect {
                families.collect(place.message_key(), record.timestamp, value);
            }
            if existed {
                families.windows.remove(place.key);
            }
            return Ok(Updated { present, existed, result: Some(result) });
        }
    }
    columns.update(&mut entry, call.value, call.timestamp, host, scratch)?;
    let collects = to_collect.is_some();
    if let Some(value) = to_collect {
        families.collect(place.message_key(), record.timestamp, value);
    }
    let mut result = None;
    if let Some(trigger) = &window.after_update {
        let fired = collected(window, families, place).and_then(|collected| {
            let aggregated = columns.aggregated(&entry, &scratch.fresh, &collected, host)?;
            match trigger.fires(aggregated, &mut call)? {
                true => {
                    columns.result(&entry, &mut scratch.fresh, &collected, bounds, host).map(Some)
                }
                false => Ok(None),
            }
        });
        match fired {
            Ok(fired) => result = fired,
            Err(failure) => {
                if collects {
                    families.uncollect_last(place.message_key(), record.timestamp);
                }
                return Err(failure);
            }
        }
        if result.is_some() {
            if existed {
                families.windows.remove(place.key);
            }
            return Ok(Updated { present: collects, existed, result });
        }
    }
    if window.emission == Emission::Current {
        result = Some(columns.result(&entry, &mut scratch.fresh, &[], bounds, host)?);
    }
    match existed {
        true => families.windows.insert(place.key, entry),
        false => families.windows.insert_new(place.key, entry),
    }
    Ok(Updated { present: true, existed, result })
}

fn collected(
    window: &Window,
    families: &mut WindowFamilies,
    place: &Place<'_>,
) -> Result<Vec<Value>, Failure> {
    if !window.columns.has_collectors() {
        return Ok(Vec::new());
    }
    families.collected(place.message_key(), place.start, place.end).map_err(failure)
}
