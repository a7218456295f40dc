//! Managing a cluster.

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum AdminTag {}
