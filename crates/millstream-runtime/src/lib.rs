//! The worker: a thread that owns a consumer, a producer and a set of tasks.
//!
//! ```text
//!   poll ─► events ─► assignment ─► tasks ─► run for 50 ms at most ─► checkpoint if due ─┐
//!    ▲                (restore)      queue                                               │
//!    └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What to do next is decided by pure functions over facts ([`checkpoint::next_step`],
//! [`limits`](RunLimits), the state crate's restore plan); the worker carries it out. It looks up
//! only between two records. Whatever takes as long as a broker pleases is waited for while
//! polling goes on, so that an outage does not cost the group membership.
//!
//! *Where to look:* `worker.rs` for the loop, `rebalance.rs` for what an assignment or a
//! revocation does, `assignment.rs` for the life of a task, `restore.rs` for how its state comes
//! back, `commit.rs` for how a checkpoint is carried out.

mod assignment;
mod availability;
pub mod checkpoint;
mod commit;
mod deliveries;
mod error;
mod internal_topics;
mod limits;
mod output;
mod params;
mod purge;
mod rebalance;
mod restore;
mod stop;
mod worker;

pub use error::RuntimeError;
pub use limits::{RunLimits, StopReason};
pub use params::{Leaves, RunConfig, RunHooks, RunParams, SourceGap};
pub use stop::{StopHandle, StopRequest};
pub use worker::{RunReport, run};
