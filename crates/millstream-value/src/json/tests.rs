use proptest::prelude::*;

use super::{JsonError, JsonText, Number, check, write};
use crate::{Map, Text, Value, repr};

fn json(text: &str) -> JsonText {
    JsonText::check(text.to_owned().into()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn written(value: &Value) -> String {
    let mut out = Vec::new();
    write(value, &mut out).expect("the value has a JSON form");
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn white_space_around_the_value_is_left_out() {
    assert_eq!(json(" \r\n\t{ \"a\" : 1 } \n").as_str(), "{ \"a\" : 1 }");
    assert_eq!(json("null").as_str(), "null");
}

/// T-45: what is refused, and where.
#[test]
fn t45_errors_say_where_and_what() {
    let error = |text: &[u8]| {
        let JsonError { position, what } = check(text).expect_err("it is no JSON");
        format!("{position}: {what}")
    };
    assert_eq!(error(b""), "0: the text is empty");
    assert_eq!(error(br#"{"a":1,}"#), "7: a comma before `}`");
    assert_eq!(error(br#"{"a" 1}"#), "5: no colon after a key");
    assert_eq!(error(br#"{"a":NaN}"#), "5: NaN and Infinity are not JSON");
    assert_eq!(error(b"[1, 02]"), "4: a number with a leading zero");
    assert_eq!(error(b"\"a\nb\""), "2: a control character in a string must be escaped");
    assert_eq!(error(br#""x\ud800y""#), "2: a lone surrogate");
    assert_eq!(error(b"\"abc\xff\""), "4: text that is not UTF-8");
    assert_eq!(error(b"[1e999]"), "1: a number beyond the range of a double");
    assert_eq!(error(b"[1] 2"), "4: more text after the value");
    assert_eq!(error(b"\xef\xbb\xbf1"), "0: a byte order mark; write UTF-8 without one");
    assert_eq!(error(&b"[".repeat(1025)), "1024: more than 1024 containers in each other");
}

#[test]
fn deep_text_is_read_and_written_without_recursion_limits() {
    let text = format!("{}{}", "[".repeat(1024), "]".repeat(1024));
    let value = json(&text).get().decode_deep();
    assert_eq!(written(&value), text);
    let deeper = Value::List(vec![value]);
    let error = write(&deeper, &mut Vec::new()).expect_err("one too many");
    assert!(error.message.contains("1024"), "{error}");
}

/// T-45: of duplicate keys the last value, in the place of the first; for all readers.
#[test]
fn t45_the_last_of_duplicate_keys_wins() {
    let text = json(r#"{"a":1,"b":2,"\u0061":3,"b":{"c":4,"c":5}}"#);
    assert_eq!(text.get().field("a").map(|value| value.as_str()), Some("3"));
    assert_eq!(text.get().path(["b", "c"]).map(|value| value.as_str()), Some("5"));
    assert_eq!(repr(&text.get().decode_deep()), "{'a': 3, 'b': {'c': 5}}");
    assert_eq!(repr(&text.get().decode()), "{'a': 3, 'b': {'c': 5}}");
}

#[test]
fn many_fields_are_found_and_counted_once() {
    let fields: Vec<_> = (0..200).map(|n| format!(r#""k{}":{n}"#, n % 150)).collect();
    let value = json(&format!("{{{}}}", fields.join(","))).get().decode_deep();
    let map = value.as_map().expect("it is a map");
    assert_eq!(map.len(), 150);
    assert_eq!(map.get("k10").and_then(Value::as_i64), Some(160));
    assert_eq!(map.get("k140").and_then(Value::as_i64), Some(140));
    assert_eq!(map.keys().nth(10).map(|key| key.as_str()), Some("k10"));
}

/// A map with more fields than an index holds, and one that is longer than it reaches, are walked.
#[test]
fn large_maps_are_read_without_an_index() {
    for count in [31, 32, 33, 200] {
        let fields: Vec<_> = (0..count).map(|n| format!(r#""k{n}":{{"k0":{n}}}"#)).collect();
        let text = json(&format!("{{{}}}", fields.join(",")));
        for n in 0..count {
            let found = text.get().path([&*format!("k{n}"), "k0"]).map(|value| value.as_str());
            assert_eq!(found, Some(&*n.to_string()));
        }
        assert!(text.get().field("k").is_none());
    }
    let long = "x".repeat(1 << 16);
    let text = json(&format!(r#"{{"a":"{long}","b":1}}"#));
    assert_eq!(text.get().field("b").map(|value| value.as_str()), Some("1"));
    let spaced = json(r#"  {"a":1,"b":2}"#);
    assert_eq!(spaced.get().field("b").map(|value| value.as_str()), Some("2"));
}

#[test]
fn t45_integers_beyond_64_bits_become_floats() {
    let number = |text| json(text).get().number().expect("it is a number");
    assert_eq!(number("9223372036854775807"), Number::Int(i64::MAX));
    assert_eq!(number("9223372036854775808"), Number::UInt(1 << 63));
    assert_eq!(number("18446744073709551615"), Number::UInt(u64::MAX));
    assert_eq!(number("18446744073709551616"), Number::Float(18446744073709551616.0));
    assert_eq!(number("-9223372036854775808"), Number::Int(i64::MIN));
    assert_eq!(number("-9223372036854775809"), Number::Float(-9223372036854775808.0));
    assert_eq!(number("-0"), Number::Int(0));
    assert!(matches!(number("-0.0"), Number::Float(zero) if zero.is_sign_negative()));
}

#[test]
fn long_strings_share_the_text_and_short_ones_do_not_need_it() {
    let long = "a string that is too long to be kept in place";
    let text = json(&format!(r#"["{long}","short","tab\tinside"]"#));
    let values: Vec<_> = text.get().items().map(|item| item.to_value()).collect();
    assert_eq!(repr(&Value::List(values)), format!("['{long}', 'short', 'tab\\tinside']"));
    let part = text.get().items().next().expect("there are three").to_value();
    let inside = text.as_bytes().as_ptr_range();
    assert!(inside.contains(&part.as_str().expect("it is a string").as_ptr()));
}

#[test]
fn t44_strings_are_escaped_as_orjson_escapes_them() {
    let text = "\u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}\u{80}\u{2028}\u{1f600}";
    let expected =
        concat!(r#""\u0000\b\t\n\u000b\f\r\u001f \"\\/"#, "\u{7f}\u{80}\u{2028}\u{1f600}\"");
    assert_eq!(written(&Value::from(text)), expected);
    assert_eq!(json(expected).get().to_value().as_str(), Some(text));
}

/// Space between tokens.
fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 2 => Just(" "), 1 => Just("\n\t ")]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-c]{1,6}",
        1 => Just("\\\"".to_owned()),
        1 => Just("\\\\".to_owned()),
        1 => Just("\\u00e9".to_owned()),
        1 => Just("\\ud83d\\ude00".to_owned()),
        1 => Just("é€😀".to_owned()),
        1 => Just("{[,:]}".to_owned()),
        1 => Just("a long plain run of characters".to_owned()),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?",
        string(),
    ]
}

/// JSON text with odd spacing, escapes and duplicate keys.
fn document() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        let item = (space(), inner, space()).prop_map(|(a, text, b)| format!("{a}{text}{b}")).boxed();
        let key = prop_oneof![2 => string(), 1 => Just(r#""a""#.to_owned()), 1 => Just(r#""\u0061""#.to_owned())];
        let field = (space(), key, space(), item.clone())
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
        prop_oneof![
            (space(), prop::collection::vec(item, 0..6)).prop_map(|(space, items)| {
                if items.is_empty() { format!("[{space}]") } else { format!("[{}]", items.join(",")) }
            }),
            (space(), prop::collection::vec(field, 0..7)).prop_map(|(space, fields)| {
                if fields.is_empty() { format!("{{{space}}}") } else { format!("{{{}}}", fields.join(",")) }
            }),
        ]
    })
}

/// What serde_json reads, as `repr` would write it.
fn reference(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::String(text) => Value::from(&**text),
        serde_json::Value::Number(number) => {
            // The workspace has serde_json keep numbers as they are spelled.
            let text = number.to_string();
            let integer = !text.contains(['.', 'e', 'E']);
            match (text.parse::<i64>(), text.parse::<u64>()) {
                (Ok(value), _) if integer => Value::from(value),
                (_, Ok(value)) if integer => Value::from(value),
                _ => Value::from(text.parse::<f64>().expect("a JSON number is a float")),
            }
        }
        serde_json::Value::Array(items) => Value::List(items.iter().map(reference).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.iter().map(|(key, value)| (&**key, reference(value))).collect())
        }
    }
}

/// Whether `check` and serde_json agree about bytes, and about what they mean.
fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match JsonText::check(bytes.to_vec().into()) {
        Ok(text) => {
            let value = text.get().decode_deep();
            match theirs {
                Ok(theirs) => prop_assert_eq!(repr(&value), repr(&reference(&theirs))),
                Err(error) => {
                    prop_assert!(error.to_string().contains("recursion limit"), "{}", error);
                }
            }
        }
        // Ours refuses what no double can hold; theirs keeps the spelling.
        Err(error) if error.what.contains("range of a double") => {}
        Err(error) => prop_assert!(theirs.is_err(), "{error}: {bytes:?}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn check_agrees_on_documents(text in document()) {
        agree(text.as_bytes())?;
    }

    #[test]
    fn check_agrees_on_damaged_documents(
        text in document(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (index, byte, kind) in changes {
            let at = index.index(bytes.len() + 1);
            let token = b"\"\\{}[],:0-.e tfn"[usize::from(byte) % 16];
            match kind {
                0 if at < bytes.len() => { bytes.remove(at); }
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at),
                _ => bytes.insert(at, token),
            }
        }
        agree(&bytes)?;
    }

    #[test]
    fn check_agrees_on_tokens(bytes in prop::collection::vec(prop::sample::select(
        b"\"\\{}[],:0123-+.eE tfnrualse\n\x00\xc3\xa9".to_vec()), 0..24))
    {
        agree(&bytes)?;
    }

    /// Lazy and whole reads come to the same, wherever a value is reached from.
    #[test]
    fn lazy_reads_agree_with_whole_ones(text in document()) {
        let text = json(&text);
        // A shared text has no index of its fields.
        let shared = text.clone();
        let whole = text.get().decode_deep();
        let mut half = text.get().decode();
        prop_assert_eq!(repr(&half), repr(&whole));
        half.decode_deep();
        prop_assert_eq!(repr(&half), repr(&whole));
        prop_assert_eq!(format!("{half:?}"), format!("{whole:?}"));
        if let Value::Map(map) = &whole {
            for (key, value) in map.iter() {
                for text in [&text, &shared] {
                    let field = text.get().field(key).expect("the whole has it");
                    prop_assert_eq!(repr(&field.to_value()), repr(value));
                }
            }
            for key in ["no such key", "", "b"] {
                prop_assert_eq!(text.get().field(key).is_some(), map.contains_key(key));
                prop_assert_eq!(shared.get().field(key).is_some(), map.contains_key(key));
            }
        }
        if let Value::List(items) = &whole {
            prop_assert_eq!(text.get().items().count(), items.len());
        }
    }

    #[test]
    fn what_is_written_reads_back_as_it_was(text in document()) {
        let value = json(&text).get().decode_deep();
        let once = json(&written(&value));
        prop_assert_eq!(repr(&once.get().decode_deep()), repr(&value));
        prop_assert_eq!(written(&once.get().decode_deep()), once.as_str());
    }

    #[test]
    fn floats_read_back_exactly(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let text = written(&Value::Float(float));
        match json(&text).get().number() {
            Some(Number::Float(read)) => prop_assert_eq!(read.to_bits(), bits),
            other => prop_assert!(false, "{text} was read as {other:?}"),
        }
        prop_assert_eq!(repr(&Value::Float(float)).parse::<f64>().map(f64::to_bits), Ok(bits));
    }

    /// The short way to read a decimal fraction rounds as the long one.
    #[test]
    fn decimal_fractions_are_rounded_once(text in "-?(0|[1-9][0-9]{0,17})\\.[0-9]{1,18}") {
        match json(&text).get().number() {
            Some(Number::Float(read)) => prop_assert_eq!(Ok(read), text.parse::<f64>()),
            other => prop_assert!(false, "{text} was read as {other:?}"),
        }
    }

    /// A text that was changed means what the map means that was changed alike.
    #[test]
    fn changed_texts_mean_what_changed_maps_mean(
        fields in prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "d\\n"]), scalar(), space()), 0..6),
        key in prop::sample::select(vec!["a", "b", "new", "d\n", "q\"uote"]),
        value in prop_oneof![
            any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from), any::<bool>().prop_map(Value::from),
            ".{0,30}".prop_map(Value::from), Just(()).prop_map(|()| Value::Null), Just(()).prop_map(|()| Value::List(vec![])),
        ],
        columns in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d\n"]), 0..4),
    ) {
        let fields: Vec<_> =
            fields.iter().map(|(key, value, space)| format!("{space}\"{key}\":{space}{value}{space}")).collect();
        let record = format!("{{{}}}", fields.join(","));
        let map = || match json(&record).get().decode_deep() {
            Value::Map(map) => map,
            other => panic!("{other:?} is no map"),
        };

        for text in [json(&record), json(&record).clone()] {
            let mut assigned = Value::Json(text);
            crate::access::assign(&mut assigned, &Text::from(key), value.share()).expect("a map takes it");
            let mut expected = map();
            expected.insert(key, value.share());
            prop_assert_eq!(repr(&assigned), repr(&Value::Map(expected)));
        }

        let columns: Vec<Text> = columns.into_iter().map(Text::from).collect();
        let projected: Option<Map> = columns
            .iter()
            .map(|column| Some((column, map().remove(column)?)))
            .collect();
        match (json(&record).with_only(&columns), projected) {
            (Ok(text), Some(expected)) => {
                prop_assert_eq!(repr(&Value::Json(text)), repr(&Value::Map(expected)));
            }
            (Err(missing), None) => prop_assert!(!map().contains_key(missing)),
            (actual, expected) => prop_assert!(false, "{actual:?}, {expected:?}"),
        }

        for ignore_missing in [true, false] {
            let mut left = map();
            let mut all = true;
            for column in &columns {
                all &= left.remove(column).is_some();
            }
            match json(&record).without(&columns, ignore_missing) {
                Ok(text) => {
                    prop_assert!(all || ignore_missing);
                    prop_assert_eq!(repr(&Value::Json(text)), repr(&Value::Map(left)));
                }
                Err(_) => prop_assert!(!all && !ignore_missing),
            }
        }
    }
}
