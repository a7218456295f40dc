//! Stream processing for Apache Kafka, as a library: a program that calls
//! [`Application::run`] joins a consumer group, processes the partitions it is given, keeps
//! state in RocksDB backed by changelog topics, and writes Kafka topics.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use millstream::{Aggregation, Application, col};
//!
//! fn main() -> Result<(), millstream::Error> {
//!     let app = Application::builder("delays").earliest().build()?; // embedded broker
//!     let flights = app.topic("departures");
//!     let delays = app.topic("hourly-delays");
//!
//!     let hour = Duration::from_secs(3600);
//!     app.dataframe(&flights)?
//!         .filter(col("dep_delay").not_null())?
//!         .assign("late", col("dep_delay").gt(15))?
//!         .group_by("origin")?
//!         .tumbling_window(hour, hour)
//!         .agg([
//!             ("flights", Aggregation::Count(None)),
//!             ("mean_delay", Aggregation::Mean(Some("dep_delay".into()))),
//!             ("worst", Aggregation::Max(Some("dep_delay".into()))),
//!         ])
//!         .last()?
//!         .to_topic(&delays)?;
//!     app.run()?;
//!     Ok(())
//! }
//! ```
//!
//! Without a broker address the program runs on its embedded broker, a process of its own that it
//! starts by running itself again: call [`Application::builder`] before anything that must not
//! happen twice. [`ApplicationBuilder::broker`] moves the program to a cluster.
//!
//! *Invariant:* this crate holds no semantics of its own. What it offers is in the engine, and
//! Python's dataframe has the same under the same names.

mod application;
mod column;
mod dataframe;
mod embedded;
mod error;
mod function;
mod topic;
mod window;

pub use application::{Application, ApplicationBuilder};
pub use column::{Column, col};
pub use dataframe::Dataframe;
pub use error::Error;
pub use function::{function, stateful};
pub use topic::Topic;
pub use window::{Aggregated, TumblingWindow};

pub use millstream_engine::{Aggregation, ClosingStrategy, TopologyError};
pub use millstream_runtime::{RunLimits, RunReport, RuntimeError, StopHandle, StopReason};
pub use millstream_value::{Failure, FailureKind, Map, StateAccess, Text, Value};
