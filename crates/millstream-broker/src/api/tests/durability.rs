//! What is there after a crash, a power loss, or on a data directory that is not as it was left.

use std::path::Path;

use super::*;

/// Folders directly in `/data/topics`.
fn folders(disk: &MemoryDisk) -> Vec<String> {
    let mut names: Vec<String> = disk
        .files()
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("/data/topics").ok()?.iter().next())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.dedup();
    names
}

#[test]
fn a_start_leaves_folders_alone_that_it_does_not_know() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(5, 10));
    let own = folders(&bench.disk);
    let foreign = "0123456789abcdef0123456789abcdef";
    bench.disk.corrupt(Path::new("/data/topics/photos/a.jpg"), |bytes| bytes.push(1));
    let log = format!("/data/topics/{foreign}/0/00000000000000000000.log");
    bench.disk.corrupt(Path::new(&log), |bytes| bytes.push(1));
    // All that names the topics is lost.
    let journals: Vec<_> = bench
        .disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.starts_with("/data/journals"))
        .collect();
    for (path, _) in journals {
        crate::disk::Disk::remove_file(&bench.disk, &path).unwrap();
    }
    let bench = bench.crash();
    assert!(bench.broker.topics.get("t").is_none());
    let mut expected = vec![foreign.to_owned(), own[0].clone(), "photos".to_owned()];
    expected.sort();
    assert_eq!(folders(&bench.disk), expected);
}

#[test]
fn a_half_done_deletion_is_ended_by_the_next_start() {
    let mut bench = Bench::new();
    for name in ["gone", "stays", "later"] {
        bench.create(name, 1, &[]);
        bench.produce(name, 0, batch(1, 10));
    }
    let delete =
        |name: &str| DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]);
    // The journal is written, the files are not removed any more.
    bench.disk.fail_from(2, 0);
    bench.ask(5, &delete("gone"));
    bench.disk.heal();
    assert_eq!(folders(&bench.disk).len(), 3);
    let mut bench = bench.crash();
    assert_eq!(folders(&bench.disk).len(), 2);
    // The note that a deletion was begun does not stay for ever.
    let noted = |bench: &Bench| bench.broker.meta.scan(b"x").count();
    assert_eq!(noted(&bench), 1);
    bench.ask(5, &delete("later"));
    assert_eq!((noted(&bench), folders(&bench.disk).len()), (1, 1));
    let bench = bench.crash();
    assert!(bench.broker.topics.get("stays").is_some());
}

#[test]
fn a_damaged_list_of_topics_ends_the_start_and_no_data() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.create(name, 1, &[]);
        bench.produce(name, 0, batch(1, 10));
    }
    bench.disk.corrupt(Path::new("/data/journals/meta.0"), |bytes| {
        let middle = bytes.len() / 2;
        // Enough to reach what the checksum covers.
        bytes[middle..middle + 20].iter_mut().for_each(|byte| *byte ^= 1);
    });
    let before = folders(&bench.disk);
    let error = try_open(&bench.disk, &bench.clock, "boot").err().expect("it must not start");
    assert!(error.to_string().contains("truncate"), "{error}");
    assert_eq!(folders(&bench.disk), before);
}

#[test]
fn topics_and_settings_survive_a_power_loss() {
    let mut bench = Bench::new();
    bench.create("t", 3, &[("retention.ms", "-1")]);
    let bench = bench.power_loss();
    assert_eq!(bench.broker.topics.get("t").unwrap().partitions.len(), 3);
}

/// Three segments after a power loss, the second one with a hole.
fn log_with_a_hole() -> (MemoryDisk, Arc<ManualClock>, i64) {
    let mut bench = Bench::new();
    assert_eq!(bench.create("t", 1, &[("segment.bytes", "1048576")]), 0);
    for _ in 0..6 {
        bench.produce("t", 0, batch(1, 600_000));
    }
    let mut logs = bench.disk.files();
    logs.retain(|(path, _)| path.extension().is_some_and(|kind| kind == "log"));
    assert!(logs.len() > 2);
    let second = &logs[1].0;
    let base = second.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    bench.disk.corrupt(second, |bytes| bytes[100..].fill(0));
    (bench.disk, bench.clock, base)
}

/// The start after a power loss is interrupted, at each change it makes: the next one, in the
/// same run of the machine, must still check every segment.
#[test]
fn an_interrupted_recovery_begins_anew() {
    let mut interrupted = 0;
    for at in 1.. {
        let (disk, clock, hole) = log_with_a_hole();
        disk.fail_from(at, 0);
        let finished = try_open(&disk, &clock, "next boot").is_ok();
        disk.heal();
        let broker = try_open(&disk, &clock, "next boot").unwrap();
        let end = broker.topics.get("t").unwrap().log(0).unwrap().end_offset();
        assert_eq!(end, hole, "interrupted at change {at}");
        if finished {
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted > 3);
}

fn batch_of(producer: i64, sequence: i32) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Compression::None).producer(producer, 0, sequence);
    builder.push(START_MS, None, Some(b"v"), []);
    builder.finish(0).unwrap().into()
}

#[test]
fn a_producer_id_is_given_out_once() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[("flush.messages", "1")]);
    let first = bench.broker.new_producer_id().unwrap();
    let mut bench = bench.power_loss();
    let second = bench.broker.new_producer_id().unwrap();
    assert!(second > first, "{second} after {first}");
    // Nor is one whose reservation is lost, as long as a log remembers it. An id that cannot
    // have come from a broker uses up none.
    assert_eq!(bench.produce("t", 0, batch_of(5_000, 0)), (0, 0));
    assert_eq!(bench.produce("t", 0, batch_of(i64::MAX, 0)), (0, 1));
    let mut bench = bench.crash();
    assert_eq!(bench.broker.new_producer_id().unwrap(), 5_001);
}

#[test]
fn a_clean_stop_survives_a_power_loss() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(5, 10));
    let committed = crate::coordinator::Committed {
        offset: 4,
        leader_epoch: 0,
        at_ms: START_MS,
        metadata: None,
    };
    bench.broker.coordinator.commit("g", vec![("t".into(), 0, committed.clone())]).unwrap();
    bench.broker.close().unwrap();
    let before = bench.disk.dir_syncs();
    let bench = bench.power_loss();
    assert_eq!(bench.broker.topics.get("t").unwrap().log(0).unwrap().end_offset(), 5);
    assert_eq!(bench.broker.coordinator.committed("g", "t", 0), Some(committed));

    // A power loss soon after this start must not be taken for that clean stop: its note is gone
    // for good before anything else changes.
    assert!(!bench.disk.files().iter().any(|(path, _)| path.ends_with("clean-stop")));
    assert!(bench.disk.dir_syncs() > before);
}

#[test]
fn a_batch_that_could_not_be_synced_is_an_error_and_wakes_its_readers() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[("flush.messages", "1")]);
    let request = fetch_request(12, &bench, "t", 0);
    let Reply::Later(ticket) = bench.send(12, &request).unwrap() else { panic!("not parked") };
    bench.disk.fail_syncs();
    let storage = ResponseError::KafkaStorageError.code();
    assert_eq!(bench.produce("t", 0, batch(1, 10)).0, storage);
    let frame = bench.answer(ticket).expect("the batch can be read");
    let response = Bench::decode::<FetchRequest>(12, frame);
    assert_eq!(record_count(response.responses[0].partitions[0].records.as_ref()), 1);
}

#[test]
fn a_flush_setting_that_is_changed_while_running_reaches_the_offsets() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let commits = |bench: &mut Bench| {
        let before = bench.disk.syncs();
        bench.commit("g", "t", "");
        bench.disk.syncs() - before
    };
    assert_eq!(commits(&mut bench), 0);
    let set = |bench: &mut Bench, value: &str| {
        let values = [("log.flush.interval.messages".to_owned(), value.to_owned())];
        bench.broker.set_dynamic(false, values.into()).unwrap();
    };
    set(&mut bench, "1");
    assert_eq!(commits(&mut bench), 1);
    let mut bench = bench.crash();
    assert_eq!(commits(&mut bench), 1, "also after a restart");
    set(&mut bench, "1000");
    assert_eq!(commits(&mut bench), 0);
}

#[test]
fn a_deletion_of_records_waits_for_the_medium_once() {
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let mut bench = Bench::new();
    bench.create("t", 3, &[("flush.messages", "1")]);
    for partition in 0..3 {
        bench.produce("t", partition, batch(5, 10));
    }
    let rows = (0..3)
        .map(|partition| {
            DeleteRecordsPartition::default().with_partition_index(partition).with_offset(2)
        })
        .collect();
    let topic = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(rows);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
    let before = bench.disk.syncs();
    let response = bench.ask(2, &request);
    assert!(response.topics[0].partitions.iter().all(|row| row.low_watermark == 2));
    assert_eq!(bench.disk.syncs(), before + 1);
    let mut bench = bench.power_loss();
    let log = |bench: &Bench| bench.broker.topics.get("t").unwrap().log(2).unwrap().start_offset();
    assert_eq!(log(&bench), 2);
    bench.disk.fail_syncs();
    let response = bench.ask(2, &request);
    let code = response.topics[0].partitions[0].error_code;
    assert_eq!(code, ResponseError::KafkaStorageError.code());
}

/// The process dies between a write and its sync: the next one shows the record, so it must have
/// waited for it.
#[test]
fn what_a_start_shows_is_on_the_medium_if_the_policy_says_so() {
    let mut bench = Bench::new();
    assert_eq!(bench.create("t", 1, &[("flush.messages", "1")]), 0);
    bench.disk.fail_syncs();
    assert_ne!(bench.produce("t", 0, batch(1, 10)).0, 0);
    bench.disk.heal();
    let mut bench = bench.crash();
    let id = bench.topic_id("t");
    let seen = bench.ask(12, &fetch_request(12, &bench, "t", 0));
    assert_eq!(seen.responses[0].partitions[0].high_watermark, 1);
    let mut bench = bench.power_loss();
    assert_eq!(bench.topic_id("t"), id);
    let seen = bench.ask(12, &fetch_request(12, &bench, "t", 0));
    assert_eq!(seen.responses[0].partitions[0].high_watermark, 1);
}
