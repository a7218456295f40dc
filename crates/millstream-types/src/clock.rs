use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::Timestamp;

/// Where time comes from. Engine, state, runtime and broker are handed one and never ask the
/// system themselves, so that a run can be replayed under virtual time.
pub trait Clock: Send + Sync {
    /// Wall-clock time in milliseconds since the Unix epoch. May jump.
    fn wall(&self) -> Timestamp;
    /// Time since an arbitrary start. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as Timestamp)
    }

    fn monotonic(&self) -> Duration {
        use std::sync::OnceLock;
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        std::time::Instant::now().duration_since(*START.get_or_init(std::time::Instant::now))
    }
}

/// A clock that stands still until it is told otherwise; wall and monotonic time move together.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: Timestamp) -> Self {
        Self { now_ms: AtomicI64::new(now_ms) }
    }

    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Ordering::SeqCst).max(0) as u64)
    }
}
