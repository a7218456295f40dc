use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::*;
use crate::api::TABLE;
use crate::wire::is_flexible;

/// Writes random bytes of a shape: the mirror of the walk.
struct Writer<'r> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    rng: &'r mut TestRng,
}

impl Writer<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    fn fields(&mut self, mut shape: &str) {
        while !shape.is_empty() {
            let (field, rest) = split_field(shape);
            shape = rest;
            let (kind, range) = split_range(field);
            if in_range(range, self.version) {
                self.kind(kind);
            }
        }
    }

    fn kind(&mut self, kind: &str) {
        if let Some(inner) = kind.strip_prefix('[') {
            let inner = &inner[..inner.len() - 1];
            let count = self.below(3);
            self.length(count, 4);
            for _ in 0..count {
                match inner.strip_prefix('{') {
                    Some(fields) => self.structure(&fields[..fields.len() - 1]),
                    None if is_bare(inner) => self.kind(inner),
                    None => self.structure(inner),
                }
            }
            return;
        }
        if let Some(inner) = kind.strip_prefix("?{") {
            let there = self.below(2) == 0;
            self.out.push(if there { 1 } else { 0xff });
            if there {
                self.structure(&inner[..inner.len() - 1]);
            }
            return;
        }
        match kind {
            "s" | "b" => {
                let length = self.below(5);
                self.length(length, if kind == "s" { 2 } else { 4 });
                for _ in 0..length {
                    let letter = b'a' + self.below(26) as u8;
                    self.out.push(letter);
                }
            }
            // Booleans must be 0 or 1 for some decoders; other numbers may be anything.
            "1" => {
                let bit = self.below(2) as u8;
                self.out.push(bit);
            }
            fixed => {
                for _ in 0..fixed.parse().unwrap() {
                    let byte = self.rng.next_u32() as u8;
                    self.out.push(byte);
                }
            }
        }
    }

    fn length(&mut self, length: u32, bytes: usize) {
        if self.flexible {
            millstream_protocol::varint::write_u64(&mut self.out, u64::from(length) + 1);
        } else {
            self.out.extend_from_slice(&length.to_be_bytes()[4 - bytes..]);
        }
    }

    fn structure(&mut self, fields: &str) {
        self.fields(fields);
        self.tags();
    }

    fn tags(&mut self) {
        if !self.flexible {
            return;
        }
        // A tag that nobody knows yet, now and then.
        if self.below(4) == 0 {
            self.out.extend_from_slice(&[1, 100, 3, 7, 7, 7]);
        } else {
            self.out.push(0);
        }
    }
}

fn write(shape: &str, version: i16, flexible: bool, rng: &mut TestRng) -> Vec<u8> {
    let mut writer = Writer { out: Vec::new(), version, flexible, rng };
    writer.fields(shape);
    writer.tags();
    writer.out
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
