//! CreateAcls (30), versions 1 to 3: adds rules to the access control lists (KIP-140, KIP-290).
//! A rule that is there already is no error. Those of a request that are in order are made
//! together; the others are refused each.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::{describe_acls, text};
use crate::acl::{AclOperation, CLUSTER_NAME, PatternType, Permission, ResourceType, Rule};
use crate::broker::{Broker, Context, Reply};
use crate::topics::Refused;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: CreateAclsRequest) -> Reply {
    let allowed = describe_acls::check(broker, context, AclOperation::Alter);
    let mut rules = Vec::new();
    let mut outcomes: Vec<Result<(), Refused>> = Vec::with_capacity(request.creations.len());
    for asked in &request.creations {
        let rule = allowed.clone().and_then(|()| read(asked));
        outcomes.push(rule.map(|rule| rules.push(rule)));
    }
    let changes = !rules.is_empty();
    if let Err(error) = broker.security.add_rules(rules) {
        tracing::error!(%error, "cannot store access control lists");
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = Err(describe_acls::not_stored());
        }
    }
    if changes {
        broker.fetches.rights_changed();
    }
    let results = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(()) => AclCreationResult::default(),
            Err(refused) => AclCreationResult::default()
                .with_error_code(refused.code.code())
                .with_error_message(Some(text(refused.message))),
        })
        .collect();
    context.reply(&CreateAclsResponse::default().with_results(results))
}

fn read(asked: &AclCreation) -> Result<Rule, Refused> {
    let invalid = |message: String| Refused::new(ResponseError::InvalidRequest, message);
    let unknown = |what: &str, code: i8| invalid(format!("an ACL cannot have the {what} {code}"));
    let kind = ResourceType::from_code(asked.resource_type)
        .ok_or_else(|| unknown("resource type", asked.resource_type))?;
    let pattern = PatternType::from_code(asked.resource_pattern_type)
        .ok_or_else(|| unknown("pattern type", asked.resource_pattern_type))?;
    let operation = AclOperation::from_code(asked.operation)
        .ok_or_else(|| unknown("operation", asked.operation))?;
    let permission = Permission::from_code(asked.permission_type)
        .ok_or_else(|| unknown("permission type", asked.permission_type))?;
    let name = asked.resource_name.as_str();
    if name.is_empty() {
        return Err(invalid("an ACL needs the name of its resource".to_owned()));
    }
    if kind == ResourceType::Cluster && name != CLUSTER_NAME {
        return Err(invalid(format!("the only name for the cluster is {CLUSTER_NAME}")));
    }
    let principal = asked.principal.as_str();
    if !principal.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty()) {
        let message = format!("`{principal}` is no principal; User:NAME is wanted");
        return Err(invalid(message));
    }
    if asked.host.is_empty() {
        return Err(invalid("an ACL needs a host; * is any".to_owned()));
    }
    Ok(Rule {
        kind,
        name: name.to_owned(),
        pattern,
        principal: principal.to_owned(),
        host: asked.host.to_string(),
        operation,
        permission,
    })
}
