//! Who may do what: the words of Kafka's access control lists (KIP-11, KIP-290). The decision is
//! in [`authorizer`], what a request asks for in [`filter`], the form on disk in [`stored`].
//!
//! Nothing here knows a request or a connection: rules and a question in, yes or no out.

pub(crate) mod authorizer;
pub(crate) mod filter;
mod stored;

use kafka_protocol::ResponseError;

use crate::topics::Refused;

pub(crate) use authorizer::Authorizer;
pub(crate) use filter::RuleFilter;
pub(crate) use stored::{decode_rule, encode_rule};

/// The only name a cluster has in a rule.
pub(crate) const CLUSTER_NAME: &str = "kafka-cluster";
/// As a resource name, a host or a user: all of them.
pub(crate) const ANY_NAME: &str = "*";
/// As a principal: all of them.
pub(crate) const ANY_PRINCIPAL: &str = "User:*";

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i8)]
        pub(crate) enum $name { $($variant = $code),* }

        impl $name {
            /// All of them, in the order of their codes.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            /// The one with that code in the protocol.
            pub(crate) fn from_code(code: i8) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| *known as i8 == code)
            }
        }
    };
}

codes! {
    /// What somebody wants to do, with the protocol's codes.
    AclOperation {
        All = 2, Read = 3, Write = 4, Create = 5, Delete = 6, Alter = 7, Describe = 8,
        ClusterAction = 9, DescribeConfigs = 10, AlterConfigs = 11, IdempotentWrite = 12,
        CreateTokens = 13, DescribeTokens = 14, TwoPhaseCommit = 15,
    }
}

codes! {
    /// Kinds of things that rules are about, with the protocol's codes.
    ResourceType {
        Topic = 2, Group = 3, Cluster = 4, TransactionalId = 5, DelegationToken = 6, User = 7,
    }
}

codes! {
    /// How a rule names its resources, with the protocol's codes.
    PatternType { Literal = 3, Prefixed = 4 }
}

codes! {
    /// Whether a rule grants or forbids, with the protocol's codes.
    Permission { Deny = 2, Allow = 3 }
}

impl AclOperation {
    /// Whether being allowed `self` allows `other`: who may read a topic may also see that it is
    /// there.
    fn implies(self, other: Self) -> bool {
        self == Self::All
            || self == other
            || match other {
                Self::Describe => {
                    matches!(self, Self::Read | Self::Write | Self::Delete | Self::Alter)
                }
                Self::DescribeConfigs => self == Self::AlterConfigs,
                _ => false,
            }
    }
}

impl ResourceType {
    /// The operations that exist for the kind, as "authorized operations" list them (KIP-430).
    pub(crate) fn operations(self) -> &'static [AclOperation] {
        use AclOperation::*;
        match self {
            Self::Topic => {
                &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
            }
            Self::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Self::Cluster => &[
                Create,
                Alter,
                Describe,
                ClusterAction,
                DescribeConfigs,
                AlterConfigs,
                IdempotentWrite,
            ],
            Self::TransactionalId => &[Write, Describe, TwoPhaseCommit],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
        }
    }
}

/// One thing that a request wants to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
    TransactionalId(&'a str),
}

impl<'a> Resource<'a> {
    pub(crate) fn kind(self) -> ResourceType {
        match self {
            Self::Topic(_) => ResourceType::Topic,
            Self::Group(_) => ResourceType::Group,
            Self::Cluster => ResourceType::Cluster,
            Self::TransactionalId(_) => ResourceType::TransactionalId,
        }
    }

    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Topic(name) | Self::Group(name) | Self::TransactionalId(name) => name,
            Self::Cluster => CLUSTER_NAME,
        }
    }

    /// What somebody is told who may not.
    pub(crate) fn denied(self) -> ResponseError {
        match self {
            Self::Topic(_) => ResponseError::TopicAuthorizationFailed,
            Self::Group(_) => ResponseError::GroupAuthorizationFailed,
            Self::Cluster => ResponseError::ClusterAuthorizationFailed,
            Self::TransactionalId(_) => ResponseError::TransactionalIdAuthorizationFailed,
        }
    }
}

/// What somebody is told who may not, in Kafka's words.
pub(crate) fn denied_text(code: ResponseError) -> &'static str {
    match code {
        ResponseError::TopicAuthorizationFailed => "Topic authorization failed.",
        ResponseError::GroupAuthorizationFailed => "Group authorization failed.",
        ResponseError::TransactionalIdAuthorizationFailed => {
            "Transactional Id authorization failed."
        }
        _ => "Cluster authorization failed.",
    }
}

/// The refusal of somebody who may not, for answers that carry a text.
pub(crate) fn refused(code: ResponseError) -> Refused {
    Refused::new(code, denied_text(code))
}

/// One entry of an access control list. Its order is that in which lists show rules: by resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rule {
    pub(crate) kind: ResourceType,
    pub(crate) name: String,
    pub(crate) pattern: PatternType,
    /// `User:NAME`, or [`ANY_PRINCIPAL`].
    pub(crate) principal: String,
    /// An address as text, or [`ANY_NAME`].
    pub(crate) host: String,
    pub(crate) operation: AclOperation,
    pub(crate) permission: Permission,
}

impl Rule {
    fn concerns(&self, principal: &str, host: &str) -> bool {
        (self.principal == principal || self.principal == ANY_PRINCIPAL)
            && (self.host == host || self.host == ANY_NAME)
    }
}
