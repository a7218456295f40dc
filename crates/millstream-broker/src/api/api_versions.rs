//! ApiVersions (18), versions 0 to 4: what this broker serves, straight from the table.
//!
//! An unknown version is answered in version 0 with `UNSUPPORTED_VERSION` and the versions of
//! this request alone (KIP-511). Produce is offered from version 0 although 0 to 2 are refused,
//! as Apache Kafka 4 does (KAFKA-18659): librdkafka takes the absence of version 0 for a broker
//! that knows no compression. The client's name and version are not used; features are none.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::{Api, TABLE};
use crate::broker::{Broker, Context, Reply};
use crate::wire;

pub(crate) fn handle(_: &mut Broker, context: &Context, _: ApiVersionsRequest) -> Reply {
    let keys = TABLE.iter().map(row).collect();
    context.reply(&ApiVersionsResponse::default().with_api_keys(keys))
}

/// The answer to a version that we do not know.
pub(crate) fn unsupported(context: &Context) -> Reply {
    let own = TABLE.iter().filter(|api| api.key == ApiKey::ApiVersions).map(row).collect();
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own);
    Reply::Now(wire::encode(&response, 0, context.correlation_id))
}

fn row(api: &Api) -> ApiVersion {
    let min = if api.key == ApiKey::Produce { 0 } else { api.min };
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(min)
        .with_max_version(api.max)
}
