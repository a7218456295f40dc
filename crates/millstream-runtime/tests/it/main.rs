//! The worker against the embedded broker, with crashes after each step of a checkpoint.

mod crash_steps;
mod cluster;
mod rebalance;
