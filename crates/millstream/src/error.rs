//! What can go wrong, as a Rust program sees it.

use millstream_broker::EmbeddedError;
use millstream_engine::TopologyError;
use millstream_formats::UnknownFormat;
use millstream_runtime::RuntimeError;

/// Errors of declaring and running an application. Each says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A declaration that makes no sense.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A serializer or deserializer nobody knows.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// The Kafka client refused or failed.
    #[error(transparent)]
    Kafka(#[from] millstream_kafka::Error),
    /// The embedded broker cannot be reached or started.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The run failed; nothing of its open checkpoint was committed.
    #[error(transparent)]
    Run(#[from] RuntimeError),
    /// Under an orchestrator, a forgotten broker address must not start a private broker.
    #[error(
        "no broker address is set, and this is a Kubernetes pod: set one with broker(...) or \
         Quix__Broker__Address, or ask for the embedded broker with broker(\"embedded\")"
    )]
    NoBrokerUnderKubernetes,
}
