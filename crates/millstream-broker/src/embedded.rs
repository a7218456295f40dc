//! The broker that the applications on a machine share: found through files in the data
//! directory, started by the first that needs it, ended by itself.
//!
//! ```text
//! DIR/broker.lock     locked by the broker for as long as it lives
//! DIR/broker.address  127.0.0.1:PORT and the process id; written when it listens
//! DIR/starter.lock    locked by an application while it looks and, if need be, starts
//! DIR/broker.log      what the broker prints
//! ```
//!
//! Locks are the operating system's and end with their process, however it ends. So a held
//! `broker.lock` is the truth about whether a broker runs, and an address file beside a free lock
//! is a leftover. Two applications that start at once take turns by `starter.lock`: the second
//! finds the first one's broker. The broker is a process in a session of its own: neither a
//! Ctrl-C in the terminal nor the end of the application reaches it.

mod lock;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use millstream_types::{Clock, SystemClock};

pub(crate) use lock::DataDirLock;
use lock::{LockFile, read_address};

/// How long a broker may take to answer after it was started; recovery of large logs included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long an embedded broker outlives its last client.
pub const IDLE_EXIT: Duration = Duration::from_secs(60);
/// How often files are looked at while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why there is no broker to talk to.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory {dir} of the embedded broker: {source}")]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The program that should be the broker cannot be started.
    #[error("cannot start the embedded broker ({command}): {source}")]
    Spawn {
        /// The command.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// The broker ended before it answered.
    #[error("the embedded broker ended at its start ({status}); the end of {log}:\n{tail}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Somebody holds the lock, but nobody answers.
    #[error(
        "a broker{holder} holds the data directory {dir} but does not answer within {seconds} s; \
         see {log}, end that process, or use another data directory"
    )]
    NoAnswer {
        /// The directory.
        dir: PathBuf,
        /// ` (process 123 at 127.0.0.1:9092)`, or nothing if that is not known.
        holder: String,
        /// How long was waited.
        seconds: u64,
        /// Its log file.
        log: PathBuf,
    },
}

/// The options of `millstream broker` that make it the embedded broker of `data_dir`: on a free
/// port of loopback, found through the data directory, and gone by itself.
pub fn options(data_dir: &Path) -> [OsString; 6] {
    [
        "--data-dir".into(),
        data_dir.into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--idle-exit".into(),
        IDLE_EXIT.as_secs().to_string().into(),
    ]
}

/// Returns the address of the broker that runs on `data_dir`, starting one with the command that
/// `command` makes if there is none. The command must run a broker on that directory (such as
/// `millstream broker` with [`options`]); it gets a session of its own, and
/// its output goes to `broker.log`.
///
/// # Errors
/// [`EmbeddedError`].
pub fn ensure_running(
    data_dir: &Path,
    command: impl FnOnce() -> Command,
) -> Result<SocketAddr, EmbeddedError> {
    ensure_running_within(data_dir, command, START_LIMIT)
}

/// The same with another limit on the waiting.
///
/// # Errors
/// [`EmbeddedError`].
pub fn ensure_running_within(
    data_dir: &Path,
    command: impl FnOnce() -> Command,
    limit: Duration,
) -> Result<SocketAddr, EmbeddedError> {
    let dir_error = |source| EmbeddedError::DataDir { dir: data_dir.to_owned(), source };
    let no_answer = || EmbeddedError::NoAnswer {
        dir: data_dir.to_owned(),
        holder: lock::holder(data_dir),
        seconds: limit.as_secs(),
        log: log_path(data_dir),
    };
    let until = SystemClock.monotonic() + limit;
    std::fs::create_dir_all(data_dir).map_err(dir_error)?;
    // Held to the end of this function: one application at a time looks and starts.
    let _turn = loop {
        match LockFile::try_acquire(&data_dir.join("starter.lock")).map_err(dir_error)? {
            Some(turn) => break turn,
            None if SystemClock.monotonic() >= until => return Err(no_answer()),
            None => pause(),
        }
    };
    let mut child = None;
    let mut command = Some(command);
    loop {
        let runs = LockFile::is_held(&data_dir.join(lock::BROKER_LOCK)).map_err(dir_error)?;
        if runs {
            if let Some(address) = read_address(data_dir)
                && TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
            {
                reap(child);
                return Ok(address);
            }
        } else if let Some(command) = command.take() {
            child = Some(spawn(data_dir, command())?);
        }
        if let Some(ended) = &mut child
            && let Some(status) = ended.try_wait().map_err(dir_error)?
            && !LockFile::is_held(&data_dir.join(lock::BROKER_LOCK)).map_err(dir_error)?
        {
            let log = log_path(data_dir);
            return Err(EmbeddedError::Ended { status, tail: tail_of(&log), log });
        }
        if SystemClock.monotonic() >= until {
            reap(child);
            return Err(no_answer());
        }
        pause();
    }
}

fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.join("broker.log")
}

#[expect(clippy::disallowed_methods, reason = "outermost layer: no event tells of another process")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

fn spawn(data_dir: &Path, mut command: Command) -> Result<Child, EmbeddedError> {
    use std::os::unix::process::CommandExt;
    let described = format!("{command:?}");
    let failed = |source| EmbeddedError::Spawn { command: described.clone(), source };
    let open_log = || OpenOptions::new().create(true).append(true).open(log_path(data_dir));
    let log = open_log().map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe
    // calls are allowed. It makes one system call, setsid, which is on POSIX's list of those; it
    // allocates nothing (an OS error code converts to io::Error without allocation) and takes no
    // lock.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    command.spawn().map_err(failed)
}

/// Waits for the broker's end on a thread, so that it leaves no zombie while the application
/// lives. Without a thread it leaves one, which harms nobody.
fn reap(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let waiter = std::thread::Builder::new().name("millstream-broker-reaper".into());
    if let Err(error) = waiter.spawn(move || child.wait()) {
        tracing::debug!(%error, "no thread to wait for the embedded broker's end");
    }
}

fn tail_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
