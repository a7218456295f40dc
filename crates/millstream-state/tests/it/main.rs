//! Tests through the public interface, on every backend.

mod conformance;
mod kill;
mod model;
mod restore;
mod storage;
mod support;
mod ttl;
