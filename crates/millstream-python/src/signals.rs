//! Ctrl-C and SIGTERM while a run is on.
//!
//! The first Ctrl-C, and SIGTERM, end the run after the current record, with a checkpoint; a second
//! Ctrl-C raises `KeyboardInterrupt`. Handlers belong to the main thread, so only a run in the main
//! thread has them, and puts the old ones back.
//!
//! Python runs a handler between two of its own instructions, but a run waits for records outside of
//! the interpreter. So the interpreter is also asked to write each signal's number into a socket, and a
//! thread that reads it asks the run to stop, which wakes the wait.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use millstream_runtime::StopHandle;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::gil::enter;

/// Whether the run on this thread has to ask for signals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// It has no handlers.
    Nothing,
    /// Somebody else has the socket: handlers run only when they are asked for.
    Asking,
    /// Once the reading thread has seen one.
    Told,
}

thread_local! {
    static WATCH: Cell<Watch> = const { Cell::new(Watch::Nothing) };
    static SEEN: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
    /// What a handler raised between two records.
    static PENDING: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Lets Python's signal handlers run if a signal came; whether one of them raised. Asked between runs
/// of records, so it enters the interpreter only if there is a reason to.
pub(crate) fn interrupted() -> bool {
    let ask = match WATCH.get() {
        Watch::Nothing => false,
        Watch::Asking => true,
        Watch::Told => SEEN
            .with_borrow(|seen| seen.as_ref().is_some_and(|seen| seen.load(Ordering::Relaxed) > 0)),
    };
    if ask && let Err(error) = enter(|py| py.check_signals()) {
        PENDING.set(Some(error));
    }
    PENDING.with_borrow(Option::is_some)
}

/// What a handler raised, for the run to raise it at its end.
pub(crate) fn take_pending() -> Option<PyErr> {
    PENDING.take()
}

/// Handlers for the time of a run.
pub(crate) struct Handlers {
    /// Signals with the handlers they had before.
    before: Vec<(i32, Py<PyAny>)>,
    reader: Option<Reader>,
}

/// The thread that reads what the interpreter writes.
struct Reader {
    /// Ours to keep until the interpreter writes elsewhere.
    writer: UnixStream,
    thread: JoinHandle<()>,
    seen: Arc<AtomicUsize>,
}

impl Handlers {
    /// Installs handlers if this is the main thread of the main interpreter.
    pub(crate) fn install(py: Python<'_>, stop: &StopHandle) -> PyResult<Option<Self>> {
        let threading = py.import("threading")?;
        let main = threading.call_method0("main_thread")?;
        if !threading.call_method0("current_thread")?.is(&main) {
            return Ok(None);
        }
        let signal = py.import("signal")?;
        let interrupt: i32 = signal.getattr("SIGINT")?.extract()?;
        let terminate: i32 = signal.getattr("SIGTERM")?.extract()?;
        let reader = Reader::start(&signal, stop, interrupt, terminate)?;
        let seen = reader.as_ref().map(|reader| Arc::clone(&reader.seen)).unwrap_or_default();
        WATCH.set(if reader.is_some() { Watch::Told } else { Watch::Asking });
        SEEN.set(Some(Arc::clone(&seen)));
        let mut handlers = Self { before: Vec::new(), reader };
        handlers.handle(&signal, interrupt, interrupt_handler(py, stop.clone(), seen)?)?;
        handlers.handle(&signal, terminate, terminate_handler(py, stop.clone())?)?;
        Ok(Some(handlers))
    }

    fn handle(
        &mut self,
        signal: &Bound<'_, PyModule>,
        number: i32,
        handler: Bound<'_, PyCFunction>,
    ) -> PyResult<()> {
        let before = signal.call_method1("signal", (number, handler))?;
        self.before.push((number, before.unbind()));
        Ok(())
    }

    /// Puts everything back as it was.
    pub(crate) fn remove(self, py: Python<'_>) -> PyResult<()> {
        WATCH.set(Watch::Nothing);
        SEEN.set(None);
        let signal = py.import("signal")?;
        for (number, before) in self.before {
            // A handler that was not set from Python cannot be set from there again.
            if !before.is_none(py) {
                signal.call_method1("signal", (number, before))?;
            }
        }
        if let Some(reader) = self.reader {
            signal.call_method1("set_wakeup_fd", (-1,))?;
            drop(reader.writer);
            // It ends at once: nobody writes any more.
            crate::gil::leave(py, || {
                // It has nothing to tell; a panic of its was printed.
                drop(reader.thread.join());
                Ok::<_, PyErr>(())
            })?;
        }
        Ok(())
    }
}

impl Reader {
    /// Starts reading, unless somebody else has asked for the signals (an event loop, say).
    fn start(
        signal: &Bound<'_, PyModule>,
        stop: &StopHandle,
        interrupt: i32,
        terminate: i32,
    ) -> PyResult<Option<Self>> {
        let (mut reader, writer) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        let options = PyDict::new(signal.py());
        options.set_item("warn_on_full_buffer", false)?;
        let before: i32 = signal
            .call_method("set_wakeup_fd", (writer.as_raw_fd(),), Some(&options))?
            .extract()?;
        if before != -1 {
            signal.call_method1("set_wakeup_fd", (before,))?;
            return Ok(None);
        }
        let seen = Arc::new(AtomicUsize::new(0));
        let (count, stop) = (Arc::clone(&seen), stop.clone());
        let read = move || {
            let mut number = [0];
            // Ends when the other end is closed.
            while reader.read_exact(&mut number).is_ok() {
                let number = i32::from(number[0]);
                if number == interrupt && count.fetch_add(1, Ordering::Relaxed) > 0 {
                    // What the run waits for now is not worth waiting for.
                    stop.stop_failed();
                } else if number == interrupt || number == terminate {
                    stop.stop();
                }
            }
        };
        let thread = std::thread::Builder::new().name("millstream-signals".into()).spawn(read)?;
        Ok(Some(Self { writer, thread, seen }))
    }
}

/// The handler of Ctrl-C: stops at first, raises then.
fn interrupt_handler(
    py: Python<'_>,
    stop: StopHandle,
    seen: Arc<AtomicUsize>,
) -> PyResult<Bound<'_, PyCFunction>> {
    let handled = AtomicUsize::new(0);
    let handle = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        stop.stop();
        let again = handled.fetch_add(1, Ordering::Relaxed) > 0 || seen.load(Ordering::Relaxed) > 1;
        if again { Err(PyKeyboardInterrupt::new_err(())) } else { Ok(()) }
    };
    PyCFunction::new_closure(py, None, None, handle)
}

fn terminate_handler(py: Python<'_>, stop: StopHandle) -> PyResult<Bound<'_, PyCFunction>> {
    PyCFunction::new_closure(
        py,
        None,
        None,
        move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| stop.stop(),
    )
}
