//! The two doors between Rust and Python: [`enter`] attaches to the interpreter, [`leave`] detaches
//! from it for a wait. Nothing else in this crate calls `Python::attach` or `Python::detach`.

use pyo3::prelude::*;

/// Runs `work` attached to the interpreter. Costs a thread-local counter if the thread already is:
/// the engine's calls come inside one attachment per run of records (see [`crate::host::PyHost`]).
#[inline]
pub(crate) fn enter<R>(work: impl FnOnce(Python<'_>) -> R) -> R {
    Python::attach(work)
}

/// Runs `work` if the interpreter can still be entered: after its end there is nobody to tell.
pub(crate) fn try_enter<R>(work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    Python::try_attach(work)
}

/// An error that has a Python exception.
pub(crate) trait IntoException {
    /// The exception a user gets for it.
    fn into_exception(self, py: Python<'_>) -> PyErr;
}

impl IntoException for PyErr {
    fn into_exception(self, _py: Python<'_>) -> PyErr {
        self
    }
}

/// Runs `wait` detached, so that other threads may run Python, then converts its error. A Ctrl-C
/// that arrived meanwhile comes first: its handler runs before anything of the result is seen.
pub(crate) fn leave<T: Send, E: IntoException + Send>(
    py: Python<'_>,
    wait: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    let result = py.detach(wait);
    py.check_signals()?;
    result.map_err(|error| error.into_exception(py))
}
