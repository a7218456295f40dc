//! DescribeCluster (60), versions 0 to 2: the cluster of one. Endpoints of controllers
//! (endpoint type 2, KIP-919) are not offered: `MISMATCHED_ENDPOINT_TYPE`, as a broker answers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::{NODE, text};
use crate::broker::{Broker, Context, Reply};

const BROKERS: i8 = 1;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DescribeClusterRequest,
) -> Reply {
    if context.version >= 1 && request.endpoint_type != BROKERS {
        let response = DescribeClusterResponse::default()
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(text("this is the endpoint of a broker")));
        return context.reply(&response);
    }
    let row = DescribeClusterBroker::default()
        .with_broker_id(NODE)
        .with_host(text(broker.endpoint(context).host.clone()))
        .with_port(broker.endpoint(context).port.into());
    let asked = request.include_cluster_authorized_operations;
    let operations = broker.cluster_operations(context, asked);
    let response = DescribeClusterResponse::default()
        .with_cluster_id(text(broker.cluster_id.clone()))
        .with_controller_id(NODE)
        .with_brokers(vec![row])
        .with_cluster_authorized_operations(operations);
    context.reply(&response)
}
