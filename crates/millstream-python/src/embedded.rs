//! The embedded broker and the command line program.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use millstream_broker::EmbeddedError;
use millstream_broker::embedded::ensure_running_within;
use millstream_commands::Program;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::gil::{IntoException, leave};

/// How long the broker stays when nobody is connected, s.
const IDLE_EXIT: &str = "60";

impl IntoException for EmbeddedError {
    fn into_exception(self, _py: Python<'_>) -> PyErr {
        PyRuntimeError::new_err(self.to_string())
    }
}

#[pyfunction]
#[pyo3(signature = (data_dir, command, timeout=30.0))]
pub(crate) fn ensure_broker(
    py: Python<'_>,
    data_dir: PathBuf,
    command: Vec<OsString>,
    timeout: f64,
) -> PyResult<String> {
    let limit = Duration::try_from_secs_f64(timeout)
        .map_err(|error| PyValueError::new_err(format!("timeout={timeout}: {error}")))?;
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| PyValueError::new_err("the broker's command is empty"))?;
    let make = || {
        let mut command = Command::new(program);
        command.args(arguments).arg("--data-dir").arg(&data_dir).args([
            "--listen",
            "127.0.0.1:0",
            "--idle-exit",
            IDLE_EXIT,
        ]);
        command
    };
    leave(py, || ensure_running_within(&data_dir, make, limit)).map(|address| address.to_string())
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
