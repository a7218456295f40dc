//! Constants that `in` looks through (S-07), arranged so that looking compares few of them and asks no
//! host.

use bytes::Bytes;

use crate::arith::Num;
use crate::compare::{ask_host, hashable};
use crate::operand::{Operand, View};
use crate::{BinaryOp, Failure, Host, Text, Value, repr};

/// Scalars that are equal to themselves: no NaN, which no search by equality finds.
pub(super) struct Members {
    null: bool,
    /// Sorted, as the others are. Bools are integers here, and so are floats without a fraction: as
    /// in Python `True`, `1` and `1.0` are equal.
    integers: Vec<i128>,
    /// Bits of the other floats.
    floats: Vec<u64>,
    texts: Vec<Text>,
    bytes: Vec<Bytes>,
    /// Looked up by hash: what has none is an error, where a list has merely no such item.
    hashed: bool,
    /// The container itself, for items that only the host can compare.
    container: Value,
}

/// A number as it is looked for.
enum Sought {
    Integer(i128),
    Float(u64),
}

impl Sought {
    /// `None` for what is no number.
    fn of(view: View<'_>) -> Option<Self> {
        Some(match Num::of(view)? {
            Num::Int(int) => Sought::Integer(int),
            Num::Float(float) => Self::of_float(float),
        })
    }

    fn of_float(float: f64) -> Self {
        // Exact: an `i128` holds any float without a fraction in this range.
        if float.fract() == 0.0 && float.abs() < 2f64.powi(126) {
            Sought::Integer(float as i128)
        } else {
            Sought::Float(float.to_bits())
        }
    }
}

impl Members {
    /// `None` if one of the items is no such scalar.
    pub(super) fn new(items: &[Value], hashed: bool, container: Value) -> Option<Self> {
        let mut this = Self {
            null: false,
            integers: Vec::new(),
            floats: Vec::new(),
            texts: Vec::new(),
            bytes: Vec::new(),
            hashed,
            container,
        };
        for item in items {
            match item {
                Value::Null => this.null = true,
                Value::Str(text) => this.texts.push(text.clone()),
                Value::Bytes(bytes) => this.bytes.push(bytes.clone()),
                Value::Float(float) if float.is_nan() => return None,
                scalar => match Sought::of(Operand::of(scalar).view())? {
                    Sought::Integer(integer) => this.integers.push(integer),
                    Sought::Float(bits) => this.floats.push(bits),
                },
            }
        }
        this.integers.sort_unstable();
        this.floats.sort_unstable();
        this.texts.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        this.bytes.sort_unstable();
        Some(this)
    }

    /// `item in self`.
    pub(super) fn contain(&self, item: View<'_>, host: &dyn Host) -> Result<bool, Failure> {
        match item {
            View::Null => Ok(self.null),
            View::Str { text, .. } => {
                Ok(self.texts.binary_search_by(|own| own.as_str().cmp(text)).is_ok())
            }
            View::Bytes(bytes) => Ok(self.bytes.binary_search(bytes).is_ok()),
            View::Host(_) => {
                let container = Operand::of(&self.container);
                ask_host(BinaryOp::In, item, container.view(), host)?.view().truthy()
            }
            _ => match Sought::of(item) {
                Some(Sought::Integer(integer)) => Ok(self.integers.binary_search(&integer).is_ok()),
                Some(Sought::Float(bits)) => Ok(self.floats.binary_search(&bits).is_ok()),
                // A list or a map.
                None if self.hashed => hashable(item).map(|()| false),
                None => Ok(false),
            },
        }
    }

    /// The container as a user would write it. A set has no order of its own, and would be written
    /// differently in each process.
    pub(super) fn repr(&self) -> String {
        if !self.hashed {
            return repr(&self.container);
        }
        let null = self.null.then(|| "None".to_owned());
        let floats = self.floats.iter().map(|bits| repr(&Value::Float(f64::from_bits(*bits))));
        let items = null
            .into_iter()
            .chain(self.integers.iter().map(i128::to_string))
            .chain(floats)
            .chain(self.texts.iter().map(|text| repr(&Value::Str(text.clone()))))
            .chain(self.bytes.iter().map(|bytes| repr(&Value::Bytes(bytes.clone()))));
        format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
    }
}
