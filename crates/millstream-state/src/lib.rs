//! State stores: what operators remember between records, and how it survives.
//!
//! A **store partition** is addressed by a [`StoreId`]: stream id, store name, partition number
//! (parity rows ST-20, T-20), and never by a number that a change of the topology would shift.
//! It is made of a few **families** (see [`families`]), ordered maps from bytes to one type of
//! [`Entry`] each, and one **backend** ([`Backend`]) that holds all of them: memory
//! ([`MemoryBackend`]) or a RocksDB database of its own ([`RocksStorage`]).
//!
//! ```text
//!  operator ── get_mut / insert / remove / scan ──► Family<E>   native entries, hot ones cached
//!                                                     │ miss: get, scan
//!                                                     ▼
//!  StorePartition ── prepare ► changelog records ► commit: one batch ──► Backend
//!        └────────── discard: what is not committed is forgotten
//! ```
//!
//! **On disk a store always equals a checkpoint.** Operators write to the cache only. At a
//! checkpoint [`Store::prepare`] encodes every changed entry once, into a [`Batch`] whose
//! records the runtime produces to the changelog topic, followed by one marker with the source
//! offsets they cover ([`changelog`]). When the offsets are committed, [`Store::commit`] writes
//! the same batch and a [`CheckpointMark`] to the backend in one atomic write. After a crash the
//! tail of the changelog is replayed up to the last marker that is not beyond the committed
//! offsets ([`restore`]).
//!
//! Nothing here reads a clock, draws a random number or starts a thread; RocksDB, behind the
//! trait, is the exception.
//!
//! *Where to look:* `cache/family.rs` for how the cache works and what it costs, `keys.rs` and
//! `slot.rs` for bytes on disk, `changelog.rs` for bytes on Kafka, `restore.rs` for what happens
//! at a start.

pub mod changelog;
pub mod families;
pub mod keys;
pub mod restore;

mod backend;
mod cache;
mod error;
mod id;
mod mark;
mod partition;
mod rocks;
mod slot;
mod user;

pub use backend::{
    Backend, BackendStats, Batch, BatchOp, MemoryBackend, MemoryStorage, Storage, VisitPair,
};
pub use cache::{
    AnyFamily, CacheSettings, Entry, EntryError, Family, FamilyContext, FamilyStats, KeyRange,
    MemoryBudget,
};
pub use error::{LockHolder, StateError};
pub use id::{FamilyId, StoreId, StoreLayout};
pub use keys::{KeyBuf, KeyWriter, MessageKey};
pub use mark::{CheckpointMark, SourceOffsets, StoreMark};
pub use partition::{CheckpointFacts, FamilySet, Prepared, Store, StorePartition};
pub use restore::{
    ChangelogRange, RebuildReason, RestoreFacts, RestoreLimits, RestorePhase, RestorePlan,
    RestoreProgress, RestoreStep, Restorer, plan,
};
pub use rocks::{RocksCompression, RocksMemory, RocksOptions, RocksStorage};
pub use user::{
    DEFAULT_STORE, ExpirySettings, TtlError, UserFamilies, UserStore, UserValue, expiry_stamp,
};

/// Result of this crate's operations.
pub type Result<T, E = StateError> = std::result::Result<T, E>;
