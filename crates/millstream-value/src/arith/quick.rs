//! The usual case of arithmetic by itself: two numbers of 64 bits and a result that needs no thought.

use std::cmp::Ordering;

use crate::BinaryOp;
use crate::operand::{Operand, View};

/// A number or truth of 64 bits: what most expressions are made of. A kind and its bits beside each
/// other, for such a pair stays in registers, which an enum of integers and floats does not.
#[derive(Clone, Copy)]
pub(crate) struct Quick {
    kind: Kind,
    bits: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Float,
}

impl Quick {
    #[inline]
    pub(crate) fn bool(value: bool) -> Self {
        Self { kind: Kind::Bool, bits: value.into() }
    }

    #[inline]
    pub(crate) fn int(value: i64) -> Self {
        Self { kind: Kind::Int, bits: value.cast_unsigned() }
    }

    #[inline]
    pub(crate) fn float(value: f64) -> Self {
        Self { kind: Kind::Float, bits: value.to_bits() }
    }

    #[inline]
    pub(super) fn of(view: View<'_>) -> Option<Self> {
        match view {
            View::Int(v) => Some(Self::int(v)),
            View::Float(v) => Some(Self::float(v)),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn truthy(self) -> bool {
        match self.kind {
            Kind::Bool | Kind::Int => self.bits != 0,
            Kind::Float => f64::from_bits(self.bits) != 0.0,
        }
    }

    /// The number as a double equal to it.
    #[inline]
    fn exact(self) -> Option<f64> {
        /// Up to here each integer has one.
        const EXACT: u64 = 1 << 53;
        match self.kind {
            Kind::Float => Some(f64::from_bits(self.bits)),
            Kind::Int => {
                let int = self.bits.cast_signed();
                (int.unsigned_abs() <= EXACT).then_some(int as f64)
            }
            Kind::Bool => None,
        }
    }
}

impl From<Quick> for Operand<'_> {
    fn from(value: Quick) -> Self {
        Operand::View(match value.kind {
            Kind::Bool => View::Bool(value.bits != 0),
            Kind::Int => View::Int(value.bits.cast_signed()),
            Kind::Float => View::Float(f64::from_bits(value.bits)),
        })
    }
}

/// `left op right` where operands and result are numbers of 64 bits (or the result a truth), and
/// nothing needs thought. `None`: [`general`](super::general) decides.
#[inline]
pub(crate) fn quick(op: BinaryOp, left: Quick, right: Quick) -> Option<Quick> {
    if left.kind == Kind::Int && right.kind == Kind::Int {
        let (a, b) = (left.bits.cast_signed(), right.bits.cast_signed());
        return Some(match op {
            BinaryOp::Add => Quick::int(a.checked_add(b)?),
            BinaryOp::Sub => Quick::int(a.checked_sub(b)?),
            BinaryOp::Mul => Quick::int(a.checked_mul(b)?),
            BinaryOp::Div if b != 0 => Quick::float(left.exact()? / right.exact()?),
            _ => Quick::bool(holds(op, a.cmp(&b))?),
        });
    }
    let (a, b) = (left.exact()?, right.exact()?);
    Some(match op {
        BinaryOp::Add => Quick::float(a + b),
        BinaryOp::Sub => Quick::float(a - b),
        BinaryOp::Mul => Quick::float(a * b),
        BinaryOp::Div if b != 0.0 => Quick::float(a / b),
        // Nothing is before, behind or equal to NaN.
        _ => Quick::bool(holds(op, a.partial_cmp(&b)?)?),
    })
}

/// `None` for what is no comparison.
#[inline]
fn holds(op: BinaryOp, ordering: Ordering) -> Option<bool> {
    Some(match op {
        BinaryOp::Eq => ordering.is_eq(),
        BinaryOp::Ne => ordering.is_ne(),
        BinaryOp::Lt => ordering.is_lt(),
        BinaryOp::Le => ordering.is_le(),
        BinaryOp::Gt => ordering.is_gt(),
        BinaryOp::Ge => ordering.is_ge(),
        _ => return None,
    })
}
