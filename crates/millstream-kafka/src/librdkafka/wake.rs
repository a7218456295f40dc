//! What a polling thread waits on.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::sys;
use crate::Wake;

/// One waiting thread, two reasons to wake it: a queue of librdkafka's that is no longer empty, and
/// [`Wake::wake`]. The first is forgotten when a poll begins, since the poll looks into the queues
/// anyway; the second is kept until a poll has returned because of it.
#[derive(Debug, Default)]
pub(super) struct Signal {
    queued: AtomicBool,
    woken: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    /// A queue has something. Called on librdkafka's threads, with the queue's lock held.
    pub(super) fn queued(&self) {
        self.raise(&self.queued);
    }

    /// Forgets about queues; from now on they are looked into.
    pub(super) fn poll_begins(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }

    /// Whether someone called `wake` since the last time this was asked.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::SeqCst)
    }

    /// Waits for either reason, up to `wait`.
    pub(super) fn wait(&self, wait: Duration) {
        let raised = || self.queued.load(Ordering::SeqCst) || self.woken.load(Ordering::SeqCst);
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(guard, wait, |()| !raised()));
        self.woken.store(false, Ordering::SeqCst);
    }

    fn raise(&self, reason: &AtomicBool) {
        if !reason.swap(true, Ordering::SeqCst) {
            // The waiting thread looks at the reasons while it holds the lock, so that one raised
            // between its look and its wait cannot be missed.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_one();
        }
    }
}

impl Wake for Signal {
    fn wake(&self) {
        self.raise(&self.woken);
    }
}

/// For `rd_kafka_queue_cb_event_enable` with a [`Signal`] that outlives the queue.
pub(super) unsafe extern "C" fn on_queue_event(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the signal that the queue's owner keeps alive until librdkafka's instance,
    // and with it every thread that may call this, is gone.
    unsafe { &*opaque.cast::<Signal>() }.queued();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "two threads are the point")]
    fn a_wake_before_the_wait_is_not_lost() {
        let signal = Arc::new(Signal::default());
        signal.wake();
        signal.poll_begins();
        signal.wait(Duration::from_secs(600));
        let other = Arc::clone(&signal);
        let thread = std::thread::spawn(move || other.queued());
        signal.wait(Duration::from_secs(600));
        thread.join().unwrap();
        assert!(!signal.take_woken());
    }
}
