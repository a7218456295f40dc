//! Python's arithmetic. Results that have no native form are left to the host.

mod quick;

use std::cmp::Ordering;

pub(crate) use self::quick::{Quick, quick};
use crate::compare::{ask_host, equal, is_in, order, type_error};
use crate::operand::{Operand, View};
use crate::{BinaryOp, Failure, FailureKind, Host, Text, Value, access};

/// `left op right`, with Python's meaning and errors.
///
/// # Errors
/// What Python raises: `TypeError`, `ZeroDivisionError`, `OverflowError`; those of the host.
///
/// ```
/// use millstream_value::{BinaryOp, InlineHost, Value, arith};
///
/// let five = arith::binary(BinaryOp::Mod, &Value::from(-7), &Value::from(12), &InlineHost)?;
/// assert_eq!(five.as_i64(), Some(5));
/// # Ok::<(), millstream_value::Failure>(())
/// ```
pub fn binary(
    op: BinaryOp,
    left: &Value,
    right: &Value,
    host: &dyn Host,
) -> Result<Value, Failure> {
    let left = Operand::of(left);
    let right = Operand::of(right);
    if op == BinaryOp::GetItem {
        return access::item(left, &right, host).map(Operand::into_value);
    }
    apply(op, left.view(), right.view(), host).map(Operand::into_value)
}

/// `left + right`.
///
/// # Errors
/// As of [`binary`].
pub fn add(left: &Value, right: &Value, host: &dyn Host) -> Result<Value, Failure> {
    binary(BinaryOp::Add, left, right, host)
}

/// `left / right`.
///
/// # Errors
/// As of [`binary`].
pub fn div(left: &Value, right: &Value, host: &dyn Host) -> Result<Value, Failure> {
    binary(BinaryOp::Div, left, right, host)
}

/// `abs(value)`.
///
/// # Errors
/// As of [`binary`].
pub fn abs(value: &Value, host: &dyn Host) -> Result<Value, Failure> {
    absolute(Operand::of(value).view(), host).map(Operand::into_value)
}

/// `-value`.
///
/// # Errors
/// As of [`binary`].
pub fn neg(value: &Value, host: &dyn Host) -> Result<Value, Failure> {
    negative(Operand::of(value).view(), host).map(Operand::into_value)
}

/// A native number. Integers are of 64 bits, signed or not; `i128` holds both.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Num {
    Int(i128),
    Float(f64),
}

impl Num {
    #[inline]
    pub(crate) fn of(view: View<'_>) -> Option<Num> {
        match view {
            View::Bool(v) => Some(Num::Int(v.into())),
            View::Int(v) => Some(Num::Int(v.into())),
            View::UInt(v) => Some(Num::Int(v.into())),
            View::Float(v) => Some(Num::Float(v)),
            _ => None,
        }
    }

    fn to_float(self) -> f64 {
        match self {
            Num::Int(v) => v as f64,
            Num::Float(v) => v,
        }
    }

    /// Exact, whatever the types. `None` beside NaN.
    pub(crate) fn compare(self, other: Num) -> Option<Ordering> {
        match (self, other) {
            (Num::Int(a), Num::Int(b)) => Some(a.cmp(&b)),
            (Num::Float(a), Num::Float(b)) => a.partial_cmp(&b),
            (Num::Int(a), Num::Float(b)) => compare_int_float(a, b),
            (Num::Float(a), Num::Int(b)) => compare_int_float(b, a).map(Ordering::reverse),
        }
    }
}

#[inline]
fn compare_int_float(int: i128, float: f64) -> Option<Ordering> {
    const EXACT: i64 = 1 << 53;
    if let Ok(int @ ..=EXACT) = i64::try_from(int)
        && int >= -EXACT
    {
        return (int as f64).partial_cmp(&float);
    }
    if float.is_nan() {
        return None;
    }
    // The cast saturates, and every `int` of 64 bits is far inside the limits of 128.
    let whole = float.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| 0.0f64.total_cmp(&(float.fract() + 0.0))))
}

/// All operators but `GetItem`.
#[inline]
pub(crate) fn apply(
    op: BinaryOp,
    left: View<'_>,
    right: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    if let (Some(a), Some(b)) = (Quick::of(left), Quick::of(right))
        && let Some(result) = quick(op, a, b)
    {
        return Ok(result.into());
    }
    general(op, left, right, host)
}

/// [`apply`], whatever the operands.
fn general(
    op: BinaryOp,
    left: View<'_>,
    right: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    match op {
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Is => {
            if let (View::Host(_), _) | (_, View::Host(_)) = (left, right) {
                return ask_host(op, left, right, host);
            }
            Ok(match op {
                BinaryOp::Is => left.is(right),
                _ => equal(left, right, host)? == (op == BinaryOp::Eq),
            }
            .into())
        }
        BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => order(op, left, right, host),
        BinaryOp::In => is_in(left, right, host),
        BinaryOp::GetItem => unreachable!("`access::item` does this one"),
        _ => calculate(op, left, right, host),
    }
}

#[inline]
fn calculate(
    op: BinaryOp,
    left: View<'_>,
    right: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    let result = match (Num::of(left), Num::of(right)) {
        (Some(Num::Int(a)), Some(Num::Int(b))) => integers(op, a, b)?,
        (Some(a), Some(b)) => floats(op, a.to_float(), b.to_float())?.map(Operand::from),
        _ => return others(op, left, right, host),
    };
    match result {
        Some(result) => Ok(result),
        None => ask_host(op, left, right, host),
    }
}

/// An integer of 64 bits, signed or not.
fn narrow(value: i128) -> Option<Operand<'static>> {
    if let Ok(value) = i64::try_from(value) {
        return Some(Operand::View(View::Int(value)));
    }
    u64::try_from(value).ok().map(|value| Operand::View(View::UInt(value)))
}

fn zero_division(message: &str) -> Failure {
    Failure::new(FailureKind::ZeroDivision, message)
}

/// `None`: the result has no native form.
#[inline]
fn integers(op: BinaryOp, a: i128, b: i128) -> Result<Option<Operand<'static>>, Failure> {
    Ok(match op {
        BinaryOp::Add => narrow(a + b),
        BinaryOp::Sub => narrow(a - b),
        BinaryOp::Mul => a.checked_mul(b).and_then(narrow),
        BinaryOp::Div if b == 0 => return Err(zero_division("division by zero")),
        BinaryOp::Div => Some(true_division(a, b).into()),
        BinaryOp::FloorDiv if b == 0 => {
            return Err(zero_division("integer division or modulo by zero"));
        }
        BinaryOp::FloorDiv => {
            let inexact = a % b != 0 && (a < 0) != (b < 0);
            narrow(a / b - i128::from(inexact))
        }
        BinaryOp::Mod if b == 0 => return Err(zero_division("integer modulo by zero")),
        BinaryOp::Mod => {
            let rest = a % b;
            narrow(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        BinaryOp::Pow if b < 0 => return Ok(power(a as f64, b as f64)?.map(Operand::from)),
        BinaryOp::Pow => match (a, u32::try_from(b)) {
            (0 | 1, _) => narrow(if b == 0 { 1 } else { a }),
            (-1, _) => narrow(if b % 2 == 0 { 1 } else { -1 }),
            (_, Ok(exponent)) => a.checked_pow(exponent).and_then(narrow),
            (_, Err(_)) => None,
        },
        _ => unreachable!("comparisons are done elsewhere"),
    })
}

/// The double nearest to `a / b`, which dividing two rounded doubles would not always give.
fn true_division(a: i128, b: i128) -> f64 {
    const EXACT: u128 = 1 << 53;
    let (dividend, divisor) = (a.unsigned_abs(), b.unsigned_abs());
    let magnitude = if dividend <= EXACT && divisor <= EXACT {
        dividend as f64 / divisor as f64
    } else {
        // A quotient of at least 55 bits whose last bit also stands for all that is cut off:
        // rounding it to 53 bits is then the only rounding. It all fits 128 bits, as the
        // operands have 64.
        let bits = |value: u128| 128 - value.leading_zeros();
        let shift = (55 + bits(divisor)).saturating_sub(bits(dividend));
        let shifted = dividend << shift;
        let quotient = (shifted / divisor) | u128::from(shifted % divisor != 0);
        quotient as f64 / (1u128 << shift) as f64
    };
    if (a < 0) != (b < 0) { -magnitude } else { magnitude }
}

/// `None`: the result has no native form.
#[inline]
fn floats(op: BinaryOp, a: f64, b: f64) -> Result<Option<f64>, Failure> {
    Ok(Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => return Err(zero_division("float division by zero")),
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv if b == 0.0 => {
            return Err(zero_division("float floor division by zero"));
        }
        BinaryOp::FloorDiv => floor_and_rest(a, b).0,
        BinaryOp::Mod if b == 0.0 => return Err(zero_division("float modulo")),
        BinaryOp::Mod => floor_and_rest(a, b).1,
        BinaryOp::Pow => return power(a, b),
        _ => unreachable!("comparisons are done elsewhere"),
    }))
}

/// `a // b` and `a % b`: the rest has the sign of `b`, and the quotient is what remains when
/// the rest is taken away, rounded to a whole number.
fn floor_and_rest(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0.0f64.copysign(b);
    } else if (rest < 0.0) != (b < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

/// `a ** b`. `None`: a complex number.
fn power(a: f64, b: f64) -> Result<Option<f64>, Failure> {
    if a == 0.0 && b < 0.0 && b.is_finite() {
        return Err(zero_division("0.0 cannot be raised to a negative power"));
    }
    if a < 0.0 && a.is_finite() && b.is_finite() && b.fract() != 0.0 {
        return Ok(None);
    }
    let result = a.powf(b);
    if result.is_infinite() && a.is_finite() && b.is_finite() {
        return Err(Failure::new(FailureKind::Overflow, "(34, 'Numerical result out of range')"));
    }
    Ok(Some(result))
}

/// Everything that is not two numbers.
#[cold]
fn others(
    op: BinaryOp,
    left: View<'_>,
    right: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    if let (View::Host(_), _) | (_, View::Host(_)) = (left, right) {
        return ask_host(op, left, right, host);
    }
    let value = match (op, left, right) {
        (BinaryOp::Add, View::Str { text: a, .. }, View::Str { text: b, .. }) => {
            Value::Str(Text::from([a, b].concat()))
        }
        (BinaryOp::Add, View::Str { .. }, _) => {
            return Err(type_error(format!(
                "can only concatenate str (not \"{}\") to str",
                right.type_name()
            )));
        }
        (BinaryOp::Add, View::Bytes(a), View::Bytes(b)) => {
            Value::Bytes([&a[..], &b[..]].concat().into())
        }
        (BinaryOp::Add, View::Bytes(_), _) => {
            return Err(type_error(format!("can't concat {} to bytes", right.type_name())));
        }
        (BinaryOp::Add, ..) => match (left.items(), right.items()) {
            (Some(a), Some(b)) => Value::List(a.chain(b).map(Operand::into_value).collect()),
            (Some(_), None) => {
                return Err(type_error(format!(
                    "can only concatenate list (not \"{}\") to list",
                    right.type_name()
                )));
            }
            (None, _) => return Err(unsupported(op, left, right)),
        },
        (BinaryOp::Mul, ..) if is_sequence(left) => repeat(op, left, right)?,
        (BinaryOp::Mul, ..) if is_sequence(right) => repeat(op, right, left)?,
        // Formatting: `"%d" % 5`.
        (BinaryOp::Mod, View::Str { .. } | View::Bytes(_), _) => {
            return ask_host(op, left, right, host);
        }
        _ => return Err(unsupported(op, left, right)),
    };
    Ok(Operand::Owned(value))
}

fn is_sequence(view: View<'_>) -> bool {
    matches!(view, View::Str { .. } | View::Bytes(_)) || view.items().is_some()
}

/// Longest result of repeating a text or list, in bytes and items.
const REPEATED_MAX: usize = 1 << 30;

fn repeat(op: BinaryOp, sequence: View<'_>, times: View<'_>) -> Result<Value, Failure> {
    let Some(Num::Int(times)) = Num::of(times) else {
        return Err(type_error(format!(
            "can't multiply sequence by non-int of type '{}'",
            times.type_name()
        )));
    };
    let length = match sequence {
        View::Str { text, .. } => text.len(),
        View::Bytes(bytes) => bytes.len(),
        _ => sequence.items().map_or(0, Iterator::count),
    };
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    if length.checked_mul(times).is_none_or(|total| total > REPEATED_MAX) {
        return Err(Failure::new(
            FailureKind::Overflow,
            format!("the result of {} is longer than {REPEATED_MAX}", op.symbol()),
        ));
    }
    Ok(match sequence {
        View::Str { text, .. } => Value::Str(text.repeat(times).into()),
        View::Bytes(bytes) => Value::Bytes(bytes.repeat(times).into()),
        _ if length == 0 => Value::List(Vec::new()),
        _ => Value::List(
            (0..times)
                .flat_map(|_| sequence.items().into_iter().flatten())
                .map(Operand::into_value)
                .collect(),
        ),
    })
}

fn unsupported(op: BinaryOp, left: View<'_>, right: View<'_>) -> Failure {
    type_error(format!(
        "unsupported operand type(s) for {}: '{}' and '{}'",
        if op == BinaryOp::Pow { "** or pow()" } else { op.symbol() },
        left.type_name(),
        right.type_name()
    ))
}

/// `abs(value)`.
pub(crate) fn absolute(value: View<'_>, host: &dyn Host) -> Result<Operand<'static>, Failure> {
    match (value, Num::of(value)) {
        (View::Host(object), _) => object.absolute().map(Operand::owned),
        (_, Some(Num::Float(v))) => Ok(v.abs().into()),
        (_, Some(Num::Int(v))) if v >= 0 => positive(v),
        (_, Some(Num::Int(_))) => negative(value, host),
        _ => Err(type_error(format!("bad operand type for abs(): '{}'", value.type_name()))),
    }
}

fn positive(value: i128) -> Result<Operand<'static>, Failure> {
    Ok(narrow(value).expect("it was an integer of 64 bits before"))
}

/// `-value`.
pub(crate) fn negative(value: View<'_>, host: &dyn Host) -> Result<Operand<'static>, Failure> {
    match (value, Num::of(value)) {
        (_, Some(Num::Float(v))) => Ok((-v).into()),
        (_, Some(Num::Int(v))) => match narrow(-v) {
            Some(result) => Ok(result),
            None => ask_host(BinaryOp::Sub, View::Int(0), value, host),
        },
        (View::Host(object), _) => object.negative().map(Operand::owned),
        _ => Err(type_error(format!("bad operand type for unary -: '{}'", value.type_name()))),
    }
}

#[cfg(test)]
mod tests;
