//! A Kafka client in pure Rust: consumer, producer and admin.
//!
//! The core is sans I/O: state machines that take bytes and time and give bytes, events and
//! deadlines ([`Machine`]). [`driver`] runs one on real sockets; a simulator runs the same machine
//! on a network of its own. Clock and random numbers are handed in.
//!
//! ```text
//!  consumer   producer   admin          what a user holds
//!      └─────────┼─────────┘
//!        base: metadata, coordinators
//!        network: connections, versions, SASL
//!  ───── Action ▼ ───── ▲ Input ─────   no sockets above this line
//!        driver: sockets, TLS, names, tokens
//! ```
//!
//! *Invariants.* No length that came from a broker is trusted before it was held against what is
//! there. Nothing here reads a clock or a random number by itself, outside of [`driver`]. No secret
//! is printed.

pub mod admin;
mod auth;
mod base;
pub mod consumer;
mod coordinators;
pub mod driver;
mod error;
mod group;
mod metadata;
mod network;
pub mod producer;
mod random;
pub mod settings;
mod statistics;
mod tag;
#[cfg(test)]
mod testing;
mod time;
mod watcher;
mod wire;

pub use auth::{NoToken, OAuthToken};
pub use base::Machine;
pub use error::{Error, KafkaError, Remedy, code};
pub use network::{Action, ConnectionId, Input};
pub use random::Random;
pub use time::Now;
pub use watcher::Watcher;
