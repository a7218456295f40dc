//! What time it is on a host: the world's time, seen through the host's own two clocks.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use millstream_types::{Clock, Timestamp};

/// The wall clock's reading when a run begins, in milliseconds since the epoch.
pub const START_MS: Timestamp = 1_750_000_000_000;

/// The clocks of one host. Within a step they go on only as far as the host's disk makes it wait.
#[derive(Debug, Default)]
pub struct HostClock {
    world_ns: AtomicU64,
    /// Monotonic time counts from the boot, the world's from the start of the run.
    booted_ns: AtomicI64,
    wall_offset_ms: AtomicI64,
}

impl HostClock {
    /// The world's time, as far as this host has got.
    pub fn world(&self) -> Duration {
        Duration::from_nanos(self.world_ns.load(Ordering::Relaxed))
    }

    /// A step begins at that time of the world, or where the host's last one has ended if that is
    /// later.
    pub fn set_world(&self, now: Duration) {
        self.world_ns.fetch_max(now.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The host waits, mostly for its disk.
    pub fn pass(&self, time: Duration) {
        self.world_ns.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Someone sets the wall clock: so far is it off from now on. Returns how far it was before.
    pub fn set_wall_offset(&self, ms: i64) -> i64 {
        self.wall_offset_ms.swap(ms, Ordering::Relaxed)
    }

    /// The machine boots: its monotonic time begins anew, with `since_boot` passed.
    pub fn boot(&self, since_boot: Duration) {
        let world = self.world_ns.load(Ordering::Relaxed) as i64;
        self.booted_ns.store(world - since_boot.as_nanos() as i64, Ordering::Relaxed);
    }

    /// The world's time at a moment of the host's monotonic clock.
    pub fn to_world(&self, monotonic: Duration) -> Duration {
        let booted = self.booted_ns.load(Ordering::Relaxed);
        let ns = i64::try_from(monotonic.as_nanos()).unwrap_or(i64::MAX).saturating_add(booted);
        Duration::from_nanos(ns.max(0) as u64)
    }
}

impl Clock for HostClock {
    fn wall(&self) -> Timestamp {
        let world_ms = self.world_ns.load(Ordering::Relaxed) / 1_000_000;
        START_MS + world_ms as i64 + self.wall_offset_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        let world = self.world_ns.load(Ordering::Relaxed) as i64;
        Duration::from_nanos((world - self.booted_ns.load(Ordering::Relaxed)).max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_changes_monotonic_time_only() {
        let clock = HostClock::default();
        clock.set_world(Duration::from_secs(100));
        clock.boot(Duration::from_secs(3));
        clock.set_wall_offset(-5_000);
        clock.pass(Duration::from_secs(1));
        assert_eq!(clock.monotonic(), Duration::from_secs(4));
        assert_eq!(clock.wall(), START_MS + 96_000);
        assert_eq!(clock.to_world(clock.monotonic()), clock.world());
    }
}
