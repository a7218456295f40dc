//! Asking a running worker to end, from any thread.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use millstream_kafka::Wake;

/// How a run was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRequest {
    /// Finish the record, commit, leave the group.
    Graceful,
    /// End without a commit (parity row A-34, `stop(fail=True)`).
    Failed,
}

/// A handle by which any thread asks a run to end. Cheap to clone; asking twice does no harm.
///
/// A handle serves one run after another: [`StopHandle::reset`] makes it ready again.
#[derive(Clone, Default)]
pub struct StopHandle {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// 0: not asked, 1: graceful, 2: failed.
    requested: AtomicU8,
    /// Interrupts the poll that the worker may be waiting in.
    waker: Mutex<Option<Arc<dyn Wake>>>,
}

impl StopHandle {
    /// A handle nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to finish its record, commit and leave.
    pub fn stop(&self) {
        self.ask(1);
    }

    /// Asks the run to end without a commit.
    pub fn stop_failed(&self) {
        self.ask(2);
    }

    /// What was asked for, if anything.
    pub fn requested(&self) -> Option<StopRequest> {
        match self.inner.requested.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopRequest::Graceful),
            _ => Some(StopRequest::Failed),
        }
    }

    /// Forgets an earlier request, so that the next run starts unasked.
    pub fn reset(&self) {
        self.inner.requested.store(0, Ordering::Release);
    }

    /// Tells the handle whom to wake; the worker does so once it has a consumer.
    pub(crate) fn attach(&self, waker: Arc<dyn Wake>) {
        *self.lock() = Some(waker);
    }

    /// The worker is gone: nobody is to be woken.
    pub(crate) fn detach(&self) {
        *self.lock() = None;
    }

    fn ask(&self, how: u8) {
        self.inner.requested.fetch_max(how, Ordering::AcqRel);
        if let Some(waker) = self.lock().as_ref() {
            waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Wake>>> {
        self.inner.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StopHandle").field(&self.requested()).finish()
    }
}
