use proptest::prelude::*;

use super::binary;
use crate::{BinaryOp, FailureKind, InlineHost, Value, compare};

/// Integers of 64 bits, signed or not, the edges more often than others.
fn integer() -> impl Strategy<Value = i128> {
    prop_oneof![
        (-20i128..20),
        any::<i64>().prop_map(i128::from),
        any::<u64>().prop_map(i128::from),
        prop::sample::select(vec![
            i128::from(i64::MIN),
            i128::from(i64::MAX),
            i128::from(u64::MAX),
            1 << 53,
            (1 << 53) + 1,
        ]),
    ]
}

fn value(integer: i128) -> Value {
    match i64::try_from(integer) {
        Ok(value) => Value::from(value),
        Err(_) => Value::from(u64::try_from(integer).expect("the strategies stay within 64 bits")),
    }
}

fn run(op: BinaryOp, left: Value, right: Value) -> Result<Value, FailureKind> {
    binary(op, &left, &right, &InlineHost).map_err(|failure| failure.kind)
}

/// The exact result within 64 bits, an overflow beyond.
fn check_integer(op: BinaryOp, a: i128, b: i128, expected: i128) -> Result<(), TestCaseError> {
    match run(op, value(a), value(b)) {
        Ok(Value::Int(actual)) => prop_assert_eq!(i128::from(actual), expected),
        Ok(Value::UInt(actual)) => {
            prop_assert!(actual > i64::MAX as u64, "smaller ones are `Int`");
            prop_assert_eq!(i128::from(actual), expected);
        }
        Err(FailureKind::Overflow) => {
            prop_assert!(i64::try_from(expected).is_err() && u64::try_from(expected).is_err());
        }
        other => prop_assert!(false, "{a} {} {b}: {other:?}", op.symbol()),
    }
    Ok(())
}

proptest! {
    #[test]
    fn integers_are_exact_or_overflow(a in integer(), b in integer()) {
        check_integer(BinaryOp::Add, a, b, a + b)?;
        check_integer(BinaryOp::Sub, a, b, a - b)?;
        check_integer(BinaryOp::Mul, a, b, a.saturating_mul(b))?;
        if b == 0 {
            for op in [BinaryOp::Div, BinaryOp::FloorDiv, BinaryOp::Mod] {
                prop_assert_eq!(run(op, value(a), value(b)).err(), Some(FailureKind::ZeroDivision));
            }
        } else {
            // Python's quotient rounds down, and so the rest has the divisor's sign.
            let floor = a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0);
            check_integer(BinaryOp::FloorDiv, a, b, floor)?;
            check_integer(BinaryOp::Mod, a, b, a - floor * b)?;
        }
    }

    #[test]
    fn powers_are_exact_or_overflow(a in -50i128..50, b in 0u32..40) {
        check_integer(BinaryOp::Pow, a, b.into(), a.checked_pow(b).unwrap_or(i128::MAX))?;
    }

    /// No double is nearer to the quotient.
    #[test]
    fn true_division_is_rounded_once(a in integer(), b in integer()) {
        prop_assume!(a != 0 && b != 0);
        let Ok(Value::Float(quotient)) = run(BinaryOp::Div, value(a), value(b)) else {
            return Err(TestCaseError::fail("a quotient is a float"));
        };
        prop_assert_eq!(quotient < 0.0, (a < 0) != (b < 0));
        let bits = quotient.abs().to_bits();
        let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
        let exponent = (bits >> 52) as i32 - 1075;
        let (a, b) = (a.unsigned_abs(), b.unsigned_abs());
        // |a / b - mantissa * 2^exponent| <= 2^exponent / 2, times b and 2^-exponent.
        let (scaled, product) = if exponent <= 0 {
            (a << -exponent, mantissa * b)
        } else {
            (a, (mantissa * b) << exponent)
        };
        prop_assert!(scaled.abs_diff(product) * 2 <= b << exponent.max(0), "{} / {} = {}", a, b, quotient);
    }

    /// A fraction of 1024 is an exact float, and its comparison one of integers.
    #[test]
    fn integers_and_floats_compare_exactly(
        int in integer(),
        parts in prop_oneof![-(1i128 << 53)..(1 << 53), -5000i128..5000],
        near in any::<bool>(),
    ) {
        let int = if near { parts / 1024 } else { int };
        let float = Value::Float(parts as f64 / 1024.0);
        let less = compare::lt(&value(int), &float, &InlineHost).unwrap();
        let more = compare::lt(&float, &value(int), &InlineHost).unwrap();
        let equal = compare::eq(&float, &value(int), &InlineHost).unwrap();
        prop_assert_eq!(less, int * 1024 < parts);
        prop_assert_eq!(more, int * 1024 > parts);
        prop_assert_eq!(equal, int * 1024 == parts);
    }

    /// What Python's documentation promises of `//` and `%`.
    #[test]
    fn floored_floats_add_up(a in -1e9..1e9f64, b in prop_oneof![-1e3..-0.001f64, 0.001..1e3f64]) {
        let float = |op| match run(op, Value::from(a), Value::from(b)) {
            Ok(Value::Float(result)) => result,
            other => panic!("{a} {} {b}: {other:?}", op.symbol()),
        };
        let (floor, rest) = (float(BinaryOp::FloorDiv), float(BinaryOp::Mod));
        prop_assert_eq!(floor, floor.floor());
        prop_assert!(rest == 0.0 || (rest < 0.0) == (b < 0.0));
        prop_assert!(rest.abs() <= b.abs());
        prop_assert!((floor * b + rest - a).abs() <= 1e-6 * a.abs().max(1.0));
    }
}

/// Values that JSON cannot bring.
#[test]
fn infinities_and_nan() {
    let float = |op, a: f64, b: f64| match run(op, Value::from(a), Value::from(b)) {
        Ok(Value::Float(result)) => result,
        other => panic!("{a} {} {b}: {other:?}", op.symbol()),
    };
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    assert!(float(BinaryOp::FloorDiv, inf, 1.0).is_nan());
    assert_eq!(float(BinaryOp::FloorDiv, -5.0, inf), -1.0);
    assert_eq!(float(BinaryOp::Mod, -5.0, inf), inf);
    assert_eq!(float(BinaryOp::Pow, nan, 0.0), 1.0);
    assert_eq!(float(BinaryOp::Pow, 0.0, -inf), inf);
    assert_eq!(float(BinaryOp::Pow, -2.0, inf), inf);
    assert!(!compare::eq(&nan.into(), &nan.into(), &InlineHost).unwrap());
    assert!(compare::lt(&u64::MAX.into(), &inf.into(), &InlineHost).unwrap());
    assert!(!compare::lt(&1.into(), &nan.into(), &InlineHost).unwrap());
}

/// W-26: of equal values the first stays, whatever their types.
#[test]
fn w26_min_and_max_keep_the_first_of_equals() {
    let min = |a: Value, b: Value| compare::min(a, b, &InlineHost).map(|v| format!("{v:?}"));
    let max = |a: Value, b: Value| compare::max(a, b, &InlineHost).map(|v| format!("{v:?}"));
    assert_eq!(min(1.into(), 1.0.into()).unwrap(), "1");
    assert_eq!(max(1.0.into(), true.into()).unwrap(), "1.0");
    assert_eq!(min("b".into(), "a".into()).unwrap(), "\"a\"");
    assert_eq!(max(3.into(), 4.5.into()).unwrap(), "4.5");
    let error = min(1.into(), "a".into()).unwrap_err();
    assert_eq!(error.message, "'<' not supported between instances of 'str' and 'int'");
    let error = max(1.into(), Value::Null).unwrap_err();
    assert_eq!(error.message, "'>' not supported between instances of 'NoneType' and 'int'");
}

#[test]
fn endless_repetition_is_refused() {
    let result = run(BinaryOp::Mul, "ab".into(), i64::MAX.into());
    assert_eq!(result.err(), Some(FailureKind::Overflow));
    let none = run(BinaryOp::Mul, Value::List(vec![]), i64::MAX.into());
    assert!(matches!(none, Ok(Value::List(items)) if items.is_empty()));
}
