//! What happened, line by line: always as a hash, on request as text.

use std::fmt::{self, Write};
use std::time::Duration;

/// Where trace lines go besides the hash.
pub type Sink = Box<dyn FnMut(&str)>;

/// The trace of a run.
pub struct Trace {
    hash: Fnv,
    lines: u64,
    sink: Option<Sink>,
}

/// FNV-1a, fed by `write!`: a line that nobody reads is hashed without being built.
struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    /// An empty trace; with a sink each line is also handed to it.
    pub fn new(sink: Option<Sink>) -> Self {
        Self { hash: Fnv(0xcbf2_9ce4_8422_2325), lines: 0, sink }
    }

    /// Notes a line: when, on which host, what.
    pub fn line(&mut self, at: Duration, host: &str, what: fmt::Arguments<'_>) {
        self.lines += 1;
        // Writing into a hash cannot fail.
        let _ = writeln!(self.hash, "{} {host} {what}", at.as_nanos());
        if let Some(sink) = &mut self.sink {
            sink(&format!("{:>14.6} {host:<8} {what}", at.as_secs_f64()));
        }
    }

    /// The hash over all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash.0
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}
