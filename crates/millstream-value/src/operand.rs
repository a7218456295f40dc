//! Values as operators see them: without the difference between decoded and undecoded, borrowed
//! where they lie.

use std::borrow::Cow;

use bytes::Bytes;

use crate::json::{Items, JsonRef, Kind, Number};
use crate::{Failure, HostObject, Map, Text, Value};

/// A borrowed value. Scalars and strings are always decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str {
        text: &'a str,
        /// The bytes that `text` is part of, if a long string may share them.
        owner: Option<&'a Bytes>,
    },
    Bytes(&'a Bytes),
    List(&'a [Value]),
    Map(&'a Map),
    /// A list or map that is not decoded.
    Json(JsonRef<'a>),
    Host(&'a dyn HostObject),
}

/// A value that is borrowed, or was made on the way. Not larger than it must be: these are
/// returned through every level of an expression.
#[derive(Debug)]
pub(crate) enum Operand<'a> {
    View(View<'a>),
    /// Never [`Value::Json`].
    Owned(Value),
}

impl<'a> Operand<'a> {
    /// What `value` is.
    #[inline]
    pub(crate) fn of(value: &'a Value) -> Self {
        Operand::View(match value {
            Value::Json(text) => return Operand::of_json(text.get()),
            Value::Null => View::Null,
            Value::Bool(v) => View::Bool(*v),
            Value::Int(v) => View::Int(*v),
            Value::UInt(v) => View::UInt(*v),
            Value::Float(v) => View::Float(*v),
            Value::Str(v) => View::Str { text: v.as_str(), owner: None },
            Value::Bytes(v) => View::Bytes(v),
            Value::List(v) => View::List(v),
            Value::Map(v) => View::Map(v),
            Value::Host(v) => View::Host(&**v),
        })
    }

    /// What checked JSON text is. Only a string with escapes is made anew.
    #[inline]
    pub(crate) fn of_json(json: JsonRef<'a>) -> Self {
        Operand::View(match json.kind() {
            Kind::Null => View::Null,
            Kind::Bool(v) => View::Bool(v),
            Kind::Number => match json.number().expect("its kind is number") {
                Number::Int(v) => View::Int(v),
                Number::UInt(v) => View::UInt(v),
                Number::Float(v) => View::Float(v),
            },
            Kind::Str => {
                let string = json.string().expect("its kind is string");
                match string.plain() {
                    Some(text) => View::Str { text, owner: Some(string.owner()) },
                    None => return Operand::Owned(Value::Str(string.to_text())),
                }
            }
            Kind::List | Kind::Map => View::Json(json),
        })
    }

    /// Takes over a value.
    pub(crate) fn owned(mut value: Value) -> Self {
        value.decode();
        Operand::Owned(value)
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Operand::View(view) => *view,
            Operand::Owned(value) => match Operand::of(value) {
                Operand::View(view) => view,
                Operand::Owned(_) => unreachable!("an owned operand is never JSON text"),
            },
        }
    }

    #[inline]
    pub(crate) fn into_value(self) -> Value {
        match self {
            Operand::View(view) => view.to_value(),
            Operand::Owned(value) => value,
        }
    }
}

impl From<bool> for Operand<'_> {
    fn from(value: bool) -> Self {
        Operand::View(View::Bool(value))
    }
}

impl From<f64> for Operand<'_> {
    fn from(value: f64) -> Self {
        Operand::View(View::Float(value))
    }
}

impl<'a> View<'a> {
    /// A value of its own; objects of the host are shared.
    pub(crate) fn to_value(self) -> Value {
        match self {
            View::Null => Value::Null,
            View::Bool(v) => Value::Bool(v),
            View::Int(v) => Value::Int(v),
            View::UInt(v) => Value::UInt(v),
            View::Float(v) => Value::Float(v),
            View::Str { text, owner: Some(owner) } => Value::Str(Text::part_of(owner, text)),
            View::Str { text, owner: None } => Value::Str(text.into()),
            View::Bytes(v) => Value::Bytes(v.clone()),
            View::List(items) => Value::List(items.iter().map(Value::share).collect()),
            View::Map(map) => {
                Value::Map(map.iter().map(|(key, value)| (key.clone(), value.share())).collect())
            }
            View::Json(json) => Value::Json(json.to_json()),
            View::Host(object) => Value::Host(object.share()),
        }
    }

    /// What Python calls its type.
    pub(crate) fn type_name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            View::Null => "NoneType",
            View::Bool(_) => "bool",
            View::Int(_) | View::UInt(_) => "int",
            View::Float(_) => "float",
            View::Str { .. } => "str",
            View::Bytes(_) => "bytes",
            View::List(_) => "list",
            View::Map(_) => "dict",
            View::Json(json) => json.type_name(),
            View::Host(object) => return object.type_name(),
        })
    }

    /// `bool(self)`.
    pub(crate) fn truthy(self) -> Result<bool, Failure> {
        Ok(match self {
            View::Null => false,
            View::Bool(v) => v,
            View::Int(v) => v != 0,
            View::UInt(v) => v != 0,
            View::Float(v) => v != 0.0,
            View::Str { text, .. } => !text.is_empty(),
            View::Bytes(v) => !v.is_empty(),
            View::List(v) => !v.is_empty(),
            View::Map(v) => !v.is_empty(),
            View::Json(json) => json.items().next().is_some() || json.fields().next().is_some(),
            View::Host(object) => return object.truthy(),
        })
    }

    /// The items, if it is a native list.
    pub(crate) fn items(self) -> Option<ListItems<'a>> {
        match self {
            View::List(items) => Some(ListItems::Native(items.iter())),
            View::Json(json) if json.kind() == Kind::List => Some(ListItems::Json(json.items())),
            _ => None,
        }
    }

    /// The map, decoded one level deep if need be. `None` if it is no native map.
    pub(crate) fn map(self) -> Option<MapView<'a>> {
        match self {
            View::Map(map) => Some(MapView::Native(map)),
            View::Json(json) if json.kind() == Kind::Map => {
                Some(MapView::Decoded(json.decode_map(0)))
            }
            _ => None,
        }
    }

    /// Whether both are one and the same object, as far as that can be seen: Python's `is`.
    /// Numbers outside of -5..=256 never are, nor are strings that are not empty, but for the same
    /// place of the same record. (The host's own objects: ask the host.)
    pub(crate) fn is(self, other: View<'_>) -> bool {
        match (self, other) {
            (View::Null, View::Null) => true,
            (View::Bool(a), View::Bool(b)) => a == b,
            (View::Int(a), View::Int(b)) => a == b && (-5..=256).contains(&a),
            (View::Str { text: a, .. }, View::Str { text: b, .. }) => {
                std::ptr::eq(a, b) || (a.is_empty() && b.is_empty())
            }
            (View::Bytes(a), View::Bytes(b)) => std::ptr::eq(a, b),
            // Empty lists have no place in memory to tell them apart by.
            (View::List(a), View::List(b)) => std::ptr::eq(a, b) && !a.is_empty(),
            (View::Map(a), View::Map(b)) => std::ptr::eq(a, b),
            (View::Json(a), View::Json(b)) => std::ptr::eq(a.as_str(), b.as_str()),
            _ => false,
        }
    }
}

/// The items of a native list.
pub(crate) enum ListItems<'a> {
    Native(std::slice::Iter<'a, Value>),
    Json(Items<'a>),
}

impl<'a> Iterator for ListItems<'a> {
    type Item = Operand<'a>;

    fn next(&mut self) -> Option<Operand<'a>> {
        match self {
            ListItems::Native(items) => items.next().map(Operand::of),
            ListItems::Json(items) => items.next().map(Operand::of_json),
        }
    }
}

/// A native map that can be looked into.
pub(crate) enum MapView<'a> {
    Native(&'a Map),
    Decoded(Map),
}

impl MapView<'_> {
    pub(crate) fn get(&self) -> &Map {
        match self {
            MapView::Native(map) => map,
            MapView::Decoded(map) => map,
        }
    }
}
