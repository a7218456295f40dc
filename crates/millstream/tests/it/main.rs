//! Whole programs of the Rust library, on an embedded broker in this process and on the cluster
//! that `MILLSTREAM_TEST_BROKERS` names (`make test` starts an Apache Kafka).
//!
//! What the operators mean is tested in the engine and, in full, through the Python package; here
//! it is held that this crate's names reach them, and that its settings reach the clients.

mod broker;
mod pipelines;
mod settings;
