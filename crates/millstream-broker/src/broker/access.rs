//! What a client may do, as one line in each handler. Without access control lists the answer is
//! always yes, for the price of looking whether there are any.

use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::{Broker, Context, Endpoint};
use crate::acl::{self, AclOperation, Authorizer, Resource, ResourceType};
use crate::api::operations;
use crate::consumer_group::Catalog;
use crate::topics::{Refused, Topics};

/// The topics as a consumer group sees them through the eyes of one of its members: a regular
/// expression finds only those that the member may describe. Names were checked when the member
/// that subscribes to them sent them.
pub(crate) struct VisibleTopics<'a> {
    pub(crate) topics: &'a Topics,
    pub(crate) authorizer: Option<&'a Authorizer>,
    pub(crate) context: &'a Context,
}

impl Catalog for VisibleTopics<'_> {
    fn generation(&self) -> u64 {
        // Neither of the two ever falls.
        self.topics.generation() + self.authorizer.map_or(0, Authorizer::generation)
    }

    fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topics.topic(name)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        let Some(authorizer) = self.authorizer else { return self.topics.names() };
        let (principal, host) = (&self.context.principal, &self.context.host);
        let is_visible = move |name: &&str| {
            authorizer.allows(principal, host, AclOperation::Describe, Resource::Topic(name))
        };
        Box::new(self.topics.names().filter(is_visible))
    }
}

impl Broker {
    /// Whether a client may do that.
    pub(crate) fn may(
        &self,
        context: &Context,
        operation: AclOperation,
        resource: Resource<'_>,
    ) -> bool {
        match &self.security.authorizer {
            None => true,
            Some(authorizer) => {
                let (principal, host) = (&context.principal, &context.host);
                let allowed = authorizer.allows(principal, host, operation, resource);
                if !allowed {
                    tracing::debug!(%principal, host, ?operation, ?resource, "not allowed");
                }
                allowed
            }
        }
    }

    /// The same; the error is the one for that kind of resource.
    ///
    /// # Errors
    /// The client may not.
    pub(crate) fn allow(
        &self,
        context: &Context,
        operation: AclOperation,
        resource: Resource<'_>,
    ) -> Result<(), ResponseError> {
        if self.may(context, operation, resource) { Ok(()) } else { Err(resource.denied()) }
    }

    /// The same for answers that carry a text.
    ///
    /// # Errors
    /// The client may not.
    pub(crate) fn require(
        &self,
        context: &Context,
        operation: AclOperation,
        resource: Resource<'_>,
    ) -> Result<(), Refused> {
        self.allow(context, operation, resource).map_err(acl::refused)
    }

    /// Whether a client may do that with the cluster, or, failing that, with the resource.
    ///
    /// # Errors
    /// It may do neither; the error is the resource's.
    pub(crate) fn allow_by_cluster(
        &self,
        context: &Context,
        operation: AclOperation,
        resource: Resource<'_>,
    ) -> Result<(), ResponseError> {
        match self.may(context, operation, Resource::Cluster) {
            true => Ok(()),
            false => self.allow(context, operation, resource),
        }
    }

    /// Whether a client may write to some topic, whichever (KIP-679).
    pub(crate) fn may_write_some_topic(&self, context: &Context) -> bool {
        let (operation, kind) = (AclOperation::Write, ResourceType::Topic);
        self.security.authorizer.as_ref().is_none_or(|authorizer| {
            authorizer.allows_some(&context.principal, &context.host, operation, kind)
        })
    }

    /// What a client may do with a resource, as bits (KIP-430); if it was not `asked` for, the
    /// number that says so.
    pub(crate) fn operations(&self, context: &Context, resource: Resource<'_>, asked: bool) -> i32 {
        match &self.security.authorizer {
            _ if !asked => operations::OMITTED,
            Some(authorizer) => authorizer.operations(&context.principal, &context.host, resource),
            None => match resource {
                Resource::Topic(_) => operations::TOPIC,
                Resource::Group(_) => operations::GROUP,
                Resource::Cluster | Resource::TransactionalId(_) => operations::CLUSTER,
            },
        }
    }

    /// The same for the cluster, whose operations only those see who may describe it.
    pub(crate) fn cluster_operations(&self, context: &Context, asked: bool) -> i32 {
        match asked && !self.may(context, AclOperation::Describe, Resource::Cluster) {
            true => 0,
            false => self.operations(context, Resource::Cluster, asked),
        }
    }

    /// How the client that asks reaches this broker.
    pub(crate) fn endpoint(&self, context: &Context) -> &Endpoint {
        &self.endpoints[context.listener]
    }
}
