//! The scripted cluster as coordinator: producer ids, transactions, offsets.

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::cluster::{Cluster, Told, body};

impl Cluster {
    /// Code of the next refusal of such a request, or 0.
    fn refusal(&mut self, key: ApiKey) -> i16 {
        match self.refusals.front() {
            Some((of, code)) if *of == key => {
                let code = *code;
                self.refusals.pop_front();
                code
            }
            _ => 0,
        }
    }

    pub(super) fn coordinate(&mut self, key: ApiKey, version: i16, mut bytes: Bytes) -> Bytes {
        let code = self.refusal(key);
        match key {
            ApiKey::FindCoordinator => {
                let request = FindCoordinatorRequest::decode(&mut bytes, version).unwrap();
                let host = StrBytes::from_static_str("b2");
                let response = FindCoordinatorResponse::default();
                let response = match version {
                    4.. => response.with_coordinators(vec![
                        Coordinator::default()
                            .with_key(request.coordinator_keys[0].clone())
                            .with_error_code(code)
                            .with_node_id(BrokerId(2))
                            .with_host(host)
                            .with_port(9002),
                    ]),
                    _ => response
                        .with_error_code(code)
                        .with_node_id(BrokerId(2))
                        .with_host(host)
                        .with_port(9002),
                };
                body::<FindCoordinatorRequest>(&response, version)
            }
            ApiKey::InitProducerId => {
                let request = InitProducerIdRequest::decode(&mut bytes, version).unwrap();
                let mut response = InitProducerIdResponse::default().with_error_code(code);
                if code == 0 {
                    // After the last epoch comes another id.
                    self.producer_id = match self.producer_id {
                        (id, i16::MAX) => (id + 1, 0),
                        (id, epoch) => (id, epoch + 1),
                    };
                    if request.transactional_id.is_some() {
                        self.told.push(Told::Init { epoch: request.producer_epoch });
                    }
                    response = response
                        .with_producer_id(ProducerId(self.producer_id.0))
                        .with_producer_epoch(self.producer_id.1);
                }
                body::<InitProducerIdRequest>(&response, version)
            }
            ApiKey::AddPartitionsToTxn => {
                let request = AddPartitionsToTxnRequest::decode(&mut bytes, version).unwrap();
                assert!(version <= 3, "version {version} is for brokers");
                let code = self.fenced(request.v3_and_below_producer_epoch, code);
                let topics = request.v3_and_below_topics;
                if code == 0 {
                    let all = topics.iter().flat_map(|topic| topic.partitions.clone());
                    self.told.push(Told::AddPartitions(all.collect()));
                }
                let topics = topics.into_iter().map(|topic| {
                    let results = topic.partitions.iter().map(|partition| {
                        AddPartitionsToTxnPartitionResult::default()
                            .with_partition_index(*partition)
                            .with_partition_error_code(code)
                    });
                    AddPartitionsToTxnTopicResult::default()
                        .with_name(topic.name.clone())
                        .with_results_by_partition(results.collect())
                });
                let response = AddPartitionsToTxnResponse::default()
                    .with_results_by_topic_v3_and_below(topics.collect());
                body::<AddPartitionsToTxnRequest>(&response, version)
            }
            ApiKey::AddOffsetsToTxn => {
                let request = AddOffsetsToTxnRequest::decode(&mut bytes, version).unwrap();
                let code = self.fenced(request.producer_epoch, code);
                if code == 0 {
                    self.told.push(Told::AddOffsets);
                }
                let response = AddOffsetsToTxnResponse::default().with_error_code(code);
                body::<AddOffsetsToTxnRequest>(&response, version)
            }
            ApiKey::TxnOffsetCommit => {
                let request = TxnOffsetCommitRequest::decode(&mut bytes, version).unwrap();
                let code = self.fenced(request.producer_epoch, code);
                let offsets = request.topics.iter().flat_map(|t| &t.partitions);
                let offsets = offsets.map(|p| p.committed_offset).collect();
                if code == 0 {
                    let generation = request.generation_id;
                    self.told.push(Told::CommitOffsets { generation, offsets });
                }
                let topics = request.topics.into_iter().map(|topic| {
                    let partitions = topic.partitions.iter().map(|partition| {
                        TxnOffsetCommitResponsePartition::default()
                            .with_partition_index(partition.partition_index)
                            .with_error_code(code)
                    });
                    TxnOffsetCommitResponseTopic::default()
                        .with_name(topic.name.clone())
                        .with_partitions(partitions.collect())
                });
                let response = TxnOffsetCommitResponse::default().with_topics(topics.collect());
                body::<TxnOffsetCommitRequest>(&response, version)
            }
            ApiKey::EndTxn => {
                let request = EndTxnRequest::decode(&mut bytes, version).unwrap();
                let code = self.fenced(request.producer_epoch, code);
                let mut response = EndTxnResponse::default().with_error_code(code);
                if code == 0 {
                    self.told.push(Told::End { committed: request.committed });
                    if version >= 5 {
                        self.producer_id.1 += 1;
                        response = response
                            .with_producer_id(ProducerId(self.producer_id.0))
                            .with_producer_epoch(self.producer_id.1);
                    }
                }
                body::<EndTxnRequest>(&response, version)
            }
            other => panic!("{other:?} was not expected"),
        }
    }

    /// PRODUCER_FENCED for an epoch that is not the latest.
    fn fenced(&self, epoch: i16, code: i16) -> i16 {
        match code {
            0 if epoch != self.producer_id.1 => 90,
            code => code,
        }
    }
}
