//! One rule after the other.

use super::*;

fn values(log: &mut PartitionLog) -> Vec<(i64, String)> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    texts(log).into_iter().map(|(offset, key, value)| (offset, key + &text(value))).collect()
}

fn shown(log: &mut PartitionLog) -> String {
    let shown = values(log).into_iter().map(|(offset, text)| format!("{offset}{text}"));
    shown.collect::<Vec<_>>().join(" ")
}

fn transactional(producer: i64, epoch: i16, sequence: i32, key: &str, value: &str) -> Vec<u8> {
    let builder = RecordBatchBuilder::new(Compression::None)
        .producer(producer, epoch, sequence)
        .transactional();
    keyed_batch(&[(key, Some(value))], builder)
}

#[test]
fn the_newest_record_of_each_key_stays_and_the_active_segment_is_untouched() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5"), ("a", "6")] {
        append(&mut log, &config, &keyed(key, Some(value)));
    }
    assert_eq!(bases(&log), [0, 2, 4]);
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(shown(&mut log), "1b2 2a3 3c4 4a5 5a6");
    assert!(!clean(&mut log, &config, NOW, MAP_BYTES), "nothing is new");
    log.roll().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(shown(&mut log), "1b2 3c4 5a6");
    assert_eq!(log.end_offset(), 6);
}

#[test]
fn a_tombstone_stays_for_its_time() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    let round = |log: &mut PartitionLog, key: &str, now_ms: i64| {
        append(log, &config, &keyed(key, Some("v")));
        log.roll().unwrap();
        assert!(clean(log, &config, now_ms, MAP_BYTES));
        shown(log)
    };
    let mut log_ref = &mut log;
    append(log_ref, &eager(), &keyed("a", Some("1")));
    append(log_ref, &eager(), &keyed("a", None));
    assert_eq!(round(log_ref, "b", NOW), "1a- 2bv");
    let horizon = headers(log_ref)[0].delete_horizon_ms();
    assert_eq!(horizon, Some(NOW + 1000), "counted from the first compaction that met it");
    assert_eq!(round(log_ref, "c", NOW + 999), "1a- 2bv 3cv");
    let mut reopened = open(&disk, &eager(), Recovery::MachineCrash);
    log_ref = &mut reopened;
    assert_eq!(headers(log_ref)[0].delete_horizon_ms(), horizon);
    assert_eq!(round(log_ref, "d", NOW + 1000), "2bv 3cv 4dv");
}

#[test]
fn a_marker_stays_while_something_of_its_transaction_does_and_then_for_its_time() {
    for commit in [true, false] {
        let disk = MemoryDisk::default();
        let config = eager();
        let mut log = open(&disk, &config, Recovery::Clean);
        append(&mut log, &config, &transactional(1, 0, 0, "a", "1"));
        end(&mut log, &config, 1, 0, commit);
        // Its producer goes on elsewhere, with a new epoch.
        end(&mut log, &config, 1, 1, true);
        let round = |log: &mut PartitionLog, key: &str, now_ms: i64| {
            append(log, &config, &keyed(key, Some("v")));
            log.roll().unwrap();
            assert!(clean(log, &config, now_ms, MAP_BYTES));
            let kept = headers(log);
            kept.iter().map(|header| header.base_offset).collect::<Vec<_>>()
        };
        let first = round(&mut log, "b", NOW);
        match commit {
            true => assert_eq!(first, [0, 1, 2, 3]),
            // Records of an aborted transaction go at once.
            false => assert_eq!(first, [1, 2, 3]),
        }
        assert_eq!(log.aborted_in(0, 9).unwrap().len(), usize::from(!commit));
        let last_use = if commit { round(&mut log, "a", NOW + 5000) } else { first };
        assert!(last_use.contains(&1) && !last_use[1..].contains(&0), "{last_use:?}");
        // Nothing of it is there any more: its time begins.
        let begun = NOW + 6000;
        assert!(round(&mut log, "c", begun).contains(&1));
        assert!(log.aborted_in(0, 9).unwrap().is_empty());
        assert!(round(&mut log, "d", begun + 999).contains(&1));
        let left = round(&mut log, "e", begun + 1000);
        assert!(!left.contains(&1), "{left:?}");
        assert!(left.contains(&2), "the epoch of a producer rests on its last marker: {left:?}");
    }
}

#[test]
fn the_last_batch_of_a_producer_stays_without_records() {
    let disk = MemoryDisk::default();
    let config = LogConfig { producer_expiration_ms: 10_000, ..eager() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for sequence in 0..3 {
        let builder = RecordBatchBuilder::new(Compression::Zstd).producer(7, 2, sequence * 2);
        let records = [("a", Some("1")), ("a", Some("2"))];
        append(&mut log, &config, &keyed_batch(&records, builder));
    }
    append(&mut log, &config, &keyed("a", Some("3")));
    append(&mut log, &config, &keyed("b", Some("4")));
    log.roll().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    let kept = headers(&mut log);
    assert_eq!(
        kept.iter().map(|h| (h.base_offset, h.record_count)).collect::<Vec<_>>(),
        [(4, 0), (6, 1), (7, 1)]
    );
    assert_eq!((kept[0].last_offset(), kept[0].last_sequence(), kept[0].producer_epoch), (5, 5, 2));
    assert_eq!(shown(&mut log), "6a3 7b4");
    for (path, _) in disk.files() {
        if path.extension().is_some_and(|kind| kind == "snapshot") {
            disk.remove_file(&path).unwrap();
        }
    }
    let mut log = open(&disk, &config, Recovery::MachineCrash);
    let again = RecordBatchBuilder::new(Compression::Zstd).producer(7, 2, 4);
    let again = keyed_batch(&[("a", Some("1")), ("a", Some("2"))], again);
    let appended = log.append(&config, NOW, &again, &mut Vec::new()).unwrap();
    assert_eq!((appended.base_offset, appended.bytes), (4, 0), "it is known still");
    // Once the producer is forgotten nobody needs it.
    log.tick(&config, NOW + 20_000).unwrap();
    append(&mut log, &config, &keyed("c", Some("5")));
    log.roll().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(headers(&mut log)[0].base_offset, 6);
}

#[test]
fn the_last_batch_of_all_stays_so_that_readers_get_across() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &keyed("a", Some("1")));
    append(&mut log, &config, &transactional(3, 0, 0, "b", "2"));
    end(&mut log, &config, 3, 1, false);
    append(&mut log, &config, &transactional(3, 1, 0, "b", "3"));
    log.roll().unwrap();
    end(&mut log, &config, 3, 2, false);
    log.roll().unwrap();
    assert_eq!(log.end_offset(), 5);
    // Compact up to the first roll only: its last batch belongs to an aborted transaction.
    let dirty = Dirty { from: 0, limit: 4, ratio: 1.0 };
    log.begin_cleaning(&dirty, NOW, MAP_BYTES).unwrap();
    while log.clean_some(&config).unwrap() {}
    let kept = headers(&mut log);
    let shape: Vec<_> = kept.iter().map(|h| (h.base_offset, h.record_count)).collect();
    assert_eq!(shape, [(0, 1), (2, 1), (3, 0), (4, 1)]);
    assert_eq!(shown(&mut log), "0a1");
}

#[test]
fn what_loses_nothing_is_copied_byte_for_byte_and_packing_stays() {
    let disk = MemoryDisk::default();
    let config = LogConfig { segment_bytes: 10_000, ..eager() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for (number, codec) in Compression::ALL.into_iter().enumerate() {
        let (whole, other) = (format!("w{number}"), format!("o{number}"));
        let whole = [(whole.as_str(), Some("x")), (other.as_str(), Some("y"))];
        append(&mut log, &config, &keyed_batch(&whole, RecordBatchBuilder::new(codec)));
        let part = [("p", Some("1")), (other.as_str(), Some("2")), ("q", Some("3"))];
        append(&mut log, &config, &keyed_batch(&part, RecordBatchBuilder::new(codec)));
    }
    append(&mut log, &config, &keyed("z", Some("0")));
    log.roll().unwrap();
    let before = log.read(0, 1 << 20, true, i64::MAX).unwrap().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    let after = log.read(0, 1 << 20, true, i64::MAX).unwrap().unwrap();
    let before: Vec<_> = BatchIter::new(&before).map(Result::unwrap).collect();
    let after: Vec<_> = BatchIter::new(&after).map(Result::unwrap).collect();
    assert_eq!(before.len(), after.len());
    for (number, (old, new)) in before.iter().zip(&after).enumerate() {
        new.check().unwrap();
        assert_eq!(old.header().attributes, new.header().attributes);
        // The last pair and the batch behind it lose nothing.
        let untouched = number >= 9;
        assert_eq!(old.bytes() == new.bytes(), untouched, "{number}");
        assert_eq!(old.header().last_offset(), new.header().last_offset());
    }
}

#[test]
fn small_segments_become_one_within_the_limits() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..40 {
        append(&mut log, &config, &keyed(&format!("k{}", number % 4), Some("v")));
    }
    let before = log.segments.len();
    let config = LogConfig { segment_bytes: 1000, ..config };
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert!(log.segments.len() <= before / 3, "{:?}", bases(&log));
    // Of what is left all fits into one.
    append(&mut log, &config, &keyed("k", Some("v")));
    log.roll().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(bases(&log)[0], 0);
    assert_eq!(log.segments.len(), 2);
    let logs = disk.files().into_iter().filter(|(path, _)| path.extension().unwrap() == "log");
    assert_eq!(logs.count(), 2);
    let index = LogConfig { segment_index_bytes: 8, ..config };
    for number in 0..10 {
        append(&mut log, &eager(), &keyed(&format!("n{number}"), Some("v")));
    }
    let before = bases(&log);
    assert!(clean(&mut log, &index, NOW, MAP_BYTES));
    assert_eq!(bases(&log), before, "their indexes are too large together");
}

#[test]
fn nothing_from_the_last_stable_offset_on_is_touched() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    append(&mut log, &config, &keyed("a", Some("1")));
    append(&mut log, &config, &keyed("a", Some("2")));
    append(&mut log, &config, &transactional(1, 0, 0, "x", "y"));
    for _ in 0..6 {
        append(&mut log, &config, &keyed("a", Some("3")));
    }
    assert_eq!(bases(&log)[1], 2);
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(log.compacted.clean_to, 2);
    assert_eq!(values(&mut log).len(), 8);
    end(&mut log, &config, 1, 0, true);
    log.roll().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(shown(&mut log), "2xy 8a3");
}

#[test]
fn lags_and_the_share_of_new_bytes_decide_when() {
    let disk = MemoryDisk::default();
    let config = LogConfig { min_cleanable_ratio: 0.5, ..eager() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..8 {
        append(&mut log, &config, &keyed(&format!("k{number}"), Some("v")));
    }
    log.roll().unwrap();
    let lag = LogConfig { min_compaction_lag_ms: 100, ..config.clone() };
    assert_eq!(log.dirty(&lag, NOW + 99), None);
    assert!(log.dirty(&lag, NOW + 100).is_some());
    assert!(log.dirty(&LogConfig { compact: false, ..lag }, NOW + 100).is_none());
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    append(&mut log, &config, &keyed("k1", Some("w")));
    log.roll().unwrap();
    assert_eq!(log.dirty(&config, NOW), None, "one in nine is new");
    let eager = LogConfig { min_cleanable_ratio: 0.1, ..config.clone() };
    assert!(log.dirty(&eager, NOW).is_some());
    let waited = LogConfig { max_compaction_lag_ms: 500, ..config };
    assert_eq!(log.dirty(&waited, NOW + 500), None);
    assert!(log.dirty(&waited, NOW + 501).is_some());
    // A segment that is written to would hold records back for ever.
    let mut late = RecordBatchBuilder::new(Compression::None);
    late.push(NOW + 600, Some(b"k"), None, []);
    append(&mut log, &waited, &keyed("k2", Some("w")));
    let before = log.segments.len();
    append(&mut log, &waited, &late.finish(0).unwrap());
    assert_eq!(log.segments.len(), before + 1);
}

#[test]
fn a_full_map_makes_progress_and_the_rest_comes_next() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..30 {
        append(&mut log, &config, &keyed(&format!("k{}", number % 7), Some(&number.to_string())));
    }
    log.roll().unwrap();
    let mut rounds = 0;
    while clean(&mut log, &config, NOW, 1) {
        rounds += 1;
        assert_eq!(log.compacted.clean_to, rounds, "one batch each");
    }
    assert_eq!(rounds, 30);
    let expected: Vec<_> = (23..30).map(|n| (n, format!("k{}{n}", n % 7))).collect();
    assert_eq!(values(&mut log), expected);
}

#[test]
fn records_without_a_key_go_if_the_topic_was_not_compacted_before() {
    let disk = MemoryDisk::default();
    let config = eager();
    let before = LogConfig { compact: false, ..config.clone() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let mut builder = RecordBatchBuilder::new(Compression::None);
    builder.push(NOW, None, Some(b"v"), []);
    builder.push(NOW, Some(b"a"), Some(b"1"), []);
    append(&mut log, &before, &builder.finish(0).unwrap());
    append(&mut log, &before, &keyed("b", Some("2")));
    log.roll().unwrap();
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(shown(&mut log), "1a1 2b2");
}

#[test]
fn a_broken_batch_stops_it_and_is_left_as_it_is() {
    let disk = MemoryDisk::default();
    let config = eager();
    let mut log = open(&disk, &config, Recovery::Clean);
    for value in ["1", "2", "3", "4", "5"] {
        append(&mut log, &config, &keyed("a", Some(value)));
    }
    let file = Path::new(DIR).join("00000000000000000002.log");
    disk.corrupt(&file, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let before = disk.files();
    let dirty = log.dirty(&config, NOW).unwrap();
    log.begin_cleaning(&dirty, NOW, MAP_BYTES).unwrap();
    let error = loop {
        match log.clean_some(&config) {
            Ok(more) => assert!(more),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(disk.files(), before);
    assert_eq!(log.dirty(&config, NOW + RETRY_MS - 1), None, "it is not tried again at once");
    assert!(log.dirty(&config, NOW + RETRY_MS).is_some());
}

#[test]
fn a_segment_of_which_nothing_is_left_does_not_stop_retention() {
    let disk = MemoryDisk::default();
    let config = LogConfig { delete: true, retention_ms: 10_000, ..eager() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for _ in 0..3 {
        append(&mut log, &config, &keyed("a", Some(&"x".repeat(150))));
    }
    append(&mut log, &config, &keyed("b", Some("y")));
    log.roll().unwrap();
    assert_eq!(bases(&log), [0, 1, 2, 3, 4]);
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!((log.segments[0].size, log.start_offset()), (0, 0));
    for recovery in [Recovery::MachineCrash, Recovery::ProcessCrash] {
        log = open(&disk, &config, recovery);
        assert_eq!((log.start_offset(), log.end_offset()), (0, 4));
        assert_eq!(values(&mut log).len(), 2);
    }
    assert!(log.tick(&config, NOW + 20_000).unwrap());
    assert_eq!((log.start_offset(), log.end_offset(), log.size()), (4, 4, 0));
}

#[test]
fn retention_ends_a_compaction_that_is_under_way() {
    let disk = MemoryDisk::default();
    let config = LogConfig { delete: true, ..eager() };
    let mut log = open(&disk, &config, Recovery::Clean);
    for number in 0..12 {
        append(&mut log, &config, &keyed(&format!("k{}", number % 3), Some("v")));
    }
    let dirty = log.dirty(&config, NOW).unwrap();
    log.begin_cleaning(&dirty, NOW, MAP_BYTES).unwrap();
    for _ in 0..3 {
        assert!(log.clean_some(&config).unwrap());
    }
    log.delete_below(5).unwrap();
    assert!(!log.clean_some(&config).unwrap());
    let left = |path: &std::path::PathBuf| path.to_string_lossy().contains("cleaned");
    assert!(!disk.files().iter().any(|(path, _)| left(path)), "{:?}", disk.files());
    let first = texts(&mut log)[0].0;
    assert!((5..=9).contains(&first), "{first}");
    assert!(clean(&mut log, &config, NOW, MAP_BYTES));
    assert_eq!(texts(&mut log).last().unwrap().0, 11);
}

#[test]
fn it_is_done_in_small_steps_between_which_readers_and_writers_go_on() {
    let disk = MemoryDisk::default();
    let config = LogConfig { segment_bytes: 1 << 20, ..eager() };
    let mut log = open(&disk, &config, Recovery::Clean);
    let value = "v".repeat(10_000);
    for number in 0..300 {
        append(&mut log, &config, &keyed(&format!("k{}", number % 50), Some(&value)));
    }
    let complete: u64 = log.segments[..log.segments.len() - 1].iter().map(|s| s.size).sum();
    let dirty = log.dirty(&config, NOW).unwrap();
    log.begin_cleaning(&dirty, NOW, MAP_BYTES).unwrap();
    let mut steps = 0;
    // A consumer that was here before, is here after each step, and loses nothing on its way.
    let mut position = 0;
    let mut read = Vec::new();
    while log.clean_some(&config).unwrap() {
        steps += 1;
        append(&mut log, &config, &keyed(&format!("n{steps}"), Some("w")));
        let bytes = log.read(position, 200_000, true, i64::MAX).unwrap().unwrap();
        for batch in BatchIter::new(&bytes) {
            let batch = batch.unwrap();
            let mut scratch = Vec::new();
            let key = batch.records(&mut scratch, 1 << 20).unwrap().next();
            read.push(String::from_utf8(key.unwrap().unwrap().key.unwrap().to_vec()).unwrap());
            position = batch.header().next_offset();
        }
    }
    assert!(steps > 2 * complete / STEP_BYTES, "{steps} steps for {complete} bytes, twice");
    read.extend(texts(&mut log).into_iter().filter(|row| row.0 >= position).map(|row| row.1));
    for key in (0..50).map(|n| format!("k{n}")).chain((1..=steps).map(|n| format!("n{n}"))) {
        assert!(read.contains(&key), "{key} was never read");
    }
}
