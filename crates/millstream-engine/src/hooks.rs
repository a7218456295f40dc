//! What the embedding program is told and asked while a task runs.

use millstream_types::{Offset, RecordView};
use millstream_value::{Failure, RecordContext};

use crate::{Late, Record, RecordError};

/// A deserialized record, as error callbacks get it (parity rows E-02, E-03).
///
/// The record as it was read: operators work on it in place, so on an error it is deserialized
/// once more. `None` where even that fails.
#[derive(Debug)]
pub struct Row<'a> {
    /// Value, key, timestamp and headers.
    pub record: Option<Record>,
    /// Where it came from.
    pub context: &'a RecordContext,
}

/// Callbacks of the embedding program. The defaults log and suppress nothing.
///
/// Each `on_…_error` returns whether the error is suppressed. An interrupt
/// ([`millstream_value::FailureKind::Interrupt`]) is never offered: it ends the run.
pub trait Hooks {
    /// Bytes that do not deserialize, or a failed timestamp extractor (E-01). Suppressed: the
    /// message is skipped, and its offset counts (T-51).
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_consumer_error(
        &mut self,
        error: &mut RecordError,
        message: RecordView<'_>,
    ) -> Result<bool, Failure> {
        let _ = message;
        tracing::error!("{error}");
        Ok(false)
    }

    /// An error out of an operator (E-02). Suppressed: the record is abandoned where it is.
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_processing_error(
        &mut self,
        error: &mut RecordError,
        row: Row<'_>,
    ) -> Result<bool, Failure> {
        let _ = row;
        tracing::error!("{error}");
        Ok(false)
    }

    /// A record that cannot be serialized, or that the producer refuses (E-03). Suppressed: the
    /// output is left out and the record goes on. Not suppressed: it is a processing error too.
    ///
    /// # Errors
    /// What the callback itself raised: it takes the place of the error.
    fn on_producer_error(
        &mut self,
        error: &mut RecordError,
        row: Row<'_>,
    ) -> Result<bool, Failure> {
        let _ = row;
        tracing::error!("{error}");
        Ok(false)
    }

    /// A message is done and its offset counts. Not called for one that was ignored or
    /// whose consumer error was suppressed.
    ///
    /// # Errors
    /// What the callback itself raised: it ends the run.
    fn on_message_processed(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Offset,
    ) -> Result<(), Failure> {
        let _ = (topic, partition, offset);
        Ok(())
    }

    /// A record came too late for a window, and no callback asked for silence (W-53).
    fn late(&mut self, late: &Late<'_>) {
        tracing::warn!(
            "{}[{}] offset {}: timestamp {} is {} ms too late for the window {}..{} of {}; it is \
             left out (a longer grace_ms would admit it)",
            late.topic,
            late.partition,
            late.offset,
            late.timestamp,
            late.late_by_ms,
            late.start,
            late.end,
            late.store_name,
        );
    }

    /// A record without a key reached a window and is left out (W-10).
    fn null_key(&mut self, context: &RecordContext, store_name: &str) {
        tracing::warn!(
            "{} offset {}: the record has no key, so the window {store_name} leaves it out; give \
             records a key, or group them with group_by()",
            context.topic_partition,
            context.offset,
        );
    }
}

/// Hooks that log and suppress nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogHooks;

impl Hooks for LogHooks {}
