//! The requests this broker serves: one module each, and the table below.
//!
//! To add one: write its module, add a line to [`TABLE`] with its versions and its
//! [shape](crate::wire::shape), have it ask for the rights that Kafka asks for
//! (`broker.allow(..)`, and a row in `tests/acls.rs`), and strike it from `NOT_IMPLEMENTED.md`. ApiVersions, which
//! clients ask first, answers from the table.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod alter_configs;
pub(crate) mod alter_user_scram_credentials;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_acls;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_acls;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_acls;
pub(crate) mod describe_client_quotas;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod describe_user_scram_credentials;
pub(crate) mod end_txn;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sasl_authenticate;
pub(crate) mod sasl_handshake;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;
pub(crate) mod write_txn_markers;

use std::collections::HashSet;
use std::hash::Hash;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::broker::{Broker, Context, NODE_ID, Reply};
use crate::log::LEADER_EPOCH;
use crate::wire::{self, Malformed, shape};

/// A request that is served.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
    pub(crate) shape: &'static str,
    handle: fn(&mut Broker, &Context, Bytes) -> Result<Reply, Malformed>,
}

macro_rules! api {
    ($key:ident, $min:literal..=$max:literal, $shape:literal, $module:ident) => {
        Api {
            key: ApiKey::$key,
            min: $min,
            max: $max,
            shape: $shape,
            handle: |broker, context, body| {
                Ok($module::handle(broker, context, decode(body, context.version)?))
            },
        }
    };
}

/// Every request that is served, with its versions and the shape of its fields.
#[rustfmt::skip]
pub(crate) static TABLE: &[Api] = &[
    api!(Produce, 3..=13, "s 2 4 [s@3..12 16@13.. [4 b]]", produce),
    api!(Fetch, 4..=16, "4@4..14 4 4 4 1 4@7.. 4@7.. [s@4..12 16@13.. [4 4@9.. 8 4@12.. 8@5.. 4]] [s@7..12 16@13.. [4]]@7.. s@11..", fetch),
    api!(ListOffsets, 1..=10, "4 1@2.. [s [4 4@4.. 8]] 4@10..", list_offsets),
    api!(Metadata, 0..=13, "[16@10.. s] 1@4.. 1@8..10 1@8..", metadata),
    api!(OffsetCommit, 2..=9, "s 4 s s@7.. 8@2..4 [s [4 8 4@6.. s]]", offset_commit),
    api!(OffsetFetch, 1..=9, "s@1..7 [s [4]]@1..7 [s s@9.. 4@9.. [s [4]]]@8.. 1@7..", offset_fetch),
    api!(FindCoordinator, 0..=6, "s@0..3 1@1.. [s]@4..", find_coordinator),
    api!(JoinGroup, 0..=9, "s 4 4@1.. s s@5.. s [s b] s@8..", join_group),
    api!(Heartbeat, 0..=4, "s 4 s s@3..", heartbeat),
    api!(LeaveGroup, 0..=5, "s s@0..2 [s s s@5..]@3..", leave_group),
    api!(SyncGroup, 0..=5, "s 4 s s@3.. s@5.. s@5.. [s b]", sync_group),
    api!(DescribeGroups, 0..=6, "[s] 1@3..", describe_groups),
    api!(ListGroups, 0..=5, "[s]@4.. [s]@5..", list_groups),
    api!(SaslHandshake, 0..=1, "s", sasl_handshake),
    api!(ApiVersions, 0..=4, "s@3.. s@3..", api_versions),
    api!(CreateTopics, 2..=7, "[s 4 2 [4 [4]] [s s]] 4 1", create_topics),
    api!(DeleteTopics, 1..=6, "[s 16]@6.. [s]@1..5 4", delete_topics),
    api!(DeleteRecords, 0..=2, "[s [4 8]] 4", delete_records),
    api!(InitProducerId, 0..=5, "s 4 8@3.. 2@3..", init_producer_id),
    api!(OffsetForLeaderEpoch, 2..=4, "4@3.. [s [4 4 4]]", offset_for_leader_epoch),
    api!(AddPartitionsToTxn, 0..=5, "s@0..3 8@0..3 2@0..3 [s [4]]@0..3 [s 8 2 1 [s [4]]]@4..", add_partitions_to_txn),
    api!(AddOffsetsToTxn, 0..=4, "s 8 2 s", add_offsets_to_txn),
    api!(EndTxn, 0..=5, "s 8 2 1", end_txn),
    api!(WriteTxnMarkers, 1..=1, "[8 2 1 [s [4]] 4]", write_txn_markers),
    api!(TxnOffsetCommit, 0..=5, "s s 8 2 4@3.. s@3.. s@3.. [s [4 8 4@2.. s]]", txn_offset_commit),
    api!(DescribeAcls, 1..=3, "1 s 1 s s 1 1", describe_acls),
    api!(CreateAcls, 1..=3, "[1 s 1 s s 1 1]", create_acls),
    api!(DeleteAcls, 1..=3, "[1 s 1 s s 1 1]", delete_acls),
    api!(DescribeConfigs, 1..=4, "[1 s [s]] 1 1@3..", describe_configs),
    api!(AlterConfigs, 0..=2, "[1 s [s s]] 1", alter_configs),
    api!(DescribeLogDirs, 1..=4, "[s [4]]", describe_log_dirs),
    api!(SaslAuthenticate, 0..=2, "b", sasl_authenticate),
    api!(CreatePartitions, 0..=3, "[s 4 [{[4]}]] 4 1", create_partitions),
    api!(DeleteGroups, 0..=2, "[s]", delete_groups),
    api!(IncrementalAlterConfigs, 0..=1, "[1 s [s 1 s]] 1", incremental_alter_configs),
    api!(ListPartitionReassignments, 0..=0, "4 [s [4]]", list_partition_reassignments),
    api!(OffsetDelete, 0..=0, "s [s [{4}]]", offset_delete),
    api!(DescribeClientQuotas, 0..=1, "[s 1 s] 1", describe_client_quotas),
    api!(DescribeUserScramCredentials, 0..=0, "[{s}]", describe_user_scram_credentials),
    api!(AlterUserScramCredentials, 0..=0, "[s 1] [s 1 4 b b]", alter_user_scram_credentials),
    api!(DescribeCluster, 0..=2, "1 1@1.. 1@2..", describe_cluster),
    api!(DescribeProducers, 0..=0, "[s [4]]", describe_producers),
    api!(DescribeTransactions, 0..=0, "[s]", describe_transactions),
    api!(ListTransactions, 0..=2, "[s] [8] 8@1.. s@2..", list_transactions),
    api!(ConsumerGroupHeartbeat, 0..=1, "s s 4 s s 4 [s] s@1.. s [16 [4]]", consumer_group_heartbeat),
    api!(ConsumerGroupDescribe, 0..=1, "[s] 1", consumer_group_describe),
    api!(DescribeTopicPartitions, 0..=0, "[{s}] 4 ?{s 4}", describe_topic_partitions),
];

/// The row of a request.
pub(crate) fn find(key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key as i16 == key)
}

/// Checks a request against its shape, decodes and handles it.
pub(crate) fn dispatch(
    broker: &mut Broker,
    key: i16,
    context: &Context,
    body: Bytes,
) -> Result<Reply, Malformed> {
    let checked = check(key, context, &body);
    if let Err(Malformed::UnknownVersion { api: ApiKey::ApiVersions, .. }) = checked {
        // Clients ask in their newest version first and must learn what to ask instead.
        return Ok(api_versions::unsupported(context));
    }
    (checked?.handle)(broker, context, body)
}

/// Checks a request against its shape and decodes it, for those who handle it themselves.
pub(crate) fn decode_checked<R: Decodable>(
    key: i16,
    context: &Context,
    body: Bytes,
) -> Result<R, Malformed> {
    check(key, context, &body)?;
    decode(body, context.version)
}

fn check(key: i16, context: &Context, body: &[u8]) -> Result<&'static Api, Malformed> {
    let api = find(key).ok_or(Malformed::UnknownApi(key))?;
    let version = context.version;
    if !(api.min..=api.max).contains(&version) {
        return Err(Malformed::UnknownVersion { api: api.key, version });
    }
    shape::check(api.shape, version, wire::is_flexible(api.key, version), body)?;
    Ok(api)
}

fn decode<R: Decodable>(mut body: Bytes, version: i16) -> Result<R, Malformed> {
    R::decode(&mut body, version).map_err(|error| Malformed::Codec(error.to_string()))
}

impl Context {
    /// Encodes a response as the answer to this request.
    pub(crate) fn frame<R: Encodable + HeaderVersion>(&self, response: &R) -> Bytes {
        wire::encode(response, self.version, self.correlation_id)
    }

    /// The same, as a reply.
    pub(crate) fn reply<R: Encodable + HeaderVersion>(&self, response: &R) -> Reply {
        Reply::Now(self.frame(response).into())
    }
}

/// Things that one request may ask to have described with all their settings.
pub(crate) const DESCRIBED_MAX: usize = 5_000;

/// Leaves the first of each. A request may name a thing some hundred thousand times, and what is
/// said about it is far larger than its name: the answers together would not fit into memory.
pub(crate) fn distinct<T, K: Eq + Hash>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = HashSet::with_capacity(items.len());
    items.retain(|item| seen.insert(key(item)));
}

/// A protocol string.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A topic's name for the protocol.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// This broker, as the protocol names it.
pub(crate) const NODE: BrokerId = BrokerId(NODE_ID);

/// The protocol's code of an outcome; 0 is success.
pub(crate) fn code_of(result: Result<(), ResponseError>) -> i16 {
    result.err().map_or(0, |code| code.code())
}

/// The code for a transactional producer that was replaced: old versions of a request do not know
/// the one that says so (KIP-588).
pub(crate) fn fenced_code(code: ResponseError, tells_fenced: bool) -> ResponseError {
    match code {
        ResponseError::ProducerFenced if !tells_fenced => ResponseError::InvalidProducerEpoch,
        code => code,
    }
}

/// Compares the leader epoch a client knows (-1: none) with ours, which never changes (KIP-320).
pub(crate) fn check_leader_epoch(current: i32) -> Result<(), ResponseError> {
    match current {
        -1 => Ok(()),
        epoch if epoch > LEADER_EPOCH => Err(ResponseError::UnknownLeaderEpoch),
        epoch if epoch < LEADER_EPOCH => Err(ResponseError::FencedLeaderEpoch),
        _ => Ok(()),
    }
}

/// "May do everything", as the bits of the operations that exist for a kind of resource (KIP-430):
/// what is told where there is no access control.
pub(crate) mod operations {
    /// Read, write, create, delete, alter, describe, describe and alter configs.
    pub(crate) const TOPIC: i32 = 0b1101_1111_1000;
    /// Read, delete, describe, describe and alter configs.
    pub(crate) const GROUP: i32 = 0b1101_0100_1000;
    /// Create, alter, describe, cluster action, describe and alter configs, idempotent write.
    pub(crate) const CLUSTER: i32 = 0b1_1111_1010_0000;
    /// Not asked for.
    pub(crate) const OMITTED: i32 = i32::MIN;
}

/// URL-safe base 64 without padding: how Kafka shows ids.
pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
