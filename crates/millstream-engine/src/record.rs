//! A record on its way through the topology.

use millstream_types::Timestamp;
use millstream_value::{Failure, Headers, Value};

/// One record: operators change it in place, so that a line of operators moves nothing.
#[derive(Debug, Default)]
pub struct Record {
    /// The value.
    pub value: Value,
    /// The message key; [`Value::Null`] where there is none.
    pub key: Value,
    /// Event time in ms.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Headers,
}

impl Record {
    /// The record for a further branch (parity row D-04): a deep copy of the value; key and
    /// headers are shared.
    pub(crate) fn branch(&self) -> Result<Self, Failure> {
        Ok(self.with_value(self.value.deep_copy()?))
    }

    /// The same record with another value; key and headers are shared.
    pub(crate) fn with_value(&self, value: Value) -> Self {
        Self {
            value,
            key: self.key.share(),
            timestamp: self.timestamp,
            headers: self.headers.clone(),
        }
    }
}
