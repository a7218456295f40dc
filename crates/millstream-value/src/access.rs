//! Reading and changing parts of values: columns, items, projection, assignment. All of it works
//! on undecoded JSON, native values and objects of a host alike, with Python's errors.

use crate::compare::{ask_host, hashable, type_error};
use crate::json::JsonRef;
use crate::operand::{Operand, View};
use crate::{BinaryOp, Failure, FailureKind, Host, Map, Text, Value, repr};

/// `value[column]` as a column read (S-01): scalars come decoded, native containers as they
/// lie, objects of the host shared.
///
/// # Errors
/// [`FailureKind::ColumnDoesNotExist`] and [`FailureKind::InvalidColumnReference`].
pub fn column(value: &Value, column: &str) -> Result<Value, Failure> {
    column_of(value, column).map(Operand::into_value)
}

pub(crate) fn column_of<'a>(value: &'a Value, column: &str) -> Result<Operand<'a>, Failure> {
    match value {
        Value::Json(text) => json_column(text.get(), text.get().field(column), column),
        Value::Map(map) => match map.get(column) {
            Some(value) => Ok(Operand::of(value)),
            None => Err(no_column(column, map.keys().map(Text::as_str))),
        },
        Value::Host(object) => object.get_column(column).map(Operand::owned),
        other => Err(not_columns(column, &other.type_name())),
    }
}

/// The column `column` of JSON text, given what was found of it.
#[inline]
pub(crate) fn json_column<'a>(
    record: JsonRef<'a>,
    found: Option<JsonRef<'a>>,
    column: &str,
) -> Result<Operand<'a>, Failure> {
    match found {
        Some(json) => Ok(Operand::of_json(json)),
        None if record.as_str().starts_with('{') => {
            let names: Vec<_> = record.fields().map(|(key, _)| key.to_cow()).collect();
            Err(no_column(column, names.iter().map(|name| &**name)))
        }
        None => Err(not_columns(column, record.type_name())),
    }
}

/// How many columns an error lists.
const COLUMNS_LISTED: usize = 12;

#[cold]
fn no_column<'a>(column: &str, present: impl Iterator<Item = &'a str>) -> Failure {
    let mut message = format!("the value has no column '{column}'");
    for (index, name) in present.enumerate() {
        message.push_str(match index {
            0 => "; it has ",
            COLUMNS_LISTED => ", …",
            _ => ", ",
        });
        if index == COLUMNS_LISTED {
            break;
        }
        message.push_str(&repr(&Value::from(name)));
    }
    Failure::new(FailureKind::ColumnDoesNotExist, message)
}

#[cold]
fn not_columns(column: &str, type_name: &str) -> Failure {
    Failure::new(
        FailureKind::InvalidColumnReference,
        format!("column '{column}' was asked of a value of type {type_name}, which has no columns"),
    )
}

/// `value.get(column)`: null if it is missing, which aggregations treat alike (W-24, W-25).
///
/// # Errors
/// [`FailureKind::Attribute`] if the value is no map; those of the host.
pub fn get(value: &Value, column: &str) -> Result<Value, Failure> {
    match value {
        Value::Json(text) if value.is_map() => {
            Ok(text.get().field(column).map_or(Value::Null, JsonRef::to_value))
        }
        Value::Map(map) => Ok(map.get(column).map_or(Value::Null, Value::share)),
        Value::Host(object) if object.is_map() => match object.get_column(column) {
            Err(failure) if failure.kind == FailureKind::ColumnDoesNotExist => Ok(Value::Null),
            result => result,
        },
        other => Err(Failure::new(
            FailureKind::Attribute,
            format!("'{}' object has no attribute 'get'", other.type_name()),
        )),
    }
}

/// `value[key]` with the plain errors (S-02, W-28).
///
/// # Errors
/// `KeyError`, whose message is the key as `repr` writes it; `TypeError`; those of the host.
pub fn require(value: &Value, key: &str, host: &dyn Host) -> Result<Value, Failure> {
    let key = Operand::View(View::Str { text: key, owner: None });
    item(Operand::of(value), &key, host).map(Operand::into_value)
}

/// `container[index]` with the plain errors (S-02).
pub(crate) fn item<'a>(
    container: Operand<'a>,
    index: &Operand<'_>,
    host: &dyn Host,
) -> Result<Operand<'a>, Failure> {
    match container {
        Operand::View(view) => view_item(view, index.view(), host),
        Operand::Owned(value) => {
            let whole = Operand::of(&value);
            let found = view_item(whole.view(), index.view(), host)?;
            Ok(Operand::owned(found.into_value()))
        }
    }
}

fn view_item<'a>(
    container: View<'a>,
    index: View<'_>,
    host: &dyn Host,
) -> Result<Operand<'a>, Failure> {
    if let View::Host(object) = container {
        return object.get_item(&index.to_value()).map(Operand::owned);
    }
    if let Some(mut items) = container.items() {
        if let View::Host(_) = index {
            return ask_host(BinaryOp::GetItem, container, index, host);
        }
        let length = || container.items().map_or(0, Iterator::count);
        let at = position(index, length, |name| {
            format!("list indices must be integers or slices, not {name}")
        })?;
        return at.and_then(|at| items.nth(at)).ok_or_else(|| no_index("list index out of range"));
    }
    match container {
        View::Map(_) | View::Json(_) => match (index, container) {
            (View::Host(_), _) => ask_host(BinaryOp::GetItem, container, index, host),
            (View::Str { text: key, .. }, View::Map(map)) => {
                map.get(key).map(Operand::of).ok_or_else(|| no_key(index))
            }
            (View::Str { text: key, .. }, View::Json(json)) => {
                json.field(key).map(Operand::of_json).ok_or_else(|| no_key(index))
            }
            _ => {
                hashable(index)?;
                Err(no_key(index))
            }
        },
        View::Str { .. } | View::Bytes(_) if matches!(index, View::Host(_)) => {
            ask_host(BinaryOp::GetItem, container, index, host)
        }
        View::Str { text, .. } => {
            let at = position(
                index,
                || text.chars().count(),
                |name| format!("string indices must be integers, not '{name}'"),
            )?;
            let char = at
                .and_then(|at| text.chars().nth(at))
                .ok_or_else(|| no_index("string index out of range"))?;
            Ok(Operand::Owned(Value::Str(Text::from(&*char.encode_utf8(&mut [0; 4])))))
        }
        View::Bytes(bytes) => {
            let at = position(
                index,
                || bytes.len(),
                |name| format!("byte indices must be integers or slices, not {name}"),
            )?;
            let byte =
                at.and_then(|at| bytes.get(at)).ok_or_else(|| no_index("index out of range"))?;
            Ok(Operand::View(View::Int((*byte).into())))
        }
        _ => Err(type_error(format!("'{}' object is not subscriptable", container.type_name()))),
    }
}

/// Where an index points, negative ones counted from the end; `None` before the start.
fn position(
    index: View<'_>,
    length: impl Fn() -> usize,
    no_index_type: impl Fn(&str) -> String,
) -> Result<Option<usize>, Failure> {
    let index = match index {
        View::Bool(v) => i64::from(v),
        View::Int(v) => v,
        View::UInt(_) => return Err(no_index("cannot fit 'int' into an index-sized integer")),
        _ => return Err(type_error(no_index_type(&index.type_name()))),
    };
    Ok(match usize::try_from(index) {
        Ok(index) => Some(index),
        Err(_) => length().checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    })
}

#[cold]
fn no_index(message: &str) -> Failure {
    Failure::new(FailureKind::Index, message)
}

#[cold]
fn no_key(key: View<'_>) -> Failure {
    Failure::new(FailureKind::Key, repr(&key.to_value()))
}

/// `value[column] = new` (D-34). JSON text stays JSON text where `new` is a scalar, and becomes
/// a native map otherwise.
///
/// # Errors
/// `TypeError` if the value takes no such assignment; those of the host.
pub fn assign(value: &mut Value, column: &Text, new: Value) -> Result<(), Failure> {
    match value {
        Value::Json(text) if text.as_str().starts_with('{') => {
            *value = match text.with_field(column, &new) {
                Some(changed) => Value::Json(changed),
                None => {
                    let mut map = text.get().decode_map(1);
                    map.insert(column.clone(), new);
                    Value::Map(map)
                }
            };
        }
        Value::Map(map) => map.insert(column.clone(), new),
        Value::Host(object) => return object.set_item(&Value::Str(column.clone()), new),
        other => return Err(no_item(other, "does not support item assignment")),
    }
    Ok(())
}

/// The error of `value["…"] = …` and `del value["…"]` on what is no map.
#[cold]
fn no_item(value: &Value, lacks: &str) -> Failure {
    let name = value.type_name();
    type_error(match &*name {
        "list" => "list indices must be integers or slices, not str".to_owned(),
        _ => format!("'{name}' object {lacks}"),
    })
}

/// `{column: value[column] for column in columns}` (D-31).
///
/// # Errors
/// As of [`require`].
pub fn project(value: &Value, columns: &[Text], host: &dyn Host) -> Result<Value, Failure> {
    if let Value::Json(text) = value
        && value.is_map()
    {
        return text.with_only(columns).map(Value::Json).map_err(missing);
    }
    let mut map = Map::with_capacity(columns.len());
    for column in columns {
        map.insert(column.clone(), require(value, column, host)?);
    }
    Ok(Value::Map(map))
}

#[cold]
fn missing(column: &Text) -> Failure {
    no_key(View::Str { text: column, owner: None })
}

/// `del value[column]` for each of `columns` (D-37); a missing one is an error unless
/// `ignore_missing`.
///
/// # Errors
/// `KeyError`; `TypeError` if the value takes no deletion at all; those of the host.
pub fn drop(value: &mut Value, columns: &[Text], ignore_missing: bool) -> Result<(), Failure> {
    if columns.is_empty() {
        return Ok(());
    }
    if let Value::Json(text) = value
        && text.as_str().starts_with('{')
    {
        *value = Value::Json(text.without(columns, ignore_missing).map_err(missing)?);
        return Ok(());
    }
    for column in columns {
        let found = match value {
            Value::Map(map) => map.remove(column).is_some(),
            Value::Host(object) => object.delete_item(column)?,
            other => return Err(no_item(other, "does not support item deletion")),
        };
        if !found && !ignore_missing {
            return Err(missing(column));
        }
    }
    Ok(())
}

/// Sets each column that is missing or null to the value that comes with it (D-38). What is no
/// map stays as it is, and so does JSON text that lacks nothing.
///
/// # Errors
/// Those of the host.
pub fn fill(value: &mut Value, columns: &[(Text, Value)]) -> Result<(), Failure> {
    if !value.is_map() {
        return Ok(());
    }
    for (column, new) in columns {
        if get(value, column)?.is_null() {
            assign(value, column, new.share())?;
        }
    }
    Ok(())
}

/// Whether all of `keys` are in `value`, as Python's `in` has it (D-36).
///
/// # Errors
/// `TypeError` if the value holds nothing; those of the host.
pub fn has_keys(value: &Value, keys: &[Value], host: &dyn Host) -> Result<bool, Failure> {
    keys_in(Operand::of(value).view(), keys, host)
}

pub(crate) fn keys_in(value: View<'_>, keys: &[Value], host: &dyn Host) -> Result<bool, Failure> {
    for key in keys {
        if !crate::compare::is_in(Operand::of(key).view(), value, host)?.view().truthy()? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
