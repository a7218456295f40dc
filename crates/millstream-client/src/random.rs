//! Where the client's random numbers come from: handed in, so that a seed replays a run.

use std::time::Duration;

/// A source of random bits for jitter, sticky partitions and nonces.
pub trait Random: Send {
    /// The next 64 bits.
    fn next_u64(&mut self) -> u64;

    /// A number below `bound`; 0 for a bound of 0.
    fn below(&mut self, bound: u64) -> u64 {
        // The bias of a remainder is of no matter for bounds far below 2^64.
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// `around`, up to a fifth more or less, so that many clients do not come back at once
    /// (KIP-580).
    fn jittered(&mut self, around: Duration) -> Duration {
        let fifth = around.as_nanos() as u64 / 5;
        around + Duration::from_nanos(self.below(2 * fifth + 1)) - Duration::from_nanos(fifth)
    }
}

/// How long to wait before the next of several tries: doubled with each failure up to a limit, and
/// jittered (KIP-580, KIP-601).
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits `first` after the first failure and never more than about `max`.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max: max.max(first), failures: 0 }
    }

    /// Counts a failure and says how long to wait.
    pub(crate) fn failed(&mut self, random: &mut dyn Random) -> Duration {
        let doubled =
            self.first.saturating_mul(1u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        random.jittered(doubled.min(self.max))
    }

    /// All is well again.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}
