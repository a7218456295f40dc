//! Building any kind of tree from checked text, for readers outside this crate as well: they
//! all come to the same result.

use super::JsonStr;
use super::number::Number;
use super::read::{Fields, Items, JsonRef, Kind, MapFields};
use crate::Value;

/// Makes the nodes of a tree. Keys come in the order of the text; of a key that comes twice the
/// last value is to count.
pub trait Build {
    /// A node.
    type Node;
    /// A list under construction.
    type List;
    /// A map under construction.
    type Map;

    /// `null`.
    fn null(&mut self) -> Self::Node;
    /// `true` or `false`.
    fn bool(&mut self, value: bool) -> Self::Node;
    /// A number.
    fn number(&mut self, value: Number) -> Self::Node;
    /// A string.
    fn string(&mut self, value: JsonStr<'_>) -> Self::Node;
    /// The start of a list.
    fn list(&mut self) -> Self::List;
    /// An item of a list.
    fn item(&mut self, list: &mut Self::List, value: Self::Node);
    /// The end of a list.
    fn list_end(&mut self, list: Self::List) -> Self::Node;
    /// The start of a map.
    fn map(&mut self) -> Self::Map;
    /// A field of a map.
    fn field(&mut self, map: &mut Self::Map, key: JsonStr<'_>, value: Self::Node);
    /// The end of a map.
    fn map_end(&mut self, map: Self::Map) -> Self::Node;
}

/// A container whose end has not come yet.
enum Open<'a, B: Build> {
    List(Items<'a>, B::List),
    /// With the key that the next finished node belongs to.
    Map(Fields<'a>, B::Map, Option<JsonStr<'a>>),
}

/// Builds the tree of a value. It does not recurse: the text may be nested deeply.
pub fn build<B: Build>(value: JsonRef<'_>, builder: &mut B) -> B::Node {
    let mut open: Vec<Open<'_, B>> = Vec::new();
    let mut next = value;
    loop {
        let mut node = match next.kind() {
            Kind::Null => Some(builder.null()),
            Kind::Bool(value) => Some(builder.bool(value)),
            Kind::Number => Some(builder.number(next.number().expect("its kind is number"))),
            Kind::Str => Some(builder.string(next.string().expect("its kind is string"))),
            Kind::List => {
                open.push(Open::List(next.items(), builder.list()));
                None
            }
            Kind::Map => {
                open.push(Open::Map(next.fields(), builder.map(), None));
                None
            }
        };
        // Hand finished nodes to the container around them until one of those wants another.
        next = loop {
            let Some(container) = open.last_mut() else {
                return node.expect("the outermost container is finished, so it is a node");
            };
            let wanted = match container {
                Open::List(items, list) => {
                    if let Some(node) = node.take() {
                        builder.item(list, node);
                    }
                    items.next()
                }
                Open::Map(fields, map, key) => {
                    if let Some(node) = node.take() {
                        let key = key.take().expect("a node inside a map follows its key");
                        builder.field(map, key, node);
                    }
                    fields.next().map(|(name, value)| {
                        *key = Some(name);
                        value
                    })
                }
            };
            if let Some(wanted) = wanted {
                break wanted;
            }
            node = open.pop().map(|done| match done {
                Open::List(_, list) => builder.list_end(list),
                Open::Map(_, map, _) => builder.map_end(map),
            });
        };
    }
}

/// Builds [`Value`]s.
pub(super) struct Native;

impl Build for Native {
    type Node = Value;
    type List = Vec<Value>;
    type Map = MapFields;

    fn null(&mut self) -> Value {
        Value::Null
    }

    fn bool(&mut self, value: bool) -> Value {
        Value::Bool(value)
    }

    fn number(&mut self, value: Number) -> Value {
        value.into()
    }

    fn string(&mut self, value: JsonStr<'_>) -> Value {
        Value::Str(value.to_text())
    }

    fn list(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn item(&mut self, list: &mut Vec<Value>, value: Value) {
        list.push(value);
    }

    fn list_end(&mut self, list: Vec<Value>) -> Value {
        Value::List(list)
    }

    fn map(&mut self) -> MapFields {
        MapFields::with_capacity(0)
    }

    fn field(&mut self, map: &mut MapFields, key: JsonStr<'_>, value: Value) {
        map.set(key.to_text(), value);
    }

    fn map_end(&mut self, map: MapFields) -> Value {
        Value::Map(map.finish())
    }
}
