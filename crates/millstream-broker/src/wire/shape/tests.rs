use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use millstream_protocol::shape::example::{self, Style};
use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::*;
use crate::api::TABLE;
use crate::wire::is_flexible;

fn write(shape: &str, version: i16, flexible: bool, rng: &mut TestRng) -> Vec<u8> {
    let random = &mut || rng.next_u32();
    example::write(&Shape::parse(shape), version, flexible, &Style::default(), random).bytes
}

/// Bytes that the codec leaves after decoding a request, or its error.
fn decode(key: ApiKey, version: i16, body: &[u8]) -> Result<usize, String> {
    let mut bytes = Bytes::copy_from_slice(body);
    macro_rules! decode {
        ($($name:ident => $request:ident),* $(,)?) => {
            match key {
                $(ApiKey::$name => $request::decode(&mut bytes, version).map(drop),)*
                other => panic!("add {other:?} to this test"),
            }
        };
    }
    decode! {
        Produce => ProduceRequest, Fetch => FetchRequest, ListOffsets => ListOffsetsRequest,
        Metadata => MetadataRequest, OffsetCommit => OffsetCommitRequest,
        OffsetFetch => OffsetFetchRequest, FindCoordinator => FindCoordinatorRequest,
        JoinGroup => JoinGroupRequest, Heartbeat => HeartbeatRequest,
        LeaveGroup => LeaveGroupRequest, SyncGroup => SyncGroupRequest,
        DescribeGroups => DescribeGroupsRequest, ListGroups => ListGroupsRequest,
        ApiVersions => ApiVersionsRequest, CreateTopics => CreateTopicsRequest,
        DeleteTopics => DeleteTopicsRequest, DeleteRecords => DeleteRecordsRequest,
        InitProducerId => InitProducerIdRequest,
        OffsetForLeaderEpoch => OffsetForLeaderEpochRequest,
        DescribeConfigs => DescribeConfigsRequest, AlterConfigs => AlterConfigsRequest,
        DescribeLogDirs => DescribeLogDirsRequest, CreatePartitions => CreatePartitionsRequest,
        DeleteGroups => DeleteGroupsRequest,
        IncrementalAlterConfigs => IncrementalAlterConfigsRequest,
        ListPartitionReassignments => ListPartitionReassignmentsRequest,
        OffsetDelete => OffsetDeleteRequest, DescribeCluster => DescribeClusterRequest,
        DescribeProducers => DescribeProducersRequest,
        DescribeTopicPartitions => DescribeTopicPartitionsRequest,
        AddPartitionsToTxn => AddPartitionsToTxnRequest, AddOffsetsToTxn => AddOffsetsToTxnRequest,
        EndTxn => EndTxnRequest, WriteTxnMarkers => WriteTxnMarkersRequest,
        TxnOffsetCommit => TxnOffsetCommitRequest,
        DescribeTransactions => DescribeTransactionsRequest,
        ListTransactions => ListTransactionsRequest,
        ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest,
        ConsumerGroupDescribe => ConsumerGroupDescribeRequest, SaslHandshake => SaslHandshakeRequest,
        SaslAuthenticate => SaslAuthenticateRequest, DescribeAcls => DescribeAclsRequest,
        DescribeClientQuotas => DescribeClientQuotasRequest, CreateAcls => CreateAclsRequest, DeleteAcls => DeleteAclsRequest,
        DescribeUserScramCredentials => DescribeUserScramCredentialsRequest,
        AlterUserScramCredentials => AlterUserScramCredentialsRequest,
    }
    .map(|()| bytes.len())
    .map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every shape says the same as the codec, in every version: what is written by the shape,
    /// the codec reads to the last byte; cut anywhere, the walk refuses it.
    #[test]
    fn shapes_are_what_the_codec_reads(rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        let mut rng = rng;
        for api in TABLE {
            for version in api.min..=api.max {
                let flexible = is_flexible(api.key, version);
                let body = write(api.shape, version, flexible, &mut rng);
                let name = format!("{:?} version {version}: {body:?}", api.key);
                prop_assert_eq!(check(api.shape, version, flexible, &body), Ok(()), "{}", name);
                prop_assert_eq!(decode(api.key, version, &body), Ok(0), "{}", name);
                for end in 0..body.len() {
                    let cut = check(api.shape, version, flexible, &body[..end]);
                    prop_assert!(cut.is_err(), "cut at {}: {}", end, name);
                }
            }
        }
    }

    /// What passes the walk, the codec takes without a panic or a large allocation.
    #[test]
    fn changed_bytes_never_panic(
        rng in any::<u64>().prop_perturb(|_, rng| rng),
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut rng = rng;
        for api in TABLE {
            for version in api.min..=api.max {
                let flexible = is_flexible(api.key, version);
                let mut body = write(api.shape, version, flexible, &mut rng);
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = to;
                }
                if check(api.shape, version, flexible, &body).is_ok() {
                    let _ = decode(api.key, version, &body);
                }
            }
        }
    }
}

#[test]
fn a_stated_count_alone_is_refused() {
    // Two billion topics in an array that ends after its count.
    let metadata = TABLE.iter().find(|api| api.key == ApiKey::Metadata).unwrap();
    let body = [0x7f, 0xff, 0xff, 0xff];
    assert_eq!(check(metadata.shape, 1, false, &body), Err(Malformed::Cut));
    // Elements without bytes of their own do not exist, so a long body is what it takes.
    let groups = TABLE.iter().find(|api| api.key == ApiKey::DescribeGroups).unwrap();
    let mut body = ((ELEMENTS_MAX + 1) as i32).to_be_bytes().to_vec();
    body.resize(4 + 2 * (ELEMENTS_MAX + 1), 0);
    assert_eq!(check(groups.shape, 0, false, &body), Err(Malformed::TooMany));
}
