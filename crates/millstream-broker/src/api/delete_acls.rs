//! DeleteAcls (31), versions 1 to 3: takes away all rules that the filters of a request match, and
//! says which (KIP-140, KIP-290).

use std::collections::BTreeSet;

use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl,
};
use kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::{describe_acls, text};
use crate::acl::filter::FilterFields;
use crate::acl::{AclOperation, Rule};
use crate::broker::{Broker, Context, Reply};
use crate::topics::Refused;

pub(crate) fn handle(broker: &mut Broker, context: &Context, request: DeleteAclsRequest) -> Reply {
    let allowed = describe_acls::check(broker, context, AclOperation::Alter);
    // A rule goes with the first filter that matches it: it must not fill the answer many times.
    let mut gone: BTreeSet<Rule> = BTreeSet::new();
    let mut outcomes: Vec<Result<Vec<Rule>, Refused>> = Vec::with_capacity(request.filters.len());
    for asked in &request.filters {
        let filter = allowed.clone().and_then(|()| describe_acls::filter(&fields(asked)));
        outcomes.push(filter.map(|filter| {
            let rules = broker.security.authorizer.iter().flat_map(|known| known.rules());
            let matching = rules.filter(|rule| filter.matches(rule) && !gone.contains(*rule));
            let matching: Vec<Rule> = matching.cloned().collect();
            gone.extend(matching.iter().cloned());
            matching
        }));
    }
    let gone: Vec<Rule> = gone.into_iter().collect();
    if let Err(error) = broker.security.remove_rules(&gone) {
        tracing::error!(%error, "cannot store access control lists");
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
            *outcome = Err(describe_acls::not_stored());
        }
    }
    if !gone.is_empty() {
        broker.fetches.rights_changed();
    }
    let results = outcomes.into_iter().map(result).collect();
    context.reply(&DeleteAclsResponse::default().with_filter_results(results))
}

fn result(outcome: Result<Vec<Rule>, Refused>) -> DeleteAclsFilterResult {
    match outcome {
        Ok(rules) => {
            let rows = rules.into_iter().map(|rule| {
                DeleteAclsMatchingAcl::default()
                    .with_resource_type(rule.kind as i8)
                    .with_resource_name(text(rule.name))
                    .with_pattern_type(rule.pattern as i8)
                    .with_principal(text(rule.principal))
                    .with_host(text(rule.host))
                    .with_operation(rule.operation as i8)
                    .with_permission_type(rule.permission as i8)
            });
            DeleteAclsFilterResult::default().with_matching_acls(rows.collect())
        }
        Err(refused) => DeleteAclsFilterResult::default()
            .with_error_code(refused.code.code())
            .with_error_message(Some(text(refused.message))),
    }
}

fn fields(asked: &DeleteAclsFilter) -> FilterFields<'_> {
    FilterFields {
        kind: asked.resource_type_filter,
        name: asked.resource_name_filter.as_deref(),
        pattern: asked.pattern_type_filter,
        principal: asked.principal_filter.as_deref(),
        host: asked.host_filter.as_deref(),
        operation: asked.operation,
        permission: asked.permission_type,
    }
}
