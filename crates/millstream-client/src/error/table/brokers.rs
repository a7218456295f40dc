//! The codes that brokers send, as of Kafka 4.3.

use super::{Row, rows};

/// By code, ascending.
pub(super) const ROWS: &[Row] = rows! {
    -1 UNKNOWN_SERVER_ERROR Refused
        "the broker failed in an unexpected way; its log says how"
    0 NONE Refused "no error"
    1 OFFSET_OUT_OF_RANGE Refused "the log no longer has this offset, or not yet"
    2 CORRUPT_MESSAGE Retry
        "the batch was damaged under way, is too large, or has a record without a key for a compacted topic"
    3 UNKNOWN_TOPIC_OR_PARTITION Refresh
        "the topic or partition does not exist, or may not be described"
    4 INVALID_FETCH_SIZE Refused "the fetch size is not valid"
    5 LEADER_NOT_AVAILABLE Refresh "the partition has no leader at the moment"
    6 NOT_LEADER_OR_FOLLOWER Refresh "the partition has moved to another broker"
    7 REQUEST_TIMED_OUT Retry "the broker could not finish in time"
    8 BROKER_NOT_AVAILABLE Refused "the broker is not available"
    9 REPLICA_NOT_AVAILABLE Refresh "the broker's copy of the partition is not available"
    10 MESSAGE_TOO_LARGE Refused
        "the batch is larger than the broker takes; raise max.message.bytes of the topic, or lower batch.size"
    11 STALE_CONTROLLER_EPOCH Refused "the controller has moved to another broker"
    12 OFFSET_METADATA_TOO_LARGE Refused
        "the text beside the committed offset is longer than the broker's offset.metadata.max.bytes"
    13 NETWORK_EXCEPTION Refresh "the connection ended before there was a response"
    14 COORDINATOR_LOAD_IN_PROGRESS Retry "the coordinator is still loading its state"
    15 COORDINATOR_NOT_AVAILABLE Refresh "there is no coordinator at the moment"
    16 NOT_COORDINATOR Refresh "the coordinator has moved to another broker"
    17 INVALID_TOPIC_EXCEPTION Refused
        "the topic's name is not valid, or the topic is internal and must not be written"
    18 RECORD_LIST_TOO_LARGE Refused
        "the batch is larger than a segment of the topic; lower batch.size or raise segment.bytes"
    19 NOT_ENOUGH_REPLICAS Retry
        "fewer replicas are in sync than min.insync.replicas asks for; nothing was written"
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Retry
        "written, but to fewer replicas than min.insync.replicas asks for"
    21 INVALID_REQUIRED_ACKS Refused "acks must be 0, 1 or all"
    22 ILLEGAL_GENERATION Abort
        "the group has had a rebalance since, and this member was not part of it"
    23 INCONSISTENT_GROUP_PROTOCOL Refused
        "the group's other members use none of these assignors; set partition.assignment.strategy to the same everywhere, or use another group.id"
    24 INVALID_GROUP_ID Refused "group.id is empty or not valid"
    25 UNKNOWN_MEMBER_ID Abort
        "the coordinator has removed this member from the group, such as after session.timeout.ms without a heartbeat"
    26 INVALID_SESSION_TIMEOUT Refused
        "session.timeout.ms is outside of the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
    27 REBALANCE_IN_PROGRESS Refused "the group is being rebalanced; the member has to join again"
    28 INVALID_COMMIT_OFFSET_SIZE Refused "the offsets to commit do not fit into a record of the broker"
    29 TOPIC_AUTHORIZATION_FAILED Refused
        "no right on the topic; the client's principal needs an ACL for it"
    30 GROUP_AUTHORIZATION_FAILED Refused
        "no right on the group; the client's principal needs an ACL for it"
    31 CLUSTER_AUTHORIZATION_FAILED Fatal
        "no right on the cluster; the client's principal needs an ACL for it (an idempotent producer on an old broker: IdempotentWrite)"
    32 INVALID_TIMESTAMP Refused
        "the timestamp is further from the broker's clock than message.timestamp.before.max.ms or message.timestamp.after.max.ms allows"
    33 UNSUPPORTED_SASL_MECHANISM Refused "the broker does not offer this sasl.mechanism"
    34 ILLEGAL_SASL_STATE Refused "the request does not fit the state of the authentication"
    35 UNSUPPORTED_VERSION Refused "the broker does not know this version of the request"
    36 TOPIC_ALREADY_EXISTS Refused "a topic of this name exists already"
    37 INVALID_PARTITIONS Refused "the number of partitions is not valid, or lower than it was"
    38 INVALID_REPLICATION_FACTOR Refused
        "the replication factor is below 1 or above the number of brokers"
    39 INVALID_REPLICA_ASSIGNMENT Refused "the replicas are assigned in a way that cannot be"
    40 INVALID_CONFIG Refused "a configuration entry is unknown or has a value that is not valid"
    41 NOT_CONTROLLER Refresh "the controller has moved to another broker"
    42 INVALID_REQUEST Refused "the broker finds the request malformed; its log may say why"
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT Refused
        "the topic's message format is too old for what is asked"
    44 POLICY_VIOLATION Refused "a policy of the cluster forbids it"
    45 OUT_OF_ORDER_SEQUENCE_NUMBER Abort
        "the broker misses a batch of this producer; records may have been lost"
    46 DUPLICATE_SEQUENCE_NUMBER Refused "the broker has this batch already"
    47 INVALID_PRODUCER_EPOCH Abort
        "the producer's epoch is old: its transaction timed out, or another producer took its transactional.id"
    48 INVALID_TXN_STATE Fatal "the request does not fit the state of the transaction"
    49 INVALID_PRODUCER_ID_MAPPING Fatal
        "the transactional.id no longer belongs to this producer id, such as after transactional.id.expiration.ms without a transaction; a new producer is needed"
    50 INVALID_TRANSACTION_TIMEOUT Refused
        "transaction.timeout.ms is above the broker's transaction.max.timeout.ms"
    51 CONCURRENT_TRANSACTIONS Retry "the transaction before is still being ended"
    52 TRANSACTION_COORDINATOR_FENCED Refused "another coordinator has taken the transaction over"
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Fatal
        "no right on the transactional.id; the client's principal needs an ACL for it"
    54 SECURITY_DISABLED Refused "the cluster has no authorizer, so there are no ACLs"
    55 OPERATION_NOT_ATTEMPTED Refused
        "not tried, because another part of the same request was refused"
    56 KAFKA_STORAGE_ERROR Refresh "the broker cannot read or write its disk"
    57 LOG_DIR_NOT_FOUND Refused "the broker has no such log directory"
    58 SASL_AUTHENTICATION_FAILED Refused
        "the broker refused the credentials; check sasl.mechanism, sasl.username and sasl.password, or the token"
    59 UNKNOWN_PRODUCER_ID Abort
        "the broker no longer knows this producer, such as after all its records were deleted"
    60 REASSIGNMENT_IN_PROGRESS Refused "the partitions are being moved; wait until they are"
    61 DELEGATION_TOKEN_AUTH_DISABLED Refused "the cluster has delegation tokens switched off"
    62 DELEGATION_TOKEN_NOT_FOUND Refused "the cluster has no such delegation token"
    63 DELEGATION_TOKEN_OWNER_MISMATCH Refused "the delegation token belongs to somebody else"
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Refused
        "delegation tokens need a connection that is authenticated, and not by a delegation token"
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Refused "no right on the delegation token"
    66 DELEGATION_TOKEN_EXPIRED Refused "the delegation token has expired"
    67 INVALID_PRINCIPAL_TYPE Refused "the broker knows no principals of this type"
    68 NON_EMPTY_GROUP Refused "the group has members; stop them first"
    69 GROUP_ID_NOT_FOUND Refused "there is no such group"
    70 FETCH_SESSION_ID_NOT_FOUND Retry "the broker has dropped the fetch session"
    71 INVALID_FETCH_SESSION_EPOCH Retry "the fetch session is at another request"
    72 LISTENER_NOT_FOUND Refresh
        "the partition's leader has no listener of the name that this connection came in by"
    73 TOPIC_DELETION_DISABLED Refused "the broker has delete.topic.enable=false"
    74 FENCED_LEADER_EPOCH Refresh "the partition has a newer leader"
    75 UNKNOWN_LEADER_EPOCH Retry "the broker has not heard of the newest leader yet"
    76 UNSUPPORTED_COMPRESSION_TYPE Refused
        "the compression is not known to this version of the request (zstd needs Kafka 2.1)"
    77 STALE_BROKER_EPOCH Refused "the broker was registered anew since"
    78 OFFSET_NOT_AVAILABLE Retry
        "the new leader does not know yet how far the partition is committed"
    79 MEMBER_ID_REQUIRED Refused "the member has to join again, with the id it was given"
    80 PREFERRED_LEADER_NOT_AVAILABLE Refresh "the preferred leader is not available"
    81 GROUP_MAX_SIZE_REACHED Refused
        "the group has as many members as the broker's group.max.size allows"
    82 FENCED_INSTANCE_ID Fatal
        "another consumer has joined with the same group.instance.id; give each its own"
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE Refresh "none of the replicas that may lead is available"
    84 ELECTION_NOT_NEEDED Refresh "the partition is led by whom it should be led by"
    85 NO_REASSIGNMENT_IN_PROGRESS Refused "the partition is not being moved"
    86 GROUP_SUBSCRIBED_TO_TOPIC Refused
        "the group is subscribed to the topic; offsets can be deleted when it no longer is"
    87 INVALID_RECORD Refused "the broker finds the record not valid, such as without a key in a compacted topic"
    88 UNSTABLE_OFFSET_COMMIT Retry "a transaction that commits offsets is still open"
    89 THROTTLING_QUOTA_EXCEEDED Retry "a quota is used up; the client has to wait"
    90 PRODUCER_FENCED Fatal
        "another producer has taken the transactional.id; run one producer per transactional.id"
    91 RESOURCE_NOT_FOUND Refused "there is no such resource"
    92 DUPLICATE_RESOURCE Refused "the request names the same resource twice"
    93 UNACCEPTABLE_CREDENTIAL Refused
        "the credential does not meet what the broker demands of one"
    94 INCONSISTENT_VOTER_SET Refused "the controllers disagree on who may vote"
    95 INVALID_UPDATE_VERSION Refused "the version of the update is not valid"
    96 FEATURE_UPDATE_FAILED Refused "the features of the cluster could not be updated"
    97 PRINCIPAL_DESERIALIZATION_FAILURE Refused
        "the broker could not read the principal of a forwarded request"
    98 SNAPSHOT_NOT_FOUND Refused "there is no such snapshot"
    99 POSITION_OUT_OF_RANGE Refused "the position is beyond the snapshot"
    100 UNKNOWN_TOPIC_ID Refresh "there is no topic of this id; it may have been deleted"
    101 DUPLICATE_BROKER_REGISTRATION Refused "the broker's id is taken"
    102 BROKER_ID_NOT_REGISTERED Refused "no broker of this id is registered"
    103 INCONSISTENT_TOPIC_ID Refresh "the topic was deleted and created again"
    104 INCONSISTENT_CLUSTER_ID Refused "the broker belongs to another cluster"
    105 TRANSACTIONAL_ID_NOT_FOUND Refused "there is no such transactional.id"
    106 FETCH_SESSION_TOPIC_ID_ERROR Retry
        "the fetch session mixes topics with and without an id"
    107 INELIGIBLE_REPLICA Refused "a replica that may not be in sync was named"
    108 NEW_LEADER_ELECTED Refused "done, and the partition has a new leader"
    109 OFFSET_MOVED_TO_TIERED_STORAGE Refused "the offset is in tiered storage only"
    110 FENCED_MEMBER_EPOCH Abort
        "the coordinator has fenced this member; it has to give up its partitions and join again"
    111 UNRELEASED_INSTANCE_ID Refused
        "the group.instance.id is still used by another member; it has to leave first"
    112 UNSUPPORTED_ASSIGNOR Refused
        "the group does not offer this assignor; change group.remote.assignor"
    113 STALE_MEMBER_EPOCH Abort "the member has missed an epoch of its group"
    114 MISMATCHED_ENDPOINT_TYPE Refused
        "a request for brokers went to a controller, or the other way round; check the address"
    115 UNSUPPORTED_ENDPOINT_TYPE Refused "the broker does not know endpoints of this type"
    116 UNKNOWN_CONTROLLER_ID Refused "there is no controller of this id"
    117 UNKNOWN_SUBSCRIPTION_ID Refused "the subscription to the client's metrics has changed"
    118 TELEMETRY_TOO_LARGE Refused "the client's metrics are larger than the broker takes"
    119 INVALID_REGISTRATION Refused "the controller finds the broker's registration not valid"
    120 TRANSACTION_ABORTABLE Abort
        "the broker could not go on with the transaction; abort it and begin another"
    121 INVALID_RECORD_STATE Refused "the record is no longer acquired by this member"
    122 SHARE_SESSION_NOT_FOUND Retry "the broker has dropped the share session"
    123 INVALID_SHARE_SESSION_EPOCH Retry "the share session is at another request"
    124 FENCED_STATE_EPOCH Refused "the state of the share group has a newer epoch"
    125 INVALID_VOTER_KEY Refused "the key is not that of this voter"
    126 DUPLICATE_VOTER Refused "the controller is a voter already"
    127 VOTER_NOT_FOUND Refused "the controller is not a voter"
    128 INVALID_REGULAR_EXPRESSION Refused
        "the broker finds the regular expression not valid; it takes the syntax of RE2"
    129 REBOOTSTRAP_REQUIRED Refresh
        "the client has to begin again with bootstrap.servers"
    130 STREAMS_INVALID_TOPOLOGY Refused "the topology of the streams group is not valid"
    131 STREAMS_INVALID_TOPOLOGY_EPOCH Refused "the epoch of the topology is not valid"
    132 STREAMS_TOPOLOGY_FENCED Refused "the streams group has a newer topology"
    133 SHARE_SESSION_LIMIT_REACHED Retry "the broker has as many share sessions as it may"
};
