//! A crash at any change of the disk, the machine's or the process's, also while the start after
//! it mends what it finds.

use super::*;

/// A log with everything in it that compaction must treat with care, and what must be read of it.
fn scene() -> (MemoryDisk, LogConfig, PartitionLog) {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    let mut sequences = [0; 3];
    for number in 0..24i64 {
        let (key, other) = (format!("k{}", number % 5), format!("o{}", number % 3));
        let value = number.to_string();
        let value = (number % 7 != 6).then_some(value.as_str());
        let producer = number % 4;
        let mut builder = RecordBatchBuilder::new(Compression::ALL[number as usize % 5]);
        if producer < 3 {
            let sequence = &mut sequences[producer as usize];
            builder = builder.producer(producer, 0, *sequence);
            *sequence += 2;
            if producer < 2 {
                builder = builder.transactional();
            }
        }
        append(&mut log, &config, &keyed_batch(&[(&key, value), (&other, value)], builder));
        if number % 6 == 5 {
            end(&mut log, &config, 0, 0, number % 12 == 5);
            end(&mut log, &config, 1, 0, number % 12 != 5);
        }
    }
    log.roll().unwrap();
    append(&mut log, &config, &keyed("tail", Some("1")));
    assert!(log.segments.len() > 15);
    // Several segments become one.
    (disk, LogConfig { segment_bytes: 1200, ..config }, log)
}

fn committed(log: &mut PartitionLog) -> Vec<Seen> {
    let stable = log.last_stable_offset();
    consume(log, 0, stable, 300, true)
}

/// Runs a compaction until it ends or fails.
fn try_clean(log: &mut PartitionLog, config: &LogConfig) -> io::Result<()> {
    if let Some(dirty) = log.dirty(config, NOW) {
        log.begin_cleaning(&dirty, NOW, MAP_BYTES)?;
        while log.clean_some(config)? {}
    }
    Ok(())
}

/// What must hold whenever: nothing is lost, and nothing comes back that was gone.
fn assert_sound(log: &mut PartitionLog, before: &[Seen], after: &[Seen], at: &str) {
    let seen = committed(log);
    assert_eq!(table(&seen), table(before), "{at}");
    assert!(seen.iter().all(|record| before.contains(record)), "{at}: {seen:?}");
    assert!(after.iter().all(|record| seen.contains(record)), "{at}: {seen:?}");
    // The indexes belong to the segments that are there.
    let stable = log.last_stable_offset();
    for from in (0..stable).step_by(5) {
        let behind: Vec<Seen> =
            seen.iter().filter(|record| record.offset >= from).cloned().collect();
        log.places.clear();
        assert_eq!(consume(log, from, stable, 300, true), behind, "{at}: from {from}");
    }
}

#[test]
fn a_crash_at_any_write_leaves_the_old_segments_or_the_new_one() {
    let (disk, config, mut log) = scene();
    let before = committed(&mut log);
    let producers: Vec<_> = log.active_producers().map(|p| (p.id, p.last_sequence)).collect();
    let count = disk.changes();
    try_clean(&mut log, &config).unwrap();
    let changes = disk.changes() - count;
    let after = committed(&mut log);
    assert!(after.len() * 2 < before.len(), "{} of {}", after.len(), before.len());
    assert!(changes > 40, "{changes}");
    assert!(log.segments.len() < 8, "{:?}", bases(&log));
    for nth in 1..=changes {
        for (kept, machine) in [(0, false), (20, false), (0, true), (20, true)] {
            let at = format!("change {nth} of {changes}, {kept} bytes, machine {machine}");
            let (disk, config, mut log) = scene();
            if machine {
                log.close().unwrap();
            }
            disk.fail_from(nth, kept);
            assert!(try_clean(&mut log, &config).is_err(), "{at}");
            // Whoever goes on without a restart sees no harm either.
            assert_sound(&mut log, &before, &after, &at);
            disk.heal();
            if machine {
                disk.power_loss();
            }
            let recovery = if machine { Recovery::MachineCrash } else { Recovery::ProcessCrash };
            let mut log = open(&disk, &config, recovery);
            assert_sound(&mut log, &before, &after, &at);
            let known: Vec<_> = log.active_producers().map(|p| (p.id, p.last_sequence)).collect();
            assert_eq!(known, producers, "{at}");
            let half_done = |name: &str| name.ends_with(".cleaned") || name.ends_with(".swap");
            let names = disk.list(Path::new(DIR)).unwrap();
            assert!(!names.iter().any(|name| half_done(name)), "{at}: {names:?}");
            try_clean(&mut log, &config).unwrap();
            assert_eq!(committed(&mut log), after, "{at}");
            assert_eq!(append(&mut log, &config, &keyed("z", None)), 57, "{at}");
        }
    }
}

#[test]
fn a_start_that_is_interrupted_is_gone_on_with_by_the_next() {
    let (_, _, mut log) = scene();
    let before = committed(&mut log);
    let (disk, config, mut log) = scene();
    let count = disk.changes();
    try_clean(&mut log, &config).unwrap();
    let changes = disk.changes() - count;
    let after = committed(&mut log);
    for nth in 1..=changes {
        for again in 1..12 {
            let (disk, config, mut log) = scene();
            disk.fail_from(nth, 0);
            assert!(try_clean(&mut log, &config).is_err());
            disk.heal();
            disk.fail_from(again, 0);
            let opened = PartitionLog::open(
                Arc::new(disk.clone()),
                Path::new(DIR),
                &config,
                0,
                Recovery::ProcessCrash,
            );
            let done = opened.is_ok();
            drop(opened);
            disk.heal();
            let mut log = open(&disk, &config, Recovery::ProcessCrash);
            assert_sound(&mut log, &before, &after, &format!("change {nth}, then {again}"));
            if done {
                break;
            }
        }
    }
}

#[test]
fn a_failing_disk_that_heals_is_gone_on_with_without_a_restart() {
    let (_, _, mut log) = scene();
    let before = committed(&mut log);
    let (disk, config, mut log) = scene();
    let count = disk.changes();
    try_clean(&mut log, &config).unwrap();
    let changes = disk.changes() - count;
    let after = committed(&mut log);
    for nth in 1..=changes {
        let (disk, config, mut log) = scene();
        disk.fail_from(nth, 0);
        assert!(try_clean(&mut log, &config).is_err());
        disk.heal();
        let at = format!("change {nth}");
        assert_eq!(log.dirty(&config, NOW + RETRY_MS - 1), None, "{at}: not at once");
        append(&mut log, &config, &keyed("tail", Some("2")));
        log.cleaning_failed_ms = None;
        try_clean(&mut log, &config).unwrap();
        let mut expected = after.clone();
        let last = log.end_offset() - 1;
        expected.extend(committed(&mut log).into_iter().filter(|record| record.offset == last));
        assert_eq!(committed(&mut log), expected, "{at}");
        log.close().unwrap();
        let mut log = open(&disk, &config, Recovery::Clean);
        assert_eq!(committed(&mut log), expected, "{at}");
        assert_eq!(table(&committed(&mut log)).len(), table(&before).len(), "{at}");
    }
}

#[test]
fn a_wait_for_the_medium_that_fails_changes_nothing() {
    let (disk, config, mut log) = scene();
    let before = committed(&mut log);
    disk.fail_syncs();
    assert!(try_clean(&mut log, &config).is_err());
    disk.heal();
    assert_eq!(committed(&mut log), before);
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    assert_eq!(committed(&mut log), before);
}

#[test]
fn an_end_that_is_lost_makes_the_log_dirty_again() {
    let (disk, config, mut log) = scene();
    try_clean(&mut log, &config).unwrap();
    let clean_to = log.compacted.clean_to;
    assert!(clean_to > 40);
    // The machine goes down, and a segment in the middle is damaged.
    let filled = log.segments[1..].iter().find(|segment| segment.size > 200).unwrap().base;
    disk.corrupt(&Path::new(DIR).join(format!("{filled:020}.log")), |bytes| bytes[100..].fill(0));
    let log = open(&disk, &config, Recovery::MachineCrash);
    assert!(log.end_offset() < clean_to);
    assert_eq!(log.compacted.clean_to, 0);
    assert_eq!(open(&disk, &config, Recovery::Clean).compacted, log.compacted);
}
