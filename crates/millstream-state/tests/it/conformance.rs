//! What every backend must do, and every store on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_state::{
    Backend, Batch, CheckpointFacts, CheckpointMark, FamilyId, KeyRange, MemoryBackend,
    SourceOffsets, StateError, Store, StoreMark, StorePartition,
};
use millstream_types::TopicPartition;

use crate::support::{Disk, Faulty, Number, ONE, Pair, RocksDisk, TWO, cache, store_id};

macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $name() { super::$name(&std::sync::Arc::new(super::MemoryBackend::new())); })*
        }
        mod rocks {
            $(#[test] fn $name() { super::$name(&super::RocksDisk::new()); })*
        }
    };
}

on_every_backend!(
    batches_are_applied_in_order,
    scans_are_ordered_and_bounded,
    the_mark_survives,
    a_rebuild_takes_the_place_of_the_old_store,
    a_checkpoint_is_what_a_new_process_finds,
    discard_returns_to_the_checkpoint,
    st_04_a_failed_store_refuses_everything,
    a_failed_local_write_fails_the_store,
    nothing_changed_means_nothing_to_write,
    what_came_and_went_leaves_no_trace,
    clean_entries_make_room,
    a_broken_entry_is_named,
    an_unfinished_restore_is_not_opened,
);

fn pairs(backend: &dyn Backend, family: FamilyId, range: &KeyRange) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    backend.scan(family, range, &mut visit).expect("a scan");
    found
}

fn keys(backend: &dyn Backend, range: &KeyRange) -> Vec<u8> {
    pairs(backend, ONE, range).into_iter().map(|(key, _)| key[0]).collect()
}

fn mark(sequence: u64) -> StoreMark {
    StoreMark::Checkpoint(CheckpointMark { sequence, ..Default::default() })
}

fn facts(next: i64) -> CheckpointFacts {
    let covered: SourceOffsets = [(TopicPartition::new("orders", 3), next)].into_iter().collect();
    CheckpointFacts { covered, written_ms: next * 1000 }
}

fn open(backend: Arc<dyn Backend>) -> StorePartition<Pair> {
    StorePartition::open(store_id(), backend, &cache(1 << 20)).expect("it opens")
}

fn checkpoint(store: &mut StorePartition<Pair>, next: i64) {
    store.prepare(facts(next)).expect("it was not failed").expect("something changed");
    store.commit(Some(next * 10)).expect("the backend takes it");
}

fn batches_are_applied_in_order(disk: &impl Disk) {
    let backend = disk.open();
    let mut batch = Batch::new();
    batch.put(ONE, b"a", b"1");
    batch.put(ONE, b"b", b"1");
    batch.delete(ONE, b"a");
    batch.put(TWO, b"a", b"other family");
    batch.put(ONE, b"b", b"2");
    batch.put(ONE, b"", b"the empty key");
    backend.write(&batch, &mark(1)).expect("a write");

    let mut out = b"old".to_vec();
    assert!(!backend.get(ONE, b"a", &mut out).expect("a read"));
    assert!(out.is_empty());
    assert!(backend.get(ONE, b"b", &mut out).expect("a read"));
    assert_eq!(out, b"2");
    assert!(backend.get(TWO, b"a", &mut out).expect("a read"));
    assert_eq!(out, b"other family");
    assert!(backend.get(ONE, b"", &mut out).expect("a read"));
}

fn scans_are_ordered_and_bounded(disk: &impl Disk) {
    let backend = disk.open();
    let mut batch = Batch::new();
    for key in [b"\xff", b"\x00", b"\x7f", b"\x05", b"\x04"] {
        batch.put(ONE, key, b"");
    }
    backend.write(&batch, &mark(1)).expect("a write");
    assert_eq!(keys(&*backend, &KeyRange::all()), [0, 4, 5, 0x7f, 0xff]);
    assert_eq!(keys(&*backend, &KeyRange::between(b"\x04", b"\x7f")), [4, 5]);
    assert_eq!(keys(&*backend, &KeyRange::from(b"\x06")), [0x7f, 0xff]);
    assert_eq!(keys(&*backend, &KeyRange::to(b"\x05")), [0, 4]);
    assert_eq!(keys(&*backend, &KeyRange::prefix(b"\xff")), [0xff]);
    assert!(keys(&*backend, &KeyRange::between(b"\x05", b"\x05")).is_empty());
    assert!(keys(&*backend, &KeyRange::between(b"\x06", b"\x05")).is_empty());
    let mut seen = 0;
    let mut first = |_: &[u8], _: &[u8]| {
        seen += 1;
        ControlFlow::Break(())
    };
    backend.scan(ONE, &KeyRange::all(), &mut first).expect("a scan");
    assert_eq!(seen, 1);
}

fn the_mark_survives(disk: &impl Disk) {
    let backend = disk.open();
    assert_eq!(backend.mark().expect("a mark"), StoreMark::Empty);
    backend.write(&Batch::new(), &mark(7)).expect("a write");
    drop(backend);
    assert_eq!(disk.open().mark().expect("a mark"), mark(7));
}

fn a_rebuild_takes_the_place_of_the_old_store(disk: &impl Disk) {
    let old = disk.open();
    let mut batch = Batch::new();
    batch.put(ONE, b"old", b"");
    old.write(&batch, &mark(1)).expect("a write");

    let given_up = old.rebuild().expect("a new one");
    given_up.write(&Batch::new(), &mark(8)).expect("a write");
    drop(given_up);
    assert_eq!(old.mark().expect("a mark"), mark(1));

    let new = old.rebuild().expect("a new one");
    assert_eq!(new.mark().expect("a mark"), StoreMark::Empty);
    assert!(keys(&*new, &KeyRange::all()).is_empty());
    let mut batch = Batch::new();
    batch.put(ONE, b"new", b"");
    new.write(&batch, &mark(2)).expect("a write");
    assert_eq!(old.mark().expect("a mark"), mark(1));
    new.promote().expect("a change of place");
    drop(old);
    assert_eq!(keys(&*new, &KeyRange::all()), [b'n']);
    assert_eq!(new.mark().expect("a mark"), mark(2));
}

fn a_checkpoint_is_what_a_new_process_finds(disk: &impl Disk) {
    let mut store = open(disk.open());
    assert_eq!(store.mark(), None);
    let families = store.families().expect("it works");
    families.one.insert(b"a", Number(1));
    families.one.insert(b"b", Number(2));
    families.two.insert(b"x", ());
    checkpoint(&mut store, 5);
    let families = store.families().expect("it works");
    families.one.remove(b"a");
    families.one.get_mut(b"b").expect("a read").expect("it is there").0 = 3;
    checkpoint(&mut store, 6);
    // This is lost with the process.
    store.families().expect("it works").one.insert(b"c", Number(9));
    drop(store);

    let mut store = open(disk.open());
    let mark = store.mark().expect("a checkpoint").clone();
    assert_eq!((mark.changelog_offset, mark.written_ms), (Some(60), 6000));
    // The second checkpoint of the first owner.
    assert_eq!(mark.sequence, (1 << 32) + 2);
    assert_eq!(mark.covered, facts(6).covered);
    let families = store.families().expect("it works");
    assert_eq!(families.one.get(b"a").expect("a read"), None);
    assert_eq!(families.one.get(b"b").expect("a read"), Some(&Number(3)));
    assert_eq!(families.one.get(b"c").expect("a read"), None);
    assert!(families.two.contains(b"x").expect("a read"));
}

fn discard_returns_to_the_checkpoint(disk: &impl Disk) {
    let mut store = open(disk.open());
    let families = store.families().expect("it works");
    families.one.insert(b"kept", Number(1));
    families.one.insert(b"removed", Number(2));
    assert_eq!(store.observe(50), 50);
    checkpoint(&mut store, 1);
    for prepared in [false, true] {
        let families = store.families().expect("it works");
        // A typed entry that was changed in place must not stay changed in the cache.
        families.one.get_mut(b"kept").expect("a read").expect("it is there").0 = 100;
        families.one.remove(b"removed");
        families.one.insert(b"new", Number(3));
        families.two.insert_new(b"new", ());
        assert_eq!(store.observe(70), 70);
        assert!(store.dirty_bytes() > 0);
        if prepared {
            assert_eq!(store.prepare(facts(2)).expect("ok").expect("changes").len(), 5);
        }
        store.discard().expect("the backend reads");
        assert_eq!(store.dirty_bytes(), 0);
        assert_eq!(store.observe(60), 60);
        let families = store.families().expect("it works");
        assert_eq!(families.one.get(b"kept").expect("a read"), Some(&Number(1)));
        assert_eq!(families.one.get(b"removed").expect("a read"), Some(&Number(2)));
        assert_eq!(families.one.get(b"new").expect("a read"), None);
        assert!(!families.two.contains(b"new").expect("a read"));
    }
}

/// ST-04: after a failure every access fails, and so does the checkpoint; CK-03 names the error.
fn st_04_a_failed_store_refuses_everything(disk: &impl Disk) {
    let mut store = open(disk.open());
    store.families().expect("it works").one.insert(b"a", Number(1));
    store.fail("a datetime cannot be encoded");
    store.fail("a later error");
    let Err(error) = store.families() else { panic!("it failed") };
    assert_eq!(error.exception_name(), "StateTransactionError");
    assert!(error.to_string().contains("a datetime cannot be encoded"), "{error}");
    let error = store.prepare(facts(1)).expect_err("it failed");
    assert_eq!(error.exception_name(), "StoreTransactionFailed");
    assert!(error.to_string().contains(&store_id().to_string()), "{error}");
    store.discard().expect("the backend reads");
    assert_eq!(store.families().expect("it works").one.get(b"a").expect("a read"), None);
}

fn a_failed_local_write_fails_the_store(disk: &impl Disk) {
    let mut store = open(Faulty::over(disk.open(), 0));
    store.families().expect("it works").one.insert(b"a", Number(1));
    store.prepare(facts(1)).expect("ok").expect("changes");
    store.commit(Some(2)).expect_err("the disk is full");
    assert!(store.failure().expect("it failed").contains("killed by the test"));
    assert!(matches!(store.families(), Err(StateError::TransactionAccess { .. })));
    drop(store);
    assert_eq!(disk.open().mark().expect("a mark"), StoreMark::Empty);
}

fn nothing_changed_means_nothing_to_write(disk: &impl Disk) {
    let mut store = open(Faulty::over(disk.open(), 0));
    store.families().expect("it works").one.get(b"a").expect("a read");
    assert!(store.prepare(facts(1)).expect("ok").is_none());
    store.commit(None).expect("nothing is written");
    // The store can be changed again.
    store.families().expect("it works").one.insert(b"a", Number(1));
}

/// An entry that is known to be new and is removed before the checkpoint is neither in the
/// changelog nor on disk; one that may be in the backend gets a tombstone (ST-03).
fn what_came_and_went_leaves_no_trace(disk: &impl Disk) {
    let mut store = open(disk.open());
    let families = store.families().expect("it works");
    families.one.insert_new(b"known", Number(1));
    families.one.get_or_insert_with(b"asked", || Number(1)).expect("a read");
    families.one.remove(b"known");
    assert_eq!(families.one.take(b"asked").expect("a read"), Some(Number(1)));
    assert!(store.prepare(facts(1)).expect("ok").is_none());
    store.families().expect("it works").one.remove(b"unknown");
    let prepared = store.prepare(facts(1)).expect("ok").expect("a tombstone");
    let records: Vec<_> = prepared.records().collect();
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].key, records[0].value), (&b"\x11unknown"[..], None));
    assert_eq!(records[1].key, b"\0\x01");
}

fn clean_entries_make_room(disk: &impl Disk) {
    let settings = cache(64 << 10);
    let mut store =
        StorePartition::<Pair>::open(store_id(), disk.open(), &settings).expect("it opens");
    for key in 0..20_000_u32 {
        let families = store.families().expect("it works");
        families.one.insert(&key.to_be_bytes(), Number(u64::from(key)));
        if key % 100 == 99 {
            checkpoint(&mut store, i64::from(key));
            assert!(store.stats().bytes < 100 << 10, "{:?}", store.stats());
        }
    }
    // Dirty entries stay whatever the limit.
    for key in 0..5_000_u32 {
        let families = store.families().expect("it works");
        let entry = families.one.get_mut(&key.to_be_bytes()).expect("a read").expect("stored");
        assert_eq!(entry.0, u64::from(key));
        entry.0 += 1;
    }
    let stats = store.stats();
    assert!(stats.dirty == 5_000 && stats.cached >= 5_000, "{stats:?}");
    checkpoint(&mut store, 1);
    assert!(store.stats().bytes <= 80 << 10, "{:?}", store.stats());
    for key in 0..20_000_u32 {
        let families = store.families().expect("it works");
        let expected = u64::from(key) + u64::from(key < 5_000);
        let entry = families.one.get(&key.to_be_bytes()).expect("a read");
        assert_eq!(entry, Some(&Number(expected)));
    }
    drop(store);
    assert_eq!(settings.budget.used(), 0);
}

fn a_broken_entry_is_named(disk: &impl Disk) {
    let backend = disk.open();
    let mut batch = Batch::new();
    batch.put(ONE, b"ab", b"\x01\0short");
    backend.write(&batch, &mark(1)).expect("a write");
    let mut store = open(backend);
    let families = store.families().expect("it works");
    let error = families.one.get(b"ab").expect_err("it does not decode").to_string();
    assert!(error.contains("0x11") && error.contains("6162"), "{error}");
    families.one.scan(&KeyRange::all(), |_, _| ControlFlow::Continue(())).expect_err("it breaks");
    families.one.drain(&KeyRange::all(), 10).expect_err("it breaks");
}

fn an_unfinished_restore_is_not_opened(disk: &impl Disk) {
    let backend = disk.open();
    let restoring = StoreMark::Restoring { position: 5, target: CheckpointMark::default() };
    backend.write(&Batch::new(), &restoring).expect("a write");
    let result = StorePartition::<Pair>::open(store_id(), backend, &cache(1 << 20));
    let Err(error) = result else { panic!("it is not a checkpoint") };
    assert!(matches!(error, StateError::Incompatible { .. }), "{error}");
}

#[test]
#[should_panic(expected = "between prepare and the end of the checkpoint")]
fn a_prepared_store_must_not_change() {
    let mut store = open(Arc::new(MemoryBackend::new()));
    store.families().expect("it works").one.insert(b"a", Number(1));
    store.prepare(facts(1)).expect("ok").expect("changes");
    store.families().expect("it works").one.insert(b"b", Number(1));
}
