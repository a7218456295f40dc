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
        (Some(count), None) => many(from, count),
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

fn many(from: u64, count: u64) -> ExitCode {
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
            let running = Running(Some(seed));
            let outcome = run(seed, None);
            running.ended();
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
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let outcomes = workers.into_iter().filter_map(|worker| worker.join().ok().flatten());
        outcomes.min_by_key(|outcome| outcome.plan.seed)
    });
    let Some(failed) = failed else {
        let done = done.load(Ordering::Relaxed);
        if done < count {
            // A thread has panicked, and has said on which seed.
            return ExitCode::FAILURE;
        }
        println!("{done} seeds, nothing found");
        return ExitCode::SUCCESS;
    };
    println!("{}", failed.plan);
    for violation in &failed.violations {
        println!("FAILED: {violation}");
    }
    println!("replay it with its trace: make sim SEED={}", failed.plan.seed);
    ExitCode::FAILURE
}

/// Names the seed whose run panics.
struct Running(Option<u64>);

impl Running {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(seed) = self.0 {
            println!("PANIC in {}", Plan::of(seed));
            println!("replay it with its trace: make sim SEED={seed}");
        }
    }
}
