//! Consumer groups and their offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_types::{Offset, TopicPartition};

use super::{RdAdmin, broker, c_strings, items, op};
use crate::librdkafka::errors::{c_string, failed, from_object, text_of};
use crate::librdkafka::list::{PartitionList, elements, partition_of};
use crate::librdkafka::sys;
use crate::{Error, GroupDescription, GroupListing, GroupMember};

fn state_name(state: sys::rd_kafka_consumer_group_state_t) -> String {
    // SAFETY: returns a static string.
    text_of(unsafe { sys::rd_kafka_consumer_group_state_name(state) })
}

pub(super) fn list(admin: &mut RdAdmin, timeout: Duration) -> Result<Vec<GroupListing>, Error> {
    let op = op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS;
    let event = admin.request(op, timeout, "list groups", |rk, options, queue| {
        // SAFETY: all are alive.
        unsafe { sys::rd_kafka_ListConsumerGroups(rk, options, queue) }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    let mut groups: Vec<_> = unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.as_ptr());
        let mut count = 0;
        let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut count);
        if let Some(error) = items(errors, count).iter().find_map(|error| from_object(*error)) {
            return Err(Error::Kafka { action: "list groups".to_owned(), error });
        }
        let groups = sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
        let read = |group: &*const sys::rd_kafka_ConsumerGroupListing_t| GroupListing {
            group: text_of(sys::rd_kafka_ConsumerGroupListing_group_id(*group)),
            state: state_name(sys::rd_kafka_ConsumerGroupListing_state(*group)),
        };
        items(groups, count).iter().map(read).collect()
    };
    groups.sort_by(|a: &GroupListing, b| a.group.cmp(&b.group));
    Ok(groups)
}

pub(super) fn describe(
    admin: &mut RdAdmin,
    groups: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let owned = c_strings(groups, "group id")?;
    let mut pointers: Vec<_> = owned.iter().map(|group| group.as_ptr()).collect();
    let op = op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let action = format!("describe group {}", groups.join(", "));
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        let (start, count) = (pointers.as_mut_ptr(), pointers.len());
        // SAFETY: all are alive; the names are copied.
        unsafe { sys::rd_kafka_DescribeConsumerGroups(rk, start, count, options, queue) }
    })?;
    let mut found = BTreeMap::new();
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.as_ptr());
        let mut count = 0;
        let described = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        for &group in items(described, count) {
            let id = text_of(sys::rd_kafka_ConsumerGroupDescription_group_id(group));
            let answer = match from_object(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
                Some(error) => {
                    Err(Error::Kafka { action: format!("describe group {id:?}"), error })
                }
                None => Ok(description(group)),
            };
            found.insert(id, answer);
        }
    }
    Ok(in_order(groups, found, "describe group"))
}

fn in_order<T>(
    groups: &[&str],
    mut found: BTreeMap<String, Result<T, Error>>,
    action: &str,
) -> Vec<Result<T, Error>> {
    /// Kafka's `GROUP_ID_NOT_FOUND`.
    const NOT_FOUND: i32 = 69;
    let take = |group: &&str| {
        found
            .remove(*group)
            .unwrap_or_else(|| Err(failed(format!("{action} {group:?}"), NOT_FOUND)))
    };
    groups.iter().map(take).collect()
}

/// # Safety
/// `group` is alive.
unsafe fn description(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> GroupDescription {
    // SAFETY: by the caller; what the group refers to lives as long.
    unsafe {
        let members = sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let member = |index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index));
        GroupDescription {
            group: text_of(sys::rd_kafka_ConsumerGroupDescription_group_id(group)),
            state: state_name(sys::rd_kafka_ConsumerGroupDescription_state(group)),
            assignor: text_of(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            coordinator: broker(sys::rd_kafka_ConsumerGroupDescription_coordinator(group))
                .map(|broker| broker.id),
            members: (0..members).map(member).collect(),
        }
    }
}

/// # Safety
/// `member` is alive.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: by the caller; what the member refers to lives as long.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let partitions = match assignment.is_null() {
            true => &[],
            false => elements(sys::rd_kafka_MemberAssignment_partitions(assignment)),
        };
        GroupMember {
            member_id: text_of(sys::rd_kafka_MemberDescription_consumer_id(member)),
            client_id: text_of(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text_of(sys::rd_kafka_MemberDescription_host(member)),
            instance_id: (!instance.is_null()).then(|| text_of(instance)),
            partitions: partitions.iter().map(partition_of).collect(),
        }
    }
}

pub(super) fn delete(
    admin: &mut RdAdmin,
    groups: &[&str],
    timeout: Duration,
) -> Result<Vec<Result<(), Error>>, Error> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let owned = c_strings(groups, "group id")?;
    let op = op::RD_KAFKA_ADMIN_OP_DELETEGROUPS;
    let action = format!("delete group {}", groups.join(", "));
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; the requests are copied and freed once.
        unsafe {
            let mut requests: Vec<_> =
                owned.iter().map(|id| sys::rd_kafka_DeleteGroup_new(id.as_ptr())).collect();
            let (start, count) = (requests.as_mut_ptr(), requests.len());
            sys::rd_kafka_DeleteGroups(rk, start, count, options, queue);
            sys::rd_kafka_DeleteGroup_destroy_array(start, count);
        }
    })?;
    let mut found = BTreeMap::new();
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_DeleteGroups_result(event.as_ptr());
        let mut count = 0;
        let results = sys::rd_kafka_DeleteGroups_result_groups(result, &raw mut count);
        for &result in items(results, count) {
            let id = text_of(sys::rd_kafka_group_result_name(result));
            let answer = match from_object(sys::rd_kafka_group_result_error(result)) {
                Some(error) => Err(Error::Kafka { action: format!("delete group {id:?}"), error }),
                None => Ok(()),
            };
            found.insert(id, answer);
        }
    }
    Ok(in_order(groups, found, "delete group"))
}

/// The partitions of the one group that a request named.
///
/// # Safety
/// The results are alive.
unsafe fn one_group(
    results: &[*const sys::rd_kafka_group_result_t],
    action: &str,
) -> Result<Vec<(TopicPartition, Offset)>, Error> {
    let mut offsets = Vec::new();
    for &result in results {
        // SAFETY: by the caller; what the result refers to lives as long.
        let partitions = unsafe {
            if let Some(error) = from_object(sys::rd_kafka_group_result_error(result)) {
                return Err(Error::Kafka { action: action.to_owned(), error });
            }
            elements(sys::rd_kafka_group_result_partitions(result))
        };
        for element in partitions {
            if element.err != 0 {
                return Err(failed(format!("{action}, {}", partition_of(element)), element.err));
            }
            offsets.push((partition_of(element), element.offset));
        }
    }
    Ok(offsets)
}

pub(super) fn offsets(
    admin: &mut RdAdmin,
    group: &str,
    timeout: Duration,
) -> Result<Vec<(TopicPartition, Offset)>, Error> {
    let id = c_string(group, "group id")?;
    let action = format!("read the offsets of group {group:?}");
    let op = op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; no list means all partitions; the request is copied and freed
        // once.
        unsafe {
            let mut request =
                sys::rd_kafka_ListConsumerGroupOffsets_new(id.as_ptr(), super::none());
            sys::rd_kafka_ListConsumerGroupOffsets(rk, &raw mut request, 1, options, queue);
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    let mut found = unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.as_ptr());
        let mut count = 0;
        let results = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        one_group(items(results, count), &action)?
    };
    found.retain(|(_, offset)| *offset >= 0);
    found.sort();
    Ok(found)
}

pub(super) fn alter_offsets(
    admin: &mut RdAdmin,
    group: &str,
    offsets: &[(TopicPartition, Offset)],
    timeout: Duration,
) -> Result<(), Error> {
    if offsets.is_empty() {
        return Ok(());
    }
    let id = c_string(group, "group id")?;
    let list = PartitionList::with_offsets(offsets)?;
    let action = format!("set offsets of group {group:?}");
    let op = op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; list and request are copied, the request is freed once.
        unsafe {
            let mut request =
                sys::rd_kafka_AlterConsumerGroupOffsets_new(id.as_ptr(), list.as_ptr());
            sys::rd_kafka_AlterConsumerGroupOffsets(rk, &raw mut request, 1, options, queue);
            sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.as_ptr());
        let mut count = 0;
        let results = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        one_group(items(results, count), &action).map(drop)
    }
}

pub(super) fn delete_offsets(
    admin: &mut RdAdmin,
    group: &str,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> Result<(), Error> {
    if partitions.is_empty() {
        return Ok(());
    }
    let id = c_string(group, "group id")?;
    let list = PartitionList::of(partitions)?;
    let action = format!("forget offsets of group {group:?}");
    let op = op::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS;
    let event = admin.request(op, timeout, &action, |rk, options, queue| {
        // SAFETY: all are alive; list and request are copied, the request is freed once.
        unsafe {
            let mut request =
                sys::rd_kafka_DeleteConsumerGroupOffsets_new(id.as_ptr(), list.as_ptr());
            sys::rd_kafka_DeleteConsumerGroupOffsets(rk, &raw mut request, 1, options, queue);
            sys::rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
        }
    })?;
    // SAFETY: the event is alive and of this kind; what it refers to lives as long.
    unsafe {
        let result = sys::rd_kafka_event_DeleteConsumerGroupOffsets_result(event.as_ptr());
        let mut count = 0;
        let results =
            sys::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, &raw mut count);
        one_group(items(results, count), &action).map(drop)
    }
}
