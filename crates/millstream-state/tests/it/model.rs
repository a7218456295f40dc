//! The cache against a twin that is two `BTreeMap`s, under random operations, checkpoints,
//! discards and crashes.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use millstream_state::{
    Backend, CacheSettings, CheckpointFacts, KeyRange, MemoryBackend, Store, StorePartition,
};
use proptest::prelude::*;

use crate::support::{Disk, Faulty, Number, ONE, Pair, RocksDisk, cache, store_id};

type Map = BTreeMap<Vec<u8>, u64>;

#[derive(Clone, Debug)]
enum Action {
    Get(Vec<u8>),
    Change(Vec<u8>),
    GetOrInsert(Vec<u8>),
    Insert(Vec<u8>),
    InsertNew(Vec<u8>),
    Remove(Vec<u8>),
    Take(Vec<u8>),
    Scan(Vec<u8>, Vec<u8>, usize),
    Drain(Vec<u8>, Vec<u8>, usize),
    Index(Vec<u8>),
    Checkpoint,
    /// The process dies in the write of the checkpoint.
    CrashInWrite,
    Crash,
    Discard,
    PrepareAndDiscard,
}

/// Few short keys, so that operations meet; a long one, so that keys on the heap are met too.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..3),
        1 => (0..4_u8).prop_map(|last| { let mut key = vec![1; 60]; key.push(last); key }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => key().prop_map(Action::Get),
        6 => key().prop_map(Action::Change),
        4 => key().prop_map(Action::GetOrInsert),
        6 => key().prop_map(Action::Insert),
        3 => key().prop_map(Action::InsertNew),
        3 => key().prop_map(Action::Remove),
        3 => key().prop_map(Action::Take),
        3 => (key(), key(), 0..5_usize).prop_map(|(a, b, limit)| Action::Scan(a, b, limit)),
        2 => (key(), key(), 0..5_usize).prop_map(|(a, b, limit)| Action::Drain(a, b, limit)),
        2 => key().prop_map(Action::Index),
        4 => Just(Action::Checkpoint),
        1 => Just(Action::CrashInWrite),
        1 => Just(Action::Crash),
        1 => Just(Action::Discard),
        1 => Just(Action::PrepareAndDiscard),
    ]
}

struct Twin<'d, D> {
    disk: &'d D,
    settings: CacheSettings,
    store: Option<StorePartition<Pair>>,
    now: Map,
    committed: Map,
    /// Both families as a reader of the changelog knows them.
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    index: BTreeMap<Vec<u8>, ()>,
    committed_index: BTreeMap<Vec<u8>, ()>,
    next: u64,
}

impl<'d, D: Disk> Twin<'d, D> {
    fn new(disk: &'d D, budget: usize) -> Self {
        let mut twin = Self {
            disk,
            settings: cache(budget),
            store: None,
            now: Map::new(),
            committed: Map::new(),
            changelog: BTreeMap::new(),
            index: BTreeMap::new(),
            committed_index: BTreeMap::new(),
            next: 0,
        };
        twin.restart(i64::MAX);
        twin
    }

    /// A new process; what was not committed is gone.
    fn restart(&mut self, writes: i64) {
        self.store = None;
        let backend = Faulty::over(self.disk.open(), writes);
        let store = StorePartition::open(store_id(), backend, &self.settings);
        self.store = Some(store.expect("it opens"));
        self.rolled_back();
    }

    fn rolled_back(&mut self) {
        self.now = self.committed.clone();
        self.index = self.committed_index.clone();
    }

    fn store(&mut self) -> &mut StorePartition<Pair> {
        self.store.as_mut().expect("a process runs")
    }

    fn one(&mut self) -> &mut millstream_state::Family<Number> {
        &mut self.store().families().expect("it did not fail").one
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn run(&mut self, action: &Action) {
        match action {
            Action::Get(key) => {
                let found = self.one().get(key).expect("a read").map(|number| number.0);
                assert_eq!(found, self.now.get(key).copied());
            }
            Action::Change(key) => {
                let value = self.fresh();
                let found = self.one().get_mut(key).expect("a read").map(|number| {
                    let before = number.0;
                    number.0 = value;
                    before
                });
                assert_eq!(found, self.now.get(key).copied());
                self.now.entry(key.clone()).and_modify(|number| *number = value);
            }
            Action::GetOrInsert(key) => {
                let value = self.fresh();
                let (entry, made) =
                    self.one().get_or_insert_with(key, || Number(value)).expect("a read");
                let found = (entry.0, made);
                let made = !self.now.contains_key(key);
                assert_eq!(found, (*self.now.entry(key.clone()).or_insert(value), made));
            }
            Action::Insert(key) => {
                let value = self.fresh();
                self.one().insert(key, Number(value));
                self.now.insert(key.clone(), value);
            }
            Action::InsertNew(key) if self.now.contains_key(key) => {}
            Action::InsertNew(key) => {
                // Its contract: the key has no entry. The backend may still have one that a
                // tombstone of the cache covers.
                let value = self.fresh();
                self.one().insert_new(key, Number(value));
                self.now.insert(key.clone(), value);
            }
            Action::Remove(key) => {
                self.one().remove(key);
                self.now.remove(key);
            }
            Action::Take(key) => {
                let found = self.one().take(key).expect("a read").map(|number| number.0);
                assert_eq!(found, self.now.remove(key));
            }
            Action::Scan(start, end, limit) => {
                let mut found = Vec::new();
                self.one()
                    .scan(&KeyRange::between(start, end), |key, number| {
                        found.push((key.to_vec(), number.0));
                        if found.len() > *limit {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    })
                    .expect("a scan");
                assert_eq!(found, self.range(start, end, limit + 1));
            }
            Action::Drain(start, end, limit) => {
                let drained = self.one().drain(&KeyRange::between(start, end), *limit);
                let found: Vec<_> = drained
                    .expect("a scan")
                    .into_iter()
                    .map(|(key, number)| (key.to_vec(), number.0))
                    .collect();
                assert_eq!(found, self.range(start, end, *limit));
                for (key, _) in found {
                    self.now.remove(&key);
                }
            }
            Action::Index(key) => {
                let two = &mut self.store().families().expect("it did not fail").two;
                two.insert(key, ());
                self.index.insert(key.clone(), ());
            }
            Action::Checkpoint => self.checkpoint(),
            Action::CrashInWrite => {
                self.store().prepare(CheckpointFacts::default()).expect("it did not fail");
                self.store().discard().expect("a read");
                self.rolled_back();
                self.restart(0);
                let value = self.fresh();
                self.one().insert(b"x", Number(value));
                self.store().prepare(CheckpointFacts::default()).expect("it did not fail");
                self.store().commit(Some(1)).expect_err("the process dies here");
                self.restart(i64::MAX);
            }
            Action::Crash => self.restart(i64::MAX),
            Action::Discard => {
                self.store().discard().expect("a read");
                self.rolled_back();
            }
            Action::PrepareAndDiscard => {
                self.store().prepare(CheckpointFacts::default()).expect("it did not fail");
                self.store().discard().expect("a read");
                self.rolled_back();
            }
        }
    }

    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Vec<(Vec<u8>, u64)> {
        if start >= end {
            return Vec::new();
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let range = self.now.range::<[u8], _>(bounds);
        range.take(limit).map(|(key, value)| (key.clone(), *value)).collect()
    }

    fn checkpoint(&mut self) {
        let store = self.store.as_mut().expect("a process runs");
        if let Some(prepared) = store.prepare(CheckpointFacts::default()).expect("ok") {
            assert_eq!(prepared.records().count(), prepared.len());
            for record in prepared.records() {
                match record.value {
                    _ if record.key[0] == 0 => {}
                    Some(value) => {
                        self.changelog.insert(record.key.to_vec(), value.to_vec());
                    }
                    None => {
                        self.changelog.remove(record.key);
                    }
                }
            }
        }
        store.commit(Some(1)).expect("the backend writes");
        self.committed = self.now.clone();
        self.committed_index = self.index.clone();
        assert_eq!(store.dirty_bytes(), 0);
    }

    /// Everything agrees: the store, the backend and the changelog.
    fn check(mut self) {
        let mut all = Vec::new();
        self.one()
            .scan(&KeyRange::all(), |key, number| {
                all.push((key.to_vec(), number.0));
                ControlFlow::Continue(())
            })
            .expect("a scan");
        assert_eq!(all, self.now.clone().into_iter().collect::<Vec<_>>());
        self.checkpoint();
        let mut stored = BTreeMap::new();
        let backend: Arc<dyn Backend> = Arc::clone(self.store().backend());
        for family in Pair::families() {
            let mut visit = |key: &[u8], value: &[u8]| {
                stored.insert([&[family.0], key].concat(), value.to_vec());
                ControlFlow::Continue(())
            };
            backend.scan(family, &KeyRange::all(), &mut visit).expect("a scan");
        }
        assert_eq!(stored, self.changelog, "backend and changelog differ");
        let numbers = stored.iter().filter(|(key, _)| key[0] == ONE.0).count();
        assert_eq!((numbers, stored.len() - numbers), (self.committed.len(), self.index.len()));
        drop((self.store, backend));
        assert_eq!(self.settings.budget.used(), 0, "memory that is counted and gone");
    }
}

impl Pair {
    fn families() -> [millstream_state::FamilyId; 2] {
        [ONE, crate::support::TWO]
    }
}

fn run(disk: &impl Disk, budget: usize, actions: &[Action]) {
    let mut twin = Twin::new(disk, budget);
    for action in actions {
        twin.run(action);
    }
    twin.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A budget of 0 evicts whatever may be evicted, a large one nothing.
    #[test]
    fn memory_agrees_with_its_twin(
        budget in prop_oneof![Just(0), Just(1 << 20)],
        actions in proptest::collection::vec(action(), 0..80),
    ) {
        run(&Arc::new(MemoryBackend::new()), budget, &actions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn rocks_agrees_with_its_twin(
        budget in prop_oneof![Just(0), Just(1 << 20)],
        actions in proptest::collection::vec(action(), 0..80),
    ) {
        run(&RocksDisk::new(), budget, &actions);
    }
}
