//! When a run ends by itself (parity rows ), as a decision over facts.

use std::time::Duration;

/// The limits a user set on a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunLimits {
    /// End once that many outputs were made; 0: no limit.
    pub count: u64,
    /// End when no record was consumed for that long; zero: no limit.
    pub timeout: Duration,
}

/// Time that a run is granted on top of its timeout for joining the group.
pub(crate) const JOINING_ALLOWANCE: Duration = Duration::from_secs(60);

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Requested,
    /// The wanted number of outputs was made.
    Count,
    /// No record came for the set time.
    Timeout,
}

/// Counts outputs and keeps the idle timer of one run.
#[derive(Debug)]
pub(crate) struct LimitTracker {
    limits: RunLimits,
    outputs: u64,
    idle_since: Duration,
    allowance: Duration,
}

impl LimitTracker {
    /// Starts at `now` (monotonic).
    pub(crate) fn new(limits: RunLimits, now: Duration) -> Self {
        Self { limits, outputs: 0, idle_since: now, allowance: JOINING_ALLOWANCE }
    }

    /// Outputs made so far.
    pub(crate) fn outputs(&self) -> u64 {
        self.outputs
    }

    /// `outputs` more outputs were made.
    pub(crate) fn add_outputs(&mut self, outputs: u64) {
        self.outputs += outputs;
    }

    /// Whether the wanted number of outputs was made.
    pub(crate) fn count_reached(&self) -> bool {
        self.limits.count > 0 && self.outputs >= self.limits.count
    }

    /// A record was processed, partitions were assigned or a restore ended at `now`: the idle
    /// timer starts again, and what was granted for joining is used up.
    pub(crate) fn active(&mut self, now: Duration) {
        self.idle_since = now;
        self.allowance = Duration::ZERO;
    }

    /// Whether the run is over at `now`.
    pub(crate) fn reached(&self, now: Duration) -> Option<StopReason> {
        if self.count_reached() {
            return Some(StopReason::Count);
        }
        let patience = self.limits.timeout + self.allowance;
        let idle = now.saturating_sub(self.idle_since);
        (!self.limits.timeout.is_zero() && idle >= patience).then_some(StopReason::Timeout)
    }

    /// When the timeout is next due, if nothing comes.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        (!self.limits.timeout.is_zero())
            .then(|| self.idle_since + self.limits.timeout + self.allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// the first wait is granted 60 s more, later ones are not.
    #[test]
    fn joining_is_granted_time() {
        let limits = RunLimits { count: 0, timeout: SECOND };
        let mut tracker = LimitTracker::new(limits, Duration::ZERO);
        assert_eq!(tracker.reached(60 * SECOND), None);
        assert_eq!(tracker.reached(61 * SECOND), Some(StopReason::Timeout));
        tracker.active(10 * SECOND);
        assert_eq!(tracker.deadline(), Some(11 * SECOND));
        assert_eq!(tracker.reached(11 * SECOND), Some(StopReason::Timeout));
    }

    /// outputs are counted over the run, whichever limit comes first ends it.
    #[test]
    fn outputs_end_a_run() {
        let limits = RunLimits { count: 3, timeout: SECOND };
        let mut tracker = LimitTracker::new(limits, Duration::ZERO);
        tracker.add_outputs(2);
        assert_eq!(tracker.reached(Duration::ZERO), None);
        tracker.add_outputs(5);
        assert_eq!(tracker.reached(Duration::ZERO), Some(StopReason::Count));
        assert_eq!(tracker.outputs(), 7);
    }

    /// Without limits nothing ends a run.
    #[test]
    fn no_limits() {
        let mut tracker = LimitTracker::new(RunLimits::default(), Duration::ZERO);
        tracker.add_outputs(1 << 40);
        assert_eq!(tracker.reached(1_000_000 * SECOND), None);
        assert_eq!(tracker.deadline(), None);
    }
}
