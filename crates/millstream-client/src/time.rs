//! The time that a step is told.

use std::time::Duration;

use millstream_types::Timestamp;

/// What time it is in one step. The core never asks; whoever drives it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Since an arbitrary start; never goes back. All deadlines are of this kind.
    pub mono: Duration,
    /// Milliseconds since the Unix epoch; may jump. For timestamps and for the end of tokens.
    pub wall: Timestamp,
}

impl Now {
    /// The moment `after` from now.
    pub fn after(self, after: Duration) -> Duration {
        self.mono.saturating_add(after)
    }
}

/// The earlier of two deadlines, either of which may not exist.
pub(crate) fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
