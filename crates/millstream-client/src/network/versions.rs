//! Which versions of which requests a broker takes (ApiVersions, KIP-35, KIP-511).

use std::collections::HashMap;

use kafka_protocol::messages::ApiVersionsResponse;

use crate::wire::Checked;

/// What a broker said it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    ranges: HashMap<i16, (i16, i16)>,
    /// Cluster-wide features and the level they are finalised at, such as `transaction.version`.
    features: HashMap<String, i16>,
}

impl Versions {
    pub(crate) fn of(response: &ApiVersionsResponse) -> Self {
        Self {
            ranges: response
                .api_keys
                .iter()
                .map(|key| (key.api_key, (key.min_version, key.max_version)))
                .collect(),
            features: response
                .finalized_features
                .iter()
                .map(|feature| (feature.name.to_string(), feature.max_version_level))
                .collect(),
        }
    }

    /// The highest version of request `R` that the broker, the shape of its responses and the
    /// caller's `ours` (lowest, highest) have in common.
    pub(crate) fn pick<R: Checked>(&self, ours: (i16, i16)) -> Option<i16> {
        let (low, high) = *self.ranges.get(&R::KEY)?;
        let highest = high.min(ours.1).min(R::SHAPED.1);
        (highest >= low.max(ours.0).max(R::SHAPED.0)).then_some(highest)
    }

    /// The level of a feature; 0 if the broker does not know it.
    pub(crate) fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }
}
