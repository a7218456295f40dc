//! Topics as a program declares them.

use std::sync::Arc;

use millstream_formats::{deserializer_by_name, serializer_by_name};
use millstream_value::{Deserializer, Serializer};

use crate::Error;

/// A topic with the formats of its keys and values (parity row A-30): values `json`, keys
/// `bytes`, one partition if it has to be created.
#[derive(Clone)]
pub struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) key_deserializer: Arc<dyn Deserializer>,
    pub(crate) value_deserializer: Arc<dyn Deserializer>,
    pub(crate) key_serializer: Arc<dyn Serializer>,
    pub(crate) value_serializer: Arc<dyn Serializer>,
}

impl Topic {
    pub(crate) fn new(name: &str) -> Self {
        let known = "json and bytes are built in";
        Self {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: 1,
            key_deserializer: deserializer_by_name("bytes").expect(known),
            value_deserializer: deserializer_by_name("json").expect(known),
            key_serializer: serializer_by_name("bytes").expect(known),
            value_serializer: serializer_by_name("json").expect(known),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Partitions and replicas it is created with, if it is not there yet (T-10, T-11).
    #[must_use]
    pub fn created_with(mut self, partitions: i32, replication_factor: i16) -> Self {
        self.partitions = partitions;
        self.replication_factor = replication_factor;
        self
    }

    /// Keys are of this format in both directions: `str`, `bytes`, `int`, `double` or `json`.
    ///
    /// # Errors
    /// [`Error::Format`] for any other name.
    pub fn keys(mut self, format: &str) -> Result<Self, Error> {
        self.key_deserializer = deserializer_by_name(format)?;
        self.key_serializer = serializer_by_name(format)?;
        Ok(self)
    }

    /// Values are of this format in both directions: `str`, `bytes`, `int`, `double` or `json`.
    ///
    /// # Errors
    /// [`Error::Format`] for any other name.
    pub fn values(mut self, format: &str) -> Result<Self, Error> {
        self.value_deserializer = deserializer_by_name(format)?;
        self.value_serializer = serializer_by_name(format)?;
        Ok(self)
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}
