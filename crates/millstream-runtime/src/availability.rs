//! The clock that runs while all brokers are away (parity rows A-20, E-12).

use std::time::Duration;

/// Measures how long no broker could be reached.
#[derive(Debug)]
pub(crate) struct Availability {
    patience: Duration,
    down_since: Option<Duration>,
}

impl Availability {
    /// Gives up after `patience`; zero: never.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, down_since: None }
    }

    /// The client says that all brokers are down. The clock keeps running if it runs.
    pub(crate) fn all_down(&mut self, now: Duration) {
        self.down_since.get_or_insert(now);
    }

    /// A record came or was delivered, or a request was answered.
    pub(crate) fn reached(&mut self) {
        self.down_since = None;
    }

    /// Whether the clock runs.
    pub(crate) fn is_running(&self) -> bool {
        self.down_since.is_some()
    }

    /// How long the brokers have been away, once that is too long.
    pub(crate) fn exhausted(&self, now: Duration) -> Option<Duration> {
        let away = now.saturating_sub(self.down_since?);
        (!self.patience.is_zero() && away >= self.patience).then_some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A-20, E-12: the clock starts with the first event and is cleared by any sign of life.
    #[test]
    fn clock_runs_while_brokers_are_away() {
        let mut availability = Availability::new(120 * SECOND);
        assert_eq!(availability.exhausted(500 * SECOND), None);
        availability.all_down(10 * SECOND);
        availability.all_down(100 * SECOND);
        assert_eq!(availability.exhausted(129 * SECOND), None);
        assert_eq!(availability.exhausted(130 * SECOND), Some(120 * SECOND));
        availability.reached();
        assert_eq!(availability.exhausted(1_000 * SECOND), None);
    }

    /// zero disables it.
    #[test]
    fn zero_waits_for_ever() {
        let mut availability = Availability::new(Duration::ZERO);
        availability.all_down(Duration::ZERO);
        assert_eq!(availability.exhausted(1_000_000 * SECOND), None);
    }
}
