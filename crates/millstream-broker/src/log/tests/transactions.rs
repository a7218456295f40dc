//! Transactions in one log: the last stable offset, aborted ones, and both after every restart.

use super::*;
use crate::log::aborted::Aborted;

fn marker(producer_id: i64, epoch: i16, commit: bool) -> Marker {
    Marker { producer_id, epoch, commit, coordinator_epoch: 0 }
}

fn transactional(id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    let mut builder =
        RecordBatchBuilder::new(Compression::None).producer(id, epoch, sequence).transactional();
    builder.push(NOW, None, Some(&[1; 40]), []);
    builder.finish(0).unwrap()
}

fn spans(aborted: &[Aborted]) -> Vec<(i64, i64, i64)> {
    aborted.iter().map(|a| (a.producer_id, a.first_offset, a.last_offset)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// A record of that producer's transaction.
    Write(i64),
    /// A record of nobody's.
    Plain,
    End(i64, bool),
    /// Close and open again, or die and be opened so.
    Restart(Recovery),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0i64..4).prop_map(Step::Write),
        2 => Just(Step::Plain),
        5 => (0i64..4, any::<bool>()).prop_map(|(id, commit)| Step::End(id, commit)),
        1 => prop_oneof![
            Just(Recovery::Clean),
            Just(Recovery::ProcessCrash),
            Just(Recovery::MachineCrash)
        ].prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever producers do and however the log is opened again: readers of committed data may
    /// read up to the first open transaction, and are told of exactly the aborted ones.
    #[test]
    fn aborted_and_open_transactions_are_never_forgotten(
        steps in steps(),
        segment_bytes in prop_oneof![Just(600u64), Just(1 << 30)],
        index_interval_bytes in prop_oneof![Just(0u64), Just(100)],
    ) {
        let disk = MemoryDisk::default();
        let config = LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() };
        let mut log = open(&disk, &config, Recovery::Clean);
        let mut open_at = std::collections::BTreeMap::new();
        let mut sequences = [0; 4];
        let mut aborted = Vec::new();
        for step in steps {
            match step {
                Step::Write(id) => {
                    let sent = transactional(id, 3, sequences[id as usize]);
                    let at = append(&mut log, &config, &sent).unwrap().base_offset;
                    sequences[id as usize] += 1;
                    open_at.entry(id).or_insert(at);
                }
                Step::Plain => {
                    append(&mut log, &config, &batch(&[NOW], b"v", Compression::None)).unwrap();
                }
                Step::End(id, commit) => {
                    let last = log.end_offset();
                    log.write_marker(&config, NOW, &marker(id, 3, commit)).unwrap();
                    if let Some(first) = open_at.remove(&id) && !commit {
                        aborted.push((id, first, last));
                    }
                }
                Step::Restart(recovery) => {
                    if recovery == Recovery::Clean {
                        log.close().unwrap();
                    }
                    log = open(&disk, &config, recovery);
                }
            }
            let end = log.end_offset();
            let stable = open_at.values().min().copied().unwrap_or(end);
            prop_assert_eq!(log.last_stable_offset(), stable);
            for (from, to) in [(0, end), (end / 2, end), (end / 3, end / 2), (0, 1)] {
                let expected: Vec<_> = aborted
                    .iter()
                    .filter(|(_, first, last)| *last >= from && *first < to)
                    .copied()
                    .collect();
                prop_assert_eq!(spans(&log.aborted_in(from, to).unwrap()), expected);
            }
        }
        let ids: Vec<i64> = open_at.keys().copied().collect();
        let mut open: Vec<i64> = log.open_transactions().iter().map(|(id, _)| *id).collect();
        open.sort_unstable();
        prop_assert_eq!(open, ids);
    }
}

#[test]
fn an_index_that_was_lost_with_the_process_is_built_anew() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    for (number, commit) in [false, true, false].into_iter().enumerate() {
        append(&mut log, &config, &transactional(1, 0, number as i32)).unwrap();
        log.write_marker(&config, NOW, &marker(1, 0, commit)).unwrap();
    }
    let expected = log.aborted_in(0, 100).unwrap();
    assert_eq!(spans(&expected), [(1, 0, 1), (1, 4, 5)]);
    // A clean stop leaves a snapshot in the middle of the segment that the next crash scans.
    log.close().unwrap();
    disk.corrupt(&Path::new(DIR).join("00000000000000000000.txnindex"), |bytes| bytes.truncate(20));
    for recovery in [Recovery::ProcessCrash, Recovery::MachineCrash] {
        let log = open(&disk, &config, recovery);
        assert_eq!(log.aborted_in(0, 100).unwrap(), expected, "{recovery:?}");
    }
}

#[test]
fn an_entry_that_cannot_be_written_counts_and_waits() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
    // The marker is the next write, its entry in the index the one behind it.
    disk.fail_from(2, 0);
    log.write_marker(&config, NOW, &marker(1, 0, false)).unwrap();
    assert_eq!(spans(&log.aborted_in(0, 10).unwrap()), [(1, 0, 1)]);
    assert!(log.roll().is_err(), "no segment is begun while the index is behind");
    disk.heal();
    log.roll().unwrap();
    log.close().unwrap();
    let log = open(&disk, &config, Recovery::Clean);
    assert_eq!(spans(&log.aborted_in(0, 10).unwrap()), [(1, 0, 1)]);
}

/// A client repeats a WriteTxnMarkers that was answered with an error.
#[test]
fn a_marker_whose_sync_failed_is_not_written_again() {
    let disk = MemoryDisk::default();
    let config = LogConfig { flush_messages: 1, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
    disk.fail_syncs();
    log.write_marker(&config, NOW, &marker(1, 0, true)).unwrap_err();
    let again = log.write_marker(&config, NOW, &marker(1, 0, true)).unwrap_err();
    assert!(matches!(again, MarkerError::NotSynced { bytes: 0, .. }));
    disk.heal();
    assert_eq!(log.write_marker(&config, NOW, &marker(1, 0, true)).unwrap(), 0);
    assert_eq!(log.end_offset(), 2, "it is there once");
    disk.power_loss();
    let mut log = open(&disk, &config, Recovery::MachineCrash);
    assert_eq!((log.end_offset(), log.last_stable_offset()), (2, 2));

    // The next transaction of the same producer has a marker of its own, though the first one's
    // wait has failed.
    append(&mut log, &config, &transactional(1, 0, 1)).unwrap();
    disk.fail_syncs();
    log.write_marker(&config, NOW, &marker(1, 0, true)).unwrap_err();
    let next = append(&mut log, &config, &transactional(1, 0, 2)).unwrap_err();
    assert!(matches!(next, AppendError::NotSynced { .. }));
    disk.heal();
    assert!(log.write_marker(&config, NOW, &marker(1, 0, true)).unwrap() > 0);
    assert_eq!((log.end_offset(), log.last_stable_offset()), (6, 6));
}

#[test]
fn a_marker_whose_sync_failed_counts_and_is_not_missing() {
    let disk = MemoryDisk::default();
    let config = LogConfig { flush_messages: 1, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
    disk.fail_syncs();
    let error = log.write_marker(&config, NOW, &marker(1, 0, false)).unwrap_err();
    assert!(matches!(error, MarkerError::NotSynced { bytes, .. } if bytes > 0));
    assert!(!log.lacks_marker(1, 0));
    assert_eq!((log.end_offset(), log.last_stable_offset()), (2, 2));
    assert_eq!(spans(&log.aborted_in(0, 10).unwrap()), [(1, 0, 1)]);
    log.flush_if_due(&config, NOW).unwrap_err();
    disk.heal();
    log.flush_if_due(&config, NOW).unwrap();
    disk.power_loss();
    let log = open(&disk, &config, Recovery::MachineCrash);
    assert_eq!((log.end_offset(), log.last_stable_offset()), (2, 2));
    assert_eq!(spans(&log.aborted_in(0, 10).unwrap()), [(1, 0, 1)]);
}

#[test]
fn the_index_of_a_completed_segment_survives_a_power_loss() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
    log.write_marker(&config, NOW, &marker(1, 0, false)).unwrap();
    log.roll().unwrap();
    append(&mut log, &config, &transactional(2, 0, 0)).unwrap();
    log.flush(NOW).unwrap();
    disk.power_loss();
    // As after a clean stop and a restart of the machine: the first segment is believed.
    let log = open(&disk, &config, Recovery::ProcessCrash);
    assert_eq!(spans(&log.aborted_in(0, 10).unwrap()), [(1, 0, 1)]);
}

#[test]
fn markers_fence_older_epochs_and_older_coordinators() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 4, 0)).unwrap();
    assert!(log.lacks_marker(1, 4));
    let refused = log.write_marker(&config, NOW, &marker(1, 3, true)).unwrap_err();
    assert!(matches!(refused, MarkerError::Fenced));
    let newer = Marker { coordinator_epoch: 2, ..marker(1, 5, false) };
    log.write_marker(&config, NOW, &newer).unwrap();
    assert!(!log.lacks_marker(1, 5) && log.lacks_marker(2, 0));
    let refused = log.write_marker(&config, NOW, &marker(1, 5, true)).unwrap_err();
    assert!(matches!(refused, MarkerError::CoordinatorFenced));
    for log in [log, open(&disk, &config, Recovery::ProcessCrash)] {
        let mut log = log;
        let late = append(&mut log, &config, &transactional(1, 4, 1)).unwrap_err();
        assert!(matches!(late, AppendError::Fenced { id: 1, epoch: 4 }));
        let gap = append(&mut log, &config, &transactional(1, 5, 1)).unwrap_err();
        assert!(matches!(gap, AppendError::OutOfOrder { .. }), "the epoch begins with 0");
        let shown = log.active_producers().next().unwrap();
        assert_eq!((shown.epoch, shown.coordinator_epoch, shown.last_sequence), (5, 2, -1));
    }
}

#[test]
fn an_open_transaction_outlives_its_producers_expiry() {
    let disk = MemoryDisk::default();
    let config = LogConfig { producer_expiration_ms: 1000, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
    log.tick(&config, NOW + 5000).unwrap();
    assert_eq!(log.open_transactions(), [(1, 0)]);
    log.close().unwrap();
    let mut log = open(&disk, &config, Recovery::Clean);
    assert_eq!(log.last_stable_offset(), 0, "the snapshot has it");
    log.write_marker(&config, NOW + 6000, &marker(1, 0, true)).unwrap();
    log.tick(&config, NOW + 9000).unwrap();
    assert_eq!(log.active_producers().count(), 0);
}

/// All that is left of a producer whose records were deleted is the snapshot with which the next
/// segment was begun. A power loss does not take that, nor does a stop that dies half-way. (Found
/// by the simulator, seed 38146.)
#[test]
fn a_producer_whose_records_are_deleted_is_known_after_a_power_loss() {
    for dies_at in [None, Some(1), Some(2), Some(3)] {
        let disk = MemoryDisk::default();
        let config = LogConfig { flush_messages: 1, ..LogConfig::default() };
        let mut log = open(&disk, &config, Recovery::Clean);
        append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
        log.write_marker(&config, NOW, &marker(1, 0, false)).unwrap();
        log.delete_below(2).unwrap();
        match dies_at {
            None => disk.power_loss(),
            Some(change) => {
                disk.fail_from(change, 0);
                let _ = log.close();
                disk.heal();
            }
        }
        let mut log = open(&disk, &config, Recovery::MachineCrash);
        assert_eq!(log.active_producers().count(), 1, "dies at {dies_at:?}");
        let again = append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
        assert_eq!(again.bytes, 0, "it is known for a repetition");
        append(&mut log, &config, &transactional(1, 0, 1)).unwrap();
    }
}

#[test]
fn a_snapshot_older_than_the_log_says_nothing() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &transactional(1, 0, 0)).unwrap();
    append(&mut log, &config, &transactional(1, 0, 1)).unwrap();
    log.close().unwrap();
    let snapshot = |offset: i64| Path::new(DIR).join(format!("{offset:020}.snapshot"));
    let mut old = vec![0; 1000];
    let length = disk.file(&snapshot(2)).read_at(&mut old, 0).unwrap();
    let mut log = open(&disk, &config, Recovery::Clean);
    log.write_marker(&config, NOW, &marker(1, 0, true)).unwrap();
    log.delete_below(3).unwrap();
    append(&mut log, &config, &batch(&[NOW], b"v", Compression::None)).unwrap();
    // As if a power loss had undone the removal of the old one and taken the new one.
    disk.remove_file(&snapshot(3)).unwrap();
    disk.corrupt(&snapshot(2), |bytes| *bytes = old[..length].to_vec());
    let log = open(&disk, &config, Recovery::MachineCrash);
    assert_eq!((log.start_offset(), log.last_stable_offset()), (3, 4));
    assert!(log.open_transactions().is_empty());
}
