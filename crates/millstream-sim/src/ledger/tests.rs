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
    assert_eq!(ledger.problems(), [""; 0]);
    ledger.power_lost();
    ledger.owns("g", 2, "a", &[PARTITION], 1);
    assert_found(&ledger, "is a's and b's in generation 2");
    ledger.offset_read("g", PARTITION, ledger.commit_floor("g", PARTITION), 8, 1);
    assert_found(&ledger, "went back from 9 to 8");
}
