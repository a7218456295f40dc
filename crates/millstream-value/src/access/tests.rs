use super::{assign, column, drop, fill, get, has_keys, project, require};
use crate::{Failure, FailureKind, InlineHost, Text, Value, repr};

/// A value undecoded and decoded: what is true of one is true of the other.
fn forms(text: &str) -> [Value; 2] {
    let json = || Value::json(text.to_owned()).unwrap();
    let mut decoded = json();
    decoded.decode_deep();
    [json(), decoded]
}

fn texts(names: &[&str]) -> Vec<Text> {
    names.iter().map(|name| Text::from(*name)).collect()
}

fn error<T: std::fmt::Debug>(result: Result<T, Failure>) -> (FailureKind, String) {
    let failure = result.unwrap_err();
    (failure.kind, failure.message)
}

#[test]
fn s01_column_reads() {
    for value in forms(r#"{"a": 1, "b": null}"#) {
        assert_eq!(repr(&column(&value, "a").unwrap()), "1");
        let (kind, message) = error(column(&value, "c"));
        assert_eq!(kind, FailureKind::ColumnDoesNotExist);
        assert_eq!(message, "the value has no column 'c'; it has 'a', 'b'");
    }
    for (text, name) in [("null", "NoneType"), ("[1]", "list"), ("5", "int"), ("\"a\"", "str")] {
        for value in forms(text) {
            let (kind, message) = error(column(&value, "c"));
            assert_eq!(kind, FailureKind::InvalidColumnReference);
            assert!(message.contains("'c'") && message.contains(name), "{message}");
        }
    }
}

#[test]
fn s01_an_error_lists_no_more_columns_than_one_can_read() {
    let fields: Vec<_> = (0..40).map(|n| format!("\"k{n}\":0")).collect();
    let [value, _] = forms(&format!("{{{}}}", fields.join(",")));
    let (_, message) = error(column(&value, "c"));
    assert!(message.ends_with("'k11', …"), "{message}");
}

#[test]
fn d34_assignment() {
    for mut value in forms(r#"{"a": 1, "b": 2}"#) {
        assign(&mut value, &"a".into(), "x".into()).unwrap();
        assign(&mut value, &"c".into(), Value::List(vec![1.into()])).unwrap();
        assign(&mut value, &"b".into(), Value::Float(f64::NAN)).unwrap();
        assert_eq!(repr(&value), "{'a': 'x', 'b': nan, 'c': [1]}");
    }
    for (text, message) in [
        ("5", "'int' object does not support item assignment"),
        ("null", "'NoneType' object does not support item assignment"),
        ("\"a\"", "'str' object does not support item assignment"),
        ("[1]", "list indices must be integers or slices, not str"),
    ] {
        for mut value in forms(text) {
            let result = assign(&mut value, &"a".into(), 1.into());
            assert_eq!(error(result), (FailureKind::Type, message.to_owned()));
        }
    }
}

/// Fields beside the assigned one stay as they came, and later readers see the new one.
#[test]
fn assignment_to_undecoded_json_leaves_it_undecoded() {
    let [mut value, _] = forms("{ \"a\": 1.50 }");
    assign(&mut value, &"b".into(), 2.into()).unwrap();
    assert_eq!(format!("{value:?}"), "json { \"a\": 1.50 ,\"b\":2}");
    assign(&mut value, &"a".into(), Value::Null).unwrap();
    assert_eq!(format!("{value:?}"), "json { \"a\": null ,\"b\":2}");
    let [mut empty, _] = forms("{ }");
    assign(&mut empty, &"\u{e9}\n".into(), true.into()).unwrap();
    assert_eq!(format!("{empty:?}"), "json { \"\u{e9}\\n\":true}");
}

#[test]
fn d31_projection() {
    for value in forms(r#"{"a": 1, "b": [2], "c": 3}"#) {
        let project = |names: &[&str]| project(&value, &texts(names), &InlineHost);
        assert_eq!(repr(&project(&["c", "b", "c"]).unwrap()), "{'c': 3, 'b': [2]}");
        assert_eq!(repr(&project(&[]).unwrap()), "{}");
        assert_eq!(error(project(&["a", "x"])), (FailureKind::Key, "'x'".to_owned()));
    }
    for value in forms("[1]") {
        let result = project(&value, &texts(&["a"]), &InlineHost);
        assert_eq!(error(result).1, "list indices must be integers or slices, not str");
        assert_eq!(repr(&project(&value, &[], &InlineHost).unwrap()), "{}");
    }
    for value in forms("null") {
        let result = project(&value, &texts(&["a"]), &InlineHost);
        assert_eq!(error(result).1, "'NoneType' object is not subscriptable");
    }
}

#[test]
fn d37_drop() {
    for mut value in forms(r#"{"a": 1, "b": 2, "c": 3}"#) {
        drop(&mut value, &texts(&["b", "x"]), true).unwrap();
        assert_eq!(repr(&value), "{'a': 1, 'c': 3}");
        let result = drop(&mut value, &texts(&["x"]), false);
        assert_eq!(error(result), (FailureKind::Key, "'x'".to_owned()));
        drop(&mut value, &[], false).unwrap();
        drop(&mut value, &texts(&["a", "c"]), false).unwrap();
        assert_eq!(repr(&value), "{}");
    }
    for mut value in forms("5") {
        let result = drop(&mut value, &texts(&["a"]), true);
        assert_eq!(error(result).1, "'int' object does not support item deletion");
        drop(&mut value, &[], false).unwrap();
    }
    for mut value in forms("[1]") {
        let result = drop(&mut value, &texts(&["a"]), true);
        assert_eq!(error(result).1, "list indices must be integers or slices, not str");
    }
}

#[test]
fn d38_fill() {
    let columns = [(Text::from("a"), Value::from(5)), (Text::from("n"), Value::Null)];
    for mut value in forms(r#"{"b": 0, "a": null}"#) {
        fill(&mut value, &columns).unwrap();
        assert_eq!(repr(&value), "{'b': 0, 'a': 5, 'n': None}");
    }
    for mut value in forms(r#"{"a": 0, "n": ""}"#) {
        fill(&mut value, &columns).unwrap();
        assert_eq!(repr(&value), "{'a': 0, 'n': ''}", "other falsy values stay");
    }
    for mut value in forms("[null]") {
        fill(&mut value, &columns).unwrap();
        assert_eq!(repr(&value), "[None]", "what is no dict passes unchanged");
    }
}

#[test]
fn d36_has_keys() {
    let has = |value: &Value, keys: Vec<Value>| has_keys(value, &keys, &InlineHost);
    for value in forms(r#"{"a": 1}"#) {
        assert!(has(&value, vec!["a".into()]).unwrap());
        assert!(!has(&value, vec!["a".into(), "b".into()]).unwrap());
        assert!(!has(&value, vec![1.into()]).unwrap());
        assert!(has(&value, vec![]).unwrap());
    }
    for value in forms(r#"["x", 1]"#) {
        assert!(has(&value, vec!["x".into(), true.into()]).unwrap());
    }
    for value in forms("\"text\"") {
        assert!(has(&value, vec!["ex".into()]).unwrap());
        assert_eq!(
            error(has(&value, vec![1.into()])).1,
            "'in <string>' requires string as left operand, not int"
        );
    }
    for value in forms("5") {
        assert_eq!(
            error(has(&value, vec!["a".into()])).1,
            "argument of type 'int' is not iterable"
        );
        assert!(has(&value, vec![]).unwrap());
    }
}

#[test]
fn w24_inputs_of_aggregations() {
    for value in forms(r#"{"a": 1.5, "n": null}"#) {
        assert_eq!(repr(&get(&value, "a").unwrap()), "1.5");
        assert!(get(&value, "n").unwrap().is_null());
        assert!(get(&value, "x").unwrap().is_null());
        let result = require(&value, "x", &InlineHost);
        assert_eq!(error(result), (FailureKind::Key, "'x'".to_owned()), "W-28");
    }
    for value in forms("null") {
        assert_eq!(
            error(get(&value, "a")),
            (FailureKind::Attribute, "'NoneType' object has no attribute 'get'".to_owned())
        );
    }
}
