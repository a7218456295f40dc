//! Each record in a `contextvars` context of its own.
//!
//! What must hold: a context variable that user code sets for one record has its old value again for
//! the next. Making, entering and leaving a copied context per record costs more than calling a small
//! function. So one copy serves all records of a run until one of them sets a variable: contexts are
//! immutable maps inside, and comparing a context with the copy it came from is a comparison of two
//! pointers as long as nobody did. Only after a change does the next record get a fresh copy.

use std::cell::RefCell;

use millstream_types::Offset;
use millstream_value::RecordContext;
use pyo3::ffi;
use pyo3::prelude::*;

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
/// nothing.
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

/// Says that a function is about to run for a record: if it is another one than before, and the one
/// before set a context variable, the context is renewed.
#[inline]
pub(crate) fn record(py: Python<'_>, context: &RecordContext) -> PyResult<()> {
    let partition = &context.topic_partition;
    let record = Some((partition.topic.as_ptr(), partition.partition, context.offset));
    ISOLATION.with_borrow_mut(|isolation| match isolation {
        Some(isolation) if isolation.record != record => {
            isolation.record = record;
            isolation.renew_if_changed(py)
        }
        // The same record; or a function called by itself, as in a test of an expression.
        _ => Ok(()),
    })
}

impl Isolation {
    #[inline]
    fn renew_if_changed(&mut self, py: Python<'_>) -> PyResult<()> {
        let work = self.work.bind(py);
        // SAFETY: both are live objects.
        let same =
            unsafe { ffi::PyObject_RichCompareBool(work.as_ptr(), self.base.as_ptr(), ffi::Py_EQ) };
        if same == 1 {
            return Ok(());
        }
        if same < 0 {
            // Values that cannot be compared: at least one was set.
            drop(PyErr::take(py));
        }
        leave(work)?;
        let fresh = copy(self.base.bind(py))?;
        enter(&fresh)?;
        self.work = fresh.unbind();
        Ok(())
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
