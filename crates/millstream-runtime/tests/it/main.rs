//! The worker against a broker, with crashes after each step of a checkpoint: the embedded broker,
//! and the cluster that `MILLSTREAM_TEST_BROKERS` names (`make test` starts an Apache Kafka).

mod cluster;
mod crash_steps;
mod rebalance;
