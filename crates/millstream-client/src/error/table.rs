//! All codes with their names, words and remedies.

use super::Remedy;

/// Name, words and remedy of a code.
pub(super) fn describe(code: i32) -> (&'static str, &'static str, Remedy) {
    match code {
        3 => {
            ("UNKNOWN_TOPIC_OR_PARTITION", "the topic or partition does not exist", Remedy::Refresh)
        }
        _ => ("UNKNOWN", "unknown error", Remedy::Refused),
    }
}
