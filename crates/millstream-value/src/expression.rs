//! Column expressions: trees that are written once and evaluated for every record, with the
//! meaning that the same expression has in Python (parity rows S-01 to S-16).
//!
//! Reads of undecoded JSON find all columns of an expression in one pass over the text and
//! decode nothing else. Where a record's parts are borrowed and scalars come out, evaluation
//! allocates nothing.
//!
//! Two things differ from Python, both about which *object* a value is. A native container that
//! is handed to a function or assigned to a second column is a value of its own afterwards: a
//! change of the one does not show in the other. And `is` says no for equal numbers outside of
//! -5 to 256 and for equal strings, unless both sides read the same place.

mod evaluate;
mod members;
mod program;

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::{BinaryOp, Call, Failure, FailureKind, Function, Host, Text, Value, repr};
use members::Members;
use program::Program;

/// How deep an expression may be nested. (Python gives up on its own at about the same depth.)
pub const DEPTH_MAX: usize = 256;

/// An expression over a record's value. Cheap to clone; parts may be shared between expressions.
///
/// ```
/// use millstream_value::{BinaryOp, Expr, InlineHost, Value};
///
/// let late = Expr::binary(BinaryOp::Gt, Expr::column("delay"), Expr::constant(15));
/// let record = Value::json(r#"{"origin": "JFK", "delay": 20.5}"#)?;
/// assert_eq!(late.evaluate_native(&record, &InlineHost)?.as_bool(), Some(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    node: Node,
    depth: usize,
    program: OnceLock<Program>,
}

/// What an expression says, as it was written.
enum Node {
    Record,
    Column(Text),
    Constant(Value),
    Index(Expr, Expr),
    Binary(BinaryOp, Expr, Expr),
    Contains(Expr, Expr),
    OneOf(Expr, Arc<Members>),
    And(Expr, Expr),
    Or(Expr, Expr),
    Not(Expr),
    Abs(Expr),
    Neg(Expr),
    IsNull(Expr),
    HasKeys(Expr, Vec<Value>),
    Apply(Arc<dyn Function>, Expr),
    /// In place of what is nested too deeply: using it is an error.
    TooDeep,
}

impl Expr {
    fn new(node: Node) -> Self {
        let depth = 1 + node.children().into_iter().flatten().map(|e| e.0.depth).max().unwrap_or(0);
        // Dropping and evaluating recurse; a tree of any depth would overflow the stack there.
        let (node, depth) =
            if depth > DEPTH_MAX { (Node::TooDeep, DEPTH_MAX) } else { (node, depth) };
        Self(Arc::new(Inner { node, depth, program: OnceLock::new() }))
    }

    /// The record's value itself.
    pub fn record() -> Self {
        Self::new(Node::Record)
    }

    /// A column of the record's value (S-01).
    pub fn column(name: impl Into<Text>) -> Self {
        Self::new(Node::Column(name.into()))
    }

    /// A constant. One that is an object of the host is shared by all evaluations.
    pub fn constant(value: impl Into<Value>) -> Self {
        Self::new(Node::Constant(value.into()))
    }

    /// `container[index]` (S-02).
    pub fn index(container: Expr, index: Expr) -> Self {
        Self::new(Node::Index(container, index))
    }

    /// `left op right` (S-03, S-04). A constant on either side makes it the reflected form, too.
    pub fn binary(op: BinaryOp, left: Expr, right: Expr) -> Self {
        match op {
            BinaryOp::GetItem => Self::index(left, right),
            _ => Self::new(Node::Binary(op, left, right)),
        }
    }

    /// `left and right`: the deciding operand's value; the right one is evaluated only if need
    /// be (S-05).
    pub fn and(left: Expr, right: Expr) -> Self {
        Self::new(Node::And(left, right))
    }

    /// `left or right`: as [`Expr::and`].
    pub fn or(left: Expr, right: Expr) -> Self {
        Self::new(Node::Or(left, right))
    }

    /// `not inner`, a bool (S-05).
    #[expect(clippy::should_implement_trait, reason = "Python's `not`, which no Rust trait is")]
    pub fn not(inner: Expr) -> Self {
        Self::new(Node::Not(inner))
    }

    /// `abs(inner)` (S-11).
    pub fn abs(inner: Expr) -> Self {
        Self::new(Node::Abs(inner))
    }

    /// `-inner`.
    #[expect(clippy::should_implement_trait, reason = "one constructor among its siblings")]
    pub fn neg(inner: Expr) -> Self {
        Self::new(Node::Neg(inner))
    }

    /// `inner is None` (S-10). The column must exist.
    pub fn is_null(inner: Expr) -> Self {
        Self::new(Node::IsNull(inner))
    }

    /// `inner is not None` (S-10).
    pub fn not_null(inner: Expr) -> Self {
        Self::not(Self::is_null(inner))
    }

    /// `inner in container` (S-07).
    pub fn is_in(inner: Expr, container: Expr) -> Self {
        Self::binary(BinaryOp::In, inner, container)
    }

    /// `inner in container`, with the items of the container at hand: where they are null, bools,
    /// numbers, text and bytes, no host is asked for values of these types. `hashed`: the container is
    /// a set, in which a list or a map cannot be looked up.
    ///
    /// ```
    /// use millstream_value::{Expr, InlineHost, Value};
    ///
    /// let items = [Value::from("rye"), Value::from(1)];
    /// let listed = Value::List(items.iter().map(Value::share).collect());
    /// let expr = Expr::one_of(Expr::record(), &items, false, listed);
    /// assert_eq!(expr.evaluate_native(&Value::from(1.0), &InlineHost)?.as_bool(), Some(true));
    /// # Ok::<(), millstream_value::Failure>(())
    /// ```
    pub fn one_of(inner: Expr, items: &[Value], hashed: bool, container: Value) -> Self {
        match Members::new(items, hashed, container.share()) {
            Some(members) => Self::new(Node::OneOf(inner, Arc::new(members))),
            None => Self::is_in(inner, Self::constant(container)),
        }
    }

    /// `inner not in container`.
    pub fn not_in(inner: Expr, container: Expr) -> Self {
        Self::not(Self::is_in(inner, container))
    }

    /// `other in inner` (S-08). `inner` is evaluated first.
    pub fn contains(inner: Expr, other: Expr) -> Self {
        Self::new(Node::Contains(inner, other))
    }

    /// `inner is other` (S-09).
    pub fn is(inner: Expr, other: Expr) -> Self {
        Self::binary(BinaryOp::Is, inner, other)
    }

    /// `inner is not other` (S-09).
    pub fn is_not(inner: Expr, other: Expr) -> Self {
        Self::not(Self::is(inner, other))
    }

    /// Whether all `keys` are in the record's value (D-36).
    pub fn has_keys(keys: Vec<Value>) -> Self {
        Self::new(Node::HasKeys(Self::record(), keys))
    }

    /// A user function of `inner` (S-06). Of [`Expr::record`] it gets the record's value in its
    /// place, and may change it there.
    pub fn apply(function: Arc<dyn Function>, inner: Expr) -> Self {
        Self::new(Node::Apply(function, inner))
    }

    /// Whether the expression needs the thread attached to the host, whatever the record: it has
    /// a user function that does, or an object of the host as a constant.
    pub fn needs_host(&self) -> bool {
        self.program().needs_host
    }

    /// Whether the expression calls user functions.
    pub fn has_calls(&self) -> bool {
        self.program().root.calls
    }

    /// Evaluates the expression on a record, anew on each use (S-16).
    ///
    /// # Errors
    /// What Python raises for it; what its functions raise.
    pub fn evaluate(&self, call: &mut Call<'_>, host: &dyn Host) -> Result<Value, Failure> {
        self.program().evaluate(call, host)
    }

    /// `bool(expression)`, as filters want it (D-32).
    ///
    /// # Errors
    /// As of [`Expr::evaluate`].
    pub fn truthy(&self, call: &mut Call<'_>, host: &dyn Host) -> Result<bool, Failure> {
        self.program().truthy(call, host)
    }

    /// Evaluates an expression without user functions: a value is all it needs.
    ///
    /// # Errors
    /// As of [`Expr::evaluate`]; [`FailureKind::InvalidOperation`] if it has functions.
    pub fn evaluate_native(&self, value: &Value, host: &dyn Host) -> Result<Value, Failure> {
        self.program().evaluate_native(value, host)
    }

    fn program(&self) -> &Program {
        self.0.program.get_or_init(|| Program::new(self))
    }
}

impl Node {
    fn children(&self) -> [Option<&Expr>; 2] {
        match self {
            Node::Record | Node::Column(_) | Node::Constant(_) | Node::TooDeep => [None, None],
            Node::Index(a, b)
            | Node::Binary(_, a, b)
            | Node::Contains(a, b)
            | Node::And(a, b)
            | Node::Or(a, b) => [Some(a), Some(b)],
            Node::OneOf(a, _)
            | Node::Not(a)
            | Node::Abs(a)
            | Node::Neg(a)
            | Node::IsNull(a)
            | Node::HasKeys(a, _)
            | Node::Apply(_, a) => [Some(a), None],
        }
    }
}

#[cold]
fn too_deep() -> Failure {
    Failure::new(
        FailureKind::InvalidOperation,
        format!(
            "the expression is nested more than {DEPTH_MAX} deep; assign a part of it to a column \
             first"
        ),
    )
}

/// As a user would write it, for plans and messages.
impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.node {
            Node::Record => f.write_str("value"),
            Node::Column(name) => write!(f, "value[{}]", repr(&Value::Str(name.clone()))),
            Node::Constant(value) => f.write_str(&repr(value)),
            Node::Index(container, index) => write!(f, "{container:?}[{index:?}]"),
            Node::Binary(op, a, b) => write!(f, "({a:?} {} {b:?})", op.symbol()),
            Node::Contains(a, b) => write!(f, "({b:?} in {a:?})"),
            Node::OneOf(a, members) => write!(f, "({a:?} in {})", members.repr()),
            Node::And(a, b) => write!(f, "({a:?} and {b:?})"),
            Node::Or(a, b) => write!(f, "({a:?} or {b:?})"),
            Node::Not(a) => write!(f, "(not {a:?})"),
            Node::Abs(a) => write!(f, "abs({a:?})"),
            Node::Neg(a) => write!(f, "(-{a:?})"),
            Node::IsNull(a) => write!(f, "({a:?} is None)"),
            Node::HasKeys(a, keys) => {
                let keys: Vec<_> = keys.iter().map(repr).collect();
                write!(f, "all(key in {a:?} for key in [{}])", keys.join(", "))
            }
            Node::Apply(function, a) => write!(f, "{}({a:?})", function.name()),
            Node::TooDeep => f.write_str("…"),
        }
    }
}

#[cfg(test)]
mod tests;
