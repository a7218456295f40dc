//! What the requests say and how the answers are read, family by family, where the embedded broker
//! does not have them.

use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::consumer_group_describe_response as modern;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl,
};
use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, CreateAclsRequest,
    CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse, InitProducerIdRequest, InitProducerIdResponse,
    OffsetCommitRequest, OffsetCommitResponse, ProducerId, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};

use super::super::*;
use super::{LIMIT, World, admin, code, tp};
use crate::settings::Secret;
use crate::testing::Does;

fn right(principal: &str) -> Acl {
    Acl {
        resource: ResourcePattern {
            kind: AclResourceKind::Topic,
            name: "orders".into(),
            pattern: PatternKind::Prefixed,
        },
        principal: principal.into(),
        host: "*".into(),
        operation: AclOperation::Write,
        permission: AclPermission::Allow,
    }
}

#[test]
fn rights_are_given_shown_and_taken() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.on::<CreateAclsRequest>(|_, _, request| {
            let result = |acl: &kafka_protocol::messages::create_acls_request::AclCreation| {
                assert_eq!((acl.resource_type, acl.resource_pattern_type), (2, 4));
                assert_eq!((acl.operation, acl.permission_type), (4, 3));
                let bad = acl.principal.as_str() == "bob";
                AclCreationResult::default().with_error_code(if bad { 42 } else { 0 })
            };
            let results = request.creations.iter().map(result).collect();
            Does::Answers(CreateAclsResponse::default().with_results(results))
        });
        cluster.on::<DescribeAclsRequest>(|_, _, request| {
            assert_eq!(request.principal_filter.as_deref(), Some("User:alice"));
            assert_eq!((request.resource_type_filter, request.operation), (1, 1));
            assert_eq!(request.resource_name_filter, None);
            let acl = AclDescription::default()
                .with_principal("User:alice".to_owned().into())
                .with_host("*".to_owned().into())
                .with_operation(4)
                .with_permission_type(3);
            let resource = DescribeAclsResource::default()
                .with_resource_type(2)
                .with_resource_name("orders".to_owned().into())
                .with_pattern_type(4)
                .with_acls(vec![acl.clone(), acl.with_operation(99)]);
            Does::Answers(DescribeAclsResponse::default().with_resources(vec![resource]))
        });
        cluster.on::<DeleteAclsRequest>(|_, _, request| {
            assert_eq!(request.filters.len(), 2);
            let gone = DeleteAclsMatchingAcl::default()
                .with_resource_type(2)
                .with_resource_name("orders".to_owned().into())
                .with_pattern_type(4)
                .with_principal("User:alice".to_owned().into())
                .with_host("*".to_owned().into())
                .with_operation(4)
                .with_permission_type(3);
            let results = vec![
                DeleteAclsFilterResult::default().with_matching_acls(vec![gone]),
                DeleteAclsFilterResult::default().with_error_code(31),
            ];
            Does::Answers(DeleteAclsResponse::default().with_filter_results(results))
        });
    }
    let mut admin = admin(&world);
    let created = admin.create_acls(&[right("User:alice"), right("bob")], LIMIT).unwrap();
    assert_eq!(created[0], Ok(()));
    assert_eq!(code(created[1].as_ref().unwrap_err()), 42);
    let filter = AclFilter { principal: Some("User:alice".into()), ..AclFilter::default() };
    let found = admin.describe_acls(&filter, LIMIT).unwrap();
    assert_eq!(found[0], right("User:alice"));
    assert_eq!(found[1].operation, AclOperation::Other(99));
    let deleted = admin.delete_acls(&[filter, AclFilter::default()], LIMIT).unwrap();
    assert_eq!(deleted[0], Ok(vec![right("User:alice")]));
    assert_eq!(code(deleted[1].as_ref().unwrap_err()), 31);
}

/// Answers about rights carry no names: one too few must not be read as another's.
#[test]
fn a_wrong_number_of_answers_is_no_answer() {
    let world = World::of(1);
    world.cluster.lock().unwrap().on::<CreateAclsRequest>(|_, _, _| {
        let results = vec![AclCreationResult::default()];
        Does::Answers(CreateAclsResponse::default().with_results(results))
    });
    let answers = admin(&world).create_acls(&[right("a"), right("b")], LIMIT).unwrap();
    assert!(answers.iter().all(|answer| code(answer.as_ref().unwrap_err()) == -199));
}

#[test]
fn credentials_are_set_and_shown() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.controller = 2;
        cluster.on::<AlterUserScramCredentialsRequest>(|broker, _, request| {
            assert_eq!(broker, 2);
            let set = &request.upsertions[0];
            assert_eq!((set.mechanism, set.iterations), (2, 4096));
            assert_eq!((set.salted_password.len(), &set.salt[..]), (64, &b"salt"[..]));
            assert_eq!((request.deletions[0].mechanism, request.deletions.len()), (1, 1));
            let result = |user: &str, code| {
                AlterUserScramCredentialsResult::default()
                    .with_user(user.to_owned().into())
                    .with_error_code(code)
            };
            let results = vec![result("bob", 91), result("alice", 0)];
            Does::Answers(AlterUserScramCredentialsResponse::default().with_results(results))
        });
        cluster.on::<DescribeUserScramCredentialsRequest>(|_, _, request| {
            let user = |name: &str| {
                let known = name == "alice";
                let info = CredentialInfo::default().with_mechanism(2).with_iterations(4096);
                DescribeUserScramCredentialsResult::default()
                    .with_user(name.to_owned().into())
                    .with_error_code(if known { 0 } else { 91 })
                    .with_credential_infos(if known { vec![info] } else { vec![] })
            };
            let results = match request.users {
                Some(users) => users.iter().map(|asked| user(&asked.name)).collect(),
                None => vec![user("alice")],
            };
            Does::Answers(DescribeUserScramCredentialsResponse::default().with_results(results))
        });
    }
    let mut admin = admin(&world);
    let changes = [
        ScramChange::Set {
            user: "alice".into(),
            mechanism: ScramMechanism::Sha512,
            iterations: 4096,
            salt: b"salt".to_vec(),
            password: Secret::new("hidden"),
        },
        ScramChange::Remove { user: "bob".into(), mechanism: ScramMechanism::Sha256 },
    ];
    let answers = admin.alter_scram_credentials(&changes, LIMIT).unwrap();
    assert_eq!(answers[0], Ok(()));
    assert_eq!(code(answers[1].as_ref().unwrap_err()), 91);
    let credential = ScramCredential { mechanism: Some(ScramMechanism::Sha512), iterations: 4096 };
    let found = admin.describe_scram_credentials(&["bob", "alice"], LIMIT).unwrap();
    assert_eq!(code(found[0].as_ref().unwrap_err()), 91);
    assert_eq!(found[1], Ok(vec![credential]));
    assert_eq!(admin.list_scram_users(LIMIT), Ok(vec![("alice".into(), vec![credential])]));
}

/// A group of KIP-848 and a classic one in one call, in the order asked.
#[test]
fn groups_of_both_kinds_are_described() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.coordinators =
            [("new".to_owned(), 1), ("old".to_owned(), 2), ("none".to_owned(), 2)].into();
        cluster.on::<ConsumerGroupDescribeRequest>(|_, _, request| {
            let groups = request.group_ids.iter().map(|id| {
                let group = modern::DescribedGroup::default().with_group_id(id.clone());
                if id.as_str() != "new" {
                    return group.with_error_code(69);
                }
                let read = modern::TopicPartitions::default()
                    .with_topic_name(kafka_protocol::messages::TopicName("a".to_owned().into()))
                    .with_partitions(vec![3]);
                let member = modern::Member::default()
                    .with_member_id("m".to_owned().into())
                    .with_assignment(
                        modern::Assignment::default().with_topic_partitions(vec![read]),
                    );
                group
                    .with_group_state("Reconciling".to_owned().into())
                    .with_assignor_name("uniform".to_owned().into())
                    .with_members(vec![member])
            });
            Does::Answers(ConsumerGroupDescribeResponse::default().with_groups(groups.collect()))
        });
        cluster.on::<DescribeGroupsRequest>(|_, _, request| {
            let groups = request.groups.iter().map(|id| {
                let state = if id.as_str() == "old" { "Empty" } else { "Dead" };
                classic::DescribedGroup::default()
                    .with_group_id(id.clone())
                    .with_group_state(state.to_owned().into())
            });
            Does::Answers(DescribeGroupsResponse::default().with_groups(groups.collect()))
        });
    }
    let found = admin(&world).describe_groups(&["none", "new", "old"], LIMIT).unwrap();
    let found: Vec<GroupDescription> = found.into_iter().map(Result::unwrap).collect();
    let seen: Vec<_> = found
        .iter()
        .map(|group| (group.group.as_str(), group.state.as_str(), group.coordinator))
        .collect();
    assert_eq!(seen, [("none", "Dead", 2), ("new", "Reconciling", 1), ("old", "Empty", 2)]);
    assert!(found[1].broker_assigns && !found[2].broker_assigns);
    assert_eq!(found[1].members[0].partitions, [tp("a", 3)]);
}

/// The coordinator answers by partition: what passes is tried again, what does not names its
/// partition.
#[test]
fn offsets_are_set_partition_by_partition() {
    let world = World::of(1);
    let mut loading = 2;
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.coordinators.insert("g".into(), 1);
        cluster.on::<OffsetCommitRequest>(move |_, _, request| {
            assert_eq!(request.generation_id_or_member_epoch, -1);
            loading -= i32::from(loading > 0);
            let topics = request.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    let code = match (loading, asked.partition_index) {
                        (1.., _) => 14,
                        (_, 7) => 25,
                        _ => 0,
                    };
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(code)
                });
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            Does::Answers(OffsetCommitResponse::default().with_topics(topics.collect()))
        });
    }
    let mut admin = admin(&world);
    assert_eq!(admin.alter_group_offsets("g", &[(tp("a", 0), 5), (tp("b", 1), 6)], LIMIT), Ok(()));
    assert_eq!(world.cluster.lock().unwrap().count::<OffsetCommitRequest>(), 2);
    let error =
        admin.alter_group_offsets("g", &[(tp("a", 0), 5), (tp("a", 7), 6)], LIMIT).unwrap_err();
    assert_eq!(code(&error), 25);
    assert!(error.to_string().starts_with("set offsets of group \"g\", a[7]"), "{error}");
    assert_eq!(admin.alter_group_offsets("g", &[], LIMIT), Ok(()));
}

#[test]
fn a_hanging_transaction_is_aborted_at_its_leader() {
    let world = World::of(2);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.topics.insert("a".into(), vec![1, 2]);
        cluster.on::<WriteTxnMarkersRequest>(|broker, _, request| {
            let marker = &request.markers[0];
            assert_eq!((broker, marker.transaction_result), (2, false));
            assert_eq!((marker.producer_id, marker.producer_epoch), (ProducerId(77), 3));
            assert_eq!(marker.coordinator_epoch, 5);
            let partition = WritableTxnMarkerPartitionResult::default().with_partition_index(1);
            let topic = WritableTxnMarkerTopicResult::default()
                .with_name(marker.topics[0].name.clone())
                .with_partitions(vec![partition]);
            let result = WritableTxnMarkerResult::default()
                .with_producer_id(marker.producer_id)
                .with_topics(vec![topic]);
            Does::Answers(WriteTxnMarkersResponse::default().with_markers(vec![result]))
        });
    }
    let open = OpenTransaction {
        partition: tp("a", 1),
        producer_id: 77,
        producer_epoch: 3,
        coordinator_epoch: 5,
    };
    assert_eq!(admin(&world).abort_transaction(&open, LIMIT), Ok(()));
}

/// Each transactional id at its own coordinator, whose id is told as it is, whatever connection was
/// used.
#[test]
fn transactions_are_described_by_their_coordinators() {
    let world = World::of(3);
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.coordinators.extend([("two".into(), 2), ("three".into(), 3)]);
        cluster.on::<DescribeTransactionsRequest>(|broker, _, request| {
            let states = request.transactional_ids.into_iter().map(|id| {
                assert_eq!(broker, if id.as_str() == "two" { 2 } else { 3 }, "{id:?}");
                let topic = TopicData::default().with_topic(super::super::answers::topic_name("a"));
                TransactionState::default()
                    .with_transactional_id(id)
                    .with_transaction_state("Ongoing".to_owned().into())
                    .with_transaction_timeout_ms(60_000)
                    .with_transaction_start_time_ms(5)
                    .with_producer_id(ProducerId(i64::from(broker)))
                    .with_producer_epoch(1)
                    .with_topics(vec![topic.with_partitions(vec![1, 0])])
            });
            Does::Answers(
                DescribeTransactionsResponse::default().with_transaction_states(states.collect()),
            )
        });
    }
    let found = admin(&world).describe_transactions(&["three", "two"], LIMIT).unwrap();
    for (description, (id, broker)) in found.into_iter().zip([("three", 3), ("two", 2)]) {
        let expected = TransactionDescription {
            transactional_id: id.into(),
            coordinator: broker,
            state: "Ongoing".into(),
            producer_id: i64::from(broker),
            producer_epoch: 1,
            timeout_ms: 60_000,
            started: Some(5),
            partitions: vec![tp("a", 0), tp("a", 1)],
        };
        assert_eq!(description, Ok(expected));
    }
}

/// An open transaction is ended first, which takes the coordinator a moment.
#[test]
fn fencing_waits_for_the_transaction_to_end() {
    let world = World::of(1);
    let mut times = 0;
    {
        let mut cluster = world.cluster.lock().unwrap();
        cluster.coordinators.insert("t".into(), 1);
        cluster.on::<InitProducerIdRequest>(move |_, _, request| {
            assert_eq!((request.producer_id, request.producer_epoch), (ProducerId(-1), -1));
            assert!(request.transaction_timeout_ms > 0);
            times += 1;
            Does::Answers(
                InitProducerIdResponse::default()
                    .with_error_code(if times < 3 { 51 } else { 0 })
                    .with_producer_id(ProducerId(9))
                    .with_producer_epoch(4),
            )
        });
    }
    let fenced = admin(&world).fence_producers(&["t"], LIMIT).unwrap();
    assert_eq!(fenced, [Ok(FencedProducer { producer_id: 9, producer_epoch: 4 })]);
    assert_eq!(world.cluster.lock().unwrap().count::<InitProducerIdRequest>(), 3);
}

/// Topics that come to be while the call waits, and such that never do.
#[test]
fn topics_are_waited_for() {
    let world = World::of(1);
    let mut admin = admin(&world);
    let missing = admin.describe_topics(&["a"], LIMIT).unwrap().remove(0).unwrap_err();
    assert_eq!(code(&missing), 3);
    let late = admin.await_topics(&["a"], LIMIT).unwrap_err();
    assert!(late.to_string().starts_with("wait until topics are there: a: no answer"), "{late}");
    let mut looks = 0;
    world.cluster.lock().unwrap().on::<kafka_protocol::messages::MetadataRequest>(
        move |_, _, request| {
            use kafka_protocol::messages::BrokerId;
            use kafka_protocol::messages::metadata_response::*;
            looks += 1;
            let leader = BrokerId(if looks > 20 { 1 } else { -1 });
            let partition = MetadataResponsePartition::default().with_leader_id(leader);
            let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
                MetadataResponseTopic::default()
                    .with_name(topic.name)
                    .with_error_code(if looks > 10 { 0 } else { 3 })
                    .with_partitions(vec![partition.clone()])
            });
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(1))
                .with_host("broker".to_owned().into())
                .with_port(9001);
            Does::Answers(
                kafka_protocol::messages::MetadataResponse::default()
                    .with_brokers(vec![broker])
                    .with_topics(topics.collect()),
            )
        },
    );
    assert_eq!(admin.await_topics(&["a"], LIMIT), Ok(()));
}

/// What cannot be is refused here.
#[test]
fn arguments_that_cannot_be() {
    let world = World::of(1);
    let error = admin(&world).create_partitions("a", 0, LIMIT).unwrap_err();
    assert_eq!(code(&error), -186);
    assert!(world.cluster.lock().unwrap().seen.is_empty());
}
