//! The embedded broker and the command line program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use millstream_broker::{EmbeddedError, embedded, ensure_running};
use millstream_commands::Program;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::gil::{IntoException, leave};

impl IntoException for EmbeddedError {
    fn into_exception(self, _py: Python<'_>) -> PyErr {
        PyRuntimeError::new_err(self.to_string())
    }
}

#[pyfunction]
pub(crate) fn ensure_broker(
    py: Python<'_>,
    data_dir: PathBuf,
    command: Vec<OsString>,
) -> PyResult<String> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| PyValueError::new_err("the broker's command is empty"))?;
    let make = || {
        let mut command = Command::new(program);
        command.args(arguments).args(embedded::options(&data_dir));
        command
    };
    leave(py, || ensure_running(&data_dir, make)).map(|address| address.to_string())
}

#[pyfunction]
pub(crate) fn cli_main(py: Python<'_>, argv: Vec<OsString>) -> PyResult<i32> {
    let python: PathBuf = py.import("sys")?.getattr("executable")?.extract()?;
    let program = Program {
        again: Box::new(move || {
            let mut command = Command::new(&python);
            command.args(["-m", "millstream"]);
            command
        }),
    };
    let arguments = std::iter::once(OsString::from("millstream")).chain(argv);
    leave(py, || Ok::<_, PyErr>(millstream_commands::run(arguments, &program)))
}
