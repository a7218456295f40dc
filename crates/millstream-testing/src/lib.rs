//! Topologies without Kafka and without a clock: for users' tests, for those of the engine, and
//! behind `millstream.testing` in Python (parity row M-01).
//!
//! * [`TopologyTestDriver`] runs a whole topology: records go in by hand, repartition topics are
//!   piped through inside, outputs and leaves come out as values. Checkpoints and crashes are
//!   events like any other: what a crash leaves of the state is restored from "disk" and from the
//!   changelog by the code that does so in production.
//! * [`check`] runs a script of such events, written as text, and compares what came out, as
//!   text.
//!
//! Nothing here asks what time it is: tests say so.

mod driver;
mod logs;
mod partitioner;
mod recovery;
mod script;

pub use driver::{
    CrashPoint, DriverError, Guarantee, LeafRecord, ProducedRecord, TestRecord, TopologyTestDriver,
};
pub use partitioner::partition_of;
pub use script::{check, run_script};
