//! Rights: access control lists (KIP-140, prefixes by KIP-290).

use std::time::Duration;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse,
};

use super::Admin;
use super::answers::{checked, text};
use super::call::{Answers, Operation, Reply};
use super::route::Route;
use crate::error::{Error, KafkaError, code};

/// Names with Kafka's numbers, and a place for numbers of later versions.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$item_doc])* $item,)+
            /// One that this client does not know, by Kafka's number.
            Other(i8),
        }

        impl $name {
            fn code(self) -> i8 {
                match self {
                    $(Self::$item => $code,)+
                    Self::Other(code) => code,
                }
            }

            fn of(code: i8) -> Self {
                match code {
                    $($code => Self::$item,)+
                    other => Self::Other(other),
                }
            }
        }
    };
}

coded! {
    /// What a right is about.
    AclResourceKind {
        /// In a filter: all.
        Any = 1,
        /// A topic.
        Topic = 2,
        /// A group.
        Group = 3,
        /// The cluster; its name is `kafka-cluster`.
        Cluster = 4,
        /// A transactional id.
        TransactionalId = 5,
        /// A delegation token.
        DelegationToken = 6,
        /// A user, for tokens on their behalf (KIP-373).
        User = 7,
    }
}

coded! {
    /// How a right's resource name is meant.
    PatternKind {
        /// In a filter: all.
        Any = 1,
        /// In a filter: all that apply to the name.
        Match = 2,
        /// The name itself; `*` is every name.
        Literal = 3,
        /// Every name that begins so.
        Prefixed = 4,
    }
}

coded! {
    /// What a right allows or denies.
    AclOperation {
        /// In a filter: all.
        Any = 1,
        /// In a right: every operation.
        All = 2,
        /// Reading records, being in a group.
        Read = 3,
        /// Writing records.
        Write = 4,
        /// Creating.
        Create = 5,
        /// Deleting.
        Delete = 6,
        /// Altering.
        Alter = 7,
        /// Seeing.
        Describe = 8,
        /// What brokers do among each other.
        ClusterAction = 9,
        /// Seeing settings.
        DescribeConfigs = 10,
        /// Changing settings.
        AlterConfigs = 11,
        /// Producing idempotently.
        IdempotentWrite = 12,
        /// Creating tokens.
        CreateTokens = 13,
        /// Seeing tokens.
        DescribeTokens = 14,
        /// Taking part in two-phase commits (KIP-939).
        TwoPhaseCommit = 15,
    }
}

coded! {
    /// Whether a right allows or denies.
    AclPermission {
        /// In a filter: both.
        Any = 1,
        /// Denies; wins over what allows.
        Deny = 2,
        /// Allows.
        Allow = 3,
    }
}

/// What a right is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePattern {
    /// The kind.
    pub kind: AclResourceKind,
    /// The name, or the beginning of names.
    pub name: String,
    /// How the name is meant.
    pub pattern: PatternKind,
}

/// A right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// What it is about.
    pub resource: ResourcePattern,
    /// Who, such as `User:alice`; `User:*` is everybody.
    pub principal: String,
    /// From where; `*` is everywhere.
    pub host: String,
    /// What.
    pub operation: AclOperation,
    /// Whether it may be done.
    pub permission: AclPermission,
}

/// Which rights are meant. The default is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclFilter {
    /// About which kind of thing.
    pub kind: AclResourceKind,
    /// About which name; `None`: all.
    pub name: Option<String>,
    /// How the right's name is meant.
    pub pattern: PatternKind,
    /// Whose; `None`: everybody's.
    pub principal: Option<String>,
    /// From where; `None`: everywhere.
    pub host: Option<String>,
    /// To do what.
    pub operation: AclOperation,
    /// Whether allowed or denied.
    pub permission: AclPermission,
}

impl Default for AclFilter {
    fn default() -> Self {
        Self {
            kind: AclResourceKind::Any,
            name: None,
            pattern: PatternKind::Any,
            principal: None,
            host: None,
            operation: AclOperation::Any,
            permission: AclPermission::Any,
        }
    }
}

struct CreateAcls;

impl Operation for CreateAcls {
    type Request = CreateAclsRequest;
    type Item = Acl;
    type Answer = ();
    const VERSIONS: (i16, i16) = (1, 3);

    fn route(&self, _: &Acl) -> Route {
        Route::Any
    }

    fn action(&self, acl: &Acl) -> String {
        format!("create a right of {:?} on {:?}", acl.principal, acl.resource.name)
    }

    fn request(&self, acls: &[&Acl], _: i16, _: i32) -> CreateAclsRequest {
        let creation = |acl: &&Acl| {
            AclCreation::default()
                .with_resource_type(acl.resource.kind.code())
                .with_resource_name(text(&acl.resource.name))
                .with_resource_pattern_type(acl.resource.pattern.code())
                .with_principal(text(&acl.principal))
                .with_host(text(&acl.host))
                .with_operation(acl.operation.code())
                .with_permission_type(acl.permission.code())
        };
        CreateAclsRequest::default().with_creations(acls.iter().map(creation).collect())
    }

    fn throttle_ms(response: &CreateAclsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(&self, acls: &[&Acl], response: CreateAclsResponse, _: Reply) -> Answers<()> {
        same_count(acls.len(), response.results.len())?;
        let answer = response
            .results
            .into_iter()
            .map(|result| checked(result.error_code, result.error_message.as_deref(), ()));
        Ok(answer.collect())
    }
}

/// Answers about rights come without names, in the order asked: their number must fit.
fn same_count(asked: usize, answered: usize) -> Result<(), KafkaError> {
    if asked == answered {
        return Ok(());
    }
    let text = format!("{answered} answers to {asked} questions");
    Err(KafkaError::with(code::BAD_MESSAGE, Some(&text)))
}

struct DescribeAcls;

impl Operation for DescribeAcls {
    type Request = DescribeAclsRequest;
    type Item = AclFilter;
    type Answer = Vec<Acl>;
    const VERSIONS: (i16, i16) = (1, 3);
    const MANY: bool = false;

    fn route(&self, _: &AclFilter) -> Route {
        Route::Any
    }

    fn action(&self, _: &AclFilter) -> String {
        "list rights".into()
    }

    fn request(&self, filters: &[&AclFilter], _: i16, _: i32) -> DescribeAclsRequest {
        let filter = filters[0];
        DescribeAclsRequest::default()
            .with_resource_type_filter(filter.kind.code())
            .with_resource_name_filter(filter.name.as_deref().map(text))
            .with_pattern_type_filter(filter.pattern.code())
            .with_principal_filter(filter.principal.as_deref().map(text))
            .with_host_filter(filter.host.as_deref().map(text))
            .with_operation(filter.operation.code())
            .with_permission_type(filter.permission.code())
    }

    fn throttle_ms(response: &DescribeAclsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        _: &[&AclFilter],
        response: DescribeAclsResponse,
        _: Reply,
    ) -> Answers<Vec<Acl>> {
        let mut acls = Vec::new();
        for resource in response.resources {
            let pattern = ResourcePattern {
                kind: AclResourceKind::of(resource.resource_type),
                name: resource.resource_name.to_string(),
                pattern: PatternKind::of(resource.pattern_type),
            };
            acls.extend(resource.acls.into_iter().map(|acl| Acl {
                resource: pattern.clone(),
                principal: acl.principal.to_string(),
                host: acl.host.to_string(),
                operation: AclOperation::of(acl.operation),
                permission: AclPermission::of(acl.permission_type),
            }));
        }
        Ok(vec![checked(response.error_code, response.error_message.as_deref(), acls)])
    }
}

struct DeleteAcls;

impl Operation for DeleteAcls {
    type Request = DeleteAclsRequest;
    type Item = AclFilter;
    type Answer = Vec<Acl>;
    const VERSIONS: (i16, i16) = (1, 3);

    fn route(&self, _: &AclFilter) -> Route {
        Route::Any
    }

    fn action(&self, _: &AclFilter) -> String {
        "delete rights".into()
    }

    fn request(&self, filters: &[&AclFilter], _: i16, _: i32) -> DeleteAclsRequest {
        let filter = |filter: &&AclFilter| {
            DeleteAclsFilter::default()
                .with_resource_type_filter(filter.kind.code())
                .with_resource_name_filter(filter.name.as_deref().map(text))
                .with_pattern_type_filter(filter.pattern.code())
                .with_principal_filter(filter.principal.as_deref().map(text))
                .with_host_filter(filter.host.as_deref().map(text))
                .with_operation(filter.operation.code())
                .with_permission_type(filter.permission.code())
        };
        DeleteAclsRequest::default().with_filters(filters.iter().map(filter).collect())
    }

    fn throttle_ms(response: &DeleteAclsResponse) -> i32 {
        response.throttle_time_ms
    }

    fn answers(
        &self,
        filters: &[&AclFilter],
        response: DeleteAclsResponse,
        _: Reply,
    ) -> Answers<Vec<Acl>> {
        same_count(filters.len(), response.filter_results.len())?;
        let answer = response.filter_results.into_iter().map(|result| {
            checked(result.error_code, result.error_message.as_deref(), ())?;
            let deleted = result.matching_acls.into_iter().map(|acl| {
                checked(acl.error_code, acl.error_message.as_deref(), ())?;
                Ok(Acl {
                    resource: ResourcePattern {
                        kind: AclResourceKind::of(acl.resource_type),
                        name: acl.resource_name.to_string(),
                        pattern: PatternKind::of(acl.pattern_type),
                    },
                    principal: acl.principal.to_string(),
                    host: acl.host.to_string(),
                    operation: AclOperation::of(acl.operation),
                    permission: AclPermission::of(acl.permission_type),
                })
            });
            deleted.collect()
        });
        Ok(answer.collect())
    }
}

impl Admin {
    /// Creates rights. One that exists is created as well, to no effect.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn create_acls(
        &mut self,
        acls: &[Acl],
        timeout: Duration,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(CreateAcls, acls.to_vec(), deadline)
    }

    /// The rights that `filter` means.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`]; code 54, `SECURITY_DISABLED`, if the cluster has
    /// none.
    pub fn describe_acls(
        &mut self,
        filter: &AclFilter,
        timeout: Duration,
    ) -> Result<Vec<Acl>, Error> {
        let deadline = self.within(timeout);
        self.call_one(DescribeAcls, filter.clone(), deadline)
    }

    /// Deletes the rights that each filter means, and returns them. A filter of which one right
    /// could not be deleted answers with that one's error.
    ///
    /// # Errors
    /// [`Error::TimedOut`] or [`Error::Kafka`].
    pub fn delete_acls(
        &mut self,
        filters: &[AclFilter],
        timeout: Duration,
    ) -> Result<Vec<Result<Vec<Acl>, Error>>, Error> {
        let deadline = self.within(timeout);
        self.call(DeleteAcls, filters.to_vec(), deadline)
    }
}
