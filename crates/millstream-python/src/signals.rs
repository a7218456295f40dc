//! Ctrl-C and SIGTERM while a run is on.

use std::cell::RefCell;

use pyo3::prelude::*;

use crate::gil::enter;

thread_local! {
    /// What a signal handler raised between two records (the second Ctrl-C).
    static PENDING: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Lets Python's signal handlers run; whether one of them raised. Asked between runs of records.
pub(crate) fn interrupted() -> bool {
    enter(|py| match py.check_signals() {
        Ok(()) => PENDING.with_borrow(Option::is_some),
        Err(error) => {
            PENDING.set(Some(error));
            true
        }
    })
}

/// What was raised, for the run to raise it again at its end.
pub(crate) fn take_pending() -> Option<PyErr> {
    PENDING.take()
}
