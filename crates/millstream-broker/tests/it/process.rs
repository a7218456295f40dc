//! Brokers as processes of their own: the example `broker`, which cargo builds with the tests.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The example's program, in the folder beside the tests' own.
pub(crate) fn program() -> PathBuf {
    let mut folder = std::env::current_exe().expect("a test runs from a file");
    folder.pop();
    folder.pop();
    let program = folder.join("examples").join("broker");
    assert!(
        program.exists(),
        "{} is not built; run `cargo test`, which builds examples, \
        or `cargo build --example broker`",
        program.display()
    );
    program
}

/// A broker process, killed when dropped.
pub(crate) struct BrokerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl BrokerProcess {
    pub(crate) fn start(data_dir: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(program())
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen", "127.0.0.1:0"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example can be run");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("it prints its address");
        let address = line.trim().rsplit(' ').next().unwrap_or_default();
        let address = address.parse().unwrap_or_else(|_| panic!("not an address: {line:?}"));
        Self { child, address }
    }

    /// SIGKILL, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started by us");
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
