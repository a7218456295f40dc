//! Random logs, compacted again and again, against a list of all records with a flag each.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A batch of that producer; 0 to 2 have transactions, 3 and 4 sequence numbers, 5 nothing.
    Write {
        producer: usize,
        records: Vec<(u8, Option<u8>)>,
        codec: usize,
        timestamp: i64,
    },
    /// The end of its transaction; `raise` begins a new epoch, as Kafka does since KIP-890.
    End {
        producer: usize,
        commit: bool,
        raise: bool,
    },
    Clean {
        small_map: bool,
    },
    Wait(i64),
    Roll,
    Restart {
        how: usize,
        lose_snapshots: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (0u8..6, prop_oneof![3 => any::<u8>().prop_map(Some), 1 => Just(None)]);
    let step = prop_oneof![
        10 => (0usize..6, proptest::collection::vec(record, 1..5), 0usize..5, 0i64..500).prop_map(
            |(producer, records, codec, timestamp)| Step::Write {
                producer, records, codec, timestamp
            }
        ),
        4 => (0usize..3, any::<bool>(), any::<bool>())
            .prop_map(|(producer, commit, raise)| Step::End { producer, commit, raise }),
        3 => any::<bool>().prop_map(|small_map| Step::Clean { small_map }),
        2 => (1i64..1500).prop_map(Step::Wait),
        1 => Just(Step::Roll),
        1 => (0usize..3, any::<bool>())
            .prop_map(|(how, lose_snapshots)| Step::Restart { how, lose_snapshots }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A record and all that decides about it.
#[derive(Clone, Debug)]
struct Twin {
    seen: Seen,
    /// The batch it came in.
    batch: usize,
    /// `None` outside of transactions, then whether it was committed, if that is decided.
    committed: Option<Option<bool>>,
    producer: usize,
    gone: bool,
}

#[derive(Default)]
struct Model {
    records: Vec<Twin>,
    /// Delete horizon of each batch.
    horizons: Vec<Option<i64>>,
}

impl Model {
    /// What a compaction does that has read `from..mapped_to` into its map and written the
    /// segments below `end` anew.
    fn compact(&mut self, from: i64, mapped_to: i64, end: i64, now_ms: i64, retention_ms: i64) {
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let aborted = |record: &Twin| record.committed == Some(Some(false));
        for record in self.records.iter().filter(|record| !record.gone && !aborted(record)) {
            if (from..mapped_to).contains(&record.seen.offset) {
                newest.insert(record.seen.key.clone().unwrap(), record.seen.offset);
            }
        }
        for record in self.records.iter_mut().filter(|record| record.seen.offset < end) {
            record.gone |= aborted(record);
            if record.seen.offset >= mapped_to {
                continue;
            }
            let superseded = newest
                .get(record.seen.key.as_ref().unwrap())
                .is_some_and(|offset| *offset > record.seen.offset);
            let due = self.horizons[record.batch].is_some_and(|horizon| horizon <= now_ms);
            record.gone |= superseded || record.seen.value.is_none() && due;
        }
        for record in self.records.iter().filter(|record| !record.gone) {
            if record.seen.value.is_none() && record.seen.offset < mapped_to {
                self.horizons[record.batch].get_or_insert(now_ms + retention_ms);
            }
        }
    }

    fn expected(&self, committed_only: bool, end: i64) -> Vec<Seen> {
        self.records
            .iter()
            .filter(|record| !record.gone && record.seen.offset < end)
            .filter(|record| !committed_only || record.committed != Some(Some(false)))
            .map(|record| record.seen.clone())
            .collect()
    }

    /// The newest committed value of each key, whatever compaction did.
    fn table(&self, end: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let committed = |record: &&Twin| {
            record.seen.offset < end && record.committed.is_none_or(|how| how == Some(true))
        };
        let records: Vec<Seen> =
            self.records.iter().filter(committed).map(|record| record.seen.clone()).collect();
        table(&records)
    }
}

/// Id, epoch and last sequence number of each producer.
fn producers(log: &PartitionLog) -> Vec<(i64, i16, i32)> {
    log.active_producers()
        .map(|producer| (producer.id, producer.epoch, producer.last_sequence))
        .collect()
}

fn check(log: &mut PartitionLog, model: &Model, max_bytes: usize) -> Result<(), TestCaseError> {
    let (end, stable) = (log.end_offset(), log.last_stable_offset());
    let raw = consume(log, 0, end, max_bytes, false);
    let plain: Vec<Seen> = raw.iter().filter(|record| !record.control).cloned().collect();
    prop_assert_eq!(&plain, &model.expected(false, end));
    let committed = consume(log, 0, stable, max_bytes, true);
    prop_assert_eq!(&committed, &model.expected(true, stable));
    prop_assert_eq!(table(&committed), model.table(stable));
    for target in (NOW - 10..NOW + 600).step_by(37) {
        let found = log.find_timestamp(target).unwrap().map(|found| found.offset);
        let slow = raw.iter().find(|record| record.timestamp >= target).map(|record| record.offset);
        prop_assert_eq!(found, slow, "timestamp {}", target);
    }
    let newest = raw.iter().map(|record| record.timestamp).max();
    let found = log.find_max_timestamp().unwrap();
    prop_assert_eq!(found.map(|found| found.timestamp), newest);
    // A reader may come from anywhere, also from the middle of a gap.
    for from in (0..=end).step_by(5) {
        let expected: Vec<Seen> =
            raw.iter().filter(|record| record.offset >= from).cloned().collect();
        prop_assert_eq!(consume(log, from, end, max_bytes, false), expected, "from {}", from);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_left_is_what_the_twin_says(
        steps in steps(),
        segment_bytes in 150u64..1500,
        interval in 0u64..300,
        delete_retention_ms in prop_oneof![Just(0i64), 1i64..3000],
        min_lag_ms in prop_oneof![3 => Just(0i64), 1 => 1i64..2000],
        ratio in prop_oneof![2 => Just(0.0), 1 => 0.0f64..0.9],
        max_bytes in 1usize..2000,
    ) {
        let config = LogConfig {
            segment_bytes,
            index_interval_bytes: interval,
            delete_retention_ms,
            min_compaction_lag_ms: min_lag_ms,
            min_cleanable_ratio: ratio,
            ..eager()
        };
        let disk = MemoryDisk::default();
        let mut log = open(&disk, &config, Recovery::Clean);
        let mut model = Model::default();
        let mut now_ms = NOW;
        let (mut epochs, mut sequences) = ([0i16; 6], [0i32; 6]);
        for step in steps {
            match step {
                Step::Write { producer, records, codec, timestamp } => {
                    let mut builder = RecordBatchBuilder::new(Compression::ALL[codec]);
                    if producer < 5 {
                        let id = producer as i64;
                        builder = builder.producer(id, epochs[producer], sequences[producer]);
                        sequences[producer] += records.len() as i32;
                    }
                    if producer < 3 {
                        builder = builder.transactional();
                    }
                    let batch = model.horizons.len();
                    model.horizons.push(None);
                    for (number, (key, value)) in records.iter().enumerate() {
                        let timestamp = NOW + (timestamp + 17 * number as i64) % 500;
                        let value = value.map(|value| vec![value; 3]);
                        builder.push(timestamp, Some(&[*key]), value.as_deref(), []);
                        model.records.push(Twin {
                            seen: Seen {
                                offset: log.end_offset() + number as i64,
                                key: Some(vec![*key]),
                                value,
                                timestamp,
                                control: false,
                            },
                            batch,
                            committed: (producer < 3).then_some(None),
                            producer,
                            gone: false,
                        });
                    }
                    log.append(&config, now_ms, &builder.finish(0).unwrap(), &mut Vec::new()).unwrap();
                }
                Step::End { producer, commit, raise } => {
                    let epoch = epochs[producer] + i16::from(raise);
                    let id = producer as i64;
                    let marker = Marker { producer_id: id, epoch, commit, coordinator_epoch: 0 };
                    log.write_marker(&config, NOW, &marker).unwrap();
                    for record in model.records.iter_mut().filter(|r| r.producer == producer) {
                        if record.committed == Some(None) {
                            record.committed = Some(Some(commit));
                        }
                    }
                    if raise {
                        (epochs[producer], sequences[producer]) = (epoch, 0);
                    }
                }
                Step::Clean { small_map } => {
                    let before = bases(&log);
                    let sizes = (log.start_offset(), log.end_offset(), log.last_stable_offset());
                    let known = producers(&log);
                    let from = log.compacted.clean_to;
                    let active = *before.last().unwrap();
                    let map_bytes = if small_map { 140 } else { MAP_BYTES };
                    if clean(&mut log, &config, now_ms, map_bytes) {
                        let to = log.compacted.clean_to;
                        prop_assert!(from < to && to <= active.min(sizes.2));
                        let end = *before.iter().find(|base| **base >= to).unwrap();
                        model.compact(from, to, end, now_ms, delete_retention_ms);
                    }
                    let after = (log.start_offset(), log.end_offset(), log.last_stable_offset());
                    prop_assert_eq!(after, sizes);
                    prop_assert_eq!(producers(&log), known);
                    check(&mut log, &model, max_bytes)?;
                }
                Step::Wait(ms) => now_ms += ms,
                Step::Roll => {
                    if log.segments.last().unwrap().size > 0 {
                        log.roll().unwrap();
                    }
                }
                Step::Restart { how, lose_snapshots } => {
                    let recovery =
                        [Recovery::Clean, Recovery::ProcessCrash, Recovery::MachineCrash][how];
                    let state = (log.end_offset(), log.last_stable_offset(), producers(&log));
                    if recovery == Recovery::Clean {
                        log.close().unwrap();
                    }
                    let is_snapshot =
                        |path: &Path| path.extension().is_some_and(|kind| kind == "snapshot");
                    for (path, _) in disk.files() {
                        if lose_snapshots && is_snapshot(&path) {
                            disk.remove_file(&path).unwrap();
                        }
                    }
                    let compacted = log.compacted;
                    log = open(&disk, &config, recovery);
                    prop_assert_eq!(log.compacted, compacted);
                    let again = (log.end_offset(), log.last_stable_offset(), producers(&log));
                    prop_assert_eq!(again, state, "{:?}", recovery);
                    check(&mut log, &model, max_bytes)?;
                }
            }
        }
        check(&mut log, &model, max_bytes)?;
        // Each producer goes on where it was.
        for producer in 0..5 {
            let mut builder = RecordBatchBuilder::new(Compression::None)
                .producer(producer as i64, epochs[producer], sequences[producer]);
            if producer < 3 {
                builder = builder.transactional();
            }
            builder.push(NOW, Some(b"k"), None, []);
            let next = builder.finish(0).unwrap();
            let appended = log.append(&config, now_ms, &next, &mut Vec::new());
            prop_assert!(appended.is_ok_and(|appended| appended.bytes > 0), "producer {}", producer);
        }
    }
}
