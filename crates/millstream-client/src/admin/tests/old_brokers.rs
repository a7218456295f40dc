//! Brokers that lack requests or versions: what can be said otherwise is, the rest is refused.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ConsumerGroupDescribeRequest, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, IncrementalAlterConfigsRequest, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};

use super::super::{ConfigChange, ConfigResource, NewTopic, OffsetSpec};
use super::*;
use crate::error::code;
use crate::testing::{Does, versions_of_2_4};

fn name(text: &str) -> TopicName {
    TopicName(text.to_owned().into())
}

/// A broker without IncrementalAlterConfigs is told all settings of the topic anew: its own ones,
/// changed, and none of those that only shine through.
#[test]
fn settings_are_replaced_where_they_cannot_be_changed() {
    let world = World::of(1);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.highest.insert(44, None);
        cluster.on::<DescribeConfigsRequest>(|_, _, request| {
            let entry = |name: &str, value: &str, source| {
                DescribeConfigsResourceResult::default()
                    .with_name(name.to_owned().into())
                    .with_value(Some(value.to_owned().into()))
                    .with_config_source(source)
            };
            let result = DescribeConfigsResult::default()
                .with_resource_type(2)
                .with_resource_name(request.resources[0].resource_name.clone())
                .with_configs(vec![
                    entry("kept", "1", 1),
                    entry("reset", "2", 1),
                    entry("changed", "3", 1),
                    entry("of.the.broker", "4", 4),
                    entry("default", "5", 5),
                ]);
            Does::Answers(DescribeConfigsResponse::default().with_results(vec![result]))
        });
        cluster.on::<AlterConfigsRequest>(|_, _, request| {
            let resource = &request.resources[0];
            let said: Vec<String> = resource
                .configs
                .iter()
                .map(|c| format!("{}={}", c.name.as_str(), c.value.as_deref().unwrap_or("-")))
                .collect();
            assert_eq!(said, ["changed=30", "kept=1", "new=6"]);
            let result = AlterConfigsResourceResponse::default()
                .with_resource_type(2)
                .with_resource_name(resource.resource_name.clone());
            Does::Answers(AlterConfigsResponse::default().with_responses(vec![result]))
        });
    }
    let mut admin = admin(&world);
    let topic = ConfigResource::Topic("t".into());
    let set = |value: &str| ConfigChange::Set(value.into());
    let changes = BTreeMap::from([
        ("changed".to_owned(), set("30")),
        ("new".to_owned(), set("6")),
        ("reset".to_owned(), ConfigChange::Reset),
    ]);
    assert_eq!(admin.alter_configs(&[(topic.clone(), changes)], LIMIT).unwrap(), [Ok(())]);
    assert_eq!(world.cluster.lock().unwrap().count::<AlterConfigsRequest>(), 1);
    assert_eq!(world.cluster.lock().unwrap().count::<IncrementalAlterConfigsRequest>(), 0);
    let append = BTreeMap::from([("list".to_owned(), ConfigChange::Append("x".into()))]);
    let error = admin.alter_configs(&[(topic, append)], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(super::code(&error), code::UNSUPPORTED_FEATURE);
    assert!(error.to_string().contains("change the settings of topic \"t\""), "{error}");
    assert_eq!(world.cluster.lock().unwrap().count::<AlterConfigsRequest>(), 1);
}

/// Secret settings cannot be read, so that writing all of them anew would lose them.
#[test]
fn a_secret_is_not_lost_by_replacing() {
    let world = World::of(1);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.highest.insert(44, None);
        cluster.on::<DescribeConfigsRequest>(|_, _, request| {
            let secret = DescribeConfigsResourceResult::default()
                .with_name("ssl.key.password".to_owned().into())
                .with_value(None)
                .with_is_sensitive(true)
                .with_config_source(2);
            let result = DescribeConfigsResult::default()
                .with_resource_type(4)
                .with_resource_name(request.resources[0].resource_name.clone())
                .with_configs(vec![secret]);
            Does::Answers(DescribeConfigsResponse::default().with_results(vec![result]))
        });
        cluster.on::<AlterConfigsRequest>(|_, _, _| panic!("nothing may be written"));
    }
    let changes = BTreeMap::from([("log.retention.ms".to_owned(), ConfigChange::Reset)]);
    let changes = [(ConfigResource::Broker(1), changes)];
    let error = admin(&world).alter_configs(&changes, LIMIT).unwrap().remove(0).unwrap_err();
    assert!(error.to_string().contains("secret"), "{error}");
}

/// Names instead of states, one group instead of many, the members' own encoding.
#[test]
fn a_broker_of_kafka_2_4_is_spoken_to_in_its_own_versions() {
    let world = World::of(1);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.highest = versions_of_2_4();
        cluster.topics.insert("a".into(), vec![1]);
        cluster.coordinators.insert("g".into(), 1);
        cluster.on::<DeleteTopicsRequest>(|_, version, request| {
            assert_eq!(version, 4);
            let result = |name: &TopicName| {
                DeletableTopicResult::default().with_name(Some(name.clone())).with_error_code(3)
            };
            let results = request.topic_names.iter().map(result).collect();
            Does::Answers(DeleteTopicsResponse::default().with_responses(results))
        });
        cluster.on::<OffsetFetchRequest>(|_, version, request| {
            assert_eq!((version, request.topics.is_none()), (6, true));
            let partition = |index, offset| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
            };
            let topic = OffsetFetchResponseTopic::default()
                .with_name(name("a"))
                .with_partitions(vec![partition(1, 4), partition(0, 3), partition(2, -1)]);
            Does::Answers(OffsetFetchResponse::default().with_topics(vec![topic]))
        });
        cluster.on::<DescribeGroupsRequest>(|_, version, request| {
            assert_eq!(version, 5);
            let member = DescribedGroupMember::default()
                .with_member_id("m".to_owned().into())
                .with_member_assignment(
                    (&b"\0\x01\0\0\0\x01\0\x01a\0\0\0\x01\0\0\0\x02"[..]).into(),
                );
            let groups = request.groups.iter().map(|id| {
                DescribedGroup::default()
                    .with_group_id(id.clone())
                    .with_group_state("Stable".to_owned().into())
                    .with_protocol_type("consumer".to_owned().into())
                    .with_protocol_data("range".to_owned().into())
                    .with_members(vec![member.clone()])
            });
            Does::Answers(DescribeGroupsResponse::default().with_groups(groups.collect()))
        });
    }
    let mut admin = admin(&world);
    let error = admin.delete_topics(&["x"], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(super::code(&error), 3);
    let offsets = vec![(tp("a", 0), 3), (tp("a", 1), 4)];
    assert_eq!(admin.group_offsets("g", LIMIT), Ok(offsets));
    let group = admin.describe_groups(&["g"], LIMIT).unwrap().remove(0).unwrap();
    assert_eq!((group.assignor.as_str(), group.coordinator), ("range", 1));
    assert!(!group.broker_assigns);
    assert_eq!(group.members[0].partitions, [tp("a", 2)]);
    assert_eq!(world.cluster.lock().unwrap().count::<ConsumerGroupDescribeRequest>(), 0);
    // What the version cannot say is refused, item by item, and nothing is sent.
    let asked = [(tp("a", 0), OffsetSpec::MaxTimestamp)];
    let error = admin.list_offsets(&asked, false, LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(super::code(&error), code::UNSUPPORTED_FEATURE);
    let error = admin.list_transactions(LIMIT).unwrap_err();
    assert_eq!(super::code(&error), code::UNSUPPORTED_FEATURE);
}

/// "As the broker likes" came with KIP-464.
#[test]
fn defaults_of_the_broker_need_a_broker_that_has_them() {
    let world = World::of(1);
    world.cluster.lock().unwrap().highest.insert(19, Some(3));
    let new = NewTopic { name: "a".into(), ..NewTopic::default() };
    let error = admin(&world).create_topics(&[new], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(super::code(&error), code::UNSUPPORTED_FEATURE);
}
