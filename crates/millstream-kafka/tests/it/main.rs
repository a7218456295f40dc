//! Against a broker given by the environment variable `MILLSTREAM_TEST_BROKERS`. Without one the
//! suite says so loudly and counts as skipped; `make test` runs it against the embedded broker and
//! against Apache Kafka.
//!
//! Further variables, each of which enables tests of its own:
//! * `MILLSTREAM_TEST_SECURE_BROKERS`, `MILLSTREAM_TEST_CA`: a listener with TLS and SASL, user
//!   `alice`, password `alice-secret`.
//! * `MILLSTREAM_TEST_BROKER_STOP`, `MILLSTREAM_TEST_BROKER_START`: shell commands that take the
//!   broker of `MILLSTREAM_TEST_OUTAGE_BROKERS` down and up again, for the outage tests.
//! * `MILLSTREAM_TEST_LANES`: where faults can be put between clients and brokers; see `lane`.
//! * `MILLSTREAM_TEST_NODE_KILL`, `MILLSTREAM_TEST_NODE_START`: shell commands that take the number
//!   of a broker of `MILLSTREAM_TEST_BROKERS`, of which there are three.
//!
//! `MILLSTREAM_TEST_CLIENT` says which client runs, `MILLSTREAM_TEST_REPEATS` how often faults are
//! repeated.

mod admin;
mod changes;
mod cluster;
mod consume;
mod expiry;
mod faults;
mod lane;
mod numbers;
mod old_brokers;
mod outage;
mod produce;
mod rebalance;
mod report;
mod secure;
mod support;
