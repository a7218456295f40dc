//! Topics, their settings, their records and offsets.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

use super::{RdAdmin, broker, broker_ids, c_strings, items, op, or_default};
use crate::librdkafka::client::{ErrorText, Event};
use crate::librdkafka::errors::{
    c_string, check, check_in_time, check_object, failed, from_object, kafka_error, text_of,
};
use crate::librdkafka::list::{PartitionList, elements, millis, partition_of};
use crate::librdkafka::sys;
use crate::{
    ConfigEntries, ConfigEntry, Error, NewTopic, OffsetSpec, PartitionDescription, TOPIC_NAME_MAX,
    TopicDescription,
};

/// librdkafka's code of a connection that failed.
const TRANSPORT: i32 = -195;

pub(super) fn list(admin: &mut RdAdmin, timeout: Duration) -> Result<Vec<TopicDescription>, Error> {
    admin.serve();
    let mut metadata = std::ptr::null();
    // SAFETY: the instance is alive; on success the metadata is ours.
    let code = unsafe {
        sys::rd_kafka_metadata(
            admin.instance.as_ptr(),
            1,
            std::ptr::null_mut(),
            &raw mut metadata,
            millis(timeout),
        )
    };
    admin.serve();
    // "Transport" here means that no broker could be reached in all that time.
    let code = if code == TRANSPORT { crate::code::TIMED_OUT } else { code };
    check_in_time(code, timeout, || "list topics".to_owned())?;
    // SAFETY: counts and arrays of the metadata belong together; it is freed once, after its use.
    let mut topics: Vec<_> = unsafe {
        let whole = &*metadata;
        let topics = array(whole.topics, whole.topic_cnt).iter().map(topic_of_metadata).collect();
        sys::rd_kafka_metadata_destroy(metadata);
        topics
    };
    topics.sort_by(|a: &TopicDescription, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// # Safety
/// `start` points to `count` items that outlive the result, or `count` is not positive.
unsafe fn array<'a, T>(start: *const T, count: i32) -> &'a [T] {
    match usize::try_from(count) {
        // SAFETY: by the caller.
        Ok(count) if count > 0 => unsafe { std::slice::from_raw_parts(start, count) },
        _ => &[],
    }
}

fn topic_of_metadata(topic: &sys::MetadataTopic) -> TopicDescription {
    let name = text_of(topic.topic);
    // SAFETY: counts and arrays of the metadata belong together.
    let partitions = unsafe { array(topic.partitions, topic.partition_cnt) };
    let mut partitions: Vec<_> = partitions
        .iter()
        .map(|partition| PartitionDescription {
            partition: partition.id,
            leader: (partition.leader >= 0).then_some(partition.leader),
            // SAFETY: as above.
            replicas: unsafe { array(partition.replicas, partition.replica_cnt) }.to_vec(),
            // SAFETY: as above.
            in_sync: unsafe { array(partition.isrs, partition.isr_cnt) }.to_vec(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    // This call does not carry the broker's own flag.
    let internal = name.starts_with("__");
    TopicDescription { name, partitions, internal }
}

pub(super) fn describe(
    admin: &mut RdAdmin,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<TopicDescription, Error>>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let owned = c_strings(names, "topic name")?;
    let mut pointers: Vec<_> = owned.iter().map(|name| name.as_ptr()).collect();
    let op = op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let action = format!("describe topic {}", names.join(", "));
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; names are copied; the collection is freed once.
        unsafe {
            let topics =
                sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(rk, topics, options, queue);
            sys::rd_kafka_TopicCollection_destroy(topics);
        }
    })?;
    let mut found = BTreeMap::new();
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for &topic in items(topics, count) {
            let name = text_of(sys::rd_kafka_TopicDescription_name(topic));
            let described = match from_object(sys::rd_kafka_TopicDescription_error(topic)) {
                Some(error) => {
                    Err(Error::Kafka { action: format!("describe topic {name:?}"), error })
                }
                None => Ok(description(topic)),
            };
            found.insert(name, described);
        }
    }
    Ok(in_order(names, found, "describe topic"))
}

/// # Safety
/// `topic` is alive.
unsafe fn description(topic: *const sys::rd_kafka_TopicDescription_t) -> TopicDescription {
    let mut count = 0;
    // SAFETY: by the caller; what the topic refers to lives as long.
    unsafe {
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let describe = |partition: &*const sys::rd_kafka_TopicPartitionInfo_t| {
            let (mut replicas, mut in_sync) = (0, 0);
            let replica_nodes =
                sys::rd_kafka_TopicPartitionInfo_replicas(*partition, &raw mut replicas);
            let in_sync_nodes = sys::rd_kafka_TopicPartitionInfo_isr(*partition, &raw mut in_sync);
            PartitionDescription {
                partition: sys::rd_kafka_TopicPartitionInfo_partition(*partition),
                leader: broker(sys::rd_kafka_TopicPartitionInfo_leader(*partition))
                    .map(|broker| broker.id)
                    .filter(|id| *id >= 0),
                replicas: broker_ids(replica_nodes, replicas),
                in_sync: broker_ids(in_sync_nodes, in_sync),
            }
        };
        let mut partitions: Vec<_> = items(partitions, count).iter().map(describe).collect();
        partitions.sort_by_key(|partition| partition.partition);
        TopicDescription {
            name: text_of(sys::rd_kafka_TopicDescription_name(topic)),
            partitions,
            internal: sys::rd_kafka_TopicDescription_is_internal(topic) != 0,
        }
    }
}

/// Answers by name in the order asked.
fn in_order<T: Clone>(
    names: &[&str],
    mut found: BTreeMap<String, Result<T, Error>>,
    action: &str,
) -> Vec<Result<T, Error>> {
    let take = |name: &&str| {
        found.remove(*name).unwrap_or_else(|| {
            Err(failed(format!("{action} {name:?}"), crate::code::UNKNOWN_TOPIC_OR_PARTITION))
        })
    };
    names.iter().map(take).collect()
}

pub(super) fn describe_configs(
    admin: &mut RdAdmin,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<ConfigEntries, Error>>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let owned = c_strings(names, "topic name")?;
    let op = op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    let action = format!("read the settings of topic {}", names.join(", "));
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; the resources are copied and freed once.
        unsafe {
            let mut resources: Vec<_> = owned.iter().map(|name| resource(name)).collect();
            let (start, count) = (resources.as_mut_ptr(), resources.len());
            sys::rd_kafka_DescribeConfigs(rk, start, count, options, queue);
            sys::rd_kafka_ConfigResource_destroy_array(start, count);
        }
    })?;
    let mut found = BTreeMap::new();
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
        let mut count = 0;
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        for &resource in items(resources, count) {
            let name = text_of(sys::rd_kafka_ConfigResource_name(resource));
            let answer =
                resource_error(resource, "read the settings of topic").map(|()| entries(resource));
            found.insert(name, answer);
        }
    }
    Ok(in_order(names, found, "read the settings of topic"))
}

/// # Safety
/// Returns a resource that the caller frees.
unsafe fn resource(topic: &CString) -> *mut sys::rd_kafka_ConfigResource_t {
    let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
    // SAFETY: the name is copied.
    unsafe { sys::rd_kafka_ConfigResource_new(kind, topic.as_ptr()) }
}

/// # Safety
/// `resource` is alive.
unsafe fn resource_error(
    resource: *const sys::rd_kafka_ConfigResource_t,
    action: &str,
) -> Result<(), Error> {
    // SAFETY: by the caller.
    unsafe {
        match sys::rd_kafka_ConfigResource_error(resource) {
            0 => Ok(()),
            code => {
                let name = text_of(sys::rd_kafka_ConfigResource_name(resource));
                let text = text_of(sys::rd_kafka_ConfigResource_error_string(resource));
                let error = kafka_error(code, Some(&text));
                Err(Error::Kafka { action: format!("{action} {name:?}"), error })
            }
        }
    }
}

/// # Safety
/// `resource` is alive.
unsafe fn entries(resource: *const sys::rd_kafka_ConfigResource_t) -> ConfigEntries {
    let mut count = 0;
    // SAFETY: by the caller; what the resource refers to lives as long.
    unsafe {
        let entries = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        let read = |entry: &*const sys::rd_kafka_ConfigEntry_t| {
            let value = sys::rd_kafka_ConfigEntry_value(*entry);
            let config = ConfigEntry {
                value: (!value.is_null()).then(|| text_of(value)),
                is_default: sys::rd_kafka_ConfigEntry_is_default(*entry) != 0,
            };
            (text_of(sys::rd_kafka_ConfigEntry_name(*entry)), config)
        };
        items(entries, count).iter().map(read).collect()
    }
}

pub(super) fn alter_configs(
    admin: &mut RdAdmin,
    topic: &str,
    changes: &BTreeMap<String, Option<String>>,
    timeout: Duration,
) -> Result<(), Error> {
    use sys::rd_kafka_AlterConfigOpType_t as change_op;
    let name = c_string(topic, "topic name")?;
    let action = format!("change the settings of topic {topic:?}");
    let changes = changes
        .iter()
        .map(|(setting, value)| {
            let value = value.as_ref().map(|value| c_string(value, "setting")).transpose()?;
            Ok((c_string(setting, "setting")?, value))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    // SAFETY: the resource is ours until it is freed, here or below; strings are copied.
    let mut resource = unsafe { resource(&name) };
    for (setting, value) in &changes {
        let (op, value) = match value {
            Some(value) => (change_op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr()),
            None => (change_op::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, super::none()),
        };
        // SAFETY: as above; the error object is ours.
        unsafe {
            let error = sys::rd_kafka_ConfigResource_add_incremental_config(
                resource,
                setting.as_ptr(),
                op,
                value,
            );
            let added = check_object(error, || action.clone());
            if added.is_err() {
                sys::rd_kafka_ConfigResource_destroy(resource);
            }
            added?;
        }
    }
    let op = op::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; the resource is copied and freed once.
        unsafe {
            sys::rd_kafka_IncrementalAlterConfigs(rk, &raw mut resource, 1, options, queue);
            sys::rd_kafka_ConfigResource_destroy(resource);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.as_ptr());
        let mut count = 0;
        let found = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        items(found, count)
            .iter()
            .try_for_each(|found| resource_error(*found, "change the settings of topic"))
    }
}

pub(super) fn create(
    admin: &mut RdAdmin,
    topics: &[NewTopic],
    timeout: Duration,
) -> Result<Vec<Result<(), Error>>, Error> {
    let action = |name: &str| format!("create topic {name:?}");
    // A topic that cannot even be sent is answered here.
    let prepared: Vec<_> = topics.iter().map(NativeTopic::new).collect();
    let mut pointers: Vec<_> = prepared.iter().flatten().map(|topic| topic.0).collect();
    let mut found = BTreeMap::new();
    if !pointers.is_empty() {
        let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let op = op::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let event =
            admin.request(op, timeout, &action(&names.join(", ")), |rk, options, queue| {
                // SAFETY: all are alive; the topics are copied.
                unsafe {
                    let (start, count) = (pointers.as_mut_ptr(), pointers.len());
                    sys::rd_kafka_CreateTopics(rk, start, count, options, queue);
                }
            })?;
        // SAFETY: the event is alive and of this kind; what it refers to lives as long.
        unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.as_ptr());
            let mut count = 0;
            let results = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            found = topic_results(items(results, count), action);
        }
    }
    let answer = |(topic, prepared): (&NewTopic, Result<NativeTopic, Error>)| {
        prepared?;
        found.remove(&topic.name).unwrap_or(Ok(()))
    };
    Ok(topics.iter().zip(prepared).map(answer).collect())
}

/// An owned `rd_kafka_NewTopic_t`.
struct NativeTopic(*mut sys::rd_kafka_NewTopic_t);

impl NativeTopic {
    fn new(topic: &NewTopic) -> Result<Self, Error> {
        let length = topic.name.chars().count();
        if length > TOPIC_NAME_MAX {
            return Err(Error::TopicNameTooLong { length });
        }
        let action = || format!("create topic {:?}", topic.name);
        let name = c_string(&topic.name, "topic name")?;
        let mut text = ErrorText::new();
        // SAFETY: all strings are copied.
        let native = unsafe {
            sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                or_default(topic.partitions),
                or_default(topic.replication_factor),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        if native.is_null() {
            let error = kafka_error(-186, Some(&text.text()));
            return Err(Error::Kafka { action: action(), error });
        }
        let native = Self(native);
        for (setting, value) in &topic.config {
            let setting = c_string(setting, "setting")?;
            let value = c_string(value, "setting")?;
            // SAFETY: the topic is ours, the strings are copied.
            let code = unsafe {
                sys::rd_kafka_NewTopic_set_config(native.0, setting.as_ptr(), value.as_ptr())
            };
            check(code, action)?;
        }
        Ok(native)
    }
}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: the topic is ours.
        unsafe { sys::rd_kafka_NewTopic_destroy(self.0) }
    }
}

/// # Safety
/// The results are alive.
unsafe fn topic_results(
    results: &[*const sys::rd_kafka_topic_result_t],
    action: impl Fn(&str) -> String,
) -> BTreeMap<String, Result<(), Error>> {
    let read = |result: &*const sys::rd_kafka_topic_result_t| {
        // SAFETY: by the caller.
        unsafe {
            let name = text_of(sys::rd_kafka_topic_result_name(*result));
            let answer = match sys::rd_kafka_topic_result_error(*result) {
                0 => Ok(()),
                code => {
                    let text = text_of(sys::rd_kafka_topic_result_error_string(*result));
                    let error = kafka_error(code, Some(&text));
                    Err(Error::Kafka { action: action(&name), error })
                }
            };
            (name, answer)
        }
    };
    results.iter().map(read).collect()
}

pub(super) fn delete(
    admin: &mut RdAdmin,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<(), Error>>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let owned = c_strings(names, "topic name")?;
    let op = op::RD_KAFKA_ADMIN_OP_DELETETOPICS;
    let action = format!("delete topic {}", names.join(", "));
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; the requests are copied and freed once.
        unsafe {
            let mut topics: Vec<_> =
                owned.iter().map(|name| sys::rd_kafka_DeleteTopic_new(name.as_ptr())).collect();
            let (start, count) = (topics.as_mut_ptr(), topics.len());
            sys::rd_kafka_DeleteTopics(rk, start, count, options, queue);
            sys::rd_kafka_DeleteTopic_destroy_array(start, count);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    let found = unsafe {
        let result = sys::rd_kafka_event_DeleteTopics_result(event.as_ptr());
        let mut count = 0;
        let results = sys::rd_kafka_DeleteTopics_result_topics(result, &raw mut count);
        topic_results(items(results, count), |name| format!("delete topic {name:?}"))
    };
    Ok(in_order(names, found, "delete topic"))
}

pub(super) fn create_partitions(
    admin: &mut RdAdmin,
    topic: &str,
    total: i32,
    timeout: Duration,
) -> Result<(), Error> {
    let action = format!("raise the partitions of topic {topic:?} to {total}");
    let name = c_string(topic, "topic name")?;
    let mut text = ErrorText::new();
    // SAFETY: all strings are copied.
    let mut request = unsafe {
        let total = usize::try_from(total).unwrap_or(0);
        sys::rd_kafka_NewPartitions_new(name.as_ptr(), total, text.as_mut_ptr(), text.len())
    };
    if request.is_null() {
        return Err(Error::Kafka { action, error: kafka_error(-186, Some(&text.text())) });
    }
    let op = op::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS;
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; the request is copied and freed once.
        unsafe {
            sys::rd_kafka_CreatePartitions(rk, &raw mut request, 1, options, queue);
            sys::rd_kafka_NewPartitions_destroy(request);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    let found = unsafe {
        let result = sys::rd_kafka_event_CreatePartitions_result(event.as_ptr());
        let mut count = 0;
        let results = sys::rd_kafka_CreatePartitions_result_topics(result, &raw mut count);
        topic_results(items(results, count), |_| action.clone())
    };
    found.into_values().collect()
}

pub(super) fn delete_records(
    admin: &mut RdAdmin,
    before: &[(TopicPartition, Offset)],
    timeout: Duration,
) -> Result<Vec<Result<Offset, Error>>, Error> {
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let list = PartitionList::with_offsets(before)?;
    let op = op::RD_KAFKA_ADMIN_OP_DELETERECORDS;
    let event = admin.request(op, timeout, "delete records", |rk, options, queue| {
        // SAFETY: all are alive; list and request are copied, the request is freed once.
        unsafe {
            let mut request = sys::rd_kafka_DeleteRecords_new(list.as_ptr());
            sys::rd_kafka_DeleteRecords(rk, &raw mut request, 1, options, queue);
            sys::rd_kafka_DeleteRecords_destroy(request);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    let found = unsafe {
        let result = sys::rd_kafka_event_DeleteRecords_result(event.as_ptr());
        elements(sys::rd_kafka_DeleteRecords_result_offsets(result))
    };
    let wanted = before.iter().map(|(tp, _)| tp);
    Ok(by_partition(wanted, found, "delete records of", |element| element.offset))
}

/// Answers by partition in the order asked.
fn by_partition<'a, T>(
    wanted: impl Iterator<Item = &'a TopicPartition>,
    found: &[sys::Element],
    action: &str,
    read: impl Fn(&sys::Element) -> T,
) -> Vec<Result<T, Error>> {
    let found: BTreeMap<_, _> = found.iter().map(|e| (partition_of(e), e)).collect();
    let answer = |tp: &TopicPartition| match found.get(tp) {
        Some(element) if element.err == 0 => Ok(read(element)),
        Some(element) => Err(failed(format!("{action} {tp}"), element.err)),
        None => Err(failed(format!("{action} {tp}"), crate::code::UNKNOWN_PARTITION)),
    };
    wanted.map(answer).collect()
}

pub(super) fn list_offsets(
    admin: &mut RdAdmin,
    partitions: &[(TopicPartition, OffsetSpec)],
    timeout: Duration,
) -> Result<Vec<Result<Option<Offset>, Error>>, Error> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let native = |spec: &OffsetSpec| match spec {
        OffsetSpec::Latest => -1,
        OffsetSpec::Earliest => -2,
        OffsetSpec::MaxTimestamp => -3,
        OffsetSpec::AtOrAfter(timestamp) => (*timestamp).max(0),
    };
    let asked: Vec<_> = partitions.iter().map(|(tp, spec)| (tp.clone(), native(spec))).collect();
    let list = PartitionList::with_offsets(&asked)?;
    let op = op::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let event = admin.request(op, timeout, "look up offsets", |rk, options, queue| {
        // SAFETY: all are alive; the list is copied.
        unsafe { sys::rd_kafka_ListOffsets(rk, list.as_ptr(), options, queue) }
    })?;
    Ok(offsets_found(&event, partitions))
}

fn offsets_found(
    event: &Event,
    partitions: &[(TopicPartition, OffsetSpec)],
) -> Vec<Result<Option<Offset>, Error>> {
    let mut found = BTreeMap::new();
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.as_ptr());
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        for &info in items(infos, count) {
            let element = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            found.insert(partition_of(element), (element.err, element.offset));
        }
    }
    let answer = |(tp, spec): &(TopicPartition, OffsetSpec)| match found.get(tp) {
        // Every partition has a start and an end. librdkafka says nothing (-1001) and no error
        // either where the leader it knows of is gone; taken for "empty" that would lose state.
        Some((0, offset))
            if *offset < 0 && matches!(spec, OffsetSpec::Earliest | OffsetSpec::Latest) =>
        {
            Err(failed(format!("look up an offset of {tp}"), crate::code::LEADER_NOT_AVAILABLE))
        }
        Some((0, offset)) => Ok((*offset >= 0).then_some(*offset)),
        Some((code, _)) => Err(failed(format!("look up an offset of {tp}"), *code)),
        None => Err(failed(
            format!("look up an offset of {tp}"),
            crate::code::UNKNOWN_TOPIC_OR_PARTITION,
        )),
    };
    partitions.iter().map(answer).collect()
}
