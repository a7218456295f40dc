//! Kafka's numbers of the errors that a group has to do with.

pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i32 = 3;
pub(super) const REQUEST_TIMED_OUT: i32 = 7;
pub(super) const COORDINATOR_LOAD_IN_PROGRESS: i32 = 14;
pub(super) const COORDINATOR_NOT_AVAILABLE: i32 = 15;
pub(super) const NOT_COORDINATOR: i32 = 16;
pub(super) const ILLEGAL_GENERATION: i32 = 22;
pub(super) const INCONSISTENT_GROUP_PROTOCOL: i32 = 23;
pub(super) const UNKNOWN_MEMBER_ID: i32 = 25;
pub(super) const REBALANCE_IN_PROGRESS: i32 = 27;
pub(super) const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
pub(super) const GROUP_AUTHORIZATION_FAILED: i32 = 30;
pub(super) const UNSUPPORTED_VERSION: i32 = 35;
pub(super) const INVALID_REQUEST: i32 = 42;
pub(super) const GROUP_ID_NOT_FOUND: i32 = 69;
pub(super) const MEMBER_ID_REQUIRED: i32 = 79;
pub(super) const GROUP_MAX_SIZE_REACHED: i32 = 81;
pub(super) const FENCED_INSTANCE_ID: i32 = 82;
pub(super) const UNSTABLE_OFFSET_COMMIT: i32 = 88;
pub(super) const FENCED_MEMBER_EPOCH: i32 = 110;
pub(super) const UNRELEASED_INSTANCE_ID: i32 = 111;
pub(super) const UNSUPPORTED_ASSIGNOR: i32 = 112;
pub(super) const STALE_MEMBER_EPOCH: i32 = 113;
pub(super) const INVALID_REGULAR_EXPRESSION: i32 = 128;

/// Whether another broker has to be asked from here on.
pub(super) fn coordinator_has_moved(code: i32) -> bool {
    use crate::error::code::{TIMED_OUT, TRANSPORT};
    matches!(
        code,
        COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR | REQUEST_TIMED_OUT | TRANSPORT | TIMED_OUT
    )
}
