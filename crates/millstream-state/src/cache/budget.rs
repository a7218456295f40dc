//! One bound on the memory of all caches of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// How much memory all caches that share it may use together. Entries that changed since the
/// last checkpoint cannot be given up, so the bound is soft; the bound on dirty bytes is the
/// runtime's (it makes a checkpoint due).
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: AtomicUsize,
    used: AtomicIsize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit: AtomicUsize::new(limit), used: AtomicIsize::new(0) }))
    }

    /// Bytes in use, to within 16 KiB per family.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed).max(0) as usize
    }

    /// The bound in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Sets another bound.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    fn over(&self) -> bool {
        self.used() > self.limit()
    }
}

/// A family's part of a [`MemoryBudget`]. Reports in steps, so that threads do not fight over
/// the counter.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: MemoryBudget,
    bytes: usize,
    unreported: isize,
}

const STEP: isize = 16 * 1024;

impl BudgetShare {
    pub(crate) fn new(budget: MemoryBudget) -> Self {
        Self { budget, bytes: 0, unreported: 0 }
    }

    /// Bytes this family uses.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts bytes in or out.
    pub(crate) fn change(&mut self, by: isize) {
        self.bytes =
            self.bytes.checked_add_signed(by).expect("no more is given back than was taken");
        self.unreported += by;
        if self.unreported.abs() >= STEP {
            self.report();
        }
    }

    /// Whether something should be given up before more is taken.
    pub(crate) fn over(&self) -> bool {
        self.budget.over()
    }

    fn report(&mut self) {
        self.budget.0.used.fetch_add(self.unreported, Ordering::Relaxed);
        self.unreported = 0;
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.unreported -= self.bytes as isize;
        self.report();
    }
}
