//! Each record in a `contextvars` context of its own.
//!
//! A context variable that user code sets for one record has its old value again for the next. The
//! context is entered when the first function of a record is about to run, and left when the next
//! record begins or the run of records ends: a record that calls no function pays nothing. Copying,
//! entering and leaving one costs 18 ns (CPython 3.11; contexts are immutable maps inside and come from
//! a free list). To compare a context with its origin and renew it only after a change would cost 8 ns,
//! and take equal values for the same.
//!
//! Records that a deserializer splits from one message (T-64) share a context.

use std::cell::RefCell;

use millstream_types::Offset;
use millstream_value::RecordContext;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::context::record_at_hand;

thread_local! {
    static ISOLATION: RefCell<Option<Isolation>> = const { RefCell::new(None) };
}

struct Isolation {
    /// The context that every record starts from.
    base: Py<PyAny>,
    /// The copy that is entered.
    work: Py<PyAny>,
    /// Which record ran in it last: its topic's name (compared by address), partition and offset.
    record: Option<(*const u8, i32, Offset)>,
}

/// Runs `run` in a copy of the current context, which [`record`] renews. Inside of itself it does
/// nothing more.
pub(crate) fn isolated<R>(py: Python<'_>, run: impl FnOnce() -> R) -> PyResult<R> {
    /// Leaves the context, also when `run` panics.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let isolation = ISOLATION.with_borrow_mut(Option::take);
            let Some(isolation) = isolation else { return };
            crate::gil::enter(|py| {
                if let Err(error) = leave(isolation.work.bind(py)) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
    if ISOLATION.with_borrow(Option::is_some) {
        return Ok(run());
    }
    // SAFETY: the thread is attached, and the call returns a new reference or null.
    let base = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
    let work = copy(&base)?;
    enter(&work)?;
    let isolation = Isolation { base: base.unbind(), work: work.unbind(), record: None };
    ISOLATION.set(Some(isolation));
    let _leave = Leave;
    Ok(run())
}

/// Says that user code is about to run for the record at hand: another one than before gets a fresh
/// context.
#[inline]
pub(crate) fn record(py: Python<'_>) -> PyResult<()> {
    let record = record_at_hand(|context| {
        context.map(|RecordContext { topic_partition: at, offset, .. }| {
            (at.topic.as_ptr(), at.partition, *offset)
        })
    });
    let left = ISOLATION.with_borrow_mut(|isolation| match isolation {
        Some(isolation) if isolation.record != record => {
            isolation.record = record;
            isolation.renew(py).map(Some)
        }
        // The same record; or user code called by itself, as a serializer in a test.
        _ => Ok(None),
    })?;
    // Not under the borrow: what was set in it may have destructors.
    drop(left);
    Ok(())
}

impl Isolation {
    /// Enters a fresh context; gives the one before.
    #[inline]
    fn renew(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        leave(self.work.bind(py))?;
        let fresh = copy(self.base.bind(py))?;
        enter(&fresh)?;
        Ok(std::mem::replace(&mut self.work, fresh.unbind()))
    }
}

fn copy<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `context` is a live context object; the call returns a new reference or null.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

fn enter(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `context` is a live context object.
    check(context.py(), unsafe { ffi::PyContext_Enter(context.as_ptr()) })
}

fn leave(context: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `context` is a live context object.
    check(context.py(), unsafe { ffi::PyContext_Exit(context.as_ptr()) })
}

fn check(py: Python<'_>, status: std::ffi::c_int) -> PyResult<()> {
    if status == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}
