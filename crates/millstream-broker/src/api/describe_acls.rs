//! DescribeAcls (29), versions 1 to 3: the rules that a filter matches, by resource (KIP-140,
//! KIP-290). Where there are no access control lists all three requests about them are answered
//! with `SECURITY_DISABLED`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::text;
use crate::acl::filter::FilterFields;
use crate::acl::{AclOperation, Resource, RuleFilter};
use crate::broker::{Broker, Context, Reply};
use crate::topics::Refused;

pub(crate) fn handle(
    broker: &mut Broker,
    context: &Context,
    request: DescribeAclsRequest,
) -> Reply {
    let fields = FilterFields {
        kind: request.resource_type_filter,
        name: request.resource_name_filter.as_deref(),
        pattern: request.pattern_type_filter,
        principal: request.principal_filter.as_deref(),
        host: request.host_filter.as_deref(),
        operation: request.operation,
        permission: request.permission_type,
    };
    let asked = check(broker, context, AclOperation::Describe).and_then(|()| filter(&fields));
    let filter = match asked {
        Ok(filter) => filter,
        Err(refused) => {
            let response = DescribeAclsResponse::default()
                .with_error_code(refused.code.code())
                .with_error_message(Some(text(refused.message)));
            return context.reply(&response);
        }
    };
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    let rules = broker.security.authorizer.iter().flat_map(|known| known.rules());
    for rule in rules.filter(|rule| filter.matches(rule)) {
        let (kind, pattern) = (rule.kind as i8, rule.pattern as i8);
        let row = AclDescription::default()
            .with_principal(text(&rule.principal))
            .with_host(text(&rule.host))
            .with_operation(rule.operation as i8)
            .with_permission_type(rule.permission as i8);
        // Rules come in the order of their resources.
        match resources.last_mut() {
            Some(last)
                if last.resource_type == kind
                    && last.pattern_type == pattern
                    && last.resource_name.as_str() == rule.name =>
            {
                last.acls.push(row);
            }
            _ => resources.push(
                DescribeAclsResource::default()
                    .with_resource_type(kind)
                    .with_resource_name(text(&rule.name))
                    .with_pattern_type(pattern)
                    .with_acls(vec![row]),
            ),
        }
    }
    context.reply(&DescribeAclsResponse::default().with_resources(resources))
}

/// Whether a client may see or change the rules, and there are any to speak of.
///
/// # Errors
/// It may not, or there are none.
pub(crate) fn check(
    broker: &Broker,
    context: &Context,
    operation: AclOperation,
) -> Result<(), Refused> {
    if broker.security.authorizer.is_none() {
        let message = "no access control lists here: start the broker with --acl";
        return Err(Refused::new(ResponseError::SecurityDisabled, message));
    }
    broker.require(context, operation, Resource::Cluster)
}

/// Reads a filter.
///
/// # Errors
/// A code in it that does not exist.
pub(crate) fn filter(fields: &FilterFields<'_>) -> Result<RuleFilter, Refused> {
    RuleFilter::new(fields).map_err(|message| Refused::new(ResponseError::InvalidRequest, message))
}

/// The refusal of a change that the disk does not take.
pub(crate) fn not_stored() -> Refused {
    Refused::new(ResponseError::KafkaStorageError, "the broker's disk fails")
}
