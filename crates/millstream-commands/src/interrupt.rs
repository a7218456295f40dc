//! Ctrl-C and SIGTERM, as a flag that a command looks at and a descriptor that it waits on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::CommandError;

/// The status of a process that ended by Ctrl-C, as shells have it.
const STATUS: i32 = 130;

/// Whether the user wants the command to end.
///
/// There are two phases. While a command connects there is nothing to finish, so a signal ends the
/// process at once, whatever call it waits in. After [`Interrupt::finish_in_order`] the first
/// signal is a request, and only a second one ends the process at once.
pub(crate) struct Interrupt {
    came: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
    /// Readable from the first signal on. Handlers restart the system call that they interrupt,
    /// so a read that waits for input does not learn of a signal by itself.
    wake: UnixStream,
}

impl Interrupt {
    /// Takes over the signals for the rest of the process.
    pub(crate) fn new() -> Result<Self, CommandError> {
        Self::install().map_err(|error| {
            CommandError::new(
                format!("cannot listen for signals: {error}"),
                "If too many files are open, raise the limit with `ulimit -n`.",
            )
        })
    }

    fn install() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let at_once = Arc::new(AtomicBool::new(true));
        let (wake, signalled) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            // They run in this order: the flag that the first one reads is set by an earlier
            // signal only.
            let flag = Arc::clone(&at_once);
            signal_hook::flag::register_conditional_shutdown(signal, STATUS, flag)?;
            signal_hook::flag::register(signal, Arc::clone(&came))?;
            signal_hook::flag::register(signal, Arc::clone(&at_once))?;
            signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
        }
        Ok(Self { came, at_once, wake })
    }

    /// From here on there is something to finish: the first signal is a request.
    pub(crate) fn finish_in_order(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }

    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }

    /// Waits until `input` can be read, or a signal came.
    fn wait_for(&self, input: impl AsFd) -> io::Result<()> {
        while !self.came() {
            let mut both =
                [PollFd::new(&input, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
            match poll(&mut both, None) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A file, pipe or terminal whose reading ends when a signal comes: with an error, which the
/// caller tells from others by [`Interrupt::came`].
pub(crate) struct Input<'a> {
    file: File,
    interrupt: &'a Interrupt,
}

impl<'a> Input<'a> {
    pub(crate) fn stdin(interrupt: &'a Interrupt) -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { file, interrupt })
    }

    /// Opens a file. A named pipe is opened without waiting for its writer, so that this waiting,
    /// too, ends with a signal.
    pub(crate) fn open(path: &std::path::Path, interrupt: &'a Interrupt) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(open(path, flags, Mode::empty())?);
        Ok(Self { file, interrupt })
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.interrupt.wait_for(&self.file)?;
            if self.interrupt.came() {
                // Not of the kind `Interrupted`, which readers take as a request to try again.
                return Err(io::Error::other("a signal came"));
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}
