//! Membership of a consumer group.

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum GroupTag {}
