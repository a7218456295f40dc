//! Runs a broker until it is killed: `broker --data-dir DIR [--listen ADDR] [--idle-exit SECS]
//! [--set NAME=VALUE]...`. Prints the address it listens on. The command line of the product is
//! `millstream broker`; this is for this crate's own tests.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use millstream_broker::{BrokerConfig, BrokerHandle};
use millstream_types::SystemClock;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = BrokerConfig::new(".millstream");
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("every option takes a value")?;
        match name.as_str() {
            "--data-dir" => config.data_dir = value.into(),
            "--listen" => config = config.listen(value.parse()?),
            "--idle-exit" => config = config.idle_exit(Duration::from_secs_f64(value.parse()?)),
            "--set" => {
                let (name, value) = value.split_once('=').ok_or("--set takes NAME=VALUE")?;
                config = config.setting(name, value);
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let broker = BrokerHandle::start(config, Arc::new(SystemClock))?;
    println!("listening on {}", broker.address());
    std::io::stdout().flush()?;
    Ok(broker.wait()?)
}
