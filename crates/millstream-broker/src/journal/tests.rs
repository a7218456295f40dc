use proptest::prelude::*;

use super::*;
use crate::disk::MemoryDisk;

fn open(disk: &MemoryDisk) -> Journal {
    try_open(disk, Durability::Cached).unwrap()
}

fn try_open(disk: &MemoryDisk, durability: Durability) -> io::Result<Journal> {
    Journal::open(Arc::new(disk.clone()), Path::new("/d"), "meta", durability)
}

fn three_commits(disk: &MemoryDisk, durability: Durability) {
    let mut journal = try_open(disk, durability).unwrap();
    for key in [b"a", b"b", b"c"] {
        journal.commit(vec![(key.to_vec(), Some(vec![7; 50]))]).unwrap();
    }
}

#[test]
fn damage_in_the_middle_is_refused_and_nothing_is_cut() {
    let disk = MemoryDisk::default();
    three_commits(&disk, Durability::Cached);
    let length = disk.files()[0].1;
    disk.corrupt(Path::new("/d/meta.0"), |bytes| bytes[length / 3 + 70] ^= 1);
    let error = try_open(&disk, Durability::Cached).err().expect("it is damaged").to_string();
    let advice = format!("truncate -s {} /d/meta.0", length / 3);
    assert!(error.contains(&advice), "{error}");
    assert_eq!(disk.files()[0].1, length);
    // Pages that nobody waited for may be missing anywhere after a power loss.
    let journal = try_open(&disk, Durability::CachedAndLost).unwrap();
    assert_eq!(entries(&journal).len(), 1);

    // The last commit broken: that is a torn tail.
    let disk = MemoryDisk::default();
    three_commits(&disk, Durability::Cached);
    disk.corrupt(Path::new("/d/meta.0"), |bytes| bytes[length - 1] ^= 1);
    assert_eq!(entries(&open(&disk)).len(), 2);
}

/// A stop that finds nothing to write vouches for the file: what the start has cut off must not be
/// left to chance.
#[test]
fn what_a_start_cuts_off_does_not_come_back() {
    let disk = MemoryDisk::default();
    three_commits(&disk, Durability::Synced);
    let length = disk.files()[0].1;
    disk.corrupt(Path::new("/d/meta.0"), |bytes| bytes[..length / 3].fill(0));
    disk.file(Path::new("/d/meta.0")).sync().unwrap();
    let mut journal = try_open(&disk, Durability::CachedAndLost).unwrap();
    assert!(entries(&journal).is_empty());
    journal.sync().unwrap();
    disk.power_loss();
    assert!(entries(&try_open(&disk, Durability::Cached).unwrap()).is_empty());
}

#[test]
fn a_synced_commit_survives_a_power_loss() {
    for (durability, left) in [(Durability::Synced, 3), (Durability::Cached, 0)] {
        let disk = MemoryDisk::default();
        three_commits(&disk, durability);
        disk.power_loss();
        assert_eq!(entries(&try_open(&disk, durability).unwrap()).len(), left);
    }
}

#[test]
fn a_commit_that_could_not_be_synced_is_not_found_later() {
    let disk = MemoryDisk::default();
    three_commits(&disk, Durability::Synced);
    let mut journal = try_open(&disk, Durability::Synced).unwrap();
    disk.fail_syncs();
    journal.commit(vec![(b"d".to_vec(), Some(vec![1]))]).unwrap_err();
    assert_eq!(journal.get(b"d"), None);
    disk.heal();
    assert_eq!(entries(&open(&disk)).len(), 3);
}

fn entries(journal: &Journal) -> Vec<(Vec<u8>, Vec<u8>)> {
    journal.scan(b"").map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

#[test]
fn a_rewrite_keeps_every_entry_and_one_file() {
    let disk = MemoryDisk::default();
    let mut journal = open(&disk);
    for round in 0..40u32 {
        let changes =
            (0..100u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![round as u8; 400]))).collect();
        journal.commit(changes).unwrap();
    }
    assert!(journal.number > 0, "no rewrite happened");
    assert_eq!(disk.files().len(), 1);
    let reopened = open(&disk);
    assert_eq!(entries(&reopened), entries(&journal));
    assert_eq!(reopened.get(&7u32.to_be_bytes()), Some(&[39u8; 400][..]));
}

proptest! {
    /// After a crash at any change, torn or not, the map is what some prefix of the commits
    /// made of it, and all commits that were acknowledged are in it.
    #[test]
    fn a_crash_loses_no_acknowledged_commit(
        commits in proptest::collection::vec(
            proptest::collection::vec((0u8..6, proptest::option::of(0u8..4)), 1..4), 1..20),
        fail_at in 1u64..25, kept in 0usize..200,
    ) {
        let disk = MemoryDisk::default();
        let mut journal = open(&disk);
        disk.fail_from(fail_at, kept);
        let mut model = BTreeMap::new();
        let mut in_doubt = None;
        for commit in commits {
            let changes: Vec<Change> = commit
                .iter()
                .map(|(key, value)| (vec![*key], value.map(|value| vec![value; 30])))
                .collect();
            let mut next = model.clone();
            for (key, value) in changes.clone() {
                match value {
                    Some(value) => next.insert(key, value),
                    None => next.remove(&key),
                };
            }
            if journal.commit(changes).is_err() {
                in_doubt = Some(next);
                break;
            }
            model = next;
        }
        disk.heal();
        let found: BTreeMap<_, _> = entries(&open(&disk)).into_iter().collect();
        prop_assert!(found == model || Some(found) == in_doubt);
    }
}
