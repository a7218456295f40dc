//! 500 seeds, most of them with the client's machines; that the same seed gives the same run; and
//! each seed that once found a bug.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_sim::nemesis::Mood;
use millstream_sim::workload::{TABLE, WITH_CLIENTS};
use millstream_sim::{Outcome, Plan, run};

/// Runs seeds on all cores.
fn outcomes(seeds: impl IntoIterator<Item = u64>) -> Vec<Outcome> {
    let (seeds, next): (Vec<u64>, _) = (seeds.into_iter().collect(), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return outcomes;
            };
            outcomes.push(run(*seed, None));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().expect("no run panics"));
        joined.flatten().collect()
    })
}

fn assert_well(outcome: &Outcome) {
    assert!(
        outcome.violations.is_empty(),
        "{}\n{}\nreplay it with its trace: make sim SEED={}",
        outcome.plan,
        outcome.violations.join("\n"),
        outcome.plan.seed
    );
}

#[test]
fn five_hundred_seeds() {
    let outcomes = outcomes((0..150).chain(WITH_CLIENTS..WITH_CLIENTS + 350));
    outcomes.iter().for_each(assert_well);
    // A simulator in which nothing happens finds nothing.
    for row in TABLE {
        for mood in Mood::ALL {
            let mut plans = outcomes.iter().map(|outcome| &outcome.plan);
            let met = plans.any(|plan| plan.workload.name == row.name && plan.mood == mood);
            assert!(met, "no seed has {} with {mood:?}", row.name);
        }
    }
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    assert!(sum(|outcome| outcome.counts.acked) > 50_000);
    assert!(sum(|outcome| outcome.counts.committed) > 2_000);
    assert!(sum(|outcome| outcome.counts.read) > 50_000);
    assert!(sum(|outcome| outcome.counts.generations) > 1_000);
    assert!(sum(|outcome| outcome.counts.power_losses) > 100);
    // By the client's machines.
    assert!(sum(|outcome| outcome.counts.delivered) > 5_000);
    assert!(sum(|outcome| outcome.counts.handed) > 20_000);
    assert!(sum(|outcome| outcome.counts.client_committed) > 800);
    assert!(sum(|outcome| outcome.counts.client_offsets) > 2_500);
    assert!(sum(|outcome| outcome.counts.judged) > 1_000);
    assert!(sum(|outcome| outcome.counts.copied) > 3_000);
    assert!(sum(|outcome| outcome.counts.compacted_away) > 2_500);
}

/// The trace with its text, and what came of it.
fn traced(seed: u64) -> (Vec<String>, Outcome) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let sink = lines.clone();
    let outcome = run(seed, Some(Box::new(move |line: &str| sink.borrow_mut().push(line.into()))));
    (lines.take(), outcome)
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in (0..10).chain(WITH_CLIENTS..WITH_CLIENTS + 8) {
        let (first, second) = (traced(seed), traced(seed));
        let differs = first.0.iter().zip(&second.0).find(|(one, other)| one != other);
        assert_eq!(differs, None, "the first lines of {} that differ", Plan::of(seed));
        assert_eq!(first.0.len(), second.0.len());
        assert_eq!(first.1.hash, second.1.hash);
        assert_eq!(first.1.lines, first.0.len() as u64);
        // Whether anybody looks makes no difference.
        assert_eq!(run(seed, None).hash, first.1.hash);
    }
}

#[test]
fn another_seed_gives_another_trace() {
    let hashes: BTreeSet<u64> = (0..20).map(|seed| run(seed, None).hash).collect();
    assert_eq!(hashes.len(), 20);
}

/// The client told failures in the order of a hash map.
#[test]
fn failures_are_told_in_the_order_sent() {
    let hash = run(2019, None).hash;
    assert!((0..8).all(|_| run(2019, None).hash == hash), "{}", Plan::of(2019));
}

/// Seeds that found a bug, each with the bug. A change of a workload, of the faults or of the
/// kernel draws other runs from them; what guards against the bugs themselves are the tests of the
/// crate that had them.
macro_rules! found {
    ($($(#[$doc:meta])* $name:ident: $seed:literal;)*) => {
        mod found {
            use super::*;

            $(
                $(#[$doc])*
                #[test]
                fn $name() {
                    assert_well(&run($seed, None));
                }
            )*
        }
    };
}

found! {
    /// A power loss soon after the first start took the whole data directory: everything within was
    /// synced, its own name was not.
    a_new_data_directory_outlives_a_power_loss: 7;
    /// The journal of transactions lost what the groups' journal still knew: the offsets of a
    /// transaction that nobody would ever end stayed unstable.
    offsets_of_a_forgotten_transaction_do_not_stay_pending: 111;
    /// A transactional id came back with an older epoch than the logs knew, which refused the
    /// marker of its abort: the last stable offset stood still.
    a_transactional_id_does_not_fall_behind_its_logs: 258;
    /// A journal was cut after a power loss, and the cut was left to chance: a stop that had
    /// nothing to write vouched for it, and the next power loss brought the torn end back.
    a_cut_journal_stays_cut: 1030;
    /// A process died between a write and its sync, the next one showed the record, and the power
    /// loss after that took it: the end of the log went back although every write was to be synced.
    what_is_shown_with_synced_writes_stays: 1978;
    /// In the simulator: the early end of a pause turned a connection's bytes around.
    a_pause_that_ends_early_keeps_the_order: 2677;
    /// In the simulator: a pause of a busy host turned two requests of a connection around.
    a_pause_keeps_the_order: 4068;
    /// In the client: a compacted batch with nothing from behind the wanted offset ended the chunk,
    /// and what came behind it was skipped.
    what_is_behind_an_emptied_batch_is_read: 3679;
    /// A static member had got its new id, the broker died before the group's next generation was
    /// shared out, and knew only the old one afterwards: the member was fenced for good.
    an_id_that_was_told_outlives_the_broker: 30065;
    /// In the client: who had lost its place in a group sent offsets with a transaction as someone
    /// without a group.
    a_lost_place_counts_until_there_is_a_new_one: 36050;
    /// Retention had taken a producer's last batch, a power loss the unsynced note of it; all that
    /// was left was the marker behind it, which told nothing of sequence numbers.
    a_producer_outlives_its_last_batch: 38146;
}
