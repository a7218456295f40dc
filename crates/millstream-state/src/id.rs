//! What a store partition is called and what it is made of.

use std::fmt;
use std::sync::Arc;

/// Address of one store partition (parity rows ST-10, ST-11, ST-20).
///
/// ```
/// use millstream_state::StoreId;
/// assert_eq!(StoreId::new("orders", "default", 2).to_string(), "default of orders[2]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId {
    /// The stream the store belongs to: its topic, or a name made of several (T-21).
    pub stream_id: Arc<str>,
    /// `default` for user state, W-09 for windows.
    pub store_name: Arc<str>,
    /// Number of the input partition.
    pub partition: i32,
}

impl StoreId {
    /// Names the store partition.
    pub fn new(
        stream_id: impl Into<Arc<str>>,
        store_name: impl Into<Arc<str>>,
        partition: i32,
    ) -> Self {
        Self { stream_id: stream_id.into(), store_name: store_name.into(), partition }
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}[{}]", self.store_name, self.stream_id, self.partition)
    }
}

/// Number of a family inside a store. The numbers are on disk and in changelogs: see
/// [`crate::families`] for those in use and those retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyId(pub u8);

impl fmt::Display for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// What a kind of store consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLayout {
    /// Name of the kind, for errors: `user state`, `time window`.
    pub kind: &'static str,
    /// Its families, ascending and without [`crate::families::MARKER`].
    pub families: &'static [FamilyId],
}
