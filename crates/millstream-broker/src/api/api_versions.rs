//! ApiVersions (18), versions 0 to 4: what this broker serves, straight from the table.
//!
//! An unknown version is answered in version 0 with `UNSUPPORTED_VERSION` and the versions of
//! this request alone (KIP-511). Produce is offered from version 0 although 0 to 2 are refused,
//! as Apache Kafka 4 does (KAFKA-18659): librdkafka takes the absence of version 0 for a broker
//! that knows no compression. The client's name and version are not used.
//!
//! The features are `transaction.version` 2 (KIP-890): clients that know it let Produce and
//! TxnOffsetCommit begin transactions by themselves, and have their epoch raised by each EndTxn;
//! and `group.version` 1: groups of KIP-848 are served.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use super::{Api, TABLE, text};
use crate::broker::{Broker, Context, Reply};
use crate::wire;

const FEATURES: [(&str, i16); 2] = [("group.version", 1), ("transaction.version", 2)];
/// Features are known from this version on.
const TELLS_FEATURES: i16 = 3;
/// Until this version a feature that can be turned off (version 0) is not listed as supported.
const TELLS_OPTIONAL_FEATURES: i16 = 4;
/// Features never change here, so neither does their epoch.
const FEATURES_EPOCH: i64 = 0;

pub(crate) fn handle(_: &mut Broker, context: &Context, _: ApiVersionsRequest) -> Reply {
    let keys = TABLE.iter().map(row).collect();
    let mut response = ApiVersionsResponse::default().with_api_keys(keys);
    if context.version >= TELLS_FEATURES {
        let finalized = |(name, version): (&str, i16)| {
            FinalizedFeatureKey::default()
                .with_name(text(name))
                .with_max_version_level(version)
                .with_min_version_level(version)
        };
        response = response
            .with_finalized_features_epoch(FEATURES_EPOCH)
            .with_finalized_features(FEATURES.map(finalized).to_vec());
    }
    if context.version >= TELLS_OPTIONAL_FEATURES {
        let supported = |(name, version): (&str, i16)| {
            SupportedFeatureKey::default().with_name(text(name)).with_max_version(version)
        };
        response = response.with_supported_features(FEATURES.map(supported).to_vec());
    }
    context.reply(&response)
}

/// The answer to a version that we do not know.
pub(crate) fn unsupported(context: &Context) -> Reply {
    let own = TABLE.iter().filter(|api| api.key == ApiKey::ApiVersions).map(row).collect();
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own);
    Reply::Now(wire::encode(&response, 0, context.correlation_id).into())
}

fn row(api: &Api) -> ApiVersion {
    let min = if api.key == ApiKey::Produce { 0 } else { api.min };
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(min)
        .with_max_version(api.max)
}
