use super::*;
use AclOperation::*;
use PatternType::{Literal, Prefixed};
use Permission::{Allow, Deny};

const ANN: &str = "User:ann";
const HOST: &str = "127.0.0.1";

fn rule(
    principal: &str,
    host: &str,
    name: &str,
    pattern: PatternType,
    operation: AclOperation,
    permission: Permission,
) -> Rule {
    Rule {
        kind: ResourceType::Topic,
        name: name.into(),
        pattern,
        principal: principal.into(),
        host: host.into(),
        operation,
        permission,
    }
}

fn with(rules: &[Rule]) -> Authorizer {
    let mut authorizer = Authorizer::new(["User:root".to_owned()]);
    rules.iter().for_each(|rule| authorizer.add(rule.clone()));
    authorizer
}

#[test]
fn nothing_is_allowed_without_a_rule_but_to_a_super_user() {
    let authorizer = with(&[]);
    for resource in [
        Resource::Topic("t"),
        Resource::Group("g"),
        Resource::Cluster,
        Resource::TransactionalId("x"),
    ] {
        for operation in AclOperation::ALL {
            assert!(!authorizer.allows(ANN, HOST, *operation, resource));
            assert!(authorizer.allows("User:root", HOST, *operation, resource));
        }
    }
}

#[test]
fn patterns_principals_and_hosts() {
    for (name, pattern, principal, host, asked, expected) in [
        ("orders", Literal, ANN, "*", "orders", true),
        ("orders", Literal, ANN, "*", "orders-2", false),
        ("orders", Prefixed, ANN, "*", "orders-2", true),
        ("orders", Prefixed, ANN, "*", "order", false),
        ("*", Literal, ANN, "*", "anything", true),
        // As a prefix a star is a star.
        ("*", Prefixed, ANN, "*", "anything", false),
        ("orders", Literal, "User:*", "*", "orders", true),
        ("orders", Literal, "User:bob", "*", "orders", false),
        ("orders", Literal, ANN, HOST, "orders", true),
        ("orders", Literal, ANN, "10.0.0.1", "orders", false),
        ("o\u{e4}", Prefixed, ANN, "*", "o\u{e4}b", true),
        ("o\u{e4}", Prefixed, ANN, "*", "o\u{f6}b", false),
    ] {
        let authorizer = with(&[rule(principal, host, name, pattern, Read, Allow)]);
        let found = authorizer.allows(ANN, HOST, Read, Resource::Topic(asked));
        assert_eq!(found, expected, "{name} {pattern:?} {principal} {host} {asked}");
        assert!(!authorizer.allows(ANN, HOST, Read, Resource::Group(asked)));
    }
}

#[test]
fn granted_operations_imply_others_and_forbidden_ones_do_not() {
    for granted in AclOperation::ALL {
        let authorizer = with(&[rule(ANN, "*", "t", Literal, *granted, Allow)]);
        for asked in AclOperation::ALL {
            let implied = match asked {
                Describe => matches!(granted, Read | Write | Delete | Alter),
                DescribeConfigs => *granted == AlterConfigs,
                _ => false,
            };
            let expected = granted == asked || *granted == All || implied;
            let found = authorizer.allows(ANN, HOST, *asked, Resource::Topic("t"));
            assert_eq!(found, expected, "{granted:?} {asked:?}");
        }
        let authorizer = with(&[
            rule(ANN, "*", "*", Literal, All, Allow),
            rule(ANN, "*", "t", Prefixed, *granted, Deny),
        ]);
        for asked in AclOperation::ALL {
            let forbidden = granted == asked || *granted == All;
            let found = authorizer.allows(ANN, HOST, *asked, Resource::Topic("t"));
            assert_eq!(found, !forbidden, "without {granted:?}: {asked:?}");
        }
    }
}

#[test]
fn what_is_removed_no_longer_counts() {
    let rules = [
        rule(ANN, "*", "t", Literal, Read, Allow),
        rule(ANN, "*", "pre", Prefixed, Read, Allow),
        rule(ANN, "*", "t", Literal, Read, Deny),
    ];
    let mut authorizer = with(&rules);
    let may =
        |authorizer: &Authorizer, name| authorizer.allows(ANN, HOST, Read, Resource::Topic(name));
    assert!(!may(&authorizer, "t") && may(&authorizer, "prefix"));
    authorizer.remove(&rules[2]);
    assert!(may(&authorizer, "t"));
    authorizer.remove(&rules[0]);
    authorizer.remove(&rules[1]);
    assert!(!may(&authorizer, "t") && !may(&authorizer, "prefix"));
    assert_eq!(authorizer.rules().count(), 0);
}

#[test]
fn the_bits_of_what_somebody_may_do() {
    let authorizer = with(&[rule(ANN, "*", "t", Literal, Read, Allow)]);
    let bits = |principal, resource| authorizer.operations(principal, HOST, resource);
    assert_eq!(bits(ANN, Resource::Topic("t")), 1 << 3 | 1 << 8);
    assert_eq!(bits(ANN, Resource::Topic("u")), 0);
    use crate::api::operations::{CLUSTER, GROUP, TOPIC};
    assert_eq!(bits("User:root", Resource::Topic("t")), TOPIC);
    assert_eq!(bits("User:root", Resource::Group("g")), GROUP);
    assert_eq!(bits("User:root", Resource::Cluster), CLUSTER);
}

#[test]
fn whether_some_topic_may_be_written() {
    for (rules, expected) in [
        (vec![], false),
        (vec![("t", Literal, Allow)], true),
        (vec![("t", Literal, Allow), ("t", Literal, Deny)], false),
        (vec![("t", Literal, Allow), ("u", Literal, Deny)], true),
        (vec![("t", Literal, Allow), ("", Prefixed, Deny)], false),
        (vec![("tea", Prefixed, Allow), ("t", Prefixed, Deny)], false),
        (vec![("t", Prefixed, Allow), ("tea", Prefixed, Deny)], true),
        (vec![("t", Prefixed, Allow), ("t", Literal, Deny)], true),
        (vec![("*", Literal, Allow), ("t", Prefixed, Deny)], true),
        (vec![("*", Literal, Allow), ("*", Literal, Deny)], false),
        (vec![("t", Prefixed, Allow), ("*", Literal, Deny)], false),
    ] {
        let given: Vec<Rule> = rules
            .iter()
            .map(|(name, pattern, permission)| rule(ANN, "*", name, *pattern, Write, *permission))
            .collect();
        let some = with(&given).allows_some(ANN, HOST, Write, ResourceType::Topic);
        assert_eq!(some, expected, "{rules:?}");
    }
    let read_only = with(&[rule(ANN, "*", "t", Literal, Read, Allow)]);
    assert!(!read_only.allows_some(ANN, HOST, Write, ResourceType::Topic));
    assert!(read_only.allows_some("User:root", HOST, Write, ResourceType::Topic));
}
