use kafka_protocol::ResponseError::*;
use proptest::prelude::*;

use super::*;
use crate::disk::MemoryDisk;
use crate::journal::Durability;

const MS: i64 = 1_700_000_000_000;

fn caller(producer_id: i64, epoch: i16) -> Caller {
    Caller { producer_id, epoch }
}

fn partition(number: i32) -> Partition {
    ("t".into(), number)
}

fn ready(outcome: Result<Init, ResponseError>) -> Transaction {
    match outcome {
        Ok(Init::Ready(next)) => next,
        other => panic!("{other:?}"),
    }
}

fn prepared(outcome: Result<Ended, ResponseError>) -> Transaction {
    match outcome {
        Ok(Ended::Prepared(next)) => next,
        other => panic!("{other:?}"),
    }
}

const COMMIT: End = End { commit: true, raise_epoch: false };
const ABORT: End = End { commit: false, raise_epoch: false };
const COMMIT_V2: End = End { commit: true, raise_epoch: true };
const ABORT_V2: End = End { commit: false, raise_epoch: true };

/// A producer with id 7 and epoch 0.
fn started() -> Transaction {
    ready(Transaction::new(7, 1000, MS).init(1000, None, 7, MS))
}

fn ongoing() -> Transaction {
    let start = started();
    start.add(caller(7, start.epoch), &[partition(0)], MS + 1).unwrap().unwrap()
}

#[test]
fn every_producer_fences_the_one_before() {
    let first = started();
    assert_eq!((first.producer_id, first.epoch), (7, 0));
    let second = ready(first.init(2000, None, NO_ID, MS));
    assert_eq!((second.producer_id, second.epoch, second.timeout_ms), (7, 1, 2000));
    let old = caller(7, 0);
    assert_eq!(second.add(old, &[partition(0)], MS), Err(ProducerFenced));
    assert_eq!(second.end(old, COMMIT, NO_ID, MS), Err(ProducerFenced));
    assert_eq!(second.init(1000, Some(old), NO_ID, MS), Err(ProducerFenced));
    assert_eq!(second.add(caller(8, 1), &[partition(0)], MS), Err(InvalidProducerIdMapping));
    assert_eq!(second.end(caller(8, 1), COMMIT, NO_ID, MS), Err(InvalidProducerIdMapping));
    assert_eq!(second.init(1000, Some(caller(8, 1)), NO_ID, MS), Err(ProducerFenced));
}

#[test]
fn a_producer_may_raise_its_own_epoch_and_ask_twice() {
    let first = started();
    let own = Some(caller(7, 0));
    let raised = ready(first.init(1000, own, NO_ID, MS));
    assert_eq!((raised.epoch, raised.last_epoch), (1, 0));
    let again = ready(raised.init(1000, own, NO_ID, MS));
    assert_eq!((again.epoch, again.last_epoch), (1, 0), "the answer was lost: the same again");
    let other = ready(again.init(1000, None, NO_ID, MS));
    assert_eq!(other.init(1000, own, NO_ID, MS), Err(ProducerFenced), "another one has taken over");
}

#[test]
fn an_open_transaction_is_aborted_before_a_producer_starts() {
    let open = ongoing();
    let Ok(Init::Abort(aborting)) = open.init(1000, None, NO_ID, MS) else { panic!() };
    assert_eq!((aborting.state, aborting.epoch), (TransactionState::PrepareAbort, 1));
    assert_eq!(aborting.init(1000, None, NO_ID, MS), Err(ConcurrentTransactions));
    assert_eq!(aborting.add(caller(7, 1), &[partition(0)], MS), Err(ConcurrentTransactions));
    let next = ready(aborting.complete(MS).init(1000, None, NO_ID, MS));
    assert_eq!((next.state, next.epoch), (TransactionState::Empty, 2));
    // The producer itself, which does not know how its transaction stands (KIP-360).
    let own = Some(caller(7, 0));
    let Ok(Init::Abort(aborting)) = open.init(1000, own, NO_ID, MS) else { panic!() };
    let next = ready(aborting.complete(MS).init(1000, own, NO_ID, MS));
    assert_eq!((next.state, next.epoch), (TransactionState::Empty, 1));
    // A zombie cannot abort what its successor has begun.
    let other = ready(started().init(1000, None, NO_ID, MS));
    let open = other.add(caller(7, 1), &[partition(0)], MS).unwrap().unwrap();
    assert_eq!(open.init(1000, own, NO_ID, MS), Err(ProducerFenced));
}

#[test]
fn version_1_ends_with_the_epoch_it_began_with() {
    let open = ongoing();
    let me = caller(7, 0);
    assert_eq!(open.started_ms, MS + 1);
    for (end, prepare, complete) in [
        (COMMIT, TransactionState::PrepareCommit, TransactionState::CompleteCommit),
        (ABORT, TransactionState::PrepareAbort, TransactionState::CompleteAbort),
    ] {
        let other = End { commit: !end.commit, ..end };
        let ending = prepared(open.end(me, end, NO_ID, MS));
        assert_eq!((ending.state, ending.epoch), (prepare, 0));
        assert_eq!(ending.partitions.len(), 1, "they still need their markers");
        assert_eq!(ending.end(me, end, NO_ID, MS), Err(ConcurrentTransactions));
        assert_eq!(ending.end(me, other, NO_ID, MS), Err(InvalidTxnState));
        let ended = ending.complete(MS);
        assert_eq!((ended.state, ended.epoch), (complete, 0));
        assert!(ended.partitions.is_empty());
        assert_eq!(ended.end(me, end, NO_ID, MS), Ok(Ended::Before), "a repetition");
        assert_eq!(ended.end(me, other, NO_ID, MS), Err(InvalidTxnState));
        let next = ended.add(me, &[partition(3)], MS + 9).unwrap().unwrap();
        assert_eq!((next.state, next.started_ms), (TransactionState::Ongoing, MS + 9));
        assert_eq!(next.partitions.len(), 1);
    }
    assert_eq!(started().end(me, COMMIT, NO_ID, MS), Err(InvalidTxnState), "nothing was begun");
    assert_eq!(started().end(me, ABORT, NO_ID, MS), Err(InvalidTxnState));
}

#[test]
fn version_2_raises_the_epoch_with_each_end() {
    let open = ongoing();
    let me = caller(7, 0);
    let ending = prepared(open.end(me, COMMIT_V2, NO_ID, MS));
    assert_eq!((ending.epoch, ending.last_epoch), (1, 0), "the marker has the raised epoch");
    assert_eq!(ending.end(me, COMMIT_V2, NO_ID, MS), Err(ConcurrentTransactions));
    assert_eq!(ending.end(caller(7, 1), COMMIT_V2, NO_ID, MS), Err(ProducerFenced));
    let ended = ending.complete(MS);
    assert_eq!(ended.end(me, COMMIT_V2, NO_ID, MS), Ok(Ended::Before), "the answer was lost");
    assert_eq!(ended.end(me, ABORT_V2, NO_ID, MS), Err(InvalidTxnState));
    assert_eq!(ended.add(me, &[partition(0)], MS), Err(ProducerFenced), "what is late is refused");
    let me = caller(7, 1);
    assert_eq!(ended.end(me, COMMIT_V2, NO_ID, MS), Err(InvalidTxnState), "nothing was begun");
    // An abort may end nothing: the producer cannot know whether anything of it has arrived.
    let aborted = prepared(ended.end(me, ABORT_V2, NO_ID, MS)).complete(MS);
    assert_eq!((aborted.state, aborted.epoch), (TransactionState::CompleteAbort, 2));
    let next = aborted.add(caller(7, 2), &[partition(0)], MS).unwrap().unwrap();
    assert_eq!(next.end(me, ABORT_V2, NO_ID, MS), Err(ProducerFenced), "a late repetition");
}

#[test]
fn epochs_that_are_used_up_give_a_new_producer_id() {
    let last = i16::MAX - 1;
    let exhausted = Transaction { epoch: last, ..started() };
    assert!(exhausted.is_exhausted());
    let me = caller(7, last);
    let rotated = ready(exhausted.init(1000, Some(me), 8, MS));
    assert_eq!((rotated.producer_id, rotated.epoch, rotated.previous_id), (8, 0, 7));
    let again = ready(rotated.init(1000, Some(me), NO_ID, MS));
    assert_eq!((again.producer_id, again.epoch), (8, 0), "asked twice");
    let open = exhausted.add(me, &[partition(0)], MS).unwrap().unwrap();
    let ending = prepared(open.end(me, COMMIT_V2, 8, MS));
    assert_eq!((ending.producer_id, ending.epoch, ending.next_id), (7, i16::MAX, 8));
    let ended = ending.complete(MS);
    assert_eq!((ended.producer_id, ended.epoch, ended.next_id), (8, 0, NO_ID));
    assert_eq!(ended.end(me, COMMIT_V2, NO_ID, MS), Ok(Ended::Before));
    let fenced = open.fence(MS);
    assert_eq!((fenced.epoch, fenced.producer_id), (i16::MAX, 7));
    let next = ready(fenced.complete(MS).init(1000, None, 9, MS));
    assert_eq!((next.producer_id, next.epoch), (9, 0));
}

#[test]
fn only_partitions_that_were_added_are_verified() {
    let open = ongoing();
    assert_eq!(open.verify(caller(7, 0), &partition(0)), Ok(()));
    assert_eq!(open.verify(caller(7, 0), &partition(1)), Err(TransactionAbortable));
    assert_eq!(open.verify(caller(7, 1), &partition(0)), Err(ProducerFenced));
    assert_eq!(started().verify(caller(7, 0), &partition(0)), Err(TransactionAbortable));
    assert_eq!(open.add(caller(7, 0), &[partition(0)], MS), Ok(None), "it is there");
}

fn journal(disk: &MemoryDisk) -> Journal {
    let disk = std::sync::Arc::new(disk.clone());
    Journal::open(disk, std::path::Path::new("/j"), "transactions", Durability::Cached).unwrap()
}

fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), wall_ms: MS + seconds as i64 * 1000 }
}

#[test]
fn all_of_it_is_there_after_a_restart_and_goes_when_it_is_old() {
    let disk = MemoryDisk::default();
    let mut all = Transactions::open(journal(&disk), at(0)).unwrap();
    for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
        all.init(id, 60_000, None, number as i64, at(0)).unwrap();
    }
    all.add("b", caller(1, 0), &[partition(0), partition(1)], at(10)).unwrap();
    all.add("c", caller(2, 0), &[partition(5)], at(10)).unwrap();
    all.end("c", caller(2, 0), COMMIT_V2, NO_ID, at(11)).unwrap();
    let before: Vec<_> = all.iter().map(|(id, t)| (id.to_owned(), t.clone())).collect();

    let mut all = Transactions::open(journal(&disk), at(20)).unwrap();
    let after: Vec<_> = all.iter().map(|(id, t)| (id.to_owned(), t.clone())).collect();
    assert_eq!(after, before);
    assert_eq!(all.prepared(), ["c"]);
    assert!(all.has_open(1, "t", 1) && !all.has_open(1, "t", 2) && all.has_open(2, "t", 5));
    all.complete("c", at(20)).unwrap();
    assert!(!all.has_open(2, "t", 5));

    // The time of the open one goes on over the restart: it began at 10 s and has 60.
    assert_eq!(all.deadline(), Some(Duration::from_secs(70)));
    assert!(all.take_due(at(69)).is_empty());
    assert_eq!(all.take_due(at(70)), ["b"]);
    let fenced = all.get("b").unwrap();
    assert_eq!((fenced.state, fenced.epoch), (TransactionState::PrepareAbort, 1));
    all.complete("b", at(70)).unwrap();
    assert_eq!(all.deadline(), None);

    all.expire(at(1000).wall_ms, 985_000).unwrap();
    let left = |all: &Transactions| all.iter().map(|(id, _)| id.to_owned()).collect::<Vec<_>>();
    assert_eq!(left(&all), ["b", "c"], "a was not used since 0 s");
    all.expire(at(5000).wall_ms, 985_000).unwrap();
    assert!(left(&all).is_empty());
    let all = Transactions::open(journal(&disk), at(0)).unwrap();
    assert!(left(&all).is_empty());
}

#[test]
fn a_step_that_cannot_be_stored_has_not_been_taken() {
    let disk = MemoryDisk::default();
    let mut all = Transactions::open(journal(&disk), at(0)).unwrap();
    all.init("a", 1000, None, 5, at(0)).unwrap();
    let before = all.get("a").cloned();
    disk.fail_from(1, 10);
    let me = caller(5, 0);
    assert_eq!(all.add("a", me, &[partition(0)], at(0)), Err(CoordinatorNotAvailable));
    assert_eq!(all.init("a", 1000, None, 5, at(0)), Err(CoordinatorNotAvailable));
    assert_eq!(all.init("b", 1000, None, 6, at(0)), Err(CoordinatorNotAvailable));
    assert_eq!(all.get("a").cloned(), before);
    assert!(all.get("b").is_none());
    disk.heal();
    all.add("a", me, &[partition(0)], at(0)).unwrap();
    disk.fail_from(1, 0);
    // A time-out that cannot be stored is tried again, and does not spin.
    assert_eq!(all.take_due(at(1)), ["a"]);
    assert_eq!(all.get("a").unwrap().state, TransactionState::Ongoing);
    assert_eq!(all.deadline(), Some(Duration::from_secs(2)));
    disk.heal();
    assert_eq!(all.take_due(at(2)), ["a"]);
    assert_eq!(all.get("a").unwrap().state, TransactionState::PrepareAbort);
}

proptest! {
    /// Whatever is asked in whatever order: the epoch of a producer id never goes down, a decided
    /// outcome never changes, and what is stored is what is read.
    #[test]
    fn decisions_stand(
        steps in proptest::collection::vec((0u8..6, 0i16..4, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let disk = MemoryDisk::default();
        let mut all = Transactions::open(journal(&disk), at(0)).unwrap();
        let mut fresh = 100;
        for (number, (step, back, commit, raise_epoch)) in steps.into_iter().enumerate() {
            let now = at(number as u64);
            let before = all.get("a").cloned();
            let epoch = before.as_ref().map_or(0, |t| t.epoch - back.min(t.epoch.max(0)));
            let me = caller(before.as_ref().map_or(0, |t| t.producer_id), epoch);
            fresh += 1;
            match step {
                0 => drop(all.init("a", 1000, commit.then_some(me), fresh, now)),
                1 | 2 => drop(all.add("a", me, &[partition(i32::from(step))], now)),
                3 => drop(all.end("a", me, End { commit, raise_epoch }, fresh, now)),
                4 => drop(all.take_due(now)),
                _ if before.as_ref().is_some_and(|t| t.state.is_prepared()) => {
                    all.complete("a", now).unwrap();
                }
                _ => {}
            }
            if let (Some(before), Some(after)) = (&before, all.get("a")) {
                prop_assert!(after.producer_id > before.producer_id || after.epoch >= before.epoch);
                if before.state.is_prepared() {
                    prop_assert_eq!(before.commits(), after.commits());
                }
                if after.state == TransactionState::Ongoing {
                    prop_assert!(!after.partitions.is_empty());
                }
            }
            let read = Transactions::open(journal(&disk), now).unwrap();
            prop_assert_eq!(read.get("a"), all.get("a"));
        }
    }
}
