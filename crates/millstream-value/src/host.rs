//! The seam to a host language (Python). The engine never sees what is behind it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use crate::{Failure, FailureKind, RecordContext, Value, repr};

/// Operators of expressions, with Python's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Python's own")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// True division: `/`.
    Div,
    Mod,
    FloorDiv,
    Pow,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `left in right`.
    In,
    /// `left is right`.
    Is,
    /// `left[right]`.
    GetItem,
}

impl BinaryOp {
    /// How Python writes it, for messages.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::FloorDiv => "//",
            BinaryOp::Pow => "**",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::In => "in",
            BinaryOp::Is => "is",
            BinaryOp::GetItem => "[]",
        }
    }
}

/// An object of the host language that travels as a record's value or inside one.
///
/// Methods are called only while the thread is attached to the host (see [`Host::attach`]);
/// dropping must work at any time.
pub trait HostObject: fmt::Debug + Send + Sync + 'static {
    /// Another reference to the same object: changes through one show through the other.
    fn share(&self) -> Box<dyn HostObject>;
    /// An independent copy (parity row D-04).
    fn deep_copy(&self) -> Result<Value, Failure>;
    /// The native form as deep as it goes; what has none (a date, a set, an integer beyond 64
    /// bits) stays a [`Value::Host`] inside it.
    fn to_native(&self) -> Result<Value, Failure>;
    /// Appends the object as JSON, by the rules of parity row T-44.
    fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Failure>;
    /// `object[index]`: scalars come back native, anything else as a host object.
    ///
    /// # Errors
    /// The host's own (`KeyError`, `IndexError`, `TypeError`).
    fn get_item(&self, index: &Value) -> Result<Value, Failure>;
    /// `object[column]` by the rules of a column read: `ColumnDoesNotExist` and
    /// `InvalidColumnReference` (S-01).
    fn get_column(&self, column: &str) -> Result<Value, Failure>;
    /// `object[index] = value`.
    fn set_item(&mut self, index: &Value, value: Value) -> Result<(), Failure>;
    /// `del object[column]`, false if there is no such item.
    fn delete_item(&mut self, column: &str) -> Result<bool, Failure>;
    /// Whether the object is a map (a `dict`).
    fn is_map(&self) -> bool;
    /// `bool(object)`.
    fn truthy(&self) -> Result<bool, Failure>;
    /// The name of the object's type, for messages.
    fn type_name(&self) -> Cow<'static, str> {
        Cow::Borrowed("object")
    }
    /// `abs(object)`.
    fn absolute(&self) -> Result<Value, Failure>;
    /// `-object`. Not supported, unless the host says how.
    fn negative(&self) -> Result<Value, Failure> {
        Err(Failure::new(
            FailureKind::Type,
            format!("bad operand type for unary -: '{}'", self.type_name()),
        ))
    }
    /// The object for the host's own layer.
    fn as_any(&self) -> &dyn Any;
    /// The object for the host's own layer.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// The host language as a whole.
pub trait Host: Send + Sync {
    /// Runs `body` with the thread attached (for Python: holding the GIL, where there is one).
    /// Called once for a run of records, never per record.
    fn attach(&self, body: &mut dyn FnMut());
    /// Runs `body`, which is everything that one consumed record brings with it, so that user code of
    /// any kind in it can ask which record it is called for. Once per record, attached or not:
    /// it must cost next to nothing.
    fn record(&self, context: &RecordContext, body: &mut dyn FnMut()) {
        let _ = context;
        body();
    }
    /// `left op right`, when one of the two is a host object, or when the result of two native
    /// operands has no native form: an integer beyond 64 bits, a complex number, `str % value`, a slice.
    /// Which of these comes up depends on the record: it may be called on a thread that is not
    /// attached, and attaches it then.
    ///
    /// # Errors
    /// The host's own.
    fn binary(&self, op: BinaryOp, left: &Value, right: &Value) -> Result<Value, Failure>;
    /// What the host prints for a value (`print`, D-54), newline included.
    fn print(&self, value: &mut Value, pretty: bool) -> Result<(), Failure>;
    /// Whether the host wants the run to stop (Ctrl-C arrived). Asked between runs of records.
    fn interrupted(&self) -> bool;
}

/// The host of a pure Rust program: there is nothing to attach to.
#[derive(Clone, Copy, Debug, Default)]
pub struct InlineHost;

impl Host for InlineHost {
    fn attach(&self, body: &mut dyn FnMut()) {
        body();
    }

    fn binary(&self, op: BinaryOp, left: &Value, right: &Value) -> Result<Value, Failure> {
        Err(Failure::new(
            FailureKind::Overflow,
            format!(
                "the result of {} {} {} needs an integer beyond 64 bits or a type that only \
                 Python has; convert an operand to a float first",
                left.type_name(),
                op.symbol(),
                right.type_name()
            ),
        ))
    }

    fn print(&self, value: &mut Value, _pretty: bool) -> Result<(), Failure> {
        println!("{}", repr::repr(value));
        Ok(())
    }

    fn interrupted(&self) -> bool {
        false
    }
}
