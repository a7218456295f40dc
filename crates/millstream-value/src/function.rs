//! User functions as the engine sees them.

use bytes::Bytes;
use millstream_types::{HeadersView, Offset, Timestamp, TopicPartition};

use crate::{Failure, Value};

/// Where the record being processed came from (parity row M-31).
#[derive(Clone, Debug)]
pub struct RecordContext {
    /// Its partition.
    pub topic_partition: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// Size of key and value in bytes.
    pub size: usize,
    /// Epoch of the leader that served it, if known.
    pub leader_epoch: Option<i32>,
}

/// The headers of a record: shared bytes until something changes them.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    bytes: Bytes,
    count: usize,
    absent: bool,
}

impl Headers {
    /// No headers at all (`None` for a user, parity row T-09).
    pub fn none() -> Self {
        Self { bytes: Bytes::new(), count: 0, absent: true }
    }

    /// `count` headers in the form of [`HeadersView`].
    pub fn new(bytes: Bytes, count: usize) -> Self {
        Self { bytes, count, absent: false }
    }

    /// Whether the record has no headers at all.
    pub fn is_none(&self) -> bool {
        self.absent
    }

    /// The headers in order.
    pub fn view(&self) -> HeadersView<'_> {
        HeadersView::new(&self.bytes, self.count)
    }

    /// The encoded headers.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A user's `State`, scoped to one message key (parity rows ST-01 to ST-12). Shared handles:
/// each call borrows the store for its own duration only, so that a generator may be driven
/// while operators behind it use the same store.
pub trait StateAccess: Send {
    /// The encoded value, if the key is there and has not expired. `key` is already encoded.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Failure>;
    /// Sets a value, which never expires.
    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Failure>;
    /// Sets a value that expires `ttl_ms` after the record's timestamp, in event time (ST-50). A
    /// ttl that cannot be is a [`FailureKind::Value`] and marks the transaction failed (ST-51).
    ///
    /// [`FailureKind::Value`]: crate::FailureKind::Value
    fn set_expiring(&self, key: &[u8], value: &[u8], ttl_ms: i64) -> Result<(), Failure>;
    /// Whether the key is there.
    fn exists(&self, key: &[u8]) -> Result<bool, Failure>;
    /// Removes a key; fine if it is not there.
    fn delete(&self, key: &[u8]) -> Result<(), Failure>;
    /// Marks the store's transaction failed: any further access and the checkpoint fail (ST-04).
    fn fail(&self);
    /// A handle of its own to the same scope.
    fn share(&self) -> Box<dyn StateAccess>;
}

/// What a user function is called with. A function of a host language that needs its own
/// objects puts them in place of the native `value` and `key`, so that each is converted once.
pub struct Call<'a> {
    /// The record's value.
    pub value: &'a mut Value,
    /// The record's key.
    pub key: &'a mut Value,
    /// The record's timestamp, ms.
    pub timestamp: Timestamp,
    /// The record's headers.
    pub headers: &'a mut Headers,
    /// The state of the record's key, for stateful functions.
    pub state: Option<Box<dyn StateAccess>>,
    /// Where the record came from.
    pub context: &'a RecordContext,
}

/// A user function. Which of the record's parts it takes (`metadata=True`, `stateful=True`,
/// parity row D-08) is settled when it is made.
pub trait Function: Send + Sync {
    /// Its name, for errors and plans.
    fn name(&self) -> &str;

    /// Whether it must be called with the thread attached to the host.
    fn needs_host(&self) -> bool;

    /// Calls it.
    ///
    /// # Errors
    /// What the user's code raised, as itself.
    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure>;

    /// Calls it and hands every item of its result to `each` as it is produced
    /// (`expand=True`, parity row D-20).
    ///
    /// # Errors
    /// What the user's code raised, or what `each` returned.
    fn call_expand(
        &self,
        call: &mut Call<'_>,
        each: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure>;

    /// Calls it with several values, as the reducers of windows are (`Reduce`, W-21) and the
    /// callbacks of windows (`on_late`, W-53).
    ///
    /// # Errors
    /// What the user's code raised, as itself.
    fn call_values(&self, values: Vec<Value>) -> Result<Value, Failure>;
}
