//! All codes with their names, words and remedies.
//!
//! Names and numbers are those of Kafka 4.3's protocol; the client's own have librdkafka's names,
//! which begin with an underscore. The remedies follow the classes of KIP-1050. An error that
//! means different things to different requests has the remedy that is right for most of them;
//! who sends one of the others looks at the code.

mod brokers;
mod client;
#[cfg(test)]
mod tests;

use super::Remedy;

/// What is known about a code.
struct Row {
    code: i32,
    name: &'static str,
    words: &'static str,
    remedy: Remedy,
}

/// Rows as `number NAME Remedy "words"`.
macro_rules! rows {
    ($($code:literal $name:ident $remedy:ident $words:literal)*) => {
        &[$(super::Row {
            code: $code,
            name: stringify!($name),
            words: $words,
            remedy: crate::error::Remedy::$remedy,
        }),*]
    };
}
use rows;

/// Name, words and remedy of a code.
pub(super) fn describe(code: i32) -> (&'static str, &'static str, Remedy) {
    // UNKNOWN_SERVER_ERROR is the one code below zero that brokers send.
    let rows = if code < -1 { client::ROWS } else { brokers::ROWS };
    match rows.binary_search_by_key(&code, |row| row.code) {
        Ok(found) => (rows[found].name, rows[found].words, rows[found].remedy),
        Err(_) => (
            "UNKNOWN",
            "an error that this client does not know; the broker may be newer than it",
            Remedy::Refused,
        ),
    }
}
