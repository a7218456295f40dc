//! WriteTxnMarkers (27), version 1: ends transactions in partitions, whatever the coordinator
//! knows. Between brokers it carries out an EndTxn, which here needs no request; what is left is
//! the administrator's use: `kafka-transactions abort` ends a transaction that hangs (KIP-664).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use super::code_of;
use crate::acl::{AclOperation, Resource};
use crate::broker::{Broker, Context, OFFSETS_TOPIC, Reply};
use crate::log::{Marker, MarkerError};

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: WriteTxnMarkersRequest,
) -> Reply {
    // Brokers have the one right, administrators the other (KAFKA-16513).
    let allowed = match broker.may(context, AclOperation::ClusterAction, Resource::Cluster) {
        true => Ok(()),
        false => broker.allow(context, AclOperation::Alter, Resource::Cluster),
    };
    let mut markers = Vec::with_capacity(request.markers.len());
    for asked in request.markers {
        let marker = Marker {
            producer_id: asked.producer_id.0,
            epoch: asked.producer_epoch,
            commit: asked.transaction_result,
            coordinator_epoch: asked.coordinator_epoch,
        };
        let mut topics = Vec::with_capacity(asked.topics.len());
        for topic in asked.topics {
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|partition| {
                    let outcome =
                        allowed.and_then(|()| write(broker, &topic.name, *partition, &marker));
                    WritableTxnMarkerPartitionResult::default()
                        .with_partition_index(*partition)
                        .with_error_code(code_of(outcome))
                })
                .collect();
            topics.push(
                WritableTxnMarkerTopicResult::default()
                    .with_name(topic.name)
                    .with_partitions(partitions),
            );
        }
        markers.push(
            WritableTxnMarkerResult::default()
                .with_producer_id(asked.producer_id)
                .with_topics(topics),
        );
    }
    context.reply(&WriteTxnMarkersResponse::default().with_markers(markers))
}

fn write(
    broker: &mut Broker,
    topic: &str,
    partition: i32,
    marker: &Marker,
) -> Result<(), ResponseError> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(topic, partition, %error, "cannot write a marker");
        ResponseError::KafkaStorageError
    };
    if topic == OFFSETS_TOPIC {
        let ended = broker.coordinator.end_transaction(marker.producer_id, marker.commit);
        return ended.map_err(|error| failed(&error));
    }
    match broker.write_marker(topic, partition, marker) {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(ResponseError::UnknownTopicOrPartition),
        Err(MarkerError::Fenced) => Err(ResponseError::InvalidProducerEpoch),
        Err(MarkerError::CoordinatorFenced) => Err(ResponseError::TransactionCoordinatorFenced),
        Err(error @ (MarkerError::NotSynced { .. } | MarkerError::Disk(_))) => Err(failed(&error)),
    }
}
