//! What is evaluated: the tree of an expression with its columns numbered.

use std::sync::Arc;

use super::members::Members;
use super::{Expr, Node};
use crate::{BinaryOp, Function, Text, Value};

/// So many columns of JSON text are found in one pass; each further one takes its own.
pub(super) const COLUMNS_MAX: usize = 8;

/// An expression made ready.
pub(super) struct Program {
    pub(super) root: Step,
    /// The distinct columns, up to [`COLUMNS_MAX`].
    pub(super) columns: Vec<Text>,
    pub(super) needs_host: bool,
}

/// A node with what is known about everything below it.
pub(super) struct Step {
    pub(super) op: Op,
    /// Whether there is a user function in it.
    pub(super) calls: bool,
    /// Whether to try [`Step::quick`]. Set at the top of what can be tried, and not below.
    pub(super) quick: bool,
}

pub(super) enum Op {
    Record,
    /// With its place among the columns found in one pass.
    Column(Text, Option<usize>),
    Constant(Value),
    Index(Box<[Step; 2]>),
    Binary(BinaryOp, Box<[Step; 2]>),
    /// `is` with the very same read on both sides: true if it can be evaluated.
    Same(Box<Step>),
    Contains(Box<[Step; 2]>),
    OneOf(Box<Step>, Arc<Members>),
    And(Box<[Step; 2]>),
    Or(Box<[Step; 2]>),
    Not(Box<Step>),
    Abs(Box<Step>),
    Neg(Box<Step>),
    IsNull(Box<Step>),
    HasKeys(Box<Step>, Vec<Value>),
    Apply(Arc<dyn Function>, Box<Step>),
    TooDeep,
}

impl Op {
    /// The steps that it is made of.
    fn children(&self) -> &[Step] {
        match self {
            Op::Index(pair)
            | Op::Binary(_, pair)
            | Op::Contains(pair)
            | Op::And(pair)
            | Op::Or(pair) => &pair[..],
            Op::OneOf(inner, _)
            | Op::Same(inner)
            | Op::Not(inner)
            | Op::Abs(inner)
            | Op::Neg(inner)
            | Op::IsNull(inner)
            | Op::HasKeys(inner, _)
            | Op::Apply(_, inner) => std::slice::from_ref(inner),
            Op::Record | Op::Column(..) | Op::Constant(_) | Op::TooDeep => &[],
        }
    }
}

impl Step {
    /// A step whose parts are made. The largest parts that are nothing but columns and numbers,
    /// calculated, compared, and joined by `and`, `or` and `not`, are marked quick.
    fn new(mut op: Op) -> Self {
        let calls = matches!(op, Op::Apply(..)) || op.children().iter().any(|child| child.calls);
        let quick = match &mut op {
            Op::Binary(_, pair) | Op::And(pair) | Op::Or(pair) => all_quick(&mut pair[..]),
            Op::Not(inner) => all_quick(std::slice::from_mut(&mut **inner)),
            _ => false,
        };
        Self { op, calls, quick }
    }

    fn is_number(&self) -> bool {
        matches!(&self.op, Op::Column(_, Some(_)) | Op::Constant(Value::Int(_) | Value::Float(_)))
    }
}

/// Whether all of them have the quick way; then it is no longer for each to try.
fn all_quick(steps: &mut [Step]) -> bool {
    let quick = steps.iter().all(|step| step.quick || step.is_number());
    if quick {
        steps.iter_mut().for_each(|step| step.quick = false);
    }
    quick
}

impl Program {
    pub(super) fn new(expr: &Expr) -> Self {
        let mut compiler = Compiler { columns: Vec::new(), needs_host: false };
        let root = compiler.step(expr);
        Self { root, columns: compiler.columns, needs_host: compiler.needs_host }
    }
}

struct Compiler {
    columns: Vec<Text>,
    needs_host: bool,
}

impl Compiler {
    fn step(&mut self, expr: &Expr) -> Step {
        let op = match &expr.0.node {
            Node::Record => Op::Record,
            Node::Column(name) => Op::Column(name.clone(), self.slot(name)),
            Node::Constant(value) => Op::Constant(self.constant(value)),
            Node::Index(a, b) => Op::Index(self.pair(a, b)),
            Node::Binary(BinaryOp::Is, a, b) if same_read(a, b) => Op::Same(self.boxed(a)),
            Node::Binary(op, a, b) => Op::Binary(*op, self.pair(a, b)),
            Node::Contains(a, b) => Op::Contains(self.pair(a, b)),
            Node::OneOf(a, members) => Op::OneOf(self.boxed(a), Arc::clone(members)),
            Node::And(a, b) => Op::And(self.pair(a, b)),
            Node::Or(a, b) => Op::Or(self.pair(a, b)),
            Node::Not(a) => Op::Not(self.boxed(a)),
            Node::Abs(a) => Op::Abs(self.boxed(a)),
            Node::Neg(a) => Op::Neg(self.boxed(a)),
            Node::IsNull(a) => Op::IsNull(self.boxed(a)),
            Node::HasKeys(a, keys) => {
                let keys = keys.iter().map(|key| self.constant(key)).collect();
                Op::HasKeys(self.boxed(a), keys)
            }
            Node::Apply(function, a) => {
                self.needs_host |= function.needs_host();
                Op::Apply(Arc::clone(function), self.boxed(a))
            }
            Node::TooDeep => Op::TooDeep,
        };
        Step::new(op)
    }

    fn boxed(&mut self, expr: &Expr) -> Box<Step> {
        Box::new(self.step(expr))
    }

    fn pair(&mut self, a: &Expr, b: &Expr) -> Box<[Step; 2]> {
        Box::new([self.step(a), self.step(b)])
    }

    fn constant(&mut self, value: &Value) -> Value {
        self.needs_host |= holds_host(value);
        let mut value = value.share();
        value.decode_deep();
        value
    }

    fn slot(&mut self, name: &Text) -> Option<usize> {
        if let Some(slot) = self.columns.iter().position(|column| column == name) {
            return Some(slot);
        }
        (self.columns.len() < COLUMNS_MAX).then(|| {
            self.columns.push(name.clone());
            self.columns.len() - 1
        })
    }
}

fn holds_host(value: &Value) -> bool {
    match value {
        Value::Host(_) => true,
        Value::List(items) => items.iter().any(holds_host),
        Value::Map(map) => map.values().any(holds_host),
        _ => false,
    }
}

/// Whether two expressions read the same place of the record, and so the same object.
fn same_read(a: &Expr, b: &Expr) -> bool {
    match (&a.0.node, &b.0.node) {
        (Node::Record, Node::Record) => true,
        (Node::Column(a), Node::Column(b)) => a == b,
        (Node::Index(a, i), Node::Index(b, j)) => {
            same_read(a, b)
                && match (&i.0.node, &j.0.node) {
                    (Node::Constant(Value::Str(i)), Node::Constant(Value::Str(j))) => i == j,
                    (Node::Constant(Value::Int(i)), Node::Constant(Value::Int(j))) => i == j,
                    _ => false,
                }
        }
        _ => false,
    }
}
