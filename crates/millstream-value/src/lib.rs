//! What the engine may look into: [`Value`]s that are decoded no further than needed, objects of
//! a host language behind [`HostObject`], expressions over values, and the traits by which user
//! functions and (de)serializers are handed to the engine.
//!
//! A record's payload starts as [`Value::Json`]: text that was checked whole, but not decoded.
//! A native expression reads the fields it names; an assignment turns it into a [`Map`]; a
//! function of a host language turns it into a [`Value::Host`]. Each conversion happens at most
//! once per record, because whoever converts puts the result in the record's place.

pub mod access;
pub mod arith;
mod codec;
pub mod compare;
mod expression;
mod failure;
mod function;
mod host;
pub mod json;
mod map;
mod operand;
mod repr;
mod text;
mod value;

pub use codec::{
    Deserialized, Deserializer, MessageField, SerializationContext, Serialized, Serializer,
};
pub use expression::{DEPTH_MAX as EXPRESSION_DEPTH_MAX, Expr};
pub use failure::{Failure, FailureKind, HostException};
pub use function::{Call, Function, Headers, RecordContext, StateAccess};
pub use host::{BinaryOp, Host, HostObject, InlineHost};
pub use map::Map;
pub use repr::repr;
pub use text::Text;
pub use value::Value;
