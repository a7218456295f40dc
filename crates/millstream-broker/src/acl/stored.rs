//! The form of a rule in the *security* journal: all of it is the key, for two rules that differ
//! in anything stand beside each other.

use super::{AclOperation, PatternType, Permission, ResourceType, Rule};
use crate::journal::{Fields, put_bytes};

/// A rule as a key, without the byte that says what an entry is.
pub(crate) fn encode_rule(rule: &Rule) -> Vec<u8> {
    let mut out =
        vec![1, rule.kind as u8, rule.pattern as u8, rule.operation as u8, rule.permission as u8];
    for text in [&rule.name, &rule.principal, &rule.host] {
        put_bytes(&mut out, text.as_bytes());
    }
    out
}

/// Reads what [`encode_rule`] wrote; `None` if it is not that.
pub(crate) fn decode_rule(bytes: &[u8]) -> Option<Rule> {
    let mut fields = Fields(bytes);
    let [1, kind, pattern, operation, permission] = fields.fixed()? else { return None };
    let code = |byte: u8| i8::try_from(byte).ok();
    let rule = Rule {
        kind: ResourceType::from_code(code(kind)?)?,
        pattern: PatternType::from_code(code(pattern)?)?,
        operation: AclOperation::from_code(code(operation)?)?,
        permission: Permission::from_code(code(permission)?)?,
        name: fields.string()?,
        principal: fields.string()?,
        host: fields.string()?,
    };
    fields.0.is_empty().then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_comes_back_and_its_bytes_stay_as_they_are() {
        let rule = Rule {
            kind: ResourceType::Topic,
            name: "t".into(),
            pattern: PatternType::Prefixed,
            principal: "User:a".into(),
            host: "*".into(),
            operation: AclOperation::Write,
            permission: Permission::Deny,
        };
        let bytes = encode_rule(&rule);
        assert_eq!(bytes, b"\x01\x02\x04\x04\x02\0\0\0\x01t\0\0\0\x06User:a\0\0\0\x01*");
        assert_eq!(decode_rule(&bytes), Some(rule));
        for end in 0..bytes.len() {
            assert_eq!(decode_rule(&bytes[..end]), None, "{end}");
        }
        assert_eq!(decode_rule(&[&bytes[..], b"x"].concat()), None);
    }
}
