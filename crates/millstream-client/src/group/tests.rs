//! Members against a scripted coordinator, in virtual time.

mod by_broker;
mod classic;
mod cluster;
mod coordinator;
mod scripted;
mod user;
mod world;
