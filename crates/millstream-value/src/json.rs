//! JSON text: checked once, read where it lies, written in orjson's form.
//!
//! The check follows orjson, the default JSON library of Quix Streams, in what it accepts
//! (parity row T-45): RFC 8259 without extensions, valid UTF-8, no lone surrogates, no number
//! beyond the range of a double, at most 1024 containers in each other.
//!
//! All readers of checked text agree: of duplicate keys the last value wins (at the place of the
//! first), integers beyond 64 bits are floats, `-0` is the integer 0.

mod build;
mod check;
mod index;
mod number;
mod read;
mod scan;
mod splice;
mod text;
mod write;

pub use build::{Build, build};
pub use check::{DEPTH_MAX, JsonError, check};
pub use number::{Number, parse as parse_number};
pub(crate) use read::Span;
pub use read::{Fields, Items, JsonRef, JsonStr, Kind};
pub use text::JsonText;
pub use write::{write, write_float, write_str};

#[cfg(test)]
mod tests;
