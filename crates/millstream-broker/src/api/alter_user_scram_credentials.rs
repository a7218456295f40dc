//! AlterUserScramCredentials (51), version 0: sets and deletes what checks passwords of SCRAM
//! (KIP-554). The client has salted the password; what is kept of it does not let anybody log in.
//! What is set wins over the users file; what the file has can be replaced, not deleted.
//!
//! All changes of a user happen, or none. Who may do so is as with
//! [`describe_user_scram_credentials`](super::describe_user_scram_credentials).

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};

use super::{describe_user_scram_credentials, text};
use crate::acl::{self, AclOperation};
use crate::broker::{Broker, Context, Reply};
use crate::security::Security;
use crate::security::scram::{Hash, ITERATIONS_MAX, ITERATIONS_MIN, SALT_MAX, Verifier};
use crate::topics::Refused;

type Change = (String, Hash, Option<Verifier>);

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: AlterUserScramCredentialsRequest,
) -> Reply {
    let allowed = describe_user_scram_credentials::check(broker, context, AclOperation::Alter)
        .map_err(acl::refused);
    let deletions = request.deletions.iter().map(|asked| (&asked.name, asked.mechanism, None));
    let upsertions =
        request.upsertions.iter().map(|asked| (&asked.name, asked.mechanism, Some(asked)));
    let mut outcomes: BTreeMap<String, Result<(), Refused>> = BTreeMap::new();
    let mut changes: Vec<Change> = Vec::new();
    let mut named = HashSet::new();
    for (name, mechanism, upsertion) in deletions.chain(upsertions) {
        let change = allowed.clone().and_then(|()| {
            read(&broker.security, name, mechanism, upsertion).and_then(|change| {
                match named.insert((name.to_string(), mechanism)) {
                    true => Ok(change),
                    false => Err(Refused::new(
                        ResponseError::DuplicateResource,
                        "a credential cannot be changed twice in a request",
                    )),
                }
            })
        });
        let outcome = outcomes.entry(name.to_string()).or_insert(Ok(()));
        match change {
            Ok(change) => changes.push(change),
            Err(refused) if outcome.is_ok() => *outcome = Err(refused),
            Err(_) => {}
        }
    }
    changes.retain(|(name, _, _)| outcomes.get(name).is_some_and(Result::is_ok));
    if !changes.is_empty()
        && let Err(error) = broker.security.change_credentials(changes)
    {
        tracing::error!(%error, "cannot store credentials");
        for outcome in outcomes.values_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = Err(super::describe_acls::not_stored());
        }
    }
    let results = outcomes
        .into_iter()
        .map(|(user, outcome)| {
            let row = AlterUserScramCredentialsResult::default().with_user(text(user));
            match outcome {
                Ok(()) => row,
                Err(refused) => row
                    .with_error_code(refused.code.code())
                    .with_error_message(Some(text(refused.message))),
            }
        })
        .collect();
    context.reply(&AlterUserScramCredentialsResponse::default().with_results(results))
}

/// Reads a change; without an upsertion it is a deletion.
fn read(
    security: &Security,
    name: &str,
    mechanism: i8,
    upsertion: Option<&ScramCredentialUpsertion>,
) -> Result<Change, Refused> {
    let unacceptable =
        |message: String| Refused::new(ResponseError::UnacceptableCredential, message);
    if name.is_empty() {
        return Err(unacceptable("the user's name must not be empty".to_owned()));
    }
    let hash = Hash::from_code(mechanism).ok_or_else(|| {
        Refused::new(ResponseError::UnsupportedSaslMechanism, "unknown SCRAM mechanism")
    })?;
    let Some(asked) = upsertion else {
        if security.was_changed(name, hash) {
            return Ok((name.to_owned(), hash, None));
        }
        let message = match security.verifier(name, hash) {
            Some(_) => "the credential stands in the users file: delete it there",
            None => "there is no such credential",
        };
        return Err(Refused::new(ResponseError::ResourceNotFound, message));
    };
    let iterations = u32::try_from(asked.iterations).unwrap_or(0);
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(unacceptable(format!(
            "iterations must be from {ITERATIONS_MIN} to {ITERATIONS_MAX}"
        )));
    }
    if !(1..=SALT_MAX).contains(&asked.salt.len()) {
        return Err(unacceptable(format!("a salt has from 1 to {SALT_MAX} bytes")));
    }
    if asked.salted_password.len() != hash.len() {
        return Err(unacceptable(format!("a salted password has {} bytes", hash.len())));
    }
    if !security.can_keep() {
        let message = "nobody can log in here: start the broker with --users";
        return Err(Refused::new(ResponseError::SecurityDisabled, message));
    }
    let verifier = Verifier::of_salted(hash, &asked.salted_password, &asked.salt, iterations);
    Ok((name.to_owned(), hash, Some(verifier)))
}
