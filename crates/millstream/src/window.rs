//! Windows in two steps: what lies where, and what is computed.

use std::time::Duration;

use millstream_engine::{
    Aggregation, Aggregations, ClosingStrategy, Emission, WindowDefinition, WindowSpec,
};

use crate::{Dataframe, Error};

/// Consecutive windows of equal length (parity row W-01). Choose what to compute next.
#[derive(Clone, Debug)]
pub struct TumblingWindow {
    pub(crate) dataframe: Dataframe,
    pub(crate) duration_ms: i64,
    pub(crate) grace_ms: i64,
    pub(crate) name: Option<String>,
}

/// A window and what it computes. Choose when results come out next.
#[derive(Clone)]
pub struct Aggregated {
    window: TumblingWindow,
    aggregations: Aggregations,
    closing: ClosingStrategy,
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl TumblingWindow {
    /// Puts a name in front of the store's, to tell windows of one stream apart (W-09).
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Several aggregations, a field of the result each (W-23).
    #[must_use]
    pub fn agg<N: Into<String>>(
        self,
        columns: impl IntoIterator<Item = (N, Aggregation)>,
    ) -> Aggregated {
        let columns = columns.into_iter().map(|(name, what)| (name.into(), what)).collect();
        self.with(Aggregations::Columns(columns))
    }

    /// The number of records whose value is not null; the field is `value` (W-20).
    #[must_use]
    pub fn count(self) -> Aggregated {
        self.with(Aggregations::Shortcut(Aggregation::Count(None)))
    }

    /// The sum of the values; the field is `value` (W-20).
    #[must_use]
    pub fn sum(self) -> Aggregated {
        self.with(Aggregations::Shortcut(Aggregation::Sum(None)))
    }

    fn with(self, aggregations: Aggregations) -> Aggregated {
        Aggregated { window: self, aggregations, closing: ClosingStrategy::Key }
    }
}

impl Aggregated {
    /// Whose time closes windows; default: that of their key (W-38).
    #[must_use]
    pub fn closing(mut self, strategy: ClosingStrategy) -> Self {
        self.closing = strategy;
        self
    }

    /// Results after each update: Python's `.current()` (W-37).
    ///
    /// # Errors
    /// [`Error::Topology`]: the store is there already, the lengths make no sense.
    pub fn current(self) -> Result<Dataframe, Error> {
        self.emit(Emission::Current)
    }

    /// One result per window, when it closes: Python's `.final()`, which is a reserved word in
    /// Rust (W-38).
    ///
    /// # Errors
    /// [`Error::Topology`]: the store is there already, the lengths make no sense.
    pub fn last(self) -> Result<Dataframe, Error> {
        self.emit(Emission::Final)
    }

    fn emit(self, emission: Emission) -> Result<Dataframe, Error> {
        let TumblingWindow { dataframe, duration_ms, grace_ms, name } = self.window;
        let spec = WindowSpec {
            definition: WindowDefinition::Tumbling { duration_ms, grace_ms },
            name,
            aggregations: self.aggregations,
            emission,
            closing: self.closing,
            on_late: None,
            before_update: None,
            after_update: None,
        };
        let node = dataframe.builder().window(dataframe.node, spec)?;
        Ok(dataframe.at(node))
    }
}

impl std::fmt::Debug for Aggregated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregated").field("window", &self.window).finish_non_exhaustive()
    }
}
