//! The embedded broker of a Rust program: the program itself, started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use millstream_broker::embedded::IDLE_EXIT;
use millstream_broker::{BrokerConfig, BrokerHandle, ensure_running};
use millstream_types::SystemClock;

use crate::Error;

/// Set for the process that is to be the broker: its data directory.
const MARK: &str = "MILLSTREAM_EMBEDDED_BROKER";

/// Finds or starts the broker of `data_dir` and gives its address.
pub(crate) fn address(data_dir: &Path) -> Result<String, Error> {
    let address = ensure_running(data_dir, || {
        let program =
            std::env::current_exe().expect("the system knows the path of a running program");
        let mut command = Command::new(program);
        command.env(MARK, data_dir);
        command
    })?;
    Ok(address.to_string())
}

/// In the process that was started to be the broker, is the broker and does not return.
pub(crate) fn become_the_broker_if_asked() {
    let Some(data_dir) = std::env::var_os(MARK).map(PathBuf::from) else { return };
    let config = BrokerConfig::new(data_dir).idle_exit(IDLE_EXIT);
    let outcome = BrokerHandle::start(config, Arc::new(SystemClock)).and_then(|broker| {
        println!("millstream broker listening on {}", broker.address());
        broker.wait()
    });
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}
