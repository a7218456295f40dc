//! Waiting, and ending a wait from another thread.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Interrupts a wait from another thread.
pub trait Wake: Send + Sync {
    /// Makes the wait that is under way end, or the next one not begin. Does not block.
    fn wake(&self);
}

/// One thread waits, others wake it. A wake-up that comes before the wait is not lost.
#[derive(Debug, Default)]
pub struct Signal {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits until [`Wake::wake`] or for that long. Returns whether it was woken.
    pub fn wait(&self, timeout: Duration) -> bool {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut woken, _) = self
            .changed
            .wait_timeout_while(woken, timeout, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *woken)
    }
}

impl Wake for Signal {
    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
