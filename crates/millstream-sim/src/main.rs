//! `make sim`: many seeds until one fails, or one seed with its trace.
//!
//! ```text
//! millstream-sim --seeds 50000 [--from 0]
//! millstream-sim --seed 17 [--quiet]
//! ```

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millstream_sim::{Outcome, Plan, run};

const USAGE: &str = "usage: millstream-sim --seeds COUNT [--from SEED] | --seed SEED [--quiet]";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut seed, mut quiet) = (None, 0, None, false);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
        let known = match argument.as_str() {
            "--seeds" => number().map(|count| seeds = Some(count)),
            "--from" => number().map(|first| from = first),
            "--seed" => number().map(|only| seed = Some(only)),
            "--quiet" => {
                quiet = true;
                Some(())
            }
            _ => None,
        };
        if known.is_none() {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    match (seeds, seed) {
        (_, Some(seed)) => one(seed, quiet),
        (Some(count), None) => match many(from, count, |seed| run(seed, None)) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        (None, None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64, quiet: bool) -> ExitCode {
    let outcome = match quiet {
        true => run(seed, None),
        false => run(seed, Some(Box::new(|line: &str| println!("{line}")))),
    };
    println!("{}", outcome.plan);
    println!("trace: {} lines, hash {:016x}; {:?}", outcome.lines, outcome.hash, outcome.counts);
    if outcome.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    for violation in &outcome.violations {
        println!("FAILED: {violation}");
    }
    ExitCode::FAILURE
}

fn many(from: u64, count: u64, run: impl Fn(u64) -> Outcome + Sync) -> bool {
    let next = AtomicU64::new(from);
    let stop = AtomicBool::new(false);
    let (done, lines, acked) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut failed: Option<Outcome> = None;
        while failed.is_none() && !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                break;
            }
            let running = Running { seed, stop: &stop };
            let outcome = run(seed);
            drop(running);
            lines.fetch_add(outcome.lines, Ordering::Relaxed);
            acked.fetch_add(outcome.counts.acked, Ordering::Relaxed);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(500) {
                let (lines, acked) = (lines.load(Ordering::Relaxed), acked.load(Ordering::Relaxed));
                println!("{done} of {count} seeds: {lines} lines, {acked} acknowledged records");
            }
            if !outcome.violations.is_empty() {
                stop.store(true, Ordering::Relaxed);
                failed = Some(outcome);
            }
        }
        failed
    };
    let (mut failed, mut panicked): (Vec<Outcome>, bool) = (Vec::new(), false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(outcome) => failed.extend(outcome),
                // It has said on which seed.
                Err(_) => panicked = true,
            }
        }
    });
    let Some(failed) = failed.into_iter().min_by_key(|outcome| outcome.plan.seed) else {
        if !panicked {
            println!("{} seeds, nothing found", done.load(Ordering::Relaxed));
        }
        return !panicked;
    };
    println!("{}", failed.plan);
    for violation in &failed.violations {
        println!("FAILED: {violation}");
    }
    println!("replay it with its trace: make sim SEED={}", failed.plan.seed);
    false
}

/// Names the seed whose run panics, and ends the other threads.
struct Running<'a> {
    seed: u64,
    stop: &'a AtomicBool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
            println!("PANIC in {}", Plan::of(self.seed));
            println!("replay it with its trace: make sim SEED={}", self.seed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, violations: &[&str]) -> Outcome {
        let violations = violations.iter().map(ToString::to_string).collect();
        let plan = Plan::of(seed);
        Outcome { plan, violations, hash: 0, lines: 0, counts: Default::default() }
    }

    #[test]
    fn a_seed_that_fails_or_panics_ends_the_run() {
        assert!(many(0, 20, |seed| outcome(seed, &[])));
        // All of these seeds would take years.
        assert!(!many(0, u64::MAX, |seed| outcome(seed, if seed == 7 { &["wrong"] } else { &[] })));
        assert!(!many(0, u64::MAX, |seed| match seed {
            7 => panic!("this test wants it"),
            _ => outcome(seed, &[]),
        }));
    }
}
