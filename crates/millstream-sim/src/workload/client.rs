//! The client crate's own machines as processes, beside the actors and judged as they are. Each
//! module is a workload over a front end that is driven by hand.

pub(crate) mod copying;
pub(crate) mod joining;
pub(crate) mod producing;
mod reader;
pub(crate) mod reading;
pub(crate) mod transacting;
pub(crate) mod watching;
mod writer;

use std::time::Duration;

use millstream_client::settings::ConnectionSettings;

use crate::server::{NAME, PORT};

/// Settings of every client. Times are short, so that much happens in a run.
fn connection() -> ConnectionSettings {
    ConnectionSettings {
        bootstrap: vec![(NAME.to_owned(), PORT)],
        request_timeout: Duration::from_secs(5),
        connection_setup_timeout: Duration::from_secs(3),
        reconnect_backoff_max: Duration::from_secs(1),
        metadata_max_age: Duration::from_secs(2),
        ..ConnectionSettings::default()
    }
}
