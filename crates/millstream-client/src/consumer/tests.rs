//! The consumer against brokers by script, in virtual time.

mod brokers;
mod fetching;
mod groups;
mod random;
mod room;
mod starts;
mod statistics;
