//! Lists of partitions, as librdkafka takes and gives them.

use std::ffi::CStr;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

use super::errors::{c_string, kafka_error};
use super::sys;
use crate::{Error, KafkaError, PartitionStart, StartOffset};

/// An owned `rd_kafka_topic_partition_list_t`.
pub(super) struct PartitionList(*mut sys::ElementList);

impl PartitionList {
    pub(super) fn new() -> Self {
        // SAFETY: the size is a hint; librdkafka aborts rather than to return null.
        Self(unsafe { sys::rd_kafka_topic_partition_list_new(4) })
    }

    pub(super) fn of(partitions: &[TopicPartition]) -> Result<Self, Error> {
        let mut list = Self::new();
        for tp in partitions {
            list.add(tp, i64::from(sys::RD_KAFKA_OFFSET_INVALID))?;
        }
        Ok(list)
    }

    pub(super) fn with_offsets(offsets: &[(TopicPartition, Offset)]) -> Result<Self, Error> {
        let mut list = Self::new();
        for (tp, offset) in offsets {
            list.add(tp, *offset)?;
        }
        Ok(list)
    }

    pub(super) fn of_starts(starts: &[PartitionStart]) -> Result<Self, Error> {
        let mut list = Self::new();
        for start in starts {
            list.add(&start.partition, native_offset(start.offset))?;
        }
        Ok(list)
    }

    pub(super) fn add(&mut self, tp: &TopicPartition, offset: Offset) -> Result<(), Error> {
        self.add_named(&tp.topic, tp.partition, offset)
    }

    pub(super) fn add_named(
        &mut self,
        topic: &str,
        partition: i32,
        offset: Offset,
    ) -> Result<(), Error> {
        let topic = c_string(topic, "topic name")?;
        // SAFETY: the list is ours and alive; the name is copied; the returned element lives until
        // the list next grows, and is only used here.
        unsafe {
            let element = sys::rd_kafka_topic_partition_list_add(self.0, topic.as_ptr(), partition);
            (*element).offset = offset;
        }
        Ok(())
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ElementList {
        self.0
    }

    pub(super) fn elements(&self) -> &[sys::Element] {
        // SAFETY: the list is ours and alive.
        unsafe { elements(self.0) }
    }

    /// The first partition's error, if one failed.
    pub(super) fn first_error(&self) -> Option<KafkaError> {
        self.elements().iter().find(|e| e.err != 0).map(|e| kafka_error(e.err, None))
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is ours; nothing refers to it any more.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

/// The elements of a list that librdkafka owns or we do.
///
/// # Safety
/// `list` is null or a list that outlives the result and is not changed meanwhile.
pub(super) unsafe fn elements<'a>(list: *const sys::ElementList) -> &'a [sys::Element] {
    // SAFETY: by the caller; `elems` holds `cnt` elements, and is not looked at if there is none.
    unsafe {
        match list.as_ref() {
            Some(list) if list.cnt > 0 => std::slice::from_raw_parts(list.elems, list.cnt as usize),
            _ => &[],
        }
    }
}

/// The partition that an element names.
pub(super) fn partition_of(element: &sys::Element) -> TopicPartition {
    // SAFETY: an element of a list has a name.
    let topic = unsafe { CStr::from_ptr(element.topic) }.to_string_lossy();
    TopicPartition::new(&*topic, element.partition)
}

/// How librdkafka writes a start offset.
pub(super) fn native_offset(offset: StartOffset) -> i64 {
    match offset {
        StartOffset::Committed => i64::from(sys::RD_KAFKA_OFFSET_STORED),
        StartOffset::At(offset) => offset,
        StartOffset::Beginning => i64::from(sys::RD_KAFKA_OFFSET_BEGINNING),
        StartOffset::End => i64::from(sys::RD_KAFKA_OFFSET_END),
    }
}

/// A time limit as librdkafka takes it: whole milliseconds, at least one where one was meant.
pub(super) fn millis(duration: Duration) -> i32 {
    let ms = i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    if ms == 0 && !duration.is_zero() { 1 } else { ms }
}
