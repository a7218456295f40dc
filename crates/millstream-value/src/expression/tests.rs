use std::any::Any;
use std::sync::{Arc, Mutex};

use millstream_types::TopicPartition;
use proptest::prelude::*;

use super::{DEPTH_MAX, Expr};
use crate::{
    BinaryOp, Call, Failure, FailureKind, Function, Headers, Host, HostObject, InlineHost,
    RecordContext, Value, repr,
};

/// A user function written in Rust.
struct Native<F>(&'static str, F);

impl<F> Function for Native<F>
where
    F: Fn(&mut Call<'_>) -> Result<Value, Failure> + Send + Sync,
{
    fn name(&self) -> &str {
        self.0
    }

    fn needs_host(&self) -> bool {
        false
    }

    fn call(&self, call: &mut Call<'_>) -> Result<Value, Failure> {
        (self.1)(call)
    }

    fn call_expand(
        &self,
        _: &mut Call<'_>,
        _: &mut dyn FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        unreachable!("expressions do not expand")
    }

    fn call_values(&self, _: Vec<Value>) -> Result<Value, Failure> {
        unreachable!("expressions do not reduce")
    }
}

fn function(
    name: &'static str,
    body: impl Fn(&mut Call<'_>) -> Result<Value, Failure> + Send + Sync + 'static,
) -> Arc<dyn Function> {
    Arc::new(Native(name, body))
}

/// Evaluates on a record as the engine does; also gives the record's value afterwards.
fn evaluate(expr: &Expr, value: &str) -> (Result<Value, Failure>, Value) {
    let mut value = Value::json(value.to_owned()).unwrap();
    let mut key = Value::from("the key");
    let mut headers = Headers::none();
    let context = RecordContext {
        topic_partition: TopicPartition { topic: "t".into(), partition: 0 },
        offset: 7,
        size: 0,
        leader_epoch: None,
    };
    let mut call = Call {
        value: &mut value,
        key: &mut key,
        timestamp: 1_000,
        headers: &mut headers,
        state: None,
        context: &context,
    };
    let result = expr.evaluate(&mut call, &InlineHost);
    if let Ok(result) = &result {
        let truthy = expr.truthy(&mut call, &InlineHost).unwrap();
        let falsy = Expr::not(Expr::constant(result.share()));
        let falsy = falsy.evaluate_native(&Value::Null, &InlineHost).unwrap();
        assert_eq!(falsy.as_bool(), Some(!truthy), "evaluate and truthy agree");
    }
    (result, value)
}

fn column(name: &str) -> Expr {
    Expr::column(name)
}

/// S-06: a function of a column, in the middle of an expression.
#[test]
fn s06_functions_inside_expressions() {
    let length = function("len", |call| Ok(Value::from(call.value.as_str().map_or(0, str::len))));
    let expr = Expr::binary(
        BinaryOp::Mul,
        Expr::apply(length, Expr::index(column("names"), Expr::constant(0))),
        column("factor"),
    );
    let (result, value) = evaluate(&expr, r#"{"names": ["Anna"], "factor": 2.5}"#);
    assert_eq!(repr(&result.unwrap()), "10.0");
    assert!(matches!(value, Value::Json(_)), "the record stays as it came");
    assert!(expr.has_calls() && !expr.needs_host());
    assert_eq!(format!("{expr:?}"), "(len(value['names'][0]) * value['factor'])");

    let alone = expr.evaluate_native(&Value::Null, &InlineHost).unwrap_err();
    assert_eq!(alone.kind, FailureKind::InvalidOperation);
}

#[test]
fn functions_see_key_timestamp_and_context() {
    let seen = function("seen", |call| {
        let text = format!("{:?} {} {}", call.key, call.timestamp, call.context.offset);
        Ok(Value::from(text))
    });
    let (result, _) = evaluate(&Expr::apply(seen, column("a")), r#"{"a": 1}"#);
    assert_eq!(result.unwrap().as_str(), Some("\"the key\" 1000 7"));
}

/// A function of the whole record may change it in its place; what comes later sees that.
#[test]
fn functions_of_the_record_change_the_record() {
    let count = function("count", |call| {
        call.value.decode();
        let map = call.value.as_map_mut().expect("a map");
        let turns = map.get("turns").and_then(Value::as_i64).unwrap_or(0) + 1;
        map.insert("turns", turns.into());
        Ok(Value::from(turns))
    });
    let expr = Expr::binary(BinaryOp::Add, Expr::apply(count, Expr::record()), column("turns"));
    // `evaluate` in this file runs it twice: S-16, every use evaluates anew.
    let (result, value) = evaluate(&expr, r#"{"a": 1}"#);
    assert_eq!(repr(&result.unwrap()), "2");
    assert_eq!(repr(&value), "{'a': 1, 'turns': 2}");
}

/// S-05: the right side is evaluated only if needed.
#[test]
fn s05_logic_is_lazy() {
    let calls = Arc::new(Mutex::new(0));
    let counted = {
        let calls = Arc::clone(&calls);
        function("counted", move |_| {
            *calls.lock().unwrap() += 1;
            Ok(Value::from("called"))
        })
    };
    let right = Expr::apply(counted, column("a"));
    let and = Expr::and(column("a"), right.clone());
    let or = Expr::or(column("a"), right);
    assert_eq!(repr(&evaluate(&and, r#"{"a": 0}"#).0.unwrap()), "0");
    assert_eq!(repr(&evaluate(&or, r#"{"a": 5}"#).0.unwrap()), "5");
    assert_eq!(*calls.lock().unwrap(), 0);
    assert_eq!(repr(&evaluate(&and, r#"{"a": 5}"#).0.unwrap()), "'called'");
    assert_eq!(repr(&evaluate(&or, r#"{"a": 0}"#).0.unwrap()), "'called'");

    let missing = Expr::or(column("a"), column("missing"));
    assert!(evaluate(&missing, r#"{"a": 1}"#).0.is_ok());
    let error = evaluate(&missing, r#"{"a": 0}"#).0.unwrap_err();
    assert_eq!(error.kind, FailureKind::ColumnDoesNotExist);
}

#[test]
fn a_failing_function_fails_the_expression() {
    let broken =
        function("broken", |_| Err(Failure::new(FailureKind::Value, "as the user raised it")));
    let expr = Expr::is_null(Expr::apply(broken, column("a")));
    let error = evaluate(&expr, r#"{"a": 1}"#).0.unwrap_err();
    assert_eq!((error.kind, &*error.message), (FailureKind::Value, "as the user raised it"));
}

/// More columns than one pass looks for.
#[test]
fn expressions_of_many_columns() {
    let names: Vec<_> = (0..20).map(|n| format!("c{n}")).collect();
    let sum = names
        .iter()
        .map(|name| column(name))
        .reduce(|sum, next| Expr::binary(BinaryOp::Add, sum, next))
        .unwrap();
    let fields: Vec<_> = (0..20).map(|n| format!("\"c{n}\":{n}")).collect();
    let (result, _) = evaluate(&sum, &format!("{{{}}}", fields.join(",")));
    assert_eq!(repr(&result.unwrap()), "190");
}

#[test]
fn an_expression_that_is_too_deep_is_an_error_and_no_crash() {
    let mut expr = column("a");
    for _ in 0..100_000 {
        expr = Expr::binary(BinaryOp::Add, expr, Expr::constant(1));
    }
    let error = evaluate(&expr, r#"{"a": 1}"#).0.unwrap_err();
    assert_eq!(error.kind, FailureKind::InvalidOperation);
    assert!(error.message.contains(&DEPTH_MAX.to_string()));

    let mut deepest = column("a");
    for _ in 1..DEPTH_MAX {
        deepest = Expr::not(deepest);
    }
    assert!(evaluate(&deepest, r#"{"a": 1}"#).0.is_ok());
}

/// An object of a host language: an integer of any size, as large as 128 bits here.
#[derive(Debug)]
struct Big(i128);

impl HostObject for Big {
    fn share(&self) -> Box<dyn HostObject> {
        Box::new(Big(self.0))
    }
    fn deep_copy(&self) -> Result<Value, Failure> {
        Ok(Value::Host(self.share()))
    }
    fn to_native(&self) -> Result<Value, Failure> {
        self.deep_copy()
    }
    fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        out.extend_from_slice(self.0.to_string().as_bytes());
        Ok(())
    }
    fn get_item(&self, _: &Value) -> Result<Value, Failure> {
        Err(Failure::new(FailureKind::Type, "'int' object is not subscriptable"))
    }
    fn get_column(&self, _: &str) -> Result<Value, Failure> {
        Err(Failure::new(FailureKind::InvalidColumnReference, "not 'int'"))
    }
    fn set_item(&mut self, _: &Value, _: Value) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Type, "'int' object does not support item assignment"))
    }
    fn delete_item(&mut self, _: &str) -> Result<bool, Failure> {
        Err(Failure::new(FailureKind::Type, "'int' object does not support item deletion"))
    }
    fn is_map(&self) -> bool {
        false
    }
    fn truthy(&self) -> Result<bool, Failure> {
        Ok(self.0 != 0)
    }
    fn absolute(&self) -> Result<Value, Failure> {
        Ok(from_big(self.0.abs()))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

struct BigHost;

fn from_big(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => Value::from(value),
        (_, Ok(value)) => Value::from(value),
        _ => Value::Host(Box::new(Big(value))),
    }
}

fn to_big(value: &Value) -> i128 {
    match value {
        Value::Int(value) => i128::from(*value),
        Value::UInt(value) => i128::from(*value),
        Value::Host(object) => object.as_any().downcast_ref::<Big>().expect("the only kind").0,
        other => panic!("{other:?} is no integer"),
    }
}

impl Host for BigHost {
    fn attach(&self, body: &mut dyn FnMut()) {
        body();
    }

    fn binary(&self, op: BinaryOp, left: &Value, right: &Value) -> Result<Value, Failure> {
        let (a, b) = (to_big(left), to_big(right));
        Ok(match op {
            BinaryOp::Add => from_big(a + b),
            BinaryOp::Sub => from_big(a - b),
            BinaryOp::Mul => from_big(a * b),
            BinaryOp::FloorDiv => from_big(a / b),
            BinaryOp::Gt => Value::Bool(a > b),
            other => panic!("not asked for in these tests: {other:?}"),
        })
    }

    fn print(&self, _: &mut Value, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// Integers leave 64 bits with the host's help, travel on as its objects, and come back.
#[test]
fn integers_beyond_64_bits_are_the_hosts() {
    let record = Value::json(r#"{"a": 9223372036854775807, "l": [1]}"#).unwrap();
    let square = Expr::binary(BinaryOp::Mul, column("a"), column("a"));
    let result = square.evaluate_native(&record, &BigHost).unwrap();
    assert_eq!(to_big(&result), i128::from(i64::MAX).pow(2));

    let back = Expr::binary(BinaryOp::FloorDiv, square.clone(), column("a"));
    assert_eq!(repr(&back.evaluate_native(&record, &BigHost).unwrap()), "9223372036854775807");
    let more = Expr::binary(BinaryOp::Gt, square.clone(), Expr::constant(1));
    assert_eq!(repr(&more.evaluate_native(&record, &BigHost).unwrap()), "True");
    let size = Expr::abs(Expr::binary(BinaryOp::Sub, Expr::constant(0), square.clone()));
    assert_eq!(
        to_big(&size.evaluate_native(&record, &BigHost).unwrap()),
        i128::from(i64::MAX).pow(2)
    );

    let alone = square.evaluate_native(&record, &InlineHost).unwrap_err();
    assert_eq!(alone.kind, FailureKind::Overflow);
    assert!(!square.needs_host());
    assert!(
        Expr::binary(BinaryOp::Gt, column("a"), Expr::constant(from_big(1 << 80))).needs_host()
    );
}

/// S-09: one place of the record is one object, whatever its type.
#[test]
fn s09_identity_of_what_is_read_twice() {
    for text in ["1.5", "1000", "\"text\"", "[]", "{}", "[1]", "null"] {
        let record = format!(r#"{{"a": {text}, "b": {text}}}"#);
        let same = Expr::is(column("a"), column("a"));
        assert_eq!(repr(&evaluate(&same, &record).0.unwrap()), "True", "{text}");
        let other = Expr::is(column("a"), column("b"));
        let expected = if text == "null" { "True" } else { "False" };
        assert_eq!(repr(&evaluate(&other, &record).0.unwrap()), expected, "{text}");
    }
    let missing = Expr::is(column("x"), column("x"));
    assert!(evaluate(&missing, "{}").0.is_err());
}

/// S-07: what is looked for among constants is found as in the list of them.
#[test]
fn s07_one_of_constants() {
    let items = || {
        ["null", "true", "2", "-0.0", "1.5", "1e300", "18446744073709551615", "\"a\"", "\"\""]
            .map(|text| Value::json(text).unwrap())
            .map(|mut value| {
                value.decode();
                value
            })
    };
    let list = || Value::List(items().into());
    for hashed in [false, true] {
        let quick = Expr::one_of(column("a"), &items(), hashed, list());
        let slow = Expr::is_in(column("a"), Expr::constant(list()));
        assert!(!quick.needs_host());
        for text in [
            "null",
            "true",
            "false",
            "0",
            "0.0",
            "1",
            "1.0",
            "2",
            "2.0",
            "3",
            "-1",
            "1.5",
            "2.5",
            "1e300",
            "1e301",
            "18446744073709551615",
            "18446744073709551614",
            "\"a\"",
            "\"b\"",
            "\"\\u0061\"",
            "\"\"",
            "\"2\"",
        ] {
            let record = format!(r#"{{"a": {text}}}"#);
            assert_eq!(
                repr(&evaluate(&quick, &record).0.unwrap()),
                repr(&evaluate(&slow, &record).0.unwrap()),
                "{text}"
            );
        }
        for text in ["[]", "{}", "[1]"] {
            let (found, _) = evaluate(&quick, &format!(r#"{{"a": {text}}}"#));
            match hashed {
                true => assert!(found.unwrap_err().message.starts_with("unhashable type: '")),
                false => assert_eq!(repr(&found.unwrap()), "False"),
            }
        }
    }
}

/// A list that holds something else, or NaN, is looked through item by item.
#[test]
fn s07_one_of_what_is_not_scalar() {
    let items = [Value::List(vec![1.into()]), Value::from(f64::NAN)];
    let list = Value::List(items.iter().map(Value::share).collect());
    let expr = Expr::one_of(column("a"), &items, false, list);
    assert_eq!(repr(&evaluate(&expr, r#"{"a": [1]}"#).0.unwrap()), "True");
    assert_eq!(repr(&evaluate(&expr, r#"{"a": 1}"#).0.unwrap()), "False");
    assert_eq!(format!("{expr:?}"), "(value['a'] in [[1], nan])");
}

/// A set is written in the same order by every process.
#[test]
fn s07_how_a_set_is_written() {
    let items = [Value::from("b"), 2.5.into(), Value::Null, "a".into(), 7.into()];
    let expr = Expr::one_of(column("x"), &items, true, Value::Null);
    assert_eq!(format!("{expr:?}"), "(value['x'] in {None, 7, 2.5, 'a', 'b'})");
}

/// Expressions of columns, numbers and what joins them: the ones that have a quick way.
fn numeric() -> impl Strategy<Value = Expr> {
    let number = prop_oneof![
        (-3i64..4).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.5,
            1e300,
            f64::NAN,
            f64::INFINITY,
            9007199254740993.0
        ])
        .prop_map(Value::from),
        Just(()).prop_map(|()| Value::from("text")),
    ];
    let column = prop::sample::select(vec!["a", "b", "c", "d"]);
    let leaf = prop_oneof![
        2 => column.prop_map(Expr::column),
        1 => number.prop_map(Expr::constant),
    ];
    let ops = vec![
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::FloorDiv,
        BinaryOp::Mod,
        BinaryOp::Eq,
        BinaryOp::Ne,
        BinaryOp::Lt,
        BinaryOp::Le,
        BinaryOp::Gt,
        BinaryOp::Ge,
        BinaryOp::Is,
    ];
    leaf.prop_recursive(4, 16, 2, move |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            6 => (prop::sample::select(ops.clone()), inner.clone(), inner.clone())
                .prop_map(|(op, a, b)| Expr::binary(op, a, b)),
            1 => pair.clone().prop_map(|(a, b)| Expr::and(a, b)),
            1 => pair.prop_map(|(a, b)| Expr::or(a, b)),
            1 => inner.prop_map(Expr::not),
        ]
    })
}

proptest! {
    /// The quick way is for undecoded numbers; a decoded record takes the general one.
    #[test]
    fn the_quick_way_comes_to_the_same(
        expr in numeric(),
        fields in prop::collection::vec(
            prop_oneof![
                (-3i64..4).prop_map(|n| n.to_string()),
                any::<i64>().prop_map(|n| n.to_string()),
                any::<u64>().prop_map(|n| n.to_string()),
                "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,3}(e-?[0-9]{1,2})?",
                prop::sample::select(vec!["true", "null", "\"x\"", "[1]"]).prop_map(str::to_owned),
            ],
            2..4,
        ),
    ) {
        let fields: Vec<_> = ["a", "b", "c"].iter().zip(fields).map(|(k, v)| format!("\"{k}\":{v}")).collect();
        let record = Value::json(format!("{{{}}}", fields.join(","))).unwrap();
        let mut decoded = record.share();
        decoded.decode_deep();
        let run = |record| match expr.evaluate_native(record, &InlineHost) {
            Ok(value) => format!("{value:?}"),
            Err(failure) => format!("{:?}: {}", failure.kind, failure.message),
        };
        prop_assert_eq!(run(&record), run(&decoded));
    }
}
