//! Python's comparisons, on native values and through the host on others.

use std::cmp::Ordering;

use crate::arith::Num;
use crate::operand::{Operand, View};
use crate::{BinaryOp, Failure, FailureKind, Host, Value};

/// `left == right`, as a bool. Integers and floats compare exactly, and `True == 1`.
///
/// # Errors
/// Those of the host, if one of them (or of their items) is an object of it.
///
/// ```
/// use millstream_value::{InlineHost, Value, compare};
///
/// let list = Value::json("[1.0, null]")?;
/// let same = Value::List(vec![Value::from(1), Value::Null]);
/// assert!(compare::eq(&list, &same, &InlineHost)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn eq(left: &Value, right: &Value, host: &dyn Host) -> Result<bool, Failure> {
    equal(Operand::of(left).view(), Operand::of(right).view(), host)
}

/// `left < right`, as a bool.
///
/// # Errors
/// `TypeError` for values without order between them; those of the host.
pub fn lt(left: &Value, right: &Value, host: &dyn Host) -> Result<bool, Failure> {
    order(BinaryOp::Lt, Operand::of(left).view(), Operand::of(right).view(), host)?.view().truthy()
}

/// Python's `min(first, second)`: of equal values the first (W-26).
///
/// # Errors
/// As of [`lt`].
pub fn min(first: Value, second: Value, host: &dyn Host) -> Result<Value, Failure> {
    Ok(if lt(&second, &first, host)? { second } else { first })
}

/// Python's `max(first, second)`: of equal values the first (W-26).
///
/// # Errors
/// As of [`lt`].
pub fn max(first: Value, second: Value, host: &dyn Host) -> Result<Value, Failure> {
    let greater =
        order(BinaryOp::Gt, Operand::of(&second).view(), Operand::of(&first).view(), host)?;
    Ok(if greater.view().truthy()? { second } else { first })
}

/// `item in container`, as a bool.
///
/// # Errors
/// `TypeError` if `container` is none or cannot hold such an item; those of the host.
pub fn contains(container: &Value, item: &Value, host: &dyn Host) -> Result<bool, Failure> {
    is_in(Operand::of(item).view(), Operand::of(container).view(), host)?.view().truthy()
}

/// `==` on native values; their items may be the host's.
pub(crate) fn equal(left: View<'_>, right: View<'_>, host: &dyn Host) -> Result<bool, Failure> {
    if let (View::Host(_), _) | (_, View::Host(_)) = (left, right) {
        return ask_host(BinaryOp::Eq, left, right, host)?.view().truthy();
    }
    if let (Some(left), Some(right)) = (Num::of(left), Num::of(right)) {
        return Ok(left.compare(right) == Some(Ordering::Equal));
    }
    if let (Some(mut left), Some(mut right)) = (left.items(), right.items()) {
        loop {
            match (left.next(), right.next()) {
                (Some(left), Some(right)) if equal(left.view(), right.view(), host)? => {}
                (None, None) => return Ok(true),
                _ => return Ok(false),
            }
        }
    }
    Ok(match (left, right) {
        (View::Null, View::Null) => true,
        (View::Str { text: left, .. }, View::Str { text: right, .. }) => left == right,
        (View::Bytes(left), View::Bytes(right)) => left == right,
        (View::Map(_) | View::Json(_), View::Map(_) | View::Json(_)) => {
            let (Some(left), Some(right)) = (left.map(), right.map()) else { return Ok(false) };
            let (left, right) = (left.get(), right.get());
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, value) in left.iter() {
                match right.get(key) {
                    Some(other) if eq(value, other, host)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => false,
    })
}

/// `<`, `<=`, `>` and `>=`. The host may answer with something else than a bool.
pub(crate) fn order(
    op: BinaryOp,
    left: View<'_>,
    right: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    let ordering = match (left, right) {
        (View::Host(_), _) | (_, View::Host(_)) => return ask_host(op, left, right, host),
        (View::Str { text: left, .. }, View::Str { text: right, .. }) => Some(left.cmp(right)),
        (View::Bytes(left), View::Bytes(right)) => Some(left.cmp(right)),
        _ => match (Num::of(left), Num::of(right)) {
            (Some(left), Some(right)) => left.compare(right),
            _ => match (left.items(), right.items()) {
                (Some(left), Some(right)) => return order_lists(op, left, right, host),
                _ => return Err(no_order(op, left, right)),
            },
        },
    };
    Ok(holds(op, ordering).into())
}

/// Lists are ordered by their first items that differ, else by their lengths.
fn order_lists<'a>(
    op: BinaryOp,
    mut left: impl Iterator<Item = Operand<'a>>,
    mut right: impl Iterator<Item = Operand<'a>>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    loop {
        let lengths = match (left.next(), right.next()) {
            (Some(left), Some(right)) => {
                if equal(left.view(), right.view(), host)? {
                    continue;
                }
                return order(op, left.view(), right.view(), host);
            }
            (left, right) => left.is_some().cmp(&right.is_some()),
        };
        return Ok(holds(op, Some(lengths)).into());
    }
}

fn holds(op: BinaryOp, ordering: Option<Ordering>) -> bool {
    let Some(ordering) = ordering else { return false };
    match op {
        BinaryOp::Lt => ordering.is_lt(),
        BinaryOp::Le => ordering.is_le(),
        BinaryOp::Gt => ordering.is_gt(),
        _ => ordering.is_ge(),
    }
}

#[cold]
fn no_order(op: BinaryOp, left: View<'_>, right: View<'_>) -> Failure {
    Failure::new(
        FailureKind::Type,
        format!(
            "'{}' not supported between instances of '{}' and '{}'",
            op.symbol(),
            left.type_name(),
            right.type_name()
        ),
    )
}

/// `item in container`.
pub(crate) fn is_in(
    item: View<'_>,
    container: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    if let View::Host(_) = container {
        return ask_host(BinaryOp::In, item, container, host);
    }
    if let Some(items) = container.items() {
        for candidate in items {
            if candidate.view().is(item) || equal(candidate.view(), item, host)? {
                return Ok(true.into());
            }
        }
        return Ok(false.into());
    }
    if let View::Host(_) = item {
        return ask_host(BinaryOp::In, item, container, host);
    }
    let found = match container {
        View::Str { text, .. } => match item {
            View::Str { text: part, .. } => text.contains(part),
            _ => {
                return Err(type_error(format!(
                    "'in <string>' requires string as left operand, not {}",
                    item.type_name()
                )));
            }
        },
        View::Map(_) | View::Json(_) => {
            hashable(item)?;
            match (item, container) {
                (View::Str { text: key, .. }, View::Map(map)) => map.contains_key(key),
                (View::Str { text: key, .. }, View::Json(json)) => json.field(key).is_some(),
                _ => false,
            }
        }
        View::Bytes(bytes) => match (item, Num::of(item)) {
            (View::Bytes(part), _) => {
                part.is_empty() || bytes.windows(part.len()).any(|window| window == &part[..])
            }
            (_, Some(Num::Int(byte @ 0..=255))) => bytes.contains(&(byte as u8)),
            (_, Some(Num::Int(_))) => {
                return Err(Failure::new(FailureKind::Value, "byte must be in range(0, 256)"));
            }
            _ => {
                return Err(type_error(format!(
                    "a bytes-like object is required, not '{}'",
                    item.type_name()
                )));
            }
        },
        _ => {
            return Err(type_error(format!(
                "argument of type '{}' is not iterable",
                container.type_name()
            )));
        }
    };
    Ok(found.into())
}

/// Whether a value may be a key at all.
pub(crate) fn hashable(key: View<'_>) -> Result<(), Failure> {
    match key {
        View::List(_) | View::Map(_) | View::Json(_) => {
            Err(type_error(format!("unhashable type: '{}'", key.type_name())))
        }
        _ => Ok(()),
    }
}

#[cold]
pub(crate) fn type_error(message: String) -> Failure {
    Failure::new(FailureKind::Type, message)
}

/// Lets the host do it.
#[cold]
pub(crate) fn ask_host(
    op: BinaryOp,
    left: View<'_>,
    right: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'static>, Failure> {
    host.binary(op, &left.to_value(), &right.to_value()).map(Operand::owned)
}
