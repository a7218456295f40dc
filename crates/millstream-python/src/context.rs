//! The message context of the record being processed (M-30, M-31).
//!
//! While a record runs, a pointer to its context lies in a thread-local, and only who asks makes an
//! object of it.

use std::cell::Cell;
use std::ptr;

use millstream_types::TopicPartition;
use millstream_value::RecordContext;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::errors;

/// `MessageContext` (M-31).
#[pyclass(frozen, eq, module = "millstream._millstream")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MessageContext {
    pub(crate) inner: ContextParts,
}

/// The parts of a context; equal contexts are equal objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContextParts {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) offset: i64,
    pub(crate) size: usize,
    pub(crate) leader_epoch: Option<i32>,
}

impl From<&RecordContext> for MessageContext {
    fn from(context: &RecordContext) -> Self {
        Self {
            inner: ContextParts {
                topic_partition: context.topic_partition.clone(),
                offset: context.offset,
                size: context.size,
                leader_epoch: context.leader_epoch,
            },
        }
    }
}

impl MessageContext {
    /// The engine's form.
    pub(crate) fn to_record_context(&self) -> RecordContext {
        RecordContext {
            topic_partition: self.inner.topic_partition.clone(),
            offset: self.inner.offset,
            size: self.inner.size,
            leader_epoch: self.inner.leader_epoch,
        }
    }
}

#[pymethods]
impl MessageContext {
    #[new]
    #[pyo3(signature = (topic, partition, offset, size, leader_epoch=None))]
    fn new(
        topic: &str,
        partition: i32,
        offset: i64,
        size: usize,
        leader_epoch: Option<i32>,
    ) -> Self {
        let topic_partition = TopicPartition::new(topic, partition);
        Self { inner: ContextParts { topic_partition, offset, size, leader_epoch } }
    }

    #[getter]
    pub(crate) fn topic(&self) -> &str {
        &self.inner.topic_partition.topic
    }

    #[getter]
    pub(crate) fn partition(&self) -> i32 {
        self.inner.topic_partition.partition
    }

    #[getter]
    pub(crate) fn offset(&self) -> i64 {
        self.inner.offset
    }

    #[getter]
    pub(crate) fn size(&self) -> usize {
        self.inner.size
    }

    #[getter]
    pub(crate) fn leader_epoch(&self) -> Option<i32> {
        self.inner.leader_epoch
    }

    fn __repr__(&self) -> String {
        let epoch = self.leader_epoch().map_or_else(|| "None".into(), |epoch| epoch.to_string());
        format!(
            "MessageContext(topic='{}', partition={}, offset={}, size={}, leader_epoch={epoch})",
            self.topic(),
            self.partition(),
            self.offset(),
            self.size(),
        )
    }
}

thread_local! {
    /// The context of the record that runs on this thread; null where none does.
    static CURRENT: Cell<*const RecordContext> = const { Cell::new(ptr::null()) };
}

/// Says for `call` which record is being processed.
#[inline]
pub(crate) fn with_record<R>(context: &RecordContext, call: impl FnOnce() -> R) -> R {
    /// Puts the outer record back, also when `call` panics.
    struct Restore(*const RecordContext);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(context));
    call()
}

/// The record that is being processed, if there is one.
#[inline]
pub(crate) fn record_at_hand<R>(look: impl FnOnce(Option<&RecordContext>) -> R) -> R {
    // SAFETY: `with_record` put the pointer there, made from a reference that outlives its call, and
    // takes it away before it returns; `look` runs within that call and cannot keep the reference.
    look(unsafe { CURRENT.get().as_ref() })
}

/// The context variable behind `set_message_context`. Its value is the context and whether it was
/// set while a record was processed: only then does it count against that record's own.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let variable = VARIABLE.get_or_try_init(py, || {
        let class = py.import("contextvars")?.getattr("ContextVar")?.cast_into::<PyType>()?;
        class.call1(("millstream_message_context",)).map(Bound::unbind)
    })?;
    Ok(variable.bind(py))
}

#[pyfunction]
pub(crate) fn message_context(py: Python<'_>) -> PyResult<Bound<'_, MessageContext>> {
    let set = variable(py)?.call_method1("get", (py.None(),))?;
    let set: Option<(Option<Bound<'_, MessageContext>>, bool)> = set.extract()?;
    record_at_hand(|record| {
        match (set, record) {
        (Some((Some(context), in_record)), record) if in_record || record.is_none() => Ok(context),
        (_, Some(record)) => Bound::new(py, MessageContext::from(record)),
        (_, None) => Err(errors::CONTEXT_NOT_SET.error(
            py,
            "message_context() is available only inside functions that process a record; to test such \
             a function by itself, call set_message_context(MessageContext(...)) first",
        )),
    }
    })
}

#[pyfunction]
pub(crate) fn set_message_context(
    py: Python<'_>,
    context: Option<Bound<'_, MessageContext>>,
) -> PyResult<()> {
    let in_record = record_at_hand(|record| record.is_some());
    variable(py)?.call_method1("set", ((context, in_record),)).map(|_| ())
}
