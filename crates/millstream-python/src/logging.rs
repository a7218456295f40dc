//! Native log events as records of Python's `logging`.
//!
//! An event of the target `millstream::kafka` goes to the logger `millstream.kafka`, one of the module
//! `millstream_runtime::worker` to `millstream.runtime.worker` (E-22). Below the level that the Python layer
//! sets, an event costs the comparison that `tracing` makes at its place; only one that is wanted enters
//! the interpreter.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Id, Level, Metadata, Subscriber};

use crate::gil::try_enter;

/// Python's numbers.
const ERROR: usize = 40;
const WARNING: usize = 30;
const INFO: usize = 20;
const DEBUG: usize = 10;
/// Below `DEBUG`, without a name in Python.
const TRACE: usize = 5;

/// From which of Python's levels on events are handed over.
static LEVEL: AtomicUsize = AtomicUsize::new(WARNING);

fn python_level(level: Level) -> usize {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => WARNING,
        Level::INFO => INFO,
        Level::DEBUG => DEBUG,
        Level::TRACE => TRACE,
    }
}

/// Sets from which of Python's levels on events are handed over.
#[pyfunction]
pub(crate) fn set_log_level(level: usize) {
    LEVEL.store(level, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Asks Python's loggers from which level on somebody wants to hear. Done at the start of a run, for
/// programs that configure `logging` themselves (E-20, `loglevel=None`).
pub(crate) fn follow_python(py: Python<'_>) -> PyResult<()> {
    let logging = py.import("logging")?;
    let mut level = usize::MAX;
    for name in ["millstream", "millstream.runtime", "millstream.kafka", "millstream.state"] {
        let logger = logging.call_method1("getLogger", (name,))?;
        level = level.min(logger.call_method0("getEffectiveLevel")?.extract()?);
    }
    set_log_level(level);
    Ok(())
}

/// Hands events to Python from now on. Once per process: the module may be imported again, by
/// another interpreter, say.
pub(crate) fn install() {
    // Only a second call fails, and the first one's subscriber does the same.
    let _ = tracing::subscriber::set_global_default(ToPython { spans: AtomicU64::new(1) });
}

struct ToPython {
    spans: AtomicU64,
}

impl Subscriber for ToPython {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().trim_start_matches('_').starts_with("millstream")
            && python_level(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let wanted = LEVEL.load(Ordering::Relaxed);
        let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        let lowest = levels.into_iter().find(|level| python_level(*level) >= wanted);
        Some(lowest.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        try_enter(|py| {
            let logged = log(py, &logger_name(metadata.target()), *metadata.level(), &text.join());
            if let Err(error) = logged {
                error.write_unraisable(py, None);
            }
        });
    }

    // Spans are not enabled; ids must be there all the same.
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `millstream_runtime::worker` and `millstream::kafka` as names of loggers.
fn logger_name(target: &str) -> String {
    let target = target.strip_prefix("_millstream").map_or_else(
        || target.replacen("millstream_", "millstream.", 1),
        // This crate's own modules.
        |rest| format!("millstream{rest}"),
    );
    target.replace("::", ".")
}

fn log(py: Python<'_>, logger: &str, level: Level, message: &str) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", (logger,))?;
    logger.call_method1("log", (python_level(level), message))?;
    Ok(())
}

/// The message, and the other fields behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn join(mut self) -> String {
        if !self.fields.is_empty() {
            let _ = write!(self.message, " ({})", self.fields);
        }
        self.message
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let separator = if self.fields.is_empty() { "" } else { ", " };
            let _ = write!(self.fields, "{separator}{}={value:?}", field.name());
        }
    }
}
