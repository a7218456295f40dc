//! The part of librdkafka's C interface that carries error codes, declared with plain integers.
//!
//! `rdkafka-sys` declares them as Rust enums. A broker may send a code that is newer than the
//! enum, librdkafka hands it on, and an enum with such a value is undefined behaviour. Everything
//! else is used as `rdkafka-sys` declares it; a test compares the two structs with the originals.

use std::ffi::{c_char, c_int, c_void};

pub(super) use rdkafka_sys::bindings::*;

/// `rd_kafka_message_t`.
#[repr(C)]
pub(super) struct Message {
    pub(super) err: c_int,
    pub(super) rkt: *mut rd_kafka_topic_t,
    pub(super) partition: i32,
    pub(super) payload: *mut c_void,
    pub(super) len: usize,
    pub(super) key: *mut c_void,
    pub(super) key_len: usize,
    pub(super) offset: i64,
    pub(super) opaque: *mut c_void,
}

/// `rd_kafka_topic_partition_t`.
#[repr(C)]
pub(super) struct Element {
    pub(super) topic: *mut c_char,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) metadata: *mut c_void,
    pub(super) metadata_size: usize,
    pub(super) opaque: *mut c_void,
    pub(super) err: c_int,
    private: *mut c_void,
}

/// `rd_kafka_topic_partition_list_t`.
#[repr(C)]
pub(super) struct ElementList {
    pub(super) cnt: c_int,
    pub(super) size: c_int,
    pub(super) elems: *mut Element,
}

pub(super) type OnSend = unsafe extern "C" fn(*mut rd_kafka_t, *mut Message, *mut c_void) -> c_int;
pub(super) type OnNew = unsafe extern "C" fn(
    *mut rd_kafka_t,
    *const rd_kafka_conf_t,
    *mut c_void,
    *mut c_char,
    usize,
) -> c_int;

unsafe extern "C" {
    pub(super) fn rd_kafka_err2str(err: c_int) -> *const c_char;
    pub(super) fn rd_kafka_err2name(err: c_int) -> *const c_char;
    pub(super) fn rd_kafka_last_error() -> c_int;
    pub(super) fn rd_kafka_fatal_error(
        rk: *mut rd_kafka_t,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn rd_kafka_error_code(error: *const rd_kafka_error_t) -> c_int;

    pub(super) fn rd_kafka_set_log_queue(
        rk: *mut rd_kafka_t,
        queue: *mut rd_kafka_queue_t,
    ) -> c_int;
    pub(super) fn rd_kafka_poll_set_consumer(rk: *mut rd_kafka_t) -> c_int;
    pub(super) fn rd_kafka_event_error(event: *mut rd_kafka_event_t) -> c_int;
    pub(super) fn rd_kafka_event_message_next(event: *mut rd_kafka_event_t) -> *const Message;
    pub(super) fn rd_kafka_event_topic_partition(event: *mut rd_kafka_event_t) -> *mut Element;
    pub(super) fn rd_kafka_topic_partition_destroy(element: *mut Element);
    pub(super) fn rd_kafka_event_topic_partition_list(
        event: *mut rd_kafka_event_t,
    ) -> *mut ElementList;

    pub(super) fn rd_kafka_topic_partition_list_new(size: c_int) -> *mut ElementList;
    pub(super) fn rd_kafka_topic_partition_list_destroy(list: *mut ElementList);
    pub(super) fn rd_kafka_topic_partition_list_add(
        list: *mut ElementList,
        topic: *const c_char,
        partition: i32,
    ) -> *mut Element;

    pub(super) fn rd_kafka_subscribe(rk: *mut rd_kafka_t, topics: *const ElementList) -> c_int;
    pub(super) fn rd_kafka_unsubscribe(rk: *mut rd_kafka_t) -> c_int;
    pub(super) fn rd_kafka_assign(rk: *mut rd_kafka_t, partitions: *const ElementList) -> c_int;
    pub(super) fn rd_kafka_incremental_assign(
        rk: *mut rd_kafka_t,
        partitions: *const ElementList,
    ) -> *mut rd_kafka_error_t;
    pub(super) fn rd_kafka_incremental_unassign(
        rk: *mut rd_kafka_t,
        partitions: *const ElementList,
    ) -> *mut rd_kafka_error_t;
    pub(super) fn rd_kafka_pause_partitions(
        rk: *mut rd_kafka_t,
        partitions: *mut ElementList,
    ) -> c_int;
    pub(super) fn rd_kafka_resume_partitions(
        rk: *mut rd_kafka_t,
        partitions: *mut ElementList,
    ) -> c_int;
    pub(super) fn rd_kafka_seek_partitions(
        rk: *mut rd_kafka_t,
        partitions: *mut ElementList,
        timeout_ms: c_int,
    ) -> *mut rd_kafka_error_t;
    pub(super) fn rd_kafka_commit_queue(
        rk: *mut rd_kafka_t,
        offsets: *const ElementList,
        queue: *mut rd_kafka_queue_t,
        callback: *const c_void,
        opaque: *mut c_void,
    ) -> c_int;
    pub(super) fn rd_kafka_committed(
        rk: *mut rd_kafka_t,
        partitions: *mut ElementList,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_offsets_store(rk: *mut rd_kafka_t, offsets: *mut ElementList) -> c_int;
    pub(super) fn rd_kafka_offsets_for_times(
        rk: *mut rd_kafka_t,
        times: *mut ElementList,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_query_watermark_offsets(
        rk: *mut rd_kafka_t,
        topic: *const c_char,
        partition: i32,
        low: *mut i64,
        high: *mut i64,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_get_watermark_offsets(
        rk: *mut rd_kafka_t,
        topic: *const c_char,
        partition: i32,
        low: *mut i64,
        high: *mut i64,
    ) -> c_int;

    pub(super) fn rd_kafka_consume_batch_queue(
        queue: *mut rd_kafka_queue_t,
        timeout_ms: c_int,
        messages: *mut *mut Message,
        size: usize,
    ) -> isize;
    pub(super) fn rd_kafka_message_destroy(message: *mut Message);
    pub(super) fn rd_kafka_message_errstr(message: *const Message) -> *const c_char;
    pub(super) fn rd_kafka_message_timestamp(message: *const Message, kind: *mut c_int) -> i64;
    pub(super) fn rd_kafka_message_leader_epoch(message: *const Message) -> i32;
    pub(super) fn rd_kafka_message_headers(
        message: *const Message,
        headers: *mut *mut rd_kafka_headers_t,
    ) -> c_int;
    pub(super) fn rd_kafka_header_get_all(
        headers: *const rd_kafka_headers_t,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_void,
        size: *mut usize,
    ) -> c_int;
    pub(super) fn rd_kafka_header_add(
        headers: *mut rd_kafka_headers_t,
        name: *const c_char,
        name_size: isize,
        value: *const c_void,
        value_size: isize,
    ) -> c_int;

    pub(super) fn rd_kafka_producev(rk: *mut rd_kafka_t, ...) -> c_int;
    pub(super) fn rd_kafka_flush(rk: *mut rd_kafka_t, timeout_ms: c_int) -> c_int;
    pub(super) fn rd_kafka_purge(rk: *mut rd_kafka_t, flags: c_int) -> c_int;
    pub(super) fn rd_kafka_conf_interceptor_add_on_new(
        conf: *mut rd_kafka_conf_t,
        name: *const c_char,
        on_new: OnNew,
        opaque: *mut c_void,
    ) -> c_int;
    pub(super) fn rd_kafka_interceptor_add_on_send(
        rk: *mut rd_kafka_t,
        name: *const c_char,
        on_send: OnSend,
        opaque: *mut c_void,
    ) -> c_int;
    pub(super) fn rd_kafka_interceptor_add_on_acknowledgement(
        rk: *mut rd_kafka_t,
        name: *const c_char,
        on_acknowledgement: OnSend,
        opaque: *mut c_void,
    ) -> c_int;

    pub(super) fn rd_kafka_oauthbearer_set_token(
        rk: *mut rd_kafka_t,
        token: *const c_char,
        expires_at_ms: i64,
        principal: *const c_char,
        extensions: *mut *const c_char,
        extension_size: usize,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn rd_kafka_oauthbearer_set_token_failure(
        rk: *mut rd_kafka_t,
        text: *const c_char,
    ) -> c_int;

    pub(super) fn rd_kafka_metadata(
        rk: *mut rd_kafka_t,
        all_topics: c_int,
        only: *mut rd_kafka_topic_t,
        metadata: *mut *const Metadata,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_metadata_destroy(metadata: *const Metadata);
    pub(super) fn rd_kafka_topic_result_error(result: *const rd_kafka_topic_result_t) -> c_int;
    pub(super) fn rd_kafka_ConfigResource_error(result: *const rd_kafka_ConfigResource_t) -> c_int;
    pub(super) fn rd_kafka_NewTopic_set_config(
        topic: *mut rd_kafka_NewTopic_t,
        name: *const c_char,
        value: *const c_char,
    ) -> c_int;
    pub(super) fn rd_kafka_DeleteRecords_new(
        before: *const ElementList,
    ) -> *mut rd_kafka_DeleteRecords_t;
    pub(super) fn rd_kafka_DeleteRecords_result_offsets(
        result: *const rd_kafka_DeleteRecords_result_t,
    ) -> *const ElementList;
    pub(super) fn rd_kafka_ListOffsets(
        rk: *mut rd_kafka_t,
        partitions: *mut ElementList,
        options: *const rd_kafka_AdminOptions_t,
        queue: *mut rd_kafka_queue_t,
    );
    pub(super) fn rd_kafka_ListOffsetsResultInfo_topic_partition(
        info: *const rd_kafka_ListOffsetsResultInfo_t,
    ) -> *const Element;
    pub(super) fn rd_kafka_MemberAssignment_partitions(
        assignment: *const rd_kafka_MemberAssignment_t,
    ) -> *const ElementList;
    pub(super) fn rd_kafka_ListConsumerGroupOffsets_new(
        group: *const c_char,
        partitions: *const ElementList,
    ) -> *mut rd_kafka_ListConsumerGroupOffsets_t;
    pub(super) fn rd_kafka_AlterConsumerGroupOffsets_new(
        group: *const c_char,
        partitions: *const ElementList,
    ) -> *mut rd_kafka_AlterConsumerGroupOffsets_t;
    pub(super) fn rd_kafka_DeleteConsumerGroupOffsets_new(
        group: *const c_char,
        partitions: *const ElementList,
    ) -> *mut rd_kafka_DeleteConsumerGroupOffsets_t;
    pub(super) fn rd_kafka_group_result_partitions(
        result: *const rd_kafka_group_result_t,
    ) -> *const ElementList;
}

/// `rd_kafka_metadata_t`.
#[repr(C)]
pub(super) struct Metadata {
    pub(super) broker_cnt: c_int,
    pub(super) brokers: *mut rd_kafka_metadata_broker_t,
    pub(super) topic_cnt: c_int,
    pub(super) topics: *mut MetadataTopic,
    pub(super) orig_broker_id: i32,
    pub(super) orig_broker_name: *mut c_char,
}

/// `rd_kafka_metadata_topic_t`.
#[repr(C)]
pub(super) struct MetadataTopic {
    pub(super) topic: *mut c_char,
    pub(super) partition_cnt: c_int,
    pub(super) partitions: *mut MetadataPartition,
    pub(super) err: c_int,
}

/// `rd_kafka_metadata_partition_t`.
#[repr(C)]
pub(super) struct MetadataPartition {
    pub(super) id: i32,
    pub(super) err: c_int,
    pub(super) leader: i32,
    pub(super) replica_cnt: c_int,
    pub(super) replicas: *mut i32,
    pub(super) isr_cnt: c_int,
    pub(super) isrs: *mut i32,
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    #[test]
    fn structs_are_laid_out_as_the_originals() {
        assert_eq!(size_of::<Message>(), size_of::<rd_kafka_message_t>());
        assert_eq!(align_of::<Message>(), align_of::<rd_kafka_message_t>());
        assert_eq!(offset_of!(Message, offset), offset_of!(rd_kafka_message_t, offset));
        assert_eq!(offset_of!(Message, key_len), offset_of!(rd_kafka_message_t, key_len));
        assert_eq!(offset_of!(Message, opaque), offset_of!(rd_kafka_message_t, _private));
        assert_eq!(size_of::<Element>(), size_of::<rd_kafka_topic_partition_t>());
        assert_eq!(offset_of!(Element, err), offset_of!(rd_kafka_topic_partition_t, err));
        assert_eq!(offset_of!(Element, offset), offset_of!(rd_kafka_topic_partition_t, offset));
        assert_eq!(size_of::<ElementList>(), size_of::<rd_kafka_topic_partition_list_t>());
        assert_eq!(size_of::<Metadata>(), size_of::<rd_kafka_metadata_t>());
        assert_eq!(offset_of!(Metadata, topics), offset_of!(rd_kafka_metadata_t, topics));
        assert_eq!(size_of::<MetadataTopic>(), size_of::<rd_kafka_metadata_topic_t>());
        assert_eq!(size_of::<MetadataPartition>(), size_of::<rd_kafka_metadata_partition_t>());
        assert_eq!(
            offset_of!(MetadataPartition, isrs),
            offset_of!(rd_kafka_metadata_partition_t, isrs)
        );
    }
}
