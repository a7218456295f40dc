//! Numbers in checked text.

/// A number as JSON text has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer beyond `i64` that fits `u64`.
    UInt(u64),
    /// Everything else, larger integers among it (T-45).
    Float(f64),
}

/// Whether a number, spelled as JSON has it, is within the range of a double.
pub(super) fn is_finite(text: &[u8]) -> bool {
    parse_float(text).is_finite()
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Reads a number of checked text, for readers outside of this crate too.
///
/// # Panics
/// If `text` is no number as JSON has it.
#[inline(always)]
pub fn parse(text: &[u8]) -> Number {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // Nineteen digits cannot overflow 64 bits.
    let mut mantissa = 0u64;
    let mut at = 0;
    while at < digits.len() && at < 19 {
        let digit = digits[at].wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        mantissa = mantissa * 10 + u64::from(digit);
        at += 1;
    }
    match digits.get(at) {
        None => integer(negative, mantissa).unwrap_or_else(|| Number::Float(parse_float(text))),
        Some(b'.') => Number::Float(
            short_decimal(negative, mantissa, at, &digits[at + 1..])
                .unwrap_or_else(|| parse_float(text)),
        ),
        Some(_) => long(negative, digits).unwrap_or_else(|| Number::Float(parse_float(text))),
    }
}

fn integer(negative: bool, magnitude: u64) -> Option<Number> {
    Some(match (i64::try_from(magnitude), negative) {
        (Ok(value), false) => Number::Int(value),
        (Ok(value), true) => Number::Int(-value),
        (Err(_), false) => Number::UInt(magnitude),
        (Err(_), true) if magnitude == 1 << 63 => Number::Int(i64::MIN),
        (Err(_), true) => return None,
    })
}

/// An integer of twenty digits.
#[cold]
fn long(negative: bool, digits: &[u8]) -> Option<Number> {
    let magnitude = std::str::from_utf8(digits).ok()?.parse().ok()?;
    integer(negative, magnitude)
}

/// `mantissa.fraction`, if a single rounding yields it: both the digits and the power of ten
/// are then exact doubles, and so their quotient is the nearest double.
#[inline]
fn short_decimal(negative: bool, mantissa: u64, digits: usize, fraction: &[u8]) -> Option<f64> {
    if digits + fraction.len() > 19 {
        return None;
    }
    let mut mantissa = mantissa;
    for byte in fraction {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        mantissa = mantissa * 10 + u64::from(digit);
    }
    if mantissa > 1 << 53 {
        return None;
    }
    let value = mantissa as f64 / POWERS[fraction.len()];
    Some(if negative { -value } else { value })
}

fn parse_float(text: &[u8]) -> f64 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("what JSON calls a number, Rust can parse as a double")
}
