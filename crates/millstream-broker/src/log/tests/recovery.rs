//! What a start reads, and what it believes.

use super::*;

#[test]
fn after_a_death_of_the_process_the_scan_goes_on_from_the_last_index_entry() {
    let disk = MemoryDisk::default();
    let config = LogConfig { index_interval_bytes: 0, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let one = batch(&[NOW], &[1; 100], Compression::None);
    for _ in 0..100 {
        append(&mut log, &config, &one).unwrap();
    }
    let file = Path::new(DIR).join("00000000000000000000.log");
    // Entries are written sixteen at a time: those of the first 96 batches are there.
    disk.corrupt(&file, |bytes| bytes[one.len() * 95 - 1] ^= 1);
    disk.corrupt(&file, |bytes| bytes.extend_from_slice(&one[..70]));
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    assert_eq!(log.end_offset(), 100, "what came before was not read, what is torn is cut off");
    append(&mut log, &config, &one).unwrap();
    assert_eq!(log.find_timestamp(NOW).unwrap().unwrap().offset, 0);
    let bytes = log.read(97, 1 << 20, true, i64::MAX).unwrap().unwrap();
    assert_eq!(BatchIter::new(&bytes).count(), 4);
    // A stop in order says that everything is there, a reboot that the index may not be.
    log.close().unwrap();
    assert_eq!(open(&disk, &config, Recovery::Clean).end_offset(), 101);
    assert_eq!(open(&disk, &config, Recovery::Reboot).end_offset(), 94);
}

/// A rebuild of an index that is interrupted leaves none that is taken for whole.
#[test]
fn a_lost_index_is_built_anew_however_often_that_is_interrupted() {
    let config = LogConfig { segment_bytes: 2500, index_interval_bytes: 0, ..LogConfig::default() };
    let fill = || {
        let disk = MemoryDisk::default();
        let mut log = open(&disk, &config, Recovery::Clean);
        for number in 0..60 {
            let marker =
                Marker { producer_id: 5, epoch: 0, commit: number % 2 == 0, coordinator_epoch: 0 };
            let mut builder =
                RecordBatchBuilder::new(Compression::None).producer(5, 0, number).transactional();
            builder.push(NOW + i64::from(number), None, Some(&[1; 20]), []);
            append(&mut log, &config, &builder.finish(0).unwrap()).unwrap();
            log.write_marker(&config, NOW + i64::from(number), &marker).unwrap();
        }
        assert!(log.segments.len() > 3);
        let found = (log.aborted_in(0, 999).unwrap(), log.find_timestamp(NOW + 25).unwrap());
        (disk, found)
    };
    let lost = |disk: &MemoryDisk| {
        for (path, _) in disk.files() {
            if path
                .extension()
                .is_some_and(|kind| ["index", "txnindex", "timeindex"].iter().any(|k| kind == *k))
            {
                disk.remove_file(&path).unwrap();
            }
        }
    };
    let mut nth = 1;
    loop {
        let (disk, expected) = fill();
        lost(&disk);
        disk.fail_from(nth, 11);
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
        let log = open(&disk, &config, Recovery::ProcessCrash);
        let found = (log.aborted_in(0, 999).unwrap(), log.find_timestamp(NOW + 25).unwrap());
        assert_eq!(found, expected, "interrupted at change {nth}");
        if done {
            break;
        }
        nth += 1;
    }
    assert!(nth > 10, "{nth} changes");
}

#[test]
fn after_a_death_of_the_process_little_is_read_however_long_the_segment() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &batch(&[NOW], &[1; 200], Compression::None)).unwrap();
    log.roll().unwrap();
    for sequence in 0..6000 {
        let mut builder = RecordBatchBuilder::new(Compression::None).producer(
            sequence % 3,
            0,
            sequence as i32 / 3,
        );
        builder.push(NOW + sequence, None, Some(&[1; 900]), []);
        append(&mut log, &config, &builder.finish(0).unwrap()).unwrap();
    }
    assert!(log.size() > 5 << 20);
    let known: Vec<_> = log.active_producers().map(|p| (p.id, p.last_sequence)).collect();
    let there = snapshots(&disk);
    assert_eq!((there.len(), there[0]), (2, 1), "that of the segment and the last one: {there:?}");
    let before = disk.reads();
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    // A megabyte of headers in pieces of 64 KiB, and the tail behind the last index entry.
    let reads = disk.reads() - before;
    assert!(reads < 40, "{reads} reads");
    let again: Vec<_> = log.active_producers().map(|p| (p.id, p.last_sequence)).collect();
    assert_eq!((&again, log.end_offset()), (&known, 6001));
    assert_eq!(log.find_timestamp(NOW + 5321).unwrap().unwrap().offset, 5322);
    let bytes = log.read(5321, 1, true, i64::MAX).unwrap().unwrap();
    assert_eq!(Batch::parse(&bytes).unwrap().header().base_offset, 5321);
    // A snapshot that is lost costs time and nothing else.
    for offset in snapshots(&disk) {
        disk.remove_file(&Path::new(DIR).join(format!("{offset:020}.snapshot"))).unwrap();
    }
    let log = open(&disk, &config, Recovery::ProcessCrash);
    let again: Vec<_> = log.active_producers().map(|p| (p.id, p.last_sequence)).collect();
    assert_eq!(again, known);
}
