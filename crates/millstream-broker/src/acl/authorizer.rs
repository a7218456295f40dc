//! The decision, as Kafka's `StandardAuthorizer` takes it: a super user may do everything; else a
//! rule that forbids wins over all that grant; and what no rule grants is forbidden.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{ANY_NAME, AclOperation, PatternType, Permission, Resource, ResourceType, Rule};

/// The rules, found by the resource they are about.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    super_users: BTreeSet<String>,
    rules: BTreeSet<Rule>,
    by_kind: HashMap<ResourceType, Patterns>,
    generation: u64,
}

#[derive(Debug, Default)]
struct Patterns {
    literal: HashMap<String, Vec<Rule>>,
    prefixed: BTreeMap<String, Vec<Rule>>,
    /// Bytes of the longest prefix: a long name must not cost a look-up for each of its bytes.
    longest_prefix: usize,
}

impl Patterns {
    /// Rules whose pattern the name matches.
    fn matching(&self, name: &str) -> impl Iterator<Item = &Rule> {
        let exact = [Some(name), (name != ANY_NAME).then_some(ANY_NAME)];
        let literal = exact.into_iter().flatten().filter_map(|name| self.literal.get(name));
        let longest = self.longest_prefix.min(name.len());
        let prefixed =
            (0..=longest).filter_map(move |length| self.prefixed.get(name.get(..length)?));
        literal.chain(prefixed).flatten()
    }
}

impl Authorizer {
    /// Without rules; `super_users` are principals such as `User:admin`.
    pub(crate) fn new(super_users: impl IntoIterator<Item = String>) -> Self {
        Self { super_users: super_users.into_iter().collect(), ..Self::default() }
    }

    /// Whether somebody at an address may do that.
    pub(crate) fn allows(
        &self,
        principal: &str,
        host: &str,
        operation: AclOperation,
        resource: Resource<'_>,
    ) -> bool {
        if self.super_users.contains(principal) {
            return true;
        }
        let Some(patterns) = self.by_kind.get(&resource.kind()) else { return false };
        let mut allowed = false;
        for rule in patterns.matching(resource.name()) {
            if !rule.concerns(principal, host) {
                continue;
            }
            match rule.permission {
                // A rule that forbids implies nothing: forbidding to read does not hide.
                Permission::Deny if concerns(rule.operation, operation) => return false,
                Permission::Deny => {}
                Permission::Allow => allowed |= rule.operation.implies(operation),
            }
        }
        allowed
    }

    /// Whether there may be any resource of the kind on which somebody may do that (KIP-679): some
    /// granting rule is not covered whole by one that forbids.
    pub(crate) fn allows_some(
        &self,
        principal: &str,
        host: &str,
        operation: AclOperation,
        kind: ResourceType,
    ) -> bool {
        if self.super_users.contains(principal) {
            return true;
        }
        let of_his = |rule: &&Rule| {
            rule.kind == kind
                && rule.concerns(principal, host)
                && concerns(rule.operation, operation)
        };
        let (denying, granting): (Vec<&Rule>, Vec<&Rule>) =
            self.rules.iter().filter(of_his).partition(|rule| rule.permission == Permission::Deny);
        let covered = |name: &str, pattern: PatternType| {
            denying.iter().any(|deny| match (deny.pattern, pattern) {
                (PatternType::Literal, _) if deny.name == ANY_NAME => true,
                // All names together are covered by nothing less.
                (_, PatternType::Literal) if name == ANY_NAME => false,
                (PatternType::Prefixed, _) => name.starts_with(&deny.name),
                (PatternType::Literal, PatternType::Literal) => deny.name == name,
                (PatternType::Literal, PatternType::Prefixed) => false,
            })
        };
        granting.iter().any(|rule| !covered(&rule.name, rule.pattern))
    }

    /// What somebody may do with a resource, one bit for each operation that exists for its kind
    /// (KIP-430).
    pub(crate) fn operations(&self, principal: &str, host: &str, resource: Resource<'_>) -> i32 {
        let all = resource.kind().operations().iter();
        all.filter(|operation| self.allows(principal, host, **operation, resource))
            .fold(0, |bits, operation| bits | 1 << (*operation as i8))
    }

    /// Grows whenever a rule comes or goes: what was decided before may be decided otherwise now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// All rules in their order.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Whether there is that rule.
    pub(crate) fn contains(&self, rule: &Rule) -> bool {
        self.rules.contains(rule)
    }

    /// Adds a rule; one that is there stays as it is.
    pub(crate) fn add(&mut self, rule: Rule) {
        if !self.rules.insert(rule.clone()) {
            return;
        }
        self.generation += 1;
        let patterns = self.by_kind.entry(rule.kind).or_default();
        match rule.pattern {
            PatternType::Literal => {
                patterns.literal.entry(rule.name.clone()).or_default().push(rule);
            }
            PatternType::Prefixed => {
                patterns.longest_prefix = patterns.longest_prefix.max(rule.name.len());
                patterns.prefixed.entry(rule.name.clone()).or_default().push(rule);
            }
        }
    }

    /// Takes a rule away, if there is that one.
    pub(crate) fn remove(&mut self, rule: &Rule) {
        if !self.rules.remove(rule) {
            return;
        }
        self.generation += 1;
        let Some(patterns) = self.by_kind.get_mut(&rule.kind) else { return };
        let of_name = match rule.pattern {
            PatternType::Literal => patterns.literal.get_mut(&rule.name),
            PatternType::Prefixed => patterns.prefixed.get_mut(&rule.name),
        };
        let Some(of_name) = of_name else { return };
        of_name.retain(|other| other != rule);
        if of_name.is_empty() {
            match rule.pattern {
                PatternType::Literal => drop(patterns.literal.remove(&rule.name)),
                PatternType::Prefixed => drop(patterns.prefixed.remove(&rule.name)),
            }
        }
        patterns.longest_prefix = patterns.prefixed.keys().map(String::len).max().unwrap_or(0);
    }
}

/// Whether a rule for `of` is one for `asked`, implications aside.
fn concerns(of: AclOperation, asked: AclOperation) -> bool {
    of == asked || of == AclOperation::All
}

#[cfg(test)]
mod tests;
