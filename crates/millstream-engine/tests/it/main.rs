//! Whole topologies on the test driver.

mod declarations;
mod errors;
mod grouping;
mod operators;
mod recovery;
mod state;
mod support;
mod windows;
