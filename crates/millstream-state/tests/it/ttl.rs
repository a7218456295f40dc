//! Values that expire, against a twin that forgets nothing and looks at every stamp.
//!
//! The source is a list of operations; a process runs them one after the other, makes
//! checkpoints, discards, and dies at a chosen step. It must always see what the twin sees after
//! the same operations, and what it leaves on disk and in the changelog must fit together.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_state::changelog::position_after;
use millstream_state::keys::KeyReader;
use millstream_state::{
    Backend, BackendStats, Batch, CheckpointFacts, ExpirySettings, FamilyId, KeyRange,
    MemoryBackend, MessageKey, Result, SourceOffsets, Store, StoreMark, TtlError, UserStore,
    VisitPair, expiry_stamp, families,
};
use millstream_types::Timestamp;
use proptest::prelude::*;

use crate::restore::{Death, Local, World, source, store_id};
use crate::support::cache;

const SCOPE: MessageKey<'static> = MessageKey::Text("Ada");
/// Reads that are no record's do not move the time.
const NO_TIME: Timestamp = -1;

fn all_pairs(backend: &dyn Backend, family: FamilyId) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut pairs = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        pairs.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    backend.scan(family, &KeyRange::all(), &mut visit).expect("a scan");
    pairs
}

/// The stamp in a stored value: bytes 2 to 9, if bit 0 of byte 1 is set.
fn stamp_of(value: &[u8]) -> Option<Timestamp> {
    (value[1] == 1).then(|| Timestamp::from_be_bytes(value[2..10].try_into().expect("8 bytes")))
}

#[derive(Clone, Debug)]
enum Operation {
    Get(u8),
    Exists(u8),
    Set(u8),
    SetExpiring(u8, i64),
    Delete(u8),
}

/// What a store of values that expire is, said as plainly as it can be.
#[derive(Clone, Debug, Default)]
struct Twin {
    entries: BTreeMap<u8, (Vec<u8>, Option<Timestamp>)>,
    time: Option<Timestamp>,
}

impl Twin {
    fn access(&mut self, at: Timestamp) {
        if (0..1_000_000_000_000_000).contains(&at) {
            self.time = self.time.map(|time| time.max(at));
        }
    }

    fn see(&self, key: u8) -> Option<&[u8]> {
        let (value, stamp) = self.entries.get(&key)?;
        let expired = stamp.is_some_and(|stamp| self.time.expect("there is a stamp") >= stamp);
        (!expired).then_some(value)
    }

    /// Does it, and gives what a read saw.
    fn run(&mut self, operation: &Operation, at: Timestamp, value: &[u8]) -> Option<Vec<u8>> {
        match operation {
            Operation::Get(key) | Operation::Exists(key) => {
                self.access(at);
                return self.see(*key).map(<[u8]>::to_vec);
            }
            Operation::Set(key) => {
                self.access(at);
                self.entries.insert(*key, (value.to_vec(), None));
            }
            Operation::SetExpiring(key, _) if at < 0 => {
                self.entries.insert(*key, (value.to_vec(), None));
            }
            Operation::SetExpiring(key, ttl) => {
                self.time = Some(self.time.map_or(at, |time| time.max(at)));
                self.entries.insert(*key, (value.to_vec(), Some(at + ttl)));
            }
            Operation::Delete(key) => {
                self.entries.remove(key);
            }
        }
        None
    }
}

fn run(
    store: &mut UserStore,
    operation: &Operation,
    at: Timestamp,
    value: &[u8],
) -> Option<Vec<u8>> {
    match operation {
        Operation::Get(key) => {
            return store.get(SCOPE, &[*key], at).expect("a read").map(<[u8]>::to_vec);
        }
        Operation::Exists(key) => {
            let there = store.exists(SCOPE, &[*key], at).expect("a read");
            let found = store.get(SCOPE, &[*key], NO_TIME).expect("a read").map(<[u8]>::to_vec);
            assert_eq!(there, found.is_some());
            return found;
        }
        Operation::Set(key) => store.set(SCOPE, &[*key], value, at).expect("it works"),
        Operation::SetExpiring(key, ttl) => {
            match expiry_stamp(at, *ttl).expect("ttls here are fine") {
                Some(stamp) => store.set_until(SCOPE, &[*key], value, at, stamp),
                None => store.set(SCOPE, &[*key], value, at),
            }
            .expect("it works");
        }
        Operation::Delete(key) => store.delete(SCOPE, &[*key]).expect("it works"),
    }
    None
}

#[derive(Clone, Debug)]
enum Event {
    Process(usize),
    Checkpoint,
    Discard,
    PrepareAndDiscard,
    Die {
        step: Death,
        lose_disk: bool,
    },
    /// The next process dies in its restore.
    DieInRestore(usize),
    Compact,
}

struct Play {
    world: World,
    operations: Vec<(Operation, Timestamp)>,
    settings: ExpirySettings,
    store: Option<UserStore>,
    next: usize,
    twin: Twin,
    committed: (usize, Twin),
}

impl Play {
    fn new(
        local: Local,
        operations: Vec<(Operation, Timestamp)>,
        settings: ExpirySettings,
    ) -> Self {
        let mut play = Self {
            world: World::new(local),
            operations,
            settings,
            store: None,
            next: 0,
            twin: Twin::default(),
            committed: (0, Twin::default()),
        };
        play.start();
        play
    }

    fn start(&mut self) {
        self.store = None;
        let mut store = self.world.start(usize::MAX, i64::MAX).expect("nothing kills it");
        store.set_expiry(self.settings).expect("it works");
        self.store = Some(store);
        self.rolled_back();
    }

    fn rolled_back(&mut self) {
        (self.next, self.twin) = self.committed.clone();
        self.compare();
    }

    fn store(&mut self) -> &mut UserStore {
        self.store.as_mut().expect("a process runs")
    }

    fn compare(&mut self) {
        let twin = self.twin.clone();
        let store = self.store();
        assert_eq!(store.greatest_timestamp(), twin.time);
        for key in 0..KEYS {
            let found = store.get(SCOPE, &[key], NO_TIME).expect("a read");
            assert_eq!(found, twin.see(key), "key {key} at {:?}", twin.time);
        }
        assert_eq!(store.greatest_timestamp(), twin.time, "looking moves no time");
    }

    fn process(&mut self, count: usize) {
        for _ in 0..count {
            let Some((operation, at)) = self.operations.get(self.next).cloned() else { return };
            let value = format!("value {}", self.next).into_bytes();
            let expected = self.twin.run(&operation, at, &value);
            let found = run(self.store(), &operation, at, &value);
            assert_eq!(found, expected, "{operation:?} of {at} at {:?}", self.twin.time);
            self.next += 1;
        }
    }

    /// A checkpoint up to the step at which the process dies.
    fn checkpoint(&mut self, death: Death) {
        let covered: SourceOffsets = [(source(), self.next as i64)].into_iter().collect();
        let facts = CheckpointFacts { covered, written_ms: self.world.now_ms };
        let store = self.store.as_mut().expect("a process runs");
        let mut position = None;
        if let Some(prepared) = store.prepare(facts).expect("it works") {
            assert_eq!(prepared.records().count(), prepared.len());
            let records = match death {
                Death::BeforeChangelog => 0,
                Death::InChangelog(records) => records.min(prepared.len() - 1),
                _ => prepared.len(),
            };
            for record in prepared.records().take(records) {
                let offset = self.world.log.append(record, self.world.now_ms);
                position = Some(position_after(offset));
            }
        }
        if matches!(death, Death::None | Death::BeforeLocalWrite) {
            self.world.committed = Some(self.next as i64);
            self.committed = (self.next, self.twin.clone());
        }
        if death == Death::None {
            store.commit(position).expect("a write");
            assert_eq!(store.dirty_bytes(), 0);
        }
    }

    fn run(&mut self, event: &Event) {
        match event {
            Event::Process(count) => self.process(*count),
            Event::Checkpoint => {
                self.checkpoint(Death::None);
                self.compare();
                self.check_what_is_stored();
            }
            Event::Discard => {
                self.store().discard().expect("a read");
                self.rolled_back();
            }
            Event::PrepareAndDiscard => {
                self.store().prepare(CheckpointFacts::default()).expect("it works");
                self.store().discard().expect("a read");
                self.rolled_back();
            }
            Event::Die { step, lose_disk } => {
                self.checkpoint(*step);
                self.store = None;
                if *lose_disk {
                    self.world.local.lose();
                }
                self.start();
            }
            Event::DieInRestore(fetches) => {
                self.store = None;
                drop(self.world.start(*fetches, i64::MAX));
                self.start();
            }
            Event::Compact => self.world.log.compact(self.world.now_ms),
        }
    }

    /// After a checkpoint: everything with a stamp is in the index, what expired is gone, and the
    /// changelog says what the backend has.
    fn check_what_is_stored(&mut self) {
        let (settings, time) = (self.settings, self.twin.time);
        let backend = Arc::clone(self.store().backend());
        let data = all_pairs(&*backend, families::USER_DATA);
        let index = all_pairs(&*backend, families::USER_EXPIRY);
        for (key, value) in &data {
            if let Some(stamp) = stamp_of(value) {
                let pair = index.keys().any(|pair| {
                    pair[8..] == **key && KeyReader::new(pair).timestamp() == Some(stamp)
                });
                assert!(pair, "{key:?} expires at {stamp} and is not in the index");
                if settings.evictions == usize::MAX {
                    assert!(stamp > time.expect("there is a stamp"), "{key:?} is not removed");
                }
            }
        }
        let mut changelog = BTreeMap::new();
        for record in self.world.log.records.values() {
            match (record.key[0], &record.value) {
                (0, _) => {}
                (1, Some(value)) => {
                    changelog.insert(record.key[1..].to_vec(), value.clone());
                }
                (1, None) => {
                    changelog.remove(&record.key[1..]);
                }
                (family, _) => panic!("family {family} is in the changelog"),
            }
        }
        if settings.tombstones {
            assert_eq!(changelog, data);
            return;
        }
        changelog.retain(|key, value| {
            let removed = !data.contains_key(key);
            if removed {
                assert!(stamp_of(value).expect("it expired") <= time.expect("there is a stamp"));
            }
            !removed
        });
        assert_eq!(changelog, data);
    }
}

const KEYS: u8 = 5;

fn operation() -> impl Strategy<Value = Operation> {
    let key = || 0..KEYS;
    prop_oneof![
        3 => key().prop_map(Operation::Get),
        2 => key().prop_map(Operation::Exists),
        2 => key().prop_map(Operation::Set),
        6 => (key(), 1..60_i64).prop_map(|(key, ttl)| Operation::SetExpiring(key, ttl)),
        2 => key().prop_map(Operation::Delete),
    ]
}

/// Timestamps rise by about 3 a record, and are late by up to 50.
fn operations() -> impl Strategy<Value = Vec<(Operation, Timestamp)>> {
    let step = prop_oneof![
        20 => (-50..20_i64).prop_map(Some),
        1 => Just(None),
    ];
    proptest::collection::vec((operation(), step), 0..80).prop_map(|steps| {
        let operations = steps.into_iter().enumerate();
        let at = |at: usize, by: Option<i64>| match by {
            Some(by) => (at as i64 * 3 + by).max(0),
            None => NO_TIME,
        };
        operations.map(|(index, (operation, by))| (operation, at(index, by))).collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    use Death::{BeforeChangelog, BeforeCommit, BeforeLocalWrite, InChangelog};
    let step = prop_oneof![
        1 => Just(BeforeChangelog),
        1 => (0..6_usize).prop_map(InChangelog),
        1 => Just(BeforeCommit),
        2 => Just(BeforeLocalWrite),
    ];
    prop_oneof![
        10 => (1..12_usize).prop_map(Event::Process),
        5 => Just(Event::Checkpoint),
        1 => Just(Event::Discard),
        1 => Just(Event::PrepareAndDiscard),
        3 => (step, any::<bool>()).prop_map(|(step, lose_disk)| Event::Die { step, lose_disk }),
        1 => (0..4_usize).prop_map(Event::DieInRestore),
        1 => Just(Event::Compact),
    ]
}

fn settings() -> impl Strategy<Value = ExpirySettings> {
    (prop_oneof![Just(usize::MAX), 1..4_usize], any::<bool>())
        .prop_map(|(evictions, tombstones)| ExpirySettings { evictions, tombstones })
}

fn play(
    local: Local,
    operations: Vec<(Operation, Timestamp)>,
    settings: ExpirySettings,
    events: &[Event],
) {
    let mut play = Play::new(local, operations, settings);
    for event in events {
        play.run(event);
    }
    play.run(&Event::Process(usize::MAX));
    play.run(&Event::Checkpoint);
    play.run(&Event::Die { step: Death::BeforeChangelog, lose_disk: true });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn memory_agrees_with_its_twin(
        operations in operations(),
        settings in settings(),
        events in proptest::collection::vec(event(), 0..30),
    ) {
        play(Local::memory(), operations, settings, &events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn rocks_agrees_with_its_twin(
        operations in operations(),
        settings in settings(),
        events in proptest::collection::vec(event(), 0..30),
    ) {
        play(Local::rocks(), operations, settings, &events);
    }
}

fn open(backend: &Arc<dyn Backend>, settings: ExpirySettings) -> UserStore {
    let store = UserStore::open(store_id(), Arc::clone(backend), &cache(1 << 20));
    let mut store = store.expect("it opens");
    store.set_expiry(settings).expect("it works");
    store
}

/// Makes a checkpoint; gives keys and values of its records, the marker's excepted.
fn checkpoint(store: &mut UserStore) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut records = Vec::new();
    if let Some(prepared) = store.prepare(CheckpointFacts::default()).expect("it works") {
        let entries = prepared.records().take(prepared.len() - 1);
        records.extend(entries.map(|r| (r.key.to_vec(), r.value.map(<[u8]>::to_vec))));
    }
    store.commit(Some(1)).expect("a write");
    records
}

/// The bytes on disk and in the changelog: a change here is a new format version.
#[test]
fn golden_bytes() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut store = open(&backend, ExpirySettings::default());
    store.set_until(SCOPE, b"\"n\"", b"7", 258, 259).expect("it works");
    store.set(SCOPE, b"\"m\"", b"8", 258).expect("it works");
    let expected = [
        (b"\x01\x03Ada\0\x01\"n\"".to_vec(), Some(b"\x01\x01\0\0\0\0\0\0\x01\x037".to_vec())),
        (b"\x01\x03Ada\0\x01\"m\"".to_vec(), Some(b"\x01\x008".to_vec())),
    ];
    assert_eq!(checkpoint(&mut store), expected);
    let index = all_pairs(&*backend, families::USER_EXPIRY);
    let pair = (b"\x80\0\0\0\0\0\x01\x03\x03Ada\0\x01\"n\"".to_vec(), b"\x01\0".to_vec());
    assert_eq!(index.into_iter().collect::<Vec<_>>(), [pair]);
    assert_eq!(store.mark().expect("a checkpoint").greatest_timestamp, Some(258));
}

/// ST-51
#[test]
fn st_51_stamps() {
    assert_eq!(expiry_stamp(10, 5), Ok(Some(15)));
    assert_eq!(expiry_stamp(0, 1), Ok(Some(1)));
    assert_eq!(expiry_stamp(-1, 5), Ok(None));
    assert_eq!(expiry_stamp(10, 0), Err(TtlError::NotPositive(0)));
    assert_eq!(expiry_stamp(10, -5), Err(TtlError::NotPositive(-5)));
    let far = TtlError::Implausible { at: i64::MAX, ttl_ms: 1 };
    assert_eq!(expiry_stamp(i64::MAX, 1), Err(far));
    assert_eq!(expiry_stamp(1, 999_999_999_999_998), Ok(Some(999_999_999_999_999)));
    assert!(expiry_stamp(1, 999_999_999_999_999).is_err());
}

/// A record whose timestamp is in nanoseconds does not expire the store.
#[test]
fn an_implausible_timestamp_moves_no_time() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut store = open(&backend, ExpirySettings::default());
    store.set_until(SCOPE, b"a", b"1", 10, 20).expect("it works");
    assert!(store.exists(SCOPE, b"a", 1_700_000_000_000_000_000).expect("a read"));
    assert_eq!(store.greatest_timestamp(), Some(10));
}

/// ST-54: with and without tombstones, not more than allowed, the oldest first.
#[test]
fn st_54_eviction() {
    let data = |backend: &Arc<dyn Backend>| {
        let pairs = all_pairs(&**backend, families::USER_DATA);
        pairs.into_keys().map(|key| *key.last().expect("a key")).collect::<Vec<_>>()
    };
    for tombstones in [true, false] {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let mut store = open(&backend, ExpirySettings { evictions: 2, tombstones });
        for key in b"abcde" {
            let stamp = 200 - i64::from(*key);
            store.set_until(SCOPE, &[*key], b"1", 0, stamp).expect("it works");
        }
        store.set(SCOPE, b"f", b"1", 0).expect("it works");
        assert_eq!(checkpoint(&mut store).len(), 6);
        // `b`, `c`, `d` and `e` have expired now.
        assert!(!store.exists(SCOPE, b"b", 102).expect("a read"));
        let gone = |key: u8| {
            let key = [b"\x01\x03Ada\0\x01", &[key][..]].concat();
            tombstones.then_some((key, None))
        };
        let expected: Vec<_> = [gone(b'e'), gone(b'd')].into_iter().flatten().collect();
        assert_eq!(checkpoint(&mut store), expected);
        assert_eq!(data(&backend), b"abcf");
        let expected: Vec<_> = [gone(b'c'), gone(b'b')].into_iter().flatten().collect();
        assert_eq!(checkpoint(&mut store), expected);
        assert_eq!(data(&backend), b"af");
        assert_eq!(all_pairs(&*backend, families::USER_EXPIRY).len(), 1);
        assert!(checkpoint(&mut store).is_empty());
        // What a late record sets has expired at once.
        store.set_until(SCOPE, b"late", b"1", 0, 50).expect("it works");
        store.prepare(CheckpointFacts::default()).expect("it works").expect("a tombstone");
        assert_eq!(store.stats().dirty, 1, "it is not in the index");
        store.discard().expect("a read");
    }
}

/// A value that was permanent in the changelog, got a ttl and expired before the next checkpoint
/// must be removed there, tombstones or not.
#[test]
fn what_the_changelog_does_not_know_to_expire_gets_a_tombstone() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut store = open(&backend, ExpirySettings { tombstones: false, ..Default::default() });
    store.set(SCOPE, b"a", b"1", 0).expect("it works");
    checkpoint(&mut store);
    store.set_until(SCOPE, b"a", b"2", 0, 10).expect("it works");
    assert!(!store.exists(SCOPE, b"a", 10).expect("a read"));
    assert_eq!(checkpoint(&mut store), [(b"\x01\x03Ada\0\x01a".to_vec(), None)]);
}

/// ST-53: a store without TTL has no time, looks nothing up when it writes, and makes no
/// checkpoint of nothing. One with TTL makes a checkpoint of its time.
#[test]
fn time_begins_with_the_first_ttl() {
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut store = open(&backend, ExpirySettings::default());
    store.set(SCOPE, b"a", b"1", 500).expect("it works");
    store.delete(SCOPE, b"b").expect("it works");
    assert_eq!((store.greatest_timestamp(), store.stats().misses), (None, 0));
    checkpoint(&mut store);
    store.get(SCOPE, b"a", 600).expect("a read");
    assert!(store.prepare(CheckpointFacts::default()).expect("it works").is_none());
    store.set_until(SCOPE, b"b", b"1", 100, 150).expect("it works");
    assert_eq!(store.greatest_timestamp(), Some(100));
    checkpoint(&mut store);
    assert!(store.exists(SCOPE, b"a", 149).expect("a read"));
    assert_eq!(
        store.prepare(CheckpointFacts::default()).expect("it works").expect("a time").len(),
        1
    );
    store.commit(Some(1)).expect("a write");
    drop(store);
    let store = open(&backend, ExpirySettings::default());
    assert_eq!(store.greatest_timestamp(), Some(149));
}

/// Counts the pairs that scans visit.
#[derive(Debug)]
struct Counting {
    inner: MemoryBackend,
    visited: AtomicU64,
    read: AtomicU64,
}

impl Backend for Counting {
    fn get(&self, family: FamilyId, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        self.read.fetch_add(1, Ordering::SeqCst);
        self.inner.get(family, key, out)
    }

    fn scan(&self, family: FamilyId, range: &KeyRange, visit: &mut VisitPair<'_>) -> Result<()> {
        self.inner.scan(family, range, &mut |key, value| {
            self.visited.fetch_add(1, Ordering::SeqCst);
            visit(key, value)
        })
    }

    fn write(&self, batch: &Batch, mark: &StoreMark) -> Result<()> {
        self.inner.write(batch, mark)
    }

    fn mark(&self) -> Result<StoreMark> {
        self.inner.mark()
    }

    fn rebuild(&self) -> Result<Arc<dyn Backend>> {
        self.inner.rebuild()
    }

    fn promote(&self) -> Result<()> {
        self.inner.promote()
    }

    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}

/// ST-54: removing costs what is removed, however much is stored.
#[test]
fn eviction_scans_nothing() {
    let counting = Arc::new(Counting {
        inner: MemoryBackend::new(),
        visited: AtomicU64::new(0),
        read: AtomicU64::new(0),
    });
    let backend: Arc<dyn Backend> = counting.clone();
    let mut store = open(&backend, ExpirySettings::default());
    for key in 0..5_000_u32 {
        let stamp = 1_000 + i64::from(key);
        store.set_until(SCOPE, &key.to_be_bytes(), b"1", 0, stamp).expect("it works");
    }
    checkpoint(&mut store);
    drop(store);
    let mut store = open(&backend, ExpirySettings::default());
    for round in 0..10 {
        let (visited, read) = (&counting.visited, &counting.read);
        visited.store(0, Ordering::SeqCst);
        read.store(0, Ordering::SeqCst);
        store.exists(SCOPE, b"none", 1_002 + round * 3).expect("a read");
        assert_eq!(checkpoint(&mut store).len(), 3);
        let cost = (visited.load(Ordering::SeqCst), read.load(Ordering::SeqCst));
        assert_eq!(cost, (3, 4), "pairs of the index, and entries");
    }
}
