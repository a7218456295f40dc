mod recovery;
mod transactions;

use millstream_protocol::{Batch, BatchIter, Compression, RecordBatchBuilder};
use proptest::prelude::*;

use super::*;
use crate::disk::MemoryDisk;

const DIR: &str = "/log";
const NOW: i64 = 1_700_000_000_000;

fn open(disk: &MemoryDisk, config: &LogConfig, recovery: Recovery) -> PartitionLog {
    PartitionLog::open(Arc::new(disk.clone()), Path::new(DIR), config, 0, recovery).unwrap()
}

fn batch(timestamps: &[i64], value: &[u8], codec: Compression) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(codec);
    for timestamp in timestamps {
        builder.push(*timestamp, None, Some(value), []);
    }
    builder.finish(0).unwrap()
}

fn from_producer(id: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(Compression::None).producer(id, epoch, sequence);
    for _ in 0..count {
        builder.push(NOW, None, Some(b"v"), []);
    }
    builder.finish(0).unwrap()
}

fn append(
    log: &mut PartitionLog,
    config: &LogConfig,
    bytes: &[u8],
) -> Result<Appended, AppendError> {
    log.append(config, NOW, bytes, &mut Vec::new())
}

/// All records from the start on, read in steps of `max_bytes`.
fn read_all(log: &mut PartitionLog, max_bytes: usize) -> Vec<(i64, i64)> {
    let mut offset = log.start_offset();
    let mut out = Vec::new();
    while offset < log.end_offset() {
        let bytes = log.read(offset, max_bytes, true, i64::MAX).unwrap().unwrap();
        assert!(!bytes.is_empty(), "nothing at {offset}, the log ends at {}", log.end_offset());
        for batch in BatchIter::new(&bytes) {
            let batch = batch.unwrap();
            batch.check().unwrap();
            assert_eq!(batch.header().leader_epoch, LEADER_EPOCH);
            for record in batch.records(&mut Vec::new(), 1 << 20).unwrap() {
                let record = record.unwrap();
                if record.offset >= offset {
                    out.push((record.offset, record.timestamp));
                }
            }
            offset = batch.header().next_offset();
        }
    }
    out
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() }
}

#[test]
fn batches_are_stored_as_they_come_and_offsets_count_up() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    for (number, codec) in Compression::ALL.into_iter().enumerate() {
        let sent = batch(&[NOW, NOW + 1, NOW + 2], b"value", codec);
        let appended = append(&mut log, &config, &sent).unwrap();
        assert_eq!(appended.base_offset, number as i64 * 3);
        let stored = log.read(appended.base_offset, 1 << 20, true, i64::MAX).unwrap().unwrap();
        // All but base offset and leader epoch: the checksum covers it.
        assert_eq!(stored[16..], sent[16..], "{codec}");
    }
    assert_eq!(log.end_offset(), 15);
    assert_eq!(log.read(16, 100, true, i64::MAX).unwrap(), Err(read::OutOfRange));
    assert_eq!(log.read(-1, 100, true, i64::MAX).unwrap(), Err(read::OutOfRange));
    assert_eq!(log.read(15, 100, true, i64::MAX).unwrap().unwrap().len(), 0);
}

#[test]
fn a_read_keeps_to_its_limit_unless_it_must_return_something() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    let one = batch(&[NOW], &[7; 500], Compression::None);
    for _ in 0..10 {
        append(&mut log, &config, &one).unwrap();
    }
    for (limit, at_least_one, batches) in [
        (0, false, 0),
        (0, true, 1),
        (10, false, 0),
        (10, true, 1),
        (one.len(), false, 1),
        (one.len() * 3 - 1, false, 2),
        (one.len() * 3, true, 3),
        (1 << 20, false, 8),
    ] {
        let bytes = log.read(2, limit, at_least_one, i64::MAX).unwrap().unwrap();
        assert_eq!(bytes.len(), batches * one.len(), "limit {limit} {at_least_one}");
    }
}

#[test]
fn what_is_wrong_with_a_batch_is_named() {
    let disk = MemoryDisk::default();
    let config = LogConfig { max_message_bytes: 1000, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let good = batch(&[NOW, NOW], b"v", Compression::None);
    let mut refuse = |bytes: &[u8]| append(&mut log, &config, bytes).unwrap_err();
    assert!(matches!(refuse(&[]), AppendError::Corrupt(_)));
    assert!(matches!(refuse(&good[..good.len() - 1]), AppendError::Corrupt(_)));
    assert!(matches!(refuse(&[&good[..], &good].concat()), AppendError::NotOneBatch));
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(matches!(refuse(&broken), AppendError::Corrupt(_)));
    assert!(matches!(
        refuse(&batch(&[NOW], &[1; 2000], Compression::None)),
        AppendError::TooLarge { size: _, limit: 1000 }
    ));
    assert!(matches!(
        refuse(&batch(&[NOW + 3_600_001], b"v", Compression::Zstd)),
        AppendError::Timestamp(_)
    ));
    let mut builder = RecordBatchBuilder::new(Compression::None).control();
    builder.push(NOW, Some(&[0; 4]), None, []);
    assert!(matches!(refuse(&builder.finish(0).unwrap()), AppendError::Control));
    let mut builder = RecordBatchBuilder::new(Compression::None).transactional();
    builder.push(NOW, None, None, []);
    assert!(matches!(refuse(&builder.finish(0).unwrap()), AppendError::NoProducer));
    assert_eq!(log.end_offset(), 0);
    assert!(disk.files().is_empty(), "nothing refused reaches the disk: {:?}", disk.files());
}

#[test]
fn log_append_time_replaces_the_producers_timestamps() {
    let disk = MemoryDisk::default();
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let sent = batch(&[5, 6], b"v", Compression::Lz4);
    assert_eq!(append(&mut log, &config, &sent).unwrap().log_append_time, NOW);
    assert_eq!(read_all(&mut log, 1000), [(0, NOW), (1, NOW)]);
    let found = log.find_timestamp(NOW).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (0, NOW));
}

#[test]
fn a_careless_highest_timestamp_is_corrected() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    let mut sent = batch(&[NOW, NOW + 5], b"v", Compression::None);
    millstream_protocol::header::set_max_timestamp(&mut sent, 0);
    append(&mut log, &config, &sent).unwrap();
    assert_eq!(read_all(&mut log, 1000), [(0, NOW), (1, NOW + 5)]);
    assert_eq!(log.find_timestamp(NOW + 1).unwrap().unwrap().offset, 1);
    assert_eq!(log.find_max_timestamp().unwrap().unwrap().timestamp, NOW + 5);
}

#[test]
fn lost_indexes_are_built_anew() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..20 {
        append(&mut log, &config, &batch(&[NOW + number], &[1; 150], Compression::None)).unwrap();
    }
    log.close().unwrap();
    for (path, _) in disk.files() {
        if path.extension().is_some_and(|kind| kind == "index" || kind == "timeindex") {
            disk.remove_file(&path).unwrap();
        }
    }
    let log = open(&disk, &config, Recovery::Clean);
    assert_eq!(log.end_offset(), 20);
    assert_eq!(log.find_timestamp(NOW + 3).unwrap().unwrap().offset, 3);
}

#[test]
fn compression_type_packs_anew() {
    let disk = MemoryDisk::default();
    let config = LogConfig { compression: Some(Compression::Zstd), ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &batch(&[NOW, NOW + 9], b"v", Compression::Gzip)).unwrap();
    let stored = log.read(0, 1000, true, i64::MAX).unwrap().unwrap();
    let header = *Batch::parse(&stored).unwrap().header();
    assert_eq!(header.attributes.compression(), Ok(Compression::Zstd));
    assert_eq!(read_all(&mut log, 1000), [(0, NOW), (1, NOW + 9)]);
}

#[test]
fn idempotent_producers_are_checked_by_sequence() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..7 {
        append(&mut log, &config, &from_producer(9, 0, number * 2, 2)).unwrap();
    }
    // The last five can be sent again, which gives the old answer.
    for number in 2..7 {
        let again = append(&mut log, &config, &from_producer(9, 0, number * 2, 2)).unwrap();
        assert_eq!((again.base_offset, again.bytes), (i64::from(number) * 2, 0));
    }
    let mut refuse = |bytes: &[u8]| append(&mut log, &config, bytes).unwrap_err();
    assert!(matches!(refuse(&from_producer(9, 0, 2, 2)), AppendError::OutOfOrder { .. }));
    assert!(matches!(refuse(&from_producer(9, 0, 16, 1)), AppendError::OutOfOrder { .. }));
    assert!(matches!(refuse(&from_producer(9, 1, 3, 1)), AppendError::OutOfOrder { .. }));
    append(&mut log, &config, &from_producer(9, 1, 0, 1)).unwrap();
    let error = append(&mut log, &config, &from_producer(9, 0, 14, 1)).unwrap_err();
    assert!(matches!(error, AppendError::Fenced { .. }));
    assert_eq!(log.end_offset(), 15);

    // All of it is still known after a clean stop and after a crash.
    log.close().unwrap();
    for recovery in [Recovery::Clean, Recovery::ProcessCrash, Recovery::MachineCrash] {
        let mut log = open(&disk, &config, recovery);
        let again = append(&mut log, &config, &from_producer(9, 1, 0, 1)).unwrap();
        assert_eq!((again.base_offset, again.bytes), (14, 0), "{recovery:?}");
        assert!(append(&mut log, &config, &from_producer(9, 1, 2, 1)).is_err());
    }
}

#[test]
fn sequence_numbers_are_known_across_segments_after_a_crash() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &from_producer(1, 0, 0, 3)).unwrap();
    for number in 0..30 {
        append(&mut log, &config, &from_producer(2, 0, number, 1)).unwrap();
    }
    assert!(log.segments.len() > 3);
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    assert_eq!(append(&mut log, &config, &from_producer(1, 0, 0, 3)).unwrap().bytes, 0);
    assert_eq!(append(&mut log, &config, &from_producer(2, 0, 29, 1)).unwrap().bytes, 0);
    assert!(append(&mut log, &config, &from_producer(2, 0, 30, 1)).unwrap().bytes > 0);
}

#[test]
fn silent_producers_are_forgotten() {
    let disk = MemoryDisk::default();
    let config = LogConfig { producer_expiration_ms: 1000, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &from_producer(1, 0, 0, 1)).unwrap();
    log.tick(&config, NOW + 999).unwrap();
    assert_eq!(log.active_producers().count(), 1);
    log.tick(&config, NOW + 1000).unwrap();
    assert_eq!(log.active_producers().count(), 0);
}

#[test]
fn segments_roll_by_size_and_by_time() {
    let disk = MemoryDisk::default();
    let config = LogConfig { segment_ms: 1000, ..small_segments() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for time in [0, 1000, 1001, 1500] {
        append(&mut log, &config, &batch(&[NOW - 5000 + time], b"v", Compression::None)).unwrap();
    }
    let bases: Vec<i64> = log.segments.iter().map(|segment| segment.base).collect();
    assert_eq!(bases, [0, 2]);
    for _ in 0..3 {
        append(&mut log, &config, &batch(&[NOW - 4000], &[1; 300], Compression::None)).unwrap();
    }
    assert_eq!(log.segments.len(), 4);
    assert_eq!(read_all(&mut log, 100).len(), 7);
}

#[test]
fn retention_by_time_and_size_deletes_whole_segments() {
    let disk = MemoryDisk::default();
    let config = LogConfig { retention_ms: 10_000, ..small_segments() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..10 {
        let sent = batch(&[NOW + number * 1000], &[1; 400], Compression::None);
        append(&mut log, &config, &sent).unwrap();
    }
    assert_eq!(log.segments.len(), 10);
    assert!(!log.tick(&config, NOW + 10_000).unwrap());
    assert!(log.tick(&config, NOW + 12_500).unwrap());
    assert_eq!(log.start_offset(), 3);
    let by_size = LogConfig { retention_bytes: 1000, ..config.clone() };
    log.tick(&by_size, NOW + 12_500).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (7, 10));
    // Everything is too old: what remains is an empty segment that knows the end offset.
    log.tick(&config, NOW + 1_000_000).unwrap();
    assert_eq!((log.start_offset(), log.end_offset(), log.size()), (10, 10, 0));
    for recovery in [Recovery::ProcessCrash, Recovery::MachineCrash, Recovery::Clean] {
        let log = open(&disk, &config, recovery);
        assert_eq!((log.start_offset(), log.end_offset()), (10, 10));
    }
    let compacted = LogConfig { delete: false, ..config };
    append(&mut log, &compacted, &batch(&[1], b"v", Compression::None)).unwrap();
    log.tick(&compacted, NOW + 1_000_000).unwrap();
    assert_eq!(log.start_offset(), 10, "without the policy `delete` nothing is deleted");
}

#[test]
fn deleting_records_moves_the_start_and_frees_segments() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    for _ in 0..10 {
        append(&mut log, &config, &batch(&[NOW; 2], &[1; 150], Compression::None)).unwrap();
    }
    let before = log.size();
    log.delete_below(9).unwrap();
    assert_eq!(log.start_offset(), 9);
    assert!(log.size() < before);
    assert_eq!(log.read(8, 100, true, i64::MAX).unwrap(), Err(read::OutOfRange));
    assert_eq!(read_all(&mut log, 400).len(), 11);
    assert_eq!(log.find_timestamp(NOW).unwrap().unwrap().offset, 9);
    log.delete_below(20).unwrap();
    assert_eq!((log.start_offset(), log.end_offset(), log.size()), (20, 20, 0));
    assert_eq!(
        append(&mut log, &config, &batch(&[NOW], b"v", Compression::None)).unwrap().base_offset,
        20
    );
}

#[test]
fn after_a_crash_the_tail_is_cut_at_the_first_broken_batch() {
    let disk = MemoryDisk::default();
    let config = LogConfig::default();
    let mut log = open(&disk, &config, Recovery::Clean);
    let one = batch(&[NOW, NOW], b"value", Compression::None);
    for _ in 0..5 {
        append(&mut log, &config, &one).unwrap();
    }
    let file = Path::new(DIR).join("00000000000000000000.log");
    disk.corrupt(&file, |bytes| {
        let at = one.len() * 3 + 70;
        bytes[at] ^= 1;
    });
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    assert_eq!(log.end_offset(), 6);
    assert_eq!(read_all(&mut log, 1000).len(), 6);
    assert_eq!(append(&mut log, &config, &one).unwrap().base_offset, 6);
}

#[test]
fn after_a_power_loss_a_hole_ends_the_log() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    for _ in 0..20 {
        append(&mut log, &config, &batch(&[NOW], &[1; 150], Compression::None)).unwrap();
    }
    let second = log.segments[1].base;
    let file = Path::new(DIR).join(format!("{second:020}.log"));
    disk.corrupt(&file, |bytes| bytes[100..].fill(0));
    let mut log = open(&disk, &config, Recovery::MachineCrash);
    assert_eq!(log.end_offset(), second);
    assert_eq!(read_all(&mut log, 1000).len() as i64, second);
    let left = disk.files().iter().filter(|(path, _)| path.extension().unwrap() == "log").count();
    assert_eq!(left, 2);
}

fn slow_find(records: &[(i64, i64)], target: i64) -> Option<(i64, i64)> {
    records.iter().copied().find(|(_, timestamp)| *timestamp >= target)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Reads and look-ups agree with a list of all records, whatever the order of timestamps,
    /// the packing, the segment size and the way the log was opened.
    #[test]
    fn reads_and_look_ups_agree_with_a_list(
        batches in proptest::collection::vec(
            (proptest::collection::vec(0i64..50, 1..5), 0usize..5, 0usize..200), 1..30),
        segment_bytes in 200u64..2000,
        interval in 0u64..500,
        max_bytes in 1usize..1000,
        delete_below in 0i64..40,
        reopen in proptest::option::of(0usize..3),
    ) {
        let disk = MemoryDisk::default();
        let config = LogConfig {
            segment_bytes, index_interval_bytes: interval, ..LogConfig::default()
        };
        let mut log = open(&disk, &config, Recovery::Clean);
        let mut records = Vec::new();
        for (timestamps, codec, padding) in batches {
            for timestamp in &timestamps {
                records.push((records.len() as i64, *timestamp));
            }
            let sent = batch(&timestamps, &vec![7; padding], Compression::ALL[codec]);
            append(&mut log, &config, &sent).unwrap();
        }
        let start = delete_below.min(records.len() as i64);
        log.delete_below(start).unwrap();
        if let Some(how) = reopen {
            let recovery =
                [Recovery::Clean, Recovery::ProcessCrash, Recovery::MachineCrash][how];
            if recovery == Recovery::Clean {
                log.close().unwrap();
            }
            log = PartitionLog::open(
                Arc::new(disk.clone()), Path::new(DIR), &config, start, recovery).unwrap();
        }
        prop_assert_eq!((log.start_offset(), log.end_offset()), (start, records.len() as i64));
        records.retain(|(offset, _)| *offset >= start);
        prop_assert_eq!(&read_all(&mut log, max_bytes), &records);
        for target in 0..51 {
            let found = log.find_timestamp(target).unwrap().map(|p| (p.offset, p.timestamp));
            prop_assert_eq!(found, slow_find(&records, target), "timestamp {}", target);
        }
        for (offset, _) in &records {
            let bytes = log.read(*offset, max_bytes, true, i64::MAX).unwrap().unwrap();
            let header = *Batch::parse(&bytes).unwrap().header();
            prop_assert!(header.base_offset <= *offset && *offset <= header.last_offset());
        }
    }

    /// A crash at any write, torn anywhere: all acknowledged records are there, in order, and
    /// what may be there beyond them is the one batch that was being written.
    #[test]
    fn a_crash_at_any_write_loses_nothing_acknowledged(
        sizes in proptest::collection::vec(1usize..300, 1..25),
        fail_at in 1u64..60,
        kept in 0usize..400,
        machine in any::<bool>(),
    ) {
        let disk = MemoryDisk::default();
        let config = small_segments();
        let mut log = open(&disk, &config, Recovery::Clean);
        disk.fail_from(fail_at, kept);
        let mut acknowledged = 0;
        for (number, size) in sizes.iter().enumerate() {
            let sent = batch(&[number as i64], &vec![1; *size], Compression::None);
            if append(&mut log, &config, &sent).is_err() {
                break;
            }
            acknowledged += 1;
        }
        disk.heal();
        let recovery = if machine { Recovery::MachineCrash } else { Recovery::ProcessCrash };
        let mut log = open(&disk, &config, recovery);
        let found = read_all(&mut log, 500);
        let expected: Vec<(i64, i64)> = (0..found.len() as i64).map(|n| (n, n)).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert!(found.len() == acknowledged || found.len() == acknowledged + 1);
        let next = append(&mut log, &config, &batch(&[0], b"v", Compression::None)).unwrap();
        prop_assert_eq!(next.base_offset, found.len() as i64);
    }
}

/// Snapshot files that are there.
fn snapshots(disk: &MemoryDisk) -> Vec<i64> {
    let files = disk.files();
    let snapshots = files.iter().filter(|(path, _)| path.extension().unwrap() == "snapshot");
    snapshots
        .map(|(path, _)| path.file_stem().unwrap().to_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_clean_start_reads_no_batches() {
    for producer in [-1, 7] {
        let disk = MemoryDisk::default();
        let config = LogConfig { segment_bytes: 20_000, ..LogConfig::default() };
        let mut log = open(&disk, &config, Recovery::Clean);
        for number in 0..1000 {
            let sent = match producer {
                -1 => batch(&[NOW], b"v", Compression::None),
                id => from_producer(id, 0, number, 1),
            };
            append(&mut log, &config, &sent).unwrap();
        }
        log.close().unwrap();
        let segments = log.segments.len() as u64;
        for _ in 0..2 {
            let before = disk.reads();
            let mut log = open(&disk, &config, Recovery::Clean);
            // A few per segment, and the batches behind the last index entry.
            let reads = disk.reads() - before;
            assert!(reads < 4 * segments + 80, "{reads} reads, {segments} segments");
            log.close().unwrap();
        }
        // After a crash of the process only the last segment is read, in large pieces.
        let before = disk.reads();
        open(&disk, &config, Recovery::ProcessCrash);
        let reads = disk.reads() - before;
        assert!(reads < 6 * segments + 20, "{reads} reads, {segments} segments");
    }
}

#[test]
fn snapshots_do_not_pile_up() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    let mut sequence = 0;
    for _ in 0..10 {
        for _ in 0..3 {
            append(&mut log, &config, &from_producer(7, 0, sequence, 1)).unwrap();
            sequence += 1;
        }
        log.close().unwrap();
        log = open(&disk, &config, Recovery::Clean);
    }
    let bases: Vec<i64> = log.segments.iter().map(|segment| segment.base).collect();
    let loose: Vec<i64> =
        snapshots(&disk).into_iter().filter(|offset| !bases.contains(offset)).collect();
    assert_eq!(loose, [30], "beside those of the segments {bases:?}");
    assert_eq!(append(&mut log, &config, &from_producer(7, 0, 29, 1)).unwrap().bytes, 0);
    // A crash makes the last one useless, but the next stop replaces it.
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    append(&mut log, &config, &from_producer(7, 0, 30, 1)).unwrap();
    log.close().unwrap();
    let kept = snapshots(&disk);
    assert!(kept.contains(&31) && !kept.contains(&30), "{kept:?}");
}

#[test]
fn completed_segments_survive_a_power_loss_without_flush_settings() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..20 {
        append(&mut log, &config, &batch(&[NOW + number], &[1; 150], Compression::None)).unwrap();
    }
    let last = log.segments.last().unwrap().base;
    assert!(last > 10);
    assert!(disk.dir_syncs() >= log.segments.len() as u64, "names need a sync of their own");
    disk.power_loss();
    let mut log = open(&disk, &config, Recovery::MachineCrash);
    assert_eq!(log.end_offset(), last);
    assert_eq!(read_all(&mut log, 1000).len() as i64, last);
    assert_eq!(log.find_timestamp(NOW + 3).unwrap().unwrap().offset, 3);
}

#[test]
fn a_clean_stop_survives_a_power_loss() {
    let disk = MemoryDisk::default();
    let config = small_segments();
    let mut log = open(&disk, &config, Recovery::Clean);
    let one = batch(&[NOW], &[1; 150], Compression::None);
    for number in 0..20 {
        append(&mut log, &config, &one).unwrap();
        // Stopped and started in between: by a crash, and in order.
        if number == 7 {
            log = open(&disk, &config, Recovery::ProcessCrash);
        } else if number == 9 {
            log.close().unwrap();
            log = open(&disk, &config, Recovery::Clean);
        }
    }
    log = open(&disk, &config, Recovery::ProcessCrash);
    log.close().unwrap();
    let syncs = disk.syncs();
    open(&disk, &config, Recovery::Clean).close().unwrap();
    assert_eq!(disk.syncs(), syncs, "nothing new, nothing to wait for");
    disk.power_loss();
    let mut log = open(&disk, &config, Recovery::ProcessCrash);
    assert_eq!(read_all(&mut log, 1000).len(), 20);
}

#[test]
fn a_repetition_is_not_acknowledged_before_the_sync_that_failed() {
    let disk = MemoryDisk::default();
    let config = LogConfig { flush_messages: 1, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let sent = from_producer(7, 0, 0, 2);
    disk.fail_syncs();
    let error = append(&mut log, &config, &sent).unwrap_err();
    assert!(matches!(error, AppendError::NotSynced { bytes, .. } if bytes == sent.len()));
    append(&mut log, &config, &sent).unwrap_err();
    disk.heal();
    let again = append(&mut log, &config, &sent).unwrap();
    assert_eq!((again.base_offset, again.bytes, log.end_offset()), (0, 0, 2));
    assert_eq!(disk.syncs(), 1);
    append(&mut log, &config, &sent).unwrap();
    assert_eq!(disk.syncs(), 1, "it is on the medium now");
}

#[test]
fn records_that_a_topic_cannot_keep_are_refused() {
    let disk = MemoryDisk::default();
    let config = LogConfig { compact: true, ..LogConfig::default() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let mut mixed = RecordBatchBuilder::new(Compression::Lz4);
    mixed.push(NOW, Some(b"k"), None, []);
    mixed.push(NOW, None, Some(b"v"), []);
    let error = append(&mut log, &config, &mixed.finish(0).unwrap()).unwrap_err();
    assert!(matches!(error, AppendError::Keyless));
    let mut keyed = RecordBatchBuilder::new(Compression::None);
    keyed.push(NOW, Some(b""), None, []);
    append(&mut log, &config, &keyed.finish(0).unwrap()).unwrap();
    let error = append(&mut log, &config, &from_producer(7, 0, -1, 1)).unwrap_err();
    assert!(matches!(error, AppendError::Sequence(-1)));
}

/// The checksum does not cover a batch's offset: any bit of it may be wrong, in any batch.
#[test]
fn a_changed_offset_is_cut_off_and_nothing_panics() {
    let config = LogConfig { index_interval_bytes: 0, ..LogConfig::default() };
    let one = batch(&[NOW], b"value", Compression::None);
    for (number, bit) in [(0, 0), (0, 20), (2, 1), (2, 31), (2, 40), (4, 62), (4, 63), (4, 0)] {
        for recovery in [Recovery::Clean, Recovery::ProcessCrash, Recovery::MachineCrash] {
            let disk = MemoryDisk::default();
            let mut log = open(&disk, &config, Recovery::Clean);
            for _ in 0..5 {
                append(&mut log, &config, &one).unwrap();
            }
            log.close().unwrap();
            disk.corrupt(&Path::new(DIR).join("00000000000000000000.log"), |bytes| {
                bytes[one.len() * number + 7 - bit / 8] ^= 1 << (bit % 8);
            });
            let mut log = open(&disk, &config, recovery);
            // A dead process has damaged nothing but its last write: only the end is looked at.
            let seen = recovery == Recovery::MachineCrash || number == 4;
            let expected = if seen { number as i64 } else { 5 };
            assert_eq!(log.end_offset(), expected, "{number} {bit} {recovery:?}");
            assert_eq!(append(&mut log, &config, &one).unwrap().base_offset, expected);
        }
    }
}
