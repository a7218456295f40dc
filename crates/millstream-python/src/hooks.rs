//! The callbacks of an application, as the engine's hooks.

use millstream_engine::{Hooks, RecordError, Row as EngineRow};
use millstream_types::{Offset, RecordView};
use millstream_value::Failure;
use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;

use crate::context::MessageContext;
use crate::convert::to_python_in_place;
use crate::errors::{record_exception, to_failure};
use crate::gil::enter;
use crate::kafka::Message;
use crate::record::{Row, headers_to_python};

/// The callbacks of an application (E-01 to E-03, A-07, A-11).
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) consumer_error: Option<Py<PyAny>>,
    pub(crate) processing_error: Option<Py<PyAny>>,
    pub(crate) producer_error: Option<Py<PyAny>>,
    pub(crate) message_processed: Option<Py<PyAny>>,
    pub(crate) consumer_statistics: Option<Py<PyAny>>,
    pub(crate) producer_statistics: Option<Py<PyAny>>,
}

impl Callbacks {
    /// Another reference to each.
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        let share = |callback: &Option<Py<PyAny>>| callback.as_ref().map(|one| one.clone_ref(py));
        Self {
            consumer_error: share(&self.consumer_error),
            processing_error: share(&self.processing_error),
            producer_error: share(&self.producer_error),
            message_processed: share(&self.message_processed),
            consumer_statistics: share(&self.consumer_statistics),
            producer_statistics: share(&self.producer_statistics),
        }
    }
}

impl Callbacks {
    /// Shows Python's collector what is held here.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.consumer_error)?;
        visit.call(&self.processing_error)?;
        visit.call(&self.producer_error)?;
        visit.call(&self.message_processed)?;
        visit.call(&self.consumer_statistics)?;
        visit.call(&self.producer_statistics)
    }
}

/// Callbacks as hooks.
pub(crate) struct PyHooks(pub(crate) Callbacks);

/// `callback(exception, what, logger)`: whether the error is suppressed. The callback runs as if in the
/// `except` block of the exception: `logger.exception()` and a bare `raise` mean that one.
pub(crate) fn ask<'py>(
    callback: Option<&Py<PyAny>>,
    py: Python<'py>,
    exception: &PyErr,
    what: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> Result<bool, Failure> {
    let Some(callback) = callback else { return Ok(false) };
    let asked = || {
        let logger =
            py.import("logging")?.call_method1(intern!(py, "getLogger"), ("millstream",))?;
        let what = what()?;
        if let Some(traceback) = exception.traceback(py) {
            // Before 3.12 the two travel apart.
            // SAFETY: both are live; the call takes a reference of its own.
            unsafe {
                ffi::PyException_SetTraceback(exception.value(py).as_ptr(), traceback.as_ptr());
            }
        }
        let _handled = Handled::new(exception.value(py));
        callback.bind(py).call1((exception.value(py), what, logger))?.is_truthy()
    };
    asked().map_err(to_failure)
}

/// Makes an exception the one that is being handled, for as long as this lives. A Python frame with
/// `raise` and `except` would do the same, and be seen in the traceback.
struct Handled<'py> {
    py: Python<'py>,
    /// The one that was handled before.
    outer: Option<Bound<'py, PyAny>>,
}

impl<'py> Handled<'py> {
    fn new(exception: &Bound<'py, PyBaseException>) -> Self {
        let py = exception.py();
        // SAFETY: the thread is attached; the call returns a new reference, or null for none.
        let outer = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyErr_GetHandledException()) };
        // SAFETY: `exception` is a live exception; the call takes a reference of its own.
        unsafe { ffi::PyErr_SetHandledException(exception.as_ptr()) };
        Self { py, outer }
    }
}

impl Drop for Handled<'_> {
    fn drop(&mut self) {
        let none = self.py.None();
        let outer = self.outer.as_ref().map_or(none.as_ptr(), Bound::as_ptr);
        // SAFETY: the thread is attached, as it was when this was made; `outer` is an exception or None.
        unsafe { ffi::PyErr_SetHandledException(outer) };
    }
}

/// The row of an error callback; `None` where the record cannot be read again.
fn row<'py>(py: Python<'py>, row: EngineRow<'_>) -> PyResult<Bound<'py, PyAny>> {
    let Some(mut record) = row.record else { return Ok(py.None().into_bound(py)) };
    let value = to_python_in_place(py, &mut record.value)?;
    let key = to_python_in_place(py, &mut record.key)?;
    let headers = headers_to_python(py, &record.headers)?;
    let context = Py::new(py, MessageContext::from(row.context))?;
    let row = Row::new(
        py,
        value.unbind(),
        key.unbind(),
        record.timestamp,
        context,
        Some(headers.unbind()),
    );
    Ok(Bound::new(py, row)?.into_any())
}

impl Hooks for PyHooks {
    fn on_consumer_error(
        &mut self,
        error: &mut RecordError,
        message: RecordView<'_>,
    ) -> Result<bool, Failure> {
        enter(|py| {
            let exception = record_exception(py, error);
            ask(self.0.consumer_error.as_ref(), py, &exception, || {
                let message = Message::copy_of(&error.topic_partition, message);
                Ok(Bound::new(py, message)?.into_any())
            })
        })
    }

    fn on_processing_error(
        &mut self,
        error: &mut RecordError,
        engine_row: EngineRow<'_>,
    ) -> Result<bool, Failure> {
        enter(|py| {
            let exception = record_exception(py, error);
            ask(self.0.processing_error.as_ref(), py, &exception, || row(py, engine_row))
        })
    }

    fn on_producer_error(
        &mut self,
        error: &mut RecordError,
        engine_row: EngineRow<'_>,
    ) -> Result<bool, Failure> {
        enter(|py| {
            let exception = record_exception(py, error);
            ask(self.0.producer_error.as_ref(), py, &exception, || row(py, engine_row))
        })
    }

    fn on_message_processed(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Offset,
    ) -> Result<(), Failure> {
        match &self.0.message_processed {
            None => Ok(()),
            Some(callback) => enter(|py| callback.call1(py, (topic, partition, offset)))
                .map(drop)
                .map_err(to_failure),
        }
    }
}
