//! The oracles see what they are there for: each test breaks one promise.

use super::*;

const PARTITION: Partition = ("t", 0);

fn id(session: &str, number: u64) -> RecordId {
    RecordId { session: session.into(), number }
}

/// A log with these records, all shown as committed.
fn audit(records: &[(i64, &str, u64)]) -> Audit {
    let mut found = PartitionAudit::default();
    for (offset, session, number) in records {
        found.records.insert(*offset, id(session, *number));
        found.committed.insert(*offset);
        found.committed_by_markers.insert(*offset);
    }
    Audit { partitions: BTreeMap::from([(PARTITION, found)]), ..Audit::default() }
}

fn hide(audit: &mut Audit, offset: i64) {
    let found = audit.partitions.get_mut(&PARTITION).unwrap();
    found.committed.remove(&offset);
    found.committed_by_markers.remove(&offset);
}

#[track_caller]
fn assert_found(ledger: &Ledger, part: &str) {
    assert!(ledger.problems().iter().any(|what| what.contains(part)), "{:?}", ledger.problems());
}

#[test]
fn what_was_acknowledged_must_be_where_it_was_said_to_be() {
    for (records, what) in [
        (vec![(0, "p", 0)], "was acknowledged at 1"),
        (vec![(0, "p", 0), (1, "q", 0)], "was acknowledged at 1"),
        (vec![(0, "p", 0), (1, "p", 1), (2, "p", 1)], "behind number"),
        (vec![(0, "p", 1), (1, "p", 0)], "behind number"),
        (vec![(0, "p", 0), (1, "p", 1), (2, "p", 3)], "behind number"),
    ] {
        let mut ledger = Ledger::new(false);
        ledger.acked(PARTITION, &id("p", 0), 2, 0, 0);
        ledger.judge(&audit(&records));
        assert_found(&ledger, what);
    }
    let mut ledger = Ledger::new(false);
    ledger.acked(PARTITION, &id("p", 0), 2, 0, 0);
    ledger.judge(&audit(&[(0, "p", 0), (1, "p", 1)]));
    assert_eq!(ledger.problems(), [""; 0]);
}

#[test]
fn a_power_loss_takes_the_end_and_no_hole_and_nothing_that_was_synced() {
    for (strict, left, fine) in [
        (false, vec![(0, "p", 0)], true),
        (false, vec![(0, "p", 0), (2, "p", 2)], false),
        (true, vec![(0, "p", 0)], false),
    ] {
        let mut ledger = Ledger::new(strict);
        ledger.acked(PARTITION, &id("p", 0), 3, 0, 0);
        ledger.power_lost();
        ledger.judge(&audit(&left));
        assert_eq!(ledger.problems().is_empty(), fine, "{left:?}: {:?}", ledger.problems());
    }
}

#[test]
fn transactions_are_whole() {
    let written = |outcome: Outcome| {
        let mut ledger = Ledger::new(true);
        let number = ledger.begin("tx", "t");
        for record in 0..2 {
            ledger.writes("tx", number, PARTITION, record);
            ledger.acked(PARTITION, &id("t", record), 1, record as i64, 0);
        }
        ledger.carries_offset("tx", number);
        if outcome != Outcome::NotCommitted {
            ledger.committing("tx", number);
        }
        if outcome == Outcome::Committed {
            ledger.committed("tx", number);
        }
        ledger
    };
    let whole = audit(&[(0, "t", 0), (1, "t", 1)]);
    let mut torn = whole.clone();
    hide(&mut torn, 1);
    let mut hidden = torn.clone();
    hide(&mut hidden, 0);
    for (outcome, found, carried, problem) in [
        (Outcome::Committed, &whole, 1, None),
        (Outcome::Committed, &torn, 1, Some("was committed")),
        (Outcome::Committed, &hidden, 1, Some("was committed")),
        (Outcome::Committed, &whole, -1, Some("the offset that transactions of tx carry")),
        (Outcome::Unknown, &whole, 1, None),
        (Outcome::Unknown, &hidden, -1, None),
        (Outcome::Unknown, &torn, 1, Some("is torn")),
        (Outcome::Unknown, &hidden, 1, Some("the offset that transactions of tx carry")),
        (Outcome::NotCommitted, &hidden, -1, None),
        (Outcome::NotCommitted, &whole, -1, Some("was never committed")),
        (Outcome::NotCommitted, &hidden, 1, Some("the offset that transactions of tx carry")),
    ] {
        let mut ledger = written(outcome);
        let mut found = found.clone();
        found.carried.insert("tx", carried);
        ledger.judge(&found);
        match problem {
            Some(problem) => assert_found(&ledger, problem),
            None => assert_eq!(ledger.problems(), [""; 0], "{outcome:?}"),
        }
    }
}

#[test]
fn what_was_read_stays() {
    let mut ledger = Ledger::new(false);
    ledger.saw(PARTITION, 0, Some(id("p", 0)), true, 0, 0);
    let mut found = audit(&[(0, "p", 0)]);
    ledger.judge(&found);
    assert_eq!(ledger.problems(), [""; 0]);
    hide(&mut found, 0);
    ledger.judge(&found);
    assert_found(&ledger, "is not any more");
    ledger.saw(PARTITION, 0, Some(id("q", 7)), false, 0, 0);
    assert_found(&ledger, "and then as");
    ledger.saw(PARTITION, 1, None, false, 0, 0);
    assert_found(&ledger, "what nobody wrote");
}

#[test]
fn ends_do_not_go_back() {
    let marks = |high, stable, start| Marks { high, stable, start };
    for (before, now) in [
        (marks(5, 5, 0), marks(4, 4, 0)),
        (marks(5, 5, 0), marks(5, 4, 0)),
        (marks(5, 5, 2), marks(5, 5, 1)),
        (marks(0, 0, 0), marks(5, 6, 0)),
    ] {
        let mut ledger = Ledger::new(false);
        ledger.told(PARTITION, before, now, 0);
        assert_eq!(ledger.problems().len(), 1, "{before:?} {now:?}");
    }
    let mut ledger = Ledger::new(false);
    ledger.told(PARTITION, marks(5, 5, 0), marks(6, 5, 1), 0);
    ledger.power_lost();
    // Segments that were deleted are back, and an open transaction in them.
    let mut strict = Ledger::new(true);
    strict.told(PARTITION, marks(6, 6, 6), marks(6, 6, 6), 0);
    strict.power_lost();
    strict.told(PARTITION, marks(6, 6, 6), marks(6, 3, 2), 1);
    assert_eq!(strict.problems(), [""; 0]);
    // An answer from before the loss that comes late, and one from after it.
    ledger.told(PARTITION, marks(6, 5, 1), marks(5, 5, 1), 0);
    ledger.told(PARTITION, ledger.marks(PARTITION), marks(2, 2, 0), 1);
    assert_eq!(ledger.problems(), [""; 0]);
}

#[test]
fn a_partition_has_one_owner_and_its_offset_does_not_go_back() {
    let mut ledger = Ledger::new(true);
    ledger.owns("g", 1, "a", &[PARTITION], 0);
    ledger.owns("g", 2, "b", &[PARTITION], 0);
    ledger.owns("g", 2, "b", &[PARTITION], 0);
    ledger.offset_committed("g", PARTITION, 9, 0);
    ledger.offset_read("g", PARTITION, ledger.commit_floor("g", PARTITION), 9, 0);
    ledger.offset_committed("h", PARTITION, 9, 0);
    ledger.commit_may_come_late("h", PARTITION, 7);
    ledger.offset_read("h", PARTITION, ledger.commit_floor("h", PARTITION), 7, 0);
    assert_eq!(ledger.problems(), [""; 0]);
    ledger.power_lost();
    ledger.owns("g", 2, "a", &[PARTITION], 1);
    assert_found(&ledger, "is a's and b's in generation 2");
    ledger.offset_read("g", PARTITION, ledger.commit_floor("g", PARTITION), 8, 1);
    assert_found(&ledger, "went back from 9 to 8");
    ledger.offset_read("h", PARTITION, ledger.commit_floor("h", PARTITION), 6, 1);
    assert_found(&ledger, "went back from 7 to 6");
}

#[test]
fn what_was_acknowledged_without_an_offset_is_there() {
    for (records, fine) in [
        (vec![(0, "p", 0), (1, "p", 1)], true),
        (vec![(0, "p", 0)], false),
        (vec![(0, "p", 1), (1, "p", 0)], false),
        (vec![(0, "p", 0), (1, "p", 1), (2, "p", 1)], false),
        (vec![(0, "p", 1)], false),
    ] {
        let mut ledger = Ledger::new(true);
        ledger.delivered(PARTITION, &id("p", 0), 0);
        ledger.delivered(PARTITION, &id("p", 1), 0);
        ledger.judge(&audit(&records));
        assert_eq!(ledger.problems().is_empty(), fine, "{records:?}: {:?}", ledger.problems());
    }
    // One that gives records up may leave a gap that is no longer, and doubles nothing; so may one
    // whose transaction was aborted.
    for (records, fine) in [
        (vec![(0, "p", 0), (1, "p", 2)], true),
        (vec![(0, "p", 0), (1, "p", 2), (2, "p", 2)], false),
        (vec![(0, "p", 0), (1, "p", 3)], false),
        (vec![(0, "p", 0), (1, "p", 2), (2, "p", 4)], false),
        (vec![(0, "t", 0), (1, "t", 2)], true),
        (vec![(0, "t", 0), (1, "t", 3)], false),
    ] {
        let mut ledger = Ledger::new(true);
        ledger.gives_up(PARTITION, "p", 1);
        let number = ledger.begin("tx", "t");
        ledger.writes("tx", number, PARTITION, 1);
        ledger.judge(&audit(&records));
        assert_eq!(ledger.problems().is_empty(), fine, "{records:?}: {:?}", ledger.problems());
    }
}

#[test]
fn a_consumer_leaves_nothing_out_and_does_not_go_back() {
    let whole = audit(&[(0, "p", 0), (1, "p", 1), (2, "p", 2)]);
    for (start, handed, end, problem) in [
        (0, vec![0, 1, 2], 3, None),
        (1, vec![1, 2], 3, None),
        (0, vec![0, 1], 2, None),
        (0, vec![0, 2], 3, Some("from 0 to 3 without [1]")),
        (0, vec![1, 2], 3, Some("from 0 to 3 without [0]")),
        (0, vec![0, 1], 3, Some("from 0 to 3 without [2]")),
        (0, vec![0, 1, 1], 2, Some("is handed 1")),
        (1, vec![0, 1], 2, Some("from 1 on and is handed 0")),
        (0, vec![0, 1], 1, Some("ends at 1, behind 2")),
    ] {
        let mut ledger = Ledger::new(true);
        let reading = ledger.begin_reading("R", PARTITION, true, start);
        ledger.starts_at(reading, start);
        for offset in &handed {
            ledger.handed(reading, *offset, true);
        }
        ledger.handed_all(reading, end);
        ledger.judge(&whole);
        match problem {
            Some(problem) => assert_found(&ledger, problem),
            None => assert_eq!(ledger.problems(), [""; 0], "{handed:?}"),
        }
    }
    // In a group it begins where somebody may have committed.
    for (asked, fine) in [(1, true), (0, false)] {
        let mut ledger = Ledger::new(true);
        ledger.commit_asked("g", PARTITION, asked);
        let reading = ledger.begin_reading("G", PARTITION, true, -1);
        ledger.starts_where_committed(reading, "g");
        ledger.handed(reading, 1, true);
        ledger.judge(&whole);
        assert_eq!(ledger.problems().is_empty(), fine, "{:?}", ledger.problems());
    }
    // It is told of the end only, and what it commits then is no excuse.
    for (asked, fine) in [(3, true), (0, false)] {
        let mut ledger = Ledger::new(true);
        ledger.commit_asked("g", PARTITION, asked);
        let reading = ledger.begin_reading("G", PARTITION, true, -1);
        ledger.starts_where_committed(reading, "g");
        ledger.handed_all(reading, 3);
        ledger.commit_asked("g", PARTITION, 3);
        ledger.judge(&whole);
        assert_eq!(ledger.problems().is_empty(), fine, "{:?}", ledger.problems());
    }
}

#[test]
fn a_partition_is_given_to_one_member_at_a_time() {
    let mut ledger = Ledger::new(true);
    ledger.claims("g", PARTITION, "a");
    ledger.lets_go("g", PARTITION, "a");
    ledger.claims("g", PARTITION, "b");
    assert_eq!(ledger.problems(), [""; 0]);
    ledger.claims("g", PARTITION, "a");
    assert_found(&ledger, "is given to a, and b has it");
}

/// Records 0 and 7 have the same key, and 10 is a tombstone whose key 3 and 17 have.
#[test]
fn compaction_keeps_the_last_of_each_key() {
    for (records, stay, problem) in [
        (vec![(0, "p", 0), (7, "p", 7)], true, None),
        (vec![(7, "p", 7)], true, None),
        (vec![(0, "p", 0)], true, Some("is the last of its key k0")),
        (vec![], true, Some("is the last of its key k0")),
        (vec![(7, "p", 0)], true, Some("was at 7")),
        (vec![(3, "p", 3), (7, "p", 7), (10, "p", 10)], true, None),
        (vec![(7, "p", 7)], false, None),
        (vec![(3, "p", 3), (7, "p", 7)], false, Some("the tombstone of its key")),
    ] {
        let mut ledger = Ledger::new(true);
        ledger.set_compacted([(PARTITION.0, stay)]);
        ledger.acked(PARTITION, &id("p", 0), 1, 0, 0);
        ledger.acked(PARTITION, &id("p", 7), 1, 7, 0);
        if records.iter().any(|(offset, ..)| *offset == 3) || !stay {
            ledger.acked(PARTITION, &id("p", 3), 1, 3, 0);
            ledger.acked(PARTITION, &id("p", 10), 1, 10, 0);
        }
        ledger.judge(&audit(&records));
        match problem {
            Some(problem) => assert_found(&ledger, problem),
            None => assert_eq!(ledger.problems(), [""; 0], "{records:?}"),
        }
    }
}

/// Of a record whose place was never told it is known that it was behind record 4 of its session.
#[test]
fn a_record_is_gone_only_if_a_later_one_of_its_key_is_there() {
    for (stay, others, fine) in [
        // Key k3 have 3, 10 (a tombstone), and 17.
        (true, vec![(0, "q", 3)], false),
        (true, vec![(9, "q", 3)], true),
        (true, vec![(9, "q", 4)], false),
        (true, vec![], false),
        // A tombstone that may have been there, and may have gone.
        (false, vec![(0, "q", 3)], false),
        (false, vec![], false),
        (false, vec![(-1, "q", 10)], true),
        (true, vec![(-1, "q", 10)], false),
    ] {
        let mut ledger = Ledger::new(true);
        ledger.set_compacted([(PARTITION.0, stay)]);
        ledger.delivered(PARTITION, &id("p", 17), 0);
        for (_, session, number) in others.iter().filter(|(at, ..)| *at < 0) {
            ledger.sends(PARTITION, &id(session, *number));
        }
        let there = others.into_iter().filter(|(at, ..)| *at >= 0);
        let found: Vec<_> = there.chain([(5, "p", 4)]).collect();
        ledger.judge(&audit(&found));
        assert_eq!(ledger.problems().is_empty(), fine, "{found:?}: {:?}", ledger.problems());
    }
    // One that was aborted is no excuse, and no tombstone that was before.
    let mut ledger = Ledger::new(true);
    ledger.set_compacted([(PARTITION.0, false)]);
    ledger.delivered(PARTITION, &id("p", 17), 0);
    ledger.sends(PARTITION, &id("q", 10));
    ledger.acked(PARTITION, &id("q", 10), 1, 3, 0);
    ledger.judge(&audit(&[(5, "p", 4)]));
    assert_found(&ledger, "and is not there");
    let mut ledger = Ledger::new(true);
    ledger.set_compacted([(PARTITION.0, true)]);
    ledger.delivered(PARTITION, &id("p", 17), 0);
    let mut found = audit(&[(9, "q", 3)]);
    hide(&mut found, 9);
    ledger.judge(&found);
    assert_found(&ledger, "and is not there");
}

#[test]
fn retention_takes_no_more_than_it_may() {
    let marks = |start| Marks { high: 5, stable: 5, start };
    for (ms, bytes, wall, fine) in [
        (Some(100), None, 1_101, true),
        (Some(100), None, 1_050, false),
        (None, Some(10), 1_000, true),
        (None, None, 9_999, false),
    ] {
        let mut ledger = Ledger::new(true);
        ledger.set_retention(PARTITION.0, Retention { ms, bytes });
        ledger.saw(PARTITION, 0, Some(id("p", 0)), true, 1_000, 0);
        ledger.begins_at(PARTITION, 1, wall);
        ledger.told(PARTITION, marks(0), marks(1), 0);
        ledger.begins_at(PARTITION, 1, 0);
        assert_eq!(ledger.problems().is_empty(), fine, "{ms:?}: {:?}", ledger.problems());
    }
    for (bytes, fine) in [(10, true), (9, false)] {
        let mut ledger = Ledger::new(true);
        ledger.set_retention(PARTITION.0, Retention { ms: None, bytes: Some(10) });
        let mut found = audit(&[(1, "p", 1)]);
        let partition = found.partitions.get_mut(&PARTITION).unwrap();
        (partition.start, partition.bytes) = (1, bytes);
        ledger.judge(&found);
        assert_eq!(ledger.problems().is_empty(), fine, "{:?}", ledger.problems());
    }
}

#[test]
fn copies_are_made_once_and_in_order() {
    const COPY: Partition = ("copy", 0);
    for (copies, upto, fine) in [
        (vec![0, 1], 2, true),
        (vec![0], 1, true),
        (vec![0], 2, false),
        (vec![0, 1], 1, false),
        (vec![0, 0], 2, false),
        (vec![1, 0], 2, false),
    ] {
        let mut found = audit(&[(0, "p", 0), (1, "p", 1)]);
        let mut copy = PartitionAudit::default();
        for (offset, number) in copies.iter().enumerate() {
            let offset = offset as i64;
            copy.records.insert(offset, id("C", offset as u64));
            copy.sources.insert(offset, id("p", *number));
            copy.committed.insert(offset);
            copy.committed_by_markers.insert(offset);
        }
        found.partitions.insert(COPY, copy);
        found.copied.insert(PARTITION, (COPY, upto));
        let mut ledger = Ledger::new(true);
        ledger.judge(&found);
        assert_eq!(ledger.problems().is_empty(), fine, "{copies:?}: {:?}", ledger.problems());
    }
}
