//! SIGKILL of a process that writes checkpoints: what is on disk is always one of them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use millstream_state::{
    Backend, CheckpointFacts, CheckpointMark, FamilySet, LockHolder, RocksMemory, RocksStorage,
    Storage, Store, StorePartition,
};

use crate::support::{Number, Pair, cache, small_options, store_id};

const DIRECTORY: &str = "MILLSTREAM_STATE_KILL_DIRECTORY";
const KEYS: u64 = 500;
/// Keys per checkpoint.
const STEP: u64 = 37;

fn storage(directory: &Path) -> RocksStorage {
    let holder = LockHolder { pid: Some(std::process::id()), host: None };
    RocksStorage::new(directory, "group", small_options(), RocksMemory::new(4 << 20), holder)
}

fn open(storage: &RocksStorage) -> StorePartition<Pair> {
    let backend: Arc<dyn Backend> =
        storage.open(&store_id(), &Pair::LAYOUT).expect("the lock went with the process");
    StorePartition::open(store_id(), backend, &cache(16 << 10)).expect("it is a checkpoint")
}

/// Checkpoint `n` sets `STEP` numbers to `n`; the other family has the keys whose number is odd.
fn change(store: &mut StorePartition<Pair>, n: u64) {
    let families = store.families().expect("it works");
    for i in 0..STEP {
        let key = ((n * STEP + i) % KEYS).to_be_bytes();
        families.one.insert(&key, Number(n));
        if n % 2 == 1 {
            families.two.insert(&key, ());
        } else {
            families.two.remove(&key);
        }
    }
}

/// The number that each key has after checkpoint `last`.
fn expected(last: u64) -> Vec<Option<u64>> {
    let mut numbers = vec![None; KEYS as usize];
    for n in 1..=last {
        for i in 0..STEP {
            numbers[((n * STEP + i) % KEYS) as usize] = Some(n);
        }
    }
    numbers
}

/// The number of a checkpoint, which [`child`] gives as its place in a changelog.
fn number(mark: &CheckpointMark) -> u64 {
    mark.changelog_offset.expect("it was given") as u64
}

#[test]
#[ignore = "the process that a_killed_process_leaves_a_checkpoint starts and kills"]
fn child() {
    let directory = std::env::var_os(DIRECTORY).expect("started by its parent");
    let mut store = open(&storage(Path::new(&directory)));
    let first = store.mark().map_or(0, number) + 1;
    for n in first.. {
        change(&mut store, n);
        let prepared = store.prepare(CheckpointFacts::default()).expect("it works");
        assert!(prepared.is_some());
        store.commit(Some(n as i64)).expect("a write");
        println!("written {n}");
    }
}

#[test]
fn a_killed_process_leaves_a_checkpoint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut last = 0;
    for round in 1..=6 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["kill::child", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a child");
        let mut seen = 0;
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        while seen < last + 50 * round {
            let line = lines.next().expect("the child writes on").expect("a line");
            if let Some((_, number)) = line.split_once("written ") {
                seen = number.parse().expect("a number");
            }
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("it is dead");

        let mut store = open(&storage(directory.path()));
        let mark = store.mark().expect("a checkpoint").clone();
        let found = number(&mark);
        assert!(found >= seen, "an acknowledged checkpoint is lost: {mark:?}, {seen}");
        let families = store.families().expect("it works");
        for (key, number) in expected(found).into_iter().enumerate() {
            let key = (key as u64).to_be_bytes();
            let stored = families.one.get(&key).expect("a read").map(|number| number.0);
            assert_eq!(stored, number);
            let odd = number.is_some_and(|number| number % 2 == 1);
            assert_eq!(families.two.contains(&key).expect("a read"), odd);
        }
        last = found;
    }
}
