//! Reading partitions.

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum ConsumerTag {}
