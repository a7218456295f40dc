//! The broker dies at each write of a workload, with some bytes of it on the disk or none. What
//! was acknowledged must be there afterwards, and what was aborted must never be seen.

use super::*;

/// Values that one transaction writes to each of the two partitions.
const SIZE: usize = 2;
const PARTITIONS: [i32; 2] = [0, 1];

/// What a client knows when the broker dies.
#[derive(Debug, Default)]
struct Known {
    /// Numbers of transactions whose commit was acknowledged.
    committed: Vec<usize>,
    /// The one that was being committed, if there is one: either outcome is right.
    committing: Option<usize>,
    /// The next one's number, whatever becomes of it.
    next: usize,
}

impl Known {
    fn attempts(&mut self, number: usize) {
        self.next = number + 1;
    }
}

/// Opens a broker whose disk may fail. `None` if it does.
fn try_open(disk: &MemoryDisk, clock: &Arc<ManualClock>) -> Option<Broker> {
    Broker::open(
        &BrokerConfig::new("/data"),
        &[SocketAddr::from(([127, 0, 0, 1], 9092))],
        Arc::new(disk.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        Box::new(Counting(disk.changes())),
        "boot",
    )
    .ok()
}

/// Transactions of one producer, every third aborted, each with the offset of its number. Stops
/// at the first answer that says that the disk is gone.
fn work(bench: &mut Bench, protocol: Protocol, known: &mut Known, count: usize) -> Option<()> {
    let is = bench.init_with(4, "tx", 60_000, None).ok()?;
    let mut producer = Producer { id: "tx", is, protocol, sequence: 0 };
    for number in known.next..known.next + count {
        known.attempts(number);
        // Each marker begins a segment (by `segment.ms`), so some deaths fall on that change.
        bench.clock.advance(Duration::from_secs(2));
        for partition in PARTITIONS {
            for item in 0..SIZE {
                let value = format!("{number}-{partition}-{item}");
                let code = bench.write(&mut producer, "t", partition, &value);
                (code == 0).then_some(())?;
            }
            // Each partition has sequence numbers of its own; this test counts one of them.
            producer.sequence -= SIZE as i32;
        }
        producer.sequence += SIZE as i32;
        let code = bench.send_offset(&producer, "g", "t", number as i64 + 1);
        (code == 0).then_some(())?;
        let commit = number % 3 != 2;
        if commit {
            known.committing = Some(number);
        }
        (bench.end(&mut producer, commit) == 0).then_some(())?;
        if commit {
            known.committed.push(number);
            known.committing = None;
        }
    }
    Some(())
}

/// What must hold whenever the broker is up and nobody writes.
fn check(bench: &mut Bench, known: &Known, what: &str) -> Vec<usize> {
    let mut expected: Vec<usize> = known.committed.clone();
    let seen: Vec<Vec<String>> =
        PARTITIONS.iter().map(|partition| bench.committed_values("t", *partition)).collect();
    let values = |numbers: &[usize], partition: i32| -> Vec<String> {
        let one = |number: &usize| {
            let number = *number;
            (0..SIZE).map(move |item| format!("{number}-{partition}-{item}"))
        };
        numbers.iter().flat_map(one).collect()
    };
    if let Some(number) = known.committing
        && seen[0].len() > expected.len() * SIZE
    {
        expected.push(number);
    }
    for partition in PARTITIONS {
        assert_eq!(
            seen[partition as usize],
            values(&expected, partition),
            "partition {partition} {what}: {known:?}"
        );
    }
    let (code, offset) = bench.offset("g", "t", true);
    if code == 0 {
        let last = expected.last().map_or(-1, |number| *number as i64 + 1);
        assert_eq!(offset, last, "offsets go with the records {what}: {known:?}");
    } else {
        assert_eq!(code, ResponseError::UnstableOffsetCommit.code());
        assert_eq!(bench.state("tx"), TransactionState::Ongoing, "{what}: pending for ever");
    }
    expected
}

fn crash_at_every_write(protocol: Protocol, kept_bytes: usize) {
    let mut deaths = 0;
    for nth in 1.. {
        let mut bench = Bench::new();
        assert_eq!(bench.create("t", 2, &[("segment.ms", "1000")]), 0);
        let mut known = Known::default();
        bench.disk.fail_from(nth, kept_bytes);
        let survived = work(&mut bench, protocol, &mut known, 6).is_some();
        // A start may die as well: at its first write, its second, and so on.
        for nth_of_start in 1.. {
            let (disk, clock) = (bench.disk.clone(), Arc::clone(&bench.clock));
            drop(bench);
            disk.heal();
            if nth_of_start <= 12 {
                disk.fail_from(nth_of_start, kept_bytes);
            }
            let opened = try_open(&disk, &clock);
            disk.heal();
            match opened {
                Some(broker) if nth_of_start > 12 => {
                    bench = Bench { broker, clock, disk };
                    break;
                }
                _ => {
                    let broker = try_open(&MemoryDisk::default(), &clock).unwrap();
                    bench = Bench { broker, clock, disk };
                }
            }
        }
        let what = format!("after the death at write {nth}");
        let seen = check(&mut bench, &known, &what);
        known.committed = seen;
        known.committing = None;
        for partition in PARTITIONS {
            let log = bench.log("t", partition);
            let open = bench.broker.transactions.get("tx");
            let open = open.is_some_and(|open| open.state == TransactionState::Ongoing);
            assert!(open || log.last_stable_offset() == log.end_offset(), "stuck {what}");
        }
        // It goes on: a new producer aborts what is open, and the next transactions work.
        work(&mut bench, protocol, &mut known, 2).expect("the disk is well");
        check(&mut bench, &known, &what);
        for partition in PARTITIONS {
            let log = bench.log("t", partition);
            assert_eq!(log.last_stable_offset(), log.end_offset(), "stuck {what}");
        }
        if survived {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 50, "the workload writes: {deaths}");
}

#[test]
fn transactions_are_whole_after_a_death_at_any_write() {
    for kept_bytes in [0, 40, usize::MAX] {
        crash_at_every_write(V1, kept_bytes);
        crash_at_every_write(V2, kept_bytes);
    }
}

/// A disk that fails and recovers while the broker lives: the end goes on by itself.
#[test]
fn an_end_that_the_disk_has_stopped_is_carried_out_later() {
    for nth in 2..=6 {
        let mut bench = Bench::new();
        bench.create("t", 2, &[]);
        let mut producer = bench.producer("tx", V1);
        for partition in PARTITIONS {
            assert_eq!(bench.write(&mut producer, "t", partition, "a"), 0);
            producer.sequence = 0;
        }
        assert_eq!(bench.send_offset(&producer, "g", "t", 4), 0);
        // The first write is the decision; what follows is carrying it out.
        bench.disk.fail_from(nth, 0);
        assert_eq!(bench.end(&mut producer, true), 0, "it is decided");
        let state = bench.state("tx");
        bench.disk.heal();
        if state == TransactionState::PrepareCommit {
            let concurrent = ResponseError::ConcurrentTransactions.code();
            assert_eq!(bench.add(&producer, "t", &[0]), [concurrent]);
            assert_eq!(bench.init_with(4, "tx", 1000, None), Err(concurrent));
            assert_eq!(bench.end(&mut producer, true), concurrent);
            bench.pass(Duration::from_secs(2));
        }
        assert_eq!(bench.state("tx"), TransactionState::CompleteCommit);
        for partition in PARTITIONS {
            assert_eq!(bench.committed_values("t", partition), ["a"]);
            assert_eq!(bench.log("t", partition).end_offset(), 2, "one marker, not two");
        }
        assert_eq!(bench.offset("g", "t", true), (0, 4));
    }
}

/// The machine goes down and the coordinator's journal loses its last writes, while the logs do
/// not: a transaction that nobody knows of must not hold the last stable offset for ever.
#[test]
fn a_transaction_that_the_journal_has_lost_is_aborted() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let mut producer = bench.producer("tx", V1);
    assert_eq!(bench.write(&mut producer, "t", 0, "lost"), 0);
    let journal = std::path::Path::new("/data/journals/transactions.0");
    bench.disk.corrupt(journal, Vec::clear);
    let mut bench = bench.crash();
    let log = bench.log("t", 0);
    assert_eq!(log.last_stable_offset(), log.end_offset());
    assert!(bench.committed_values("t", 0).is_empty());
}
