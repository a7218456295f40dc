//! What state costs: `cargo run --release -p millstream-state --example nanoseconds`.
//!
//! Prints nanoseconds per operation, the best of several rounds, for a window-like store: a
//! message key of eight characters and a start, an entry of 24 bytes.

use std::sync::Arc;

use millstream_state::{
    AnyFamily, Backend, CacheSettings, CheckpointFacts, Entry, EntryError, Family, FamilyContext,
    FamilySet, KeyRange, KeyWriter, LockHolder, MemoryBackend, MemoryBudget, MessageKey,
    RestorePlan, RestoreStep, Restorer, RocksMemory, RocksOptions, RocksStorage, SourceOffsets,
    Storage, Store, StoreId, StoreLayout, StorePartition, changelog, families,
};
use millstream_types::{
    BatchBuilder, Clock, RecordBatch, SystemClock, TimestampType, TopicPartition,
};

#[derive(Default)]
struct Sum {
    total: f64,
    count: u64,
    last: i64,
}

impl Entry for Sum {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(1);
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let number = |at: usize| {
            let number = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
            number.map(u64::from_le_bytes).ok_or_else(|| EntryError("cut off".into()))
        };
        Ok(Self { total: f64::from_bits(number(1)?), count: number(9)?, last: number(17)? as i64 })
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

struct Windows {
    windows: Family<Sum>,
}

impl FamilySet for Windows {
    const LAYOUT: StoreLayout = StoreLayout { kind: "windows", families: &[families::WINDOWS] };

    fn open(context: &FamilyContext) -> Self {
        Self { windows: context.family(families::WINDOWS) }
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyFamily)) {
        visit(&mut self.windows);
    }
}

/// Nanoseconds of each of `operations`, the best of `rounds`.
fn best(rounds: usize, operations: usize, mut round: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let start = SystemClock.monotonic();
        round();
        best = best.min((SystemClock.monotonic() - start).as_nanos() as f64);
    }
    best / operations as f64
}

fn key<'b>(buffer: &'b mut Vec<u8>, name: &str) -> &'b [u8] {
    KeyWriter::new(buffer).message_key(MessageKey::Text(name)).timestamp(1_357_016_400_000).key()
}

fn open(backend: Arc<dyn Backend>, budget: usize) -> StorePartition<Windows> {
    let cache = CacheSettings { budget: MemoryBudget::new(budget), hash_seed: 7 };
    StorePartition::open(id(), backend, &cache).expect("it opens")
}

fn id() -> StoreId {
    StoreId::new("orders", "tumbling_window_3600000_sum", 0)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{:08}", n * 7919 % 100_000_000)).collect()
}

/// The same names in an order that is not the one of insertion.
fn jumbled(names: &[String]) -> Vec<&str> {
    (0..names.len()).map(|n| names[n * 7919 % names.len()].as_str()).collect()
}

fn hits(count: usize) {
    let names = names(count);
    let order = jumbled(&names);
    let mut store = open(Arc::new(MemoryBackend::new()), 1 << 30);
    let mut buffer = Vec::new();
    let windows = &mut store.families().expect("it works").windows;
    for name in &names {
        windows.insert_new(key(&mut buffer, name), Sum::default());
    }
    let rounds = (4_000_000 / count).clamp(5, 200);
    let touch = best(rounds, count, || {
        for name in &order {
            let key = key(&mut buffer, name);
            let entry = windows.get_mut(key).expect("a read").expect("it is cached");
            entry.count += 1;
            entry.total += 1.5;
        }
    });
    let build = best(rounds, count, || {
        for name in &order {
            std::hint::black_box(key(&mut buffer, name));
        }
    });
    println!(
        "get_mut of a cached entry, {count:>9} keys: {touch:6.1} ns, of it building the key {build:4.1} ns"
    );
}

fn checkpoints(label: &str, backend: &Arc<dyn Backend>, count: usize) -> Vec<RecordBatch> {
    let names = names(count);
    let mut store = open(Arc::clone(backend), 1 << 30);
    let mut buffer = Vec::new();
    let (mut prepare, mut produce, mut commit) = (f64::MAX, f64::MAX, f64::MAX);
    let mut log = Vec::new();
    let mut next = 0;
    for _ in 0..5 {
        let windows = &mut store.families().expect("it works").windows;
        for name in &names {
            let make = Sum::default;
            windows.get_or_insert_with(key(&mut buffer, name), make).expect("a read").0.count += 1;
        }
        let covered: SourceOffsets = [(TopicPartition::new("orders", 0), 1)].into_iter().collect();
        let facts = CheckpointFacts { covered, written_ms: 1 };
        prepare = prepare.min(best(1, count, || {
            store.prepare(facts.clone()).expect("it works");
        }));
        let prepared = store.prepared().expect("it was prepared");
        let mut batch = BatchBuilder::new(TopicPartition::new("changelog", 0));
        produce = produce.min(best(1, count, || {
            for record in prepared.records() {
                let headers = changelog::ChangelogRecord::HEADERS;
                let kind = TimestampType::CreateTime;
                batch.push(next, 1, kind, -1, Some(record.key), record.value, headers);
                next += 1;
            }
        }));
        log.push(batch.finish());
        commit = commit.min(best(1, count, || store.commit(Some(next)).expect("a write")));
    }
    println!(
        "checkpoint of {count} entries, {label}: prepare {prepare:.0} ns, copy for the changelog \
         {produce:.0} ns, local write {commit:.0} ns per entry"
    );
    log
}

fn cold(backend: &Arc<dyn Backend>, count: usize) {
    let names = names(count);
    let order = jumbled(&names);
    let mut buffer = Vec::new();
    let mut store = open(Arc::clone(backend), 1 << 30);
    let windows = &mut store.families().expect("it works").windows;
    let found = best(1, count, || {
        for name in &order {
            windows.get_mut(key(&mut buffer, name)).expect("a read").expect("it is stored");
        }
    });
    let absent: Vec<String> = (0..count).map(|n| format!("no such {n}")).collect();
    let missing = best(1, count, || {
        for name in &absent {
            assert!(windows.get(key(&mut buffer, name)).expect("a read").is_none());
        }
    });
    let mut seen = 0;
    let mut scanning = open(Arc::clone(backend), 1 << 30);
    let windows = &mut scanning.families().expect("it works").windows;
    let scan = best(3, count, || {
        seen = 0;
        windows
            .scan(&KeyRange::all(), |_, _| {
                seen += 1;
                std::ops::ControlFlow::Continue(())
            })
            .expect("a scan");
    });
    assert_eq!(seen, count);
    println!(
        "rocksdb, {count} keys: miss that is stored {found:.0} ns, that is not {missing:.0} ns; scan {scan:.0} ns per entry"
    );
}

fn restore(backend: Arc<dyn Backend>, log: &[RecordBatch]) {
    let records: usize = log.iter().map(RecordBatch::len).sum();
    let last = log.last().expect("a log");
    let to = last.get(last.len() - 1).offset() + 1;
    let plan = RestorePlan::Rebuild { from: 0, to, reason: millstream_state::RebuildReason::New };
    let committed: SourceOffsets = [(TopicPartition::new("orders", 0), 1)].into_iter().collect();
    let cost = best(1, records, || {
        let backend = Arc::clone(&backend);
        let restorer = Restorer::new(id(), Windows::LAYOUT, backend, &plan, committed.clone(), 1);
        let mut restorer = restorer.expect("a restore").expect("something to do");
        while let RestoreStep::Read { from, to } = restorer.step() {
            for batch in log {
                let end = batch.get(batch.len() - 1).offset() + 1;
                if end > from && batch.get(0).offset() < to {
                    restorer.feed(Some(batch), end).expect("ours");
                    if restorer.step() != (RestoreStep::Read { from: end, to }) {
                        break;
                    }
                }
            }
        }
        restorer.complete(None).expect("a write");
    });
    println!("restore into rocksdb: {cost:.0} ns per changelog record ({records} records)");
}

fn main() {
    for count in [100, 10_000, 100_000, 1_000_000] {
        hits(count);
    }
    let directory =
        std::env::temp_dir().join(format!("millstream-nanoseconds-{}", std::process::id()));
    let storage = |name: &str| {
        let options = RocksOptions::default();
        let memory = RocksMemory::new(1 << 30);
        RocksStorage::new(directory.join(name), "group", options, memory, LockHolder::default())
    };
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    checkpoints("memory", &memory, 200_000);
    let rocks = storage("a").open(&id(), &Windows::LAYOUT).expect("a new store");
    checkpoints("rocksdb", &rocks, 1_000);
    drop(rocks);
    let rocks = storage("b").open(&id(), &Windows::LAYOUT).expect("a new store");
    let log = checkpoints("rocksdb", &rocks, 200_000);
    cold(&rocks, 200_000);
    drop(rocks);
    restore(storage("c").open(&id(), &Windows::LAYOUT).expect("a new store"), &log);
    std::fs::remove_dir_all(&directory).expect("it was made here");
}
