//! The worker against the embedded broker, with crashes after each step of a checkpoint.

mod cluster;
mod crash_steps;
mod rebalance;
