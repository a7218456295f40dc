//! Rights: what each request needs, as a table, and the requests about rules themselves.

mod rules;
mod sessions;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;

use super::*;
use crate::acl::AclOperation::{self, *};
use crate::acl::ResourceType::{self, Cluster, Group, TransactionalId};
use crate::broker::Peer;
use crate::security::SecurityConfig;

const ANN: &str = "User:ann";
const ROOT: &str = "User:root";
/// Codes that say that somebody may not.
const DENIED: [i16; 4] = [29, 30, 31, 53];

fn config() -> BrokerConfig {
    BrokerConfig::new("/data").security(SecurityConfig {
        acl: true,
        super_users: vec![ROOT.into()],
        ..SecurityConfig::default()
    })
}

impl Bench {
    fn ask_as<R: Request>(&mut self, who: &str, version: i16, request: &R) -> R::Response {
        let mut peer = Peer::known("127.0.0.1", 0, who);
        match self.broker.receive(Self::frame(version, request), &mut peer).unwrap() {
            Reply::Now(frame) => Self::decode::<R>(version, frame.into_bytes().unwrap()),
            Reply::Later(ticket) => {
                let frame = self.answer(ticket).expect("answered at once");
                Self::decode::<R>(version, frame)
            }
            other => panic!("{other:?}"),
        }
    }

    fn grant(&mut self, kind: ResourceType, name: &str, operation: AclOperation) {
        let request = CreateAclsRequest::default()
            .with_creations(vec![creation(kind, name, 3, ANN, operation, 3)]);
        let response = self.ask_as(ROOT, 3, &request);
        assert_eq!(response.results[0].error_code, 0, "{response:?}");
    }

    fn create_as_root(&mut self, name: &str) {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        assert_eq!(self.ask_as(ROOT, 7, &request).topics[0].error_code, 0);
    }

    fn revoke_all(&mut self) -> usize {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(1)
            .with_resource_name_filter(None)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(1)
            .with_permission_type(1);
        let request = DeleteAclsRequest::default().with_filters(vec![filter]);
        let response = self.ask_as(ROOT, 3, &request);
        assert_eq!(response.filter_results[0].error_code, 0);
        response.filter_results[0].matching_acls.len()
    }
}

fn creation(
    kind: ResourceType,
    name: &str,
    pattern: i8,
    principal: &str,
    operation: AclOperation,
    permission: i8,
) -> AclCreation {
    AclCreation::default()
        .with_resource_type(kind as i8)
        .with_resource_name(text(name))
        .with_resource_pattern_type(pattern)
        .with_principal(text(principal))
        .with_host(text("*"))
        .with_operation(operation as i8)
        .with_permission_type(permission)
}

/// A request of somebody, and the code at the place where that request tells of missing rights.
type Ask = Box<dyn Fn(&mut Bench, &str) -> i16>;

struct Case {
    key: ApiKey,
    ask: Ask,
    denied: i16,
    /// Each of these sets of rights is enough.
    enough: Vec<Vec<(ResourceType, &'static str, AclOperation)>>,
}

macro_rules! case {
    ($key:ident v $version:literal, $request:expr, $code:expr, $denied:literal, $([$($right:expr),+]),+) => {
        Case {
            key: ApiKey::$key,
            ask: Box::new(|bench, who| {
                let request = $request;
                let response = bench.ask_as(who, $version, &request);
                ($code)(&response)
            }),
            denied: $denied,
            enough: vec![$(vec![$($right),+]),+],
        }
    };
}

fn g() -> GroupId {
    GroupId(text("g"))
}

fn x() -> kafka_protocol::messages::TransactionalId {
    kafka_protocol::messages::TransactionalId(text("x"))
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<Case> {
    let topic = |operation| (ResourceType::Topic, "t", operation);
    let group = |operation| (Group, "g", operation);
    let cluster = |operation| (Cluster, "kafka-cluster", operation);
    let transactional = |operation| (TransactionalId, "x", operation);
    vec![
        case!(Produce v 9, {
            use produce_request::{PartitionProduceData, TopicProduceData};
            let data = PartitionProduceData::default().with_records(Some(batch(1, 10)));
            let row = TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![data]);
            ProduceRequest::default().with_acks(-1).with_topic_data(vec![row])
        }, |r: &ProduceResponse| r.responses[0].partition_responses[0].error_code, 29, [topic(Write)]),
        case!(Fetch v 12, {
            use fetch_request::{FetchPartition, FetchTopic};
            let row = FetchPartition::default().with_partition_max_bytes(1000);
            let row = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![row]);
            FetchRequest::default().with_max_bytes(1000).with_topics(vec![row])
        }, |r: &FetchResponse| r.responses[0].partitions[0].error_code, 29, [topic(Read)]),
        case!(ConsumerGroupHeartbeat v 1, ConsumerGroupHeartbeatRequest::default().with_group_id(g())
            .with_member_id(text("m")).with_rebalance_timeout_ms(1000)
            .with_subscribed_topic_names(Some(vec![topic_name("t")])).with_topic_partitions(Some(vec![])),
            |r: &ConsumerGroupHeartbeatResponse| r.error_code, 30,
            [group(Read), topic(Describe)], [group(All), topic(Read)]),
        case!(ConsumerGroupDescribe v 1, ConsumerGroupDescribeRequest::default().with_group_ids(vec![g()]),
            |r: &ConsumerGroupDescribeResponse| r.groups[0].error_code, 30,
            [group(Describe), topic(Describe)], [group(Read), topic(Write)]),
        case!(ListOffsets v 7, {
            use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
            let row = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
            let row = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![row]);
            ListOffsetsRequest::default().with_topics(vec![row])
        }, |r: &ListOffsetsResponse| r.topics[0].partitions[0].error_code, 29,
            [topic(Describe)], [topic(Read)], [topic(Write)], [topic(Delete)], [topic(Alter)]),
        case!(Metadata v 12, {
            let row = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name("t")));
            MetadataRequest::default().with_topics(Some(vec![row]))
        }, |r: &MetadataResponse| r.topics[0].error_code, 29, [topic(Describe)]),
        case!(OffsetCommit v 8, {
            use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
            let row = OffsetCommitRequestTopic::default().with_name(topic_name("t"))
                .with_partitions(vec![OffsetCommitRequestPartition::default()]);
            OffsetCommitRequest::default().with_group_id(g())
                .with_generation_id_or_member_epoch(-1).with_topics(vec![row])
        }, |r: &OffsetCommitResponse| r.topics[0].partitions[0].error_code, 30, [group(Read), topic(Read)]),
        case!(OffsetFetch v 8, {
            let row = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_group_id(g()).with_topics(None);
            OffsetFetchRequest::default().with_groups(vec![row])
        }, |r: &OffsetFetchResponse| r.groups[0].error_code, 30, [group(Describe)], [group(Read)]),
        case!(OffsetFetch v 5, OffsetFetchRequest::default().with_group_id(g()).with_topics(None),
            |r: &OffsetFetchResponse| r.error_code, 30, [group(Describe)]),
        case!(OffsetFetch v 1, {
            let row = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(topic_name("t")).with_partition_indexes(vec![0]);
            OffsetFetchRequest::default().with_group_id(g()).with_topics(Some(vec![row]))
        }, |r: &OffsetFetchResponse| r.topics[0].partitions[0].error_code, 30, [group(Describe), topic(Describe)]),
        case!(FindCoordinator v 2, FindCoordinatorRequest::default().with_key(text("g")),
            |r: &FindCoordinatorResponse| r.error_code, 30, [group(Describe)], [group(Read)]),
        case!(FindCoordinator v 4, FindCoordinatorRequest::default().with_key_type(1)
            .with_coordinator_keys(vec![text("x")]),
            |r: &FindCoordinatorResponse| r.coordinators[0].error_code, 53, [transactional(Describe)],
            [transactional(Write)]),
        case!(JoinGroup v 5, JoinGroupRequest::default().with_group_id(g())
            .with_session_timeout_ms(10_000).with_protocol_type(text("consumer")),
            |r: &JoinGroupResponse| r.error_code, 30, [group(Read)]),
        case!(Heartbeat v 3, HeartbeatRequest::default().with_group_id(g()),
            |r: &HeartbeatResponse| r.error_code, 30, [group(Read)]),
        case!(LeaveGroup v 3, LeaveGroupRequest::default().with_group_id(g()),
            |r: &LeaveGroupResponse| r.error_code, 30, [group(Read)]),
        case!(SyncGroup v 3, SyncGroupRequest::default().with_group_id(g()),
            |r: &SyncGroupResponse| r.error_code, 30, [group(Read)]),
        case!(DescribeGroups v 5, DescribeGroupsRequest::default().with_groups(vec![g()]),
            |r: &DescribeGroupsResponse| r.groups[0].error_code, 30, [group(Describe)], [group(Delete)]),
        case!(CreateTopics v 7, CreateTopicsRequest::default().with_validate_only(true).with_topics(vec![
            CreatableTopic::default().with_name(topic_name("new")).with_num_partitions(1).with_replication_factor(1),
        ]), |r: &CreateTopicsResponse| r.topics[0].error_code, 29,
            [(ResourceType::Topic, "new", Create)], [cluster(Create)]),
        case!(DeleteTopics v 5, DeleteTopicsRequest::default().with_topic_names(vec![topic_name("missing")]),
            |r: &DeleteTopicsResponse| r.responses[0].error_code, 29,
            [(ResourceType::Topic, "missing", Delete)], [cluster(Delete)], [cluster(All)]),
        case!(DeleteRecords v 2, {
            use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
            let row = DeleteRecordsTopic::default().with_name(topic_name("t"))
                .with_partitions(vec![DeleteRecordsPartition::default().with_offset(0)]);
            DeleteRecordsRequest::default().with_topics(vec![row])
        }, |r: &DeleteRecordsResponse| r.topics[0].partitions[0].error_code, 29, [topic(Delete)]),
        case!(InitProducerId v 4, InitProducerIdRequest::default().with_transactional_id(None),
            |r: &InitProducerIdResponse| r.error_code, 31, [cluster(IdempotentWrite)], [topic(Write)]),
        case!(InitProducerId v 4, InitProducerIdRequest::default()
            .with_transactional_id(Some(x()))
            .with_transaction_timeout_ms(1000),
            |r: &InitProducerIdResponse| r.error_code, 53, [transactional(Write)]),
        case!(OffsetForLeaderEpoch v 4, {
            use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
            let row = OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
            let row = OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![row]);
            OffsetForLeaderEpochRequest::default().with_topics(vec![row])
        }, |r: &OffsetForLeaderEpochResponse| r.topics[0].partitions[0].error_code, 29,
            [topic(Describe)], [cluster(ClusterAction)]),
        case!(AddPartitionsToTxn v 3, {
            let row = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
                .with_name(topic_name("t")).with_partitions(vec![0]);
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(x())
                .with_v3_and_below_topics(vec![row])
        }, |r: &AddPartitionsToTxnResponse| {
            r.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        }, 53, [transactional(Write), topic(Write)]),
        case!(AddPartitionsToTxn v 4, AddPartitionsToTxnRequest::default(),
            |r: &AddPartitionsToTxnResponse| r.error_code, 31, [cluster(ClusterAction)]),
        case!(AddOffsetsToTxn v 3, AddOffsetsToTxnRequest::default()
            .with_transactional_id(x())
            .with_group_id(g()),
            |r: &AddOffsetsToTxnResponse| r.error_code, 53, [transactional(Write), group(Read)]),
        case!(EndTxn v 3, EndTxnRequest::default()
            .with_transactional_id(x()),
            |r: &EndTxnResponse| r.error_code, 53, [transactional(Write)]),
        case!(WriteTxnMarkers v 1, {
            use write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
            let row = WritableTxnMarkerTopic::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
            WriteTxnMarkersRequest::default()
                .with_markers(vec![WritableTxnMarker::default().with_topics(vec![row])])
        }, |r: &WriteTxnMarkersResponse| r.markers[0].topics[0].partitions[0].error_code, 31,
            [cluster(Alter)], [cluster(ClusterAction)]),
        case!(TxnOffsetCommit v 3, {
            use txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
            let row = TxnOffsetCommitRequestTopic::default().with_name(topic_name("t"))
                .with_partitions(vec![TxnOffsetCommitRequestPartition::default()]);
            TxnOffsetCommitRequest::default()
                .with_transactional_id(x())
                .with_group_id(g()).with_topics(vec![row])
        }, |r: &TxnOffsetCommitResponse| r.topics[0].partitions[0].error_code, 53,
            [transactional(Write), group(Read), topic(Read)]),
        case!(DescribeAcls v 3, DescribeAclsRequest::default().with_resource_type_filter(1)
            .with_pattern_type_filter(1).with_operation(1).with_permission_type(1),
            |r: &DescribeAclsResponse| r.error_code, 31, [cluster(Describe)], [cluster(Alter)]),
        case!(CreateAcls v 3, CreateAclsRequest::default()
            .with_creations(vec![creation(Group, "other", 3, "User:bob", Read, 3)]),
            |r: &CreateAclsResponse| r.results[0].error_code, 31, [cluster(Alter)]),
        case!(DeleteAcls v 3, DeleteAclsRequest::default().with_filters(vec![DeleteAclsFilter::default()
            .with_resource_type_filter(6).with_pattern_type_filter(1).with_operation(1).with_permission_type(1)]),
            |r: &DeleteAclsResponse| r.filter_results[0].error_code, 31, [cluster(Alter)]),
        case!(DescribeConfigs v 4, {
            let row = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(2).with_resource_name(text("t"));
            DescribeConfigsRequest::default().with_resources(vec![row])
        }, |r: &DescribeConfigsResponse| r.results[0].error_code, 29, [topic(DescribeConfigs)], [topic(AlterConfigs)]),
        case!(DescribeConfigs v 4, {
            let row = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(4).with_resource_name(text("1"));
            DescribeConfigsRequest::default().with_resources(vec![row])
        }, |r: &DescribeConfigsResponse| r.results[0].error_code, 31, [cluster(DescribeConfigs)]),
        case!(AlterConfigs v 2, {
            let row = alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2).with_resource_name(text("t"));
            AlterConfigsRequest::default().with_resources(vec![row]).with_validate_only(true)
        }, |r: &AlterConfigsResponse| r.responses[0].error_code, 29, [topic(AlterConfigs)]),
        case!(IncrementalAlterConfigs v 1, {
            let row = incremental_alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(4).with_resource_name(text("1"));
            IncrementalAlterConfigsRequest::default().with_resources(vec![row])
        }, |r: &IncrementalAlterConfigsResponse| r.responses[0].error_code, 31, [cluster(AlterConfigs)]),
        case!(DescribeLogDirs v 3, DescribeLogDirsRequest::default().with_topics(None),
            |r: &DescribeLogDirsResponse| r.error_code, 31, [cluster(Describe)]),
        case!(CreatePartitions v 3, {
            let row = create_partitions_request::CreatePartitionsTopic::default()
                .with_name(topic_name("t")).with_count(9).with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![row]).with_validate_only(true)
        }, |r: &CreatePartitionsResponse| r.results[0].error_code, 29, [topic(Alter)]),
        case!(DeleteGroups v 2, DeleteGroupsRequest::default().with_groups_names(vec![g()]),
            |r: &DeleteGroupsResponse| r.results[0].error_code, 30, [group(Delete)]),
        case!(ListPartitionReassignments v 0, ListPartitionReassignmentsRequest::default().with_topics(None),
            |r: &ListPartitionReassignmentsResponse| r.error_code, 31, [cluster(Describe)]),
        case!(OffsetDelete v 0, OffsetDeleteRequest::default().with_group_id(g()),
            |r: &OffsetDeleteResponse| r.error_code, 30, [group(Delete)]),
        case!(DescribeProducers v 0, {
            let row = describe_producers_request::TopicRequest::default()
                .with_name(topic_name("t")).with_partition_indexes(vec![0]);
            DescribeProducersRequest::default().with_topics(vec![row])
        }, |r: &DescribeProducersResponse| r.topics[0].partitions[0].error_code, 29, [topic(Read)]),
        case!(DescribeTransactions v 0, DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![x()]),
            |r: &DescribeTransactionsResponse| r.transaction_states[0].error_code, 53, [transactional(Describe)]),
        case!(DescribeTopicPartitions v 0, {
            let row = describe_topic_partitions_request::TopicRequest::default().with_name(topic_name("t"));
            DescribeTopicPartitionsRequest::default().with_topics(vec![row])
                .with_response_partition_limit(10).with_cursor(None)
        }, |r: &DescribeTopicPartitionsResponse| r.topics[0].error_code, 29, [topic(Describe)]),
        case!(DescribeClientQuotas v 1, DescribeClientQuotasRequest::default(),
            |r: &DescribeClientQuotasResponse| r.error_code, 31, [cluster(DescribeConfigs)]),
        case!(DescribeUserScramCredentials v 0, DescribeUserScramCredentialsRequest::default(),
            |r: &DescribeUserScramCredentialsResponse| r.error_code, 31, [cluster(Describe)]),
        case!(AlterUserScramCredentials v 0, {
            let row = alter_user_scram_credentials_request::ScramCredentialDeletion::default()
                .with_name(text("bob")).with_mechanism(1);
            AlterUserScramCredentialsRequest::default().with_deletions(vec![row])
        }, |r: &AlterUserScramCredentialsResponse| r.results[0].error_code, 31, [cluster(Alter)]),
    ]
}

#[test]
fn every_request_asks_for_kafkas_rights() {
    let mut bench = Bench::with(config());
    bench.create_as_root("t");
    // These leave out what somebody may not see, or ask for nothing; see below.
    let mut seen = vec![
        ApiKey::ApiVersions,
        ApiKey::SaslHandshake,
        ApiKey::SaslAuthenticate,
        ApiKey::DescribeCluster,
        ApiKey::ListGroups,
        ApiKey::ListTransactions,
    ];
    for case in table() {
        let key = case.key;
        assert_eq!((case.ask)(&mut bench, ANN), case.denied, "{key:?} without rights");
        assert!(!DENIED.contains(&(case.ask)(&mut bench, ROOT)), "{key:?} of the super user");
        for rights in case.enough {
            for (number, (kind, name, operation)) in rights.iter().enumerate() {
                let code = (case.ask)(&mut bench, ANN);
                assert!(DENIED.contains(&code), "{key:?} without right {number}: {code}");
                bench.grant(*kind, name, *operation);
            }
            let code = (case.ask)(&mut bench, ANN);
            assert!(!DENIED.contains(&code), "{key:?} with {rights:?}: {code}");
            assert!(bench.revoke_all() >= rights.len());
        }
        seen.push(key);
    }
    for api in TABLE {
        assert!(seen.contains(&api.key), "{:?} is not in this table", api.key);
    }
}
