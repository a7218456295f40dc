//! Writing records.

/// Whose response it is.
#[derive(Clone, Debug)]
pub(crate) enum ProducerTag {}
