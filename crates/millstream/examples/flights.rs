//! The flights of the demo, in Rust: hourly delays by airport of departure.
//!
//! ```text
//! cargo run --release -p millstream --example flights [BROKER]
//! ```
//!
//! Without an address it runs on the embedded broker of this directory; `make demo` fills the
//! topic `departures`.

use std::time::Duration;

use millstream::{Aggregation, Application, col};

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Application::builder("delays-rust").earliest();
    if let Some(address) = std::env::args().nth(1) {
        settings = settings.broker(&address);
    }
    let app = settings.build()?;
    let flights = app.topic("departures");
    let delays = app.topic("hourly-delays-rust").keys("json")?;

    let dep_delay = || Some("dep_delay".to_owned());
    app.dataframe(&flights)?
        .filter(col("dep_delay").not_null())?
        .assign("late", col("dep_delay").gt(15))?
        .group_by("origin")?
        .tumbling_window(HOUR, HOUR)
        .agg([
            ("flights", Aggregation::Count(None)),
            ("mean_delay", Aggregation::Mean(dep_delay())),
            ("worst", Aggregation::Max(dep_delay())),
        ])
        .last()?
        .to_topic(&delays)?;

    app.stop_on_signals()?;
    println!("reading departures from {}; Ctrl-C ends it", app.broker_address());
    let report = app.run()?;
    println!("{} records in, {} windows out", report.records, report.outputs);
    Ok(())
}
