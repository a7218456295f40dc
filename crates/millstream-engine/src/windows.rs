//! Windows: which ones a record belongs to, what they compute, when their results come out.
//!
//! ```text
//!  record ─► tumbling.rs: its window ─► late? ─► aggregations/* ─► store.rs: entries
//!               │                                                     │
//!               └── watermark (per key, per partition, upstream) ─► due windows ─► results
//! ```
//!
//! A [`Window`] is the operator: immutable, made at declaration. Everything that changes is in
//! the store partition ([`store::WindowFamilies`]), so that a checkpoint and a discard have one
//! place to look at. `columns.rs` is what is computed, `tumbling.rs` the one kind of window there
//! is so far; hopping windows will share its families, sliding and session windows bring their
//! own bounds, and count windows need no time at all.

pub(crate) mod aggregations;
mod columns;
mod encoding;
mod name;
pub(crate) mod store;
mod tumbling;

use std::sync::Arc;

use millstream_types::Timestamp;
use millstream_value::Failure;

pub use aggregations::{Aggregation, Aggregator, Collector};
pub(crate) use columns::Columns;
pub(crate) use name::{check, store_name};
pub(crate) use tumbling::{Scratch, Tumbling};

use crate::record::Record;
use crate::run::Run;
use crate::spec::{ClosingStrategy, Emission};
use crate::topology::{Node, StoreIndex};
use crate::{LateCallback, WindowTrigger};

/// A window operator.
pub(crate) struct Window {
    pub(crate) store: StoreIndex,
    pub(crate) store_name: Arc<str>,
    /// Whether it is behind a repartition topic (`upstream.rs`).
    pub(crate) grouped: bool,
    /// It has no triggers and no collectors, and puts results out at the close only.
    pub(crate) is_plain: bool,
    pub(crate) kind: Tumbling,
    pub(crate) columns: Columns,
    pub(crate) emission: Emission,
    pub(crate) closing: ClosingStrategy,
    pub(crate) on_late: Option<Arc<dyn LateCallback>>,
    pub(crate) before_update: Option<Arc<dyn WindowTrigger>>,
    pub(crate) after_update: Option<Arc<dyn WindowTrigger>>,
}

impl Window {
    pub(crate) fn needs_host(&self) -> bool {
        self.columns.needs_host()
            || self.on_late.as_ref().is_some_and(|callback| callback.needs_host())
            || self.before_update.as_ref().is_some_and(|trigger| trigger.needs_host())
            || self.after_update.as_ref().is_some_and(|trigger| trigger.needs_host())
    }

    /// How far all upstream partitions have come.
    fn low(&self, run: &Run<'_>) -> Timestamp {
        if self.grouped { run.low } else { Timestamp::MAX }
    }

    /// Takes in a record.
    pub(crate) fn run(
        &self,
        node: &Node,
        record: &mut Record,
        run: &mut Run<'_>,
    ) -> Result<(), Failure> {
        tumbling::process(self, node, record, run)
    }

    /// Emits what was held back until all upstream partitions had come as far as `run.low`.
    pub(crate) fn release(&self, node: &Node, run: &mut Run<'_>) -> Result<(), Failure> {
        tumbling::release(self, node, run)
    }
}
