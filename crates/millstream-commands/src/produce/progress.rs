//! How far a long produce has come, on standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use millstream_types::{Clock, SystemClock};

/// One line that is written anew a few times a second; nothing where nobody watches.
pub(crate) struct Progress {
    total: Option<u64>,
    bytes: u64,
    shown: bool,
    started: Duration,
    drawn: Duration,
}

const PAUSE: Duration = Duration::from_millis(200);
const BAR: usize = 30;

impl Progress {
    pub(crate) fn new(total: Option<u64>, quiet: bool) -> Self {
        let now = SystemClock.monotonic();
        let shown = !quiet && std::io::stderr().is_terminal();
        Self { total, bytes: 0, shown, started: now, drawn: now }
    }

    /// `bytes` more were read; `records` were sent in all.
    pub(crate) fn add(&mut self, bytes: u64, records: u64) {
        self.bytes += bytes;
        // Asking for the time costs more than a record; one look in 1024 is enough.
        if !self.shown || !records.is_multiple_of(1024) {
            return;
        }
        let now = SystemClock.monotonic();
        if now - self.drawn >= PAUSE {
            self.drawn = now;
            self.draw(records, now);
        }
    }

    /// Leaves the last figures on the screen.
    pub(crate) fn finish(&mut self, records: u64) {
        if self.shown {
            self.draw(records, SystemClock.monotonic());
            eprintln!();
        }
    }

    fn draw(&self, records: u64, now: Duration) {
        let rate = records as f64 / (now - self.started).as_secs_f64().max(1e-3);
        let bar = match self.total {
            Some(total) if total > 0 => {
                let part = (self.bytes as f64 / total as f64).min(1.0);
                let full = (part * BAR as f64) as usize;
                format!("[{}{}] {:3.0} %  ", "#".repeat(full), "-".repeat(BAR - full), part * 100.0)
            }
            _ => String::new(),
        };
        let mut err = std::io::stderr().lock();
        // A progress line that cannot be written is no reason to stop.
        let _ = write!(err, "\r{bar}{records} records, {rate:.0} records/s   ");
        let _ = err.flush();
    }
}
