//! Groups: which there are, who is in them, deleting them. Classic ones and those of KIP-848.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::consumer_group_describe_response as modern;
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use millstream_types::TopicPartition;

use super::Admin;
use super::answers::{Found, checked, text};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use super::topics::owned;
use crate::coordinators::CoordinatorKey;
use crate::error::{Error, code};
use crate::group::embedded_protocol::decode_assignment;

const UNSUPPORTED_VERSION: i32 = 35;
const GROUP_ID_NOT_FOUND: i32 = 69;

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// What its members speak among each other: `consumer`, `connect`, …; empty if nobody ever
    /// joined and there are only offsets.
    pub protocol: String,
    /// Its state as Kafka names it: `Stable`, `Empty`, …; empty before Kafka 2.6 (KIP-518).
    pub state: String,
    /// Its kind as Kafka names it: `Classic`, `Consumer`, …; empty before Kafka 3.7 (KIP-848).
    pub kind: String,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the group gave it.
    pub member_id: String,
    /// Its `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Its state as Kafka names it: `Stable`, `Empty`, `Dead` (also: no such group), …
    pub state: String,
    /// Whether the broker assigns (KIP-848).
    pub broker_assigns: bool,
    /// The assignor in use.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// Its members.
    pub members: Vec<GroupMember>,
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

fn coordinator(group: &str) -> Route {
    Route::Coordinator(CoordinatorKey::Group(group.to_owned()))
}

struct ListGroups;

impl Operation for ListGroups {
    type Request = ListGroupsRequest;
    type Item = i32;
    type Answer = Vec<GroupListing>;
    const VERSIONS: (i16, i16) = (0, 5);

    fn route(&self, broker: &i32) -> Route {
        Route::Node(*broker)
    }

    fn action(&self, broker: &i32) -> String {
        format!("list groups of broker {broker}")
    }

    fn request(&self, _: &[&i32], _: i16, _: i32) -> ListGroupsRequest {
        ListGroupsRequest::default()
    }

    fn throttle_ms(response: &ListGroupsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        brokers: &[&i32],
        response: ListGroupsResponse,
        _: Reply,
    ) -> Answers<Vec<GroupListing>> {
        let groups: Vec<GroupListing> = response
            .groups
            .into_iter()
            .map(|group| GroupListing {
                group: group.group_id.to_string(),
                protocol: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                kind: group.group_type.to_string(),
            })
            .collect();
        checked(response.error_code, None, groups)
            .map(|groups| brokers.iter().map(|_| Ok(groups.clone())).collect())
    }
}

struct ConsumerGroupDescribe;

impl Operation for ConsumerGroupDescribe {
    type Request = ConsumerGroupDescribeRequest;
    type Item = String;
    type Answer = GroupDescription;
    const VERSIONS: (i16, i16) = (0, 1);

    fn route(&self, group: &String) -> Route {
        coordinator(group)
    }

    fn action(&self, group: &String) -> String {
        format!("describe group {group:?}")
    }

    fn request(&self, groups: &[&String], _: i16, _: i32) -> ConsumerGroupDescribeRequest {
        ConsumerGroupDescribeRequest::default()
            .with_group_ids(groups.iter().map(|group| group_id(group)).collect())
    }

    fn throttle_ms(response: &ConsumerGroupDescribeResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        groups: &[&String],
        response: ConsumerGroupDescribeResponse,
        reply: Reply,
    ) -> Answers<GroupDescription> {
        let found: Found<String, _> = response
            .groups
            .into_iter()
            .map(|group| {
                let description = GroupDescription {
                    group: group.group_id.to_string(),
                    state: group.group_state.to_string(),
                    broker_assigns: true,
                    assignor: group.assignor_name.to_string(),
                    coordinator: reply.node,
                    members: group.members.into_iter().map(modern_member).collect(),
                };
                let text = group.error_message.as_deref();
                (description.group.clone(), checked(group.error_code, text, description))
            })
            .collect();
        Ok(found.in_order(groups.iter().map(|group| (*group).clone())))
    }
}

fn modern_member(member: modern::Member) -> GroupMember {
    let partitions = member.assignment.topic_partitions.iter().flat_map(|topic| {
        let name: std::sync::Arc<str> = topic.topic_name.as_str().into();
        topic.partitions.iter().map(move |index| TopicPartition::new(name.clone(), *index))
    });
    GroupMember {
        member_id: member.member_id.to_string(),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        instance_id: member.instance_id.map(|id| id.to_string()),
        partitions: partitions.collect(),
    }
}

struct DescribeGroups;

impl Operation for DescribeGroups {
    type Request = DescribeGroupsRequest;
    type Item = String;
    type Answer = GroupDescription;
    // Version 6 only turns "no such group" from the state `Dead` into an error (KIP-1043).
    const VERSIONS: (i16, i16) = (0, 5);

    fn route(&self, group: &String) -> Route {
        coordinator(group)
    }

    fn action(&self, group: &String) -> String {
        format!("describe group {group:?}")
    }

    fn request(&self, groups: &[&String], _: i16, _: i32) -> DescribeGroupsRequest {
        DescribeGroupsRequest::default()
            .with_groups(groups.iter().map(|group| group_id(group)).collect())
    }

    fn throttle_ms(response: &DescribeGroupsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        groups: &[&String],
        response: DescribeGroupsResponse,
        reply: Reply,
    ) -> Answers<GroupDescription> {
        let found: Found<String, _> = response
            .groups
            .into_iter()
            .map(|group| {
                let consumers = group.protocol_type.as_str() == "consumer";
                let member = |member| classic_member(member, consumers);
                let description = GroupDescription {
                    group: group.group_id.to_string(),
                    state: group.group_state.to_string(),
                    broker_assigns: false,
                    assignor: group.protocol_data.to_string(),
                    coordinator: reply.node,
                    members: group.members.into_iter().map(member).collect(),
                };
                (description.group.clone(), checked(group.error_code, None, description))
            })
            .collect();
        Ok(found.in_order(groups.iter().map(|group| (*group).clone())))
    }
}

fn classic_member(member: classic::DescribedGroupMember, consumers: bool) -> GroupMember {
    // What members of other kinds of groups tell each other is theirs. Neither is there an
    // assignment before the group's leader has sent one.
    let partitions = match consumers {
        // Another member has written it, so it may make no sense.
        true => decode_assignment(&member.member_assignment).unwrap_or_default(),
        false => Default::default(),
    };
    GroupMember {
        member_id: member.member_id.to_string(),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        partitions: partitions.into_iter().collect(),
    }
}

struct DeleteGroups;

impl Operation for DeleteGroups {
    type Request = DeleteGroupsRequest;
    type Item = String;
    type Answer = ();
    const VERSIONS: (i16, i16) = (0, 2);

    fn route(&self, group: &String) -> Route {
        coordinator(group)
    }

    fn action(&self, group: &String) -> String {
        format!("delete group {group:?}")
    }

    fn request(&self, groups: &[&String], _: i16, _: i32) -> DeleteGroupsRequest {
        DeleteGroupsRequest::default()
            .with_groups_names(groups.iter().map(|group| group_id(group)).collect())
    }

    fn throttle_ms(response: &DeleteGroupsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(&self, groups: &[&String], response: DeleteGroupsResponse, _: Reply) -> Answers<()> {
        let found: Found<String, ()> = response
            .results
            .into_iter()
            .map(|group| (group.group_id.to_string(), checked(group.error_code, None, ())))
            .collect();
        Ok(found.in_order(groups.iter().map(|group| (*group).clone())))
    }
}

impl Admin {
    /// All groups of all brokers, sorted by id.
    ///
    /// # Errors
    /// [`Error::TimedOut`], or [`Error::Kafka`] of the first broker that failed.
    pub fn list_groups(&mut self, timeout: Duration) -> Result<Vec<GroupListing>, Error> {
        let deadline = self.within(timeout);
        let brokers = self.broker_ids(deadline)?;
        // A group on the move may be listed by two.
        let mut groups = BTreeMap::new();
        for listed in self.call(ListGroups, brokers, deadline)? {
            groups.extend(listed?.into_iter().map(|group| (group.group.clone(), group)));
        }
        Ok(groups.into_values().collect())
    }

    /// These groups with their members. A group is first asked for as one of KIP-848, as Kafka's
    /// own client does; one that is not, or a broker that knows none, is asked the classic way.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn describe_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<GroupDescription, Error>>, Error> {
        let deadline = self.within(timeout);
        let mut answers = self.call(ConsumerGroupDescribe, owned(groups), deadline)?;
        let other_kind = |answer: &Result<GroupDescription, Error>| {
            matches!(
                answer,
                Err(Error::Kafka { error, .. }) if matches!(
                    error.code,
                    UNSUPPORTED_VERSION | GROUP_ID_NOT_FOUND | code::UNSUPPORTED_FEATURE
                )
            )
        };
        let places: Vec<usize> =
            (0..answers.len()).filter(|index| other_kind(&answers[*index])).collect();
        let names = places.iter().map(|index| groups[*index].to_owned()).collect();
        let classic = self.call(DescribeGroups, names, deadline)?;
        for (index, answer) in places.into_iter().zip(classic) {
            answers[index] = answer;
        }
        Ok(answers)
    }

    /// Deletes groups that have no members.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn delete_groups(
        &mut self,
        groups: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DeleteGroups, owned(groups), deadline)
    }
}
