//! Directories, locks and damage: what only RocksDB has.

use std::fs;
use std::sync::Arc;

use millstream_state::{
    Batch, CheckpointMark, FamilySet, LockHolder, RocksCompression, RocksMemory, RocksOptions,
    RocksStorage, StateError, Storage, StoreId, StoreLayout, StoreMark, UserFamilies,
};

use crate::support::{Disk, ONE, Pair, RocksDisk, small_options, store_id};

fn mark(sequence: u64) -> StoreMark {
    StoreMark::Checkpoint(CheckpointMark { sequence, ..Default::default() })
}

/// ST-20: the path says group, store name, stream id and partition.
#[test]
fn st_20_path() {
    let disk = RocksDisk::new();
    drop(disk.open());
    let path = disk.directory.path().join("group/tumbling_window_10_sum/orders/3");
    assert_eq!(disk.storage.path(&store_id()), path);
    assert!(path.join("1").is_dir());
    // A name cannot lead out of the state directory.
    let outside = disk.storage.path(&StoreId::new("../../x", "..", 0));
    assert_eq!(outside, disk.directory.path().join("group/%2e./%2e.%2f..%2fx/0"));
}

/// ST-22: one process at a time, and it is named; another partition is free.
#[test]
fn st_22_lock() {
    let disk = RocksDisk::new();
    let first = disk.open();
    let error = disk.storage.open(&store_id(), &Pair::LAYOUT).expect_err("it is open");
    let StateError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(holder.pid, Some(std::process::id()));
    disk.storage.destroy(&store_id()).expect_err("it is open");
    disk.storage.clear().expect_err("it is open");
    let other = StoreId { partition: 4, ..store_id() };
    disk.storage.open(&other, &Pair::LAYOUT).expect("another partition");
    // A rebuild that is under way keeps the lock too.
    let rebuild = first.rebuild().expect("a new one");
    drop(first);
    assert!(disk.storage.open(&store_id(), &Pair::LAYOUT).expect_err("open").is_retriable());
    drop(rebuild);
    disk.open();
}

#[test]
fn a_promoted_store_is_what_an_open_finds() {
    let disk = RocksDisk::new();
    let old = disk.open();
    old.write(&Batch::new(), &mark(1)).expect("a write");
    let new = old.rebuild().expect("a new one");
    new.write(&Batch::new(), &mark(2)).expect("a write");
    new.promote().expect("a change of place");
    let path = disk.storage.path(&store_id());
    assert!(path.join("1").is_dir() && path.join("2").is_dir());
    drop(old);
    assert!(!path.join("1").exists(), "what was replaced is deleted");
    drop(new);
    let third = disk.open();
    assert_eq!(third.mark().expect("a mark"), mark(2));
    let fourth = third.rebuild().expect("a third one");
    fourth.write(&Batch::new(), &mark(3)).expect("a write");
    fourth.promote().expect("a change of place");
    drop((third, fourth));
    assert_eq!(disk.open().mark().expect("a mark"), mark(3));
}

/// ST-23: damage has its own error, and the store can be made anew.
#[test]
fn st_23_damage() {
    let disk = RocksDisk::new();
    let backend = disk.open();
    let mut batch = Batch::new();
    for key in 0..20_000_u32 {
        batch.put(ONE, &key.to_be_bytes(), &[7; 32]);
    }
    backend.write(&batch, &mark(1)).expect("a write");
    drop(backend);
    let database = disk.storage.path(&store_id()).join("1");
    for entry in fs::read_dir(&database).expect("the directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST") {
            fs::write(entry.path(), b"not a manifest").expect("it can be written");
        }
    }
    let error = disk.storage.open(&store_id(), &Pair::LAYOUT).expect_err("it is damaged");
    assert_eq!(error.exception_name(), "RocksDBCorruptedError", "{error}");
    assert!(error.to_string().contains("on_corrupted_recreate"), "{error}");
    disk.storage.destroy(&store_id()).expect("nobody has it");
    assert!(!disk.storage.path(&store_id()).exists());
    assert_eq!(disk.open().mark().expect("a mark"), StoreMark::Empty);
}

#[test]
fn another_kind_of_store_is_refused() {
    let disk = RocksDisk::new();
    drop(disk.open());
    let error = disk.storage.open(&store_id(), &UserFamilies::LAYOUT).expect_err("not that kind");
    assert_eq!(error.exception_name(), "IncompatibleStateStoreError", "{error}");
    // More families than before is how a kind of store grows.
    const GROWN: StoreLayout = StoreLayout {
        kind: "test",
        families: &[
            millstream_state::families::WINDOW_KEYS,
            ONE,
            millstream_state::families::WINDOW_TIMES,
        ],
    };
    disk.storage.open(&store_id(), &GROWN).expect("it grows");
}

/// A-37, ST-31: all stores of the group go, and nothing else.
#[test]
fn st_31_clear() {
    let disk = RocksDisk::new();
    for partition in 0..3 {
        let store = StoreId { partition, ..store_id() };
        disk.storage.open(&store, &Pair::LAYOUT).expect("new");
    }
    let other_group = RocksStorage::new(
        disk.directory.path(),
        "other",
        small_options(),
        RocksMemory::new(1 << 20),
        LockHolder::default(),
    );
    drop(other_group.open(&store_id(), &Pair::LAYOUT).expect("new"));
    disk.storage.clear().expect("nothing is open");
    for partition in 0..3 {
        let store = StoreId { partition, ..store_id() };
        assert!(!disk.storage.path(&store).exists());
    }
    assert!(other_group.path(&store_id()).exists());
    disk.storage.clear().expect("nothing is there");
    disk.storage.destroy(&store_id()).expect("nothing is there");
}

/// ST-30: every compression opens and reads back; directories for logs are used.
#[test]
fn st_30_options() {
    use RocksCompression::{Bz2, Lz4, Lz4hc, None, Snappy, Zlib, Zstd};
    for compression in [None, Snappy, Zlib, Bz2, Lz4, Lz4hc, Zstd] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let wal_dir = directory.path().join("wal");
        let options = RocksOptions {
            compression,
            write_buffer_size: 64 << 10,
            bloom_filter_bits_per_key: 0,
            enable_pipelined_write: true,
            wal_dir: Some(wal_dir.clone()),
            db_log_dir: Some(directory.path().join("log")),
            ..RocksOptions::default()
        };
        let storage = RocksStorage::new(
            directory.path().join("state"),
            "group",
            options,
            RocksMemory::new(8 << 20),
            LockHolder::default(),
        );
        let backend = storage.open(&store_id(), &Pair::LAYOUT).expect("new");
        for chunk in 0..20_u32 {
            let mut batch = Batch::new();
            for key in 0..1000_u32 {
                batch.put(ONE, &(chunk * 1000 + key).to_be_bytes(), &[chunk as u8; 64]);
            }
            backend.write(&batch, &mark(u64::from(chunk))).expect("a write");
        }
        drop(backend);
        let backend = storage.open(&store_id(), &Pair::LAYOUT).expect("it was closed");
        let mut value = Vec::new();
        for key in [0_u32, 9_999, 19_999] {
            assert!(backend.get(ONE, &key.to_be_bytes(), &mut value).expect("a read"));
            assert_eq!(value, [(key / 1000) as u8; 64]);
        }
        assert!(backend.stats().disk_bytes > 0, "{:?}", backend.stats());
        let wal = wal_dir.join("group/tumbling_window_10_sum/orders/3/1");
        assert!(fs::read_dir(wal).expect("its own folder").count() > 0);
        drop(Arc::clone(&backend));
    }
}
