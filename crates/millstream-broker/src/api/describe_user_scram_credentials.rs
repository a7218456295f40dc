//! DescribeUserScramCredentials (50), version 0: who can log in by SCRAM, with which mechanism and
//! how many iterations (KIP-554); of the users file, too. No list, or an empty one, asks for all.
//!
//! As in Kafka the client must be allowed to describe the cluster. Without access control lists,
//! unlike in Kafka, it must be a super user.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};

use super::text;
use crate::acl::{AclOperation, Resource, denied_text};
use crate::broker::{Broker, Context, Reply};
use crate::security::scram::Hash;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DescribeUserScramCredentialsRequest,
) -> Reply {
    let response = DescribeUserScramCredentialsResponse::default();
    if let Err(code) = check(broker, context, AclOperation::Describe) {
        let response =
            response.with_error_code(code.code()).with_error_message(Some(text(denied_text(code))));
        return context.reply(&response);
    }
    let known = broker.security.scram_users();
    let asked = request.users.filter(|users| !users.is_empty());
    let results = match asked {
        None => known.iter().map(|(user, hashes)| row(user, hashes)).collect(),
        Some(users) => {
            let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
            for user in &users {
                if !seen.insert(user.name.as_str()) {
                    twice.insert(user.name.as_str());
                }
            }
            let mut told = HashSet::new();
            let once = users.iter().map(|user| user.name.as_str());
            once.filter(|user| told.insert(*user))
                .map(|user| match known.get(user) {
                    _ if twice.contains(user) => refusal(
                        user,
                        ResponseError::DuplicateResource,
                        "the request names the user twice",
                    ),
                    Some(hashes) => row(user, hashes),
                    None => refusal(
                        user,
                        ResponseError::ResourceNotFound,
                        "the user has no SCRAM credentials",
                    ),
                })
                .collect()
        }
    };
    context.reply(&response.with_results(results))
}

/// Whether a client may see or change credentials.
///
/// # Errors
/// It may not.
pub(crate) fn check(
    broker: &Broker,
    context: &Context,
    operation: AclOperation,
) -> Result<(), ResponseError> {
    match &broker.security.authorizer {
        Some(_) => broker.allow(context, operation, Resource::Cluster),
        None if broker.security.is_super_user(&context.principal) => Ok(()),
        None => Err(ResponseError::ClusterAuthorizationFailed),
    }
}

fn row(user: &str, hashes: &[(Hash, u32)]) -> DescribeUserScramCredentialsResult {
    let infos = hashes.iter().map(|(hash, iterations)| {
        CredentialInfo::default().with_mechanism(*hash as i8).with_iterations(*iterations as i32)
    });
    DescribeUserScramCredentialsResult::default()
        .with_user(text(user))
        .with_credential_infos(infos.collect())
}

fn refusal(user: &str, code: ResponseError, message: &str) -> DescribeUserScramCredentialsResult {
    DescribeUserScramCredentialsResult::default()
        .with_user(text(user))
        .with_error_code(code.code())
        .with_error_message(Some(text(message)))
}
