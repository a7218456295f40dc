//! The cluster: its id, its brokers, its controller.

use std::time::Duration;

use kafka_protocol::messages::{MetadataRequest, MetadataResponse};

use super::Admin;
use super::answers::checked;
use super::call::{Answers, Deadline, Operation, Reply};
use super::route::Route;
use crate::error::Error;

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Its `broker.rack`.
    pub rack: Option<String>,
}

/// The cluster as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's id.
    pub id: String,
    /// The broker that takes requests for the controller: it itself, or with KRaft one that passes
    /// them on.
    pub controller: Option<i32>,
    /// Its brokers, sorted by id.
    pub brokers: Vec<Broker>,
}

struct DescribeCluster;

impl Operation for DescribeCluster {
    type Request = MetadataRequest;
    type Item = ();
    type Answer = Cluster;
    // The cluster's id came with version 2, "no auto-creation" with version 4.
    const VERSIONS: (i16, i16) = (4, 13);

    fn route(&self, (): &()) -> Route {
        Route::Any
    }

    fn action(&self, (): &()) -> String {
        "describe the cluster".into()
    }

    fn request(&self, _: &[&()], _: i16, _: i32) -> MetadataRequest {
        MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false)
    }

    fn throttle_ms(response: &MetadataResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(&self, items: &[&()], response: MetadataResponse, _: Reply) -> Answers<Cluster> {
        let mut brokers: Vec<Broker> = response
            .brokers
            .into_iter()
            .filter_map(|broker| {
                Some(Broker {
                    id: broker.node_id.0,
                    host: broker.host.to_string(),
                    port: u16::try_from(broker.port).ok()?,
                    rack: broker.rack.map(|rack| rack.to_string()),
                })
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        let cluster = Cluster {
            id: response.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
            controller: (response.controller_id.0 >= 0).then_some(response.controller_id.0),
            brokers,
        };
        checked(response.error_code, None, cluster)
            .map(|cluster| items.iter().map(|()| Ok(cluster.clone())).collect())
    }
}

impl Admin {
    /// Brokers and controller.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn cluster(&mut self, timeout: Duration) -> Result<Cluster, Error> {
        let deadline = self.within(timeout);
        self.call_one(DescribeCluster, (), deadline)
    }

    /// The ids of all brokers, for what each answers for itself.
    pub(super) fn broker_ids(&mut self, deadline: Deadline) -> Result<Vec<i32>, Error> {
        let cluster = self.call_one(DescribeCluster, (), deadline)?;
        Ok(cluster.brokers.iter().map(|broker| broker.id).collect())
    }
}
