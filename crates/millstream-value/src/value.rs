//! The value type.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::host::HostObject;
use crate::json::{JsonError, JsonText};
use crate::{Failure, Map, Text};

/// A value on its way through the topology.
///
/// Integers are exact over `i64` and `u64`. There is no canonical form across variants: a
/// [`Value::Json`] that holds `1` and a [`Value::Int`] of 1 mean the same and compare the same
/// under the expressions of this crate; the fields of a [`Value::Map`] and the items of a
/// [`Value::List`] may be [`Value::Json`] or [`Value::Host`] themselves.
#[derive(Default)]
pub enum Value {
    /// `None` / JSON `null`.
    #[default]
    Null,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer in `i64::MAX + 1 ..= u64::MAX`; smaller ones are `Int`.
    UInt(u64),
    /// A float, NaN and infinities included.
    Float(f64),
    /// Text.
    Str(Text),
    /// Raw bytes.
    Bytes(Bytes),
    /// A list.
    List(Vec<Value>),
    /// A map with text keys that keeps their order.
    Map(Map),
    /// JSON text that was checked whole and is not decoded yet: of any type, with no white
    /// space around it.
    Json(JsonText),
    /// An object of the host language.
    Host(Box<dyn HostObject>),
}

impl Value {
    /// JSON text, checked and kept as it is.
    ///
    /// # Errors
    /// If `bytes` are not JSON.
    ///
    /// ```
    /// use millstream_value::Value;
    ///
    /// let value = Value::json(r#" {"a": 1} "#)?;
    /// assert_eq!(format!("{value:?}"), r#"json {"a": 1}"#);
    /// # Ok::<(), millstream_value::json::JsonError>(())
    /// ```
    pub fn json(bytes: impl Into<Bytes>) -> Result<Self, JsonError> {
        JsonText::check(bytes.into()).map(Value::Json)
    }

    /// The same value once more, as cheaply as possible: objects of a host language are shared
    /// (a change shows through both), everything else is independent of the original.
    pub fn share(&self) -> Self {
        self.copy_with(&|object| Ok(Value::Host(object.share())))
            .expect("sharing a host object cannot fail")
    }

    /// An independent copy (parity row D-04). Text, bytes and undecoded JSON share memory, for
    /// they never change.
    ///
    /// # Errors
    /// Those of [`HostObject::deep_copy`].
    pub fn deep_copy(&self) -> Result<Self, Failure> {
        self.copy_with(&|object| object.deep_copy())
    }

    fn copy_with(
        &self,
        host: &dyn Fn(&dyn HostObject) -> Result<Value, Failure>,
    ) -> Result<Self, Failure> {
        Ok(match self {
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(*v),
            Value::Int(v) => Value::Int(*v),
            Value::UInt(v) => Value::UInt(*v),
            Value::Float(v) => Value::Float(*v),
            Value::Str(v) => Value::Str(v.clone()),
            Value::Bytes(v) => Value::Bytes(v.clone()),
            Value::Json(v) => Value::Json(v.clone()),
            Value::List(items) => Value::List(
                items.iter().map(|item| item.copy_with(host)).collect::<Result<_, _>>()?,
            ),
            Value::Map(map) => {
                let mut copy = Map::with_capacity(map.len());
                for (key, value) in map.iter() {
                    copy.push_new(key.clone(), value.copy_with(host)?);
                }
                Value::Map(copy)
            }
            Value::Host(object) => host(&**object)?,
        })
    }

    /// What Python calls the type: `NoneType`, `bool`, `int`, `float`, `str`, `bytes`, `list`,
    /// `dict`, or what the host says.
    pub fn type_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Value::Null => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::UInt(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "dict",
            Value::Json(text) => text.get().type_name(),
            Value::Host(object) => return object.type_name(),
        })
    }

    /// `bool(value)` as Python has it (parity row D-22).
    ///
    /// # Errors
    /// Those of [`HostObject::truthy`].
    pub fn truthy(&self) -> Result<bool, Failure> {
        crate::operand::Operand::of(self).view().truthy()
    }

    /// Whether it is `None`, also as JSON text.
    pub fn is_null(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Json(text) => text.as_str() == "null",
            _ => false,
        }
    }

    /// Whether it is a map (a `dict`), in whatever form.
    pub fn is_map(&self) -> bool {
        match self {
            Value::Map(_) => true,
            Value::Json(text) => text.as_str().starts_with('{'),
            Value::Host(object) => object.is_map(),
            _ => false,
        }
    }

    /// Turns JSON text into the native form one level deep, in place: the containers inside
    /// stay JSON text. Other values stay as they are.
    pub fn decode(&mut self) {
        if let Value::Json(text) = self {
            *self = text.get().decode();
        }
    }

    /// The same, all the way down: afterwards there is no [`Value::Json`] in it.
    pub fn decode_deep(&mut self) {
        match self {
            Value::Json(text) => *self = text.get().decode_deep(),
            Value::List(items) => items.iter_mut().for_each(Value::decode_deep),
            Value::Map(map) => map.iter_mut().for_each(|(_, value)| value.decode_deep()),
            _ => {}
        }
    }

    /// The boolean, if it is a decoded one. Like all accessors that follow, it does not look
    /// into [`Value::Json`] and [`Value::Host`]: [`Value::decode`] first.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(v) => Some(*v),
            _ => None,
        }
    }

    /// The integer, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(v) => Some(*v),
            _ => None,
        }
    }

    /// The integer, if it fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Int(v) => u64::try_from(*v).ok(),
            Value::UInt(v) => Some(*v),
            _ => None,
        }
    }

    /// The number, an integer rounded to the nearest float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(*v as f64),
            Value::UInt(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Value::Bytes(v) => Some(v),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(v) => Some(v),
            _ => None,
        }
    }

    /// The native map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(v) => Some(v),
            _ => None,
        }
    }

    /// The native map, to change it.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Value::Map(v) => Some(v),
            _ => None,
        }
    }
}

/// `Value::from` for each of the types on the left.
macro_rules! value_from {
    ($($type:ty: $value:ident => $made:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )*};
}

value_from! {
    bool: v => Value::Bool(v);
    i32: v => Value::Int(v.into());
    i64: v => Value::Int(v);
    u32: v => Value::Int(v.into());
    u64: v => i64::try_from(v).map_or(Value::UInt(v), Value::Int);
    usize: v => Value::from(v as u64);
    f64: v => Value::Float(v);
    &str: v => Value::Str(v.into());
    String: v => Value::Str(v.into());
    Text: v => Value::Str(v);
    Bytes: v => Value::Bytes(v);
    Vec<Value>: v => Value::List(v);
    Map: v => Value::Map(v);
    JsonText: v => Value::Json(v);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("None"),
            Value::Bool(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::UInt(v) => v.fmt(f),
            Value::Float(v) => v.fmt(f),
            Value::Str(v) => v.fmt(f),
            Value::Bytes(v) => v.fmt(f),
            Value::List(v) => v.fmt(f),
            Value::Map(v) => f.debug_map().entries(v.iter()).finish(),
            Value::Json(v) => write!(f, "json {}", v.as_str()),
            Value::Host(v) => v.fmt(f),
        }
    }
}
