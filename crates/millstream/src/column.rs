//! Column expressions with Rust's operators.

use std::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Rem, Sub};

use millstream_value::{BinaryOp, Expr, Value};

/// An expression over one record's value, with Python's meaning (parity rows S-01 to S-11).
///
/// ```
/// use millstream::col;
/// let late = col("dep_delay").not_null() & col("dep_delay").gt(15);
/// let total = col("price") * 2 + col("tax");
/// # let _ = (late, total);
/// ```
#[derive(Clone, Debug)]
pub struct Column(pub(crate) Expr);

/// The column of that name.
pub fn col(name: &str) -> Column {
    Column(Expr::column(name))
}

impl<T: Into<Value>> From<T> for Column {
    fn from(constant: T) -> Self {
        Self(Expr::constant(constant))
    }
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident => $op:ident),* $(,)?) => {
        impl Column {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(self, other: impl Into<Column>) -> Column {
                Column(Expr::binary(BinaryOp::$op, self.0, other.into().0))
            })*
        }
    };
}

comparisons! {
    /// `self == other`, as an expression.
    eq => Eq,
    /// `self != other`, as an expression.
    ne => Ne,
    /// `self < other`, as an expression.
    lt => Lt,
    /// `self <= other`, as an expression.
    le => Le,
    /// `self > other`, as an expression.
    gt => Gt,
    /// `self >= other`, as an expression.
    ge => Ge,
}

impl Column {
    /// Whether the value is in a container.
    #[must_use]
    pub fn is_in(self, container: impl Into<Column>) -> Column {
        Column(Expr::is_in(self.0, container.into().0))
    }

    /// Whether the value is not in a container.
    ///
    /// ```
    /// use millstream::{Value, col};
    ///
    /// let elsewhere = col("city").not_in(Value::List(vec!["Bern".into()]));
    /// assert_eq!(format!("{elsewhere:?}"), "Column((not (value['city'] in ['Bern'])))");
    /// ```
    #[must_use]
    pub fn not_in(self, container: impl Into<Column>) -> Column {
        Column(Expr::not_in(self.0, container.into().0))
    }

    /// Whether the value contains another.
    #[must_use]
    pub fn contains(self, other: impl Into<Column>) -> Column {
        Column(Expr::contains(self.0, other.into().0))
    }

    /// Whether the value is null. The column must exist.
    #[must_use]
    pub fn is_null(self) -> Column {
        Column(Expr::is_null(self.0))
    }

    /// Whether the value is not null. The column must exist.
    #[must_use]
    pub fn not_null(self) -> Column {
        Column(Expr::not_null(self.0))
    }

    /// The absolute value.
    #[must_use]
    pub fn abs(self) -> Column {
        Column(Expr::abs(self.0))
    }

    /// A nested read.
    #[must_use]
    pub fn index(self, index: impl Into<Column>) -> Column {
        Column(Expr::index(self.0, index.into().0))
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident),* $(,)?) => {
        $(impl<T: Into<Column>> $trait<T> for Column {
            type Output = Column;
            fn $method(self, other: T) -> Column {
                Column(Expr::binary(BinaryOp::$op, self.0, other.into().0))
            }
        })*
    };
}

operators! { Add add Add, Sub sub Sub, Mul mul Mul, Div div Div, Rem rem Mod }

impl<T: Into<Column>> BitAnd<T> for Column {
    type Output = Column;

    /// Lazy *and*: the right side is evaluated only if needed.
    fn bitand(self, other: T) -> Column {
        Column(Expr::and(self.0, other.into().0))
    }
}

impl<T: Into<Column>> BitOr<T> for Column {
    type Output = Column;

    /// Lazy *or*: the right side is evaluated only if needed.
    fn bitor(self, other: T) -> Column {
        Column(Expr::or(self.0, other.into().0))
    }
}

impl Not for Column {
    type Output = Column;

    fn not(self) -> Column {
        Column(Expr::not(self.0))
    }
}

impl Neg for Column {
    type Output = Column;

    fn neg(self) -> Column {
        Column(Expr::neg(self.0))
    }
}
