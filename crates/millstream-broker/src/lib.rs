//! An embedded broker: one node, durable, speaking the Kafka protocol, so that a program runs
//! without a cluster and any Kafka client can look at what it does.
//!
//! Layers, each knowing only those below it:
//!
//! ```text
//!  embedded      finds or starts the broker that applications on this machine share
//!  handle        runs a broker on a thread of its own
//!  server        sockets and timers (tokio, one thread)
//!  broker        requests and time in, answers out: no I/O of its own
//!  api           one module per request, one table
//!  topics  coordinator  transactions  fetches    what there is: logs, groups, transactional
//!                                                ids, waiting fetches
//!  security  acl                    who somebody is (TLS, SASL), and what he may do
//!  log  group  consumer_group  journal  settings    one partition, one group of either protocol,
//!                                                one durable map, the tables
//!  disk  wire                       files behind a trait; frames, checked before decoding
//! ```
//!
//! *Invariants:* below `server` nothing reads a clock, draws a random number or opens a socket:
//! all three are handed in. A batch is stored and served as the producer sent it, until compaction
//! takes records out of it. No length from the network or the disk is trusted. What is missing stands in `NOT_IMPLEMENTED.md`.
//!
//! ```
//! use std::sync::Arc;
//! use millstream_broker::{BrokerConfig, BrokerHandle};
//! use millstream_types::SystemClock;
//!
//! # let dir = tempfile::tempdir()?;
//! let broker = BrokerHandle::start(BrokerConfig::new(dir.path()), Arc::new(SystemClock))?;
//! println!("bootstrap.servers={}", broker.address());
//! broker.shutdown();
//! broker.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whoever wants to be the world around a broker (a simulator, say) drives [`Broker`] itself, with
//! a [`Disk`](disk::Disk), a clock and a [`Random`] of its own.

mod acl;
mod api;
mod broker;
mod config;
mod consumer_group;
mod coordinator;
pub mod disk;
pub mod embedded;
mod error;
mod fetches;
mod group;
mod handle;
mod journal;
mod log;
mod pattern;
mod random;
mod security;
mod server;
mod settings;
mod topics;
mod transactions;
mod wire;

pub use broker::{Broker, Reply};
pub use config::BrokerConfig;
pub use embedded::{EmbeddedError, ensure_running};
pub use error::BrokerError;
pub use group::Ticket;
pub use handle::{BrokerHandle, BrokerStopper};
pub use random::{Random, SystemRandom};
pub use security::{Listener, SecurityConfig, SecurityProtocol, TlsFiles};
pub use wire::{Frame, Malformed};
