//! The program itself, against a broker in the test's process.

mod address;
mod program;
mod records;
mod signals;
mod topics;
