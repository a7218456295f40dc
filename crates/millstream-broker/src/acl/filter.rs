//! What a request to list or delete rules asks for (KIP-290). A field that is missing in it
//! matches everything; a pattern of the type "match" finds all rules that a name falls under.

use super::{ANY_NAME, AclOperation, PatternType, Permission, ResourceType, Rule};

/// "Any", in each of the protocol's lists of codes.
const ANY: i8 = 1;
/// The pattern type that finds literal, wildcard and prefixed rules of a name.
const MATCH: i8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatternFilter {
    Any,
    Match,
    Only(PatternType),
}

/// A filter of rules.
#[derive(Clone, Debug)]
pub(crate) struct RuleFilter {
    kind: Option<ResourceType>,
    name: Option<String>,
    pattern: PatternFilter,
    principal: Option<String>,
    host: Option<String>,
    operation: Option<AclOperation>,
    permission: Option<Permission>,
}

/// A filter as the protocol has it.
pub(crate) struct FilterFields<'a> {
    pub(crate) kind: i8,
    pub(crate) name: Option<&'a str>,
    pub(crate) pattern: i8,
    pub(crate) principal: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
    pub(crate) operation: i8,
    pub(crate) permission: i8,
}

impl RuleFilter {
    /// Reads a filter; the error is a text for the user.
    ///
    /// # Errors
    /// A code that does not exist.
    pub(crate) fn new(fields: &FilterFields<'_>) -> Result<Self, String> {
        let unknown = |what: &str, code: i8| format!("unknown {what} {code} in a filter of ACLs");
        let kind = code(fields.kind, ResourceType::from_code)
            .ok_or_else(|| unknown("resource type", fields.kind))?;
        let operation = code(fields.operation, AclOperation::from_code)
            .ok_or_else(|| unknown("operation", fields.operation))?;
        let permission = code(fields.permission, Permission::from_code)
            .ok_or_else(|| unknown("permission type", fields.permission))?;
        let pattern = match fields.pattern {
            ANY => PatternFilter::Any,
            MATCH => PatternFilter::Match,
            other => PatternFilter::Only(
                PatternType::from_code(other).ok_or_else(|| unknown("pattern type", other))?,
            ),
        };
        Ok(Self {
            kind,
            name: fields.name.map(str::to_owned),
            pattern,
            principal: fields.principal.map(str::to_owned),
            host: fields.host.map(str::to_owned),
            operation,
            permission,
        })
    }

    /// Whether a rule is asked for.
    pub(crate) fn matches(&self, rule: &Rule) -> bool {
        self.kind.is_none_or(|kind| kind == rule.kind)
            && self.matches_name(rule)
            && self.principal.as_ref().is_none_or(|principal| *principal == rule.principal)
            && self.host.as_ref().is_none_or(|host| *host == rule.host)
            && self.operation.is_none_or(|operation| operation == rule.operation)
            && self.permission.is_none_or(|permission| permission == rule.permission)
    }

    fn matches_name(&self, rule: &Rule) -> bool {
        if let PatternFilter::Only(pattern) = self.pattern
            && pattern != rule.pattern
        {
            return false;
        }
        let Some(name) = &self.name else { return true };
        match (self.pattern, rule.pattern) {
            (PatternFilter::Match, PatternType::Prefixed) => name.starts_with(&rule.name),
            (PatternFilter::Match, PatternType::Literal) => {
                rule.name == *name || rule.name == ANY_NAME
            }
            _ => rule.name == *name,
        }
    }
}

/// `Some(None)` is "any", `None` a code that does not exist.
fn code<T>(code: i8, from_code: impl Fn(i8) -> Option<T>) -> Option<Option<T>> {
    if code == ANY { Some(None) } else { from_code(code).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, pattern: PatternType) -> Rule {
        Rule {
            kind: ResourceType::Topic,
            name: name.into(),
            pattern,
            principal: "User:ann".into(),
            host: "*".into(),
            operation: AclOperation::Read,
            permission: Permission::Allow,
        }
    }

    fn filter(name: Option<&str>, pattern: i8) -> RuleFilter {
        let fields = FilterFields {
            kind: 2,
            name,
            pattern,
            principal: None,
            host: None,
            operation: 1,
            permission: 1,
        };
        RuleFilter::new(&fields).unwrap()
    }

    #[test]
    fn names_by_pattern_type() {
        let rules = [
            rule("orders", PatternType::Literal),
            rule("*", PatternType::Literal),
            rule("ord", PatternType::Prefixed),
            rule("orders", PatternType::Prefixed),
            rule("other", PatternType::Literal),
        ];
        for (name, pattern, expected) in [
            (Some("orders"), 1, &[0, 3][..]),
            (Some("orders"), 2, &[0, 1, 2, 3]),
            (Some("orders"), 3, &[0]),
            (Some("orders"), 4, &[3]),
            (Some("*"), 3, &[1]),
            (None, 1, &[0, 1, 2, 3, 4]),
            (None, 2, &[0, 1, 2, 3, 4]),
            (None, 4, &[2, 3]),
        ] {
            let filter = filter(name, pattern);
            let found: Vec<usize> =
                (0..rules.len()).filter(|at| filter.matches(&rules[*at])).collect();
            assert_eq!(found, expected, "{name:?} {pattern}");
        }
    }

    #[test]
    fn every_other_field_counts() {
        let all = || FilterFields {
            kind: 1,
            name: None,
            pattern: 1,
            principal: None,
            host: None,
            operation: 1,
            permission: 1,
        };
        let matches = |fields: FilterFields<'_>| {
            RuleFilter::new(&fields).unwrap().matches(&rule("orders", PatternType::Literal))
        };
        assert!(matches(all()));
        assert!(!matches(FilterFields { kind: 3, ..all() }));
        assert!(matches(FilterFields { principal: Some("User:ann"), ..all() }));
        assert!(!matches(FilterFields { principal: Some("User:*"), ..all() }));
        assert!(!matches(FilterFields { host: Some("::1"), ..all() }));
        assert!(!matches(FilterFields { operation: 4, ..all() }));
        assert!(!matches(FilterFields { permission: 2, ..all() }));
        for wrong in [
            FilterFields { kind: 0, ..all() },
            FilterFields { pattern: 5, ..all() },
            FilterFields { operation: -1, ..all() },
            FilterFields { permission: 4, ..all() },
        ] {
            assert!(RuleFilter::new(&wrong).is_err());
        }
    }
}
