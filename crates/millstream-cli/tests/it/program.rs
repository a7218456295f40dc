//! The program, started.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_types::SystemClock;
use tempfile::TempDir;

/// A broker of the test's own.
pub(crate) struct Broker {
    handle: BrokerHandle,
    _dir: TempDir,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = BrokerConfig::new(dir.path());
        Self { handle: BrokerHandle::start(config, Arc::new(SystemClock)).unwrap(), _dir: dir }
    }

    /// With topics of one partition that keep records of any age.
    pub(crate) fn with_topics(names: &[&str]) -> Self {
        let broker = Self::start();
        let done = broker.run(&[&["topics", "create", "-c", "retention.ms=-1"], names].concat());
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        broker
    }

    pub(crate) fn address(&self) -> String {
        self.handle.address().to_string()
    }

    /// A command line that talks to this broker.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = millstream(arguments);
        command.args(["--broker", &self.address()]);
        command
    }

    /// Runs a command without input.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command with `input` as its standard input.
    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = spawn(self.command(arguments));
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The records of a topic as `consume --format json` prints them.
    pub(crate) fn records(&self, topic: &str) -> Vec<serde_json::Value> {
        let done = self.run(&["consume", topic, "--format", "json"]);
        assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The program, in an environment that says nothing of brokers.
pub(crate) fn millstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).env_remove("Quix__Broker__Address").env_remove("MILLSTREAM_DATA_DIR");
    command
}

/// Starts it with pipes on all sides.
pub(crate) fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it wrote to standard error.
pub(crate) fn errors(done: &Output) -> String {
    String::from_utf8(done.stderr.clone()).unwrap()
}

/// Ends the embedded broker of a data directory, should one have come up.
pub(crate) struct EndOfEmbedded<'a>(pub(crate) &'a Path);

impl Drop for EndOfEmbedded<'_> {
    fn drop(&mut self) {
        let Ok(text) = std::fs::read_to_string(self.0.join("broker.address")) else { return };
        let id = text.lines().nth(1).and_then(|line| line.parse().ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }
}
