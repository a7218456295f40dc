//! The producer against a cluster that is scripted: frames in, frames out, time by hand.

mod cluster;
mod coordinator;
mod failures;
mod log;
mod queue;
mod reports;
mod statistics;
mod transactions;
