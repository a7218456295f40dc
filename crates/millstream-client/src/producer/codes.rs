//! Kafka's numbers of the errors that a producer has to do with in more than one place.

/// A topic that is not there, or not yet.
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
pub(super) const INVALID_TOPIC: i32 = 17;
