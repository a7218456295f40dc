//! Requests as clients encode them, answered by a broker on a disk in memory.

mod acls;
mod sasl;
mod scram_credentials;
mod sessions;
mod transactions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use millstream_protocol::{BatchIter, Compression, RecordBatchBuilder};
use millstream_types::{Clock, ManualClock};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::config::BrokerConfig;
use crate::disk::MemoryDisk;
use crate::group::Ticket;
use crate::random::Random;

const START_MS: i64 = 1_700_000_000_000;

/// Numbers that look random enough for ids.
struct Counting(u64);

impl Random for Counting {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill_with(|| (self.next_u64() >> 56) as u8);
    }
}

struct Bench {
    broker: Broker,
    clock: Arc<ManualClock>,
    disk: MemoryDisk,
}

fn open(disk: &MemoryDisk, clock: &Arc<ManualClock>, config: &BrokerConfig) -> Broker {
    Broker::open(
        config,
        &[SocketAddr::from(([127, 0, 0, 1], 9092))],
        Arc::new(disk.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        Box::new(Counting(disk.changes())),
        "boot",
    )
    .unwrap()
}

fn try_open(disk: &MemoryDisk, clock: &Arc<ManualClock>, boot_id: &str) -> std::io::Result<Broker> {
    Broker::open(
        &BrokerConfig::new("/data"),
        &[SocketAddr::from(([127, 0, 0, 1], 9092))],
        Arc::new(disk.clone()),
        Arc::clone(clock) as Arc<dyn Clock>,
        Box::new(Counting(disk.changes())),
        boot_id,
    )
}

impl Bench {
    fn new() -> Self {
        Self::with(BrokerConfig::new("/data"))
    }

    fn with(config: BrokerConfig) -> Self {
        let disk = MemoryDisk::default();
        let clock = Arc::new(ManualClock::new(START_MS));
        Self { broker: open(&disk, &clock, &config), clock, disk }
    }

    /// A broker that was killed and started again.
    fn crash(self) -> Self {
        let broker = open(&self.disk, &self.clock, &BrokerConfig::new("/data"));
        Self { broker, ..self }
    }

    /// A broker that is started on what a power loss has left.
    fn power_loss(self) -> Self {
        self.disk.power_loss();
        let broker = try_open(&self.disk, &self.clock, "next boot").unwrap();
        Self { broker, ..self }
    }

    fn frame<R: Request>(version: i16, request: &R) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_i16(R::KEY);
        frame.put_i16(version);
        frame.put_i32(77);
        frame.put_i16(4);
        frame.put_slice(b"test");
        if R::header_version(version) >= 2 {
            frame.put_u8(0);
        }
        request.encode(&mut frame, version).unwrap();
        frame.freeze()
    }

    fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<Reply, Malformed> {
        self.broker.handle(Self::frame(version, request), "127.0.0.1")
    }

    fn decode<R: Request>(version: i16, mut frame: Bytes) -> R::Response {
        assert!(!frame.is_empty(), "the answer to {} version {version} was not encoded", R::KEY);
        assert_eq!(frame.get_i32() as usize, frame.len());
        assert_eq!(frame.get_i32(), 77);
        if R::Response::header_version(version) >= 1 {
            assert_eq!(frame.get_u8(), 0);
        }
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty());
        response
    }

    /// A request that is answered at once.
    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        match self.send(version, request).unwrap() {
            Reply::Now(frame) => Self::decode::<R>(version, frame.into_bytes().unwrap()),
            Reply::Later(ticket) => {
                let frame = self.answer(ticket).expect("answered at once");
                Self::decode::<R>(version, frame)
            }
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Bytes> {
        let answers = self.broker.take_answers();
        answers
            .into_iter()
            .find(|(other, _)| *other == ticket)
            .map(|(_, frame)| frame.into_bytes().unwrap())
    }

    fn pass(&mut self, time: Duration) {
        let end = self.clock.monotonic() + time;
        while self.broker.next_deadline() <= end {
            let next = self.broker.next_deadline();
            self.clock.advance(next.saturating_sub(self.clock.monotonic()));
            self.broker.tick();
        }
        self.clock.advance(end - self.clock.monotonic());
    }

    fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let configs = configs
            .iter()
            .map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(text(*name))
                    .with_value(Some(text(*value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        self.ask(7, &request).topics[0].error_code
    }

    fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> (i16, i64) {
        let response = self.ask(9, &produce_request(topic, partition, records));
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    fn topic_id(&self, name: &str) -> Uuid {
        self.broker.topics.get(name).unwrap().id
    }
}

fn batch(count: i64, size: usize) -> Bytes {
    let mut builder = RecordBatchBuilder::new(Compression::None);
    for number in 0..count {
        builder.push(START_MS + number, None, Some(&vec![7; size]), []);
    }
    builder.finish(0).unwrap().into()
}

fn produce_request(topic: &str, partition: i32, records: Bytes) -> ProduceRequest {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    ProduceRequest::default().with_acks(-1).with_topic_data(vec![
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]),
    ])
}

fn fetch_request(version: i16, bench: &Bench, topic: &str, offset: i64) -> FetchRequest {
    use fetch_request::{FetchPartition, FetchTopic};
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let row = FetchTopic::default().with_partitions(vec![partition]);
    let row = match version {
        ..=12 => row.with_topic(topic_name(topic)),
        _ => row.with_topic_id(bench.topic_id(topic)),
    };
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_min_bytes(1)
        .with_max_wait_ms(30_000)
        .with_topics(vec![row])
}

fn record_count(records: Option<&Bytes>) -> i32 {
    BatchIter::new(records.unwrap()).map(|batch| batch.unwrap().header().record_count).sum()
}

/// Every version of every request gets an answer that the client's decoder takes. This is where
/// a field that a version cannot carry would show.
#[test]
fn every_version_of_every_request_is_answered() {
    let mut bench = Bench::new();
    assert_eq!(bench.create("t", 2, &[("retention.ms", "-1")]), 0);
    assert_eq!(bench.produce("t", 0, batch(3, 10)), (0, 0));
    let id = bench.topic_id("t");
    let names = ["t", "missing", "../x"].map(topic_name);
    let partitions = [0, 1, 9];
    let mut answered = Vec::new();
    macro_rules! each {
        ($key:ident, |$version:ident| $request:expr) => {
            let api = find(ApiKey::$key as i16).unwrap();
            for $version in api.min..=api.max {
                let request = $request;
                bench.ask($version, &request);
            }
            answered.push(api.key);
        };
    }
    each!(ApiVersions, |_version| ApiVersionsRequest::default()
        .with_client_software_name(text(if _version >= 3 { "test" } else { "" })));
    each!(Metadata, |version| {
        use metadata_request::MetadataRequestTopic;
        let mut topics: Vec<_> = names
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(name.clone())))
            .collect();
        if version >= 10 {
            // The name may be null from version 10 on.
            for id in [id, Uuid::from_u128(5)] {
                topics.push(MetadataRequestTopic::default().with_name(None).with_topic_id(id));
            }
        }
        MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(true)
            .with_include_topic_authorized_operations(version >= 8)
            .with_include_cluster_authorized_operations((8..=10).contains(&version))
    });
    each!(Metadata, |version| MetadataRequest::default().with_topics(if version == 0 {
        Some(vec![])
    } else {
        None
    }));
    each!(Produce, |version| {
        use produce_request::{PartitionProduceData, TopicProduceData};
        let data = partitions
            .iter()
            .map(|partition| {
                let records = if *partition == 1 { Bytes::from_static(b"x") } else { batch(1, 5) };
                PartitionProduceData::default().with_index(*partition).with_records(Some(records))
            })
            .collect::<Vec<_>>();
        let topics = names
            .iter()
            .enumerate()
            .map(|(number, name)| {
                let row = TopicProduceData::default().with_partition_data(data.clone());
                match version {
                    13 if number == 0 => row.with_topic_id(id),
                    13 => row.with_topic_id(Uuid::from_u128(6)),
                    _ => row.with_name(name.clone()),
                }
            })
            .collect();
        ProduceRequest::default().with_acks(1).with_topic_data(topics)
    });
    each!(Fetch, |version| {
        use fetch_request::{FetchPartition, FetchTopic};
        let rows = partitions
            .iter()
            .map(|partition| {
                FetchPartition::default()
                    .with_partition(*partition)
                    .with_partition_max_bytes(1000)
                    .with_fetch_offset(i64::from(*partition) * 5)
            })
            .collect::<Vec<_>>();
        let topics = names
            .iter()
            .map(|name| {
                let row = FetchTopic::default().with_partitions(rows.clone());
                match version {
                    13.. => row.with_topic_id(id),
                    _ => row.with_topic(name.clone()),
                }
            })
            .collect();
        FetchRequest::default().with_max_bytes(5000).with_isolation_level(1).with_topics(topics)
    });
    each!(ListOffsets, |_version| {
        use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let rows = partitions
            .iter()
            .flat_map(|partition| {
                (-7..=1).map(|timestamp| {
                    ListOffsetsPartition::default()
                        .with_partition_index(*partition)
                        .with_timestamp(timestamp)
                })
            })
            .collect::<Vec<_>>();
        let topics = names
            .iter()
            .map(|name| {
                ListOffsetsTopic::default().with_name(name.clone()).with_partitions(rows.clone())
            })
            .collect();
        ListOffsetsRequest::default().with_topics(topics)
    });
    each!(OffsetForLeaderEpoch, |_version| {
        use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
        let rows = [0, 1]
            .map(|epoch| OffsetForLeaderPartition::default().with_leader_epoch(epoch))
            .to_vec();
        let topics = names
            .iter()
            .map(|name| {
                OffsetForLeaderTopic::default()
                    .with_topic(name.clone())
                    .with_partitions(rows.clone())
            })
            .collect();
        OffsetForLeaderEpochRequest::default().with_topics(topics)
    });
    for key_type in [0, 1] {
        each!(FindCoordinator, |version| {
            let request = FindCoordinatorRequest::default();
            let request = if version >= 1 { request.with_key_type(key_type) } else { request };
            match version {
                4.. => request.with_coordinator_keys(vec![text("g"), text("h")]),
                _ => request.with_key(text("g")),
            }
        });
    }
    let mut joined = None;
    for member in ["", "nobody"] {
        each!(JoinGroup, |version| {
            let protocol =
                join_group_request::JoinGroupRequestProtocol::default().with_name(text("range"));
            let request = JoinGroupRequest::default()
                .with_group_id(text(format!("g{version}")).into())
                .with_member_id(text(member))
                .with_session_timeout_ms(10_000)
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol]);
            joined = Some(version);
            if version >= 1 { request.with_rebalance_timeout_ms(10_000) } else { request }
        });
    }
    assert_eq!(joined, Some(9));
    let group = || GroupId(text("g0"));
    let member = bench.broker.coordinator.group("g0").unwrap().members()[0].id.clone();
    for id in [member.as_str(), "nobody"] {
        each!(SyncGroup, |_version| SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(1)
            .with_member_id(text(id)));
        each!(Heartbeat, |_version| HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(1)
            .with_member_id(text(id)));
    }
    each!(OffsetCommit, |version| {
        use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
        let rows = partitions
            .iter()
            .map(|partition| {
                OffsetCommitRequestPartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(i64::from(version))
                    .with_committed_metadata(Some(text("note")))
            })
            .collect::<Vec<_>>();
        let topics = names
            .iter()
            .map(|name| {
                OffsetCommitRequestTopic::default()
                    .with_name(name.clone())
                    .with_partitions(rows.clone())
            })
            .collect();
        OffsetCommitRequest::default()
            .with_group_id(text("offsets").into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics)
    });
    each!(OffsetFetch, |version| {
        use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
        match version {
            8.. => OffsetFetchRequest::default().with_groups(vec![
                OffsetFetchRequestGroup::default()
                    .with_group_id(text("offsets").into())
                    .with_topics(None),
            ]),
            _ => OffsetFetchRequest::default().with_group_id(text("offsets").into()).with_topics(
                Some(
                    names
                        .iter()
                        .map(|name| {
                            OffsetFetchRequestTopic::default()
                                .with_name(name.clone())
                                .with_partition_indexes(partitions.to_vec())
                        })
                        .collect(),
                ),
            ),
        }
    });
    each!(ListGroups, |_version| ListGroupsRequest::default());
    each!(DescribeGroups, |version| DescribeGroupsRequest::default()
        .with_groups(vec![group(), text("missing").into()])
        .with_include_authorized_operations(version >= 3));
    each!(OffsetDelete, |_version| {
        use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
        OffsetDeleteRequest::default().with_group_id(text("offsets").into()).with_topics(vec![
            OffsetDeleteRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![
                OffsetDeleteRequestPartition::default().with_partition_index(0),
            ]),
        ])
    });
    each!(LeaveGroup, |version| {
        let request = LeaveGroupRequest::default().with_group_id(group());
        match version {
            3.. => request.with_members(vec![
                leave_group_request::MemberIdentity::default().with_member_id(text(&member)),
            ]),
            _ => request.with_member_id(text("nobody")),
        }
    });
    each!(DeleteGroups, |_version| DeleteGroupsRequest::default()
        .with_groups_names(vec![text("offsets").into(), group()]));
    each!(CreateTopics, |version| {
        let row = CreatableTopic::default().with_num_partitions(1).with_replication_factor(1);
        let new = row.clone().with_name(topic_name(&format!("new{version}")));
        let bad = row.clone().with_name(topic_name("a/b"));
        let three = row.with_name(topic_name("three")).with_replication_factor(3);
        CreateTopicsRequest::default().with_topics(vec![new, bad, three])
    });
    each!(CreatePartitions, |version| {
        use create_partitions_request::CreatePartitionsTopic;
        let row = |name: &str| {
            CreatePartitionsTopic::default()
                .with_name(topic_name(name))
                .with_count(10 + i32::from(version))
                .with_assignments(None)
        };
        CreatePartitionsRequest::default().with_topics(vec![row("t"), row("missing")])
    });
    each!(DeleteRecords, |_version| {
        use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
        let rows = partitions
            .iter()
            .map(|partition| DeleteRecordsPartition::default().with_partition_index(*partition))
            .collect::<Vec<_>>();
        DeleteRecordsRequest::default().with_topics(vec![
            DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(rows),
        ])
    });
    let resources = [(2, "t"), (2, "missing"), (4, "1"), (4, ""), (4, "7"), (8, "1"), (32, "g")];
    each!(DescribeConfigs, |version| {
        let rows = resources
            .iter()
            .map(|(kind, name)| {
                describe_configs_request::DescribeConfigsResource::default()
                    .with_resource_type(*kind)
                    .with_resource_name(text(*name))
                    .with_configuration_keys(None)
            })
            .collect();
        DescribeConfigsRequest::default()
            .with_resources(rows)
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3)
    });
    each!(AlterConfigs, |_version| {
        let rows = resources
            .iter()
            .map(|(kind, name)| {
                alter_configs_request::AlterConfigsResource::default()
                    .with_resource_type(*kind)
                    .with_resource_name(text(*name))
            })
            .collect();
        AlterConfigsRequest::default().with_resources(rows)
    });
    each!(IncrementalAlterConfigs, |_version| {
        let rows = resources
            .iter()
            .map(|(kind, name)| {
                incremental_alter_configs_request::AlterConfigsResource::default()
                    .with_resource_type(*kind)
                    .with_resource_name(text(*name))
            })
            .collect();
        IncrementalAlterConfigsRequest::default().with_resources(rows)
    });
    each!(InitProducerId, |_version| InitProducerIdRequest::default().with_transactional_id(None));
    each!(InitProducerId, |version| InitProducerIdRequest::default()
        .with_transactional_id(Some(text("tx").into()))
        .with_transaction_timeout_ms(if version == 0 { 0 } else { 60_000 }));
    let caller = bench.broker.transactions.get("tx").unwrap().clone();
    each!(AddPartitionsToTxn, |version| {
        use add_partitions_to_txn_request::{
            AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
        };
        let topics: Vec<_> = names
            .iter()
            .take(if version % 2 == 0 { 1 } else { 3 })
            .map(|name| {
                let row = AddPartitionsToTxnTopic::default().with_name(name.clone());
                row.with_partitions(vec![0, 1])
            })
            .collect();
        match version {
            4.. => AddPartitionsToTxnRequest::default().with_transactions(
                [true, false]
                    .map(|only| {
                        AddPartitionsToTxnTransaction::default()
                            .with_transactional_id(text("tx").into())
                            .with_producer_id(ProducerId(caller.producer_id))
                            .with_producer_epoch(caller.epoch)
                            .with_verify_only(only)
                            .with_topics(topics.clone())
                    })
                    .to_vec(),
            ),
            _ => AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(text("tx").into())
                .with_v3_and_below_producer_id(ProducerId(caller.producer_id))
                .with_v3_and_below_producer_epoch(caller.epoch)
                .with_v3_and_below_topics(topics),
        }
    });
    for (id, epoch) in [("tx", caller.epoch), ("tx", caller.epoch - 1), ("missing", 0)] {
        each!(AddOffsetsToTxn, |_version| AddOffsetsToTxnRequest::default()
            .with_transactional_id(text(id).into())
            .with_producer_id(ProducerId(caller.producer_id))
            .with_producer_epoch(epoch)
            .with_group_id(text("offsets").into()));
        each!(TxnOffsetCommit, |_version| {
            use txn_offset_commit_request::{
                TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
            };
            let rows = partitions
                .map(|partition| {
                    TxnOffsetCommitRequestPartition::default().with_partition_index(partition)
                })
                .to_vec();
            let topics = names
                .iter()
                .map(|name| {
                    TxnOffsetCommitRequestTopic::default()
                        .with_name(name.clone())
                        .with_partitions(rows.clone())
                })
                .collect();
            TxnOffsetCommitRequest::default()
                .with_transactional_id(text(id).into())
                .with_producer_id(ProducerId(caller.producer_id))
                .with_producer_epoch(epoch)
                .with_group_id(text("offsets").into())
                .with_generation_id(-1)
                .with_topics(topics)
        });
        each!(EndTxn, |version| EndTxnRequest::default()
            .with_transactional_id(text(id).into())
            .with_producer_id(ProducerId(caller.producer_id))
            .with_producer_epoch(epoch)
            .with_committed(version < 5));
    }
    each!(WriteTxnMarkers, |_version| {
        use write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
        let topics = names
            .iter()
            .map(|name| {
                WritableTxnMarkerTopic::default()
                    .with_name(name.clone())
                    .with_partition_indexes(partitions.to_vec())
            })
            .collect();
        let marker = WritableTxnMarker::default().with_producer_id(ProducerId(5));
        WriteTxnMarkersRequest::default().with_markers(vec![marker.with_topics(topics)])
    });
    each!(DescribeTransactions, |_version| DescribeTransactionsRequest::default()
        .with_transactional_ids(["tx", "missing", ""].map(|id| text(id).into()).to_vec()));
    each!(ListTransactions, |version| {
        let request = ListTransactionsRequest::default().with_state_filters(vec![text("Nonsense")]);
        if version >= 1 { request.with_duration_filter(5) } else { request }
    });
    each!(ConsumerGroupHeartbeat, |version| {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(text("consumers").into())
            .with_member_id(text("m"))
            .with_rebalance_timeout_ms(1000)
            .with_subscribed_topic_names(Some(names.to_vec()))
            .with_topic_partitions(Some(vec![]));
        match version {
            1.. => request.with_subscribed_topic_regex(Some(text("t.*"))),
            _ => request,
        }
    });
    each!(ConsumerGroupDescribe, |_version| ConsumerGroupDescribeRequest::default()
        .with_group_ids(["consumers", "missing", ""].map(|id| text(id).into()).to_vec()));
    each!(DescribeCluster, |_version| DescribeClusterRequest::default());
    each!(DescribeLogDirs, |_version| DescribeLogDirsRequest::default().with_topics(None));
    each!(DescribeProducers, |_version| {
        let row = describe_producers_request::TopicRequest::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(partitions.to_vec());
        DescribeProducersRequest::default().with_topics(vec![row])
    });
    each!(DescribeTopicPartitions, |_version| {
        let rows = names
            .iter()
            .map(|name| {
                describe_topic_partitions_request::TopicRequest::default().with_name(name.clone())
            })
            .collect();
        DescribeTopicPartitionsRequest::default().with_topics(rows).with_response_partition_limit(3)
    });
    each!(ListPartitionReassignments, |_version| ListPartitionReassignmentsRequest::default());
    each!(DeleteTopics, |version| {
        let name = topic_name(&format!("new{}", version + 1));
        match version {
            6.. => DeleteTopicsRequest::default().with_topics(vec![
                delete_topics_request::DeleteTopicState::default()
                    .with_name(None)
                    .with_topic_id(id),
                delete_topics_request::DeleteTopicState::default().with_name(Some(name)),
            ]),
            _ => DeleteTopicsRequest::default().with_topic_names(vec![name, topic_name("no")]),
        }
    });
    each!(SaslHandshake, |_version| SaslHandshakeRequest::default().with_mechanism(text("PLAIN")));
    each!(SaslAuthenticate, |_version| SaslAuthenticateRequest::default());
    each!(DescribeAcls, |_version| DescribeAclsRequest::default());
    each!(CreateAcls, |_version| {
        let rule = create_acls_request::AclCreation::default();
        CreateAclsRequest::default().with_creations(vec![rule])
    });
    each!(DeleteAcls, |_version| {
        let filter = delete_acls_request::DeleteAclsFilter::default();
        DeleteAclsRequest::default().with_filters(vec![filter])
    });
    each!(DescribeClientQuotas, |_version| DescribeClientQuotasRequest::default());
    each!(DescribeUserScramCredentials, |_version| {
        DescribeUserScramCredentialsRequest::default()
    });
    each!(AlterUserScramCredentials, |_version| {
        let change = alter_user_scram_credentials_request::ScramCredentialDeletion::default();
        AlterUserScramCredentialsRequest::default().with_deletions(vec![change])
    });
    for api in TABLE {
        assert!(answered.contains(&api.key), "{:?} is not in this test", api.key);
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut bench = Bench::new();
    let mut frame = BytesMut::new();
    frame.put_slice(&[0, 18, 0, 99, 0, 0, 0, 77, 0xff, 0xff, 0, 5, 5, 5]);
    let Reply::Now(answer) = bench.broker.handle(frame.freeze(), "x").unwrap() else { panic!() };
    let response = Bench::decode::<ApiVersionsRequest>(0, answer.into_bytes().unwrap());
    assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
    assert_eq!((response.api_keys[0].api_key, response.api_keys[0].max_version), (18, 4));
    let mut unknown = Bytes::from_static(&[0, 99, 0, 0, 0, 0, 0, 1]);
    let error = bench.broker.handle(unknown.clone(), "x").unwrap_err();
    assert_eq!(error, Malformed::UnknownApi(99));
    unknown.truncate(7);
    assert_eq!(bench.broker.handle(unknown, "x").unwrap_err(), Malformed::Cut);
}

#[test]
fn a_waiting_fetch_is_woken_by_enough_bytes_and_not_before() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let one = batch(1, 100);
    let request = fetch_request(12, &bench, "t", 0).with_min_bytes(one.len() as i32 * 2);
    let Reply::Later(ticket) = bench.send(12, &request).unwrap() else { panic!("not parked") };
    bench.produce("t", 0, one.clone());
    assert!(bench.answer(ticket).is_none(), "one batch is not enough");
    bench.produce("t", 0, one);
    let frame = bench.answer(ticket).expect("the second append wakes it");
    let response = Bench::decode::<FetchRequest>(12, frame);
    assert_eq!(record_count(response.responses[0].partitions[0].records.as_ref()), 2);
}

#[test]
fn a_waiting_fetch_gets_what_is_there_at_its_deadline() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let request = fetch_request(12, &bench, "t", 0).with_min_bytes(10_000);
    let Reply::Later(ticket) = bench.send(12, &request).unwrap() else { panic!("not parked") };
    bench.produce("t", 0, batch(1, 100));
    bench.pass(Duration::from_millis(29_999));
    assert!(bench.answer(ticket).is_none());
    bench.pass(Duration::from_millis(1));
    let response = Bench::decode::<FetchRequest>(12, bench.answer(ticket).unwrap());
    assert_eq!(record_count(response.responses[0].partitions[0].records.as_ref()), 1);
    let Reply::Later(ticket) = bench.send(12, &request).unwrap() else { panic!("not parked") };
    bench.broker.cancel(ticket);
    bench.pass(Duration::from_secs(60));
    assert!(bench.answer(ticket).is_none(), "whoever sent it is gone");
}

#[test]
fn a_waiting_fetch_learns_that_its_topic_was_deleted() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    let request = fetch_request(13, &bench, "t", 0);
    let Reply::Later(ticket) = bench.send(13, &request).unwrap() else { panic!("not parked") };
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    bench.ask(5, &delete);
    let response = Bench::decode::<FetchRequest>(13, bench.answer(ticket).unwrap());
    let code = response.responses[0].partitions[0].error_code;
    assert_eq!(code, ResponseError::UnknownTopicId.code());
}

#[test]
fn names_and_settings_of_topics_are_checked() {
    let mut bench = Bench::new();
    let invalid = ResponseError::InvalidTopicException.code();
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "../../etc", "a b", "ä", "a\0b", long.as_str()] {
        assert_eq!(bench.create(name, 1, &[]), invalid, "{name:?}");
    }
    assert_eq!(bench.create(&"x".repeat(249), 1, &[]), 0);
    assert_eq!(bench.create("a.b", 1, &[]), 0);
    assert_eq!(bench.create("a.b", 1, &[]), ResponseError::TopicAlreadyExists.code());
    assert_eq!(bench.create("a_b", 1, &[]), invalid, "collides with a.b");
    assert_eq!(bench.create("p", 0, &[]), ResponseError::InvalidPartitions.code());
    assert_eq!(bench.create("p", i32::MAX, &[]), ResponseError::InvalidPartitions.code());
    let config = ResponseError::InvalidConfig.code();
    assert_eq!(bench.create("p", 1, &[("retention.msec", "1")]), config);
    assert_eq!(bench.create("p", 1, &[("retention.ms", "soon")]), config);
    assert_eq!(bench.create("p", 1, &[("cleanup.policy", "compact,delete")]), 0);
    for (path, _) in bench.disk.files() {
        assert!(path.starts_with("/data"), "{}", path.display());
    }
}

#[test]
fn everything_that_was_acknowledged_is_there_after_a_crash() {
    let mut bench = Bench::new();
    bench.create("t", 2, &[("retention.ms", "-1")]);
    bench.produce("t", 1, batch(5, 10));
    let id = bench.topic_id("t");
    let change = alter_configs::Change {
        name: "max.message.bytes".into(),
        operation: crate::settings::Operation::Set,
        value: Some("2000".into()),
    };
    alter_configs::alter(
        &mut bench.broker,
        describe_configs::TOPIC,
        "t",
        vec![change],
        false,
        false,
    )
    .unwrap();
    let committed = crate::coordinator::Committed {
        offset: 4,
        leader_epoch: 0,
        at_ms: START_MS,
        metadata: Some("m".into()),
    };
    bench.broker.coordinator.commit("g", vec![("t".into(), 1, committed.clone())]).unwrap();
    let Broker { topics, meta, .. } = &mut bench.broker;
    topics.delete_records(meta, "t", 1, 2).unwrap();
    let producer = bench.broker.new_producer_id().unwrap();
    let cluster = bench.broker.cluster_id.clone();

    let mut bench = bench.crash();
    assert_eq!(bench.topic_id("t"), id);
    let topic = bench.broker.topics.get("t").unwrap();
    assert_eq!(topic.own["retention.ms"], "-1");
    assert_eq!(topic.config.max_message_bytes, 2000);
    let log = topic.log(1).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (2, 5));
    assert_eq!(bench.broker.coordinator.committed("g", "t", 1), Some(committed));
    assert!(bench.broker.new_producer_id().unwrap() > producer);
    assert_eq!(bench.broker.cluster_id, cluster);

    let delete = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]);
    assert_eq!(bench.ask(5, &delete).responses[0].error_code, 0);
    assert_eq!(bench.broker.coordinator.committed("g", "t", 1), None);
    assert!(!bench.disk.files().iter().any(|(path, _)| path.starts_with("/data/topics")));
    let bench = bench.crash();
    assert!(bench.broker.topics.get("t").is_none());
}

#[test]
fn a_failing_disk_is_an_error_and_not_a_lie() {
    let mut bench = Bench::new();
    bench.create("t", 1, &[]);
    bench.produce("t", 0, batch(1, 10));
    bench.disk.fail_from(1, 20);
    let storage = ResponseError::KafkaStorageError.code();
    assert_eq!(bench.produce("t", 0, batch(1, 10)).0, storage);
    assert_eq!(bench.create("u", 1, &[]), storage);
    bench.disk.heal();
    assert_eq!(bench.produce("t", 0, batch(1, 10)), (0, 1));
    assert!(bench.broker.topics.get("u").is_none());
    let bench = bench.crash();
    assert_eq!(bench.broker.topics.get("t").unwrap().log(0).unwrap().end_offset(), 2);
}

#[test]
fn retention_runs_by_the_clock() {
    let config = BrokerConfig::new("/data").setting("log.retention.check.interval.ms", "1000");
    let mut bench = Bench::with(config);
    bench.create("t", 1, &[("retention.ms", "60000")]);
    bench.produce("t", 0, batch(5, 10));
    bench.pass(Duration::from_secs(59));
    assert_eq!(bench.broker.topics.get("t").unwrap().log(0).unwrap().start_offset(), 0);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.broker.topics.get("t").unwrap().log(0).unwrap().start_offset(), 5);
}

#[test]
fn the_flush_settings_wait_for_the_medium() {
    let mut bench = Bench::new();
    bench.create("never", 1, &[]);
    bench.create("each", 1, &[("flush.messages", "1")]);
    bench.create("soon", 1, &[("flush.ms", "500")]);
    let before = bench.disk.syncs();
    bench.produce("never", 0, batch(5, 10));
    assert_eq!(bench.disk.syncs(), before);
    bench.produce("each", 0, batch(1, 10));
    assert_eq!(bench.disk.syncs(), before + 1);
    bench.produce("soon", 0, batch(1, 10));
    assert_eq!(bench.disk.syncs(), before + 1);
    bench.pass(Duration::from_millis(1000));
    assert_eq!(bench.disk.syncs(), before + 2);
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.disk.syncs(), before + 2, "nothing new, nothing to wait for");
}

#[test]
fn old_groups_are_forgotten_with_their_offsets() {
    let mut bench =
        Bench::with(BrokerConfig::new("/data").setting("offsets.retention.minutes", "60"));
    bench.create("t", 1, &[]);
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let row = OffsetCommitRequestPartition::default().with_committed_offset(0);
    let request = OffsetCommitRequest::default()
        .with_group_id(text("g").into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![row]),
        ]);
    assert_eq!(bench.ask(8, &request).topics[0].partitions[0].error_code, 0);
    bench.pass(Duration::from_secs(55 * 60));
    assert!(bench.broker.coordinator.group("g").is_some());
    bench.pass(Duration::from_secs(15 * 60));
    assert!(bench.broker.coordinator.group("g").is_none());
    assert!(bench.broker.coordinator.all_committed("g").is_empty());
}

#[test]
fn secrets_are_not_shown() {
    let bench = Bench::with(BrokerConfig::new("/data").setting("ssl.key.password", "hunter2"));
    let mut bench = bench;
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text("1"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    let response = bench.ask(4, &request);
    assert_eq!(response.results[0].configs.len(), 340);
    let shown = format!("{response:?}");
    assert!(shown.contains("ssl.key.password") && !shown.contains("hunter2"));
}

#[test]
fn base64_is_kafkas_form_of_an_id() {
    let id = Uuid::parse_str("00010203-0405-0607-0809-0a0b0c0d0e0f").unwrap();
    assert_eq!(base64(id.as_bytes()), "AAECAwQFBgcICQoLDA0ODw");
    assert_eq!(base64(&[0xff, 0xfe]), "__4");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any bytes in a frame: an answer or an error, and the broker goes on.
    #[test]
    fn any_frame_is_survived(
        key in (0..TABLE.len()).prop_map(|at| TABLE[at].key as i16),
        version in 0i16..14,
        body in proptest::collection::vec(
            prop_oneof![Just(0u8), Just(1), Just(2), Just(0xff), any::<u8>()], 0..60),
    ) {
        thread_local! {
            static BENCH: std::cell::RefCell<Option<Bench>> = const { std::cell::RefCell::new(None) };
        }
        BENCH.with_borrow_mut(|bench| {
            let bench = bench.get_or_insert_with(|| {
                let mut bench = Bench::new();
                bench.create("t", 1, &[]);
                bench
            });
            let mut frame = BytesMut::new();
            frame.put_i16(key);
            frame.put_i16(version);
            frame.put_slice(&[0, 0, 0, 9, 0xff, 0xff]);
            frame.put_slice(&body);
            let _ = bench.broker.handle(frame.freeze(), "x");
            bench.broker.take_answers();
        });
    }
}

mod bounds;
mod compaction;
mod configs;
mod consumer_groups;
mod durability;
mod groups;
mod records;
