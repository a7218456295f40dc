//! Restoring after crashes at every step, against a model that knows what the state must be.
//!
//! The source is an endless list of operations; the state that belongs to a committed offset is
//! what the operations below it make. A process restores, processes, makes checkpoints, and dies
//! at a chosen step; its changelog is compacted, its offsets are set back, its local state lost.
//! Every new process must find exactly the state of the committed offset.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_state::changelog::{ChangelogRecord, position_after};
use millstream_state::restore::{
    ChangelogRange, RebuildReason, RestoreFacts, RestoreLimits, RestorePhase, RestorePlan,
    RestoreStep, Restorer, plan,
};
use millstream_state::{
    Backend, Batch, CheckpointFacts, FamilySet, LockHolder, MemoryBackend, MessageKey, Result,
    RocksMemory, RocksStorage, SourceOffsets, StateError, Storage, Store, StoreId, StoreMark,
    UserFamilies, UserStore,
};
use millstream_types::{
    BatchBuilder, Offset, RecordBatch, Timestamp, TimestampType, TopicPartition,
};
use proptest::prelude::*;

use crate::support::{Faulty, cache, small_options};

const KEYS: i64 = 13;
const DELETE_RETENTION_MS: i64 = 1000;

/// What source record `offset` does: a key and its new value, or none to delete it.
fn operation(offset: Offset) -> (Vec<u8>, Option<Vec<u8>>) {
    let key = (offset * 31 + offset / 7) % KEYS;
    let value = (offset % 5 != 3).then(|| format!("value {offset}").into_bytes());
    (format!("key {key}").into_bytes(), value)
}

fn expected(committed: Offset) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for offset in 0..committed {
        match operation(offset) {
            (key, Some(value)) => state.insert(key, value),
            (key, None) => state.remove(&key),
        };
    }
    state
}

pub(crate) fn source() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

pub(crate) fn store_id() -> StoreId {
    StoreId::new("orders", "default", 0)
}

#[derive(Clone, Debug)]
pub(crate) struct LogRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
    at_ms: Timestamp,
}

/// A changelog partition: records by offset, with gaps.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: BTreeMap<Offset, LogRecord>,
    high: Offset,
}

impl Log {
    pub(crate) fn append(&mut self, record: ChangelogRecord<'_>, at_ms: Timestamp) -> Offset {
        let (key, value) = (record.key.to_vec(), record.value.map(<[u8]>::to_vec));
        self.records.insert(self.high, LogRecord { key, value, at_ms });
        self.high += 1;
        self.high - 1
    }

    /// The end of a transaction takes an offset and is no record.
    fn control_record(&mut self) {
        self.high += 1;
    }

    /// Keeps the newest record of each key, and of deletions those that are not too old. Never
    /// removes the newest record of all.
    pub(crate) fn compact(&mut self, now_ms: Timestamp) {
        let newest = self.records.keys().next_back().copied();
        let mut last = HashMap::new();
        for (offset, record) in &self.records {
            last.insert(record.key.clone(), *offset);
        }
        self.records.retain(|offset, record| {
            let gone = record.value.is_none() && now_ms - record.at_ms > DELETE_RETENTION_MS;
            Some(*offset) == newest || (last[&record.key] == *offset && !gone)
        });
    }

    /// At most `count` records from `from` to below `to`.
    fn read(&self, from: Offset, to: Offset, count: usize) -> RecordBatch {
        let mut builder = BatchBuilder::new(TopicPartition::new("changelog", 0));
        for (offset, record) in self.records.range(from..to).take(count) {
            builder.push(
                *offset,
                record.at_ms,
                TimestampType::CreateTime,
                -1,
                Some(&record.key),
                record.value.as_deref(),
                ChangelogRecord::HEADERS,
            );
        }
        builder.finish()
    }
}

/// Where local state survives a process.
pub(crate) enum Local {
    Memory(Arc<dyn Backend>),
    /// The directory goes when it is dropped.
    Rocks(RocksStorage, #[expect(dead_code, reason = "kept for its drop")] tempfile::TempDir),
}

impl Local {
    pub(crate) fn memory() -> Self {
        Local::Memory(Arc::new(MemoryBackend::new()))
    }

    pub(crate) fn rocks() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = RocksMemory::new(8 << 20);
        let holder = LockHolder::default();
        let storage = RocksStorage::new(directory.path(), "group", small_options(), memory, holder);
        Local::Rocks(storage, directory)
    }

    fn open(&self) -> Arc<dyn Backend> {
        match self {
            Local::Memory(backend) => Arc::clone(backend),
            Local::Rocks(storage, _) => {
                storage.open(&store_id(), &UserFamilies::LAYOUT).expect("it is free")
            }
        }
    }

    /// What a promoted rebuild leaves behind is found by the next open.
    fn replaced(&mut self, by: Arc<dyn Backend>) {
        if let Local::Memory(backend) = self {
            *backend = by;
        }
    }

    pub(crate) fn lose(&mut self) {
        match self {
            Local::Memory(backend) => *backend = Arc::new(MemoryBackend::new()),
            Local::Rocks(storage, _) => storage.destroy(&store_id()).expect("it is free"),
        }
    }
}

/// Where a process dies while it makes a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Death {
    /// Not at all.
    None,
    BeforeChangelog,
    /// After that many of its changelog records.
    InChangelog(usize),
    BeforeCommit,
    /// The offsets are committed, local state is not written.
    BeforeLocalWrite,
}

pub(crate) struct World {
    pub(crate) local: Local,
    pub(crate) log: Log,
    pub(crate) committed: Option<Offset>,
    pub(crate) now_ms: Timestamp,
    /// Records per fetch.
    fetch: usize,
    limits: RestoreLimits,
    /// Plans and phases that were met, so that tests can tell that they test something.
    met: Vec<String>,
}

impl World {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            local,
            log: Log::default(),
            committed: None,
            now_ms: 0,
            fetch: 3,
            limits: RestoreLimits {
                window: 4,
                keep_bytes: 200,
                batch_bytes: 100,
                remembered_bytes: 100,
            },
            met: Vec::new(),
        }
    }

    fn committed_offsets(&self) -> SourceOffsets {
        self.committed.iter().map(|next| (source(), *next)).collect()
    }

    fn plan(&self, backend: &dyn Backend) -> Result<RestorePlan> {
        let low = self.log.records.keys().next().copied().unwrap_or(self.log.high);
        // Compaction does not move the start of a log.
        let low = if self.log.high == 0 { 0 } else { low.min(0) };
        plan(&RestoreFacts {
            store: &store_id(),
            local: &backend.mark()?,
            changelog: Some(ChangelogRange { low, high: self.log.high }),
            committed: &self.committed_offsets(),
            now_ms: self.now_ms,
            delete_retention_ms: DELETE_RETENTION_MS,
        })
    }

    /// Restores and opens the store; dies after `fetches` fetches, or at the `writes`-th write.
    pub(crate) fn start(&mut self, fetches: usize, writes: i64) -> Option<UserStore> {
        let (backend, promoted) = Faulty::watched(self.local.open(), writes);
        let plan = self.plan(&*backend).expect("a plan");
        self.met.push(match plan {
            RestorePlan::UpToDate => "up to date".into(),
            RestorePlan::Replay { .. } => "replay".into(),
            RestorePlan::Rebuild { reason, .. } => format!("rebuild: {reason:?}"),
        });
        let restored = self.restore(backend, &plan, fetches);
        if let Some(backend) = promoted.lock().expect("nothing panics with it").take() {
            self.local.replaced(backend);
        }
        let backend = match restored {
            Ok(backend) => backend?,
            Err(StateError::Backend { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let store = UserStore::open(store_id(), backend, &cache(1 << 20)).expect("it opens");
        Some(store)
    }

    fn restore(
        &mut self,
        backend: Arc<dyn Backend>,
        plan: &RestorePlan,
        mut fetches: usize,
    ) -> Result<Option<Arc<dyn Backend>>> {
        let committed = self.committed_offsets();
        let layout = UserFamilies::LAYOUT;
        let restorer =
            Restorer::new(store_id(), layout, Arc::clone(&backend), plan, committed, self.now_ms)?;
        let Some(restorer) = restorer else { return Ok(Some(backend)) };
        let mut restorer = restorer.with_limits(self.limits)?;
        drop(backend);
        while let RestoreStep::Read { from, to } = restorer.step() {
            if fetches == 0 {
                return Ok(None);
            }
            fetches -= 1;
            self.met.push(format!("{:?}", restorer.progress().phase));
            let batch = self.log.read(from, to, self.fetch);
            let position = if batch.len() < self.fetch { to } else { from };
            restorer.feed((!batch.is_empty()).then_some(&batch), position)?;
            self.append(&restorer.take_rewrites());
        }
        assert_eq!(restorer.progress().phase, RestorePhase::Finished);
        self.append(&restorer.take_rewrites());
        let now_ms = self.now_ms;
        let offset = restorer.marker().map(|marker| self.log.append(marker.record(), now_ms));
        Ok(Some(restorer.complete(offset.map(position_after))?))
    }

    fn append(&mut self, batch: &Batch) {
        for record in batch.records() {
            self.log.append(record, self.now_ms);
        }
    }

    /// A whole start: the state is exactly that of the committed offset.
    fn check(&mut self) -> UserStore {
        let mut store = self.start(usize::MAX, i64::MAX).expect("nothing kills it");
        let expected = expected(self.committed.unwrap_or(0));
        for key in 0..KEYS {
            let key = format!("key {key}").into_bytes();
            let found = store.get(MessageKey::Bytes(&key), b"state", 0).expect("a read");
            assert_eq!(
                found,
                expected.get(&key).map(Vec::as_slice),
                "{} at {:?}",
                String::from_utf8_lossy(&key),
                self.committed
            );
        }
        store
    }

    /// Processes `count` records and makes a checkpoint, up to where the process dies.
    fn process(&mut self, store: &mut UserStore, count: i64, death: Death) {
        let from = self.committed.unwrap_or(0);
        for offset in from..from + count {
            let (key, value) = operation(offset);
            match value {
                Some(value) => store.set(MessageKey::Bytes(&key), b"state", &value, 0),
                None => store.delete(MessageKey::Bytes(&key), b"state"),
            }
            .expect("it works");
        }
        let covered: SourceOffsets = [(source(), from + count)].into_iter().collect();
        let facts = CheckpointFacts { covered, written_ms: self.now_ms };
        let mut position = None;
        if let Some(prepared) = store.prepare(facts).expect("it works") {
            let records = match death {
                Death::BeforeChangelog => 0,
                Death::InChangelog(records) => records.min(prepared.len() - 1),
                _ => prepared.len(),
            };
            for record in prepared.records().take(records) {
                position = Some(position_after(self.log.append(record, self.now_ms)));
            }
        }
        if matches!(death, Death::None | Death::BeforeLocalWrite) {
            self.committed = Some(from + count);
        }
        if death == Death::None {
            store.commit(position).expect("a write");
        }
    }
}

fn every_death() -> Vec<Death> {
    use Death::{BeforeChangelog, BeforeCommit, BeforeLocalWrite, InChangelog};
    vec![BeforeChangelog, InChangelog(1), InChangelog(4), BeforeCommit, BeforeLocalWrite]
}

/// Section 6 of the design: a crash after any step leads to a correct restart. With the local
/// state there, and without.
fn a_death_at_each_step(new: fn() -> Local) {
    for death in every_death() {
        for lost in [false, true] {
            let mut world = World::new(new());
            let mut store = world.check();
            world.process(&mut store, 40, Death::None);
            world.process(&mut store, 9, death);
            drop(store);
            if lost {
                world.local.lose();
            }
            let mut store = world.check();
            // The tail was overwritten: a process that starts from nothing sees the same, also
            // when the dead checkpoint's offsets are committed by now.
            world.process(&mut store, 3, Death::None);
            drop(store);
            world.local.lose();
            let mut store = world.check();
            world.process(&mut store, 30, Death::None);
            drop(store);
            world.log.compact(world.now_ms);
            world.local.lose();
            drop(world.check());
        }
    }
}

#[test]
fn ck_08_memory_a_death_at_each_step() {
    a_death_at_each_step(Local::memory);
}

#[test]
fn ck_08_rocks_a_death_at_each_step() {
    a_death_at_each_step(Local::rocks);
}

impl World {
    /// A process that was taken for dead wakes up and makes its checkpoint of `from..to`: it gets
    /// as far as the commit, which is refused.
    fn wake(&mut self, zombie: &mut UserStore, from: Offset, to: Offset) {
        let committed = self.committed.replace(from);
        self.process(zombie, to - from, Death::BeforeCommit);
        self.committed = committed;
    }
}

/// Two owners of one changelog, each with a disk of its own: what the first one adds when it
/// wakes up lies behind the second one's checkpoints, and must not count.
#[test]
fn a_process_taken_for_dead_writes_behind_its_successor() {
    for (before, after, slept) in [(40, 30, 9), (40, 3, 9), (0, 20, 5), (40, 30, 1), (5, 60, 60)] {
        let mut world = World::new(Local::memory());
        let mut first = world.check();
        if before > 0 {
            world.process(&mut first, before, Death::None);
        }
        world.local = Local::memory();
        let mut second = world.check();
        for _ in 0..3 {
            world.process(&mut second, after, Death::None);
        }
        world.wake(&mut first, before, before + slept);
        drop((first, second));
        for _ in 0..3 {
            // A third owner that has nothing of its own, again and again.
            world.local.lose();
            let mut third = world.check();
            world.process(&mut third, 4, Death::None);
        }
        // And one that has something.
        drop(world.check());
    }
}

/// The successor's own disk is not misled either: it stands before what the zombie wrote.
#[test]
fn a_successor_that_restarts_does_not_take_over_what_a_zombie_wrote() {
    let mut world = World::new(Local::memory());
    let mut first = world.check();
    world.process(&mut first, 40, Death::None);
    world.local = Local::memory();
    let mut second = world.check();
    world.process(&mut second, 30, Death::None);
    drop(second);
    world.wake(&mut first, 40, 52);
    let mut second = world.check();
    world.process(&mut second, 5, Death::None);
    drop(second);
    world.local.lose();
    world.check();
}

/// The same checkpoint dies again and again, at another step each time.
#[test]
fn deaths_in_a_row() {
    let mut world = World::new(Local::memory());
    let mut store = world.check();
    world.process(&mut store, 20, Death::None);
    for (round, death) in every_death().into_iter().cycle().take(30).enumerate() {
        let mut store = world.check();
        world.process(&mut store, 5 + round as i64 % 3, death);
        drop(store);
        if round % 3 == 0 {
            world.local.lose();
        }
    }
    world.check();
}

/// A restore dies after each number of fetches and at each write, is taken up again, and ends
/// right. With few bytes per batch it writes often, and marks that it is not done.
#[test]
fn a_restore_that_dies_is_taken_up_again() {
    for (fetches, writes) in (0..40).map(|n| (n, i64::MAX)).chain((0..20).map(|n| (usize::MAX, n)))
    {
        let mut world = World::new(Local::memory());
        let mut store = world.check();
        for _ in 0..6 {
            world.process(&mut store, 7, Death::None);
        }
        world.process(&mut store, 9, Death::BeforeCommit);
        drop(store);
        world.local.lose();
        // The first dies, the second is killed once more, the third gets through.
        world.start(fetches, writes);
        world.start(fetches / 2, writes);
        drop(world.check());
        world.local.lose();
        drop(world.check());
    }
}

#[test]
fn a_restore_in_the_middle_is_visible_and_is_no_state_to_run_on() {
    let mut world = World::new(Local::memory());
    let mut store = world.check();
    world.process(&mut store, 60, Death::None);
    drop(store);
    world.local.lose();
    // The first write is a batch on the way, the second is refused.
    assert!(world.start(usize::MAX, 1).is_none());
    let mark = world.local.open().mark().expect("a mark");
    let StoreMark::Restoring { position, target } = &mark else { panic!("{mark:?}") };
    assert!(*position > 0 && *position < world.log.high, "{mark:?}");
    assert_eq!(target.covered, world.committed_offsets());
    drop(world.check());
    assert_eq!(world.met.last().map(String::as_str), Some("Applying"));
    assert!(world.met.contains(&"replay".to_string()), "{:?}", world.met);
}

/// CK-32: without a committed offset everything is left out, and the state is empty; for good.
#[test]
fn ck_32_no_committed_offset_means_empty_state() {
    for lost in [false, true] {
        let mut world = World::new(Local::memory());
        let mut store = world.check();
        world.process(&mut store, 30, Death::None);
        world.process(&mut store, 30, Death::None);
        drop(store);
        world.committed = None;
        if lost {
            world.local.lose();
        }
        let mut store = world.check();
        assert_eq!(store.stats().cached, 0);
        let backend = Arc::clone(store.backend());
        assert_eq!(backend.stats().keys, 0);
        world.process(&mut store, 3, Death::None);
        drop(store);
        // Later markers do not bring back what was before.
        world.local.lose();
        drop(world.check());
    }
}

/// Offsets that were set back: local state is ahead and is replaced by what belongs to them.
#[test]
fn offsets_that_were_set_back() {
    let mut world = World::new(Local::rocks());
    let mut store = world.check();
    for _ in 0..5 {
        world.process(&mut store, 10, Death::None);
    }
    drop(store);
    world.committed = Some(20);
    drop(world.check());
    let ahead = format!("rebuild: {:?}", RebuildReason::AheadOfCommitted);
    assert!(world.met.contains(&ahead), "{:?}", world.met);
    let mut store = world.check();
    world.process(&mut store, 45, Death::None);
    drop(store);
    world.local.lose();
    world.check();
}

/// A deletion whose tombstone compaction has removed must not come back from old local state.
#[test]
fn old_local_state_does_not_resurrect_deleted_keys() {
    let mut world = World::new(Local::rocks());
    let mut store = world.check();
    world.process(&mut store, 40, Death::None);
    drop(store);
    // Another machine takes over, with local state of its own.
    let here = std::mem::replace(&mut world.local, Local::rocks());
    let mut store = world.check();
    let deleted = (40..).find(|offset| operation(*offset).1.is_none()).expect("some record");
    world.process(&mut store, deleted + 1 - 40, Death::None);
    world.now_ms += DELETE_RETENTION_MS + 1;
    world.process(&mut store, 2, Death::None);
    drop(store);
    world.log.compact(world.now_ms);
    // And gives back.
    world.local = here;
    drop(world.check());
    let old = format!("rebuild: {:?}", RebuildReason::TooOld);
    assert!(world.met.contains(&old), "{:?}", world.met);
}

/// CK-34: gaps and control records at the end do not stall a restore, and once they were looked
/// at the store is up to date.
#[test]
fn ck_34_offsets_without_records() {
    let mut world = World::new(Local::memory());
    let mut store = world.check();
    world.process(&mut store, 20, Death::None);
    world.log.control_record();
    world.process(&mut store, 4, Death::BeforeLocalWrite);
    world.log.control_record();
    drop(store);
    drop(world.check());
    drop(world.check());
    assert_eq!(world.met.last().map(String::as_str), Some("up to date"));
    world.local.lose();
    drop(world.check());
    assert_eq!(world.plan(&*world.local.open()).expect("a plan"), RestorePlan::UpToDate);
}

/// A short changelog is read once, a long one from where it is needed.
#[test]
fn what_is_read() {
    let mut world = World::new(Local::memory());
    let mut store = world.check();
    for _ in 0..50 {
        world.process(&mut store, 10, Death::None);
    }
    drop(store);
    world.local.lose();
    world.limits = RestoreLimits::default();
    world.fetch = 100;
    world.met.clear();
    drop(world.check());
    assert!(!world.met.contains(&"Applying".to_string()), "it is read twice: {:?}", world.met);

    world.local.lose();
    world.limits.window = 4;
    world.met.clear();
    drop(world.check());
    let searching = world.met.iter().filter(|phase| *phase == "Searching").count();
    // The last marker is in the last window, and the one before it, which tells whether the last
    // is that of a process taken for dead, in the next.
    assert_eq!(searching, 2, "{:?}", world.met);
}

#[test]
fn foreign_content_stops_the_restore() {
    let mut world = World::new(Local::memory());
    world.log.append(ChangelogRecord { key: b"\x01key", value: Some(b"no version") }, 0);
    world.committed = Some(1);
    let backend = world.local.open();
    let plan = world.plan(&*backend).expect("a plan");
    let error = world.restore(backend, &plan, usize::MAX).expect_err("not ours");
    assert!(matches!(error, StateError::ForeignChangelog { offset: 0, .. }), "{error}");
}

#[derive(Clone, Debug)]
enum Event {
    Process(i64, Death),
    DieInRestore(usize, i64),
    LoseLocal,
    Compact,
    ControlRecord,
    Wait(i64),
    GroupLost,
}

fn event() -> impl Strategy<Value = Event> {
    let death = prop_oneof![
        6 => Just(Death::None),
        1 => Just(Death::BeforeChangelog),
        2 => (0..8_usize).prop_map(Death::InChangelog),
        2 => Just(Death::BeforeCommit),
        2 => Just(Death::BeforeLocalWrite),
    ];
    prop_oneof![
        12 => (0..25_i64, death).prop_map(|(count, death)| Event::Process(count, death)),
        2 => (0..12_usize, 0..6_i64).prop_map(|(f, w)| Event::DieInRestore(f, w)),
        2 => Just(Event::LoseLocal),
        2 => Just(Event::Compact),
        1 => Just(Event::ControlRecord),
        2 => (1..1500_i64).prop_map(Event::Wait),
        1 => Just(Event::GroupLost),
    ]
}

fn history(world: &mut World, events: &[Event]) {
    let mut store = Some(world.check());
    // Compaction follows by at least a day (min.compaction.lag.ms): not while a tail is there.
    let mut tail = false;
    for event in events {
        match event {
            Event::Process(count, death) => {
                let mut running = store.take().unwrap_or_else(|| {
                    tail = false;
                    world.check()
                });
                world.process(&mut running, *count, *death);
                if *death == Death::None {
                    store = Some(running);
                } else {
                    tail = true;
                }
            }
            Event::DieInRestore(fetches, writes) => {
                store = None;
                tail = true;
                drop(world.start(*fetches, *writes));
            }
            Event::LoseLocal => {
                store = None;
                world.local.lose();
            }
            Event::Compact if !tail => world.log.compact(world.now_ms),
            Event::Compact => {}
            Event::ControlRecord => world.log.control_record(),
            Event::Wait(ms) => world.now_ms += ms,
            Event::GroupLost => {
                store = None;
                tail = true;
                world.committed = None;
            }
        }
    }
    drop(store);
    drop(world.check());
    world.local.lose();
    drop(world.check());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_history_in_memory(
        fetch in 1..6_usize,
        window in 1..40_i64,
        bytes in prop_oneof![Just(1_usize), Just(150), Just(1 << 20)],
        events in proptest::collection::vec(event(), 0..25),
    ) {
        let mut world = World::new(Local::memory());
        world.fetch = fetch;
        world.limits = RestoreLimits { window, keep_bytes: bytes, batch_bytes: bytes, remembered_bytes: bytes };
        history(&mut world, &events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 15, ..ProptestConfig::default() })]

    #[test]
    fn any_history_on_rocks(
        bytes in prop_oneof![Just(1_usize), Just(1 << 20)],
        events in proptest::collection::vec(event(), 0..15),
    ) {
        let mut world = World::new(Local::rocks());
        world.limits = RestoreLimits { window: 20, keep_bytes: bytes, batch_bytes: bytes, remembered_bytes: bytes };
        history(&mut world, &events);
    }
}
